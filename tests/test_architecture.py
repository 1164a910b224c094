"""The layers: imports run one way, only some modules touch files, and importing the package is cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptload

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(ckptload.__file__).parent
TABLE = Path(__file__).parents[1] / "docs" / "architecture.md"

#: From the bottom up: a module imports only what stands before it. docs/architecture.md says what each is for.
#: A package stands for all of its modules, which may import each other as long as they do not do so in a circle.
LAYERS = [
    "_version", "errors", "limits", "threads", "schema", "dtypes", "names",
    "sources", "files", "remote", "inputs",
    "wire", "walk", "records", "kinds", "checksum",
    "chain", "ciphers", "sealed_source", "sealed_memory", "sealed_blocks", "sealed", "sealing",
    "facts", "opening", "safetensors_sum", "safetensors_index", "sharded",
    "casting", "elements", "printing", "arithmetic", "computing", "tensor", "parameter",
    "arrays", "tensor_slice", "reader",
    "cell", "containers",
    "matching", "renaming", "report", "supplies", "adapters", "targets", "binding", "load", "futures", "frameworks",
    "atomic", "background", "items", "writing", "safetensors_writing", "shard_writing", "save",
    "conversion", "batch", "convert", "npz", "rewriting",
    "dtype", "common", "nn", "train",
    "__init__", "cli", "__main__",
]  # fmt: skip

#: Modules that open or map files; all others are handed bytes or sources.
MAY_OPEN = {
    "files",
    "atomic",
    "safetensors_index",  # makes a file without content, which the library can be shown
    "cli",
}
#: Modules that print; the library itself logs and warns.
MAY_PRINT = {"cli", "__main__"}

#: Third-party packages that are imported where they are first needed, since `import ckptload` must be cheap.
HEAVY = {"google", "cryptography", "safetensors", "torch", "mindspore", "fsspec", "click", "rich", "huggingface_hub"}
#: Where they may stand at the top of a module, as nobody imports that module before they are needed.
MAY_IMPORT_HEAVY = {"adapters", "safetensors_writing", "cli"}


def name_of(path: Path) -> str:
    """Return a module's name below the package; a package is called by its folder, the whole by `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
every_module = pytest.mark.parametrize("module", MODULES)


def layer(module: str) -> str:
    """Return the entry of LAYERS that a module belongs to."""
    return module if module in LAYERS else module.split(".", maxsplit=1)[0]


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree's nodes without what only a type checker reads."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for other in node.orelse:
            yield from at_run_time(other)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from at_run_time(child)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names that a module imports, at its top or inside a function."""
    for node in at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports as `from ckptload.x import y`"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(module: str) -> set[str]:
    """Return the modules of the package that a module imports; its public names belong to `__init__`."""
    found = set()
    for full in imported(MODULES[module]):
        package, _, rest = full.partition(".")
        if package != "ckptload":
            continue
        while rest and rest not in MODULES:
            rest = rest.rpartition(".")[0]
        found.add(rest or "__init__")
    return found - {module}


def calls(tree: ast.AST) -> Iterator[str]:
    """Yield what a module calls, as it is written."""
    return (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_every_module_has_a_layer_and_every_layer_a_module() -> None:
    assert sorted({layer(module) for module in MODULES}) == sorted(LAYERS)


@every_module
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    mine = LAYERS.index(layer(module))
    above = {other for other in own(module) if LAYERS.index(layer(other)) > mine}
    assert not above, f"{module} imports {sorted(above)}, which stand above it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: own(module) for module in MODULES}
    while ready := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in ready:
            del left[module]
    assert not left


@every_module
def test_only_the_modules_named_above_open_files(module: str) -> None:
    opening = re.compile(
        r"open|(io|os|mmap|bz2|lzma|gzip)\.(open|mmap)|.*\.(read_bytes|read_text|write_bytes|write_text)"
    )
    found = [call for call in calls(MODULES[module]) if opening.fullmatch(call)]
    assert not found or layer(module) in MAY_OPEN


@every_module
def test_the_library_does_not_print(module: str) -> None:
    printing = {"print", "sys.stdout.write", "sys.stderr.write"}
    assert not printing & set(calls(MODULES[module])) or layer(module) in MAY_PRINT


@every_module
def test_heavy_packages_are_imported_where_they_are_needed(module: str) -> None:
    top = ast.Module([node for node in MODULES[module].body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    found = {full.partition(".")[0] for full in imported(top)} & HEAVY
    assert not found or layer(module) in MAY_IMPORT_HEAVY


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ckptload; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & HEAVY


@pytest.mark.skipif(not TABLE.exists(), reason="the documentation is not here")
def test_the_documentation_lists_the_layers_in_this_order() -> None:
    rows = [line.split("|")[1] for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert [name.removesuffix("/") for row in rows for name in re.findall(r"`([\w./]+)`", row)] == LAYERS
