"""The house itself: what is public, what is loaded when, and that its own map is true."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import assay
from assay import errors

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "assay").rglob("*.py"))


@pytest.mark.parametrize("statement", ["import assay", "from assay.cli import app"])
def test_starting_loads_no_torch(statement: str) -> None:
    code = f"{statement}; import sys; print('torch' in sys.modules, 'altair' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_public_names_are_sorted_and_importable() -> None:
    assert assay.__all__ == sorted(assay.__all__)
    page = (ROOT / "docs" / "api.md").read_text()
    for name in assay.__all__:
        assert getattr(assay, name) is not None
        assert name == "__version__" or f"## assay.{name}\n" in page, f"docs/api.md lacks {name}: make docs"
    with pytest.raises(AttributeError):
        _ = assay.no_such_name


def test_every_error_is_in_the_drawn_tree_and_has_a_standard_base() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AssayError)]
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")
        assert kind is errors.AssayError or issubclass(kind, ValueError | ArithmeticError | OSError)


def test_every_link_of_the_docs_leads_to_a_file() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_the_map_is_the_first_line_of_every_module() -> None:
    drawn = (ROOT / "docs" / "map.md").read_text()
    for path in SOURCES:
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        line = docstring.splitlines()[0] if docstring else ""
        assert line, path
        if path.name not in ("__init__.py", "__main__.py"):
            relative = path.relative_to(ROOT / "src" / "assay")
            assert f"`{relative}` {line}" in drawn, f"docs/map.md lacks: `{relative}` {line}"


def test_modules_import_each_other_at_their_top_outside_of_the_command_line() -> None:
    """The command line imports what a command needs when it runs, so that `--help` is quick."""
    trees = {path: ast.parse(path.read_text()) for path in SOURCES if path.parent.name != "cli"}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    functions = [(path, node) for path, node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [(path, node) for path, function in functions for node in ast.walk(function)]
    assert not [path for path, node in inside if isinstance(node, ast.ImportFrom) and _is_ours(node.module)]
    imports = [(path, name.name) for path, node in inside if isinstance(node, ast.Import) for name in node.names]
    assert not [path for path, name in imports if _is_ours(name)]


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "assay"


def test_docstrings_name_the_thing_and_do_not_ask_for_it() -> None:
    relative = re.compile(r"(What|How|Which|Where|Whether|When|Why|Who)\b")
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    trees = [(path, ast.parse(path.read_text())) for path in SOURCES]
    nodes = [(path, node) for path, tree in trees for node in ast.walk(tree) if isinstance(node, documented)]
    lines = [(path, (ast.get_docstring(node) or "").partition("\n")[0]) for path, node in nodes]
    assert not [f"{path}: {line}" for path, line in lines if relative.match(line)]


def test_no_module_is_a_drawer_and_none_outgrows_its_page() -> None:
    for path in SOURCES:
        assert path.stem not in ("utils", "common", "helpers", "misc", "base")
        assert len(path.read_text().splitlines()) <= 400, path


def test_related_settings_are_one_value() -> None:
    """A command has a parameter for every option; what it calls has not."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and path.parent.name != "cli":
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert len(given) < 23, f"{path}: {node.name} takes {len(given)} arguments"


def test_functions_stay_short_and_no_exception_is_caught_blindly() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                docstring = ast.get_docstring(node) or ""
                length = (node.end_lineno or 0) - node.lineno + 1 - len(docstring.splitlines())
                assert length <= 75, f"{path}: {node.name} has {length} lines"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, path


def _asserts(function: ast.FunctionDef, helpers: set[str]) -> bool:
    """Whether a function states what must be: an assert, an error that must come, or a call of one that states it."""
    called = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    stated = {func.attr for func in called if isinstance(func, ast.Attribute)} & {"raises", "warns", "assert_close"}
    by_name = {func.id for func in called if isinstance(func, ast.Name)} & helpers
    return bool(stated or by_name or any(isinstance(node, ast.Assert) for node in ast.walk(function)))


def test_every_test_asserts() -> None:
    trees = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "tests").rglob("*.py"))}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    functions = [(path, node) for path, node in nodes if isinstance(node, ast.FunctionDef)]
    tests = [(path, node) for path, node in functions if node.name.startswith("test_")]
    helpers: set[str] = set()
    for _ in range(3):  # a helper can leave it to another
        helpers |= {node.name for _, node in functions if not node.name.startswith("test_") and _asserts(node, helpers)}
    assert tests
    assert not [f"{path}: {node.name}" for path, node in tests if not _asserts(node, helpers)]


def test_published_schemas_are_those_of_the_records() -> None:
    from assay.records.kinds import kinds

    for kind, record in kinds().items():
        published = ROOT / "docs" / "schemas" / f"{kind}.json"
        assert published.exists(), f"{published} is missing: make docs"
        assert json.loads(published.read_text()) == record.file_schema(), f"{published} is old: make docs"


def test_kept_records_fit_the_published_schemas() -> None:
    from assay.records import load

    kept = sorted((ROOT / "docs" / "records").rglob("*.json"))
    found = [path for path in kept if "kind" in json.loads(path.read_text())]
    # Those of an earlier version as they are read.
    records = [(path, json.loads(load(path).to_json())) for path in found]
    assert {record["kind"] for _, record in records} >= {"audit", "repair", "run", "scores", "study"}
    for path, record in records:
        schema = json.loads((ROOT / "docs" / "schemas" / f"{record['kind']}.json").read_text())
        errors = jsonschema.Draft202012Validator(schema).iter_errors(record)
        assert not [f"{path}: {error.message[:200]}" for error in errors]


def test_every_file_of_tests_that_is_named_is_there() -> None:
    named = [re.findall(r"[\w/]*test_\w+\.py", (ROOT / page).read_text()) for page in ("Makefile", "CONTRIBUTING.md")]
    names = {name for page in named for name in page}
    assert names
    there = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert not {name for name in names if name.removeprefix("tests/") not in there}


def test_the_changelog_names_this_version() -> None:
    assert re.search(rf"^## {re.escape(assay.__version__)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_every_command_with_an_output_says_what_it_writes_so_that_nothing_else_is_written_over() -> None:
    for path in (ROOT / "src" / "assay" / "cli").glob("*.py"):
        text = path.read_text()
        if '"--output"' in text:
            assert "writes=" in text, path.name
