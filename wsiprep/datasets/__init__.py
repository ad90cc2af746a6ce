"""Published datasets: their layout on disk, counts, checksums and pairs, against what a recipe says."""

from wsiprep.datasets.check import CheckResult, Options, check_listing
from wsiprep.datasets.checksums import DigestCache
from wsiprep.datasets.findings import Finding
from wsiprep.datasets.known import Facts, read_facts
from wsiprep.datasets.listing import Listing, list_folder
from wsiprep.datasets.rows import DatasetRow

__all__ = [
    "CheckResult",
    "DatasetRow",
    "DigestCache",
    "Facts",
    "Finding",
    "Listing",
    "Options",
    "check_listing",
    "list_folder",
    "read_facts",
]
