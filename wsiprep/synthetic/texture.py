"""Seamless swatches of H&E-like tissue, made in stain concentrations and turned into colour at the end.

Nothing here is measured from a patient. Light is absorbed by two dyes (Lambert-Beer), so that the
pictures behave under stain separation as stained tissue does: I = glass * exp(-(h H + e E)).
Lengths are pixels at 0.25 um/px.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

RGB = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Palette:
    """The look of one patient's slides.

    Attributes:
        haematoxylin, eosin: optical density per unit of dye in R, G, B.
        haematoxylin_gain, eosin_gain: how strongly the section was stained.
        glass: R, G, B of the empty slide, 0 to 255.
        noise: standard deviation of the camera's noise in grey levels.
    """

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    haematoxylin_gain: float
    eosin_gain: float
    glass: tuple[float, float, float]
    noise: float = 1.6


STYLES: tuple[Palette, ...] = (
    Palette((0.62, 0.70, 0.32), (0.13, 0.86, 0.42), 1.0, 1.0, (244.0, 243.0, 245.0)),
    Palette((0.72, 0.66, 0.22), (0.22, 0.80, 0.30), 1.0, 1.0, (240.0, 240.0, 236.0)),
)
"""Two laboratories: a red-violet and a blue-violet one."""


def vary(palette: Palette, rng: Random, amount: float = 1.0) -> Palette:
    """A look near ``palette``: dye colours shifted by about 4 %, strengths by about 15 %."""
    h, e = (tuple(float(v * (1 + 0.04 * amount * rng.uniform(-1, 1))) for v in dye) for dye in
            (palette.haematoxylin, palette.eosin))  # fmt: skip
    gains = [g * (1 + 0.15 * amount * rng.uniform(-1, 1)) for g in (palette.haematoxylin_gain, palette.eosin_gain)]
    shift = float(rng.uniform(-2, 2)) * amount
    glass = tuple(v + shift for v in palette.glass)
    return Palette(h, e, float(gains[0]), float(gains[1]), glass, palette.noise)  # type: ignore[arg-type]


def cloud(rng: Random, side_px: int, wavelength_px: int) -> Field:
    """Smooth seamless noise of mean about 0 and deviation 1 that varies over about ``wavelength_px``."""
    nodes = max(2, round(side_px / wavelength_px))
    field = rng.standard_normal((nodes, nodes)).astype(np.float32)
    # In steps of at most 4: the wrapped border that each step drops is then a small part of the work.
    while (grown := min(4 * field.shape[0], side_px)) > field.shape[0]:
        field = _enlarge(field, grown)
    return _standard(field)


def _enlarge(field: Field, side_px: int) -> Field:
    """A seamless square field at ``side_px`` by cubic interpolation, seamless again."""
    side = field.shape[0]
    step = -(-side_px // side)
    fine = cv2.resize(np.pad(field, 3, mode="wrap"), None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    core = fine[3 * step : -3 * step, 3 * step : -3 * step]
    if core.shape[0] != side_px:
        # Sampled at even steps from the first pixel on, so that the last step leads back to it.
        places = (np.arange(side_px, dtype=np.float32) * np.float32(core.shape[0] / side_px))[None].repeat(side_px, 0)
        core = cv2.remap(core, places, np.ascontiguousarray(places.T), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(core, np.float32)


def fibres(rng: Random, side_px: int, angle: float, length_px: float, width_px: float) -> Field:
    """Seamless wavy streaks along ``angle`` (radians), deviation 1: white noise through a slanted filter."""
    noise = rng.standard_normal((side_px, side_px), dtype=np.float32)
    fy = np.fft.fftfreq(side_px).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(side_px).astype(np.float32)[None, :]
    along = fx * math.cos(angle) + fy * math.sin(angle)
    across = fy * math.cos(angle) - fx * math.sin(angle)
    reach = np.exp(-2 * (math.pi * along * length_px / 2) ** 2)
    thin = np.exp(-2 * (math.pi * across * width_px / 2) ** 2)
    thick = np.exp(-2 * (math.pi * across * width_px * 2) ** 2)
    spectrum = np.fft.rfft2(noise) * (reach * (thin + 1.6 * thick)).astype(np.float32)
    streaks = np.fft.irfft2(spectrum, s=(side_px, side_px)).astype(np.float32)
    return _standard(warp(streaks, rng, reach_px=22, wavelength_px=side_px // 6))


def warp(field: Field, rng: Random, reach_px: float, wavelength_px: int) -> Field:
    """``field`` pushed about by a smooth seamless displacement of deviation ``reach_px``."""
    side = field.shape[0]
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    x = columns + reach_px * cloud(rng, side, wavelength_px)
    y = rows + reach_px * cloud(rng, side, wavelength_px)
    return np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


@dataclass(frozen=True, slots=True)
class Nuclei:
    """How the nuclei of a tissue lie and look (lengths in px at 0.25 um/px)."""

    spacing_px: float
    radius_px: float
    radius_spread: float
    elongation: float
    angle: float | None
    share: float
    density: float


def nuclei(rng: Random, side_px: int, kind: Nuclei) -> Field:
    """Dye concentration of scattered nuclei: a jittered hexagonal lattice, each site filled with ``share``."""
    margin = int(3 * kind.radius_px * kind.elongation) + 4
    canvas = np.zeros((side_px + 2 * margin,) * 2, np.uint8)
    rows = max(2, round(side_px / (kind.spacing_px * 0.87) / 2) * 2)
    columns = max(2, round(side_px / kind.spacing_px))
    for row in range(rows):
        for column in range(columns):
            jitter = rng.normal(0, 0.24, 2)
            size, stretch, turn, dark, chance = rng.random(5)
            if chance >= kind.share:
                continue
            x = (column + 0.5 * (row % 2) + jitter[0]) * side_px / columns
            y = (row + jitter[1]) * side_px / rows
            radius = kind.radius_px * (1 + kind.radius_spread * (2 * size - 1))
            long = radius * (1 + (kind.elongation - 1) * (0.5 + 0.5 * stretch))
            angle = 180 * turn if kind.angle is None else math.degrees(kind.angle) + 22 * (turn - 0.5)
            centre = (round(16 * (x % side_px + margin)), round(16 * (y % side_px + margin)))
            axes = (round(16 * long), round(16 * radius))
            value = 150 + int(90 * dark)
            cv2.ellipse(canvas, centre, axes, angle, 0, 360, value, cv2.FILLED, cv2.LINE_AA, 4)
    return _finish(rng, _fold(canvas, margin), kind)


def _fold(canvas: npt.NDArray[np.uint8], margin: int) -> Field:
    """Bring what was drawn over the border in again on the other side."""
    for _ in range(2):
        canvas[margin : 2 * margin] = np.maximum(canvas[margin : 2 * margin], canvas[-margin:])
        canvas[-2 * margin : -margin] = np.maximum(canvas[-2 * margin : -margin], canvas[:margin])
        canvas = np.ascontiguousarray(canvas.T)
    return np.asarray(canvas[margin:-margin, margin:-margin] / np.float32(255), np.float32)


def _finish(rng: Random, drawn: Field, kind: Nuclei) -> Field:
    side = drawn.shape[0]
    bent = warp(drawn, rng, reach_px=0.10 * kind.radius_px, wavelength_px=max(16, int(1.5 * kind.radius_px)))
    rim = max(3, int(0.16 * kind.radius_px) * 2 + 1)
    wrapped = cv2.erode(np.pad(bent, rim, mode="wrap"), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim)))
    inner = wrapped[rim:-rim, rim:-rim]
    chromatin = 1 + 0.20 * cloud(rng, side, 7)
    body = (0.62 * bent + 0.38 * (bent - 0.8 * inner)) * np.clip(chromatin, 0.45, 1.6)
    return np.asarray(_soft(body, 1.3) * kind.density, np.float32)


def _soft(field: Any, sigma_px: float) -> Field:
    rim = int(4 * sigma_px) + 2
    wrapped = np.pad(np.asarray(field, np.float32), rim, mode="wrap")
    return np.asarray(cv2.GaussianBlur(wrapped, (0, 0), sigma_px)[rim:-rim, rim:-rim], np.float32)


def stroma(rng: Random, side_px: int, palette: Palette, angle: float) -> RGB:
    """Collagen in wavy bundles, with few spindle-shaped nuclei along them."""
    streaks = fibres(rng, side_px, angle, length_px=190, width_px=5)
    spindle = Nuclei(150, 7, 0.25, 4.2, angle, 0.62, 1.55)
    eosin = np.clip(0.42 + 0.20 * streaks + 0.05 * cloud(rng, side_px, 300), 0.02, None)
    # The clefts between bundles are almost clear.
    eosin *= np.clip(0.5 + 0.9 * (streaks + 1.6), 0.12, 1)
    haematoxylin = 0.08 + 0.03 * cloud(rng, side_px, 180) + nuclei(rng, side_px, spindle)
    return colour(rng, haematoxylin, eosin, palette)


def inflamed(rng: Random, side_px: int, palette: Palette, angle: float) -> RGB:
    """Stroma crowded with small round dark nuclei (lymphocytes): as purple as tumour, of another texture."""
    streaks = fibres(rng, side_px, angle, length_px=120, width_px=5)
    small = Nuclei(40, 13, 0.12, 1.08, None, 0.80, 1.75)
    patchy = np.clip(0.85 + 0.35 * cloud(rng, side_px, 220), 0.1, 1.2)
    eosin = np.clip(0.34 + 0.13 * streaks, 0.02, None)
    haematoxylin = 0.10 + nuclei(rng, side_px, small) * np.where(patchy > 0.55, 1, 0.05).astype(np.float32)
    return colour(rng, haematoxylin, eosin, palette)


def tumour(rng: Random, side_px: int, palette: Palette, *, glands: bool) -> RGB:
    """Crowded large round nuclei with pale chromatin in a purple cytoplasm; with ``glands``, round lumens."""
    large = Nuclei(60 if not glands else 66, 23, 0.22, 1.28, None, 0.93, 1.30)
    cells = nuclei(rng, side_px, large)
    body = np.pad((cells < 0.25).astype(np.uint8), 64, mode="wrap")
    reach = cv2.distanceTransform(body, cv2.DIST_L2, 3)[64:-64, 64:-64]
    cytoplasm = np.clip(1.08 - reach / 46, 0.10, 1).astype(np.float32)
    eosin = 0.30 * cytoplasm * (1 + 0.16 * cloud(rng, side_px, 10)) + 0.04 * cloud(rng, side_px, 260)
    haematoxylin = 0.24 * cytoplasm * (1 + 0.14 * cloud(rng, side_px, 14)) + cells
    haematoxylin = haematoxylin * (1 + 0.10 * cloud(rng, side_px, 300))
    if glands:
        open_ = np.clip(4 * (cloud(rng, side_px, 150) - 1.15), 0, 1)
        haematoxylin, eosin = haematoxylin * (1 - open_), eosin * (1 - open_) + 0.02 * open_
    return colour(rng, haematoxylin, np.clip(eosin, 0.01, None), palette)


def fat(rng: Random, side_px: int, palette: Palette) -> RGB:
    """Fat cells: clear and round, with thin pink walls and hardly a nucleus."""
    sites = np.ones((side_px, side_px), np.uint8)
    count = max(2, round(side_px / 128))
    for row in range(count):
        for column in range(count):
            dx, dy = rng.uniform(-0.3, 0.3, 2)
            x, y = ((column + 0.5 * (row % 2) + dx) / count) % 1, ((row + 0.5 + dy) / count) % 1
            sites[int(y * side_px), int(x * side_px)] = 0
    padded = np.pad(sites, 256, mode="wrap")
    _, nearest = cv2.distanceTransformWithLabels(padded, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    edges = (nearest != np.roll(nearest, 1, 0)) | (nearest != np.roll(nearest, 1, 1))
    # A site that wraps has two labels; the walls come from the inner part, where each cell has one.
    walls = cv2.dilate(edges.astype(np.float32), np.ones((5, 5), np.uint8))[256:-256, 256:-256]
    walls = _soft(warp(np.ascontiguousarray(walls, np.float32), rng, 5, 90), 1.6)
    return colour(rng, 0.10 * walls, 0.02 + 0.55 * walls, palette)


def glass(rng: Random, side_px: int, palette: Palette) -> RGB:
    """The empty slide: near white, with some dust and the camera's noise."""
    dust = np.clip(0.012 * (cloud(rng, side_px, 9) - 3.2), 0, None)
    return colour(rng, np.zeros((side_px, side_px), np.float32), dust, palette)


def colour(rng: Random, haematoxylin: Any, eosin: Any, palette: Palette) -> RGB:
    """Dye concentrations (H, W) to RGB by Lambert-Beer, with camera noise."""
    noise = palette.noise * rng.standard_normal((*haematoxylin.shape, 1), dtype=np.float32)
    h = np.clip(haematoxylin, 0, None)[..., None] * np.float32(palette.haematoxylin_gain)
    e = np.clip(eosin, 0, None)[..., None] * np.float32(palette.eosin_gain)
    density = h * np.array(palette.haematoxylin, np.float32) + e * np.array(palette.eosin, np.float32)
    light = np.array(palette.glass, np.float32) * np.exp(-density)
    return np.asarray(np.clip(light + noise + 0.5, 0, 255), np.uint8)


def _standard(field: Field) -> Field:
    centred = field - field.mean(dtype=np.float64)
    deviation = float(centred.std(dtype=np.float64)) or 1.0
    return np.asarray(centred / deviation, np.float32)
