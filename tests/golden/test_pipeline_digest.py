"""The digest of a whole small dataset: it fails when bytes change and no stage's revision says so."""

from __future__ import annotations

from pathlib import Path

from slide_files import Writing, mean_of_blocks, texture, write_pyramid

from wsiprep.artifacts import DatasetTree
from wsiprep.config import Recipe, recipe_from_mapping
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.stages.pack import pack
from wsiprep.stages.plan import plan
from wsiprep.stages.revisions import REVISION
from wsiprep.stages.survey import survey

ADVICE = (
    "the bytes of a dataset changed: if that is meant, bump the stage's number in wsiprep/stages/revisions.py, say so "
    "in CHANGELOG.md, and put the new digest here"
)
EXPECTED = "63743260932c69227d7dbff676419843ea548bfd07c8749b858beaadcc9e5bae"
REVISIONS = {"survey": 3, "plan": 3, "pack": 3, "seal": 3, "report": 3, "train": 1, "benchmark": 1}

XML = """<?xml version="1.0"?>
<ASAP_Annotations>
 <Annotations>
  <Annotation Name="a" Type="Polygon" PartOfGroup="tumour" Color="#F4FA58"><Coordinates>
   <Coordinate Order="0" X="40.5" Y="30.5"/><Coordinate Order="1" X="700.25" Y="80"/>
   <Coordinate Order="2" X="620" Y="560.5"/><Coordinate Order="3" X="90" Y="500"/>
  </Coordinates></Annotation>
  <Annotation Name="b" Type="Rectangle" PartOfGroup="exclusion" Color="#64FE2E"><Coordinates>
   <Coordinate Order="0" X="200" Y="200"/><Coordinate Order="1" X="300.5" Y="200"/>
   <Coordinate Order="2" X="300.5" Y="310"/><Coordinate Order="3" X="200" Y="310"/>
  </Coordinates></Annotation>
 </Annotations>
 <AnnotationGroups/>
</ASAP_Annotations>
"""


def make(folder: Path) -> tuple[SlideRow, Recipe]:
    """A lossless slide of 800 x 640 px, so that no JPEG library has a say, and one annotated tumour with a hole."""
    level_0 = texture(800, 640, seed=3)
    path = write_pyramid(folder / "golden.tif", [level_0, mean_of_blocks(level_0, 2)], Writing(resolution_um=0.5))
    xml = folder / "golden.xml"
    xml.write_text(XML)
    row = SlideRow(
        slide_id="golden", raw_id="golden", slide=str(path), slide_ref="golden.tif", annotation=str(xml),
        annotation_ref="golden.xml", annotation_state="exhaustive",
    )  # fmt: skip
    recipe = recipe_from_mapping(
        {
            "name": "golden",
            "spacing_um": 1.0,
            "annotations": {"groups": {"exclusion": "background"}},
            "sampling": {"patch_size_px": 64},
            "tissue": {"method": "s"},
            "keep": {"rules": [{"labels": ["tumour"], "min": 0.05, "max": 0.995}]},
            "split": {"kind": "none"},
        }
    )
    return row, recipe


def test_the_digest_of_a_shard_is_known(tmp_path: Path) -> None:
    row, recipe = make(tmp_path)
    tree = DatasetTree(tmp_path / "out")
    survey(row, recipe, tree, NullReporter())
    plan([row], recipe, tree, NullReporter())
    receipt = pack(row, recipe, tree, NullReporter())
    assert dict(REVISION) == REVISIONS, ADVICE
    assert (receipt.n_patches, receipt.digest) == (20, EXPECTED), ADVICE
