"""Miniatures of published datasets: the real names, group names, tables and quirks on slides of a few pixels.

Every file is made by a script. Counts are the real ones, so that a whole copy is found whole.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import tifffile

from wsiprep.datasets.patterns import filled

CAMELYON16_PARTIAL = (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85, 92, 95, 110)
CAMELYON16_TEST_TUMOUR = (*range(1, 49), 114)
"""49 made-up numbers of tumour slides, the real count, and with the real number 114 among them."""

CAMELYON17_OUTLINED = {
    "patient_0": "04_4 09_1 10_4 12_0 15_1 15_2 16_1 17_1 17_2 17_4 20_2 20_4 21_3 22_4 24_1 24_2 34_3 36_3 38_2 39_1 "
    "40_2 41_0 42_3 44_4 45_1 46_3 46_4 48_1 51_2 52_1 60_3 61_4 62_2 64_0 66_2 67_4 68_1 72_0 73_1 75_4 80_1 81_4 "
    "86_0 86_4 87_0 88_1 89_3 92_1 96_0 99_4"
}
"""The 50 outlined slides: patient and node."""

BACH_PHOTOS = (("Normal", "n"), ("Benign", "b"), ("InSitu", "is"), ("Invasive", "iv"))
TIGER_LONG = ("TCGA-OL-A66I", "TCGA-OL-A66P", "TCGA-OL-A6VO")


def asap_xml(groups: Iterable[str]) -> bytes:
    """An ASAP file with a triangle of each group."""
    shapes = "".join(
        f'<Annotation Name="Annotation {i}" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>'
        f'<Coordinate Order="0" X="{i}" Y="0"/><Coordinate Order="1" X="{i + 9}" Y="0"/>'
        f'<Coordinate Order="2" X="{i + 9}" Y="9"/></Coordinates></Annotation>'
        for i, group in enumerate(groups)
    )
    return f"<ASAP_Annotations><Annotations>{shapes}</Annotations><AnnotationGroups/></ASAP_Annotations>".encode()


def imagescope_xml(texts: Iterable[str], mpp: float = 0.467) -> bytes:
    """An Aperio file with a region of each text."""
    regions = "".join(
        f'<Region Id="{i}" Type="0" NegativeROA="0" Text="{text}"><Vertices><Vertex X="{i}" Y="0" Z="0"/>'
        f'<Vertex X="{i + 9}" Y="0" Z="0"/><Vertex X="{i + 9}" Y="9" Z="0"/></Vertices></Region>'
        for i, text in enumerate(texts, start=1)
    )
    layer = f'<Annotation Id="1" Type="4"><Regions>{regions}</Regions></Annotation>'
    return f'<Annotations MicronsPerPixel="{mpp}">{layer}</Annotations>'.encode()


@cache
def tiny_tiff(spacing_um: float | None = 0.243) -> bytes:
    """A tiled TIFF of 16 x 16 px."""
    from io import BytesIO

    stream = BytesIO()
    more = {} if spacing_um is None else {"resolution": (1e4 / spacing_um,) * 2, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.full((16, 16, 3), 200, np.uint8), tile=(16, 16), photometric="rgb", metadata=None, **more)
    return stream.getvalue()


@cache
def tiny_mask(value: int = 1) -> bytes:
    """A one-channel tiled TIFF of 16 x 16 px."""
    from io import BytesIO

    stream = BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.full((16, 16), value, np.uint8), tile=(16, 16), photometric="minisblack", metadata=None)
    return stream.getvalue()


def tiny_png(width: int, height: int, pixels: bytes | None = None) -> bytes:
    """A grey PNG, written chunk by chunk; ``pixels`` are its rows one after the other, else 1 everywhere."""
    values = pixels or b"\x01" * (width * height)
    lines = (values[y * width : (y + 1) * width] for y in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def put(root: Path, path: str, data: bytes) -> Path:
    """Write a file below the root; a file that is there is replaced, never written through a link."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.write_bytes(data)
    return target


def twin(root: Path, to: Path) -> Path:
    """A copy of a miniature that shares its bytes: plant faults with ``put``, ``unlink`` or ``rename`` only."""
    shutil.copytree(root, to, copy_function=os.link)
    return to


def write_csv(root: Path, path: str, rows: Iterable[Sequence[str]]) -> None:
    """A CSV below the root."""
    target = put(root, path, b"")
    with target.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def camelyon16(root: Path, layout: str = "drive") -> Path:
    """399 slides; training groups _0, _1, _2 and test groups Tumor, Exclusion, None."""
    normal = [f"normal_{n:03}" for n in range(1, 161) if n != 86]
    tumour = [f"tumor_{n:03}" for n in range(1, 112)]
    test = [f"test_{n:03}" for n in range(1, 131) if n != 49]
    positive = {f"test_{n:03}" for n in CAMELYON16_TEST_TUMOUR}
    folders = {"normal": "training/normal", "tumor": "training/tumor", "test": "testing/images"}
    outlines = {"tumor": "training/lesion_annotations", "test": "testing/lesion_annotations"}
    if layout == "aws":
        folders = dict.fromkeys(folders, "images")
        outlines = dict.fromkeys(outlines, "annotations")
        put(root, "license.txt", b"CC0")
        put(root, "background_tissue/normal_001.tif", tiny_tiff())
    else:
        rows = [(t, "Tumor" if t in positive else "Normal", "IDC" if t in positive else "None", "None") for t in test]
        write_csv(root, "testing/reference.csv", rows)
    for slide in (*normal, *tumour, *test):
        kind = slide.split("_")[0]
        put(root, f"{folders[kind]}/{slide}.tif", tiny_tiff())
        if kind == "tumor":
            put(root, f"{outlines[kind]}/{slide}.xml", asap_xml(["_0", "_1", "_2"]))
        if slide in positive:
            put(root, f"{outlines[kind]}/{slide}.xml", asap_xml(["Tumor", "Exclusion", "None"]))
        if kind == "tumor" and layout == "aws":
            put(root, f"masks/{slide}_mask.tif", tiny_mask())
    return root


def camelyon17(root: Path, layout: str = "flat") -> Path:
    """1,000 slides of 200 patients; a stage table that mixes patients' ZIPs with slides; 50 outlined slides."""
    outlined = {
        f"{prefix}{name[:2]}_node_{name[-1]}" for prefix, names in CAMELYON17_OUTLINED.items() for name in names.split()
    }
    table = [("patient", "stage")]
    for patient in range(200):
        name = f"patient_{patient:03}"
        if patient < 100:
            table.append((f"{name}.zip", "pN1"))
        for node in range(5):
            slide = f"{name}_node_{node}"
            stage = ("itc", "micro", "macro")[patient % 3] if slide in outlined else "negative"
            if slide == "patient_004_node_3":
                stage = "macro"  # positive, and not among the outlined
            if patient < 100:
                table.append((f"{slide}.tif", stage))
            training = f"training/center_{patient // 20}/{slide}.tif"
            original = training if patient < 100 else f"testing/{slide}.tif"
            put(root, original if layout == "centres" else f"images/{slide}.tif", tiny_tiff())
    for slide in outlined:
        folder = "training/lesion_annotations" if layout == "centres" else "annotations"
        put(root, f"{folder}/{slide}.xml", asap_xml(["metastases", "normal"]))
    write_csv(root, "training/stage_labels.csv" if layout == "centres" else "stages.csv", table)
    return root


def tiger_slides() -> list[str]:
    """The 195 names: TCGA barcodes with their UUID, RUMC and JB."""
    tcga = [f"TCGA-{('A1', 'E2', 'OL', 'GM')[n % 4]}-A{n:03}-01Z-00-DX1.0A44-{n:04}" for n in range(148)]
    tcga += [f"{name}-01Z-00-DX1.5B1F-AD" for name in TIGER_LONG]
    rumc = [f"TC_S01_P{n:06}_C0001_B101" for n in range(26)]
    return [*tcga, *rumc, *(f"{100 + n}{'BS'[n % 2]}" for n in range(18))]


def tiger_wsirois(root: Path) -> Path:
    """Slides with XML in two folders, masks, and cut-out regions whose names carry brackets, commas and blanks."""
    base = "wsirois/wsi-level-annotations"
    groups = ["roi", "invasive tumor", "tumor-associated stroma", "inflamed stroma", "exclude", "rest"]
    cells = asap_xml([*groups, "lymphocytes and plasma cells"])
    for slide in tiger_slides():
        put(root, f"{base}/images/{slide}.tif", tiny_tiff(0.6575 if slide.startswith(TIGER_LONG) else 0.5))
        put(root, f"{base}/images/tissue-masks/{slide}_tissue.tif", tiny_mask())
        put(root, f"{base}/annotations-tissue-cells-xmls/{slide}.xml", cells)
        if slide.startswith("TCGA"):
            put(root, f"{base}/annotations-tissue-bcss-xmls/{slide}.xml", asap_xml(groups))
            put(root, f"{base}/annotations-tissue-bcss-masks/{slide}.tif", tiny_mask())
    return root


def tiger_regions(root: Path, *, zenodo: bool = False) -> Path:
    """The 151 cut-out TCGA regions, whose masks hold all values side by side, and, of the other set, a few."""
    rng = np.random.default_rng(7)
    base = ("" if zenodo else "wsirois/") + "roi-level-annotations"
    for slide in tiger_slides():
        if slide.startswith("TCGA"):
            name = f"{slide}_[34061, 24725, 34077, 24733].png"
            put(root, f"{base}/tissue-bcss/images/{name}", tiny_png(16, 8, rng.bytes(128)))
            put(root, f"{base}/tissue-bcss/masks/{name}", tiny_png(16, 8, bytes(range(8)) * 16))
    for n in range(60):
        name = f"TC_S01_P{n % 26:06}_C0001_B101_[{n}, 0, {n + 4}, 4].png"
        put(root, f"{base}/tissue-cells/images/{name}", tiny_png(4, 4, rng.bytes(16)))
        put(root, f"{base}/tissue-cells/masks/{name}", tiny_png(4, 4))
    put(root, f"{base}/tissue-cells/tiger-coco.json", b"{}")
    return root


def tiger_wsibulk(root: Path) -> Path:
    """93 slides with bulk masks, XML and tissue masks."""
    names = [f"{100 + n}{'BS'[n % 2]}" for n in range(40)] + [f"TC_S01_P{n:06}_C0001_B106" for n in range(53)]
    for slide in names:
        put(root, f"wsibulk/images/{slide}.tif", tiny_tiff(0.5))
        put(root, f"wsibulk/tissue-masks/{slide}_tissue.tif", tiny_mask())
        put(root, f"wsibulk/annotations-tumor-bulk/masks/{slide}.tif", tiny_mask())
        put(root, f"wsibulk/annotations-tumor-bulk/xmls/{slide}.xml", asap_xml(["tumor"]))
    return root


def iciar2018(root: Path, base: str = "ICIAR2018_BACH_Challenge/") -> Path:
    """A01 to A10 with both spellings of each carcinoma and blanks behind them, and slides without outlines."""
    spellings = [
        ["Benign ", "Carcinoma in situ"],
        ["In situ carcinoma", " Carcinoma invasive"],
        ["Invasive carcinoma "],
    ]
    for n in range(1, 11):
        put(root, f"{base}WSI/A{n:02}.svs", tiny_tiff(0.467))
        put(root, f"{base}WSI/A{n:02}.xml", imagescope_xml(spellings[n % 3]))
        put(root, f"{base}WSI/gt_thumbnails/A{n:02}.png", tiny_png(4, 4))
    for n in (1, 2):
        put(root, f"{base}WSI/{n:02}.svs", tiny_tiff(0.467))
    return root


def bach_photos(root: Path, base: str = "ICIAR2018_BACH_Challenge/") -> Path:
    """4 x 100 photographs, and what Windows left between them."""
    for folder, letters in BACH_PHOTOS:
        for n in range(1, 101):
            put(root, f"{base}Photos/{folder}/{letters}{n:03}.tif", tiny_tiff(None))
        put(root, f"{base}Photos/{folder}/Thumbs.db", b"x")
    put(root, f"{base}Photos/microscopy_ground_truth.csv", b"n001.tif,Normal\n")
    return root


def checksum_list(root: Path, name: str, algorithm: str, *, pattern: str = "{path}") -> Path:
    """A list of digests of every file, lines as md5sum writes them."""
    lines = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest = hashlib.new(algorithm, path.read_bytes()).hexdigest()
        relative = path.relative_to(root).as_posix()
        lines.append(f"{digest}  {filled(pattern, {'path': relative})}")
    return put(root, name, "\n".join(lines).encode() + b"\n")


MINIATURES: dict[str, Callable[[Path], Path]] = {
    "c16-drive": camelyon16,
    "c16-aws": lambda root: camelyon16(root, "aws"),
    "c17-flat": camelyon17,
    "c17-centres": lambda root: camelyon17(root, "centres"),
    "tiger-wsi": tiger_wsirois,
    "tiger-roi": tiger_regions,
    "tiger-zenodo": lambda root: tiger_regions(root, zenodo=True),
    "tiger-bulk": tiger_wsibulk,
    "iciar": iciar2018,
    "iciar-inner": lambda root: iciar2018(root, ""),
    "bach": bach_photos,
}
WHOLE = (
    ("camelyon16", "c16-drive", "drive"),
    ("camelyon16", "c16-aws", "aws"),
    ("camelyon17", "c17-flat", "flat"),
    ("camelyon17", "c17-centres", "centres"),
    ("tiger_wsirois", "tiger-wsi", "wsi"),
    ("tiger_wsirois", "tiger-roi", "roi"),
    ("tiger_wsirois", "tiger-zenodo", "zenodo"),
    ("tiger_wsibulk", "tiger-bulk", "aws"),
    ("iciar2018", "iciar", "zenodo"),
    ("iciar2018", "iciar-inner", "inner"),
    ("bach_photos", "bach", "zenodo"),
)
"""Dataset, its miniature, and the layout that is found."""
