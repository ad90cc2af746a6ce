"""One picture in every annotation format: what the tests of the readers share.

A picture is a list of outlines, each a group and polygons (shells with holes) in level-0 pixels. A
``FileFormat`` writes it as a program would, exactly: what the file says is what the picture says, so each
reader has to give the same mask. A format that has no holes writes them as it does: ImageScope as
negative regions, ASAP and NDPA as outlines of a group that the recipe maps to background.

To add a format: an entry in ``FILE_FORMATS`` under its name in ``annotations.format``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from annotation_files_json import write_coco, write_dsa, write_geojson, write_labelme

from wsiprep.annotations import AnnotationSet, SlideFrame, read_annotations
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.geometry import Size, Spacing

Point = tuple[float | str, float | str]
"""A text stands in the file as it is: that is how tests plant what is no number."""

Ring = Sequence[Point]
Polygon = Sequence[Ring]
"""A shell and its holes, not closed."""

HOLE = "hole"
"""Group of holes where a format has none; recipes of these tests map it to background."""

SIZE = Size(256, 192)
# A quarter of a micrometre: nanometres are then whole multiples of 250 / 4 px, and all conversions exact.
SPACING = Spacing(0.25, 0.5)
OFFSETS_NM = (1_234_000, -56_500)
FRAME = SlideFrame(
    SIZE, SPACING, "slide.ndpi",
    {"hamamatsu.XOffsetFromSlideCentre": str(OFFSETS_NM[0]), "hamamatsu.YOffsetFromSlideCentre": str(OFFSETS_NM[1])},
)  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """One annotation of a picture."""

    group: str
    polygons: Sequence[Polygon]


Picture = Sequence[Outline]


@dataclass(frozen=True)
class FileFormat:
    """How a picture is written in one format.

    Attributes:
        suffix: of the file.
        write: picture -> the file's text.
        groups: what a recipe has to say beside the tests' own groups.
        holes: holes belong to their outline (negative shapes included), so islands in them are kept; otherwise
            the group HOLE stands for them.
    """

    suffix: str
    write: Callable[[Picture], str]
    groups: Mapping[str, str] = field(default_factory=dict)
    holes: bool = False


def recipe_for(form: FileFormat, groups: Mapping[str, str], labels: Sequence[str], **annotations: object) -> Recipe:
    return recipe_from_mapping(
        {"name": "test", "labels": list(labels), "downsample": 1,
         "annotations": {"groups": {**groups, HOLE: "background", **form.groups}, **annotations}}
    )  # fmt: skip


def read_picture(
    folder: Path, name: str, picture: Picture, groups: Mapping[str, str], labels: Sequence[str], **annotations: object
) -> AnnotationSet:
    """The picture written in a format and read again, the format taken from the content."""
    form = FILE_FORMATS[name]
    path = folder / f"picture{form.suffix}"
    path.write_text(form.write(picture), encoding="utf-8")
    return read_annotations(path, recipe_for(form, groups, labels, **annotations), FRAME)


def write_asap(picture: Picture) -> str:
    rows = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "<Annotations>"]
    for group, ring in _plain_rings(picture):
        rows += [f'<Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">', "<Coordinates>"]
        rows += [f'<Coordinate Order="{k}" X="{x}" Y="{y}" />' for k, (x, y) in enumerate(ring)]
        rows += ["</Coordinates>", "</Annotation>"]
    return "\n".join([*rows, "</Annotations>", "<AnnotationGroups />", "</ASAP_Annotations>", ""])


def write_imagescope(picture: Picture) -> str:
    """A layer for each outline; holes as negative regions, which stand before the outline they are cut from."""
    rows = ['<Annotations MicronsPerPixel="0.25">']
    for k, outline in enumerate(picture, start=1):
        rows += [
            f'<Annotation Id="{k}" Name="" ReadOnly="0" Type="4" LineColor="65280" Visible="1">',
            '<Attributes><Attribute Name="Description" Id="0" Value=""/></Attributes>', "<Regions>",
            '<RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/></RegionAttributeHeaders>',
        ]  # fmt: skip
        for shell, *holes in outline.polygons:
            for negative, ring in [*((1, hole) for hole in holes), (0, shell)]:
                text = f'Text=" {outline.group} " NegativeROA="{negative}"'
                rows += [f'<Region Id="{len(rows)}" Type="0" Zoom="1" {text}>', "<Attributes/>", "<Vertices>"]
                rows += [f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in ring]
                rows += ["</Vertices>", "</Region>"]
        rows += ["</Regions>", "<Plots/>", "</Annotation>"]
    return "\n".join([*rows, "</Annotations>", ""])


def write_ndpa(picture: Picture) -> str:
    rows = ['<?xml version="1.0" encoding="utf-8" standalone="yes"?>', "<annotations>"]
    for k, (group, ring) in enumerate(_plain_rings(picture), start=1):
        rows += [
            f'<ndpviewstate id="{k}">', f"<title>{group}</title>", "<details />",
            "<coordformat>nanometers</coordformat>", "<lens>20.0</lens>", "<x>0</x>", "<y>0</y>", "<z>0</z>",
            "<showtitle>0</showtitle>", '<annotation type="freehand" displayname="AnnotateFreehand" color="#00ff00">',
            "<measuretype>0</measuretype>", "<closed>1</closed>", "<pointlist>",
        ]  # fmt: skip
        rows += [f"<point>\n<x>{nm_x(x)}</x>\n<y>{nm_y(y)}</y>\n</point>" for x, y in ring]
        rows += ["</pointlist>", "</annotation>", "</ndpviewstate>"]
    return "\n".join([*rows, "</annotations>", ""])


def nm_x(x_px: float | str) -> float | str:
    """Nanometres from the slide's centre; what is no number is left as it is."""
    return x_px if isinstance(x_px, str) else (x_px - SIZE.width_px / 2) * 250 + OFFSETS_NM[0]


def nm_y(y_px: float | str) -> float | str:
    return y_px if isinstance(y_px, str) else (y_px - SIZE.height_px / 2) * 500 + OFFSETS_NM[1]


def _plain_rings(picture: Picture) -> list[tuple[str, Ring]]:
    """(group, ring) of each outline without holes, and of its holes as a group of their own."""
    rings = []
    for outline in picture:
        for shell, *holes in outline.polygons:
            rings += [(outline.group, shell), *((HOLE, hole) for hole in holes)]
    return rings


FILE_FORMATS: dict[str, FileFormat] = {
    "asap": FileFormat(".xml", write_asap),
    "imagescope": FileFormat(".xml", write_imagescope, holes=True),
    "ndpa": FileFormat(".ndpa", write_ndpa),
    "geojson": FileFormat(".geojson", write_geojson, holes=True),
    "labelme": FileFormat(".json", lambda picture: write_labelme(picture, HOLE)),
    "coco": FileFormat(".json", lambda picture: write_coco(picture, HOLE, FRAME.name)),
    "dsa": FileFormat(".json", write_dsa, holes=True),
}
"""Name in ``annotations.format`` -> how tests write it. JSON formats are added below this line."""
