"""Write the parts of the documentation that the code decides: ``python docs/generate.py`` (``make docs``).

Pages are written by hand but for the text between ``<!-- generated: NAME -->`` and ``<!-- end -->``,
which this script replaces. With ``--check`` it writes nothing and exits with 1 where a page is out of date.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wsiprep import errors
from wsiprep.cli import COMMANDS, cli
from wsiprep.config.recipe import KeepRule, Recipe, SourceOverride

DOCS = Path(__file__).resolve().parent
FIX = "make docs (or python docs/generate.py) brings the generated parts up to date"
HELP_WIDTH = 100

_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_SCALARS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}

NOTES = {
    "name": "of the dataset: lower-case letters, digits and `._-`, at most 80; goes into every digest",
    "title": "for people; not in the digest",
    "labels": "mask value 1, 2, ... in this order; where regions of two labels overlap, the first one wins",
    "downsample": "patches at N times the file's spacing; exactly one of this and `spacing_um`",
    "spacing_um": "um/px of the patches: taken where it is within 2 % of an integer multiple of the file's",
    "sampling.patch_size_px": "side of a patch",
    "sampling.seed": "of the draws of tumour-free cells and of `max_per_slide`",
    "keep.rules": "each rule as below; a cell with a kept label needs all of them; empty: every cell with tissue or "
    "with one of the labels",
    "keep.rules[].labels": "labels whose areas are added up",
    "keep.rules[].min": "least share, inclusive",
    "keep.rules[].max": "largest share, inclusive",
    "stain.method": "`none` leaves the colours alone",
    "split.ratio": "name of a split: its part; the parts need not add up to anything",
    "split.seed": "of the order in which patients are drawn",
    "store.zstd_level": "of the codec `zstd`",
    "store.patches_per_shard_file": "patches in one file of an array",
    "training.seeds": "one run for each",
    "training.epochs": "passes over the train split",
    "training.batch_size": "images a step",
    "training.learning_rate": "of Adam, constant",
    "training.loss": "cross-entropy, soft Dice, or their sum; pixels of 255 count in neither",
    "training.augmentation": "`flips`: the eight symmetries of the square",
    "training.precision": "`16-mixed` needs a GPU",
    "sources.NAME.downsample": "instead of the recipe's `downsample` and `spacing_um`",
    "sources.NAME.spacing_um": "instead of the recipe's `downsample` and `spacing_um`",
    "sources.NAME.expect_um": "instead of the recipe's",
    "sources.NAME.groups": "instead of `annotations.groups`",
    "training.options": "model: keyword arguments of `create_model`, such as `unet: {base: 16}`",
    "sources": "by the name in the manifest's `source` column; keys as below",
}
"""What the model's own descriptions leave open, by the key's path."""


def pages() -> dict[Path, str]:
    """Every page with a generated part, as it should be."""
    wanted: dict[Path, str] = {}
    for name in COMMANDS:
        path = DOCS / "commands" / f"{name}.md"
        text = path.read_text(encoding="utf-8") if path.exists() else _new_command_page(name)
        wanted[path] = _filled(text, {"help": command_help(name)})
    for file, parts in (
        ("recipe.md", {"keys": recipe_keys()}),
        ("exit-codes.md", {"errors": error_table()}),
        ("commands/README.md", {"commands": command_list()}),
    ):
        path = DOCS / file
        wanted[path] = _filled(path.read_text(encoding="utf-8"), parts)
    return wanted


def stale() -> list[str]:
    """Names of the pages that are not what ``pages`` says."""
    wanted = pages()
    return sorted(
        path.relative_to(DOCS).as_posix()
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    )


def _filled(text: str, parts: dict[str, str]) -> str:
    found = {match["name"] for match in _BLOCK.finditer(text)}
    if found != parts.keys():
        raise errors.UsageError("a page lacks a generated part", got=sorted(found), expected=sorted(parts))
    return _BLOCK.sub(lambda match: f"{match[1]}{parts[match['name']]}\n{match[3]}", text)


def _new_command_page(name: str) -> str:
    return f"# wsiprep {name}\n\n<!-- generated: help -->\n<!-- end -->\n"


def command_help(name: str) -> str:
    """The ``--help`` of a command and of its subcommands, as fenced text."""
    root = click.Context(cli, info_name="wsiprep", terminal_width=HELP_WIDTH, **cli.context_settings)
    command = cli.get_command(root, name)
    if command is None:
        raise errors.UsageError("no such command", got=name)
    context = click.Context(command, info_name=name, parent=root)
    texts = [(f"wsiprep {name}", command.get_help(context))]
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            own = click.Context(sub, info_name=sub.name, parent=context)
            texts.append((f"wsiprep {name} {sub.name}", sub.get_help(own)))
    return "\n\n".join(f"`{words} --help`:\n\n```text\n{_trimmed(text)}\n```" for words, text in texts)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def command_list() -> str:
    """A table of all commands."""
    context = click.Context(cli, info_name="wsiprep")
    rows = ["| command | what it does |", "|---|---|"]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is None:
            raise errors.UsageError("no such command", got=name)
        rows.append(f"| [`wsiprep {name}`]({name}.md) | {command.get_short_help_str(limit=HELP_WIDTH)} |")
    return "\n".join(rows)


def error_table() -> str:
    """Every error class with its code and exit code."""
    rows = ["| class | `code` | exit | when |", "|---|---|---|---|"]
    for kind in error_classes():
        summary = (kind.__doc__ or "").strip().splitlines()[0]
        when = re.sub(r" \(exit \d+\)", "", summary).rstrip(".").replace("``", "`")
        rows.append(f"| `{kind.__name__}` | `{kind.code}` | {kind.exit_code} | {when} |")
    return "\n".join(rows)


def error_classes() -> list[type[errors.WsiprepError]]:
    """The classes of ``wsiprep.errors``, in its order."""
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [kind for kind in found if issubclass(kind, errors.WsiprepError) and kind.__module__ == errors.__name__]


def recipe_keys() -> str:
    """Every key of a recipe: a table for the top level and one for each section."""
    documented: set[str] = set()
    parts = []
    for path, model in _sections():
        rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, info in model.model_fields.items():
            key = f"{path}.{name}" if path else name
            documented.add(key)
            rows.append(f"| `{name}` | {_type_of(model, name)} | {_default(info)} | {_meaning(key, info)} |")
        parts.append(f"### {f'`{path}`' if path else 'Top level'}\n\n" + "\n".join(rows))
    unused = sorted(NOTES.keys() - documented)
    if unused:
        raise errors.UsageError("notes about keys that no recipe has", got=unused)
    return "\n\n".join(parts)


def recipe_key_paths() -> list[str]:
    """``sampling.patch_size_px`` and the like, for every key."""
    return [f"{path}.{name}" if path else name for path, model in _sections() for name in model.model_fields]


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", Recipe
    for name, info in Recipe.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield name, info.annotation
            for below, part in info.annotation.model_fields.items():
                if isinstance(part.annotation, type) and issubclass(part.annotation, BaseModel):
                    yield f"{name}.{below}", part.annotation
            if name == "keep":
                yield "keep.rules[]", KeepRule
    yield "sources.NAME", SourceOverride


def _meaning(key: str, info: FieldInfo) -> str:
    if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
        return f"see [`{key}`](#{key.replace('.', '')})"
    text = NOTES.get(key) or info.description
    if text is None:
        raise errors.UsageError("a key of the recipe has no description", got=key, fix="add one to NOTES")
    return text.replace("|", "\\|")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        value = list(value)
    text = json.dumps(value).replace('"', "") if isinstance(value, (list, dict)) else str(value)
    return f"`{text.lower() if isinstance(value, bool) else text}`" if text else "empty"


def _type_of(model: type[BaseModel], name: str) -> str:
    """A type in words, from the JSON schema, which has the bounds as well."""
    info = model.model_fields[name]
    if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
        return "section"
    schema = model.model_json_schema()["properties"][name]
    words = _words(schema)
    optional = get_origin(info.annotation) in (Union, types.UnionType) and type(None) in get_args(info.annotation)
    return f"{words}, or none" if optional else words


def _words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return "value" if len(parts) == len(_SCALARS) else " or ".join(_words(part) for part in parts)
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "section")
    inner = {"array": ("list of", "items"), "object": ("mapping to", "additionalProperties")}
    if kind in inner:
        words, key = inner[kind]
        return f"{words} {_words(schema[key])}"
    return _SCALARS.get(kind, kind) + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" {low:g} to {high:g}"
    signs = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
    found = [f"{sign} {schema[key]:g}" for key, sign in signs if key in schema]
    return f" {', '.join(found)}" if found else ""


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` name those that are out of date."""
    if "--check" in arguments:
        found = stale()
        sys.stdout.writelines(f"out of date: docs/{name}\n" for name in found)
        sys.stdout.write(f"{FIX}\n" if found else "")
        return 1 if found else 0
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
