"""Slides behind URLs: the same slide as the file, in few requests, by the same rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from http_server import Serving, serving
from slide_files import Writing, mean_of_blocks, texture, write_pyramid
from stagecases import Listener, asap, box, case
from vendor_slides import aperio, generic, ndpi, scn

from wsiprep.errors import SlideError, StorageError
from wsiprep.geometry import Box, PixelGrid
from wsiprep.manifest import SlideRow
from wsiprep.slides import PatchReader, open_slide, read_overview, remote_file, slide_identity
from wsiprep.slides.remote_bytes import RemoteBytes
from wsiprep.slides.tiff import TiledTiff
from wsiprep.stages.pack import pack
from wsiprep.stages.staging import staged
from wsiprep.stages.survey import survey

WIDTH, HEIGHT, TILE = 1600, 1200, 64
IMAGE = texture(WIDTH, HEIGHT, seed=3)


def plain(folder: Path) -> Path:
    """Five MB."""
    return write_pyramid(folder / "plain.tif", [IMAGE, mean_of_blocks(IMAGE, 4)], Writing(TILE, resolution_um=0.5))


WRITERS: dict[str, Callable[[Path], Path]] = {
    "tiff": plain,
    "jpeg": lambda folder: write_pyramid(folder / "jpeg.tif", [IMAGE[:320, :512]], Writing(TILE, "jpeg")),
    "strips": lambda folder: write_pyramid(
        folder / "strips.tif", [IMAGE[:300]], Writing(None, extra={"rowsperstrip": 16})
    ),
    "svs": lambda folder: aperio.write(folder, "a.svs").path,
    "svs jp2k": lambda folder: aperio.write(folder, "j.svs", codec="jp2k-ycbcr").path,
    "ndpi": lambda folder: ndpi.write(folder, "a.ndpi").path,
    "ndpi with a whole level": lambda folder: ndpi.write(folder, "w.ndpi", whole=(2,)).path,
    "generic": lambda folder: generic.write(folder).path,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    plain(folder)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Serving]:
    with serving(folder) as state:
        yield state


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "RETRY_AFTER_S", (0.0, 0.0, 0.0))


def patches(side: int = 100, *, of: int = 1) -> list[PixelGrid]:
    """Patches in rows over the slide, of which every so many is taken."""
    places = [(x, y) for y in range(3, HEIGHT - side, side) for x in range(5, WIDTH - side, side)]
    return [PixelGrid(Box(x, y, side, side), side, side) for x, y in places[::of]]


@pytest.mark.parametrize("kind", WRITERS)
def test_everything_is_that_of_the_file(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path)
    with serving(tmp_path) as server, open_slide(path) as ours, open_slide(server.of(path.name)) as theirs:
        assert theirs.info == ours.info
        assert theirs.info.backend == "tiff"
        assert theirs.icc_profile() == ours.icc_profile()
        assert slide_identity(server.of(path.name)) == slide_identity(path) == theirs.info.identity
        for level in ours.info.levels:
            whole = Box(0, 0, level.size.width_px, level.size.height_px)
            assert np.array_equal(theirs.read_level(level.index, whole), ours.read_level(level.index, whole))
        assert np.array_equal(read_overview(theirs, 8)[0], read_overview(ours, 8)[0])
        size = ours.info.size
        for side, px in ((64, 64), (64, 32), (70, 33)):
            grids = [
                PixelGrid(Box(x, y, side, side), px, px)
                for y in range(0, size.height_px - side, side)
                for x in range(0, size.width_px - side, side)
            ]
            readers = PatchReader(ours), PatchReader(theirs)
            readers[1].plan(grids)
            assert all(np.array_equal(readers[0].read(grid), readers[1].read(grid)) for grid in grids)


@pytest.mark.parametrize("name", ["a.ndpi", "a.tif"])
def test_what_is_announced_is_what_is_fetched(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte: a range that differs would be fetched twice, without an error."""
    if name == "a.ndpi":
        path = ndpi.write(tmp_path, name).path
    else:
        path = write_pyramid(tmp_path / name, [IMAGE[:320, :512]], Writing(TILE))
    with serving(tmp_path) as server, TiledTiff(server.of(name)) as slide:
        source = slide._source
        assert isinstance(source, RemoteBytes)
        asked: list[tuple[int, int]] = []
        read = source.read
        monkeypatch.setattr(slide._tiles, "_fetch", lambda at, n: asked.append((at, n)) or read(at, n))
        told: list[np.ndarray] = []
        monkeypatch.setattr(slide._tiles, "_announce", lambda ranges: told.append(ranges) or source.announce(ranges))
        reader = PatchReader(slide)
        grids = [PixelGrid(Box(x, y, 90, 90), 90, 90) for y in (10, 100, 190) for x in (10, 100, 280)]
        reader.plan(grids)
        for grid in grids:
            reader.read(grid)
    assert [tuple(r) for r in told[0].tolist()] == asked, "also in this order"
    assert path.is_file()


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("of", [1, 7])
def test_planned_patches_take_far_fewer_requests_than_tiles(
    server: Serving, folder: Path, threads: int, of: int
) -> None:
    grids = patches(of=of)
    with TiledTiff(folder / "plain.tif") as local, TiledTiff(server.of("plain.tif")) as slide:
        expected = [PatchReader(local).read(grid) for grid in grids]
        reader = PatchReader(slide)
        reader.plan(grids)
        server.forget()
        with ThreadPoolExecutor(threads) as pool:
            got = list(pool.map(reader.read, grids))
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
        counts = slide.tile_counts
        assert counts.redecoded == 0
        assert 4 * len(server.asked) <= counts.decoded
        assert counts.decoded > 120
        source = slide._source
        assert isinstance(source, RemoteBytes)
        with source._lock:
            assert not [r for r in source._held if source._blocks.block_of(*r) is not None], "all were read"


def test_without_a_plan_blocks_are_shared_too(server: Serving, folder: Path) -> None:
    with open_slide(server.of("plain.tif")) as slide:
        server.forget()
        image, downsample = read_overview(slide, 4)
        assert image.shape == (HEIGHT // 4, WIDTH // 4, 3)
        assert downsample == 4
        size = (folder / "plain.tif").stat().st_size
        assert len(server.asked) <= -(-size // 2**20)


def test_opening_takes_few_requests(server: Serving, folder: Path) -> None:
    """Header, tables, identity and the probed tile."""
    with open_slide(server.of("plain.tif")) as slide:
        source = slide._source  # type: ignore[attr-defined]
        assert source.requests <= 10
        assert server.sent_bytes == source.fetched_bytes < (folder / "plain.tif").stat().st_size


def test_auto_moves_on_to_tiffslide_and_says_why(tmp_path: Path) -> None:
    image = texture(200, 100)
    write_pyramid(tmp_path / "a.tif", [image], Writing(description="after a MedScan"))
    with serving(tmp_path) as server:
        with open_slide(server.of("a.tif")) as slide:
            assert (slide.info.backend_requested, slide.info.backend) == ("auto", "tiffslide")
            assert slide.info.backend_note.startswith("tiff: ")
            assert "MedScan" in slide.info.backend_note
            assert np.array_equal(slide.read_level(0, Box(10, 20, 90, 70)), image[20:90, 10:100])
        with pytest.raises(SlideError, match="the tiff backend cannot read this slide"):
            open_slide(server.of("a.tif"), "tiff")


@pytest.mark.parametrize("kind", ["scn", "unlisted ndpi"])
def test_a_vendors_layout_is_never_given_to_tiffslide(tmp_path: Path, kind: str) -> None:
    made = scn.write(tmp_path) if kind == "scn" else ndpi.write_unlisted(tmp_path)
    with serving(tmp_path) as server, pytest.raises(SlideError, match="no backend can read") as caught:
        open_slide(server.of(made.path.name))
    assert "tiff: " in str(caught.value.got)
    assert "tiffslide" not in str(caught.value.got)
    assert "--stage" in str(caught.value.fix)


def test_what_is_no_slide(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("hello\n" * 20_000)
    (tmp_path / "empty.tif").touch()
    with serving(tmp_path) as server:
        for name in ("text.tif", "empty.tif"):
            with pytest.raises(SlideError, match="no backend can read") as caught:
                open_slide(server.of(name))
            assert caught.value.file == server.of(name)
            assert "tiffslide: " in str(caught.value.got)


def test_a_truncated_slide_is_told_before_any_pixel_is_read(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", [texture(600, 400)], Writing(64, None))
    path.write_bytes(path.read_bytes()[:-50_000])
    with serving(tmp_path) as server, pytest.raises(SlideError, match="truncated") as caught:
        open_slide(server.of("a.tif"))
    assert caught.value.file == server.of("a.tif")


def test_a_network_that_fails_is_no_damage(server: Serving) -> None:
    with open_slide(server.of("plain.tif")) as slide:
        server.failures = -1
        with pytest.raises(StorageError) as caught:
            slide.read_level(0, Box(500, 500, 90, 90))
        assert caught.value.exit_code == 74
        server.failures = 0
        assert np.array_equal(slide.read_level(1, Box(0, 0, 9, 9)), slide.read_level(1, Box(0, 0, 9, 9)))
    with open_slide(server.of("plain.tif")) as slide:
        server.dropped = 0.2
        reader = PatchReader(slide)
        reader.plan(grids := patches(of=9))
        for grid in grids:
            reader.read(grid)


def test_a_slide_behind_a_url_makes_the_same_shard(tmp_path: Path, server: Serving, folder: Path) -> None:
    made = []
    for name, slide in (("file", str(folder / "plain.tif")), ("url", server.of("plain.tif"))):
        place = tmp_path / name
        asap(place / "s.xml", [("Tumor", box(100, 50, 1400, 1000))])
        it = case(place, [{"slide_id": "s", "slide": slide, "annotation": "s.xml"}], downsample=1,
                  sampling={"patch_size_px": 96})  # fmt: skip
        record = survey(it.rows[0].located(), it.recipe, it.tree, it.reporter)
        it.plan()
        server.forget()
        receipt = pack(it.rows[0].located(), it.recipe, it.tree, it.reporter, threads=2)
        made.append((record["identity"], receipt.digest, receipt.n_patches))
    assert made[0] == made[1]
    assert made[0][2] > 50
    assert 0 < 4 * len(server.asked) < 300, "of more than 300 tiles"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_url_is_staged_also_from_a_server_without_ranges(tmp_path: Path, folder: Path, ranges: bool) -> None:
    reporter = Listener()
    scratch = tmp_path / "scratch"
    with serving(folder, ranges=ranges) as server:
        row = SlideRow(slide_id="s", raw_id="s", slide=server.of("plain.tif?key=1"), slide_ref="s")
        server.dropped = 0.5
        with staged(row, scratch, reporter) as here:
            assert Path(here.slide).name == "plain.tif"
            assert slide_identity(here.slide) == slide_identity(folder / "plain.tif")
        server.dropped, server.failures = 0.0, -1
        with pytest.raises(StorageError), staged(row, scratch, reporter):
            pass
    assert list(scratch.iterdir()) == []
