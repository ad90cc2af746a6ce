"""Damaged files raise AnnotationError and nothing else, quickly."""

from __future__ import annotations

import random
import time

import pytest

from wsiprep.annotations import AnnotationSet, read_annotations
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import AnnotationError
from wsiprep.geometry import Size

RECIPE = recipe_from_mapping(
    {"name": "t", "labels": ["tumour"], "downsample": 1, "annotations": {"groups": {"Tumor": "tumour", "None": "drop"}}}
)
SEED = b"""<?xml version="1.0" encoding="UTF-8"?>
<ASAP_Annotations>
	<Annotations>
		<Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58">
			<Coordinates>
				<Coordinate Order="0" X="12711.2998" Y="88778.1016" />
				<Coordinate Order="1" X="12612.7998" Y="88895.5" />
				<Coordinate Order="2" X="12597.7002" Y="89050.7969" />
				<Coordinate Order="3" X="12703" Y="8.91606014e4" />
			</Coordinates>
		</Annotation>
		<Annotation Name="gr\xc3\xb6\xc3\x9fer" Type="Rectangle" PartOfGroup="None" Color="#F4FA58">
			<Coordinates>
				<Coordinate Order="0" X="1" Y="1" /><Coordinate Order="1" X="9" Y="9" />
			</Coordinates>
		</Annotation>
		<Annotation Name="d" Type="Dot" PartOfGroup="None" Color="#F4FA58"><Coordinates /></Annotation>
	</Annotations>
	<AnnotationGroups>
		<Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes /></Group>
		<Group Name="inner" PartOfGroup="Tumor" Color="#64FE2E"><Attributes /></Group>
	</AnnotationGroups>
</ASAP_Annotations>
"""
PIECES = (
    b"<",
    b">",
    b"&",
    b'"',
    b"\x00",
    b"\xff",
    b"&#0;",
    b"&x;",
    b"<!DOCTYPE a>",
    b"<![CDATA[x]]>",
    b"<?p?>",
    b"<!--",
    b"9" * 400,
)


def mutated(rng: random.Random) -> bytes:
    data = bytearray(SEED)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        if not data:
            break
        place = rng.randrange(len(data))
        kind = rng.randrange(6)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[place : place + rng.randrange(1, 60)]
        elif kind == 3:
            data[place:place] = rng.choice(PIECES)
        elif kind == 4:
            other = rng.randrange(len(data))
            data[place:place] = data[other : other + rng.randrange(1, 200)]
        else:
            del data[max(1, place) :]
    return bytes(data)


def run(path, count: int, seed: int) -> int:
    rng = random.Random(seed)
    refused = 0
    for _ in range(count):
        data = mutated(rng)
        path.write_bytes(data)
        start = time.perf_counter()
        found: object
        try:
            found = read_annotations(path, RECIPE, Size(100_000, 100_000))
        except AnnotationError as error:
            refused += 1
            found = error
        assert isinstance(found, AnnotationSet) or found.file == str(path)
        assert time.perf_counter() - start < 2
    return refused


def test_the_seed_itself_is_read(tmp_path):
    path = tmp_path / "slide.xml"
    path.write_bytes(SEED)
    assert dict(read_annotations(path, RECIPE, Size(100_000, 100_000)).counts) == {
        "annotations": 3, "dots": 1, "dropped_groups": 1
    }  # fmt: skip


def test_mutations_raise_only_annotation_errors(tmp_path):
    assert run(tmp_path / "slide.xml", 200, seed=1) > 100


@pytest.mark.long
def test_many_mutations_raise_only_annotation_errors(tmp_path):
    assert run(tmp_path / "slide.xml", 2000, seed=2) > 1000
