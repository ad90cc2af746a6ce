"""pyarrow's compute functions, imported when the first of them is called.

Importing ``pyarrow.compute`` wraps and documents some 300 functions: about 0.07 CPU s, which ``tile`` and ``pack``
would spend in every process without calling one.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("pyarrow.compute"), name)
