"""The store of teacher logits: a teacher's answers on training views, written once, read by every student.

The format is docs/logit-store.md. Reading needs NumPy and no torch; `writing` and `views` are the rooms with torch.
Source: Wu et al., TinyViT: Fast Pretraining Distillation for Small Vision Transformers, 2022 (arXiv 2207.10666).
"""

from vitesse.distill.store.reading import LogitStore

__all__ = ["LogitStore"]
