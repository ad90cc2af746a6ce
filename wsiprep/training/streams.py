"""Numbers that keep the random streams of a training apart, beside its seed: what one draws, no other repeats."""

from __future__ import annotations

CROP_STREAM, ORDER_STREAM, FILES_STREAM, WINDOW_STREAM, STAIN_STREAM, COLOUR_STREAM = 1, 2, 3, 4, 5, 6
