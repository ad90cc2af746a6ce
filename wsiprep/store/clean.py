"""Removing what nothing points to: temporaries of dead writers, shards that no receipt names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StoreError, from_os_error
from wsiprep.store.receipts import read_receipt
from wsiprep.temporaries import TEMPORARY_PREFIX, is_being_made


def clean(tree: DatasetTree, *, dry_run: bool = False) -> list[Path]:
    """Remove temporaries, and shards and row tables that no receipt names; their paths, sorted.

    Temporaries of a process of this host that is still alive stay. Shards are judged by their
    receipts, so run it when no workflow is packing: a shard is there a moment before its receipt.
    Where a receipt is damaged, its slide's shards stay (``drop_broken_receipts`` first).

    Args:
        dry_run: only list.

    Raises:
        StorageError: something cannot be removed.
    """
    doomed = sorted({*_dead_temporaries(tree.root), *unnamed_shards(tree)})
    if not dry_run:
        for path in doomed:
            _remove(path)
    return doomed


def temporaries(root: Path) -> Iterator[Path]:
    """Every ``.tmp-*`` below a folder; a temporary folder is one, its contents are not listed."""
    for folder, folders, files in os.walk(root):
        yield from (Path(folder) / name for name in (*folders, *files) if name.startswith(TEMPORARY_PREFIX))
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY_PREFIX)]


def unnamed_shards(tree: DatasetTree) -> list[Path]:
    """What lies in ``shards/`` and belongs to no receipt, without temporaries; sorted."""
    root = tree.root / "shards"
    if not root.is_dir():
        return []
    stray = []
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(TEMPORARY_PREFIX):
            continue
        if not folder.is_dir():
            stray.append(folder)
            continue
        named = _named(tree, folder.name)
        if named is None:
            continue
        kept = [p for p in sorted(folder.iterdir()) if p in named or p.name.startswith(TEMPORARY_PREFIX)]
        stray += [folder] if not kept else [p for p in sorted(folder.iterdir()) if p not in kept]
    return stray


def _named(tree: DatasetTree, slide_id: str) -> set[Path] | None:
    """Paths in a slide's folder that its receipt names; None where the receipt is unreadable."""
    if not tree.receipt(slide_id).exists():
        return set()
    try:
        receipt = read_receipt(tree, slide_id)
    except StoreError:
        return None
    return {tree.root / receipt.shard, tree.root / receipt.rows} if receipt.shard else set()


def _dead_temporaries(root: Path) -> list[Path]:
    return [path for path in temporaries(root) if not is_being_made(path.name)]


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os_error(error, path=path) from error
