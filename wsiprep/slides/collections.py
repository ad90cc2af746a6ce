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
from wsiprep.slides.collection_names import MAX_TILES, Pattern, apart, check_name, same_folder
from wsiprep.slides.collection_table import TileFacts, facts_of_tiles
from wsiprep.slides.collection_tiles import NPY_ERRORS, map_stack, measure, open_tile, tile_of_stack
from wsiprep.slides.identity import slide_identity
from wsiprep.slides.protocol import Slide


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

    def labels_identity(self) -> str:
        """sha256 (hexadecimal) over the labels of all tiles, "" without any; reads every file of labels.

        Of a stack of masks, ``slide_identity``: its size and both ends.

        Raises:
            SlideError: a file of labels cannot be read.
        """
        labelled = [(tile.name, tile.labels) for tile in self.tiles if tile.labels is not None]
        if not labelled:
            return ""
        if self._stack is not None:
            return slide_identity(labelled[0][1])
        digest = hashlib.sha256(b"wsiprep labels 1\n")
        for name, path in labelled:
            try:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise SlideError("the labels of a tile cannot be read", got=error.strerror, file=path) from error
            digest.update(os.fsencode(name) + b"\0" + content.encode() + b"\n")
        return digest.hexdigest()

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
        if annotation is not None and labels and spec.labels is None:
            raise SlideError(
                "the manifest names labels, and the recipe does not say which belong to which tile",
                got=str(annotation), expected="collection: {labels: ...}, such as Labels/{tile}.png", file=place,
            )  # fmt: skip
        return _folder(place, spec, Path(annotation) if annotation is not None else place, labels=labels)
    if place.suffix.lower() == ".npy" and place.is_file():
        return _stack(place, spec, Path(annotation) if annotation is not None and labels else None)
    raise SlideError(
        "there is no such collection", got=str(place), expected="a folder of tiles, or an .npy stack", file=place
    )


# --- folders ------------------------------------------------------------------------------------------


def _folder(root: Path, spec: Collection, label_root: Path, *, labels: bool) -> TileCollection:
    images = Pattern.of(spec.images)
    found, other = images.found_in(root)
    paired: dict[str, Path] = {}
    if spec.labels is not None:
        pattern = Pattern.of(spec.labels)
        paired, _ = pattern.found_in(label_root)
        if same_folder(root / images.folder, label_root / pattern.folder):
            found, paired = apart(images, pattern, found, paired)
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
            check_name(name, found[name], root)
            own = paired.get(name) if labels else None
            if own is not None:
                check_name(name, own, label_root)
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
