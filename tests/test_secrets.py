"""Keys, passwords and signatures are in nothing that anybody is shown; nor are control characters of others."""

from __future__ import annotations

import base64
import contextlib
import copy
import inspect
import io
import json
import logging
import pickle
import traceback
import types
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import ckptload
import ckptload.mindspore
from ckptload import messages, shown
from ckptload.binding.loading import load_param_into_net, plan_binding
from ckptload.cli.keys import KeyChoice
from ckptload.common.initializer import initializer
from ckptload.converting.converters import ckpt_to_safetensors, safetensors_to_ckpt, to_npz
from ckptload.converting.results import Target
from ckptload.converting.rewriting import convert_checkpoint
from ckptload.encryption.ciphers import KeyedCipher
from ckptload.encryption.keys import hidden
from ckptload.errors import CheckpointError, Hint
from ckptload.loading import ParamDictFuture, load_checkpoint, load_checkpoint_async
from ckptload.reading.access import Access
from ckptload.reading.opening import open_checkpoint
from ckptload.reading.reader import Reader
from ckptload.saving import save_checkpoint, wait_for_saves
from places import FIXTURES

LENET, SEALED = FIXTURES / "lenet5.ckpt", FIXTURES / "enc_gcm.ckpt"


def made(size: int) -> bytes:
    """Make a key that no line of this file contains, since a traceback shows lines."""
    return bytes((73 * place + 151) % 251 for place in range(size))


KEYS = [made(16), made(24), made(32)]


def forms(key: bytes) -> list[str]:
    """Return the ways in which a key may be shown."""
    coded = base64.b64encode(key).decode()
    return [key.hex(), key.hex().upper(), coded, coded.rstrip("="), repr(key)[2:-1], str(list(key))[1:-1]]


def library_shows() -> bool:
    """Tell whether the objects of this version of ``cryptography`` hold the key where Python can see it."""
    stream = Cipher(algorithms.AES(KEYS[0]), modes.CBC(bytes(16))).decryptor()
    return bool(getattr(stream, "__dict__", None) or getattr(getattr(stream, "_ctx", None), "__dict__", None))


LIBRARY_SHOWS = library_shows()


# -- what an error tells ------------------------------------------------------------------------------------------


def links(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that a report about it follows."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        link = left.pop()
        if link is not None and link not in seen:
            seen.append(link)
            yield link
            left += [link.__cause__, None if link.__suppress_context__ else link.__context__]


def told(error: BaseException) -> str:
    """Return all that an exception tells, with its causes and its traceback."""
    found = ["".join(traceback.format_exception(error))]
    for link in links(error):
        found += [str(link), repr(link), repr(link.args), repr(vars(link))]
        found += [str(getattr(link, name, None)) for name in ("path", "name", "hint", "problem", "filename")]
    return "\n".join(found)


def frames(error: BaseException) -> Iterator[types.FrameType]:
    """Yield the frames of this package in the tracebacks of an exception."""
    for link in links(error):
        trace = link.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").startswith("ckptload"):
                yield trace.tb_frame
            trace = trace.tb_next


def inside(value: Any, depth: int = 4) -> Iterator[Any]:
    """Yield a value and what is in it: elements, attributes, closures, arguments that were bound."""
    yield value
    if depth == 0 or isinstance(value, (type, types.ModuleType, np.ndarray, str, bytes)):
        return
    parts: list[Any] = []
    if isinstance(value, dict):
        parts += [*value, *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts += list(value)[:100]
    elif isinstance(value, partial):
        parts += [*value.args, *value.keywords.values()]
    elif isinstance(value, (types.FunctionType, types.MethodType)):
        function = getattr(value, "__func__", value)
        parts += [cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType()]
        parts += [*(function.__defaults__ or ()), getattr(value, "__self__", None)]
    else:
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        parts += [getattr(value, name, None) for name in slots if name != "__weakref__"]
        parts += list(getattr(value, "__dict__", {}).values())
        # What `cryptography` makes of a key has it as an attribute.
        parts += [getattr(value, name, None) for name in ("key", "algorithm")]
    for part in parts:
        if not (LIBRARY_SHOWS and type(part).__module__.startswith("cryptography")):
            yield from inside(part, depth - 1)


def shows(value: Any, key: bytes) -> bool:
    """Tell whether a crash reporter that prints a value shows a key."""
    for part in inside(value):
        if isinstance(part, (bytes, bytearray, memoryview)) and key in bytes(part):
            return True
        said = ""
        # A reporter shows nothing of what has no repr.
        with contextlib.suppress(Exception):
            said = repr(part)
        if any(form in said for form in forms(key)):
            return True
    return False


def check_frames(error: BaseException, key: bytes) -> None:
    found = [
        f"{frame.f_code.co_filename}:{frame.f_lineno} {name}"
        for frame in frames(error)
        for name, value in frame.f_locals.items()
        if not (LIBRARY_SHOWS and type(value).__module__.startswith("cryptography")) and shows(value, key)
    ]
    assert not found


def failure(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except Exception as error:  # noqa: BLE001 -- all of them are looked at
        return error
    raise AssertionError("no error")


# -- frames -------------------------------------------------------------------------------------------------------

VALUES = {"w": np.zeros(3, np.float32)}
#: Each is called with a folder and a key, and raises.
Door = Callable[[Path, Any], Any]


def damaged(folder: Path) -> Path:
    content = bytearray(SEALED.read_bytes())
    content[-1] ^= 1
    path = folder / "damaged.ckpt"
    path.write_bytes(content)
    return path


def convert(path: Path, key: Any, **how: Any) -> None:
    with open_checkpoint(LENET) as reader:
        convert_checkpoint(reader, path, enc_key=key, **how)


LOADERS: dict[str, Callable[..., Any]] = {
    "load": load_checkpoint,
    "of mindspore": ckptload.mindspore.load_checkpoint,
    "stand-in": ckptload.mindspore._STAND_INS["load_checkpoint"],
    "async": lambda *args, **kwargs: load_checkpoint_async(*args, **kwargs).result(),
    "open": open_checkpoint,
    "to npz": lambda path, **kwargs: to_npz(path, Path(path).parent / "x.npz", **kwargs),
    "to safetensors": lambda path, **kwargs: ckpt_to_safetensors(path, Path(path).parent, **kwargs),
}
FILES: dict[str, Callable[[Path], Path]] = {
    "another key's": lambda _: SEALED,
    "damaged": damaged,
    "missing": lambda folder: folder / "missing.ckpt",
    "plain": lambda _: LENET,
}
SAVERS: dict[str, Door] = {
    "save": lambda folder, key: save_checkpoint(VALUES, str(folder / "none" / "x.ckpt"), enc_key=key),
    "save positional": lambda folder, key: save_checkpoint(
        VALUES, str(folder / "none" / "x.ckpt"), True, False, None, key
    ),
    "save, stand-in": lambda folder, key: ckptload.mindspore._STAND_INS["save_checkpoint"](
        VALUES, str(folder / "none" / "x.ckpt"), True, False, None, key
    ),
    "save to a folder": lambda folder, key: save_checkpoint(VALUES, str(folder), enc_key=key),
    "save with a sum": lambda folder, key: save_checkpoint(VALUES, str(folder / "x"), enc_key=key, crc_check=True),
    "save, no values": lambda folder, key: save_checkpoint([1], str(folder / "x"), enc_key=key),
    "save, wrong name of the argument": lambda folder, key: save_checkpoint(
        VALUES, str(folder / "none" / "x.ckpt"), dec_key=key
    ),
    "convert": lambda folder, key: convert(folder / "x.npz", key),
    "convert to a folder": lambda folder, key: convert(folder, key, format="ckpt"),
    "convert, no format": lambda folder, key: convert(folder / "x.y", key),
}
WRONG: list[Any] = [made(5), made(16).hex(), bytearray(made(16)), list(made(16)), int.from_bytes(made(16), "big")]


def test_no_frame_shows_the_key() -> None:
    error = failure(lambda: load_checkpoint(str(SEALED), dec_key=KEYS[0]))
    check_frames(error, KEYS[0])
    assert len(list(frames(error))) > 5


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS, ids=len)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", LOADERS)
def test_no_frame_of_a_failed_load_shows_the_key(name: str, file: str, key: bytes, tmp_path: Path) -> None:
    error = failure(lambda: LOADERS[name](str(FILES[file](tmp_path)), dec_key=key))
    assert isinstance(error, CheckpointError)
    check_frames(error, key)
    assert not [form for form in forms(key) if form in told(error)]


@pytest.mark.slow
def test_no_frame_shows_a_key_that_was_given_by_its_place() -> None:
    for loader in ("load", "of mindspore", "stand-in", "async"):
        error = failure(partial(LOADERS[loader], str(SEALED), None, False, None, KEYS[0]))
        check_frames(error, KEYS[0])


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS, ids=len)
@pytest.mark.parametrize("name", SAVERS)
def test_no_frame_of_a_failed_save_shows_the_key(name: str, key: bytes, tmp_path: Path) -> None:
    error = failure(lambda: SAVERS[name](tmp_path, key))
    assert isinstance(error, CheckpointError)
    check_frames(error, key)
    assert not [form for form in forms(key) if form in told(error)]


@pytest.mark.slow
@pytest.mark.parametrize("key", WRONG, ids=lambda key: type(key).__name__)
def test_no_frame_shows_a_key_of_a_wrong_type_or_length(key: Any, tmp_path: Path) -> None:
    raw = key if isinstance(key, bytes) else made(16)
    doors: list[Callable[[], Any]] = [
        *(partial(load, str(SEALED), dec_key=key) for load in LOADERS.values()),
        lambda: save_checkpoint(VALUES, str(tmp_path / "x"), enc_key=key),
        lambda: convert(tmp_path / "x.ckpt", key),
    ]
    for door in doors:
        error = failure(door)
        assert isinstance(error, CheckpointError)
        check_frames(error, raw)
        assert not [form for form in [*forms(raw), str(key)] if form in told(error)]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["thread", "process"])
def test_the_log_of_a_background_save_shows_no_key(how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "ckptload"):
        save_checkpoint(VALUES, str(tmp_path / "none" / "x.ckpt"), async_save=how, enc_key=KEYS[0])
        wait_for_saves()
    for record in caplog.records:
        assert not any(form in record.getMessage() for form in forms(KEYS[0]))
        if record.exc_info and record.exc_info[1]:
            check_frames(record.exc_info[1], KEYS[0])
    error = failure(lambda: save_checkpoint(VALUES, str(tmp_path / "x"), async_save=how, enc_key=KEYS[0]))
    check_frames(error, KEYS[0])


def test_a_cipher_that_the_system_lacks_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames of `cryptography` have the key, so they are not in the chain."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import Cipher

    def refuse(_: Any) -> None:
        raise UnsupportedAlgorithm("none")

    monkeypatch.setattr(Cipher, "decryptor", refuse)
    error = failure(lambda: load_checkpoint(str(SEALED), dec_key=KEYS[0]))
    check_frames(error, KEYS[0])
    assert list(links(error)) == [error]


# -- objects with keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"", b"\0", b"\0" * 16, *KEYS], ids=repr)
def test_a_hidden_key_is_the_same_and_shows_nothing(key: bytes) -> None:
    one = hidden(key)
    assert (one.reveal(), len(one), bool(one)) == (key, len(key), True)
    assert one == hidden(key)
    assert one != key
    assert one != hidden(key + b"x")
    assert hash(one) == hash(hidden(key))
    assert (repr(one), str(one)) == ("<key>", "<key>")
    assert copy.copy(one) is copy.deepcopy(one) is hidden(one) is one
    assert len(key) < 16 or not shows(one, key)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(CheckpointError):
            pickle.dumps(one, protocol)


def test_no_key_is_no_key() -> None:
    assert hidden(None) is None


def test_no_object_that_holds_a_key_shows_it() -> None:
    key = KEYS[0]
    own = b"0123456789abcdef"
    with open_checkpoint(SEALED, dec_key=own) as reader:
        assert not shows(reader, own)
    for holder in (
        Access(key=key),
        Target(Path("/x.ckpt"), "ckpt", key=hidden(key)),
        KeyedCipher(key, "AES-GCM"),
        KeyedCipher(hidden(key), "AES-CBC"),
    ):
        assert not shows(holder, key)


# -- keys in the place of other arguments -------------------------------------------------------------------------

PUBLIC: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        load_checkpoint, load_checkpoint_async, open_checkpoint, save_checkpoint, load_param_into_net, plan_binding,
        ckpt_to_safetensors, safetensors_to_ckpt, to_npz, convert_checkpoint, ckptload.Tensor, ckptload.Parameter,
        initializer, ckptload.from_torch, ckptload.to_torch_state_dict, ckptload.to_mindspore,
    )
}  # fmt: skip


def arguments(function: Callable[..., Any], folder: Path, reader: Any) -> dict[str, Any]:
    """Return arguments with which a function works."""
    known: dict[str, Any] = {
        "ckpt_file_name": str(folder / "x.ckpt") if function is save_checkpoint else str(LENET),
        "source": reader if function is convert_checkpoint else LENET,
        "path": folder / ("x.ckpt" if function is convert_checkpoint else "x.npz"),
        "file_path": str(FIXTURES / "types.safetensors") if function is safetensors_to_ckpt else str(LENET),
        "save_path": str(folder),
        "save_obj": VALUES,
        "init": "zeros",
        "shape": (2,),
        "input_data": 1.0,
        "default_input": 1.0,
    }
    return {name: value for name, value in known.items() if name in inspect.signature(function).parameters}


def outcome(function: Callable[..., Any], given: dict[str, Any]) -> str:
    """Call a function and return all that it tells."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            result = function(**given)
            said = repr(result) if isinstance(result, Reader) else ""
            if isinstance(result, ParamDictFuture):
                result.result()
        except Exception as error:  # noqa: BLE001 -- whatever is raised
            said = told(error)
    return said + "".join(str(one.message) for one in warned)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_a_key_in_the_place_of_another_argument_is_not_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    function = PUBLIC[name]
    with open_checkpoint(LENET) as reader:
        check_arguments(function, arguments(function, tmp_path, reader), KEYS, tmp_path, monkeypatch)
    assert not [form for key in KEYS for form in forms(key) if form in caplog.text]


@pytest.mark.slow
def test_a_key_in_the_place_of_an_argument_of_open_checkpoint_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_arguments(open_checkpoint, {"source": LENET}, KEYS[:1], tmp_path, monkeypatch)


def check_arguments(
    function: Callable[..., Any],
    usual: dict[str, Any],
    keys: list[bytes],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = (folder / str(number) for number in count())
    for key in keys:
        coded, number = base64.b64encode(key).decode(), int.from_bytes(key, "big")
        given: list[Any] = [key, key.hex(), key.hex().upper(), coded, bytearray(key), [key], {"a": key}, {key: key}]
        given += [list(key), (key.hex(),), np.frombuffer(key, np.uint8), number]
        known = [*forms(key), str(number)]
        # A shape is numbers, and too many of them are told.
        for argument in inspect.signature(function).parameters.keys() - {"shape"}:
            for value in given:
                # A key may become the name of a file, which then is there.
                (empty := next(folders)).mkdir()
                monkeypatch.chdir(empty)
                said = outcome(function, {**usual, argument: value})
                assert not [form for form in known if form in said], (argument, type(value))


@pytest.mark.parametrize("value", [made(16), made(16).hex(), bytearray(made(16)), [made(16)], 1 << 127, "x" * 16])
def test_a_value_that_may_be_a_key_is_described(value: Any) -> None:
    said = messages.shown_value(value)
    assert not any(form in said for form in [*forms(made(16)), str(value)])


def written_down(key: bytes) -> list[str]:
    """Return ways in which people and programs write a key."""
    twos = [f"{byte:02x}" for byte in key]
    parts = [" ".join(twos), ":".join(twos), "-".join(twos).upper(), "".join(f"\\x{two}" for two in twos)]
    lines = [key.hex() + "\n", base64.b64encode(key).decode() + "\r\n", f" 0x{key.hex()}"]
    return [*parts, *lines, str(key), repr(bytearray(key)), str(b"://'" + key)]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_in_the_place_of_a_path_is_not_shown_however_it_is_written(
    key: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given in written_down(key):
        said = told(failure(lambda given=given: open_checkpoint(given)))  # type: ignore[misc]
        assert given.strip() not in said
        assert not [form for form in forms(key) if form in said], given
        assert f"{len(given)} characters" in shown.place(given)


@pytest.mark.parametrize(
    "path", ["a1:b2.ckpt", "aa-bb-cc-dd", "2026-11-27 04:43:00", "b'x'", "123e4567-e89b-12d3-a456-426614174000", ""]
)
def test_what_cannot_be_a_key_is_a_path(path: str) -> None:
    assert shown.place(path) == path


@pytest.mark.parametrize("value", [None, True, 0.5, -7, "npz", "AES-GCM2", [], {}, (1, "a"), int, slice(1, 2), 1j])
def test_a_value_that_cannot_be_a_key_is_shown(value: Any) -> None:
    assert messages.shown_value(value) == repr(value)


def test_a_list_in_itself_is_described() -> None:
    value: list[Any] = []
    value.append(value)
    assert messages.shown_value(value) == "[list]"


@pytest.mark.parametrize(
    "text", ["embedding_lookup_table", "backbone.layer1.0.conv1.weight", "CKPTLOAD_MODEL_KEY", "*.weight", "model"]
)
def test_a_name_is_not_taken_for_a_key(text: str) -> None:
    assert messages.shown_text(text) == repr(text)


@pytest.mark.parametrize("key", KEYS, ids=len)
def test_the_digits_of_a_key_are_not_taken_for_a_name(key: bytes) -> None:
    for text in (
        key.hex(),
        key.hex().upper(),
        base64.b64encode(key).decode(),
        key.hex(":"),
        key.hex(" "),
        "0x" + key.hex(),
    ):
        assert messages.shown_text(text) == f"a text of {len(text)} characters"


def test_a_file_whose_name_has_the_form_of_a_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is not there can have been a key by mistake; caches name files by their digests."""
    monkeypatch.chdir(tmp_path)
    name = made(32).hex()
    assert name not in str(failure(lambda: open_checkpoint(name)))
    assert f"blobs/{name}" in str(failure(lambda: open_checkpoint(f"blobs/{name}")))
    Path(name).write_bytes(b"nothing")
    assert failure(lambda: open_checkpoint(name)).path == str(tmp_path / name)  # type: ignore[attr-defined]


# -- the command line ---------------------------------------------------------------------------------------------

WORDS = ["inspect", "verify", "diff", "convert", "encrypt", "decrypt", "report"]


def command_lines(word: str) -> Iterator[list[str]]:
    """Yield command lines with a word in a wrong place."""
    file = str(LENET)
    yield [word]
    for command in WORDS:
        yield [command, word]
        yield [command, file, word]
        yield [command, file, "x.ckpt", word]
        for option in ("--mode", "--key-env", "--key-file", "--key-format", "--max-records", "--color"):
            yield [command, file, "x.ckpt", option, word]
            yield [command, file, f"{option}={word}", "--debug"]
        yield [command, file, f"--{word}"]
        yield [command, file, "--key", word]
    for option in ("--sort", "--depth", "--filter"):
        yield ["inspect", file, option, word]
    for option in ("--to", "--dtype", "--shard-size", "--name-map", "--out-mode", "--include", "--out-key-env"):
        yield ["convert", file, "x.npz", option, word]
        yield ["convert", file, word, "--force", option, word]
    for option in ("--module", "--rule", "--convention", "--target"):
        yield ["map", file, "--target", file, option, word]
    yield ["map", file, "--module", "json:loads", "--argument", word]


@pytest.mark.slow
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("key", [KEYS[0].hex(), KEYS[2].hex(), base64.b64encode(KEYS[2]).decode()], ids=len)
def test_the_command_line_shows_no_key_in_a_wrong_place(
    key: str, plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from ckptload.cli import app
    from ckptload.cli import plain as listing

    run = listing.run if plain else app.run
    for number, line in enumerate(command_lines(key)):
        (folder := tmp_path / str(number)).mkdir()
        monkeypatch.chdir(folder)
        run([line[-1]] if plain else line)
        shown_there = "".join(capsys.readouterr())
        if not any(key in name for name in map(str, folder.iterdir())):
            assert key not in shown_there, line


def test_a_key_that_is_refused_is_in_no_frame_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for form, text in (("hex", made(5).hex()), ("raw", made(9).hex()), ("hex", made(16).hex() + "g")):
        monkeypatch.setenv("A_KEY", text)
        error = failure(KeyChoice(env="A_KEY", form=form).read)
        assert isinstance(error, CheckpointError)
        for frame in frames(error):
            assert not any(text in repr(value) for part in frame.f_locals.values() for value in inside(part))
        assert text not in told(error)


# -- control characters of others ---------------------------------------------------------------------------------

#: An escape sequence, a bell, a C1 control, directions, line breaks of any kind, and an invisible character.
EVIL = "\x1b[31m\x07\x9b2J\u202e\u2066\r\n\x85\u2028\u200b"


def has_controls(text: str) -> bool:
    return any(unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp", "Cs"} and c != "\n" for c in text)


@pytest.mark.parametrize("kind", [CheckpointError, ckptload.errors.ReadError, ckptload.errors.UnknownNameError])
def test_no_text_of_an_error_has_control_characters(kind: type[CheckpointError]) -> None:
    error = kind(f"a{EVIL}", path=f"/x/{EVIL}", name=EVIL, hint=f"b{EVIL}")
    assert not has_controls(str(error))
    assert not has_controls(error.problem)
    assert not has_controls(str(error.args[0]))
    assert not has_controls(error.hint or "")
    error.problem += EVIL
    assert not has_controls(str(error))
    assert error.path == f"/x/{EVIL}", "the path itself opens the file"
    assert str(error).count("\n") == 5, "of the texts, line breaks stay"


def test_a_hint_escapes_what_it_quotes() -> None:
    assert "\n" not in (CheckpointError("x", hint=Hint("a {b}", b=EVIL)).hint or "")


def test_a_warning_has_no_control_characters() -> None:
    with pytest.warns(UserWarning, match="a") as caught:
        messages.warn("a" + EVIL)
    assert not has_controls(str(caught[0].message))


def test_what_another_library_says_is_one_line() -> None:
    assert shown.foreign(OSError(EVIL)).isprintable()
    assert shown.foreign(ValueError("https://u:p@h/x?q\n")) == "https://***@h/x?...\\n"


class Hostile(io.BytesIO):
    def read(self, _: int | None = -1) -> bytes:
        raise OSError(f"{EVIL} https://user:{SECRET}@host/x?{SECRET}")


SECRET = "hunter2-hunter2"  # noqa: S105 -- it opens nothing


def test_what_a_file_object_raises_is_told_without_secrets_and_controls() -> None:
    error = failure(lambda: open_checkpoint(Hostile(b"12345")))
    assert isinstance(error, CheckpointError)
    assert not has_controls(told(error))
    assert SECRET not in str(error)
    assert SECRET not in "".join(str(link) for link in links(error))


def listed(path: Path) -> None:
    with open_checkpoint(path) as reader:
        dict(reader)


def safetensors(header: Any, data: bytes = b"") -> bytes:
    content = json.dumps(header, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return len(content).to_bytes(8, "little") + content + data


def test_what_the_safetensors_library_quotes_is_escaped(tmp_path: Path) -> None:
    """Its messages have the names and types of the file as they are."""
    for number, header in enumerate(
        (
            {EVIL: {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
            {"a": {"dtype": EVIL, "shape": [1], "data_offsets": [0, 4]}},
            {"a": {"dtype": {EVIL: 1}, "shape": [1], "data_offsets": [0, 4]}},
            {"__metadata__": {EVIL: 1}},
            {EVIL: 1},
        )
    ):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(safetensors(header, bytes(4)))
        error = failure(partial(listed, path))
        assert isinstance(error, CheckpointError)
        assert not has_controls("".join(traceback.format_exception(error)))


def test_an_index_of_shards_is_told_without_control_characters(tmp_path: Path) -> None:
    for index in (
        {"weight_map": {EVIL: f"{EVIL}.safetensors"}},
        {"weight_map": {"a": f"../{EVIL}.safetensors"}},
        {EVIL: 1},
    ):
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps(index))
        error = failure(partial(listed, path))
        assert isinstance(error, CheckpointError)
        assert not has_controls("".join(traceback.format_exception(error)))
