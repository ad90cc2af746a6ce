"""Recipes: typed configuration, loaded from YAML and digested."""

from wsiprep.config.digest import canonical_json, digest_of, pack_digest, plan_digest, recipe_digest, survey_digest
from wsiprep.config.loading import load_recipe, parse_override, recipe_from_mapping
from wsiprep.config.recipe import (
    BACKGROUND,
    IGNORE,
    Keep,
    KeepRule,
    Recipe,
    Sampling,
    SourceOverride,
    Split,
    Stain,
    Store,
    Tissue,
)

__all__ = [
    "BACKGROUND",
    "IGNORE",
    "Keep",
    "KeepRule",
    "Recipe",
    "Sampling",
    "SourceOverride",
    "Split",
    "Stain",
    "Store",
    "Tissue",
    "canonical_json",
    "digest_of",
    "load_recipe",
    "pack_digest",
    "parse_override",
    "plan_digest",
    "recipe_digest",
    "recipe_from_mapping",
    "survey_digest",
]
