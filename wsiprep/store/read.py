"""Reading a sealed dataset with numpy: checked when it is opened, never zeros for what is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wsiprep.artifacts import DatasetTree
from wsiprep.errors import StoreError, UsageError
from wsiprep.store import compute as pc
from wsiprep.store.digest import bytes_digest
from wsiprep.store.openfiles import OpenFiles
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
    digest. The files that were read last stay open (``openfiles.LIMIT`` at most); threads may read at
    once, and forked and spawned workers need nothing special.

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
        # A chunk a column: finding a row is then an addition and not a search.
        self.index: pa.Table = read_index_table(self._tree, self.record).combine_chunks()
        _require_files(self._tree, self.record)
        _require_counts(self.record, self.index)
        paths = [shard["path"] for shard in self.record["shards"]]
        self._paths = [self.root / path for path in paths]
        self._lengths = [int(shard["n_patches"]) for shard in self.record["shards"]]
        self._shard_of = pc.index_in(self.index["shard"], value_set=pa.array(paths, pa.string())).to_numpy()
        self._row_of = self.index["row"].to_numpy()
        self._open: dict[int, Shard] = {}
        self._files = OpenFiles()
        self._columns = dict(zip(self.index.column_names, self.index.columns, strict=True))

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
        place = i % len(self)
        return image, mask, {name: column[place].as_py() for name, column in self._columns.items()}

    def read_pixels(
        self, i: int, image: npt.NDArray[np.uint8] | None = None, mask: npt.NDArray[np.uint8] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Image uint8 (H, W, 3) and mask uint8 (H, W) of one patch; negative numbers count from the end.

        Args:
            i: row of the index.
            image, mask: where to decode them to, C-contiguous; default fresh arrays.

        Raises:
            UsageError: no such row, or an array that does not fit.
            StoreError: a file is missing or damaged.
        """
        arrays, row = self._place(i)
        return arrays[IMAGE].patch(row, image), arrays[MASK].patch(row, mask)

    def read_batch(
        self,
        rows: npt.ArrayLike,
        images: npt.NDArray[np.uint8] | None = None,
        masks: npt.NDArray[np.uint8] | None = None,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Images uint8 (n, H, W, 3) and masks uint8 (n, H, W) of these rows, in their order.

        They are read in the order in which they lie on the disk.

        Args:
            rows: numbers of rows, each as in ``read_pixels``.
            images, masks: where to decode them to, as in ``read_pixels``.
        """
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        side = self.patch_size_px
        images = np.empty((len(wanted), side, side, 3), np.uint8) if images is None else images
        masks = np.empty((len(wanted), side, side), np.uint8) if masks is None else masks
        if not len(images) == len(masks) == len(wanted):
            raise UsageError("arrays and rows differ in number", got=(len(images), len(masks)), expected=len(wanted))
        # Index order is shard by shard and row by row.
        for place in np.argsort(wanted, kind="stable").tolist():
            self.read_pixels(int(wanted[place]), images[place], masks[place])
        return images, masks

    def shard_files(self, rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Number of the shard file that holds the image of each row; numbers grow in index order."""
        chosen = np.asarray(rows, dtype=np.int64)
        numbers = self._shard_of[chosen].astype(np.int64)
        per_file = np.ones(len(self._paths), np.int64)
        for number in np.unique(numbers).tolist():
            shard = self.record["shards"][number]
            prefix = f"{shard['path']}/{IMAGE}/c."
            # One file is the usual case, and needs no look at the shard.
            one = sum(file["path"].startswith(prefix) for file in shard["files"]) == 1
            per_file[number] = self._lengths[number] if one else self._shard(number).arrays[IMAGE].per_file
        place = numbers << 32 | self._row_of[chosen] // per_file[numbers]
        return np.unique(place, return_inverse=True)[1].astype(np.int64)

    def attributes_of(self, i: int) -> Mapping[str, Any]:
        """What the shard of one row says about itself: the attributes of its ``zarr.json``.

        Raises:
            UsageError: no such row.
            StoreError: the shard is missing or another one.
        """
        self._require(i)
        return self._shard(int(self._shard_of[i])).attributes

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
        self._require(i)
        return self._shard(int(self._shard_of[i])).arrays, int(self._row_of[i])

    def _require(self, i: int) -> None:
        if not -len(self) <= i < len(self):
            raise UsageError("the dataset has no such patch", got=i, expected=f"0..{len(self) - 1}")

    def _shard(self, number: int) -> Shard:
        shard = self._open.get(number)
        if shard is None:
            shard = Shard(self._paths[number], self._files)
            if shard.n_patches != self._lengths[number]:
                raise StoreError(
                    "a shard has another number of patches than the dataset's record", got=shard.n_patches,
                    expected=self._lengths[number], file=self._paths[number], fix="wsiprep verify --deep",
                )  # fmt: skip
            self._open[number] = shard
        return shard

    def to_dask(self, split: str = SPLIT_ALL, fold: int | None = None) -> tuple[dask.array.Array, dask.array.Array]:
        """(images, masks) as dask arrays in the order of ``split()``, a shard file a block.

        Tasks hold a path and row numbers, so that they run on threads and on the workers of a distributed scheduler
        that see the same file system. Damaged and missing files raise when they are computed, as in ``read``.
        """
        from wsiprep.store.lazy import blocks_of, lazy_arrays

        rows = self.split(split, fold)
        name = f"{self.record['name']}-{split}-{'' if fold is None else fold}-{self.digest}"
        shards = [(str(path), count) for path, count in zip(self._paths, self._lengths, strict=True)]
        blocks = blocks_of(self.shard_files(rows), self._shard_of[rows], self._row_of[rows], shards)
        return lazy_arrays(blocks, self.patch_size_px, name)


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
