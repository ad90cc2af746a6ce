"""Which cells of a slide become patches, and who trains on them: pure, seeded functions on arrays."""

from wsiprep.patches.lesions import Lesions, LostLesion, lost_lesions
from wsiprep.patches.places import (
    ALL,
    BY_PATCH,
    Assignment,
    GroupRow,
    Place,
    check_leaks,
    group_rows,
    roles,
)
from wsiprep.patches.plan import (
    DatasetPlan,
    Forecast,
    ShareHistogram,
    SlidePlan,
    dataset_plan,
    require_enough,
    share_histogram,
    slide_plan,
)
from wsiprep.patches.sampling import MAX_CELLS, Cells, grid_cells
from wsiprep.patches.select import (
    Candidates,
    Decision,
    Decisions,
    decide,
    kept_labels,
    split_rule_codes,
    tumour_share,
)
from wsiprep.patches.split import assign, patch_fold, patch_split
from wsiprep.patches.split_table import SplitShare, SplitTable, split_table

__all__ = [
    "ALL",
    "BY_PATCH",
    "MAX_CELLS",
    "Assignment",
    "Candidates",
    "Cells",
    "DatasetPlan",
    "Decision",
    "Decisions",
    "Forecast",
    "GroupRow",
    "Lesions",
    "LostLesion",
    "Place",
    "ShareHistogram",
    "SlidePlan",
    "SplitShare",
    "SplitTable",
    "assign",
    "check_leaks",
    "dataset_plan",
    "decide",
    "grid_cells",
    "group_rows",
    "kept_labels",
    "lost_lesions",
    "patch_fold",
    "patch_split",
    "require_enough",
    "roles",
    "share_histogram",
    "slide_plan",
    "split_rule_codes",
    "split_table",
    "tumour_share",
]
