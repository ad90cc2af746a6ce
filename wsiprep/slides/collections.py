"""Collections: a folder of ready-cut tiles, or an ``.npy`` stack of them, as one row of the manifest.

Names are matched literally (brackets, blanks and commas mean nothing), tiles are ordered by the bytes of
their names, labels are paired by exactly the same name. Nothing is left out silently: a tile that cannot be
read, a tile without labels, labels without a tile and files that are neither are all listed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wsiprep.config.recipe import Collection
from wsiprep.errors import SlideError, UsageError
from wsiprep.geometry import Size
from wsiprep.slides.collection_table import TileFacts, facts_of_tiles, inside
from wsiprep.slides.collection_tiles import NPY_ERRORS, map_stack, measure, open_tile, tile_of_stack
from wsiprep.slides.identity import slide_identity
from wsiprep.slides.protocol import Slide

MAX_TILES = 1_000_000
_PLACE = "{tile}"


@dataclass(frozen=True, slots=True)
class TileInfo:
    """One tile of a collection.

    Attributes:
        name: what stands for ``{tile}`` in the file's path; in a stack the index, with leading zeros.
        size: in pixels, by the file's header.
        identity: sha256 (hexadecimal) of the tile's file; in a stack, of the stack's identity and the index.
        path: of its file, or of the stack.
        index: its place in a stack, None in a folder.
        labels: file of its labels, or the stack of masks (at ``index``), None without.
        patient, tissue, split, fold, spacing_um, extra: see ``TileFacts``.
    """

    name: str
    size: Size
    identity: str
    path: Path
    index: int | None = None
    labels: Path | None = None
    patient: str = ""
    tissue: str = ""
    split: str | None = None
    fold: int | None = None
    spacing_um: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnreadableTile:
    """A tile that was left out, and why."""

    name: str
    error: SlideError


@dataclass(frozen=True, slots=True, eq=False)
class TileCollection:
    """An open collection.

    Attributes:
        path: the folder or the stack.
        tiles: those whose headers can be read, in order.
        unreadable: those that cannot, in order.
        without_labels: names of tiles without labels, where labels were asked for.
        labels_without_tile: names of labels without a tile.
        extra: files of the tiles' folder that are neither tiles nor labels.
        identity: sha256 (hexadecimal) over all tiles: names and contents; for a stack ``slide_identity``.
    """

    path: Path
    tiles: tuple[TileInfo, ...]
    unreadable: tuple[UnreadableTile, ...]
    without_labels: tuple[str, ...]
    labels_without_tile: tuple[str, ...]
    extra: tuple[str, ...]
    identity: str
    _stack: npt.NDArray[Any] | None = None

    def open(self, tile: TileInfo) -> Slide:
        """A tile, decoded, as a slide of one level.

        Raises:
            SlideError: it cannot be decoded; the other tiles still can.
        """
        if tile.index is None:
            return open_tile(tile.path, tile.identity, tile.size)
        if self._stack is None:
            raise UsageError("the tile belongs to another collection", got=tile.name)
        return tile_of_stack(self._stack, tile.index, tile.identity, self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def is_collection(path: str | Path) -> bool:
    """Whether a manifest's slide is a collection: a folder, or an ``.npy`` stack."""
    place = Path(path)
    return place.suffix.lower() == ".npy" or place.is_dir()


def open_collection(
    path: str | Path, spec: Collection, *, annotation: str | Path | None = None, labels: bool = True
) -> TileCollection:
    """List a collection's tiles, and measure and digest each; pixels are decoded by ``open`` alone.

    Args:
        path: a folder, or an ``.npy`` stack (N, H, W, 3).
        spec: the recipe's ``collection`` (``recipe.for_source`` applied).
        annotation: folder that ``spec.labels`` is looked up in (default: ``path``), or the ``.npy`` stack of
            masks of a stack.
        labels: False where the row says that it has none (annotation states ``normal`` and ``none``).

    Raises:
        SlideError: no such folder, no tile in it, too many, or stacks that do not belong together.
        ManifestError: see ``facts_of_tiles``.
    """
    place = Path(path)
    if place.is_dir():
        return _folder(place, spec, Path(annotation) if annotation is not None else place, labels=labels)
    if place.suffix.lower() == ".npy" and place.is_file():
        return _stack(place, spec, Path(annotation) if annotation is not None and labels else None)
    raise SlideError(
        "there is no such collection", got=str(place), expected="a folder of tiles, or an .npy stack", file=place
    )


# --- folders ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pattern:
    """``Images/{tile}.png`` taken apart: the folder searched, text around the name, what follows below it."""

    folder: Path
    before: str
    after: str
    below: Path | None

    @classmethod
    def of(cls, text: str) -> _Pattern:
        parts = inside(text).parts
        k = next(i for i, part in enumerate(parts) if _PLACE in part)
        before, after = parts[k].split(_PLACE)
        return cls(Path(*parts[:k]), before, after, Path(*parts[k + 1 :]) if k + 1 < len(parts) else None)

    def name(self, entry: str) -> str | None:
        """What ``{tile}`` stands for in a file's name, None where it does not match."""
        fixed = len(self.before) + len(self.after)
        if len(entry) <= fixed or not entry.startswith(self.before) or not entry.endswith(self.after):
            return None
        return entry[len(self.before) : len(entry) - len(self.after)]

    def found_in(self, root: Path) -> tuple[dict[str, Path], list[str]]:
        """name -> path of what matches, and the entries that do not; hidden files count as those."""
        folder = root / self.folder
        try:
            entries = sorted(os.listdir(folder), key=os.fsencode)
        except OSError as error:
            near = sorted(p.name for p in folder.parent.iterdir())[:10] if folder.parent.is_dir() else []
            raise SlideError(
                "a folder of the collection cannot be listed", got=error.strerror,
                expected=f"the folder; beside it: {', '.join(near) or 'nothing'}",
                fix="correct collection.images, collection.labels or the manifest", file=folder,
            ) from error  # fmt: skip
        found: dict[str, Path] = {}
        other: list[str] = []
        for entry in entries:
            name = None if entry.startswith(".") else self.name(entry)
            path = folder / entry if self.below is None else folder / entry / self.below
            if name is None or not path.is_file():
                other.append(entry)
            else:
                found[name] = path
            if len(found) > MAX_TILES:
                raise SlideError("too many tiles for one collection", got=f"over {MAX_TILES}", file=folder)
        return found, other


def _folder(root: Path, spec: Collection, label_root: Path, *, labels: bool) -> TileCollection:
    images = _Pattern.of(spec.images)
    found, other = images.found_in(root)
    paired: dict[str, Path] = {}
    if spec.labels is not None:
        pattern = _Pattern.of(spec.labels)
        paired, _ = pattern.found_in(label_root)
        if _same_folder(root / images.folder, label_root / pattern.folder):
            found, paired = _apart(images, pattern, found, paired)
            mine = {path.name for path in paired.values()}
            other = [entry for entry in other if entry not in mine]
    if not found:
        raise SlideError(
            "the collection has no tiles", got=", ".join(other[:5]) or "an empty folder",
            expected=spec.images, fix="correct collection.images", file=root,
        )  # fmt: skip
    names = sorted(found, key=os.fsencode)
    facts = facts_of_tiles(names, spec, root)
    tiles, unreadable = [], []
    digest = hashlib.sha256(b"wsiprep collection 1\n")
    for name, known in zip(names, facts, strict=True):
        try:
            _check_name(name, found[name], root)
            own = paired.get(name) if labels else None
            if own is not None:
                _check_name(name, own, label_root)
            size, identity = measure(found[name])
        except SlideError as error:
            unreadable.append(UnreadableTile(name, error))
            identity = "-"
        else:
            tiles.append(_tile(name, size, identity, found[name], known, labels=own))
        digest.update(os.fsencode(name) + b"\0" + identity.encode() + b"\n")
    asked = labels and spec.labels is not None
    return TileCollection(
        path=root,
        tiles=tuple(tiles),
        unreadable=tuple(unreadable),
        without_labels=tuple(name for name in names if name not in paired) if asked else (),
        labels_without_tile=tuple(sorted((n for n in paired if n not in found), key=os.fsencode)),
        extra=tuple(other),
        identity=digest.hexdigest(),
    )


def _same_folder(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _apart(
    images: _Pattern, labels: _Pattern, found: dict[str, Path], paired: dict[str, Path]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """In one folder a file that fits both patterns (a.png, a_mask.png) belongs to the one with more fixed text."""
    both = set(found.values()) & set(paired.values())
    if len(labels.before + labels.after) > len(images.before + images.after):
        return {name: path for name, path in found.items() if path not in both}, paired
    return found, {name: path for name, path in paired.items() if path not in both}


def _check_name(name: str, path: Path, root: Path) -> None:
    """Names that a table can hold, and files that lie in the collection."""
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in name):
        raise SlideError(
            "a tile's name has control characters, or is no UTF-8", got=repr(name), fix="rename it", file=repr(name)
        )
    real, base = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, base]) != base:
        raise SlideError(
            "a tile is a link that leaves the collection's folder", got=real, expected=f"a file below {base}",
            fix="copy the file, or name the folder that holds the files", file=path,
        )  # fmt: skip


def _tile(
    name: str,
    size: Size,
    identity: str,
    path: Path,
    known: TileFacts,
    *,
    labels: Path | None,
    index: int | None = None,
) -> TileInfo:
    return TileInfo(
        name=name, size=size, identity=identity, path=path, index=index, labels=labels, patient=known.patient,
        tissue=known.tissue, split=known.split, fold=known.fold, spacing_um=known.spacing_um, extra=known.extra,
    )  # fmt: skip


# --- stacks -------------------------------------------------------------------------------------------


def _stack(path: Path, spec: Collection, masks: Path | None) -> TileCollection:
    stack = map_stack(path)
    count, height, width = stack.shape[:3]
    if count > MAX_TILES:
        raise SlideError("too many tiles for one collection", got=count, expected=f"at most {MAX_TILES}", file=path)
    if masks is not None:
        _check_masks(masks, (count, height, width), path)
    names = [f"{index:0{max(4, len(str(count - 1)))}d}" for index in range(count)]
    facts = facts_of_tiles(names, spec, path.parent, stack=True)
    identity = slide_identity(path)
    tiles = tuple(
        _tile(
            name,
            Size(width, height),
            hashlib.sha256(f"wsiprep tile 1\n{identity}\n{index}\n".encode()).hexdigest(),
            path,
            known,
            labels=masks,
            index=index,
        )
        for index, (name, known) in enumerate(zip(names, facts, strict=True))
    )
    return TileCollection(path, tiles, (), (), (), (), identity, stack)


def _check_masks(path: Path, expected: tuple[int, ...], images: Path) -> None:
    """The shape of the stack of masks alone; ``annotations`` reads its values."""
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except NPY_ERRORS as error:
        raise SlideError("the stack of masks cannot be read", got=str(error)[:200], file=path) from error
    if shape[:3] != expected or len(shape) not in (3, 4):
        raise SlideError(
            "the stack of masks does not fit the stack of tiles", got=f"shape {shape}",
            expected=f"{expected}, and an axis of channels where there are any, as {images.name} has", file=path,
        )  # fmt: skip
