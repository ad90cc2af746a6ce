"""Miniatures of published collections of ready-cut tiles, made by script with the layouts of the real ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
from slide_files import texture

NASTY_NAMES = (
    "TCGA-A1-A0SK-DX1_xmin45749_[34061, 24725, 35279, 25785]",
    "leading-[x]",
    "blank in the middle",
    "comma, and 'quote'",
    "na\u00efve-\u7d30\u80de-\U0001f52c",
    "-dash",
    "a*b?c",
    "n" * 200,
)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """RGB, RGBA, grey or 16-bit grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    path.write_bytes(cv2.imencode(".png", shown)[1].tobytes())
    return path


def palette_png(indices: np.ndarray, palette: np.ndarray, *, depth: int = 8, colour: int = 3) -> bytes:
    """A PNG written chunk by chunk: a palette (colour 3) or grey (colour 0) of any bit depth."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = indices.shape
    bits = np.unpackbits(indices.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :].reshape(height, width * depth)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), np.packbits(bits, axis=1)], axis=1)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    if colour == 3:
        parts += [chunk(b"PLTE", palette.astype(np.uint8).tobytes()), chunk(b"tRNS", b"\x00\x80")]
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b"")])


def nuclei(side: int, seed: int, count: int = 12) -> np.ndarray:
    """int64 (side, side): discs with ids 1, 2, ..., the later ones on top; some touch, some reach over the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    ids = np.zeros((side, side), np.int64)
    for number in range(1, count + 1):
        cx, cy, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(side / 20, side / 8)
        ids[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = number
    return ids


def pannuke_like(root: Path, fold: int = 1, tiles: int = 4, side: int = 32) -> tuple[Path, Path]:
    """``Fold N/images/foldN/{images,types}.npy`` and ``Fold N/masks/foldN/masks.npy``; the two stacks' paths.

    Float64, five classes of nuclei with ids per channel, the background in channel 5; in tile 1 one pixel is
    set in two channels.
    """
    images_folder = root / f"Fold {fold}" / "images" / f"fold{fold}"
    masks_folder = root / f"Fold {fold}" / "masks" / f"fold{fold}"
    for folder in (images_folder, masks_folder):
        folder.mkdir(parents=True)
    images = np.stack([texture(side, side, seed=10 * fold + k) for k in range(tiles)]).astype(np.float64)
    masks = np.zeros((tiles, side, side, 6))
    for k in range(tiles):
        ids = nuclei(side, 100 * fold + k, count=5)
        for number in range(1, 6):
            masks[k, ..., (number + k) % 5][ids == number] = number
        masks[k, ..., 5] = ids == 0
    set_pixel = np.argwhere(masks[1, ..., :5].any(axis=2))[0]
    masks[(1, *set_pixel)][:2] = 77
    np.save(images_folder / "images.npy", images)
    np.save(images_folder / "types.npy", np.array([("Breast", "Bile-duct")[k % 2] for k in range(tiles)]))
    np.save(masks_folder / "masks.npy", masks)
    return images_folder / "images.npy", masks_folder / "masks.npy"


def monuseg_like(root: Path, names: tuple[str, ...], side: int = 40) -> Path:
    """``Tissue Images/*.tif`` and ``Annotations/*.xml`` with the litter of a macOS archive."""
    (root / "Tissue Images").mkdir(parents=True)
    (root / "Annotations").mkdir()
    for k, name in enumerate(names):
        tifffile.imwrite(root / "Tissue Images" / f"{name}.tif", texture(side, side, seed=k), photometric="rgb")
        (root / "Annotations" / f"{name}.xml").write_text("<Annotations/>")
    (root / "Tissue Images" / f"._{names[0]}.tif").write_bytes(b"\0\5\26\7")
    return root


def mat5(name: str, values: np.ndarray, *, compressed: bool = True) -> bytes:
    """A MATLAB 5 file with one array, as HoVer-Net's copies of CPM17 hold ``inst_map``; checked against scipy."""
    kinds = {"f8": (6, 9), "i4": (12, 5), "u2": (11, 4), "u1": (9, 2)}
    matrix_class, number_kind = kinds[values.dtype.str[1:]]

    def element(kind: int, body: bytes) -> bytes:
        return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)

    body = element(6, struct.pack("<II", matrix_class, 0))
    body += element(5, struct.pack(f"<{values.ndim}i", *values.shape))
    body += element(1, name.encode()) + element(number_kind, values.tobytes(order="F"))
    matrix = element(14, body)
    if compressed:
        packed = zlib.compress(matrix)
        matrix = struct.pack("<II", 15, len(packed)) + packed
    return b"MATLAB 5.0 MAT-file, made for a test".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + matrix


def cpm17_like(root: Path, tiles: int = 3, side: int = 50) -> Path:
    """``Images/image_NN.png``, ``Labels/image_NN.mat`` with inst_map, ``Overlay/``."""
    for folder in ("Images", "Labels", "Overlay"):
        (root / folder).mkdir(parents=True)
    for k in range(tiles):
        write_png(root / "Images" / f"image_{k:02d}.png", texture(side, side, seed=k))
        (root / "Labels" / f"image_{k:02d}.mat").write_bytes(mat5("inst_map", nuclei(side, k).astype(np.float64)))
        write_png(root / "Overlay" / f"image_{k:02d}.png", texture(side, side, seed=k + 50))
    return root


def bach_photos_like(root: Path) -> Path:
    """``Photos/{Normal,Benign,InSitu,Invasive}/{n,b,is,iv}NNN.tif``, without labels for pixels."""
    for folder, letter in (("Normal", "n"), ("Benign", "b"), ("InSitu", "is"), ("Invasive", "iv")):
        (root / "Photos" / folder).mkdir(parents=True)
        for k in range(1, 3):
            image = texture(64, 48, seed=k + len(folder))
            tifffile.imwrite(root / "Photos" / folder / f"{letter}{k:03d}.tif", image, photometric="rgb")
    return root
