"""The manifest: a CSV with one row a slide. Unknown columns pass through to ``slides.parquet``.

Columns that mean something (only ``slide`` is required):

    slide_id            id; default: the file's stem. Slugged, with a hash suffix, where it is no plain id
    slide               path of the slide, relative to the recipe's data_root or the manifest's folder
    annotation          path of its annotation file, or empty
    corrections         further files whose regions are laid over it, separated by ;
    annotators          further readings of the slide: name=path;name=path
    annotation_state    exhaustive | partial | normal | none (default: exhaustive with a file, none without)
    patient, centre     grouping for the split; patient defaults to the slide id
    patient_provenance  released | derived | unknown: where the patient is known from (goes to slides.parquet)
    split, fold         an explicit split or fold; wins over the drawn one
    source              one of the recipe's sources
    spacing_um          um/px that replaces the file's
    spacing_y_um        um/px along y, where it is not the one along x (then spacing_um is x)
    stain_type          he (default) | ihc (no hue in the tissue rule)
    tissue              path of a given tissue mask or GeoJSON (tissue.method: given)
    sha256              full digest of the slide file, verified by survey
"""

from wsiprep.manifest.checks import check_files
from wsiprep.manifest.names import ID_PATTERN, slug
from wsiprep.manifest.reading import KNOWN_COLUMNS, MAX_ROWS, read_manifest
from wsiprep.manifest.row import AnnotationState, PatientProvenance, SlideRow, StainType
from wsiprep.manifest.side_files import AllowedPair, read_allowed_duplicates, read_exclusions

__all__ = [
    "ID_PATTERN",
    "KNOWN_COLUMNS",
    "MAX_ROWS",
    "AllowedPair",
    "AnnotationState",
    "PatientProvenance",
    "SlideRow",
    "StainType",
    "check_files",
    "read_allowed_duplicates",
    "read_exclusions",
    "read_manifest",
    "slug",
]
