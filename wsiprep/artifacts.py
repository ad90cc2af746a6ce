"""Where everything lies in a dataset's folder, and how files are published there.

    OUT/
      recipe.json            the resolved recipe
      exclude.csv            (yours) slide_id,reason
      allow_duplicates.csv   (yours) slide_a,slide_b,reason
      splits.csv             the frozen assignment of patients
      slides/{id}/           survey: slide.json regions.geojson tissue.png candidates.parquet
                             colours.npz overview.jpg; tiles.parquet of collections
      plan/{id}.parquet      plan: the kept cells of one slide
      plan.parquet split.parquet plan.json
      shards/{id}/           pack: {digest12}.zarr and {digest12}.rows.parquet
      previews/{id}.jpg
      receipts/{id}.json     points to the shard
      index.parquet slides.parquet tiles.parquet dataset.json README.md croissant.json     seal
      report/index.html
      runs/{model}/...       benchmark.csv benchmark.html

A file appears under its name complete or not at all: written under a name of its own beside it,
fsynced, renamed, and the folder fsynced.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiprep.errors import StoreError, from_os_error
from wsiprep.temporaries import temporary_name


@dataclass(frozen=True, slots=True)
class SlideFolder:
    """What ``survey`` writes about one slide."""

    root: Path

    @property
    def record(self) -> Path:
        return self.root / "slide.json"

    @property
    def regions(self) -> Path:
        return self.root / "regions.geojson"

    @property
    def tissue(self) -> Path:
        return self.root / "tissue.png"

    @property
    def candidates(self) -> Path:
        return self.root / "candidates.parquet"

    @property
    def colours(self) -> Path:
        return self.root / "colours.npz"

    @property
    def overview(self) -> Path:
        return self.root / "overview.jpg"

    @property
    def tiles(self) -> Path:
        """Of collections: a row a tile."""
        return self.root / "tiles.parquet"


@dataclass(frozen=True, slots=True)
class DatasetTree:
    """The paths of one dataset's folder."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.json"

    @property
    def exclusions(self) -> Path:
        return self.root / "exclude.csv"

    @property
    def allowed_duplicates(self) -> Path:
        return self.root / "allow_duplicates.csv"

    @property
    def splits(self) -> Path:
        return self.root / "splits.csv"

    @property
    def plan(self) -> Path:
        return self.root / "plan.parquet"

    @property
    def split(self) -> Path:
        return self.root / "split.parquet"

    @property
    def plan_record(self) -> Path:
        return self.root / "plan.json"

    @property
    def index(self) -> Path:
        return self.root / "index.parquet"

    @property
    def slides_table(self) -> Path:
        return self.root / "slides.parquet"

    @property
    def tiles_table(self) -> Path:
        return self.root / "tiles.parquet"

    @property
    def dataset_record(self) -> Path:
        return self.root / "dataset.json"

    @property
    def card(self) -> Path:
        return self.root / "README.md"

    @property
    def croissant(self) -> Path:
        return self.root / "croissant.json"

    @property
    def report(self) -> Path:
        return self.root / "report" / "index.html"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def benchmark_table(self) -> Path:
        return self.root / "benchmark.csv"

    @property
    def benchmark_page(self) -> Path:
        return self.root / "benchmark.html"

    def slide(self, slide_id: str) -> SlideFolder:
        return SlideFolder(self.root / "slides" / slide_id)

    def plan_slice(self, slide_id: str) -> Path:
        return self.root / "plan" / f"{slide_id}.parquet"

    def shard_folder(self, slide_id: str) -> Path:
        return self.root / "shards" / slide_id

    def shard(self, slide_id: str, digest: str) -> Path:
        return self.shard_folder(slide_id) / f"{digest[:12]}.zarr"

    def rows(self, slide_id: str, digest: str) -> Path:
        return self.shard_folder(slide_id) / f"{digest[:12]}.rows.parquet"

    def preview(self, slide_id: str) -> Path:
        return self.root / "previews" / f"{slide_id}.jpg"

    def receipt(self, slide_id: str) -> Path:
        return self.root / "receipts" / f"{slide_id}.json"

    def slide_ids(self) -> list[str]:
        """Ids of the slides that were surveyed, sorted."""
        folder = self.root / "slides"
        return sorted(p.parent.name for p in folder.glob("*/slide.json")) if folder.is_dir() else []

    def receipt_ids(self) -> list[str]:
        folder = self.root / "receipts"
        return sorted(p.name.removesuffix(".json") for p in folder.glob("*.json")) if folder.is_dir() else []


def fsync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(root: Path) -> None:
    """fsync every file and folder below ``root``, deepest first."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            handle = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        fsync_folder(Path(folder))


@contextlib.contextmanager
def published_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; on success it replaces ``path`` atomically.

    Raises:
        StorageError: (exit 74) for any OSError on the way; nothing half is left under ``path``.
    """
    temporary = path.parent / f"{temporary_name()}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        handle = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except OSError as error:
        raise from_os_error(error, path=path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def published_folder(parent: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield a temporary folder and a list; append the final path to the list to publish it there.

    Where the final path exists already (same content, another writer) the temporary is discarded.
    """
    temporary = parent / temporary_name()
    final: list[Path] = []
    try:
        temporary.mkdir(parents=True)
        yield temporary, final
        if final and not final[0].exists():
            fsync_tree(temporary)
            try:
                os.rename(temporary, final[0])
            except OSError:
                # Another writer of the same content was first; anything else is an error.
                if not final[0].exists():
                    raise
            fsync_folder(parent)
    except OSError as error:
        raise from_os_error(error, path=error.filename or parent) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not final:
            # Nothing was published: a folder that was made for it and is empty belongs to nothing.
            with contextlib.suppress(OSError):
                parent.rmdir()


def write_bytes(path: Path, data: bytes) -> None:
    """Publish ``data`` under ``path``."""
    with published_file(path) as temporary:
        temporary.write_bytes(data)


def write_bytes_if_changed(path: Path, data: bytes) -> bool:
    """Publish only where the bytes differ, so that what depends on the file is not redone. True if written."""
    try:
        if path.read_bytes() == data:
            return False
    except OSError:
        pass  # missing or unreadable: writing it is the answer either way
    write_bytes(path, data)
    return True


def json_bytes(value: Any) -> bytes:
    """Indented JSON with sorted keys and a final newline."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Publish a value as JSON."""
    write_bytes(path, json_bytes(value))


def read_json(path: Path) -> Any:
    """The value in a JSON artefact.

    Raises:
        StoreError: missing or damaged, with what to do.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            "a file of the dataset is missing", got=str(path), fix="run the stage that writes it"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError("a file of the dataset is damaged", got=str(error), file=path) from error
