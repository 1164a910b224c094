"""The command as a whole: how it is started, what it says when something is wrong, how it is stopped."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from places import SHARED

pytest.importorskip("click")
pytest.importorskip("rich")

import click

import ckptload
from ckptload import extras
from ckptload.__main__ import main
from ckptload.cli import app, plain, text
from ckptload.cli.commands import COMMANDS
from cli_program import FIXTURES, KEY, PATIENCE, PROGRAM, environment, on_terminal, run
from strategies import block, floats, record

pytestmark = pytest.mark.slow

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")


def without_the_extra(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a Python that finds neither click nor rich."""
    hidden = "import sys; sys.modules['click'] = sys.modules['rich'] = None; "
    return subprocess.run(
        [sys.executable, "-c", hidden + "from ckptload.__main__ import main; sys.exit(main())", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


# -- without the extra ------------------------------------------------------------------------------------


def test_without_the_extra_a_file_is_listed_with_names_dtypes_shapes_and_bytes() -> None:
    done = without_the_extra(FIXTURES / "lenet5.ckpt")
    assert done.returncode == 0
    assert re.search(r"^conv1\.weight +Float32 +\(6, 1, 5, 5\) +600$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("8 entries, 246,736 bytes\n")


def test_without_the_extra_types_that_are_not_supported_are_listed_too(tmp_path: Path) -> None:
    (tmp_path / "odd.ckpt").write_bytes(record("w", (2,), "Foo", b"123") + record("bad", (2,), "Int8", b"1"))
    done = without_the_extra(tmp_path / "odd.ckpt")
    assert done.returncode == 1
    assert [line.split() for line in done.stdout.splitlines()[:2]] == [["w", "Foo", "(2,)", "3"], ["bad", "damaged"]]


def test_without_the_extra_a_missing_shard_is_told_once(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}')
    done = without_the_extra(index)
    assert (done.returncode, done.stdout.count("missing"), done.stderr.count("is missing")) == (6, 2, 1)


def test_without_the_extra_the_help_says_what_the_extra_adds() -> None:
    done = without_the_extra("--help")
    assert "the extra 'cli'" in done.stdout
    assert without_the_extra("help").stdout == done.stdout
    assert without_the_extra("version").stdout == without_the_extra("--version").stdout == run("--version").out
    refused = without_the_extra("--stats", "x.ckpt")
    assert refused.returncode == 2
    assert "'--stats' is an option of the extra 'cli'" in refused.stderr


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in {"help", "version"}])
def test_without_the_extra_a_command_names_the_extra(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of that name is still listed. Only `help` and `version` need no extra."""
    monkeypatch.chdir(tmp_path)
    is_word = command in {"help", "version"}
    assert plain.run([command, str(FIXTURES / "lenet5.ckpt")]) == (0 if is_word else 2)
    found = capsys.readouterr()
    if not is_word:
        first, second = found.err.splitlines()
        assert first == f"ckptload: the command {command} needs the extra 'cli', which is not installed"
        assert second == f"  hint: {extras.install('cli')}"
    Path(command).write_bytes((FIXTURES / "cell.ckpt").read_bytes())
    assert plain.run([command]) == 0
    assert is_word or "entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "code"), [("enc_gcm.ckpt", 3), ("README.md", 5), ("no such file", 2), ("bad_crc.ckpt", 0)]
)
def test_without_the_extra_exit_codes_are_the_same(name: str, code: int) -> None:
    done = without_the_extra(FIXTURES / name)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == (2 if code else 0)


# -- starting ---------------------------------------------------------------------------------------------


def test_a_file_alone_is_inspected() -> None:
    path = FIXTURES / "lenet5.ckpt"
    assert run(path) == run("inspect", path)


def test_the_script_and_the_module_are_one_program() -> None:
    script = Path(sys.executable).with_name("ckptload")
    if not script.exists():
        pytest.skip("the package was not installed with its script")
    out = subprocess.run([script, "--version"], check=True, capture_output=True, text=True, timeout=PATIENCE).stdout
    assert out == run("--version").out == f"ckptload {ckptload.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"\n    ckptload {command}[ \n]", shown) or command == "inspect"
    assert "Examples:\n" in shown


def test_a_file_with_the_name_of_a_command_is_meant_where_its_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diff").write_bytes((FIXTURES / "lenet5.ckpt").read_bytes())
    assert main(["./diff"]) == 0
    assert "8 entries" in capsys.readouterr().out
    assert main(["diff"]) == 2


def test_without_arguments_the_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(command in err for command in COMMANDS)


# -- what every command does alike ------------------------------------------------------------------------


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Return a checkpoint in each format, and files with which something is wrong."""
    monkeypatch.setenv("CKPTLOAD_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    lenet = FIXTURES / "lenet5.ckpt"
    assert main(["convert", "-q", str(lenet), "x.safetensors"]) == 0
    for folder in ("set", "cut"):
        assert main(["convert", "-q", str(lenet), folder, "--shard-size", "100KB"]) == 0
    next((tmp_path / "cut").glob("*.safetensors")).unlink()
    (tmp_path / "odd.ckpt").write_bytes(record("w", (1,), "Foo", b"1") + floats("good", 1.0))
    (tmp_path / "bad.ckpt").write_bytes(record("w", (2,), "Int8", b"1"))
    return {
        "plain": lenet,
        "old": FIXTURES / "plain_1.3.0_append.ckpt",
        "encrypted": FIXTURES / "enc_sm4.ckpt",
        "safetensors": tmp_path / "x.safetensors",
        "index": tmp_path / "set" / "model.safetensors.index.json",
        "damaged": tmp_path / "bad.ckpt",
        "missing": tmp_path / "none.ckpt",
        "another kind": FIXTURES / "README.md",
        "lacks a shard": tmp_path / "cut" / "model.safetensors.index.json",
        "unsupported": tmp_path / "odd.ckpt",
    }


def calls(path: object, *more: str) -> dict[str, list[str]]:
    """Return a call of each command that reads a file."""
    source = str(path)
    return {
        "inspect": ["inspect", source, *more],
        "verify": ["verify", source, *more],
        "diff": ["diff", source, source, *more],
        "convert": ["convert", "-q", "--force", source, "out.ckpt", *more],
        "to npz": ["convert", "-q", "--force", source, "out.npz", *more],
        "report": ["report", "-q", source, "-o", "page.html", *more],
    }


WITH_KEY = ("--key-env", "CKPTLOAD_KEY", "--key-format", "raw")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "old", "encrypted", "safetensors", "index"])
def test_commands_read_every_format(kind: str, kinds: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    more = WITH_KEY if kind == "encrypted" else ()
    for name, call in calls(kinds[kind], *more).items():
        assert main(call) == (4 if name == "verify" else 0), (name, capsys.readouterr().err)
    if kind != "encrypted":
        assert main(["encrypt", "-q", str(kinds[kind]), "sealed.ckpt", *WITH_KEY]) == 0
    sealed = str(kinds[kind]) if kind == "encrypted" else "sealed.ckpt"
    assert main(["decrypt", "-q", sealed, "opened.ckpt", *WITH_KEY]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "code", "but"),
    [
        ("damaged", 1, {}),
        ("missing", 2, {}),
        ("encrypted", 3, {}),
        ("another kind", 5, {}),
        ("lacks a shard", 6, {}),
        # Where values are not needed, such an entry is listed.
        ("unsupported", 7, {"inspect": 0, "verify": 4, "report": 0}),
    ],
)
def test_exit_codes_mean_the_same_in_every_command(
    kind: str, code: int, but: dict[str, int], kinds: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """But in ``diff``, which has three of its own."""
    every = calls(kinds[kind])
    every["encrypt"] = ["encrypt", str(kinds[kind]), "sealed.ckpt", *WITH_KEY]
    for name, call in every.items():
        expected = (0 if kind == "unsupported" else 2) if name == "diff" else but.get(name, code)
        assert main(call) == expected, (name, capsys.readouterr().err)


@pytest.mark.slow
def test_a_path_may_be_a_url(kinds: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/test_program.ckpt", kinds["plain"].read_bytes())
    for name, call in calls("memory://test_program.ckpt").items():
        assert main(call) == (4 if name == "verify" else 0), (name, capsys.readouterr().err)


@pytest.mark.slow
def test_the_limit_of_entries_is_raised_for_every_command(
    kinds: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight entries are too many for seven, and not for eight."""
    assert main(["encrypt", "-q", str(kinds["plain"]), "sealed.ckpt", *WITH_KEY]) == 0
    for limit, refused in (("7", True), ("8", False)):
        every = calls(kinds["plain"], "--max-records", limit)
        every["encrypt"] = ["encrypt", "-q", "--force", *every["convert"][3:4], "again.ckpt", *WITH_KEY]
        every["encrypt"] += ["--max-records", limit]
        every["decrypt"] = ["decrypt", "-q", "--force", "sealed.ckpt", "opened.ckpt", *WITH_KEY, "--max-records", limit]
        for name, call in every.items():
            expected = 2 if refused else 4 if name == "verify" else 0
            assert main(call) == expected, (name, capsys.readouterr().err)
            assert ("--max-records" in capsys.readouterr().err) is refused, name


def test_no_option_takes_a_key() -> None:
    """Whoever lists the processes of a machine sees their command lines."""
    from ckptload.cli.app import program

    context = click.Context(program)
    keyless = {"strategy", "completion", "help", "version"}
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        options = {option for one in command.params for option in one.opts if "key" in option}
        assert {option.rpartition("-")[2] for option in options} <= {"file", "env", "prompt", "format"}
        assert len(options) == {"convert": 8, "merge": 8}.get(name, 0 if name in keyless else 4)


# -- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect"], "FILE"),
        (["inspect", "--no-such-option", "x"], "--no-such-option"),
        (["verfy"], "did you mean verify?"),
        (["inspect", "--sort", "colour", "x"], "not one of size, name, dtype"),
        (["diff", "only-one.ckpt"], "'B'"),
        (["inspect", "no-such-file.ckpt"], "No such file"),
        (["inspect", str(FIXTURES / "enc_gcm.ckpt")], "--key-file"),
        (["convert", str(FIXTURES / "lenet5.ckpt"), "out.docx"], "does not say which format"),
        (["encrypt", str(FIXTURES / "lenet5.ckpt"), "x.ckpt"], "a key to encrypt with is required"),
        (["report", str(FIXTURES / "lenet5.ckpt"), "-o", str(FIXTURES / "lenet5.ckpt")], "is not a report"),
    ],
)
def test_what_is_wrong_is_said_in_one_or_two_lines(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) in {2, 3}
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    first, *rest = err.splitlines()
    assert first.startswith("ckptload: ")
    assert len(rest) <= 1
    assert all(line.startswith("  hint: ") for line in rest)


def test_debug_shows_the_traceback_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(FIXTURES / "README.md")
    main(["convert", path, "out.ckpt"])
    assert "Traceback" not in capsys.readouterr().err
    main(["convert", path, "out.ckpt", "--debug"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_quiet_hides_notes_and_warnings_and_no_error(
    kinds: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    odd = Path("foreign.ckpt")
    odd.write_bytes(floats("good", 1.0) + block(2, floats("lost", 1.0)))
    for quiet in ([], ["--quiet"]):
        assert main(["convert", "--force", str(odd), "out.ckpt", *quiet]) == 0
        said = capsys.readouterr().err
        assert ("warning: " in said, "written" in said) == (not quiet, not quiet)
        assert main(["convert", "--force", str(kinds["damaged"]), "out.ckpt", *quiet]) == 1
        assert "ckptload: " in capsys.readouterr().err


def test_a_fault_of_our_own_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(app.program, "invoke", broken)
    assert main(["inspect", "x"]) == 2
    err = capsys.readouterr().err
    assert "bug in ckptload: ZeroDivisionError: on purpose" in err
    assert "Traceback" not in err


def test_hints_speak_of_options_and_not_of_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((FIXTURES / "encrypted").glob("*.ckpt")):
        main(["verify", str(path)])
        main(["verify", str(path), "--key-env", "CKPTLOAD_TEST", "--key-format", "raw"])
    said = "".join(capsys.readouterr())
    for argument in ("dec_key", "dec_mode", "allow_unauthenticated", "choice_func", "crc_check"):
        assert argument not in said


@pytest.mark.parametrize("folder", [FIXTURES, SHARED / "samples", SHARED / "corpus"], ids=lambda path: path.name)
@pytest.mark.parametrize("command", ["inspect", "verify", "report"])
def test_any_file_gives_a_sentence_and_never_a_traceback(
    folder: Path, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            continue
        more = ["-o", str(tmp_path / "page.html")] if command == "report" else []
        code = main([command, str(path), *more])
        out, err = capsys.readouterr()
        assert code in {0, 1, 3, 4, 5}, path
        assert "Traceback" not in err, path
        assert "bug in ckptload" not in err, path
        if code in {1, 3, 5}:
            assert path.name in out + err


# -- output -----------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a file whose names try to steer the terminal, hide text, and leave every encoding."""
    names = ["\x1b[31mred\x1b]0;title\x07", "new\nline", "\u202egnp.exe", "h\xf6he.\u6a21\u578b", "\u200bhidden"]
    path = tmp_path / "hostile.ckpt"
    ckptload.save_checkpoint([{"name": name, "data": ckptload.Tensor([1.0])} for name in names], path)
    return path


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--tree"], ["verify", "--finite"], ["diff"]])
def test_names_cannot_steer_the_terminal(command: list[str], hostile: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.ckpt"
    ckptload.save_checkpoint([{"name": "w", "data": ckptload.Tensor([float("nan")])}], other)
    files = [hostile, other] if command == ["diff"] else [hostile]
    out = on_terminal(*command, *files, "--color", "never").out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\u200b]", out)
    if command != ["verify", "--finite"]:
        assert r"\x1b[31mred\x1b]0;title\x07" in out


@pytest.mark.parametrize("locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
@pytest.mark.parametrize("option", ["--tree", "--stats", "--json"])
def test_a_terminal_without_utf_8_gets_escapes(locale: dict[str, str | None], option: str, hostile: Path) -> None:
    done = run("inspect", option, hostile, **locale)
    assert done.code == 0
    assert done.out.isascii()
    assert "\\u6a21" in done.out


@POSIX
def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    """As with ``ckptload FILE | head -1``: no traceback, and the exit code of a command that SIGPIPE ended."""
    path = tmp_path / "many.ckpt"
    ckptload.save_checkpoint([{"name": f"layer.{n}", "data": ckptload.Tensor([1.0])} for n in range(5000)], path)
    process = subprocess.Popen(
        [*PROGRAM, "inspect", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(PATIENCE) == text.CUT_OFF


@pytest.mark.slow
@POSIX
def test_colours_are_for_terminals_and_for_those_who_want_them() -> None:
    path = FIXTURES / "lenet5.ckpt"
    assert "\x1b[" in on_terminal(path).out
    assert "\x1b[" not in on_terminal(path, NO_COLOR="1").out
    assert "\x1b[" not in on_terminal(path, TERM="dumb").out
    assert "\x1b[" not in on_terminal(path, "--color", "never").out
    assert "\x1b[" not in run(path).out
    assert "\x1b[" in run(path, "--color", "always").out


# -- memory -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", ["verify --finite", "inspect --stats", "diff", "report", "report --against"])
def test_memory_stays_flat(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a tensor of 96 MiB, in one row, no more than some pieces of 8 MiB are in memory."""
    path = tmp_path / "large.ckpt"
    ckptload.save_checkpoint({"w": np.ones((1, 24 << 20), np.float32)}, path)
    name, *options = command.split()
    files = [path, path] if command == "diff" else [path]
    output = ["-o", str(tmp_path / "page.html"), "-q"] if name == "report" else []
    others = [str(path)] if options == ["--against"] else []
    tracemalloc.start()
    try:
        assert main([name, *map(str, files), *options, *others, *output]) in {0, 4}
        assert tracemalloc.get_traced_memory()[1] < 56 << 20
    finally:
        tracemalloc.stop()
    capsys.readouterr()


# -- stopping ---------------------------------------------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str, ...]:
    """Return a command that works for long enough to be stopped, and writes into the folder ``out``."""
    source = tmp_path / "zeros.ckpt"
    # The content is a hole in the file; SM4 takes its time.
    size = 1 << 30
    head = bytes([0x08]) + varint(size) + b"\x12\x04Int8\x1a" + varint(size)
    value = b"\x0a\x01w\x12" + varint(len(head) + size) + head
    with source.open("wb") as file:
        file.write(b"\x0a" + varint(len(value) + size) + value)
        file.truncate(file.tell() + size)
    (tmp_path / "out").mkdir()
    (tmp_path / "key").write_text(KEY)
    options = ("--key-file", str(tmp_path / "key"), "--key-format", "raw", "--mode", "sm4-cbc")
    return ("encrypt", str(source), str(tmp_path / "out" / "sealed.ckpt"), *options)


def varint(number: int) -> bytes:
    """Encode a number as protobuf does."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_stopped_leaves_nothing_half_written(
    number: signal.Signals, code: int, slow: tuple[str, ...], tmp_path: Path
) -> None:
    process = subprocess.Popen([*PROGRAM, *slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    deadline = time.monotonic() + PATIENCE
    while not any((tmp_path / "out").iterdir()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert (out, err) == (b"", b"")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@POSIX
def test_progress_is_shown_on_a_terminal_only_and_ctrl_c_ends_it(slow: tuple[str, ...], tmp_path: Path) -> None:
    done = on_terminal(*slow, interrupt_after="converting")
    assert done.code == 130
    assert list((tmp_path / "out").iterdir()) == []
    # The cursor, which a progress bar hides, is back.
    assert done.out.rfind("\x1b[?25h") > done.out.rfind("\x1b[?25l")


@POSIX
def test_ctrl_c_while_a_key_is_asked_for_is_an_interrupt() -> None:
    path = FIXTURES / "enc_gcm.ckpt"
    done = on_terminal(path, "--key-prompt", "--key-format", "raw", interrupt_after="Key")
    assert done.code == 130
    assert "Traceback" not in done.out


def test_schemas_are_json() -> None:
    folder = Path(ckptload.__file__).parent / "cli" / "schemas"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        f"{command}.schema.json"
        for command in ("diff", "inspect", "map", "merge", "reshard", "show", "strategy", "verify")
    ]
    assert all(json.loads((folder / name).read_text("utf-8"))["$schema"] for name in names)
