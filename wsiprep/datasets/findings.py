"""What a check found: differences that count, and things worth knowing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them.

    Attributes:
        kind: a word for programs, such as ``missing-annotation``.
        severity: errors are differences (exit 2); warnings and notes are not.
        path: the file it is about, relative to the dataset's folder; empty where it is about none.
        message: what is wrong and, where there is an answer, what to do.
    """

    kind: str
    severity: Severity
    path: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return {"kind": self.kind, "severity": self.severity, "path": self.path, "message": self.message}
