"""Images in: sources, the split into learn, search and test, and batches that can be replayed from a seed."""

from vitesse.data.augment import Augment
from vitesse.data.image import open_image
from vitesse.data.load import DataSettings, Parts, load_parts
from vitesse.data.mix import Mix
from vitesse.data.part import Batch, Part
from vitesse.data.preprocess import Preprocess, normalise, to_batch, to_pixels, unnormalise

__all__ = [
    "Augment",
    "Batch",
    "DataSettings",
    "Mix",
    "Part",
    "Parts",
    "Preprocess",
    "load_parts",
    "normalise",
    "unnormalise",
    "open_image",
    "to_batch",
    "to_pixels",
]
