"""Reading recipes: YAML with marks, ``--set key=value``, and errors that name file:line:column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsiprep.config.recipe import Recipe
from wsiprep.errors import RecipeError, UsageError

MAX_RECIPE_BYTES = 1_000_000


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a YAML file with ``--set`` overrides applied.

    Args:
        path: a YAML 1.2 file.
        overrides: strings ``section.key=value``; the value is read as YAML.

    Raises:
        RecipeError: with file, line and column, what was got and what to do.
    """
    path = Path(path)
    tree = _read_yaml(path)
    return _validated(_plain(tree), tuple(overrides), path, tree)


def recipe_from_mapping(data: Mapping[str, Any], overrides: Iterable[str] = ()) -> Recipe:
    """A recipe from a mapping (built-in defaults, a resolved recipe read back)."""
    return _validated(_plain(data), tuple(overrides), None, None)


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """``a.b=value`` as (("a", "b"), value), the value read as YAML.

    Raises:
        UsageError: the text has no ``=`` or no key.
    """
    key, sep, raw = text.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not sep or not all(keys):
        raise UsageError("--set wants key=value", got=text, expected="for example --set sampling.patch_size_px=256")
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return keys, YAML(typ="safe", pure=True).load(raw)
    except YAMLError as error:
        raise UsageError("the value of --set is not YAML", got=text) from error


def _read_yaml(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        size = path.stat().st_size
        if size > MAX_RECIPE_BYTES:
            raise RecipeError("the recipe is too large", got=f"{size} bytes", expected="a small YAML file", file=path)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError("there is no such recipe", got=str(path), fix="name a YAML file that exists") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("the recipe cannot be read", got=str(error), file=path) from error
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise RecipeError(
            f"not valid YAML: {error.problem}",
            file=path,
            line=None if mark is None else mark.line + 1,
            column=None if mark is None else mark.column + 1,
        ) from error
    except YAMLError as error:
        raise RecipeError("not valid YAML", got=str(error), file=path) from error
    if not isinstance(tree, Mapping):
        raise RecipeError("a recipe is a mapping of keys", got=type(tree).__name__, file=path, line=1)
    return tree


def _plain(value: Any) -> Any:
    """Plain dicts, lists and scalars from ruamel's marked ones."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _set(plain: dict[str, Any], item: str) -> None:
    keys, value = parse_override(item)
    node = plain
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise UsageError("--set goes through a key that is no section", got=item)
        node = child
    node[keys[-1]] = value


def _validated(plain: dict[str, Any], overrides: tuple[str, ...], path: Path | None, marks: Any) -> Recipe:
    for item in overrides:
        _set(plain, item)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        location = first["loc"]
        blamed = [item for item in overrides if _reaches(parse_override(item)[0], location)]
        if blamed:
            # The fault is on the command line; a line of the file would mislead.
            path = None
        line, column = (None, None) if blamed else _mark(marks, location)
        key = ".".join(str(part) for part in location) or "recipe"
        more = len(error.errors()) - 1
        message = f"{key}: {first['msg']}" + (f" (and {more} more)" if more else "")
        if blamed:
            message += f" (from --set {blamed[-1]})"
        got = first.get("input")
        raise RecipeError(
            message,
            got=got if isinstance(got, (str, int, float, bool)) else None,
            fix="docs/recipe.md lists every key",
            file=path,
            line=line,
            column=column,
        ) from error


def _reaches(keys: tuple[str, ...], location: tuple[str | int, ...]) -> bool:
    """Whether an override of ``keys`` set the value at ``location``, or something around or below it."""
    return bool(location) and all(a == b for a, b in zip(keys, location, strict=False))


def _mark(marks: Any, location: tuple[str | int, ...]) -> tuple[int | None, int | None]:
    """1-based line and column of the deepest key of ``location`` that the file has."""
    node, found = marks, (None, None)
    for key in location:
        places = getattr(node, "lc", None)
        try:
            if isinstance(key, str):
                row, col = places.key(key)  # type: ignore[union-attr]
            else:
                row, col = places.item(key)  # type: ignore[union-attr]
            found = (row + 1, col + 1)
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return found
