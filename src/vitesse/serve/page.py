"""The page at `/`, where a person drops pictures and sees the classes: one HTML text that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import string
from html import escape
from importlib.resources import files

from vitesse.serve.model import Model
from vitesse.serve.settings import ServeSettings


def page(model: Model, settings: ServeSettings) -> str:
    """The whole page as HTML."""
    about = model.about
    height, width = about.preprocess.size
    return string.Template(_asset("page.html")).substitute(
        name=escape(model.name),
        facts=f"{len(about.classes)} classes · pictures are seen at {width} × {height} pixels, "
        f"{'in grey' if about.preprocess.channels == 1 else 'in colour'}",
        max_body=settings.max_body,
        style=_asset("page.css"),
        script=_asset("page.js"),
    )


def headers() -> dict[str, str]:
    """What browsers are told of the page: it runs its own script, speaks to its own service, and that is all."""
    digest = base64.b64encode(hashlib.sha256(_asset("page.js").encode()).digest()).decode()
    allowed = {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "img-src": "blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{what} {where}" for what, where in allowed.items()),
        "X-Content-Type-Options": "nosniff",
    }


def _asset(name: str) -> str:
    return files("vitesse.serve").joinpath(name).read_text(encoding="utf-8")
