"""The house: packages import one way, files inside a package too; only some open files; importing is cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptload
from places import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(ckptload.__file__).parent
PAGE = DOCS / "architecture.md"

#: What everybody may import; these import nothing of the project but the lowest of them.
GROUND = {"_version", "dotted", "errors", "extras", "markup", "messages", "paging", "shown", "threads"}
LOWEST = "shown"

#: The rule of each package, from the bottom up: what it may import beside the ground. A name stands for all below it.
RULES: dict[str, set[str]] = {
    "absent": set(),
    "samples": set(),
    "dtypes": set(),
    "filters": set(),
    "sources": set(),
    "formats": {"sources", "dtypes", "filters"},
    "foreign": {"dtypes", "filters"},
    "tensors": {"foreign", "dtypes", "filters"},
    "encryption": {"sources", "formats.ckpt.schema"},
    "nets": {"tensors", "foreign", "dtypes"},
    "reading": {
        *("sources", "formats", "encryption", "tensors", "foreign.giving", "foreign.torch_files"),
        *("foreign.torch_tensors", "dtypes", "filters"),
    },
    "ranks": {
        *("reading", "formats", "sources", "encryption.keys", "encryption.ciphers", "tensors", "foreign.giving"),
        *("foreign.classes", "dtypes", "filters"),
    },
    "writing": {
        "reading",
        "encryption",
        "nets",
        "tensors",
        "foreign.taking",
        "formats",
        "sources",
        "dtypes",
        "filters",
    },
    "binding": {
        *("writing.output", "writing.targets", "ranks", "reading", "nets", "tensors", "foreign", "formats.entry"),
        *("sources.inputs", "sources.spans", "dtypes"),
    },
    "loading": {"binding", "ranks", "reading", "encryption", "formats", "foreign.giving", "filters"},
    "saving": {"writing", "ranks", "nets", "encryption", "tensors", "formats"},
    "frameworks": {"binding", "reading", "nets", "tensors", "foreign"},
    "comparing": {"binding", "nets", "foreign", "tensors", "sources", "dtypes"},
    "converting": {
        *("binding", "writing", "reading", "encryption", "tensors", "foreign.giving", "foreign.torch_files"),
        *("foreign.torch_tensors", "formats", "filters", "dtypes"),
    },
    "resharding": {
        *("loading", "converting", "binding", "writing", "ranks", "reading", "encryption.ciphers", "encryption.keys"),
        *("formats", "sources", "foreign.giving", "filters", "dtypes"),
    },
    "context": {"absent"},
    "log": {"absent"},
    "dtype": {"dtypes", "absent"},
    "common": {"dtype", "tensors", "dtypes", "absent"},
    "ops": {"tensors", "dtypes", "absent"},
    "mint": {"ops", "tensors", "absent"},
    "numpy": {"ops", "tensors", "dtypes", "absent"},
    "nn": {"nets", "absent"},
    "parallel": {"resharding", "ranks", "absent"},
    "train": {"loading", "saving", "converting", "resharding", "ranks", "binding", "formats.ckpt.schema", "absent"},
    "mindspore": {
        *("resharding", "ranks", "loading", "saving", "frameworks", "converting", "binding", "reading"),
        *("encryption.keys", "foreign.classes"),
    },
    "__init__": {
        *("absent", "context", "log", "dtype", "common", "ops", "mint", "numpy", "nn", "train", "mindspore"),
        *("parallel", "resharding", "loading", "saving", "frameworks", "comparing", "converting"),
        *("binding", "ranks", "reading", "nets", "tensors", "formats", "dtypes", "samples"),
    },
    "cli": {
        *("__init__", "dtypes", "encryption.keys", "reading.given", "binding.copies", "binding.maps.conventions"),
        *("sources.spans", "writing.atomic", "writing.targets"),
    },
    "__main__": {"cli"},
}

#: The files of a package from the bottom up: each imports only those before it.
FILES: dict[str, list[str]] = {
    "sources": [
        *("spans", "base", "streams", "identity", "filesystems", "folders", "memory", "files", "pooled"),
        *("http", "remote", "inputs"),
    ],
    "formats": ["kinds", "limits", "entry", "item", "coverage", "index", "crc32", "ckpt", "safetensors"],
    "formats.ckpt": [
        *("schema", "wire", "window", "fields", "walk", "records", "trailer", "history", "index", "encoding"),
    ],
    "formats.kinds": [
        *("kind", "magics", "archives", "records", "pickles", "protobufs", "texts", "names", "recognising"),
    ],
    "formats.safetensors": [
        *("parts", "strings", "order", "checksum", "places", "header", "index", "weight_map", "fitting"),
        *("shard_paths", "shards", "sharded_index", "encoding"),
    ],
    "tensors": [
        *("casting", "construction", "printing", "arithmetic", "spelling", "operators"),
        *("elementwise", "shaping", "selecting", "reductions", "properties", "initializers", "tensor", "parameter"),
    ],
    "encryption": ["keys", "ciphers", "chain", "cache", "decrypting", "authenticated", "opening", "encrypting"],
    "foreign": ["classes", "taken", "torch_tensors", "torch_files", "mindspore_tensors", "taking", "giving"],
    "nets": ["ends", "overlaps", "states", "cell", "containers", "pytorch", "mindspore_cell", "foreign", "slots"],
    "nets.pytorch": ["groups", "names", "difference", "differences", "running", "module", "state"],
    "reading": [
        *("access", "arrays", "slices", "values", "digests", "opened", "showing", "reader", "indexing", "advice"),
        *("opening", "torch_files", "given"),
    ],
    "ranks": [
        *("layout_numbers", "layout", "schema", "layout_forms", "strategy", "strategy_files", "redundancy"),
        *("joining", "replicas", "boxes", "folders", "metadata"),
        *("members", "placing", "copies", "assembling", "set_index", "gathering", "opening"),
        *("beside", "communicators", "exchange"),
    ],
    "binding": [
        *("copies", "matching", "supplies", "renaming", "maps", "plan", "report", "completed", "completing", "loading"),
        "state_dict",
    ],
    "binding.maps": [
        *("patterns", "rules", "recipes", "layouts", "name_map", "mapped", "conventions", "choosing"),
        *("paths", "layers", "structure", "deciding", "guessing", "compact", "proposal", "sides", "told"),
        *("proposing", "applying"),
    ],
    "writing": [
        *("permissions", "temporary_files", "targets", "atomic", "output", "shard_names", "journal", "locks"),
        *("shard_set", "together", "background_save", "background", "gathering"),
    ],
    "ops": ["operands", "creation", "joining", "assigning", "functional", "primitives", "operations"],
    "resharding": [
        *("strategies", "rank_sets", "rank_files", "merging", "cutting", "holders"),
        *("transforming", "unifying", "distributed"),
    ],
    "comparing": ["archive", "recorded", "measures", "outputs"],
    "converting": [
        *("executors", "jobs", "moves", "shards", "npz", "torch_state", "making", "entries", "results"),
        *("rewriting", "converters"),
    ],
}

#: Pairs that never import each other, although one stands before the other.
STRANGERS = [("formats.ckpt", "formats.safetensors")]

#: What opens or maps files; all else is handed bytes or sources.
MAY_OPEN = {"sources.files", "writing.atomic", "writing.temporary_files", "writing.journal", "writing.locks", "cli"}
#: What gives a file another one's place.
MAY_REPLACE = {"writing.atomic"}
#: What prints; the library itself logs and warns.
MAY_PRINT = {"cli", "__main__"}

#: Third-party packages that are imported where they are first needed, since `import ckptload` must be cheap.
HEAVY = {
    "google",
    "cryptography",
    "safetensors",
    "torch",
    "mindspore",
    "fsspec",
    "click",
    "rich",
    "huggingface_hub",
    "mpi4py",
}
#: Where they may stand at the top of a module, as nobody imports that module before they are needed.
MAY_IMPORT_HEAVY = {
    "nets.pytorch": {"torch"},
    "foreign.torch_tensors": {"torch"},
    "foreign.torch_files": {"torch"},
    "foreign.mindspore_tensors": {"mindspore"},
    "nets.mindspore_cell": {"mindspore"},
    "formats.safetensors.encoding": {"safetensors"},
    "cli": {"click", "rich"},
}


def name_of(path: Path) -> str:
    """Return a module's name below the package; a package is called by its folder, the whole by `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
every_module = pytest.mark.parametrize("module", MODULES)


def within(module: str, place: str) -> bool:
    """Tell whether a module is a place, or lies below it."""
    return module == place or module.startswith(place + ".")


def package(module: str) -> str:
    """Return the entry of RULES or of the ground that a module belongs to."""
    return module.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names that a module imports, at its top, inside a function or for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports as `from ckptload.x import y`"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(module: str) -> set[str]:
    """Return the modules of the package that a module imports; its public names belong to `__init__`."""
    found = set()
    for full in imported(MODULES[module]):
        top, _, rest = full.partition(".")
        if top != "ckptload":
            continue
        while rest and rest not in MODULES:
            rest = rest.rpartition(".")[0]
        found.add(rest or "__init__")
    return found - {module}


def calls(tree: ast.AST) -> Iterator[str]:
    """Yield what a module calls, as it is written."""
    return (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_every_module_is_in_a_package_that_has_a_rule() -> None:
    assert {package(module) for module in MODULES} == GROUND | RULES.keys()


@pytest.mark.parametrize("folder", FILES)
def test_every_file_of_a_package_has_its_place_in_the_order(folder: str) -> None:
    inside = {module.removeprefix(f"{folder}.") for module in MODULES if module.startswith(f"{folder}.")}
    assert sorted(FILES[folder]) == sorted({name.partition(".")[0] for name in inside})


@every_module
def test_a_package_imports_what_its_rule_allows(module: str) -> None:
    mine = package(module)
    allowed = GROUND | RULES[mine] if mine not in GROUND else {LOWEST}
    wrong = {
        other for other in own(module) if package(other) != mine and not any(within(other, place) for place in allowed)
    }
    assert not wrong, f"{module} imports {sorted(wrong)}, which the rule of {mine} does not allow"


def test_the_rules_run_from_the_bottom_up() -> None:
    order = list(RULES)
    above = {
        (name, other)
        for name, allowed in RULES.items()
        for other in allowed
        if order.index(package(other)) >= order.index(name)
    }
    assert not above


@every_module
def test_a_file_imports_only_files_before_it(module: str) -> None:
    for folder, order in FILES.items():
        if not module.startswith(f"{folder}."):
            continue
        place = order.index(module.removeprefix(f"{folder}.").partition(".")[0])
        inside = {other.removeprefix(f"{folder}.").partition(".")[0] for other in own(module) if within(other, folder)}
        wrong = {name for name in inside - {folder} if order.index(name) > place}
        assert not wrong, f"{module} imports {sorted(wrong)}, which stand after it in {folder}"


def test_formats_do_not_know_each_other() -> None:
    for one, other in STRANGERS:
        for here, there in ((one, other), (other, one)):
            assert not [m for m in MODULES if within(m, here) and any(within(name, there) for name in own(m))]


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: own(module) for module in MODULES}
    while ready := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in ready:
            del left[module]
    assert not left


@every_module
def test_only_the_modules_named_above_open_files(module: str) -> None:
    opening = re.compile(
        r"open|(io|os|mmap|bz2|lzma|gzip)\.(open|mmap)|tempfile\..*|"
        r".*\.(read_bytes|read_text|write_bytes|write_text)"
    )
    found = [call for call in calls(MODULES[module]) if opening.fullmatch(call)]
    assert not found or any(within(module, place) for place in MAY_OPEN)


@every_module
def test_only_one_module_replaces_files(module: str) -> None:
    moving = re.compile(r"(os|shutil)\.(replace|rename|renames|move)")
    found = [call for call in calls(MODULES[module]) if moving.fullmatch(call)]
    # Of a path, `replace` has one argument; of a string, two.
    found += [
        ast.unparse(node)
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "rename" or (node.func.attr == "replace" and len(node.args) == 1 and not node.keywords)
    ]
    assert not found or module in MAY_REPLACE


@every_module
def test_the_library_does_not_print(module: str) -> None:
    printing = {"print", "sys.stdout.write", "sys.stderr.write"}
    assert not printing & set(calls(MODULES[module])) or package(module) in MAY_PRINT


@every_module
def test_heavy_packages_are_imported_where_they_are_needed(module: str) -> None:
    top = ast.Module([node for node in MODULES[module].body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    found = {full.partition(".")[0] for full in imported(top)} & HEAVY
    allowed = [packages for place, packages in MAY_IMPORT_HEAVY.items() if within(module, place)]
    assert found <= set().union(*allowed)


@every_module
def test_frameworks_are_imported_for_their_own_objects_alone(module: str) -> None:
    at_runtime = [
        node
        for node in MODULES[module].body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    found = {full.partition(".")[0] for node in at_runtime for full in imported(node)} & {"torch", "mindspore"}
    # A communicator of a framework is an object of its own, too.
    assert not found or package(module) in {"foreign", "nets", "mindspore"} or module == "ranks.communicators"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ckptload; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & HEAVY


def quoted(cell: str) -> list[str]:
    """Return the names in backticks in a cell of a table, with dots for slashes."""
    return [name.removesuffix("/").replace("/", ".") for name in re.findall(r"`([\w./]+)`", cell)]


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_has_the_rule_of_every_package() -> None:
    """Rows of four cells: floor, packages, what is in them, what they may import beside the ground."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    found = {name: set(quoted(allowed)) for _, names, _, allowed in rows for name in quoted(names)}
    assert found == {key: set() for key in GROUND} | RULES
    assert [name for name in found if name in RULES] == list(RULES)


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_lists_the_files_of_every_package_in_their_order() -> None:
    """A heading for each package, and a row for each file."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^### ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        heading = part.partition("\n")[0]
        if names := quoted(heading):
            rows = re.findall(r"^\| `([\w/]+)` \|", part, re.MULTILINE)
            found[names[0]] = [name.removesuffix("/") for name in rows]
    assert {name: order for name, order in found.items() if name in FILES} == FILES
