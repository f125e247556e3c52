"""Imports only go down: the floors of the house, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import litegpt.kernels

PACKAGE = Path(litegpt.kernels.__file__).resolve().parents[1]
FLOORS = {
    "json_text": 1,
    "kernels": 1,
    "nn": 2,
    "formats": 2,
    "text": 2,
    "models": 3,
    "generation": 4,
    "training": 4,
    "pictures": 4,
    "box": 1,  # data
    "": 4.5,  # litegpt itself, which shows the names of the floors below the command line
    "cli": 5,
    "__main__": 6,
}
# The two doors upwards, each in one file, opened inside a function when it is first needed.
DOORS = {("models", "generation"), ("nn", "models")}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def _part(module: str) -> str:
    """litegpt.nn.linear -> nn; a name of litegpt itself (litegpt.__version__) -> ""."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in FLOORS else ""


def _imported(tree: ast.AST, package: list[str], deferred: bool = False) -> Iterator[tuple]:
    """(module, line, whether in a function or for type checkers) of imports from litegpt."""
    for node in ast.iter_child_nodes(tree):
        inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            inside = True
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = [*package[: len(package) - node.level + 1], *base]
            modules = [".".join([*base, alias.name]) for alias in node.names]
        for module in modules:
            if module.split(".")[0] == "litegpt":
                yield module, node.lineno, inside
        yield from _imported(node, package, inside)


def _imports(source: Path) -> list[tuple[str, str, bool, str]]:
    """(importing part, imported part, deferred, place) for one file."""
    path = source.relative_to(PACKAGE.parent).with_suffix("")
    package = list(path.parts[:-1])
    importer = _part(".".join(path.parts))
    return [
        (importer, _part(module), deferred, f"{path}.py:{line} imports {module}")
        for module, line, deferred in _imported(ast.parse(source.read_text()), package)
    ]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(source: Path) -> None:
    wrong = [
        place
        for importer, imported, deferred, place in _imports(source)
        if importer != imported
        and not FLOORS[imported] < FLOORS[importer]
        and not (deferred and (importer, imported) in DOORS)
    ]
    assert not wrong


def test_every_part_has_a_floor() -> None:
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert parts <= set(FLOORS)


def test_the_doors_are_as_few_as_the_design_says() -> None:
    files = {
        (source, importer, imported)
        for source in SOURCES
        for importer, imported, _, _ in _imports(source)
        if (importer, imported) in DOORS
    }
    assert sorted((importer, imported) for _, importer, imported in files) == sorted(DOORS)


def test_an_import_upwards_is_found() -> None:
    """The walk sees through functions, relative imports and both kinds of statement."""
    code = "def f():\n    from ..models import gpt\nimport litegpt.cli.bench\nimport numpy\n"
    found = list(_imported(ast.parse(code), ["litegpt", "nn"]))
    assert found == [("litegpt.models.gpt", 2, True), ("litegpt.cli.bench", 3, False)]
