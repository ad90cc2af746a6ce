"""One row of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from wsiprep.config import digest_of
from wsiprep.manifest.references import on_disk

AnnotationState = Literal["exhaustive", "partial", "normal", "none"]
StainType = Literal["he", "ihc"]
PatientProvenance = Literal["released", "derived", "unknown"]


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One slide of the manifest, paths resolved.

    Attributes:
        slide_id: restricted id, safe in file names.
        raw_id: the id as the manifest has it.
        slide: absolute path or URL of the slide.
        slide_ref: the path as the manifest has it (goes into records; the resolved one does not).
        annotation: absolute path of the annotation file, or None.
        spacing_um: um/px that replaces the file's: of both axes, or of x where ``spacing_y_um`` is set.
        spacing_y_um: um/px along y, for pixels that are not square; None where they are.
        corrections: absolute paths of files whose regions are laid over the annotation, in this order.
        annotators: (name, absolute path) of each further reading of the slide, in the manifest's order.
        extra: columns that wsiprep does not know, in order.
        line: 1-based line in the manifest.
    """

    slide_id: str
    raw_id: str
    slide: str
    slide_ref: str
    annotation: str | None = None
    annotation_ref: str | None = None
    annotation_state: AnnotationState = "none"
    patient: str = ""
    centre: str | None = None
    split: str | None = None
    fold: int | None = None
    source: str | None = None
    spacing_um: float | None = None
    stain_type: StainType = "he"
    tissue: str | None = None
    sha256: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    line: int | None = None
    tissue_ref: str | None = None
    corrections: tuple[str, ...] = ()
    correction_refs: tuple[str, ...] = ()
    annotators: tuple[tuple[str, str], ...] = ()
    annotator_refs: tuple[tuple[str, str], ...] = ()
    spacing_y_um: float | None = None

    @property
    def group(self) -> str:
        """The patient, or the slide itself where none is named."""
        return self.patient or self.slide_id

    def survey_digest(self) -> str:
        """Digest of what ``survey`` reads of this row (a new split or patient surveys nothing again)."""
        return digest_of(
            [self.slide_id, self.slide_ref, self.annotation_ref, self.annotation_state, self.source,
             self.spacing_um, self.spacing_y_um, self.stain_type, self.tissue_ref, self.sha256,
             list(self.correction_refs), [list(pair) for pair in self.annotator_refs]]
        )  # fmt: skip

    def located(self) -> SlideRow:
        """The row with paths as the disk has them, where names differ in Unicode normal form alone.

        Looks at the disk, so it is for the one slide that is about to be read. A path that is not there
        under any form stays as it is: whoever opens it says so.
        """
        return replace(
            self,
            slide=on_disk(self.slide),
            annotation=None if self.annotation is None else on_disk(self.annotation),
            tissue=None if self.tissue is None else on_disk(self.tissue),
            corrections=tuple(on_disk(path) for path in self.corrections),
            annotators=tuple((name, on_disk(path)) for name, path in self.annotators),
        )
