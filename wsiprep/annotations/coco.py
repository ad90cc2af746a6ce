"""COCO's JSON: one file for many images; polygons, run-length masks and boxes with a category."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from wsiprep.annotations.edges import Floats, Ints
from wsiprep.annotations.json_source import Convert, JsonFile, read_json, shown
from wsiprep.annotations.json_text import MAX_VERTICES
from wsiprep.annotations.outlines import MAX_MASK_PX, mask_polygons, runs_mask
from wsiprep.annotations.regions import SlideFrame
from wsiprep.annotations.shapes import Mark, ParsedFile, Polygon, Shape, box_ring

_LISTED = 5
_MAX_CHARACTERS = 7
"""Of one compressed run: five bits each."""

Id = int | float | str


@dataclass(frozen=True, slots=True)
class _Image:
    id: Id
    name: str
    width: Any
    height: Any
    line: int


@dataclass(frozen=True, slots=True)
class _Category:
    id: Id
    name: str
    above: str
    line: int


@dataclass(frozen=True, slots=True)
class _Annotation:
    """What is kept of an annotation until the images and categories are known."""

    id: Id | None
    image: Id
    category: Id
    crowd: bool
    rings: tuple[Floats, ...]
    runs: Ints | None
    runs_size: tuple[int, int]
    box: Floats | None
    line: int


def parse_coco(path: Path, frame: SlideFrame) -> ParsedFile:
    """The shapes of the one image in a COCO file that is the slide.

    That is the image whose ``file_name`` is ``frame.name``; else the one whose ``file_name`` ends so after
    its last slash; else the one whose name without folder and suffix is the slide's without its suffix. Its
    ``width`` and ``height``, where the file has them, have to be the slide's.

    The group is the category's name, its ancestor the ``supercategory``. A segmentation of lists is one
    polygon each ([x, y, x, y, ...], no holes), all of them parts of one shape; a run-length mask
    (``counts`` as a list or compressed, in columns) is taken pixel by pixel, as the outline along the pixels'
    edges; an annotation without a segmentation is its ``bbox`` [x, y, width, height] (kind "bbox").
    Coordinates count from the upper left corner of the first pixel, as here.

    Counts: ``other_images`` (annotations of other images, not used), ``crowds`` (``iscrowd``),
    ``without_geometry``, ``empty_geometries`` (masks without a pixel).

    Raises:
        AnnotationError: with file and line: no COCO file, no image or several for this slide, an image of
            another size, an unknown image or category, a mask of another size, a number that is none.
    """
    file = read_json(
        path,
        {
            ("images",): lambda file: _kept(file, "an image", _image),
            ("categories",): lambda file: _kept(file, "a category", _category),
            ("annotations",): lambda file: _kept(file, "an annotation", _annotation),
        },
    )
    value = file.value
    if not isinstance(value, dict) or not all(isinstance(value.get(k), list) for k in ("images", "annotations")):
        raise file.error("this JSON is no COCO file", 1, got=shown(value),
                         expected='{"images": [...], "annotations": [...], "categories": [...]}')  # fmt: skip
    images: dict[Id, _Image] = _by_id(file, value["images"], "image")
    kinds = file.array(value.get("categories") or [], "categories", 1)
    categories: dict[Id, _Category] = _by_id(file, kinds, "category")
    image = _image_of(file, list(images.values()), frame)
    found = value["annotations"]
    for annotation in found:
        if annotation.image not in images:
            raise file.error("an annotation of an image that the file does not have", annotation.line,
                             got=f"image_id {shown(annotation.image)}", expected="an id of images")  # fmt: skip
    shapes = tuple(_shape(file, one, categories, frame) for one in found if one.image == image.id)
    others = len(found) - len(shapes)
    return ParsedFile(shapes, {"other_images": others} if others else {})


def _kept(file: JsonFile, name: str, read: Any) -> Convert:
    def convert(value: Any, line: int) -> Any:
        if not isinstance(value, dict):
            raise file.error(f"{name} is no object", line, got=shown(value), expected="{...}")
        return read(file, value, line)

    return convert


def _image(file: JsonFile, value: dict[str, Any], line: int) -> _Image:
    name = file.text(value.get("file_name"), "file_name", line)
    return _Image(_id(file, value, "id", line), name, value.get("width"), value.get("height"), line)


def _category(file: JsonFile, value: dict[str, Any], line: int) -> _Category:
    above = file.text(value.get("supercategory"), "supercategory", line)
    return _Category(_id(file, value, "id", line), file.text(value.get("name"), "name", line), above, line)


def _annotation(file: JsonFile, value: dict[str, Any], line: int) -> _Annotation:
    parts = value.get("segmentation")
    rings: list[Floats] = []
    runs, size = None, (0, 0)
    if isinstance(parts, dict):
        runs, size = _runs(file, parts, line)
    elif parts is not None:
        rings = [_ring(file, part, line) for part in file.array(parts, "segmentation", line)]
    box = value.get("bbox")
    if box is not None and box != []:
        box = file.numbers(file.array(box, "bbox", line), "bbox", line)
        if len(box) != 4 or box[2] < 0 or box[3] < 0:
            raise file.error("a bbox has four numbers", line, got=shown(box.tolist()), expected="[x, y, width, height]")
    number = value.get("id")
    return _Annotation(
        id=number if isinstance(number, int | str) else None,
        image=_id(file, value, "image_id", line),
        category=_id(file, value, "category_id", line),
        crowd=value.get("iscrowd") in (1, True),
        rings=tuple(rings),
        runs=runs,
        runs_size=size,
        box=box if isinstance(box, np.ndarray) else None,
        line=line,
    )


def _id(file: JsonFile, value: dict[str, Any], key: str, line: int) -> Id:
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise file.error(f"{key} is no number or text", line, got=shown(found), expected="a number")
    return found


def _ring(file: JsonFile, part: Any, line: int) -> Floats:
    values = file.array(part, "segmentation", line)
    if len(values) % 2:
        raise file.error("a polygon has pairs of numbers", line, got=f"{len(values)} numbers",
                         expected="[x, y, x, y, ...]")  # fmt: skip
    return file.numbers(values, "segmentation", line).reshape(-1, 2)


def _runs(file: JsonFile, mask: dict[str, Any], line: int) -> tuple[Ints, tuple[int, int]]:
    """Lengths of runs, and width and height, of a run-length mask."""
    size = file.array(mask.get("size"), "segmentation.size", line)
    if len(size) != 2 or any(type(side) is not int or not 0 < side <= 10**7 for side in size):
        raise file.error("a mask has a size", line, got=shown(mask.get("size")), expected="[height, width]")
    height, width = size
    counts = mask.get("counts")
    if isinstance(counts, str):
        runs = _uncompressed(file, counts, line)
    else:
        found = file.array(counts, "segmentation.counts", line)
        if len(found) > MAX_VERTICES or any(type(run) is not int or not 0 <= run <= height * width for run in found):
            raise file.error("a mask's counts are lengths of runs", line, got=shown(counts), expected="whole numbers")
        runs = np.array(found, dtype=np.int64)
    if (runs < 0).any() or float(runs.sum(dtype=np.float64)) != height * width:
        raise file.error("a mask's runs do not add up to its size", line, got=f"{runs.sum(dtype=np.float64):g} pixels",
                         expected=f"{width} x {height} = {height * width}")  # fmt: skip
    return runs, (width, height)


def _uncompressed(file: JsonFile, text: str, line: int) -> Ints:
    """Runs of COCO's compressed text: groups of five bits, lowest first, each run from the third on less the
    one two before it.
    """
    codes = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    wrong = len(codes) and ((codes < 0).any() or (codes > 63).any() or len(ends) == 0 or ends[-1] != len(codes) - 1)
    if wrong or len(ends) > MAX_VERTICES or (lengths > _MAX_CHARACTERS).any():
        raise file.error("a mask's counts are no compressed runs", line, got=shown(text),
                         expected="COCO's characters 0 to o")  # fmt: skip
    starts = ends - lengths + 1
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs: Ints = np.add.reduceat((codes & 31) << (5 * place), starts) if len(ends) else np.zeros(0, dtype=np.int64)
    runs -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _by_id(file: JsonFile, found: list[Any], name: str) -> dict[Id, Any]:
    by_id: dict[Id, Any] = {}
    for one in found:
        if one.id in by_id:
            raise file.error(f"two {name} entries have one id", one.line, got=shown(one.id),
                             expected=f"another one than line {by_id[one.id].line} has")  # fmt: skip
        by_id[one.id] = one
    return by_id


def _image_of(file: JsonFile, images: list[_Image], frame: SlideFrame) -> _Image:
    def bare(name: str) -> str:
        return PurePosixPath(name.replace("\\", "/")).name

    stem = PurePosixPath(frame.name).stem
    found = [image for image in images if image.name == frame.name]
    found = found or [image for image in images if bare(image.name) == frame.name]
    found = found or [image for image in images if PurePosixPath(bare(image.name)).stem == stem]
    if len(found) != 1:
        names = [image.name for image in (found or images)[:_LISTED]]
        more = "" if len(found or images) <= _LISTED else f" and {len(found or images) - _LISTED} more"
        raise file.error(
            f"{'several images' if found else 'no image'} of the COCO file can be this slide's",
            found[1].line if found else file.lines.get(("images",), 1), got=", ".join(map(repr, names)) + more,
            expected=repr(frame.name), fix="correct file_name, or split the file",
        )  # fmt: skip
    (image,) = found
    for side, wanted in (("width", frame.size.width_px), ("height", frame.size.height_px)):
        value = getattr(image, side)
        if value is not None and file.number(value, side, image.line) != wanted:
            raise file.error("the image is of another size than the slide", image.line, got=f"{side} {value}",
                             expected=f"{side} {wanted}", fix="check that the file is of this slide")  # fmt: skip
    return image


def _shape(file: JsonFile, found: _Annotation, categories: dict[Id, _Category], frame: SlideFrame) -> Shape:
    category = categories.get(found.category)
    if category is None:
        raise file.error("an annotation of a category that the file does not have", found.line,
                         got=f"category_id {shown(found.category)}",
                         expected=", ".join(shown(key) for key in list(categories)[:20]))  # fmt: skip
    kind, polygons = _outline(file, found, frame)
    return Shape(
        kind=kind,
        group=category.name,
        polygons=polygons,
        line=found.line,
        name="" if found.id is None else str(found.id),
        ancestors=(category.above,) if category.above and category.above != category.name else (),
        no_area="" if polygons else "empty_geometries" if kind else "without_geometry",
        marks=(Mark("crowds"),) if found.crowd else (),
    )


def _outline(file: JsonFile, found: _Annotation, frame: SlideFrame) -> tuple[str, tuple[Polygon, ...]]:
    if found.runs is not None:
        polygons = _mask(file, found, frame)
        file.take(sum(len(ring) for rings in polygons for ring in rings), found.line)
        return "rle", polygons
    if found.rings:
        file.take(sum(map(len, found.rings)), found.line)
        return "polygon", tuple((ring,) for ring in found.rings)
    if found.box is None:
        return "", ()
    x, y, width, height = found.box.tolist()
    return "bbox", ((box_ring(x, y, x + width, y + height),),)


def _mask(file: JsonFile, found: _Annotation, frame: SlideFrame) -> tuple[Polygon, ...]:
    assert found.runs is not None
    size = (frame.size.width_px, frame.size.height_px)
    if found.runs_size != size:
        raise file.error("a mask of another size than the slide", found.line, expected=f"{size[0]} x {size[1]} px",
                         got=f"{found.runs_size[0]} x {found.runs_size[1]} px")  # fmt: skip
    try:
        cropped = runs_mask(found.runs, size[1])
    except ValueError as error:
        raise file.error("a mask is too large for an outline", found.line, got=str(error),
                         expected=f"at most {MAX_MASK_PX} pixels", fix="use a label raster") from error  # fmt: skip
    return () if cropped is None else mask_polygons(*cropped)
