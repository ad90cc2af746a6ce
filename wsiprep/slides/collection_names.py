"""Names in a collection's folder: which files are tiles, which are labels, and which may not be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wsiprep.errors import SlideError
from wsiprep.slides.collection_table import inside

MAX_TILES = 1_000_000
_PLACE = "{tile}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """``Images/{tile}.png`` taken apart: the folder searched, text around the name, what follows below it."""

    folder: Path
    before: str
    after: str
    below: Path | None

    @classmethod
    def of(cls, text: str) -> Self:
        parts = inside(text).parts
        k = next(i for i, part in enumerate(parts) if _PLACE in part)
        before, after = parts[k].split(_PLACE)
        return cls(Path(*parts[:k]), before, after, Path(*parts[k + 1 :]) if k + 1 < len(parts) else None)

    def name(self, entry: str) -> str | None:
        """What ``{tile}`` stands for in a file's name, None where it does not match."""
        fixed = len(self.before) + len(self.after)
        if len(entry) <= fixed or not entry.startswith(self.before) or not entry.endswith(self.after):
            return None
        return entry[len(self.before) : len(entry) - len(self.after)]

    def found_in(self, root: Path) -> tuple[dict[str, Path], list[str]]:
        """name -> path of what matches, and the entries that do not; hidden files count as those."""
        folder = root / self.folder
        try:
            entries = sorted(os.listdir(folder), key=os.fsencode)
        except OSError as error:
            near = sorted(p.name for p in folder.parent.iterdir())[:10] if folder.parent.is_dir() else []
            raise SlideError(
                "a folder of the collection cannot be listed", got=error.strerror,
                expected=f"the folder; beside it: {', '.join(near) or 'nothing'}",
                fix="correct collection.images, collection.labels or the manifest", file=folder,
            ) from error  # fmt: skip
        found: dict[str, Path] = {}
        other: list[str] = []
        for entry in entries:
            name = None if entry.startswith(".") else self.name(entry)
            path = folder / entry if self.below is None else folder / entry / self.below
            if name is None or not path.is_file():
                other.append(entry)
            else:
                found[name] = path
            if len(found) > MAX_TILES:
                raise SlideError("too many tiles for one collection", got=f"over {MAX_TILES}", file=folder)
        return found, other


def same_folder(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder, links followed."""
    return os.path.realpath(one) == os.path.realpath(other)


def apart(
    images: Pattern, labels: Pattern, found: dict[str, Path], paired: dict[str, Path]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """In one folder a file that fits both patterns (a.png, a_mask.png) belongs to the one with more fixed text."""
    both = set(found.values()) & set(paired.values())
    if len(labels.before + labels.after) > len(images.before + images.after):
        return {name: path for name, path in found.items() if path not in both}, paired
    return found, {name: path for name, path in paired.items() if path not in both}


def check_name(name: str, path: Path, root: Path) -> None:
    """Names that a table can hold, and files that lie in the collection."""
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in name):
        raise SlideError(
            "a tile's name has control characters, or is no UTF-8", got=repr(name), fix="rename it", file=repr(name)
        )
    real, base = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, base]) != base:
        raise SlideError(
            "a tile is a link that leaves the collection's folder", got=real, expected=f"a file below {base}",
            fix="copy the file, or name the folder that holds the files", file=path,
        )  # fmt: skip
