"""README.md of a dataset: a card that people and the Hugging Face hub can read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def render_card(record: Mapping[str, Any]) -> str:
    """The card for a dataset's record (what goes into ``dataset.json``)."""
    from ruamel.yaml import YAML

    front = _front_matter(record)
    stream = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(front, stream)
    return f"---\n{stream.getvalue()}---\n\n{_body(record)}"


def size_category(n_patches: int) -> str:
    """The hub's class of dataset sizes.

    >>> size_category(1200)
    '1K<n<10K'
    """
    return next((name for limit, name in _SIZES if n_patches < limit), "10M<n<100M")


def _front_matter(record: Mapping[str, Any]) -> dict[str, Any]:
    tags = ["computational-pathology", "histopathology", "whole-slide-images", "zarr"]
    sizes = record["bytes"]["splits"]
    counts = record["counts"]["splits"]
    return {
        "pretty_name": record["title"] or record["name"],
        "license": record["licence"].lower(),
        "task_categories": ["image-segmentation"],
        "size_categories": [size_category(record["counts"]["patches"])],
        "tags": [*tags, "synthetic"] if record["synthetic"] else tags,
        "configs": [{"config_name": "index", "data_files": "index.parquet"}],
        "dataset_info": {
            "config_name": "index",
            "splits": [
                {"name": name, "num_bytes": sizes[name], "num_examples": counts[name]["patches"]}
                for name in sorted(counts)
            ],
            "dataset_size": record["bytes"]["total"],
        },
    }


def _body(record: Mapping[str, Any]) -> str:
    title = record["title"] or record["name"]
    parts = [f"# {title}\n"]
    if record["synthetic"]:
        parts.append("**The pixels of this dataset are made by a script. They show no patient's tissue.**\n")
    parts.append(
        f"{record['counts']['patches']} patches of {record['patch_size_px']} x {record['patch_size_px']} px with "
        f"masks, from {record['counts']['slides']} slides of {record['counts']['patients']} patients. Made with "
        f"wsiprep {record['versions']['wsiprep']} from recipe `{record['name']}` version {record['version']}.\n"
    )
    parts.append(_labels_section(record))
    parts.append(_splits_section(record))
    parts.append(_licence_section(record))
    parts.append(_FILES)
    parts.append(_codec_note(record["codec"]))
    parts.append(_provenance_section(record))
    return "\n".join(part for part in parts if part)


def _licence_section(record: Mapping[str, Any]) -> str:
    terms = record["licence_terms"]
    lines = [f"Licence of the data: {record['licence']}."]
    if terms["limits"]:
        lines += ["", *(f"- **{limit}**" for limit in terms["limits"])]
    if terms["citation"]:
        lines += ["", "Cite:", "", *("- " + ", ".join(str(v) for v in c.values()) for c in terms["citation"])]
    return "## Licence\n\n" + "\n".join(lines) + "\n"


def _labels_section(record: Mapping[str, Any]) -> str:
    rows = ["| value | meaning |", "|---|---|", "| 0 | background (annotated, no label) |"]
    rows += [f"| {value} | {label} |" for value, label in enumerate(record["labels"], start=1)]
    rows.append(f"| {record['ignore']} | not annotated: leave out of losses and metrics |")
    return "## Mask values\n\n" + "\n".join(rows) + "\n"


def _splits_section(record: Mapping[str, Any]) -> str:
    labels = record["labels"]
    counted = record["counts"]["splits"] | {f"fold {k}": v for k, v in record["counts"]["folds"].items()}
    header = ["split", "patches", "slides", "patients", *(f"{label} px" for label in labels), "not annotated px"]
    rows = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name, counts in sorted(counted.items()):
        cells = [name, counts["patches"], counts["slides"], counts["patients"]]
        cells += [*(counts["label_px"][label] for label in labels), counts["ignore_px"]]
        rows.append("| " + " | ".join(str(c) for c in cells) + " |")
    split = record["split"]
    note = f"Split: {split['kind']}, by {split['by']}."
    if split["leaks"]:
        note += " **Patches of one slide are in several splits: results on it are not results on new patients.**"
    return "## Splits\n\n" + "\n".join(rows) + f"\n\n{note}\n"


_FILES = """## Files

- `shards/{slide}/{digest}.zarr`: a plain Zarr v3 group a slide, with `image` (N, H, W, 3) and `mask` (N, H, W),
  both uint8. `zarr.open_group(path)` reads it; every chunk has a checksum.
- `index.parquet`: a row a patch: slide, patient, split, shard and row in it, level-0 place, shares per label.
- `slides.parquet`: a row a slide, with its state and the reason where there are no patches.
- `dataset.json`: digests, counts and statistics. `croissant.json`: the same for machines.

`wsiprep verify --deep` checks every byte.
"""


def _codec_note(codec: Mapping[str, Any]) -> str:
    """What a reader of the pixels has to know about how they are packed; empty for plain lossless Zarr."""
    notes = []
    if codec["lossy"]:
        notes.append(
            f"**Images are stored as JPEG of quality {codec['quality']} and are not the pixels that were read.** "
            "Digests and statistics are of what is stored."
        )
    if not codec["plain_zarr"]:
        notes.append(
            f"Images need wsiprep's codec `{codec['codec']}`: zarr-python finds it where wsiprep is installed; masks "
            "are plain Zarr."
        )
    return " ".join(notes) + "\n" if notes else ""


def _provenance_section(record: Mapping[str, Any]) -> str:
    rows = [
        ("licence of the data", record["licence"]),
        ("images are packed as", record["codec"]["codec"] + (" (lossy)" if record["codec"]["lossy"] else "")),
        ("pixels digest", f"`{record['pixels_digest']}`"),
        ("dataset digest", f"`{record['dataset_digest']}`"),
        ("recipe digest", f"`{record['recipe_digest']}`"),
        ("slides by state", ", ".join(f"{k} {v}" for k, v in sorted(record["counts"]["states"].items()))),
    ]
    return "## Provenance\n\n| | |\n|---|---|\n" + "\n".join(f"| {k} | {v} |" for k, v in rows) + "\n"
