"""The bytes and digests of one small dataset, written down: a change here is a change for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
import storecases as cases

from wsiprep.store import SCHEMA_VERSION, Dataset
from wsiprep.store.digest import dataset_digest

BUMP = (
    "the store writes other bytes for the same patches: bump REVISION['pack'] (or ['seal']) in "
    "wsiprep/stages/revisions.py, SCHEMA_VERSION if readers must notice, and then the value in this test"
)

CODECS = ("zstd", "blosc-lz4", "none")
SHARD_DIGEST = "47ad3c88dff8f9be44d15134184c8f8db21bb62071d41d3433f546597f8231d0"
FILES = {
    "image/c.0.0.0.0": "80c865778a0d2c1cbcb3416750a6e74a",
    "image/c.1.0.0.0": "b014380204701d1f42f93412903672c5",
    "image/zarr.json": "d289ab2fbb60cabc3bcc7a6b5a7f976a",
    "mask/c.0.0.0": "b0a8ad696121f56c8c7b872b902b9d4d",
    "mask/c.1.0.0": "cacfe521fa4e8538597198c01beb43b8",
    "mask/zarr.json": "e2a17f93afd1b43e9412cb376c20fbde",
    "zarr.json": "c753047535444b8fe1ffe3e4fe0f3f27",
}
PIXELS_DIGEST = "bd15d068e1760c359ca9aa2254abace99110126e6e288f8e3b689e288591ba69"
DATASET_DIGEST = "6e2a717c9bc7244e522d2e77c343e532b4e46305c3456a4494a5211d3513f9ea"


@pytest.mark.parametrize("codec", CODECS)
def test_shard_digest(tmp_path: Path, codec: str) -> None:
    """The digest is of content: the codec is not in it."""
    assert cases.write(tmp_path, count=6, store={"codec": codec}).digest == SHARD_DIGEST, BUMP


def test_uncompressed_files(tmp_path: Path) -> None:
    """Byte for byte, where no compressor's version has a say."""
    receipt = cases.write(tmp_path, count=6, store={"codec": "none"})
    found = {f.path.removeprefix(f"{receipt.shard}/"): f.xxh3 for f in receipt.files if not f.path.endswith(".parquet")}
    assert found == FILES, BUMP


def test_dataset_digests(tmp_path: Path) -> None:
    record = cases.sealed(tmp_path)
    index = Dataset(tmp_path).index
    places = zip(*(index[c].to_pylist() for c in ("slide_id", "row", "split", "fold")), strict=True)
    assert record["schema_version"] == SCHEMA_VERSION == 2
    assert record["pixels_digest"] == PIXELS_DIGEST, BUMP
    # Not the record's own, which has the recipe's digest in it and moves with every new key of recipes.
    assert dataset_digest(PIXELS_DIGEST, "0" * 64, places) == DATASET_DIGEST, BUMP
