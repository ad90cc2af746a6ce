"""JSON records that carry a digest of themselves: a flipped bit in one is found without another file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsiprep.artifacts import json_bytes
from wsiprep.config import digest_of
from wsiprep.errors import StoreError
from wsiprep.store.schema import SCHEMA_VERSION

CHECK_KEY = "check"


def with_check(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the sha256 (hex) of its canonical JSON under ``check``."""
    plain = {k: v for k, v in record.items() if k != CHECK_KEY}
    return {**plain, CHECK_KEY: digest_of(plain)}


def read_checked(path: Path, what: str, fix: str) -> dict[str, Any]:
    """A record written with ``with_check`` and ``artifacts.write_json``.

    Args:
        what: what to call it in a message.
        fix: what to do where it is damaged.

    Raises:
        StoreError: missing, changed in any byte, or of another schema version.
    """
    try:
        # Once: what is checked has to be what is used, while another process may replace the file.
        data = path.read_bytes()
        value = json.loads(data)
    except FileNotFoundError as error:
        raise StoreError(f"{what} is missing", file=path, fix="run the stage that writes it") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{what} is damaged", got=str(error), file=path, fix=fix) from error
    # Comparing the bytes as well finds changes that JSON does not see, such as another blank.
    if not isinstance(value, dict) or with_check(value) != value or json_bytes(value) != data:
        raise StoreError(f"{what} is damaged", file=path, fix=fix)
    if value["schema_version"] != SCHEMA_VERSION:
        raise StoreError(
            f"{what} is of another version of wsiprep", got=value["schema_version"], expected=SCHEMA_VERSION,
            file=path, fix="use that version, or make it again",
        )  # fmt: skip
    return value
