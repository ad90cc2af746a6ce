"""Import torchvision where its compiled operators do not fit the installed torch.

torchvision from the package index is built against a CUDA torch. Beside a CPU build of torch its
extension does not load, ``import torchvision`` raises ``operator torchvision::nms does not exist``,
and then lightning, torchmetrics, timm and segmentation_models_pytorch do not import either. The
networks need none of those operators. So, and only where the import fails in this way, the two
schemas that torchvision looks up while it is imported are declared; everything else then works,
and calling such an operator still raises.

Call :func:`ensure_torchvision` before the first import of any of these packages.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from typing import Any

from wsiprep.errors import UsageError

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []  # the library handle: the schemas live as long as it does


def ensure_torchvision() -> bool:
    """Make ``import torchvision`` work. True if its compiled operators are there.

    Warns once where they are not.

    Raises:
        UsageError: torchvision is not installed.
        RuntimeError: torchvision's import fails in any other way (torchvision's own error).
    """
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        raise UsageError(
            "torchvision is not installed", fix="pip install 'wsiprep[train]' (all extras in one call, see the docs)"
        )
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _declare_operators()
        importlib.import_module("torchvision")
    return not _declared


def _declare_operators() -> None:
    """Declare the schemas, and forget the modules of the failed import so that it can start afresh."""
    import torch

    for name in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
        del sys.modules[name]
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    warnings.warn(
        "torchvision is built for another torch than the installed one, so its compiled operators (nms, roi_align) "
        "are missing; networks are unaffected, detection models cannot run. Install matching builds of torch and "
        "torchvision in one call to get them.",
        RuntimeWarning,
        stacklevel=3,
    )
