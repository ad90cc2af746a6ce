"""Where the look of a dataset is from: an image, a slide, the cohort; what is recorded, and what is packed again."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
import tifffile
from slide_files import Writing, write_pyramid
from stain_images import he, odd_images

from wsiprep.artifacts import DatasetTree, read_json
from wsiprep.cli import main
from wsiprep.config import recipe_from_mapping
from wsiprep.errors import StainError
from wsiprep.manifest import SlideRow
from wsiprep.progress import NullReporter
from wsiprep.stages import stains
from wsiprep.stages.plan import plan
from wsiprep.stages.stains import fit_stains
from wsiprep.stages.survey import survey
from wsiprep.stages.tables import table_metadata
from wsiprep.stages.targets import image_target, recorded_target, target_inputs
from wsiprep.stain import REFERENCE, fit, histogram, stain_of
from wsiprep.store.tables import read_parquet

SIDE = 640
QUIET = NullReporter()
OTHER = np.array([[0.55, 0.75, 0.36], [0.15, 0.92, 0.36]])


def slide_picture(rgb):
    """Tissue on the left, glass on the right."""
    whole = np.full((SIDE, SIDE, 3), (244, 244, 243), np.uint8)
    whole[:, : rgb.shape[1]] = np.minimum(rgb, 244)
    return whole


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three surveyed slides: two with stains of their own, one that is a pen on glass."""
    folder = tmp_path_factory.mktemp("targets")
    amounts = cv2.resize(he(1, 80), (400, SIDE), interpolation=cv2.INTER_NEAREST)
    other = cv2.resize(he(2, 80, OTHER), (400, SIDE), interpolation=cv2.INTER_NEAREST)
    pen = cv2.resize(odd_images()["one colour"][0], (400, SIDE))
    rows = []
    for name, rgb in (("a", amounts), ("b", other), ("pen", pen)):
        path = write_pyramid(folder / f"{name}.tif", [slide_picture(rgb)], Writing(resolution_um=1.0))
        row = SlideRow(slide_id=name, raw_id=name.upper(), slide=str(path), slide_ref=path.name, patient=name)
        rows.append(row)
    tree = DatasetTree(folder / "out")
    for row in rows:
        survey(row, recipe_of(), tree, QUIET)
    return rows, tree


def recipe_of(**stain):
    stain = {"method": "vahadane", "min_tissue_px": 2000, **stain}
    return recipe_from_mapping(
        {
            "name": "r", "downsample": 1, "sampling": {"patch_size_px": 128}, "split": {"kind": "none"},
            "tissue": {"method": "od"}, "stain": stain,
        }
    )  # fmt: skip


def planned(dataset, recipe_path=None, **stain):
    rows, tree = dataset
    record = plan(rows, recipe_of(**stain), tree, QUIET, recipe_path=recipe_path)
    slices = {row.slide_id: tree.plan_slice(row.slide_id).read_bytes() for row in rows}
    return record["stain"], slices, {name: metadata(tree, name) for name in slices}


def metadata(tree, slide_id):
    return table_metadata(read_parquet(tree.plan_slice(slide_id)))["stain"]


def write_image(path, rgb):
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, rgb, photometric="rgb")
    else:
        cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("method", ["vahadane", "reinhard"])
def test_the_look_of_an_image(dataset, tmp_path, suffix, method):
    (tmp_path / "looks").mkdir()
    path = write_image(tmp_path / "looks" / f"target{suffix}", he(5, 300, OTHER))
    name = f"looks/{path.name}"
    record, _, metadata = planned(dataset, tmp_path / "recipe.yaml", method=method, target="image", target_image=name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert {k: v for k, v in record["target"].items() if k != "fit"} == {
        "kind": "image", "digest": digest, "name": name
    }  # fmt: skip
    source, target = stain_of({"stain": metadata["a"]})
    assert (source.origin, target.origin, target.status) == ("slide", "image", "ok")
    assert metadata["a"]["target_from"] == {"kind": "image", "digest": digest, "name": name}
    assert recorded_target(metadata["a"]).fit == target
    wanted = fit(histogram(he(5, 300, OTHER)), method, 2000)
    if suffix != ".jpg":
        assert target.digest() == wanted.digest()


def test_a_changed_image_packs_again_and_the_same_one_does_not(dataset, tmp_path):
    path = write_image(tmp_path / "look.png", he(5, 300))
    asked = {"recipe_path": tmp_path / "r.yaml", "target": "image", "target_image": "look.png"}
    _, first, _ = planned(dataset, **asked)
    write_image(path, he(5, 300))
    assert planned(dataset, **asked)[1] == first
    write_image(path, he(6, 300))
    _, changed, metadata = planned(dataset, **asked)
    assert all(changed[name] != first[name] for name in first)
    assert metadata["a"]["target_from"]["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_bytes(b"no picture"), "cannot be read"),
        (lambda path: write_image(path, np.full((90, 90, 3), 250, np.uint8)), "too_little_tissue"),
        (lambda path: write_image(path, odd_images()["eosin alone"][0]), "single_stain"),
        (lambda path: write_image(path, odd_images()["green pen"][0]), "ink"),
    ],
)
def test_an_image_without_stains_is_refused(dataset, tmp_path, made, message):
    made(tmp_path / "look.png")
    with pytest.raises(StainError, match=message) as caught:
        planned(dataset, tmp_path / "r.yaml", target="image", target_image="look.png")
    assert str(tmp_path / "look.png") in str(caught.value)


def test_a_very_large_image_is_refused(dataset, tmp_path, monkeypatch):
    write_image(tmp_path / "look.png", he(5, 100))
    monkeypatch.setattr("wsiprep.stages.targets.MAX_IMAGE_PX", 9999)
    with pytest.raises(StainError, match="very large"):
        planned(dataset, tmp_path / "r.yaml", target="image", target_image="look.png")


def test_the_image_is_an_input_of_the_plan(tmp_path):
    recipe = recipe_of(target="image", target_image="looks/a.png")
    assert target_inputs(recipe, tmp_path / "r.yaml") == [str(tmp_path / "looks" / "a.png")]
    assert target_inputs(recipe, None) == ["looks/a.png"]
    assert target_inputs(recipe_of(), tmp_path / "r.yaml") == []
    assert target_inputs(recipe_of(method="none", target="image", target_image="a.png"), None) == []


@pytest.mark.parametrize("name", ["b", "B"])
def test_the_look_of_a_slide(dataset, name):
    _, tree = dataset
    record, _, metadata = planned(dataset, target="slide", target_slide=name)
    own = stain_of({"stain": metadata["b"]})[0]
    target = stain_of({"stain": metadata["a"]})[1]
    assert target.digest() == own.digest()
    assert target.origin == "slide"
    identity = read_json(tree.slide("b").record)["identity"]
    assert metadata["a"]["target_from"] == {"kind": "slide", "digest": identity, "name": name}
    assert record["target"]["digest"] == identity


def test_slides_that_are_no_target(dataset, tmp_path):
    _, tree = dataset
    with pytest.raises(StainError, match="no slide that is the stain target"):
        planned(dataset, target="slide", target_slide="zebra")
    with pytest.raises(StainError, match=r"pen cannot be the stain target.*single_stain"):
        planned(dataset, target="slide", target_slide="pen")
    failed = tree.slide("b").record
    before = failed.read_bytes()
    try:
        failed.write_text(
            json.dumps({**json.loads(before), "state": "failed", "error": {"message": "torn", "code": 1}})
        )
        with pytest.raises(StainError, match="could not be surveyed"):
            fit_stains([read_json(tree.slide("a").record)], recipe_of(target="slide", target_slide="b"), tree,
                       train=["a"], slide_ids={"a": "a", "b": "b"})  # fmt: skip
    finally:
        failed.write_bytes(before)


@pytest.mark.parametrize("method", ["macenko", "vahadane", "ramakrishnan", "hematoxylin", "reinhard"])
@pytest.mark.parametrize("target", ["reference", "cohort"])
def test_every_method_is_planned_and_falls_back_to_the_cohort(dataset, method, target):
    record, _, metadata = planned(dataset, method=method, target=target)
    assert record["slides"]["a"] == {"origin": "slide", "status": "ok"}
    assert record["slides"]["pen"] == {"origin": "cohort", "status": "single_stain"}
    assert record["counts"] == [
        {"origin": "cohort", "status": "single_stain", "slides": 1},
        {"origin": "slide", "status": "ok", "slides": 2},
    ]
    source, goal = stain_of({"stain": metadata["pen"]})
    assert (source.origin, source.status, source.method) == ("cohort", "single_stain", method)
    assert goal.origin == target
    if target == "reference":
        assert goal == REFERENCE[method]
    else:
        assert goal.digest() == metadata["a"]["target_from"]["digest"]


def test_one_slide_alone_has_no_cohort_and_no_slide_to_look_like(dataset):
    _, tree = dataset
    record = read_json(tree.slide("pen").record)
    alone = fit_stains([record], recipe_of(), tree)
    assert alone.of("pen")["source"]["origin"] == "reference"
    assert stain_of({"stain": alone.of("pen")}) is None
    for target in ({"target": "cohort"}, {"target": "slide", "target_slide": "a"}):
        with pytest.raises(StainError, match="needs the other slides"):
            fit_stains([record], recipe_of(**target), tree)


def test_a_folder_is_planned_again_without_the_image(dataset, tmp_path):
    _, tree = dataset
    path = write_image(tmp_path / "look.png", he(5, 300))
    _, first, metadata = planned(dataset, tmp_path / "r.yaml", target="image", target_image="look.png")
    path.unlink()
    again = fit_stains(
        [read_json(tree.slide(name).record) for name in first],
        recipe_of(target="image", target_image="look.png"),
        tree,
        keep_image=True,
    )
    assert again.of("a")["target"] == metadata["a"]["target"]
    assert again.to_dict()["target"] is None
    tree.plan_slice("a").unlink()
    with pytest.raises(StainError, match="not recorded"):
        again.of("a")


def test_a_method_by_which_the_image_has_no_stains_is_left_out_again(dataset, tmp_path, monkeypatch):
    """As for a folder of ``tile`` whose stains are normalised at load, with the image gone when it is sealed."""
    _, tree = dataset
    write_image(tmp_path / "look.png", he(5, 300))

    def refused(recipe, recipe_path):
        if recipe.stain.method == "macenko":
            raise StainError("no stains can be fitted")
        return image_target(recipe, recipe_path)

    monkeypatch.setattr(stains, "image_target", refused)
    settings = {"target": "image", "target_image": "look.png", "when": "load"}
    _, first, metadata = planned(dataset, tmp_path / "r.yaml", **settings)
    assert set(metadata["a"]["methods"]) == {"ramakrishnan", "reinhard"}
    records = [read_json(tree.slide(name).record) for name in first]
    again = fit_stains(records, recipe_of(**settings), tree, keep_image=True)
    assert set(again.of("a")["methods"]) == {"ramakrishnan", "reinhard"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["target=cohort"], "needs the other slides"),
        (["target=slide", "target_slide=a"], "needs the other slides"),
        (["target=image", "target_image=nope.png"], "cannot be read"),
        (["target=image", "target_image={folder}/white.png"], "no stains to take"),
    ],
)
def test_tile_without_a_target_writes_nothing(dataset, tmp_path, capsys, settings, said):
    """So that the corrected command can have the same folder."""
    write_image(tmp_path / "white.png", np.full((300, 300, 3), 250, np.uint8))
    words = ["tile", dataset[0][0].slide, "-o", str(tmp_path / "out"), "--patch-size-px", "64"]
    sets = [f"stain.{setting}".format(folder=tmp_path) for setting in ["method=vahadane", *settings]]
    assert main([*words, *(word for item in sets for word in ("--set", item))]) == 65
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
