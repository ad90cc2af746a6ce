"""Miniatures of published sets of tiles and boxes: real folder, file and variable names, on pictures of a few pixels.

``*_whole`` have the published counts, for ``dataset check``; the others are small enough to build patches of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import dataset_layouts as layouts
import numpy as np
import tifffile
from collection_files import mat5, nuclei, write_png
from slide_files import Writing, texture, write_pyramid
from vendor_slides import ndpi, tiff
from vendor_slides.made import jpeg, reduced, scan

PANNUKE_TILES = {1: 2656, 2: 2523, 3: 2722}
PANNUKE_TISSUES = ("Breast", "Bile-duct", "HeadNeck")

KUMAR = {
    "train": "18-5592 21-5784 38-6178 50-5931 A7-A13E AR-A1AK AR-A1AS B0-5711 E2-A14V G9-6348 G9-6356 G9-6362 G9-6363 "
    "HE-7128 HE-7129 HE-7130",
    "test_same": "21-5786 49-4488 A7-A13F CH-5767 E2-A1B5 G9-6336 B0-5698 B0-5710",
    "test_diff": "AY-A8YK DK-A2I6 KB-A93J NH-A8F7 RD-A8N9 G2-A2EK",
}
AMBIGUOUS = {"A7-A13E", "B0-5711", "B0-5710", "21-5784", "AY-A8YK", "B0-5698", "CH-5767"}
"""Names that stand for other pixels in other copies."""

HINET_TILES = {"train": 6345, "test": 800, "val": 782}


def kumar_names(part: str) -> list[str]:
    """Names of the images as the TCGA has them."""
    ends = {"test_diff": "01A-01-TS1"}
    named = [f"TCGA-{name}-{ends.get(part, '01Z-00-DX1')}" for name in KUMAR[part].split()]
    return [n.replace("G2-A2EK-01A-01-TS1", "G2-A2EK-01A-02-TSB") for n in named]


def picture(side: int, seed: int) -> bytes:
    """An RGB TIFF in strips, without um/px, as the releases have them."""
    stream = BytesIO()
    tifffile.imwrite(stream, texture(side, side, seed=seed), photometric="rgb", metadata=None)
    return stream.getvalue()


def png(side: int, seed: int) -> bytes:
    """A grey PNG of noise."""
    return layouts.tiny_png(side, side, np.random.default_rng(seed).bytes(side * side))


def pannuke_whole(root: Path) -> Path:
    """The published numbers of tiles, each of 2 x 2 px."""
    for fold, count in PANNUKE_TILES.items():
        _pannuke_fold(root, fold, np.zeros((count, 2, 2, 3)), np.zeros((count, 2, 2, 6)))
    return root


def pannuke(root: Path, tiles: int = 3, side: int = 32) -> Path:
    """Three folds in float64. In the second tile of each, one pixel is set in all six channels; the last is empty."""
    for fold in PANNUKE_TILES:
        masks = np.zeros((tiles, side, side, 6))
        for k in range(tiles - 1):
            ids = nuclei(side, 100 * fold + k, count=5)
            for number in range(1, 6):
                masks[k, ..., (number + k) % 5][ids == number] = number
            masks[k, ..., 5] = ids == 0
        masks[1, 3, 5] = (7, 8, 9, 10, 11, 1)
        masks[-1, ..., 5] = 1
        images = np.stack([texture(side, side, seed=10 * fold + k) for k in range(tiles)]).astype(np.float64)
        _pannuke_fold(root, fold, images, masks)
    return root


def _pannuke_fold(root: Path, fold: int, images: np.ndarray, masks: np.ndarray) -> None:
    base = root / f"Fold {fold}"
    for kind in ("images", "masks"):
        (base / kind / f"fold{fold}").mkdir(parents=True)
    np.save(base / "images" / f"fold{fold}" / "images.npy", images)
    tissues = [PANNUKE_TISSUES[k % 3] for k in range(len(images))]
    np.save(base / "images" / f"fold{fold}" / "types.npy", np.array(tissues))
    np.save(base / "masks" / f"fold{fold}" / "masks.npy", masks)


def nuclei_xml(squares: Iterable[tuple[int, int, int]]) -> bytes:
    """An ImageScope file as MoNuSeg's: one layer without a name, regions without a text; squares (x, y, side)."""
    regions = "".join(
        f'<Region Id="{i}" Type="0" Zoom="0.23" Selected="0" ImageLocation="" ImageFocus="0" Text="" NegativeROA="0" '
        f'InputRegionId="0" Analyze="1" DisplayId="{i}"><Attributes/><Vertices>'
        + "".join(
            f'<Vertex X="{px}" Y="{py}" Z="0"/>' for px, py in ((x, y), (x + s, y), (x + s, y + s), (x, y + s), (x, y))
        )
        + "</Vertices></Region>"
        for i, (x, y, s) in enumerate(squares, start=1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?><Annotations MicronsPerPixel="0.252000">'
        '<Annotation Id="1" Name="" ReadOnly="0" NameReadOnly="0" Type="4" LineColor="65280" Visible="1">'
        '<Attributes><Attribute Name="Description" Id="0" Value=""/></Attributes>'
        f"<Regions><RegionAttributeHeaders/>{regions}</Regions><Plots/></Annotation></Annotations>"
    ).encode()


NUCLEI_SQUARES = ((2, 2, 9), (8, 6, 8), (30, 30, 12))
"""The second overlaps the first; the third reaches over the border of a tile of 40 px."""


def kumar(root: Path, layout: str = "hovernet", side: int = 40) -> Path:
    """30 images: instance maps in HoVer-Net's copy, XML in the original one."""
    seed = 0
    for part in KUMAR:
        for name in kumar_names(part):
            seed += 1
            if layout == "original":
                layouts.put(root, f"Tissue images/{name}.tif", picture(side, seed))
                layouts.put(root, f"Annotations/{name}.xml", nuclei_xml(NUCLEI_SQUARES))
            else:
                layouts.put(root, f"kumar/{part}/Images/{name}.tif", picture(side, seed))
                ids = nuclei(side, seed, count=3).astype(np.float64)
                layouts.put(root, f"kumar/{part}/Labels/{name}.mat", mat5("inst_map", ids))
                layouts.put(root, f"kumar/{part}/Overlay/{name}.png", png(4, seed))
    return root


def monuseg(root: Path, side: int = 40) -> Path:
    """37 and 14 images with outlines that overlap, and what macOS puts into archives."""
    train = [n for part in KUMAR for n in kumar_names(part)] + [f"TCGA-XS-A8T{k}-01Z-00-DX1" for k in range(7)]
    base = "MoNuSeg 2018 Training Data"
    for seed, name in enumerate(train):
        layouts.put(root, f"{base}/Tissue Images/{name}.tif", picture(side, seed))
        layouts.put(root, f"{base}/Annotations/{name}.xml", nuclei_xml(NUCLEI_SQUARES))
    layouts.put(root, f"__MACOSX/{base}/Tissue Images/._{train[0]}.tif", b"\0\5\26\7")
    layouts.put(root, f"{base}/.DS_Store", b"x")
    for k in range(14):
        name = f"TCGA-2Z-A9J{k:X}-01A-01-TS1"
        layouts.put(root, f"MoNuSegTestData/{name}.tif", picture(side, 100 + k))
        layouts.put(root, f"MoNuSegTestData/{name}.xml", nuclei_xml(NUCLEI_SQUARES))
    return root


def cpm17(root: Path, side: int = 40) -> Path:
    """32 + 32 images with inst_map in .mat files; one image has no nucleus."""
    for part, start in (("train", 0), ("test", 100)):
        for k in range(32):
            name = f"image_{k:02d}"
            write_png(root / f"cpm17/{part}/Images/{name}.png", texture(side, side, seed=start + k))
            ids = nuclei(side, start + k, count=3) if k else np.zeros((side, side), np.int64)
            layouts.put(root, f"cpm17/{part}/Labels/{name}.mat", mat5("inst_map", ids.astype(np.float64)))
            layouts.put(root, f"cpm17/{part}/Overlay/{name}.png", png(4, k))
    return root


def til_lymphocytes(root: Path, count: int = 100) -> Path:
    """Images of the real size with labelme outlines of our own."""
    for k in range(count):
        layouts.put(root, f"images/im_{k + 1}.tif", picture(100, k))
        points = [[10 + k % 5, 10], [30, 10], [30, 30.5], [10, 30]]
        shapes = [{"label": "lymphocyte", "points": points, "shape_type": "polygon", "group_id": None, "flags": {}}]
        document = {"version": "5.2.1", "flags": {}, "shapes": shapes, "imagePath": f"im_{k + 1}.tif"}
        document |= {"imageData": None, "imageHeight": 100, "imageWidth": 100}
        layouts.put(root, f"annotations/im_{k + 1}.json", json.dumps(document).encode())
    return root


SCLC_BOXES = ((10, 12, 70, 50), (200, 100, 90, 90))
"""x, y, width and height of two boxes; the first is no square."""


def boxes_xml(boxes: Sequence[tuple[int, int, int, int]]) -> bytes:
    """An ASAP file with boxes of the group roi and a tumour in the left half of each."""

    def shape(number: int, group: str, x: int, y: int, width: int, height: int) -> str:
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        points = "".join(f'<Coordinate Order="{i}" X="{px}" Y="{py}"/>' for i, (px, py) in enumerate(corners))
        return (
            f'<Annotation Name="Annotation {number}" Type="Rectangle" PartOfGroup="{group}" Color="#F4FA58">'
            f"<Coordinates>{points}</Coordinates></Annotation>"
        )

    shapes = "".join(
        shape(2 * k, "roi", x, y, w, h) + shape(2 * k + 1, "tumour", x, y, w // 2, h)
        for k, (x, y, w, h) in enumerate(boxes)
    )
    return f"<ASAP_Annotations><Annotations>{shapes}</Annotations><AnnotationGroups/></ASAP_Annotations>".encode()


def sclc(root: Path, patients: int = 31, pictures: int = 1) -> Path:
    """One NDPI slide a patient, with XML; only the first ``pictures`` slides differ in their pixels."""
    for k in range(patients):
        image = scan(512, 320, (211 + k, 37), seed=min(k, pictures - 1))
        folder = root / f"P{k + 1:03d}"
        folder.mkdir(parents=True)
        name = f"slide_{k + 1}"
        if k > 0 and k >= pictures:
            os.link(root / "P001" / "slide_1.ndpi", folder / f"{name}.ndpi")
        else:
            levels = [jpeg(level, 8) for level in reduced(image, ndpi.FACTORS)]
            sizes = [(512 // f, 320 // f, 20 / f) for f in ndpi.FACTORS]
            pages = [ndpi.page(w, h, data, lens=n) for (w, h, n), data in zip(sizes, levels, strict=True)]
            tiff.write_tiff(folder / f"{name}.ndpi", pages, "ndpi")
        layouts.put(root, f"P{k + 1:03d}/{name}.xml", boxes_xml(SCLC_BOXES))
    return root


def hinet(root: Path) -> Path:
    """A few slides of each part that patches can be cut from: 256 x 192 px, the left 100 px of each outlined."""
    half = [(0, 0), (100, 0), (100, 192), (0, 192)]

    def slide(path: str, seed: int, spacing_um: float) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_pyramid(root / path, [texture(256, 192, seed=seed)], Writing(resolution_um=spacing_um))

    c16, c17, bach = "CAMELYON16", "CAMELYON17", "ICIAR2018/ICIAR2018_BACH_Challenge/WSI"
    for k, name in enumerate(("tumor_001", "tumor_002", "tumor_003", "normal_001", "test_001")):
        slide(f"{c16}/images/{name}.tif", k, (0.243, 0.226)[k % 2])
        group = {"tumor": "_0", "test": "Tumor"}.get(name.split("_")[0])
        if group:
            layouts.put(root, f"{c16}/annotations/{name}.xml", _asap(group, half))
    for k, name in enumerate(("patient_004_node_4", "patient_009_node_1", "patient_020_node_2")):
        slide(f"{c17}/images/{name}.tif", 10 + k, 0.243)
        layouts.put(root, f"{c17}/annotations/{name}.xml", _asap("metastases", half))
    layouts.write_csv(root, f"{c17}/stages.csv", [("patient", "stage"), ("patient_004_node_4.tif", "macro"),
                      ("patient_009_node_1.tif", "micro"), ("patient_020_node_2.tif", "macro")])  # fmt: skip
    for k in (1, 2):
        slide(f"{bach}/A{k:02}.svs", 20 + k, 0.467)
        layouts.put(root, f"{bach}/A{k:02}.xml", layouts.imagescope_xml(["Carcinoma invasive "]).replace(
            b'<Vertex X="1" Y="0" Z="0"/><Vertex X="10" Y="0" Z="0"/><Vertex X="10" Y="9" Z="0"/>',
            "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in half).encode(),
        ))  # fmt: skip
    return root


def _asap(group: str, corners: Sequence[tuple[int, int]]) -> bytes:
    points = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(corners))
    return (
        f'<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{points}</Coordinates></Annotation></Annotations><AnnotationGroups/></ASAP_Annotations>"
    ).encode()


def hinet_lightweight_whole(root: Path) -> Path:
    """The published numbers of patches; every file is the same one."""
    one = layouts.put(root.parent, f"{root.name}.png", layouts.tiny_png(1, 1))
    for part, count in HINET_TILES.items():
        for kind in ("images", "masks"):
            folder = root / part / kind
            folder.mkdir(parents=True)
            for k in range(count):
                os.link(one, folder / f"{k}.png")
    return root


def hinet_lightweight(root: Path, side: int = 16) -> Path:
    """Two pairs a split; masks of 0 and 1, and of 0 and 255."""
    for seed, part in enumerate(HINET_TILES):
        for k, value in enumerate((1, 255)):
            write_png(root / part / "images" / f"{k}.png", texture(side, side, seed=10 * seed + k))
            mask = bytes([0] * (side * side // 2) + [value] * (side * side // 2))
            layouts.put(root, f"{part}/masks/{k}.png", layouts.tiny_png(side, side, mask))
    return root
