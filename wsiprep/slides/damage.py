"""What a compressed tile that is not what its header promises raises, whichever codec finds it."""

from __future__ import annotations

import struct

DECODER_ERRORS = (ValueError, RuntimeError, TypeError, struct.error, OSError)
"""What simplejpeg, imagecodecs and Pillow raise (imagecodecs' own errors are RuntimeErrors). Not MemoryError:
a machine that is short of memory must not count as a damaged slide."""


class TileDamageError(ValueError):
    """The bytes are not a tile of the size and format that the header promises."""
