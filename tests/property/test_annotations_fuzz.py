"""Damaged files of every format raise AnnotationError and nothing else, quickly and in little memory."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import pytest
from annotation_files import FILE_FORMATS, FRAME, HOLE, Outline, recipe_for

from wsiprep.annotations import AnnotationSet, read_annotations
from wsiprep.errors import AnnotationError

GROUPS = {"Tumor": "tumour", "größer": "tumour", "None": "drop"}
PICTURE = (
    Outline("Tumor", [[((10.5, 20.25), (90, 20), (90.75, 100), (1e1, 100)), ((30, 40), (30, 60), (45, 70))]]),
    Outline("größer", [[((100, 10), (140, 60), (140, 10), (100, 60))]]),
    Outline("None", [[((1, 1), (2, 2))]]),
    Outline("Tumor", [[((150, 100), (180, 101), (170, 140))], [((200, 100), (230, 100), (230, 130))]]),
)
# What pictures cannot hold: other kinds of shapes, nested groups, comments, entities.
MORE = {
    "asap": ("</Annotations>", """<Annotation Name="d" Type="Dot" PartOfGroup="None" Color="#F4FA58"><Coordinates />
</Annotation><Annotation Name="&lt;s&#252;&gt;" Type="Spline" PartOfGroup="inner" Color=""><Coordinates>
<Coordinate Order="2" X="1" Y="8.91e1" /><Coordinate Order="0" X="9" Y="9" /><Coordinate Order="7" X="-4" Y="3" />
</Coordinates></Annotation></Annotations><AnnotationGroups>
<Group Name="inner" PartOfGroup="Tumor" Color="#64FE2E"><Attributes /></Group>
<Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes /></Group></AnnotationGroups>"""),
    "imagescope": ("<Plots/>", """<Plots><!-- none --></Plots></Annotation><Annotation Id="9" Name="Tumor">
<Regions><Region Id="1" Type="2" Text="" NegativeROA="0"><Vertices><Vertex X="5" Y="5"/><Vertex X="60" Y="30"/>
</Vertices></Region><Region Id="2" Type="1" NegativeROA="1"><Vertices><Vertex X="15" Y="15"/><Vertex X="40" Y="20"/>
</Vertices></Region><Region Id="3" Type="3" Text="arrow"/></Regions>"""),
    "ndpa": ("</annotations>", """<ndpviewstate id="9"><title>Tumor</title><coordformat>micrometers</coordformat>
<annotation type="circle" color="#00ff00"><x>1230</x><y>-50</y><radius>12</radius></annotation>
<annotation type="pin" color="#00ff00"><x>1</x><y>5</y></annotation></ndpviewstate></annotations>"""),
}  # fmt: skip
PIECES = (
    b"<", b">", b"&", b'"', b"'", b"\x00", b"\xff", b"&#0;", b"&x;", b"<!DOCTYPE a>", b"<![CDATA[x]]>", b"<?p?>",
    b"<!--", b"9" * 400, b"[", b"]", b"{", b"}", b",", b":", b"null", b"NaN", b"-1e999", b"\\ud800", b"[[[[[[[[",
    b'"":{}', b"e",
)  # fmt: skip
MAX_GROWTH_KIB = 500 * 1024


def seed_of(name: str) -> bytes:
    form = FILE_FORMATS[name]
    text = form.write(PICTURE)
    if name in MORE:
        old, new = MORE[name]
        assert old in text
        text = text.replace(old, new, 1)
    return text.encode()


def mutated(seed: bytes, rng: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 5, 20))):
        if not data:
            break
        place = rng.randrange(len(data))
        kind = rng.choice((0, 1, 2, 3, 4, 5, 5, 5, 6))
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
        elif kind == 5:
            # Numbers are what matters, so they are hit more often than by chance.
            digits = [k for k, byte in enumerate(data) if byte in b"0123456789"]
            if digits:
                data[rng.choice(digits)] = rng.choice(b"0123456789.,eE+-_nN ")
        else:
            del data[max(1, place) :]
    return bytes(data)


def run(folder: Path, name: str, count: int, seed: int) -> tuple[int, int]:
    """(mutations that were read, that were refused); each within 2 s and all of them within the memory allowed."""
    form, rng = FILE_FORMATS[name], random.Random(f"{name} {seed}")
    path, original = folder / f"slide{form.suffix}", seed_of(name)
    recipes = [recipe_for(form, GROUPS, ["tumour"], format=how, invalid_rings=rule, unknown_group=unknown)
               for how, rule, unknown in (("auto", "even-odd", "error"), (name, "non-zero", "drop"))]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = refused = 0
    for number in range(count):
        path.write_bytes(mutated(original, rng))
        start = time.process_time()
        found: AnnotationSet | AnnotationError
        try:
            found = read_annotations(path, recipes[number % 2], FRAME)
        except AnnotationError as error:
            found = error
        assert time.process_time() - start < 2
        if isinstance(found, AnnotationError):
            refused += 1
            assert found.file == str(path)
        else:
            read += 1
            assert all(region.geometry.is_valid and region.geometry.area > 0 for region in found.regions)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB
    return read, refused


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_the_seed_itself_is_read(tmp_path, name):
    path = tmp_path / f"slide{FILE_FORMATS[name].suffix}"
    path.write_bytes(seed_of(name))
    found = read_annotations(path, recipe_for(FILE_FORMATS[name], GROUPS, ["tumour"]), FRAME)
    assert found.counts["dropped_groups"] == 1
    assert found.counts["repaired_rings"] == 1
    assert {region.group for region in found.regions} - {HOLE} == {"Tumor", "größer"}


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_mutations_raise_only_annotation_errors(tmp_path, name):
    read, refused = run(tmp_path, name, 100, seed=1)
    assert refused > 20
    assert read > 5


@pytest.mark.long
@pytest.mark.parametrize("name", FILE_FORMATS)
def test_many_mutations_raise_only_annotation_errors(tmp_path, name):
    read, refused = run(tmp_path, name, 2000, seed=2)
    assert refused > 500
    assert read > 200
