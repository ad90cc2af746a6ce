"""dataset compare: patches of a sealed dataset beside those that a paper reports."""

from __future__ import annotations

from typing import Any

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.errors import UsageError
from wsiprep.stages.rows import recipe_of_tree

WHOLE = "all"


def compare_published(tree: DatasetTree) -> list[dict[str, Any]]:
    """Published and found patches, a row a split: split, published, found (None where there is no such split), source.

    A difference is no error: which slides a paper took and how it drew its split is rarely known in full.

    Raises:
        UsageError: the dataset is not sealed, or its recipe has no published numbers.
    """
    if not tree.dataset_record.exists():
        raise UsageError("this dataset is not sealed", got=str(tree.root), fix="wsiprep seal it first")
    recipe = recipe_of_tree(tree)
    published = () if recipe.dataset is None else recipe.dataset.patches
    if not published:
        raise UsageError("no paper's numbers of patches are known for this recipe", got=recipe.name)
    counts = read_json(tree.dataset_record)["counts"]
    splits = {name: facts["patches"] for name, facts in counts["splits"].items()}
    return [
        {
            "split": entry.split,
            "published": entry.count,
            "found": counts["patches"] if entry.split == WHOLE else splits.get(entry.split),
            "source": entry.source,
        }
        for entry in published
    ]
