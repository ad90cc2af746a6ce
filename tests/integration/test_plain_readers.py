"""A shard is plain Zarr v3: zarr and dask read it in a process that cannot import wsiprep."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pipelinecases import build
from small_recipe import SMALL_RECIPE

from wsiprep.artifacts import DatasetTree
from wsiprep.store import Dataset
from wsiprep.synthetic import CohortFiles

# The block is tested first: without it, an editable install would be found.
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "wsiprep":
            raise ModuleNotFoundError(f"{name} is not installed here")
        return None

sys.meta_path.insert(0, Block())
try:
    import wsiprep
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("wsiprep is importable")
"""
READERS = {
    "zarr": """
import numpy, zarr
group = zarr.open_group(sys.argv[1], mode="r")
image, mask, attributes = group["image"][...], group["mask"][...], dict(group.attrs)
""",
    "dask": """
import dask.array, json, numpy, pathlib
image = dask.array.from_zarr(sys.argv[1], component="image").compute(scheduler="synchronous")
mask = dask.array.from_zarr(sys.argv[1], component="mask").compute(scheduler="synchronous")
attributes = json.loads((pathlib.Path(sys.argv[1]) / "zarr.json").read_text())["attributes"]
""",
}
REPORT = """
import json
assert not [name for name in sys.modules if name.partition(".")[0] == "wsiprep"]
numpy.savez(sys.argv[2], image=image, mask=mask)
print(json.dumps(attributes))
"""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, cohort: CohortFiles) -> DatasetTree:
    folder = tmp_path_factory.mktemp("plain")
    recipe = folder / "recipe.yaml"
    recipe.write_text(SMALL_RECIPE)
    names = [slide.slide_id for slide in cohort.slides]
    return build(DatasetTree(folder / "dataset"), ["-r", recipe, "-m", cohort.manifest], names)


@pytest.mark.parametrize("reader", READERS)
def test_reader_without_wsiprep_sees_the_same_values(sealed: DatasetTree, tmp_path: Path, reader: str) -> None:
    dataset = Dataset(sealed.root)
    shards = [s["path"] for s in dataset.record["shards"]]
    # More patches than fit into a shard file, so that a border between files is read.
    path = max(shards, key=lambda p: dataset.index["shard"].to_pylist().count(p))
    numbers = [i for i, shard in enumerate(dataset.index["shard"].to_pylist()) if shard == path]
    assert len(numbers) > 8
    out = tmp_path / "values.npz"
    program = BLOCK + READERS[reader] + REPORT
    result = subprocess.run(
        [sys.executable, "-I", "-c", program, str(sealed.root / path), str(out)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    values = np.load(out)
    patches = [dataset.read(i) for i in numbers]
    rows = [row["row"] for _, _, row in patches]
    assert sorted(rows) == list(range(len(values["image"])))
    for (image, mask, _), row in zip(patches, rows, strict=True):
        np.testing.assert_array_equal(values["image"][row], image)
        np.testing.assert_array_equal(values["mask"][row], mask)
    attributes = json.loads(result.stdout)["wsiprep"]
    assert attributes["labels"] == ["tumour"]
    assert (attributes["ignore"], attributes["scale"], attributes["patch_size_px"]) == (255, [4.0, 4.0], 64)
    assert attributes["spacing_um"]["patch"] == pytest.approx(1.0)
