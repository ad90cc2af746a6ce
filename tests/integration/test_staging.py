"""--stage: a slide is copied to scratch with all its files, read there, and the copy is gone afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from slide_files import texture
from stagecases import Listener, asap, box, case, write_slide
from vendor_slides import dicom, generic, mirax, vms
from vendor_slides.made import Made

from wsiprep.cli import main
from wsiprep.errors import SlideError, StorageError
from wsiprep.manifest import SlideRow
from wsiprep.slides import slide_identity
from wsiprep.stages import staging
from wsiprep.stages.pack import pack
from wsiprep.stages.staging import staged
from wsiprep.stages.survey import survey
from wsiprep.temporaries import temporary_name

FORMATS: dict[str, Callable[[Path], Made]] = {
    "tiff": generic.write, "mirax": mirax.write, "vms": vms.write, "dicom": dicom.write,
}  # fmt: skip


def row_of(path: Path | str) -> SlideRow:
    return SlideRow(slide_id="s", raw_id="s", slide=str(path), slide_ref="s")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_copy_is_the_same_slide(tmp_path: Path, kind: str) -> None:
    """All files that belong to it come along: the identity counts them."""
    (tmp_path / "slides").mkdir()
    path = FORMATS[kind](tmp_path / "slides").path
    scratch = tmp_path / "scratch" / "new"
    with staged(row_of(path), scratch, Listener()) as here:
        assert Path(here.slide).is_relative_to(scratch)
        shutil.move(tmp_path / "slides", tmp_path / "elsewhere")
        assert slide_identity(here.slide) == slide_identity(tmp_path / "elsewhere" / path.name)
    assert os.listdir(scratch) == []


def test_pixels_and_records_do_not_depend_on_it(tmp_path: Path) -> None:
    made = []
    for name, stage in (("plain", None), ("staged", tmp_path / "scratch")):
        folder = tmp_path / name
        write_slide(folder / "s.tif", texture(330, 250, seed=11), 0.5)
        asap(folder / "s.xml", [("Tumor", box(20, 20, 300, 200))])
        it = case(folder, [{"slide_id": "s", "slide": "s.tif", "annotation": "s.xml"}], downsample=1,
                  sampling={"patch_size_px": 64})  # fmt: skip
        record = survey(it.rows[0], it.recipe, it.tree, it.reporter, stage=stage)
        it.plan()
        receipt = pack(it.rows[0], it.recipe, it.tree, it.reporter, stage=stage)
        made.append((record, receipt.digest, receipt.n_patches))
    assert made[0] == made[1]
    assert os.listdir(tmp_path / "scratch") == []


def test_a_url_is_fetched(tmp_path: Path) -> None:
    path = generic.write(tmp_path).path
    with staged(row_of(path.as_uri()), tmp_path / "scratch", Listener()) as here:
        assert Path(here.slide).read_bytes() == path.read_bytes()
    with (
        pytest.raises(SlideError, match="no such slide"),
        staged(row_of(f"{path.as_uri()}x"), tmp_path / "scratch", Listener()),
    ):
        pass


def test_a_full_scratch_says_so_before_it_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = generic.write(tmp_path).path
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with (
        pytest.raises(StorageError, match="no room") as caught,
        staged(row_of(path), tmp_path / "scratch", Listener()),
    ):
        pass
    assert caught.value.exit_code == 74
    assert os.listdir(tmp_path / "scratch") == []


def test_a_copy_that_stops_early_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = generic.write(tmp_path).path
    monkeypatch.setattr(staging.shutil, "copyfile", lambda source, target: Path(target).write_bytes(b"half"))
    with pytest.raises(SlideError, match="stopped early"), staged(row_of(path), tmp_path / "scratch", Listener()):
        pass
    assert os.listdir(tmp_path / "scratch") == []


def test_what_killed_jobs_left_is_removed_and_no_more(tmp_path: Path) -> None:
    path = generic.write(tmp_path).path
    mine = temporary_name()
    host, pid, start, key = mine.removeprefix(".tmp-").rsplit("-", 3)
    dead = f".tmp-{host}-{2**22 + 1}-{start}-{key}"
    foreign = f".tmp-{host}x-{pid}-{start}-{key}"
    for name in (mine, dead, foreign, "yours"):
        (tmp_path / "scratch" / name).mkdir(parents=True)
    with staged(row_of(path), tmp_path / "scratch", Listener()):
        pass
    assert sorted(os.listdir(tmp_path / "scratch")) == sorted([mine, foreign, "yours"])


def test_errors_name_the_slide_and_not_its_copy(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    path.write_bytes(b"no slide at all")
    it = case(tmp_path, [{"slide_id": "s", "slide": "s.tif"}], downsample=1)
    with pytest.raises(SlideError) as caught:
        survey(it.rows[0], it.recipe, it.tree, it.reporter, stage=tmp_path / "scratch")
    assert caught.value.file == str(path)
    assert "scratch" not in str(caught.value)
    assert os.listdir(tmp_path / "scratch") == []


def test_a_variable_that_is_not_set_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_SUCH_SCRATCH", raising=False)
    assert main(["tile", "s.tif", "-o", "out", "--stage", "$NO_SUCH_SCRATCH/x"]) == 64
    assert "names a variable that is not set" in capsys.readouterr().err
