"""The terms that a teacher's weights bring: what is known of them, and what must be said aloud."""

from __future__ import annotations

from vitesse.distill.foreign import is_timm_name
from vitesse.distill.huggingface import hub_licence, is_hub_name

# Words of licences, as registries write them, under which weights may not be used for money.
_NON_COMMERCIAL = ("-nc", "noncommercial", "non-commercial", "research-only", "fair-noncommercial", "apple-amlr")


def licence_of(name: str) -> str | None:
    """The licence of the weights of that name, as timm or the Hub's model card says; None where it is not known."""
    if is_hub_name(name):
        return hub_licence(name)
    if not is_timm_name(name):
        return None
    import timm

    config = timm.get_pretrained_cfg(name)
    return None if config is None else config.license


def warning_about(name: str, licence: str | None) -> str | None:
    """What a person must know about these weights before a student of theirs is published; None where there is nothing.

    Whether a distilled student is a derivative of its teacher is not settled, so both readings are said.
    """
    words = (licence or "").lower()
    if "dinov3" in name.lower() or "dinov3" in words:
        return (
            f"The weights of {name} are under Meta's DINOv3 licence, which asks that its terms go with derivatives. Whether a "
            "student that it taught is one is not settled: keep the agreement with the student, or ask."
        )
    if any(mark in words for mark in _NON_COMMERCIAL):
        return (
            f"The weights of {name} are licensed {licence}: not for commercial use. Whether this binds a student that they "
            "taught is not settled: take another teacher for a product."
        )
    return None
