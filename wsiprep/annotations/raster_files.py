"""Label rasters from files: TIFF, PNG, BMP, .npy arrays and stacks, .mat; the format is taken from the content."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsiprep.annotations.instance_maps import combine_channels
from wsiprep.annotations.labelspec import LabelSpec
from wsiprep.annotations.mat_file import read_mat
from wsiprep.annotations.raster import ArrayPlane, RasterLabels, RasterPlane
from wsiprep.annotations.raster_pictures import PNG_MARK, read_bmp, read_png
from wsiprep.annotations.raster_scale import raster_scale
from wsiprep.annotations.raster_tiff import TiffPlane
from wsiprep.annotations.raster_values import ChannelValues, ClassValues, InstanceValues, ValueRule, code_of
from wsiprep.annotations.regions import SlideFrame
from wsiprep.config import Recipe
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size, Spacing
from wsiprep.manifest import AnnotationState

NPY_MARK = b"\x93NUMPY"
NPY_ERRORS = (
    ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, AttributeError, KeyError,
    RecursionError, tokenize.TokenError,
)  # fmt: skip
"""What numpy raises on damaged headers of .npy files, which hold a Python expression."""

MAX_PICTURE_BYTES = 2**31
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
KNOWN = "TIFF, PNG, BMP, .npy or .mat (version 5 to 7)"
_REFUSED = {
    b"\xff\xd8\xff": ("a JPEG, which changes values along every edge", "export the mask again as PNG or TIFF"),
    b"\x89HDF": (
        "HDF5, such as a .mat file of version 7.3",
        "save it as version 7: save('name.mat', 'inst_map', '-v7')",
    ),
    b"PK\x03\x04": ("a zip archive, such as .npz", "save the array alone, as .npy"),
    b"\x80": ("a Python pickle, which could run code", "save the array with numpy.save and allow_pickle=False"),
    b"GIF8": ("a GIF", "save the mask as PNG"),
}


def is_raster(head: bytes) -> bool:
    """Whether the first 256 bytes of a file are those of a label raster, or of one that is refused with a reason."""
    marks = (
        *_TIFF_MARKS,
        PNG_MARK,
        NPY_MARK,
        b"MATLAB 5.0 MAT",
        b"MATLAB 7.3 MAT",
        *(m for m in _REFUSED if len(m) > 1),
    )
    return head.startswith(marks) or (
        head.startswith(b"BM") and head[14:18] in (b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0")
    )


def open_raster(
    path: str | Path,
    recipe: Recipe,
    frame: SlideFrame,
    state: AnnotationState = "exhaustive",
    *,
    index: int | None = None,
) -> RasterLabels:
    """The labels in a raster that covers a slide or a tile.

    ``recipe.annotations.raster`` says what its values mean: ``values`` (classes), ``instances`` with
    ``label`` (ids), or ``channels`` (a stack with one channel a class).

    Args:
        path: the file.
        recipe: with ``recipe.for_source`` applied.
        frame: size and spacing of the slide or tile.
        state: ``exhaustive`` or ``partial``; what "no object" means in an instance map or a stack.
        index: which tile, where the file is an ``.npy`` stack of tiles (N, H, W) or (N, H, W, C).

    Raises:
        AnnotationError: unreadable, lossy, of another shape than the slide, absurd, or the recipe does not
            say what its values mean.
    """
    path = Path(path)
    raster = recipe.annotations.raster
    spec = LabelSpec(tuple(recipe.labels), state)
    where = "" if index is None else f" in tile {index}"
    rule = value_rule(recipe, spec)
    found = _open(path, raster.variable, index)
    counts: dict[str, int] = {}
    spacing, tile = None, None
    plane: RasterPlane
    if isinstance(found, TiffPlane):
        if raster.channels:
            raise AnnotationError(
                "a stack of channels is an .npy or .mat array", got="TIFF", file=path, fix="remove raster.channels"
            )
        plane, spacing, tile = found, found.spacing, found.tile
    else:
        values = found
        if raster.channels:
            values, counts = combine_channels(values, raster.channels, raster.overlap, file=path, where=where)
        if values.ndim != 2:
            raise AnnotationError(
                f"the label raster is no plane{where}", got=f"shape {values.shape}", expected="(height, width)",
                fix="for a stack of tiles, name it in a collection; for channels, list raster.channels", file=path,
            )  # fmt: skip
        plane = ArrayPlane(values, path)
    if raster.spacing_um is not None:
        spacing = Spacing(raster.spacing_um, raster.spacing_um)
    scale = raster_scale(
        plane.size, frame.size, raster_spacing=spacing, slide_spacing=frame.spacing, tile=tile, file=path
    )
    return RasterLabels(plane, rule, spec, frame.size, scale, file=path, counts=counts)


def open_tile_labels(
    path: str | Path, recipe: Recipe, size: Size, state: AnnotationState = "exhaustive", *, index: int | None = None
) -> RasterLabels:
    """The labels of one ready-cut tile: a file of its own, or one of a stack.

    The raster must have exactly the tile's size: labels of another size belong to another tile.

    Args:
        path: the tile's label file, or the ``.npy`` stack.
        recipe: with ``recipe.for_source`` applied.
        size: of the tile.
        state: see ``open_raster``.
        index: the tile's place in a stack, else None.

    Raises:
        AnnotationError: as ``open_raster``, or another size than the tile.
    """
    labels = open_raster(path, recipe, SlideFrame(size), state, index=index)
    if labels.raster_size != size:
        raise AnnotationError(
            "the labels of a tile have another size than its pixels",
            got=f"{labels.raster_size.width_px} x {labels.raster_size.height_px} px",
            expected=f"{size.width_px} x {size.height_px} px",
            fix="check that they belong together",
            file=path,
        )
    return labels


def value_rule(recipe: Recipe, spec: LabelSpec) -> ValueRule:
    """What the recipe says of a raster's values."""
    raster = recipe.annotations.raster
    if raster.channels:
        return ChannelValues(tuple(code_of(name, spec) for name in raster.channels), spec.outside)
    if not raster.instances:
        return ClassValues.of(raster.values, spec)
    listed = {value: code_of(name, spec) for value, name in raster.values.items()}
    if raster.label is None:
        raise AnnotationError(
            "the recipe does not say which label the objects of an instance map carry",
            expected=", ".join(spec.labels),
            fix="annotations: {raster: {instances: true, label: " + spec.labels[0] + "}}",
        )  # fmt: skip
    return InstanceValues(code_of(raster.label, spec), spec.outside, listed)


def _open(path: Path, variable: str, index: int | None) -> TiffPlane | npt.NDArray[Any]:
    try:
        with path.open("rb") as stream:
            head = stream.read(256)
        size_bytes = path.stat().st_size
    except OSError as error:
        raise AnnotationError(
            "the label raster cannot be read", got=error.strerror, fix="check the path", file=path
        ) from error
    for mark, (what, fix) in _REFUSED.items():
        if head.startswith(mark):
            raise AnnotationError(f"the label raster is {what}", expected=KNOWN, fix=fix, file=path)
    if head.startswith(b"MATLAB 7.3 MAT"):
        raise AnnotationError(
            "a .mat file of version 7.3 is HDF5, which is not read", expected=KNOWN,
            fix="save it as version 7: save('name.mat', 'inst_map', '-v7')", file=path,
        )  # fmt: skip
    if head.startswith(NPY_MARK):
        return open_npy(path, index)
    if index is not None:
        raise AnnotationError("only an .npy file holds a stack of tiles", got=path.suffix or "no suffix", file=path)
    if head.startswith(_TIFF_MARKS):
        return TiffPlane(path)
    if head.startswith(b"MATLAB 5.0 MAT") or path.suffix.lower() == ".mat":
        return read_mat(path, variable)
    if size_bytes > MAX_PICTURE_BYTES:
        raise AnnotationError("the label raster is too large a file", got=f"{size_bytes} bytes", file=path)
    if head.startswith(PNG_MARK):
        return read_png(path.read_bytes(), path)
    if head.startswith(b"BM"):
        return read_bmp(path.read_bytes(), path)
    raise AnnotationError("the label raster is of an unknown format", got=repr(head[:16]), expected=KNOWN, file=path)


def open_npy(path: Path, index: int | None = None) -> npt.NDArray[Any]:
    """An ``.npy`` array mapped into memory, or one tile of a stack; never unpickled.

    A header that claims more than the file holds is refused before anything is allocated.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_ERRORS as error:
        raise AnnotationError(
            "the .npy file cannot be read", got=str(error)[:200], expected="a whole array of numbers, without pickles",
            fix="fetch it again, or save it with numpy.save(..., allow_pickle=False)", file=path,
        ) from error  # fmt: skip
    if array.dtype.kind not in "biuf" or not array.size:
        raise AnnotationError(
            "the .npy file holds no labels", got=f"{array.dtype} of shape {array.shape}",
            expected="whole numbers", file=path,
        )  # fmt: skip
    if index is None:
        return array
    if array.ndim not in (3, 4):
        raise AnnotationError(
            "the .npy file is no stack of tiles", got=f"shape {array.shape}", expected="(N, H, W) or (N, H, W, C)",
            file=path,
        )  # fmt: skip
    if not 0 <= index < len(array):
        raise AnnotationError(
            "the stack has no such tile", got=index, expected=f"0 to {len(array) - 1}",
            fix="the stacks of images and of masks belong to different tiles", file=path,
        )  # fmt: skip
    tile: npt.NDArray[Any] = array[index]
    return tile
