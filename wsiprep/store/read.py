"""Reading a sealed dataset with numpy: checked when it is opened, never zeros for what is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StoreError, UsageError
from wsiprep.store.digest import bytes_digest
from wsiprep.store.receipts import FileRecord
from wsiprep.store.records import read_checked
from wsiprep.store.schema import IMAGE, INSTANCE, MASK, SPLIT_ALL, index_schema
from wsiprep.store.shard import Shard
from wsiprep.store.splits import available_splits, rows_of
from wsiprep.store.tables import parse_parquet

if TYPE_CHECKING:
    import dask.array

_SEAL_FIRST = "finish the workflow, or run wsiprep seal"


class Dataset:
    """A sealed dataset.

    Opening compares the shards on the disk with the record and the index, file by file and size by
    size, so that a lost file is an error here and not a black patch later. Pickles as its path and
    digest; keeps no file open, so it forks, and loader workers need nothing special.

    Args:
        root: the dataset's folder.

    Raises:
        StoreError: not sealed, of another schema version, or inconsistent.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._tree = DatasetTree(self.root)
        self.record = read_record(self._tree)
        self.labels: tuple[str, ...] = tuple(self.record["labels"])
        self.patch_size_px: int = self.record["patch_size_px"]
        self.index: pa.Table = read_index_table(self._tree, self.record)
        _require_files(self._tree, self.record)
        _require_counts(self.record, self.index)
        paths = [shard["path"] for shard in self.record["shards"]]
        self._paths = [self.root / path for path in paths]
        self._lengths = [int(shard["n_patches"]) for shard in self.record["shards"]]
        self._shard_of = pc.index_in(self.index["shard"], value_set=pa.array(paths, pa.string())).to_numpy()
        self._row_of = self.index["row"].to_numpy()
        self._open: dict[int, Shard] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def __repr__(self) -> str:
        return f"Dataset({self.record['name']!r}, {len(self)} patches, labels {', '.join(self.labels)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (str(self.root), self.record["dataset_digest"]))

    @property
    def digest(self) -> str:
        """Digest of pixels, split and recipe."""
        return str(self.record["dataset_digest"])

    @property
    def statistics(self) -> Mapping[str, Any]:
        """Mean and deviation per channel of the training pixels (``statistics.training_statistics``)."""
        statistics: Mapping[str, Any] = self.record["statistics"]
        return statistics

    @property
    def splits(self) -> list[str]:
        """Names of the splits; with folds, those that ``split`` gives for a fold."""
        return available_splits(self.index, self._n_folds)

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds; empty without folds."""
        return list(range(self._n_folds or 0))

    @property
    def _n_folds(self) -> int | None:
        count: int | None = self.record["split"]["folds"]
        return count

    def split(self, name: str, fold: int | None = None) -> npt.NDArray[np.int64]:
        """Row numbers of a split, ascending; ``all`` for every row.

        With ``fold``, that fold is held out: it is ``test``, the next one ``val``, the others
        ``train`` (``splits.rows_of``).

        Raises:
            UsageError: no such fold, or no patch is in it.
        """
        return rows_of(self.index, name, fold, self._n_folds)

    def read(self, i: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], dict[str, Any]]:
        """(image uint8 (H, W, 3), mask uint8 (H, W), the index's columns) of one patch.

        Raises:
            UsageError: no such row.
            StoreError: a file is missing or damaged.
        """
        image, mask = self.read_pixels(i)
        return image, mask, self.index.slice(i % len(self), 1).to_pylist()[0]

    def read_pixels(self, i: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Image and mask of one patch; negative numbers count from the end."""
        arrays, row = self._place(i)
        return arrays[IMAGE].patch(row), arrays[MASK].patch(row)

    def read_instance(self, i: int) -> npt.NDArray[np.int32]:
        """The instance map int32 (H, W) of one patch.

        Raises:
            StoreError: its shard has no instances.
        """
        arrays, row = self._place(i)
        if INSTANCE not in arrays:
            raise StoreError("the dataset has no instance maps", got=str(self.root))
        instance: npt.NDArray[np.int32] = arrays[INSTANCE].patch(row)
        return instance

    def _place(self, i: int) -> tuple[Mapping[str, Any], int]:
        if not -len(self) <= i < len(self):
            raise UsageError("the dataset has no such patch", got=i, expected=f"0..{len(self) - 1}")
        return self._shard(int(self._shard_of[i])).arrays, int(self._row_of[i])

    def _shard(self, number: int) -> Shard:
        shard = self._open.get(number)
        if shard is None:
            shard = Shard(self._paths[number])
            if shard.n_patches != self._lengths[number]:
                raise StoreError(
                    "a shard has another number of patches than the dataset's record", got=shard.n_patches,
                    expected=self._lengths[number], file=self._paths[number], fix="wsiprep verify --deep",
                )  # fmt: skip
            self._open[number] = shard
        return shard

    def to_dask(self, split: str = SPLIT_ALL, fold: int | None = None) -> tuple[dask.array.Array, dask.array.Array]:
        """(images, masks) as dask arrays in the order of ``split()``, a shard file a block.

        Damaged and missing files raise when they are computed, as in ``read``.
        """
        import dask.array

        da: Any = dask.array  # its functions have no annotations

        rows = self.split(split, fold)
        images: list[dask.array.Array] = []
        masks: list[dask.array.Array] = []
        # Index order is shard by shard, so that equal numbers stand together.
        for number in dict.fromkeys(self._shard_of[rows].tolist()):
            chosen = self._row_of[rows[self._shard_of[rows] == number]]
            shard = self._shard(number)
            for name, parts in ((IMAGE, images), (MASK, masks)):
                array = shard.arrays[name]
                token = f"{name}-{self.record['shards'][number]['digest']}"
                chunks = (array.per_file, *array.shape[1:])
                block = da.from_array(array, chunks=chunks, name=token, asarray=True, meta=np.empty(0, array.dtype))
                parts.append(block if len(chosen) == array.shape[0] else block[chosen])
        return da.concatenate(images), da.concatenate(masks)


def _reopen(root: str, digest: str) -> Dataset:
    dataset = Dataset(root)
    if dataset.digest != digest:
        raise StoreError(
            "the dataset was sealed anew while it was in use", got=dataset.digest[:12], expected=digest[:12],
            file=root, fix="open it again",
        )  # fmt: skip
    return dataset


def read_record(tree: DatasetTree) -> dict[str, Any]:
    """``dataset.json``, checked against its own digest.

    Raises:
        StoreError: missing (the dataset is not sealed), damaged, or of another schema version.
    """
    path = tree.dataset_record
    if not path.exists():
        raise StoreError("the dataset is not sealed", got=f"no {path.name} in {tree.root}", fix=_SEAL_FIRST)
    return read_checked(path, "the dataset's record", "run wsiprep seal again")


def read_index_table(tree: DatasetTree, record: Mapping[str, Any]) -> pa.Table:
    """``index.parquet``, if it is the one that the record names.

    Raises:
        StoreError: missing, or of other bytes (damaged, or a seal is under way).
    """
    path = tree.index
    wanted = {f["path"]: f["xxh3"] for f in record["tables"]}[path.name]
    try:
        # Once: what is hashed has to be what is parsed, while another process may be sealing anew.
        data = path.read_bytes()
    except OSError as error:
        raise StoreError("the dataset's index is missing", got=error.strerror, file=path, fix=_SEAL_FIRST) from error
    if bytes_digest(data) != wanted:
        raise StoreError("the index is not the one that was sealed", file=path, fix=f"{_SEAL_FIRST} again")
    schema = index_schema(record["labels"])
    return parse_parquet(data, path, schema).cast(schema)


def _require_files(tree: DatasetTree, record: Mapping[str, Any]) -> None:
    for shard in record["shards"]:
        for value in shard["files"]:
            file = FileRecord.from_dict(value)
            path = tree.root / file.path
            try:
                size = path.stat().st_size
            except OSError as error:
                raise StoreError(
                    "a file of the dataset is missing", got=error.strerror, file=path, fix="run the workflow again"
                ) from error
            if size != file.size:
                raise StoreError("a file of the dataset is truncated or grown", got=size, expected=file.size, file=path)


def _require_counts(record: Mapping[str, Any], index: pa.Table) -> None:
    found = {pair["values"]: pair["counts"] for pair in pc.value_counts(index["shard"]).to_pylist()}
    recorded = {shard["path"]: shard["n_used"] for shard in record["shards"] if shard["n_used"]}
    if found != recorded:
        odd = sorted(path for path in found.keys() | recorded.keys() if found.get(path) != recorded.get(path))
        raise StoreError("index and record differ in their shards", got=", ".join(odd[:5]), fix=f"{_SEAL_FIRST} again")
