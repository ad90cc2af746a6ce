"""What a person should look at: possible duplicates, undecodable cells, readers who differ, tiles left out."""

from __future__ import annotations

from typing import Any

from wsiprep.report.figures import MISSING, Table, count, number, percent, words
from wsiprep.report.inputs import Inputs

LISTED = 200


def duplicates(inputs: Inputs) -> Table | None:
    """Pairs that may be one slide twice; None where there are none."""
    rows = []
    for pair in (inputs.plan or {}).get("duplicates", ()):
        same = ("yes" if pair[name] else "no" for name in ("same_patient", "same_split"))
        distance = MISSING if pair["distance_bits"] is None else str(pair["distance_bits"])
        names = (pair["slide_a"], pair["slide_b"], words(pair["kind"]))
        rows.append((*names, distance, *same, pair["verdict"], pair["reason"]))
    columns = ("slide", "and slide", "are", "bits apart", "same patient", "same split", "verdict", "why")
    return Table.of(columns, rows, limit=LISTED) if rows else None


def undecodable(inputs: Inputs) -> Table | None:
    """Cells that the plan keeps and no decoder reads, by slide; None where there are none."""
    rows = []
    for slide_id, receipt in sorted(inputs.receipts.items()):
        for cell in (receipt.get("provenance") or {}).get("damaged", ()):
            place = f"{cell['x_lv0']}, {cell['y_lv0']}"
            rows.append((slide_id, cell["tile"] or MISSING, place, str(cell["reason"]).splitlines()[0]))
    return Table.of(("slide", "tile", "at (level-0 x, y)", "the decoder says"), rows, limit=LISTED) if rows else None


def agreement(inputs: Inputs) -> Table | None:
    """How far several people's readings of one slide agree; None where nobody's was read twice."""
    rows = []
    for slide_id in inputs.slide_ids:
        table: dict[str, Any] = (inputs.slides.get(slide_id, {}).get("annotation") or {}).get("agreement") or {}
        kappas = {(pair["reader_a"], pair["reader_b"]): pair["cohen_kappa"] for pair in table.get("pairs", ())}
        for row in table.get("labels", ()):
            pair = (row["reader_a"], row["reader_b"])
            rows.append(
                (slide_id, row["label"], *pair, percent(row["dice"]), percent(row["iou"]), number(kappas.get(pair)))
            )
    return (
        Table.of(("slide", "label", "reader", "and reader", "Dice", "IoU", "kappa"), rows, limit=LISTED)
        if rows
        else None
    )


def collections(inputs: Inputs) -> Table | None:
    """Collections with their tiles; None where there are none."""
    rows = []
    for slide_id in inputs.slide_ids:
        tiles = inputs.slides.get(slide_id, {}).get("tiles")
        if tiles:
            tissues = ", ".join(f"{name} {n}" for name, n in tiles["tissues"].items()) or MISSING
            left_out = [len(tiles["unreadable"])]
            left_out += [tiles[kind]["count"] for kind in ("without_labels", "labels_without_tile")]
            rows.append((slide_id, count(tiles["count"]), *map(count, left_out), tissues))
    columns = ("collection", "tiles", "unreadable", "without labels", "labels without tile", "tissues")
    return Table.of(columns, rows, limit=LISTED) if rows else None
