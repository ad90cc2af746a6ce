"""Small ASAP files and recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from wsiprep.annotations import AnnotationSet, read_asap
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.geometry import Size

SLIDE = Size(100, 100)
SQUARE = ((2, 2), (8, 2), (8, 8), (2, 8))


def recipe_of(groups: dict[str, str] | None = None, labels: Iterable[str] = ("tumour",), **annotations: str) -> Recipe:
    return recipe_from_mapping(
        {"name": "test", "labels": list(labels), "downsample": 1,
         "annotations": {"groups": {"Tumor": "tumour"} if groups is None else groups, **annotations}}
    )  # fmt: skip


def shape(points: Iterable[tuple[object, object]], group: str = "Tumor", kind: str = "Polygon", name: str = "a") -> str:
    rows = [f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">', "<Coordinates>"]
    rows += [f'<Coordinate Order="{k}" X="{x}" Y="{y}" />' for k, (x, y) in enumerate(points)]
    return "\n".join([*rows, "</Coordinates>", "</Annotation>"])


def document(
    *shapes: str, groups: str = '<Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes /></Group>'
) -> str:
    head = '<?xml version="1.0"?>\n<ASAP_Annotations>\n<Annotations>\n'
    tail = f"\n</Annotations>\n<AnnotationGroups>\n{groups}\n</AnnotationGroups>\n</ASAP_Annotations>\n"
    return head + "\n".join(shapes) + tail


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., AnnotationSet]:
    """Read a text or bytes as an ASAP file of a 100 x 100 slide."""

    def run(content: str | bytes, recipe: Recipe | None = None, size: Size = SLIDE) -> AnnotationSet:
        path = tmp_path / "slide.xml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_asap(path, recipe or recipe_of(), size)

    return run


@pytest.fixture
def asap() -> AsapMaker:
    return AsapMaker()


class AsapMaker:
    """What the tests build files from."""

    SQUARE = SQUARE
    recipe = staticmethod(recipe_of)
    shape = staticmethod(shape)
    document = staticmethod(document)
