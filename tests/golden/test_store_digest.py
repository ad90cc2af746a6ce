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
SHARD_DIGEST = "985b77628df59673e0126e8e109be0b0fd0a61467f6eef979d8c5975b711ec1f"
FILES = {
    "image/c.0.0.0.0": "80c865778a0d2c1cbcb3416750a6e74a",
    "image/c.1.0.0.0": "b014380204701d1f42f93412903672c5",
    "image/zarr.json": "d289ab2fbb60cabc3bcc7a6b5a7f976a",
    "mask/c.0.0.0": "b0a8ad696121f56c8c7b872b902b9d4d",
    "mask/c.1.0.0": "cacfe521fa4e8538597198c01beb43b8",
    "mask/zarr.json": "e2a17f93afd1b43e9412cb376c20fbde",
    "zarr.json": "aa987fb2b2c439b4ce2cbbda214c090c",
}
PIXELS_DIGEST = "273db4639349b19a95a0deb4e4ae400fbb540a4a7dcf9a9c51cfc6c265124ae3"
DATASET_DIGEST = "df19b2d69a964600576b30715ae516987e304c6947aa94f2d1cf9a03154613d8"


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
    assert record["schema_version"] == SCHEMA_VERSION == 3
    assert record["pixels_digest"] == PIXELS_DIGEST, BUMP
    # Not the record's own, which has the recipe's digest in it and moves with every new key of recipes.
    assert dataset_digest(PIXELS_DIGEST, "0" * 64, places) == DATASET_DIGEST, BUMP
