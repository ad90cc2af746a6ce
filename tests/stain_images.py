"""Pictures that stains are fitted on in tests, made and real, and the plain fits that the fast ones are held to."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import tifffile

from wsiprep.stain.density import optical_density
from wsiprep.stain.lasso import concentrations
from wsiprep.stain.vahadane import PENALTY, START

SIDE = 200
RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
REAL = ("histo", "instanseg", "granular", "mesothelioma", "celiac", "cmu", "tcga", "dsb")
_SLIDES = {
    "granular": ("slides/granular_20x.tif", 2, 1700, 2200),
    "mesothelioma": ("slides/mesothelioma_10x.tif", 1, 1700, 2000),
    "celiac": ("slides/celiac_10x.tif", 1, 1500, 2000),
    "cmu": ("slides_svs/cmu-1-small-region.svs", 0, 1500, 1000),
    "tcga": ("slides_svs/tcga-cr-7395-01a-01-ts1.svs", 0, 1500, 2000),
}


def stained(haematoxylin, eosin, seed=0, vectors=RUIFROK):
    """A picture of two stains with a little sensor noise."""
    density = np.stack([haematoxylin, eosin], axis=-1) @ vectors
    noise = np.random.default_rng(seed).normal(0, 2, density.shape)
    return np.clip(255 * np.exp(-density) + noise, 0, 255).astype(np.uint8)


def he(seed=0, side=SIDE, vectors=RUIFROK):
    rng = np.random.default_rng(seed)
    return stained(rng.gamma(1, 0.5, (side, side)), rng.gamma(1, 0.4, (side, side)), seed, vectors)


def pen(colour, width=60):
    glass = np.random.default_rng(0).integers(243, 250, (SIDE, SIDE, 3)).astype(np.uint8)
    return cv2.GaussianBlur(cv2.line(glass, (10, 10), (190, 150), colour, width), (5, 5), 0)


def odd_images():
    """name -> (picture that is no H&E, the reason for which its fit is refused)."""
    rng = np.random.default_rng(0)
    amount, none = rng.gamma(2, 0.35, (SIDE, SIDE)), np.zeros((SIDE, SIDE))
    shape = (SIDE, SIDE, 3)
    return {
        "white": (np.full(shape, 255, np.uint8), "too_little_tissue"),
        "near-white noise": (rng.integers(240, 256, shape).astype(np.uint8), "too_little_tissue"),
        "black": (np.zeros(shape, np.uint8), "grey_or_black"),
        "grey": (np.full(shape, 128, np.uint8), "grey_or_black"),
        "grey texture": (np.repeat(rng.integers(20, 180, (SIDE, SIDE, 1)), 3, 2).astype(np.uint8), "grey_or_black"),
        "half black": (np.concatenate([np.zeros(shape, np.uint8), he()[:150]]), "grey_or_black"),
        "haematoxylin alone": (stained(amount, none), "single_stain"),
        "eosin alone": (stained(none, amount), "single_stain"),
        "one colour": (np.full(shape, (220, 150, 190), np.uint8), "single_stain"),
        "green pen": (pen((30, 150, 60)), "ink"),
        "red pen": (pen((210, 30, 40)), "ink"),
        "thin red pen": (pen((225, 60, 70), 40), "ink"),
        "blue pen": (pen((40, 60, 150)), "single_stain"),
        "nearly all glass": (np.pad(he(side=100), ((0, 1000), (0, 1000), (0, 0)), constant_values=255), "faint"),
        "nothing": (np.zeros((0, 0, 3), np.uint8), "too_little_tissue"),
    }


@cache
def real_crop(shared_data, name, side=256):
    """A crop of a real picture with tissue, read-only."""
    found = _real_crop(shared_data, name, side)
    found.flags.writeable = False
    return found


def _real_crop(shared_data, name, side):
    if name == "histo":
        return np.ascontiguousarray(cv2.imread(str(shared_data / "stain" / "histo.jpg"))[..., ::-1])
    if name == "instanseg":
        return tifffile.imread(shared_data / "stain" / "instanseg_HE_example.tif")[
            600 : 600 + side, 500 : 500 + side
        ].copy()
    if name == "dsb":
        path = sorted((shared_data / "dsb2018_he" / "images").glob("*.png"))[40]
        return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    path, level, y, x = _SLIDES[name]
    return tifffile.imread(shared_data / path, key=level)[y : y + side, x : x + side].copy()


def clean_tissue(rgb):
    """(density (3, k), counts (k,)) of tissue without ink, each 8-bit colour by itself."""
    colours, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)
    lightness = cv2.cvtColor(colours[None], cv2.COLOR_RGB2LAB)[0, :, 0]
    density = optical_density(colours.T)
    red, green, blue = density
    ink = green < 0.7 * density.max(axis=0)
    ink |= (blue > 0.85 * green) & (red < 0.25 * green) & (green > 0.5)
    kept = (lightness < 0.8 * 255) & ~ink
    return density[:, kept], counts[kept]


def plain_optimum(density, counts):
    """Vahadane's dictionary by plain alternation to the end, the dictionary step solved each time."""
    weights = counts / counts.sum()
    atoms = START.copy()
    for _ in range(2000):
        codes = concentrations(density, atoms, PENALTY)
        second, cross = codes * weights @ codes.T, codes * weights @ density.T
        moved = atoms.copy()
        for _ in range(50):
            for k in range(2):
                free = np.maximum((cross[k] - second[k] @ moved) / second[k, k] + moved[k], 0)
                moved[k] = free / max(np.linalg.norm(free), 1)
        done = np.abs(moved - atoms).max() < 1e-8
        atoms = moved
        if done:
            break
    atoms = atoms[np.argsort(-atoms[:, 0])]
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def plain_macenko(density, counts):
    """Macenko's vectors as the definition reads, every pixel by itself."""
    pixels = np.repeat(density, counts, axis=1)
    _, vectors = np.linalg.eigh(np.cov(pixels))
    plane = vectors[:, [2, 1]]
    plane = plane * np.where(plane.T @ pixels.mean(axis=1) < 0, -1, 1)
    along, across = plane.T @ pixels
    rows = np.array([plane @ [np.cos(a), np.sin(a)] for a in np.percentile(np.arctan2(across, along), [1, 99])])
    rows = rows[np.argsort(-rows[:, 0])]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def angle_deg(first, second):
    """The larger of the two rows' angles."""
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1, 1))).max()
