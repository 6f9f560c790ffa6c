"""The page in a real browser, spoken to over its own pipe: pictures are dropped on it, and it shows the classes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--window-size=1000,900",
)
# The browser reads commands on its file 3 and answers on its file 4.
LAUNCH = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(file), fcntl.F_DUPFD, 10) for file in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: nothing checked that the page works")


class Page:
    """One page of the browser. What its console said is in `messages`."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._heard, self._count, self._session = b"", 0, None
        self.messages: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Runtime.enable")
        self.ask("Log.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command of the DevTools protocol, and wait for its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._count:
                assert "error" not in heard, heard
                found: dict[str, Any] = heard["result"]
                return found
            if heard.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.messages.append(json.dumps(heard["params"]))

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._heard:
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser ended"
            self._heard += part
        one, _, self._heard = self._heard.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        return found

    def value(self, script: str) -> Any:
        """What a script in the page gives."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str) -> Any:
        """What a script gives, as soon as that is true."""
        until = time.monotonic() + 60
        while not (found := self.value(script)):
            assert time.monotonic() < until, f"never true: {script}"
            time.sleep(0.05)
        return found

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    def drop(self, selector: str, *paths: Path) -> None:
        """Drag files from outside of the browser onto an element, and let them go."""
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        x, y = self.value(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box})")
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.ask("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a browser that ends with the context."""
    assert BROWSER is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out), BROWSER, *FLAGS]
    command.append(f"--user-data-dir={profile}")
    process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        os.close(ours_out)  # it ends where nobody commands it
        os.close(ours_in)
        process.terminate()
        process.wait(60)


def test_the_page_in_a_browser(started: Callable[..., Any], picture: Callable[..., bytes], tmp_path: Path) -> None:
    good, hostile, bad = tmp_path / "good.png", tmp_path / "<img src=x onerror=alert(1)>.png", tmp_path / "bad.png"
    good.write_bytes(picture(1))
    hostile.write_bytes(picture(2))
    bad.write_bytes(b"no picture")
    with started("--max-body", "100kB") as (_, port), browser(tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{port}/")
        assert page.value("document.querySelector('h1').textContent") == "tiny"
        page.drop("#drop", good)
        page.wait("document.querySelectorAll('article:not([aria-busy]) li').length === 4")
        names = page.value("[...document.querySelectorAll('article li span')].map(one => one.textContent)")
        shares = page.value("[...document.querySelectorAll('article li b')].map(one => parseFloat(one.textContent))")
        assert sorted(names) == sorted(["zero", "eins", "zwölf <b>", "quatre"])
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.3)
        assert page.wait("document.querySelector('article img').naturalWidth") == 24
        assert page.value("document.getElementById('command').textContent").endswith(f"http://127.0.0.1:{port}/predict")
        assert page.messages == []

        page.drop("#drop", hostile, bad)
        page.wait("document.querySelectorAll('article').length === 3 && !document.querySelector('[aria-busy]')")
        titles = page.value("[...document.querySelectorAll('h3')].map(one => one.textContent)")
        assert titles == ["bad.png", hostile.name, "good.png"]
        assert "no picture of JPEG" in page.value("document.querySelector('article [role=alert]').textContent")
        assert page.value("document.querySelectorAll('article')[1].querySelectorAll('li').length") == 4
        assert page.value("document.querySelector('main img[src=x]')") is None

        (tmp_path / "large.png").write_bytes(bytes(100_001))
        page.drop("#drop", tmp_path / "large.png")
        page.wait("document.querySelector('article [role=alert]').textContent.includes('100000 bytes')")
        assert all("415" in message for message in page.messages)  # of the bad picture, and nothing else
