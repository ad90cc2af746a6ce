"""What does each codec cost, on patches of real slides: size, packing, unpacking, loading?

    python benchmarks/chunk_codecs.py celiac_10x.tif granular_20x.tif mesothelioma_10x.tif
    python benchmarks/chunk_codecs.py --settings SLIDE...  # levels of lz4 and zstd, and where the memory comes from
    python benchmarks/chunk_codecs.py --smoke              # made-up textures

Packing and unpacking go through ``ChunkCodec`` as ``pack`` and the loader use it: checksum included, into memory
that is used again. Loading reads image and mask of a row from a shard in the page cache, in random order. All in CPU
seconds of one thread. The patches are drawn by lot from those that are half tissue, as they are and normalised to the
built-in reference.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crc32c
import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
from circumstances import machine_line
from harness import Contestant, Measure, Runs, arguments, cpu, interleaved, quotients, report, results_of
from numcodecs import blosc

from wsiprep.artifacts import DatasetTree
from wsiprep.config import recipe_from_mapping
from wsiprep.geometry import Box
from wsiprep.slides import open_slide
from wsiprep.stain import REFERENCE, fit, histogram, normalise
from wsiprep.store import PatchRecord, ShardSpec, write_shard
from wsiprep.store.codecs import ChunkCodec, CodecName
from wsiprep.store.shard import Shard

SIDE_PX = 512
CODECS: tuple[CodecName, ...] = ("zstd", "blosc-lz4", "none", "jpegxl", "jpeg")
BASELINE = "zstd"
COLOURED = 20
"""Levels between the largest and the smallest channel of a coloured pixel."""
MOST_MS = {"image": 0.45, "mask": 0.05}
"""Milliseconds that packing one patch with lz4 may take."""

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class Way:
    """How to pack an array and to unpack it again into ``out``."""

    pack: Callable[[npt.NDArray[Any]], object]
    bytes_of: Callable[[npt.NDArray[Any]], bytes]
    unpack: Callable[[bytes, npt.NDArray[Any]], object]


def shipped(codec: ChunkCodec) -> Way:
    return Way(
        codec.pack, codec.encode, lambda data, out: codec.decode(data, out.shape, out.dtype, out)
    )  # fmt: skip


def lz4(level: int) -> Way:
    """Blosc's lz4 at another level, always into the same memory."""
    room = bytearray(SIDE_PX * SIDE_PX * 4 + 16)

    def packed(array: npt.NDArray[Any]) -> memoryview:
        raw = array.reshape(-1).view(np.uint8)
        out = memoryview(room)[: raw.size + 16]
        data = imagecodecs.blosc_encode(
            raw, level=level, compressor="lz4", shuffle=0, typesize=1, numthreads=1, out=np.frombuffer(out, np.uint8)
        )
        crc32c.crc32c(data)
        return memoryview(data)

    def unpacked(data: bytes, out: npt.NDArray[Any]) -> None:
        crc32c.crc32c(data)
        imagecodecs.blosc_decode(data, numthreads=1, out=out.reshape(-1).view(np.uint8))

    return Way(packed, lambda array: bytes(packed(array)), unpacked)


def fresh_memory() -> Way:
    """lz4 as it is used most often: numcodecs takes new memory for each chunk, checksum and array are copied."""
    blosc.use_threads = False
    packer = blosc.Blosc(cname="lz4", clevel=5, shuffle=blosc.NOSHUFFLE)

    def packed(array: npt.NDArray[Any]) -> bytes:
        data = bytes(packer.encode(array.reshape(-1).view(np.uint8)))
        return data + crc32c.crc32c(data).to_bytes(4, "little")

    def unpacked(data: bytes, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        body = data[:-4]
        crc32c.crc32c(body)
        return np.frombuffer(packer.decode(body), out.dtype).reshape(out.shape).copy()

    return Way(packed, packed, unpacked)


def ways(*, settings: bool) -> dict[str, Way]:
    if not settings:
        return {name: shipped(ChunkCodec(name)) for name in CODECS}
    found = {BASELINE: shipped(ChunkCodec("zstd")), "blosc-lz4": shipped(ChunkCodec("blosc-lz4"))}
    found["lz4 5, fresh memory"] = fresh_memory()
    found |= {f"lz4 level {level}": lz4(level) for level in (1, 2, 3, 5, 7, 9)}
    found |= {f"zstd level {level}": shipped(ChunkCodec("zstd", level)) for level in (-5, -3, -1, 3, 6)}
    found |= {f"jpeg {quality}": shipped(ChunkCodec("jpeg", quality=quality)) for quality in (80, 90)}
    return found


def tissue(path: Path, count: int) -> list[npt.NDArray[np.uint8]]:
    """Cells of level 0 drawn by lot from those of which half is coloured."""
    found: list[npt.NDArray[np.uint8]] = []
    with open_slide(path) as slide:
        size = slide.info.size
        columns, rows = size.width_px // SIDE_PX, size.height_px // SIDE_PX
        for number in np.random.default_rng(0).permutation(columns * rows):
            box = Box(int(number) % columns * SIDE_PX, int(number) // columns * SIDE_PX, SIDE_PX, SIDE_PX)
            patch = np.ascontiguousarray(slide.read_level(0, box))
            if (np.ptp(patch, axis=2) > COLOURED).mean() >= 0.5:
                found.append(patch)
            if len(found) == count:
                break
    return found


def normalised(patches: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    source = fit(histogram(np.concatenate(patches)), "macenko", 1000)
    return [normalise(patch, source, REFERENCE["macenko"]) for patch in patches]


def textures(count: int) -> list[npt.NDArray[np.uint8]]:
    """Blurred noise, for a run without slides."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count, SIDE_PX, SIDE_PX, 3), np.uint8)
    return [cv2.GaussianBlur(patch, (0, 0), 2) for patch in noise]


def masks(count: int) -> list[npt.NDArray[np.uint8]]:
    """Regions as annotators draw them: 0 to 11 closed curves of 200 vertices in three labels, the rest unknown."""
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        mask = np.full((SIDE_PX, SIDE_PX), 255 if number % 3 else 0, np.uint8)
        for _ in range(number % 12):
            angle = np.linspace(0, 2 * np.pi, 200)
            radius = rng.integers(30, 250) * (1 + 0.05 * np.cumsum(rng.normal(0, 0.1, 200)))
            curve = rng.integers(0, SIDE_PX, 2) + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
            cv2.fillPoly(mask, [curve.astype(np.int32)], int(rng.integers(0, 4)))
        made.append(mask)
    return made


def nuclei(count: int) -> list[npt.NDArray[np.int32]]:
    """Instance maps: 50 to 400 discs."""
    rng = np.random.default_rng(2)
    made = []
    for number in range(count):
        instance = np.zeros((SIDE_PX, SIDE_PX), np.int32)
        for value in range(1, 50 + 350 * number // max(count - 1, 1)):
            place = tuple(int(v) for v in rng.integers(0, SIDE_PX, 2))
            cv2.circle(instance, place, int(rng.integers(4, 10)), value, -1)
        made.append(instance)
    return made


def row(number: int) -> dict[str, Any]:
    return {
        "tile": None, "x_lv0": 0, "y_lv0": number * SIDE_PX, "width_lv0": SIDE_PX, "height_lv0": SIDE_PX, "scale": 1,
        "scale_y": 1, "spacing_um": 1.0, "source_level": 0, "from_stored": True, "dct_factor": 1, "stain_origin": None,
        "a_fraction": 0.0, "b_fraction": 0.0, "c_fraction": 0.0, "annotated_fraction": 0.0, "tissue_fraction": None,
    }  # fmt: skip


def shard(folder: Path, name: CodecName, images: Arrays) -> Shard:
    store = recipe_from_mapping({"name": "codecs", "downsample": 1, "store": {"codec": name}}).store
    spec = ShardSpec(name, ("a", "b", "c"), SIDE_PX, store)
    records = [
        PatchRecord(image, mask, row(i)) for i, (image, mask) in enumerate(zip(images, masks(len(images)), strict=True))
    ]
    receipt = write_shard(DatasetTree(folder), spec, records, len(records))
    return Shard(folder / receipt.shard)


def loading(folder: Path, images: Arrays) -> list[Contestant]:
    """Image and mask of every row, in random order, into the same arrays."""
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    image, mask = np.empty((SIDE_PX, SIDE_PX, 3), np.uint8), np.empty((SIDE_PX, SIDE_PX), np.uint8)

    def load(arrays: Mapping[str, Any]) -> None:
        for number in order:
            arrays["image"].patch(number, image)
            arrays["mask"].patch(number, mask)

    opened = {name: shard(folder, name, images).arrays for name in CODECS}
    return [Contestant(f"{name} load", lambda a=arrays: load(a)) for name, arrays in opened.items()]


def both_ways(name: str, way: Way, arrays: Arrays, repeats: int) -> list[Contestant]:
    data = [way.bytes_of(array) for array in arrays]
    out = np.empty_like(arrays[0])

    def pack() -> None:
        for _ in range(repeats):
            for array in arrays:
                way.pack(array)

    def unpack() -> None:
        for _ in range(repeats):
            for chunk in data:
                way.unpack(chunk, out)

    return [Contestant(f"{name} pack", pack), Contestant(f"{name} unpack", unpack)]


def measured(subject: str, arrays: Arrays, options: argparse.Namespace) -> list[Measure]:
    """One table: size, packing, unpacking and, for images with the shipped codecs, loading."""
    kind = {3: "image", 2: "mask" if arrays[0].dtype == np.uint8 else "instance"}[arrays[0].ndim]
    chosen = {n: w for n, w in ways(settings=options.settings).items() if kind == "image" or not n.startswith("jpeg")}
    repeats = 1 if options.smoke else {"image": 2, "mask": 20, "instance": 5}[kind]
    parts = [c for name, way in chosen.items() for c in both_ways(name, way, arrays, repeats)]
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        if kind == "image" and not options.settings:
            parts += loading(Path(folder), arrays)
        runs = interleaved(parts, options.rounds)
    total_mb = sum(array.nbytes for array in arrays) / 1e6
    sizes = {name: sum(len(way.bytes_of(array)) for array in arrays) / 1e6 for name, way in chosen.items()}
    print(f"\n{subject}: {len(arrays)} of {arrays[0].nbytes / 1e6:.2f} MB; {machine_line()}")
    print(f"  {'':<22}{'ratio':>8}{'pack MB/s':>11}{'ms':>8}{'unpack MB/s':>13}{'ms':>8}{'load 1/s':>10}")
    found: list[Measure] = []
    for name in chosen:
        found += lines_of(name, kind, subject, runs, sizes[name], total_mb, len(arrays), repeats)
    return found


def lines_of(
    name: str, kind: str, subject: str, runs: Runs, size_mb: float, total_mb: float, count: int, repeats: int
) -> list[Measure]:
    ms = {
        step: 1e3 * statistics.median(cpu(runs[f"{name} {step}"])) / count / repeats for step in ("pack", "unpack")
    }  # fmt: skip
    mb = total_mb / count
    loads = count / statistics.median(cpu(runs[f"{name} load"])) if f"{name} load" in runs else None
    print(
        f"  {name:<22}{total_mb / size_mb:>8.2f}{mb / ms['pack'] * 1e3:>11.0f}{ms['pack']:>8.3f}"
        f"{mb / ms['unpack'] * 1e3:>13.0f}{ms['unpack']:>8.3f}{'' if loads is None else f'{loads:.0f}':>10}",
        flush=True,
    )
    budget = MOST_MS.get(kind) if name == "blosc-lz4" else None
    found = [Measure(f"{name}: size", total_mb / size_mb, "ratio", subject=subject)]
    found.append(Measure(f"{name}: pack", ms["pack"], "ms", None, budget, "at most", subject))
    found += [
        Measure(f"{name}: {step} / {BASELINE}", mb / ms[step] * 1e3, "MB/s",
                quotients(cpu(runs[f"{BASELINE} {step}"]), cpu(runs[f"{name} {step}"])), subject=subject)
        for step in ("pack", "unpack")
    ]  # fmt: skip
    if loads is not None:
        ratio = quotients(cpu(runs[f"{BASELINE} load"]), cpu(runs[f"{name} load"]))
        found.append(Measure(f"{name}: load / {BASELINE}", loads, "samples/s", ratio, subject=subject))
    return found


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("slides", nargs="*", type=Path, help="real slides; without any, textures that are made up")
    parser.add_argument("--patches", type=int, default=12, help="of each slide (default: %(default)s)")
    parser.add_argument("--settings", action="store_true", help="levels of lz4 and zstd instead of the shipped codecs")
    parser.add_argument("--scratch", type=Path, help="folder for the shards that are loaded")
    options = parser.parse_args(words)
    count = 2 if options.smoke else options.patches
    options.rounds = 1 if options.smoke else options.rounds
    subjects: dict[str, Arrays] = {}
    for slide in options.slides:
        patches = tissue(slide, count)
        subjects |= {slide.stem: patches, f"{slide.stem}, normalised": normalised(patches)}
    subjects = subjects or {"textures": textures(count)}
    subjects |= {"masks": masks(count), "instances": nuclei(count)}
    found = [m for subject, arrays in subjects.items() for m in measured(subject, arrays, options)]
    print()
    libraries = ("imagecodecs", "simplejpeg", "numcodecs", "crc32c")
    name = "codec_settings" if options.settings else "codecs"
    report(name, found, libraries=libraries, results=results_of(options), rounds=options.rounds)


if __name__ == "__main__":
    main()
