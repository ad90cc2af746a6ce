"""Cut-out images whose names carry their level-0 box: the image must be as large as the box says."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from wsiprep.config.dataset import RoiFiles
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.listing import Listing
from wsiprep.datasets.patterns import compile_pattern

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def check_rois(specs: Sequence[RoiFiles], listing: Listing) -> tuple[list[Finding], frozenset[str], int]:
    """Compare the size of every such image with the box in its name.

    Returns findings, the files that the patterns name, and the number of images whose size fits.
    """
    findings: list[Finding] = []
    claimed: set[str] = set()
    n_fit = 0
    for spec in specs:
        pattern = compile_pattern(spec.path, spec.where)
        for key, entry in sorted(listing.files.items()):
            places = pattern.match(key)
            if places is None:
                continue
            claimed.add(key)
            x0, y0, x1, y1 = (int(places[name]) for name in ("x0", "y0", "x1", "y1"))
            wanted = (x1 - x0, y1 - y0)
            found = png_size(listing.root / entry.path)
            if found is None:
                findings.append(Finding("partial", "error", entry.path, "no PNG header (half downloaded?)"))
            elif found != wanted:
                message = f"{found[0]} x {found[1]} px, but the box in its name is {wanted[0]} x {wanted[1]}"
                findings.append(Finding("roi-size", "warning", entry.path, f"{message}. {spec.note}".strip()))
            else:
                n_fit += 1
    return findings, frozenset(claimed), n_fit


def png_size(path: Path) -> tuple[int, int] | None:
    """(width, height) from a PNG's header, or None."""
    with path.open("rb") as stream:
        head = stream.read(24)
    if len(head) < 24 or head[:8] != PNG_MAGIC or head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", head[16:24])
    return int(width), int(height)
