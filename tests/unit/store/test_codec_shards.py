"""Shards of every codec: for zarr-python with and without wsiprep, for ``verify``, and from any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chunkcases
import numpy as np
import pytest
import storecases as cases
import zarr

from wsiprep.artifacts import DatasetTree
from wsiprep.store import PatchRecord, verify, write_shard
from wsiprep.store.digest import patch_digest
from wsiprep.store.rows import channel_sums
from wsiprep.store.schema import array_layouts
from wsiprep.store.shard import Shard
from wsiprep.store.shardfile import read_chunk, read_index
from wsiprep.store.tables import read_parquet
from wsiprep.store.zarr_codecs import JpegCodec, JpegXlCodec, register

ROOT = Path(__file__).resolve().parents[3]
ENTRY_POINTS = {
    "wsiprep.jpegxl": "wsiprep.store.zarr_codecs:JpegXlCodec",
    "wsiprep.jpeg": "wsiprep.store.zarr_codecs:JpegCodec",
}
READ = (
    "import sys, zarr\n"
    "group = zarr.open_group(sys.argv[1], mode='r')\n"
    "print('mask', int(group['mask'][:].astype('int64').sum()), flush=True)\n"
    "print('image', int(group['image'][:].astype('int64').sum()))\n"
)


def site_without_wsiprep(folder: Path) -> Path:
    """Every installed package but wsiprep, and none of the hooks that add folders: run with ``-S``."""
    folder.mkdir()
    for place in Path(sysconfig.get_path("purelib")).iterdir():
        if "wsiprep" not in place.name.lower() and place.suffix != ".pth":
            (folder / place.name).symlink_to(place)
    return folder


def run_without_wsiprep(shard: Path, site: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{READ}"
    return subprocess.run(
        [sys.executable, "-S", "-I", "-c", code, str(shard)], capture_output=True, text=True, cwd="/", check=False
    )


def sums(root: Path, shard: str) -> list[str]:
    arrays = Shard(root / shard).arrays
    return [f"{name} {int(arrays[name][:].astype(np.int64).sum())}" for name in ("mask", "image")]


@pytest.mark.parametrize("codec", ["blosc-lz4", "jpegxl", "jpeg"])
def test_a_reader_without_wsiprep(tmp_path: Path, codec: str) -> None:
    """Reads the shard, or is told whose codec it lacks; the masks are plain Zarr in any case."""
    receipt = cases.write(tmp_path / "out", count=5, store={"codec": codec})
    shard = tmp_path / "out" / receipt.shard
    done = run_without_wsiprep(shard, site_without_wsiprep(tmp_path / "site"))
    expected = sums(tmp_path / "out", receipt.shard)
    if codec in ("jpegxl", "jpeg"):
        assert done.stdout.split("\n")[:-1] == expected[:1], done.stderr
        assert f"Unknown codec: 'wsiprep.{codec}'" in done.stderr.splitlines()[-1]
    else:
        assert done.stdout.split("\n")[:-1] == expected, done.stderr


@pytest.mark.parametrize("codec", ["jpegxl", "jpeg"])
def test_a_reader_with_wsiprep_installed(tmp_path: Path, codec: str) -> None:
    """The entry points alone are enough: the reader imports zarr and nothing of ours."""
    receipt = cases.write(tmp_path / "out", count=5, store={"codec": codec})
    installed = tmp_path / "wsiprep-0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: wsiprep\nVersion: 0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in ENTRY_POINTS.items())
    (installed / "entry_points.txt").write_text(f"[zarr.codecs]\n{lines}")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "out" / receipt.shard)], capture_output=True, text=True, cwd="/",
        check=False, env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert done.stdout.split("\n")[:-1] == sums(tmp_path / "out", receipt.shard), done.stderr


def test_the_package_declares_its_codecs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["zarr.codecs"] == ENTRY_POINTS


@pytest.mark.parametrize("codec", chunkcases.CODECS)
def test_zarr_python_reads_what_we_read(tmp_path: Path, codec: str) -> None:
    register()
    records = patches(5, 48)
    spec = cases.spec(store={"codec": codec}, instances=True, patch_size_px=48)
    receipt = write_shard(DatasetTree(tmp_path), spec, records, 5)
    group = zarr.open_group(tmp_path / receipt.shard, mode="r")
    for name, array in Shard(tmp_path / receipt.shard).arrays.items():
        assert np.array_equal(group[name][:], array[:])
        if (name, codec) != ("image", "jpeg"):
            assert np.array_equal(array[:], np.stack([getattr(record, name) for record in records]))


@pytest.mark.parametrize(("codec", "serializer"), [("jpegxl", JpegXlCodec()), ("jpeg", JpegCodec(95))])
def test_zarr_python_writes_the_same_images(tmp_path: Path, codec: str, serializer: JpegCodec | JpegXlCodec) -> None:
    register()
    receipt = cases.write(tmp_path / "ours", count=4, store={"codec": codec})
    layout = array_layouts(cases.SIDE)[0]
    array = zarr.create_array(
        tmp_path / "theirs", shape=(4, *layout.patch_shape), chunks=(1, *layout.patch_shape),
        shards=(4, *layout.patch_shape), dtype=layout.dtype, serializer=serializer,
        compressors=[zarr.codecs.Crc32cCodec()], chunk_key_encoding={"name": "default", "separator": "."},
    )  # fmt: skip
    array[:] = np.stack([p.image for p in cases.patches(4)])
    one, two = tmp_path / "ours" / receipt.shard / "image" / "c.0.0.0.0", tmp_path / "theirs" / "c.0.0.0.0"
    for place in range(4):
        assert read_chunk(one, read_index(one, 4), place) == read_chunk(two, read_index(two, 4), place)


def test_image_codecs_of_zarr_refuse_other_arrays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds uint8 arrays"):
        zarr.create_array(tmp_path / "a", shape=(4, 9, 9), chunks=(1, 9, 9), dtype="u1", serializer=JpegXlCodec())
    with pytest.raises(ValueError, match="holds uint8 arrays"):
        zarr.create_array(tmp_path / "b", shape=(4, 9, 9, 3), chunks=(1, 9, 9, 3), dtype="u2", serializer=JpegCodec())
    for codec, wrong in ((JpegXlCodec, {"effort": 9}), (JpegCodec, {"quality": 95, "chroma": "4:2:0"})):
        with pytest.raises(ValueError, match="another kind"):
            codec.from_dict({"name": codec.name, "configuration": wrong})
        assert codec.from_dict(codec().to_dict()) == codec()
    two = zarr.create_array(tmp_path / "c", shape=(4, 9, 9, 3), chunks=(2, 9, 9, 3), dtype="u1", serializer=JpegCodec())
    with pytest.raises(ValueError, match="one image"):
        two[:] = 1


@pytest.mark.parametrize("codec", chunkcases.CODECS)
def test_any_number_of_threads_writes_the_same_shard(tmp_path: Path, codec: str) -> None:
    records = patches(11, 40)
    spec = cases.spec(store={"codec": codec}, instances=True, patch_size_px=40)
    write_shard(DatasetTree(tmp_path / "serial"), spec, iter(records), len(records))
    serial = cases.tree_bytes(tmp_path / "serial")
    assert sum("/image/c." in name for name in serial) == 3
    for threads in (1, 2, 8):
        encoder = spec.encoder()
        with ThreadPoolExecutor(threads) as pool:
            write_shard(DatasetTree(tmp_path / str(threads)), spec, pool.map(encoder.encode, records), len(records))
        assert cases.tree_bytes(tmp_path / str(threads)) == serial


@pytest.mark.parametrize("codec", ["jpegxl", "jpeg"])
def test_verify_reads_every_pixel_of_images_in_jpeg(tmp_path: Path, codec: str) -> None:
    """Rows and digests are of the pixels that readers see; with JPEG those are not the ones that were packed."""
    cases.pack_all(tmp_path)
    for place in sorted(tmp_path.iterdir()):
        assert place.name in ("receipts", "shards")
    receipts = [
        write_shard(DatasetTree(tmp_path), cases.spec(name, store={"codec": codec}), cases.patches(count, seed), count)
        for seed, (name, count) in enumerate((("slide_a", 6), ("slide_b", 4), ("slide_c", 1)))
    ]
    cases.sealed(tmp_path)
    findings = verify(DatasetTree(tmp_path), deep=True)
    assert [str(f) for f in findings.faults if f.kind != "stray"] == []
    assert findings.n_patches == 11
    arrays = Shard(tmp_path / receipts[0].shard).arrays
    rows = read_parquet(tmp_path / receipts[0].rows).to_pylist()
    for number, (row, packed) in enumerate(zip(rows, cases.patches(6), strict=True)):
        seen = arrays["image"].patch(number)
        assert np.array_equal(seen, packed.image) == (codec == "jpegxl")
        assert {name: row[name] for name in channel_sums(seen)} == channel_sums(seen)
        assert row["digest"] == patch_digest({"image": seen, "mask": packed.mask})
    image = next((tmp_path / receipts[0].shard / "image").glob("c.*"))
    good = image.read_bytes()
    image.write_bytes(good[:60] + bytes([good[60] ^ 1]) + good[61:])
    assert "changed" in {f.kind for f in verify(DatasetTree(tmp_path), deep=True).faults}


def patches(count: int, side: int) -> list[PatchRecord]:
    """Patches with textures that pack as tissue does, and instances."""
    return [
        PatchRecord(
            chunkcases.texture(side, side, n), chunkcases.mask(side, side, n), cases.row(n),
            chunkcases.array("instance", side, side, n),
        )
        for n in range(count)
    ]  # fmt: skip
