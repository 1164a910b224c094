"""Hints: every one of them fits the door at which it is met, Python or the command line."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import errors
from ckptload.__main__ import main
from ckptload.cli import words as cli_words
from ckptload.cli.text import hint as hint_of_the_command
from ckptload.errors import CheckpointError, Hint
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(ckptload.__file__).parent
MODULES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
PYTHON, COMMAND = errors.WORDS, cli_words.WORDS
PLACEHOLDER = re.compile(r"\{(\w+)\}")
OPTION = re.compile("--[a-z]")


# -- what the sources say -----------------------------------------------------------------------------------


def public_parameters() -> set[str]:
    """Return the names of the parameters of all public functions, classes and methods."""
    found: set[str] = set()
    for name in ckptload.__all__:
        one = getattr(ckptload, name)
        if inspect.isclass(one) and issubclass(one, BaseException):
            continue
        methods = [value for key, value in vars(one).items() if not key.startswith("_")] if inspect.isclass(one) else []
        for function in [one, *methods]:
            if inspect.isfunction(function) or inspect.isclass(function):
                found |= inspect.signature(function).parameters.keys()
    return found


#: Words of plain English count only where they are written as code.
PARAMETERS = {
    name: re.compile(rf"\b{name}=|`{name}`" + (rf"|\b{name}\b" if "_" in name else "")) for name in public_parameters()
}


def arguments_in(text: str) -> list[str]:
    """Return the arguments that a text names."""
    return [name for name, pattern in PARAMETERS.items() if pattern.search(text)]


@cache
def assigned(module: ast.AST) -> dict[str, list[ast.AST]]:
    """Return what names are bound to anywhere in a module: by assignments, by loops, or by `return` of a function."""
    found: dict[str, list[ast.AST]] = {}
    for name, value in _assigned(module):
        found.setdefault(name, []).append(value)
    return found


def _assigned(module: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        elif isinstance(node, ast.For):
            targets, value = [node.target], node.iter
        elif isinstance(node, ast.FunctionDef):
            for one in ast.walk(node):
                if isinstance(one, ast.Return) and one.value is not None:
                    yield node.name, one.value
            continue
        else:
            continue
        names = {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        yield from ((name, value) for name in names)


def bound(module: ast.AST, node: ast.Name | ast.Attribute) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield the values of a name, each with its module: a constant may be another module's, as wire.CUT_HINT is."""
    name = node.id if isinstance(node, ast.Name) else node.attr
    for one in MODULES.values() if name.isupper() and not name.startswith("_") else [module]:
        yield from ((one, value) for value in assigned(one).get(name, ()))


def parts_of(node: ast.AST) -> list[ast.AST]:
    """Return the expressions within one that its text comes from."""
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if not isinstance(node, ast.Call):
        return list(ast.iter_child_nodes(node))
    if not isinstance(node.func, ast.Attribute) or node.func.attr.startswith("_"):
        return [node.func]
    # Of TABLE.get(key, default) and the like; the method itself is Python's.
    return [node.func.value, *(node.args if node.func.attr == "get" else [])]


def leaves(module: ast.AST, node: ast.AST, seen: frozenset[int] = frozenset()) -> Iterator[str | ast.Call]:
    """Yield the texts of ours, and the calls of `Hint`, that an expression can become."""
    if isinstance(node, ast.Constant):
        yield from [node.value] if isinstance(node.value, str) else []
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
    elif isinstance(node, (ast.Name, ast.Attribute)):
        for other, value in bound(module, node):
            if id(value) not in seen:
                yield from leaves(other, value, seen | {id(value)})
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Hint":
        yield node
    else:
        for part in parts_of(node):
            yield from leaves(module, part, seen)


def templates(call: ast.Call) -> Iterator[str]:
    """Yield the parts of a `Hint`, which are literals: a name from a file could have a placeholder in it."""
    for argument in call.args:
        for part in [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]:
            assert isinstance(part, ast.Constant), ast.unparse(call)
            yield str(part.value)


def hints() -> Iterator[tuple[str, ast.AST, ast.expr]]:
    """Yield file, tree and expression of every `hint=`, and of the hint of every kind of file."""
    for file, tree in MODULES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            yield from ((file, tree, keyword.value) for keyword in node.keywords if keyword.arg == "hint")
            if isinstance(node.func, ast.Name) and node.func.id == "Kind":
                yield file, tree, node.args[1]


#: An error's, or a kind of file's, that is handed on as it is.
CARRIED = ("error.advice", "kind.hint")
ALL = [
    pytest.param(file, tree, value, id=f"{file}:{value.lineno}")
    for file, tree, value in hints()
    if ast.unparse(value) not in CARRIED
]
BELOW = [one for one in ALL if not str(one.values[0]).startswith("cli/")]
every_hint_below_the_command_line = pytest.mark.parametrize(("file", "tree", "value"), BELOW)


def test_there_are_hints_to_walk() -> None:
    assert len(ALL) > 150
    assert {ast.unparse(value) for _, _, value in hints()} >= set(CARRIED)


@every_hint_below_the_command_line
def test_a_hint_names_no_argument_and_no_option_but_by_a_placeholder(file: str, tree: ast.AST, value: ast.expr) -> None:
    found = list(leaves(tree, value))
    assert found, f"{file}: nothing is known of {ast.unparse(value)}"
    for one in found:
        if isinstance(one, str):
            assert not arguments_in(one), one
            assert not OPTION.search(one), one
            assert not PLACEHOLDER.search(one), f"a placeholder outside of Hint(): {one}"
            continue
        given = {keyword.arg for keyword in one.keywords}
        assert not given & PYTHON.keys(), "a value has the name of a placeholder of the tables"
        for part in templates(one):
            assert set(PLACEHOLDER.findall(part)) <= given | PYTHON.keys(), part
            assert not arguments_in(PLACEHOLDER.sub("", part)), part
            assert not OPTION.search(PLACEHOLDER.sub("", part)), part


def test_the_tables_have_the_same_placeholders_and_all_are_used() -> None:
    assert PYTHON.keys() == COMMAND.keys()
    used = {
        key
        for _, tree, value in hints()
        for one in leaves(tree, value)
        if isinstance(one, ast.Call)
        for part in templates(one)
        for key in PLACEHOLDER.findall(part)
    }
    assert PYTHON.keys() <= used


def test_each_door_has_its_own_words() -> None:
    for key, text in COMMAND.items():
        assert not arguments_in(text or ""), key
    for key, text in PYTHON.items():
        assert not OPTION.search(text or ""), key
    pairs = [(PYTHON[key], COMMAND[key]) for key in PYTHON]
    assert len(set(pairs)) == len(pairs), "two placeholders are the same"


def test_options_in_the_words_of_the_command_line_exist() -> None:
    known = {
        option
        for path in (PACKAGE / "cli").glob("*.py")
        for option in re.findall(r"--[a-z][a-z-]*", path.read_text("utf-8"))
        if path.name != "words.py"
    } | {"--key-file", "--key-format"}
    for text in COMMAND.values():
        assert set(re.findall(r"--[a-z-]+", text or "")) <= known


# -- Hint -------------------------------------------------------------------------------------------------------


def test_a_hint_is_filled_in_for_a_door() -> None:
    error = CheckpointError("problem", hint=Hint("leave {what} out with {exclude}", what="the entry"))
    assert error.hint == "leave the entry out with choice_func"
    assert error.hint_in(COMMAND) == "leave the entry out with --exclude"
    assert str(error) == "problem\n  hint: leave the entry out with choice_func"
    assert hint_of_the_command(error) == "leave the entry out with --exclude"


def test_a_part_without_words_is_left_out() -> None:
    assert Hint("fetch it again", ", or {skip_crc}").text(COMMAND) == "fetch it again"
    assert Hint("{skip_misfits}").text(COMMAND) is None
    error = CheckpointError("problem", hint=Hint("{skip_misfits}"))
    assert hint_of_the_command(error) is None


def test_values_are_data() -> None:
    """A name from a file is not searched for placeholders."""
    assert Hint("the nearest is {name}", name="{exclude}{name}{").text(PYTHON) == "the nearest is {exclude}{name}{"


def test_a_hint_goes_with_its_error() -> None:
    error = CheckpointError("problem", hint=Hint("raise {max_records} above {allowed}", allowed=5))
    for back in (pickle.loads(pickle.dumps(error)), CheckpointError("other", hint=error.advice)):
        assert back.hint == "raise max_records above 5"
        assert back.hint_in(COMMAND) == "raise --max-records above 5"


def test_an_unknown_placeholder_is_our_own_fault() -> None:
    with pytest.raises(KeyError):
        Hint("{no_such_thing}").text(PYTHON)


# -- the doors --------------------------------------------------------------------------------------------------

ENCRYPTED = FIXTURES / "enc_gcm.ckpt"
OLD = "enc_1.3.0_gcm128.ckpt"


def in_python(*arguments: Any, **options: Any) -> str | None:
    """Open a file that cannot be opened, and return the hint."""
    with pytest.raises(CheckpointError) as caught:
        ckptload.open_checkpoint(*arguments, **options)
    return caught.value.hint


def at_the_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that ends with a hint, and return it."""
    main([str(one) for one in arguments])
    lines = "".join(capsys.readouterr()).splitlines()
    return next(line for line in lines if line.startswith("  hint: ")).removeprefix("  hint: ")


def test_a_missing_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_python(ENCRYPTED) == "pass dec_key and dec_mode='AES-GCM'"
    assert at_the_command(capsys, "inspect", ENCRYPTED) == "give its key with --key-file FILE --key-format hex (or raw)"


def test_a_wrong_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x" * 16)
    rest = "; if all of it is right, the file was changed after it was written"
    assert in_python(ENCRYPTED, dec_key=b"x" * 16) == f"check dec_key and dec_mode{rest}"
    told = at_the_command(capsys, "inspect", ENCRYPTED, "--key-file", key, "--key-format", "raw")
    assert told == f"check the key, --key-format and --mode{rest}"


def test_too_many_records(capsys: pytest.CaptureFixture[str]) -> None:
    path = FIXTURES / "lenet5.ckpt"
    assert in_python(path, max_records=2) == "if you trust the file, raise max_records above 2"
    for command in ("inspect", "verify", "report", "convert", "encrypt"):
        more = {"report": ["-o", "no.html"], "convert": ["no.ckpt"], "encrypt": ["no.ckpt"]}.get(command, [])
        key = ["--key-env", "HINTS_KEY", "--key-format", "raw"] if command == "encrypt" else []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HINTS_KEY", "k" * 16)
            told = at_the_command(capsys, command, path, *more, *key, "--max-records", 2)
        assert told == "if you trust the file, raise --max-records above 2"
    assert at_the_command(capsys, "diff", path, path, "--max-records", 2).endswith("raise --max-records above 2")
    assert main(["verify", str(path), "--max-records", "100", "--allow-unchecked"]) == 0


def test_a_damaged_checksum(capsys: pytest.CaptureFixture[str]) -> None:
    path = FIXTURES / "bad_crc.ckpt"
    with pytest.raises(CheckpointError) as caught:
        ckptload.load_checkpoint(str(path), crc_check=True)
    fetch = "the file was damaged after it was saved; fetch it again"
    assert caught.value.hint == f"{fetch}, or load it with crc_check=False at your own risk"
    assert at_the_command(capsys, "verify", path) == fetch


def test_a_safetensors_file_under_the_name_of_a_ckpt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes((FIXTURES / "crc.safetensors").read_bytes())
    assert in_python(path) == "rename it to end in .safetensors and load it with format='safetensors'"
    assert at_the_command(capsys, "inspect", path) == "rename it to end in .safetensors"


def test_an_entry_of_an_unknown_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.ckpt"
    ckptload.save_checkpoint({"w": np.zeros(3, np.float32)}, path)
    path.write_bytes(path.read_bytes().replace(b"Float32", b"Float99"))
    with pytest.raises(CheckpointError) as caught:
        ckptload.load_checkpoint(str(path))
    assert str(caught.value.hint).startswith("leave the entry out with choice_func; known types: BFloat16, ")
    said = at_the_command(capsys, "convert", path, tmp_path / "out.safetensors")
    assert said.startswith("leave the entry out with --exclude; known types: ")


def test_what_may_be_forged_is_allowed_by_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    path, key = FIXTURES / "encrypted" / OLD, b"0123456789abcdef"
    assert path.exists()
    start = "if you trust where the file comes from, "
    assert in_python(path, dec_key=key) == f"{start}pass allow_unauthenticated=True"
    options = ["--key-env", "HINTS_KEY", "--key-format", "raw", "--mode", "AES-GCM"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HINTS_KEY", key.decode())
        assert at_the_command(capsys, "verify", path, *options) == f"{start}pass --allow-unauthenticated"
        main(["verify", str(path), *options, "--allow-unauthenticated"])
    assert "it is read because unauthenticated data was allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "inspect no-such-file.ckpt",
        "inspect {files}/README.md",
        "verify {files}/crc.safetensors --key-env HINTS_KEY --key-format raw",
        "verify {files}/enc_sm4.ckpt --key-env HINTS_LONG_KEY --key-format raw",
        "verify {files}/encrypted/enc_1.3.0_cbc128.ckpt",
        "convert {files}/plain_2.0.0_maptensor.ckpt {out}.safetensors",
        "convert {files}/plain_2.0.0_maptensor.ckpt {out}.ckpt --out-key-env HINTS_KEY --out-key-format raw",
        "convert {files}/lenet5.ckpt {out}.npz --crc",
        "convert {files}/lenet5.ckpt {out}.safetensors --out-key-env HINTS_KEY --out-key-format raw",
        "convert {files}/lenet5.ckpt {out} --shard-size 5QB",
        "convert {files}/lenet5.ckpt {out} --shard-size 0B",
        "convert {files}/lenet5.ckpt {out} --shard-size 5GB --crc",
        "convert {files}/lenet5.ckpt {out}.ckpt --include nothing",
        "convert {files}/lenet5.ckpt {out}.docx",
        "decrypt {files}/lenet5.ckpt {out}.ckpt --key-env HINTS_KEY --key-format raw",
        "convert {files}/lenet5.ckpt {out}.ckpt --name-map {map}",
    ],
)
def test_nothing_that_the_command_says_names_an_argument(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence about what is wrong is the same at both doors."""
    monkeypatch.setenv("HINTS_KEY", "0123456789abcdef")
    monkeypatch.setenv("HINTS_LONG_KEY", "0123456789abcdef01234567")
    (same := tmp_path / "map.json").write_text('{"conv1": "same", "conv2": "same"}', "utf-8")
    assert main([word.format(files=FIXTURES, out=tmp_path / "out", map=same) for word in command.split()]) != 0
    said = "".join(capsys.readouterr())
    assert said
    assert not arguments_in(said), said
