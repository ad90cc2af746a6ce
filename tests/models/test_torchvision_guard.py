"""The guard, each time in a process of its own: what is imported cannot be taken back in this one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wsiprep.models import torchvision_guard

_COUNT_WARNINGS = """
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    from wsiprep.models.torchvision_guard import ensure_torchvision
    compiled = ensure_torchvision(), ensure_torchvision()
    import torch, torchvision
    from torchvision.models import resnet18
    resnet18()(torch.zeros(2, 3, 32, 32))
ours = [w for w in seen if "compiled operators" in str(w.message)]
assert compiled[0] == compiled[1], compiled
assert len(ours) == (0 if compiled[0] else 1), [str(w.message) for w in seen]
"""

_BARE = """
try:
    import torchvision
except RuntimeError as error:
    raise SystemExit(3 if "operator torchvision::" in str(error) else 4)
"""


def run(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=200).returncode


def test_torchvision_imports_and_it_is_said_once():
    assert run(_COUNT_WARNINGS) == 0


@pytest.mark.long
def test_what_builds_on_torchvision_imports_after_the_guard():
    guard = "from wsiprep.models.torchvision_guard import ensure_torchvision as e; e()"
    code = f"{guard}; import torchmetrics, timm, lightning"
    assert run(code) == 0


def test_the_guard_declares_only_where_the_import_fails():
    bare = run(_BARE)
    assert bare in (0, 3)
    assert torchvision_guard.ensure_torchvision() == (bare == 0)


def test_another_failure_is_not_hidden(monkeypatch):
    def fails(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(torchvision_guard.importlib, "import_module", fails)
    with pytest.raises(RuntimeError, match="something else"):
        torchvision_guard.ensure_torchvision()


def test_a_missing_torchvision_says_what_to_install(monkeypatch):
    from wsiprep.errors import UsageError

    monkeypatch.delitem(torchvision_guard.sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_guard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install"):
        torchvision_guard.ensure_torchvision()


def test_cards_need_no_torch():
    code = "import sys, wsiprep.models as m; m.model_cards(); sys.exit('torch' in sys.modules)"
    assert run(code) == 0
