"""What a person should look at: pairs that may be one slide, cells that cannot be decoded, readers who differ, tiles."""

from __future__ import annotations

from typing import Any

from wsiprep.report.figures import MISSING, Table, count, number, percent, words
from wsiprep.report.inputs import Inputs

LISTED = 200


def duplicates(inputs: Inputs) -> Table | None:
    """Pairs that may be one slide twice; None where there are none."""
    rows = [
        (pair["slide_a"], pair["slide_b"], words(pair["kind"]), _bits(pair["distance_bits"]),
         "yes" if pair["same_patient"] else "no", "yes" if pair["same_split"] else "no", pair["verdict"], pair["reason"])
        for pair in (inputs.plan or {}).get("duplicates", ())
    ]  # fmt: skip
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
            rows.append(
                (slide_id, count(tiles["count"]), count(len(tiles["unreadable"])), count(tiles["without_labels"]["count"]),
                 count(tiles["labels_without_tile"]["count"]), tissues)
            )  # fmt: skip
    columns = ("collection", "tiles", "unreadable", "without labels", "labels without tile", "tissues")
    return Table.of(columns, rows, limit=LISTED) if rows else None


def _bits(distance: int | None) -> str:
    return MISSING if distance is None else str(distance)
