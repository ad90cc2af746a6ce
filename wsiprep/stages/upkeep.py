"""verify and clean: looking after a dataset's folder."""

from __future__ import annotations

from pathlib import Path

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import UsageError
from wsiprep.progress import Reporter
from wsiprep.store import Finding, Findings, clean, verify


def check(tree: DatasetTree, reporter: Reporter, *, deep: bool, repair: bool = False) -> Findings:
    """Everything that is wrong with the files in a dataset's folder.

    With ``repair``, receipts of shards with faults are removed, so that the workflow packs those
    slides again; nothing else is touched.
    """
    _require_dataset(tree)
    findings = verify(tree, deep=deep, reporter=reporter)
    if repair:
        # A stray file is for clean; what the receipt promises is whole all the same.
        damaged = {_slide_of(f) for f in findings.faults if f.kind != "stray"} - {None}
        for slide_id in sorted(name for name in damaged if name is not None):
            receipt = tree.receipt(slide_id)
            if receipt.exists():
                receipt.unlink()
                reporter.say(f"dropped the receipt of {slide_id}", level="warning")
    return findings


def _slide_of(finding: Finding) -> str | None:
    """The slide whose shard or receipt a finding is about, or None."""
    folder, _, rest = finding.path.partition("/")
    if folder == "shards":
        return rest.split("/")[0] or None
    return rest.removesuffix(".json") if folder == "receipts" else None


def tidy(tree: DatasetTree, reporter: Reporter, *, dry_run: bool) -> list[Path]:
    """Remove temporaries and shards that no receipt names; returns what was (or would be) removed."""
    _require_dataset(tree)
    reporter.say(f"clean {tree.root}")
    return list(clean(tree, dry_run=dry_run))


def _require_dataset(tree: DatasetTree) -> None:
    if not tree.root.is_dir():
        raise UsageError("there is no such folder", got=str(tree.root), fix="name a dataset's folder")
    if not any(p.exists() for p in (tree.recipe, tree.plan_record, tree.root / "slides", tree.root / "receipts")):
        raise UsageError("this folder is no dataset of wsiprep", got=str(tree.root))
