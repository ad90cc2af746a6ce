"""Segmentation networks by name; each is (N, 3, H, W) -> logits (N, n_classes, H, W). Cheap to import."""

from __future__ import annotations

from wsiprep.models.cards import ModelCard, PublishedCount, RecipeHint
from wsiprep.models.registry import card, create_model, model_cards, model_options

__all__ = ["ModelCard", "PublishedCount", "RecipeHint", "card", "create_model", "model_cards", "model_options"]
