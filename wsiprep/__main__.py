"""``python -m wsiprep``."""

import sys

from wsiprep.cli import main

sys.exit(main())
