"""``benchmark.html``: the benchmark as one page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wsiprep.training.published import PUBLISHED_DIFFERENCES

_TEMPLATES = Path(__file__).parent / "templates"
_PAGE = "benchmark.html.j2"
_MISSING = "–"


def render_page(
    record: Mapping[str, Any], sections: Mapping[str, Sequence[Any]], left_out: Sequence[tuple[str, str]]
) -> bytes:
    """The page.

    Args:
        record: ``dataset.json``.
        sections: the rows of ``trivial``, ``ours`` and ``published``.
        left_out: run folders that do not count, and why.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": _share, "number": _number, "seconds": _seconds}
    notes = list(dict.fromkeys(row.note for row in sections["published"] if row.note))
    text = environment.get_template(_PAGE).render(
        record=record,
        **sections,
        notes=notes,
        differences=PUBLISHED_DIFFERENCES,
        left_out=left_out,
    )
    return text.encode()


def _share(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    return _MISSING if value is None else f"{value:,}".replace(",", "\u202f")


def _seconds(value: float | None) -> str:
    if value is None:
        return _MISSING
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"
