"""The documentation says what the program does: generated parts, code blocks, command lines, links, tables."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click
import pytest
import storecases as cases

from wsiprep import errors
from wsiprep.cli import COMMANDS, cli
from wsiprep.config import load_recipe
from wsiprep.manifest import KNOWN_COLUMNS, read_manifest
from wsiprep.stages.workflow import WORKFLOW_PARTS
from wsiprep.stain import REASONS
from wsiprep.store import index_schema

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"`(wsiprep(?: [^`]*)?)`")
READER_LINES = 10


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its number on the page, its language and its text."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}-{self.number}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        for number, match in enumerate(FENCE.finditer(page.read_text(encoding="utf-8"))):
            if match[1] in languages:
                found.append(Block(page, number, match[1], match[2]))
    return found


def table_rows(page: Path, header: str) -> list[list[str]]:
    """Cells of the rows of the table whose header line starts with ``header``."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(generate: ModuleType) -> None:
    assert not generate.stale(), generate.FIX


def test_a_stale_page_is_found_and_written_anew(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for page in DOCS.rglob("*.md"):
        copy = tmp_path / page.relative_to(DOCS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    recipe = tmp_path / "recipe.md"
    whole = recipe.read_text(encoding="utf-8")
    recipe.write_text(whole.replace("| `patch_size_px` |", "| `patch_side_px` |"), encoding="utf-8")
    (tmp_path / "commands" / "tile.md").unlink()
    assert generate.main(["--check"]) == 1
    assert "docs/recipe.md" in capsys.readouterr().out
    assert generate.stale() == ["commands/tile.md", "recipe.md"]
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert recipe.read_text(encoding="utf-8") == whole


def test_no_page_of_a_command_that_is_gone() -> None:
    assert {p.stem for p in (DOCS / "commands").glob("*.md")} == {*COMMANDS, "README"}


def test_every_error_class_is_on_its_page() -> None:
    rows = {row[0].strip("`"): row[1:3] for row in table_rows(DOCS / "exit-codes.md", "| class |")}
    kinds = {
        kind.__name__: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.WsiprepError)
    }
    assert rows == {name: [f"`{kind.code}`", str(kind.exit_code)] for name, kind in kinds.items()}
    codes = {int(row[0]) for row in table_rows(DOCS / "exit-codes.md", "| exit |")}
    assert codes == {kind.exit_code for kind in kinds.values()} | {0, 130, 143}


# --- code blocks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small sealed dataset in ``dataset``."""
    place = tmp_path_factory.mktemp("readers")
    cases.sealed(place / "dataset")
    return place


def readers(importing_wsiprep: bool) -> list[Block]:
    return [b for b in blocks("python") if ("import wsiprep" in b.text) is importing_wsiprep]


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("block", readers(True), ids=str)
def test_reader_runs(block: Block, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny)
    exec(compile(block.text, str(block), "exec"), {"__name__": str(block)})


@pytest.mark.parametrize("block", readers(False), ids=str)
def test_plain_reader_runs_without_wsiprep(block: Block, tiny: Path) -> None:
    result = run_python(f"import sys; sys.modules['wsiprep'] = None\n{block.text}", tiny)
    assert result.returncode == 0, result.stderr


def test_plain_reader_reads_what_was_written(tiny: Path) -> None:
    """The first block ends with the last training patch: slide_b has four, of seed 1."""
    block = next(b for b in readers(False) if b.page.name == "readers.md")
    namespace: dict[str, object] = {}
    code = block.text.replace("dataset/", f"{tiny}/dataset/")
    exec(compile(code, str(block), "exec"), namespace)
    *_, last = cases.patches(4, seed=1)
    assert (namespace["image"] == last.image).all()  # type: ignore[attr-defined]
    assert (namespace["mask"] == last.mask).all()  # type: ignore[attr-defined]


def test_readers_are_ten_lines() -> None:
    found = [b for b in blocks("python") if b.page.name == "readers.md"]
    assert len(found) >= 6
    for block in found:
        lines = [line for line in block.text.splitlines() if line.strip()]
        statements = [line for line in lines if not line.startswith(("import ", "from "))]
        assert len(statements) <= READER_LINES, block


def test_recipes_in_the_pages_are_recipes(tmp_path: Path) -> None:
    found = blocks("yaml")
    assert len(found) >= 3
    for block in found:
        path = tmp_path / "recipe.yaml"
        path.write_text(block.text, encoding="utf-8")
        assert load_recipe(path).name


def test_manifests_in_the_pages_are_manifests(tmp_path: Path) -> None:
    found = blocks("csv")
    assert found
    for block in found:
        path = tmp_path / "manifest.csv"
        path.write_text(block.text, encoding="utf-8")
        assert len(read_manifest(path)) == len(block.text.splitlines()) - 1


@pytest.mark.parametrize("name", ["atlas3.csv", "atlas3.yaml"])
def test_shown_manifest_is_the_one_that_ships(name: str) -> None:
    shipped = (REPOSITORY / "manifests" / name).read_text(encoding="utf-8")
    plain = "".join(line for line in shipped.splitlines(keepends=True) if not line.startswith("#"))
    assert plain in (DOCS / "adding-a-dataset.md").read_text(encoding="utf-8")


# --- command lines -------------------------------------------------------------------------------


def shell_commands() -> Iterator[tuple[str, str, list[str]]]:
    """(page, program, arguments) of every command in the shell blocks."""
    for block in blocks("bash", "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = next((i for i, w in enumerate(words) if w in ("&&", "|", ";")), len(words))
                if words[:end]:
                    yield block.page.name, words[0], words[1:end]
                words = words[end + 1 :]


WSIPREP_LINES = [(page, arguments) for page, program, arguments in shell_commands() if program == "wsiprep"]
SNAKEMAKE_LINES = [(page, arguments) for page, program, arguments in shell_commands() if program == "snakemake"]


def resolve(arguments: list[str]) -> tuple[click.Context, click.Command, list[str]]:
    """The command that the first words name, and what is left of them."""
    context, command, rest = click.Context(cli, info_name="wsiprep"), cli, list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"no such command: {arguments}"
        context, command, rest = click.Context(found, info_name=rest[0], parent=context), found, rest[1:]
    return context, command, rest


@pytest.mark.parametrize(("page", "arguments"), WSIPREP_LINES, ids=lambda value: "_".join(value)[:60])
def test_command_line_is_accepted(page: str, arguments: list[str]) -> None:
    context, command, rest = resolve(arguments)
    command.make_context(str(context.info_name), rest, parent=context.parent)


def test_there_are_command_lines() -> None:
    assert len(WSIPREP_LINES) >= 15
    assert len(SNAKEMAKE_LINES) >= 5


def quoted_in_text() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        found += [(page.name, match) for match in INLINE.findall(text)]
    return found


@pytest.mark.parametrize(("page", "words"), sorted(set(quoted_in_text())))
def test_quoted_command_exists(page: str, words: str) -> None:
    arguments = shlex.split(words)[1:]
    if arguments and arguments[0] == "...":
        return
    _, command, rest = resolve(arguments)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("-")} <= known


def config_keys() -> dict[str, object]:
    from ruamel.yaml import YAML

    found: dict[str, object] = YAML(typ="safe").load(REPOSITORY / "pipelines" / "config" / "config.yaml")
    return found


def test_every_configuration_key_is_on_the_page() -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in table_rows(DOCS / "workflow.md", "| key |")}
    defaults = {key: "empty" if value == "" else str(value) for key, value in config_keys().items()}
    assert rows == defaults


def option_values(arguments: list[str], option: str) -> list[str]:
    """The words behind an option that takes several, up to the next option."""
    if option not in arguments:
        return []
    rest = arguments[arguments.index(option) + 1 :]
    end = next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))
    return rest[:end]


@pytest.mark.parametrize(("page", "arguments"), SNAKEMAKE_LINES, ids=lambda value: "_".join(value)[:60])
def test_snakemake_line_is_accepted(page: str, arguments: list[str]) -> None:
    from snakemake.cli import get_argument_parser

    given = [item.partition("=")[0] for item in option_values(arguments, "--config")]
    assert set(given) <= config_keys().keys()
    profile = option_values(arguments, "--profile")
    assert all((REPOSITORY / name / "config.yaml").is_file() for name in profile)
    parser = get_argument_parser(profiles=[str(REPOSITORY / name) for name in profile])
    parser.parse_args([word for word in arguments if word not in ("--profile", *profile)])


# --- tables that repeat the code -----------------------------------------------------------------


def test_index_columns_are_those_of_the_schema() -> None:
    labels = ("tumour", "stroma")
    documented: dict[str, str] = {}
    for names, kind, _ in table_rows(DOCS / "on-disk-format.md", "| column | type |"):
        for name in re.findall(r"`([^`]+)`", names):
            expanded = [name.replace("{label}", label) for label in labels] if "{label}" in name else [name]
            documented |= dict.fromkeys(expanded, kind)
    assert documented == {field.name: str(field.type) for field in index_schema(labels)}


def test_files_on_disk_are_those_of_the_page(tiny: Path) -> None:
    """Every file of a sealed dataset is under one of the patterns that the page lists."""
    listed = re.findall(r"^\| (`[^|]+) \|", (DOCS / "on-disk-format.md").read_text(encoding="utf-8"), re.MULTILINE)
    patterns = [re.sub(r"\{\w+\}", "[^/]+", re.escape(p).replace(r"\{", "{").replace(r"\}", "}"))
                for cell in listed for p in re.findall(r"`([^`]+)`", cell)]  # fmt: skip
    for name in cases.tree_bytes(tiny / "dataset"):
        assert any(re.match(rf"{pattern}(/|$)", name) for pattern in patterns), name


def test_manifest_columns_are_on_the_page() -> None:
    rows = [row[0].strip("`") for row in table_rows(DOCS / "manifest.md", "| column |")]
    assert sorted(rows) == sorted(KNOWN_COLUMNS)


def test_reasons_for_unfitted_stains_are_on_the_page() -> None:
    rows = {row[0].strip("`") for row in table_rows(DOCS / "stains.md", "| `status` |")}
    assert rows == {"ok", *REASONS}


def test_workflow_page_names_what_init_copies() -> None:
    text = (DOCS / "workflow.md").read_text(encoding="utf-8")
    assert all(f"`{part}" in text for part in WORKFLOW_PARTS)


# --- links ---------------------------------------------------------------------------------------


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in slugs(linked), f"{page.name} links to {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = [t.partition("#")[0] for t in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in t]
        waiting += [(page.parent / target).resolve() for target in targets if target]
    assert set(PAGES) <= seen
