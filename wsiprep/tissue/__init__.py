"""Where there is tissue: masks from an overview or a file, and the share of tissue of each cell."""

from wsiprep.tissue.detect import find_tissue
from wsiprep.tissue.given import read_given
from wsiprep.tissue.mask import TissueMask, cell_fractions
from wsiprep.tissue.png import read_mask, write_mask

__all__ = ["TissueMask", "cell_fractions", "find_tissue", "read_given", "read_mask", "write_mask"]
