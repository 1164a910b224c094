"""`ckptload show`: the values of entries, for people and for programs."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("click")

import click

import ckptload
from ckptload.__main__ import main
from ckptload.cli import pieces
from ckptload.cli.show import command
from cli_program import FIXTURES, KEY, check_schema, on_terminal

if TYPE_CHECKING:
    from pathlib import Path

CAPTURE = pytest.CaptureFixture[str]
LENET = FIXTURES / "lenet5.ckpt"


def show(capsys: CAPTURE, *arguments: object) -> tuple[int, str, str]:
    code = main(["show", *map(str, arguments)])
    return code, *capsys.readouterr()


def show_json(capsys: CAPTURE, *arguments: object) -> list[dict[str, Any]]:
    code, out, _ = show(capsys, *arguments, "--json")
    assert code == 0
    data: dict[str, Any] = json.loads(out, parse_constant=pytest.fail)
    check_schema(data, "show")
    return data["entries"]  # type: ignore[no-any-return]


def saved(tmp_path: Path, **values: Any) -> Path:
    path = tmp_path / "x.ckpt"
    ckptload.save_checkpoint(values, path)
    return path


def test_a_tensor_is_printed_as_numpy_does_it(capsys: CAPTURE) -> None:
    code, out, _ = show(capsys, LENET, "fc3.bias")
    value = ckptload.load_checkpoint(LENET)["fc3.bias"].asnumpy()
    assert code == 0
    assert out.splitlines()[0] == "fc3.bias  Float32  (10,)  40 bytes"
    assert out.partition("\n")[2] == np.array2string(value) + "\n"


@pytest.mark.parametrize("shape", [(1001,), (2, 600), (40, 30, 2), (1, 1, 2000), (7, 7, 30), (8, 200)])
@pytest.mark.parametrize("piece", [8 << 20, 256])
def test_a_large_tensor_is_printed_as_numpy_shortens_it(
    shape: tuple[int, ...], piece: int, tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is read at a time."""
    monkeypatch.setattr(pieces, "PIECE", piece)
    value = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    _, out, _ = show(capsys, saved(tmp_path, w=value), "w")
    assert out.partition("\n")[2] == np.array2string(value) + "\n"


def test_all_of_a_large_tensor_is_printed_on_request(tmp_path: Path, capsys: CAPTURE) -> None:
    value = np.arange(1500)
    _, out, _ = show(capsys, saved(tmp_path, w=value), "w", "--full")
    assert out.partition("\n")[2] == np.array2string(value, threshold=sys.maxsize) + "\n"


def test_the_digits_are_chosen(capsys: CAPTURE) -> None:
    _, out, _ = show(capsys, LENET, "fc3.bias", "--precision", 2)
    assert re.fullmatch(r"\[( ?-?\d\.\d{0,2} *)+\n?(.*)\]\n", out.partition("\n")[2], re.DOTALL)
    assert not re.search(r"\.\d{3}", out)


@pytest.mark.parametrize(
    ("written", "index"),
    [
        ("0:2, :, 3", np.s_[0:2, :, 3]),
        ("[1]", np.s_[1]),
        ("..., -1", np.s_[..., -1]),
        ("::2,:, : ,-1:", np.s_[::2, :, :, -1:]),
        ("::-1", np.s_[::-1]),
    ],
)
def test_a_part_is_given_in_pythons_notation(written: str, index: Any, capsys: CAPTURE) -> None:
    value = ckptload.load_checkpoint(LENET)["conv1.weight"].asnumpy()[index]
    _, out, _ = show(capsys, LENET, "conv1.weight", "--slice", written)
    first, _, printed = out.partition("\n")
    assert f"{value.shape} of (6, 1, 5, 5)" in first
    assert printed == np.array2string(value) + "\n"


@pytest.mark.parametrize("written", ["", "a", "1.5", "1:2:3:4", "::0", "..., ...", "None", "1 2", "--1"])
def test_what_is_not_an_index_is_refused(written: str, capsys: CAPTURE) -> None:
    code, out, err = show(capsys, LENET, "conv1.weight", f"--slice={written}")
    assert (code, out) == (2, "")
    assert "is not an index" in err


def test_an_index_that_does_not_fit_is_refused(capsys: CAPTURE) -> None:
    assert show(capsys, LENET, "fc3.bias", "--slice", "10")[0] == 1
    code, _, err = show(capsys, FIXTURES / "append.ckpt", "note", "--slice", "0")
    assert code == 2
    assert "--slice is for tensors" in err


def test_only_the_rows_of_a_part_are_read(tmp_path: Path, capsys: CAPTURE) -> None:
    """The others may be damaged as well: nothing looks at them."""
    path = saved(tmp_path, w=np.ones((4, 1 << 18), np.float32))
    read: list[tuple[int, int]] = []
    from ckptload.sources.files import FileSource

    original = FileSource.read_into

    def noted(source: FileSource, start: int, out: memoryview) -> None:
        read.append((start, len(out)))
        original(source, start, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileSource, "read_into", noted)
        assert show(capsys, path, "w", "--slice", "3, :4")[0] == 0
    assert 0 < sum(size for _, size in read) < 3 << 20


def test_floats_of_few_bits_are_printed_without_digits_that_they_do_not_have(tmp_path: Path, capsys: CAPTURE) -> None:
    path = saved(
        tmp_path, w=np.array([0.1, 1.5, -100], ml_dtypes.bfloat16), e=np.array([0.1, 2], ml_dtypes.float8_e5m2)
    )
    _, out, _ = show(capsys, path, "w", "e")
    assert "[   0.100098    1.5      -100.      ]" in out
    assert "Float8E5M2" in out
    assert "[0.09375 2.     ]" in out


def test_values_of_every_kind_are_printed(capsys: CAPTURE) -> None:
    assert show(capsys, FIXTURES / "append.ckpt", "unicode")[1].splitlines()[1] == "Größe 模型 🙂"
    assert show(capsys, FIXTURES / "append.ckpt", "epoch_num")[1].splitlines()[1] == "12"
    out = show(capsys, FIXTURES / "plain_2.0.0_maptensor.ckpt", "*")[1]
    assert re.search(r"^\[0\] Int32 \(\d+,\)$", out, re.MULTILINE)
    out = show(capsys, FIXTURES / "plain_2.0.0_random_op.ckpt", "*")[1]
    assert re.search(r"  bytes  \d+ bytes\n[0-9a-f ]+\n", out)


def test_a_long_text_is_cut_unless_all_of_it_is_wanted(tmp_path: Path, capsys: CAPTURE) -> None:
    path = saved(tmp_path, w=np.ones(1), note="x" * 1500)
    assert "... 500 more characters; --full shows all" in show(capsys, path, "note")[1]
    assert "x" * 1500 in show(capsys, path, "note", "--full")[1]


def test_texts_cannot_steer_the_terminal(tmp_path: Path, capsys: CAPTURE) -> None:
    path = saved(tmp_path, w=np.ones(1), note="one\x1b[31m\ntwo\x07")
    assert show(capsys, path, "note")[1].splitlines()[1:] == [r"one\x1b[31m", r"two\x07"]


def test_a_name_that_no_entry_has_is_a_pattern(capsys: CAPTURE) -> None:
    out = show(capsys, LENET, "*.BIAS", "fc3.bias")[1]
    assert "fc1.bias" not in out
    out = show(capsys, LENET, "*.bias", "fc3.bias", "--precision", 1)[1]
    assert re.findall(r"^(\S+)  Float32", out, re.MULTILINE) == ["fc1.bias", "fc2.bias", "fc3.bias"]


def test_a_name_that_matches_nothing_is_an_error_with_the_nearest_names(capsys: CAPTURE) -> None:
    code, out, err = show(capsys, LENET, "conv1.wieght")
    assert (code, out) == (1, "")
    assert "no entry matches 'conv1.wieght'" in err
    assert "'conv1.weight'" in err


def test_encrypted_files_need_their_key(monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY)
    with ckptload.open_checkpoint(FIXTURES / "enc_gcm.ckpt", dec_key=KEY.encode()) as reader:
        name = next(iter(reader))
    assert show(capsys, FIXTURES / "enc_gcm.ckpt", name)[0] == 3
    assert show(capsys, FIXTURES / "enc_gcm.ckpt", name, "--key-env", "MODEL_KEY", "--key-format", "raw")[0] == 0


def test_json_has_values_that_json_has(tmp_path: Path, capsys: CAPTURE) -> None:
    path = saved(
        tmp_path,
        f=np.array([[1.5, np.nan], [np.inf, -2]], np.float16),
        c=np.array([1 + 2j], np.complex64),
        b=np.array([True]),
        note="text",
        step=3,
    )
    found = {entry["name"]: entry["values"] for entry in show_json(capsys, path, "*")}
    assert found == {
        "f": [[1.5, None], [None, -2]], "c": [[1, 2]], "b": [True], "note": "text", "step": 3
    }  # fmt: skip
    (entry,) = show_json(capsys, path, "f", "--slice", "1")
    assert (entry["slice"], entry["slice_shape"], entry["shape"]) == ("1", [2], [2, 2])


@pytest.mark.parametrize(
    "name", ["dtypes.ckpt", "plain_2.0.0_maptensor.ckpt", "plain_2.0.0_random_op.ckpt", "plain_2.10.0_bf16_int4.ckpt"]
)
def test_json_is_valid_for_entries_of_every_kind(name: str, capsys: CAPTURE) -> None:
    assert show_json(capsys, FIXTURES / name, "*")


def test_json_of_very_many_values_is_written_on_request_only(tmp_path: Path, capsys: CAPTURE) -> None:
    path = saved(tmp_path, w=np.ones(100_001, np.int8))
    code, out, err = show(capsys, path, "w", "--json")
    assert (code, out) == (2, "")
    assert "--full" in err
    assert len(show_json(capsys, path, "w", "--full")[0]["values"]) == 100_001
    assert show_json(capsys, path, "w", "--slice", "5:7")[0]["values"] == [1, 1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_lines_are_no_wider_than_the_terminal() -> None:
    out = on_terminal("show", LENET, "fc1.weight", "conv1.weight", columns=60).out
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines())) <= 60


@given(st.text(alphabet="0123456789:,.- []ab\x1b٣", max_size=30))
def test_any_text_is_an_index_or_refused(written: str) -> None:
    """What is taken is what numpy takes, and only that."""
    options = {one.name: one for one in command.params}
    try:
        index = options["index"].type.convert(written, options["index"], None)
    except click.BadParameter:
        return
    assert all(part is ... or isinstance(part, (int, slice)) for part in index)
    with contextlib.suppress(IndexError):
        np.zeros((3, 4, 5))[index]
