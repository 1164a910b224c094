"""`ckptload diff`: what it finds between two files, and its exit codes, which are those of diff."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from cli_program import FIXTURES, KEY
from strategies import floats, record

SCHEMA = json.loads((Path(ckptload.__file__).parent / "cli" / "schemas" / "diff.schema.json").read_text("utf-8"))
CAPTURE = pytest.CaptureFixture[str]


def diff(*arguments: object) -> int:
    return main(["diff", *map(str, arguments)])


def saved(path: Path, values: dict[str, Any]) -> Path:
    ckptload.save_checkpoint(values, path, format=path.suffix[1:])
    return path


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return saved(
        tmp_path / "a.ckpt",
        {
            "same": np.arange(6, dtype=np.float32).reshape(2, 3),
            "moved": np.array([1.0, 2.0, 3.0, 4.0], np.float32),
            "wide": np.array([1.0, 2.5], np.float32),
            "gone": np.zeros(2, np.int32),
            "shaped": np.zeros((2, 3), np.float32),
        },
    )


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return saved(
        tmp_path / "b.ckpt",
        {
            "same": np.arange(6, dtype=np.float32).reshape(2, 3),
            "moved": np.array([1.0, 2.0, 3.0, 4.5], np.float32),
            "wide": np.array([1.0, 2.5], np.float16),
            "shaped": np.zeros((3, 2), np.float32),
            "new": np.zeros(1, np.int8),
        },
    )


def test_a_file_is_the_same_as_itself(capsys: CAPTURE) -> None:
    for path in sorted(FIXTURES.glob("*.ckpt")):
        if not path.name.startswith("enc_"):
            assert diff(path, path) == 0, path
    assert "changed;" in capsys.readouterr().out


def test_every_kind_of_difference_is_found(first: Path, second: Path, capsys: CAPTURE) -> None:
    assert diff(first, second) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"--- {first}"
    assert out[1] == f"+++ {second}"
    assert set(out[2:-1]) == {
        "- gone  Int32 (2,)",
        "~ shaped  Float32 (2, 3) -> Float32 (3, 2)",
        "~ moved  1 of 4 elements changed, max 0.5, mean 0.125, cosine 0.998295",
        "~ wide  Float32 -> Float16; same values",
        "+ new  Int8 (1,)",
    }
    assert out[-1] == "4 entries in both: 1 the same, 3 changed; 1 added, 1 removed"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--include", "moved"), 1),
        (("--include", "moved", "--atol", "0.5"), 0),
        (("--include", "moved", "--atol", "0.4"), 1),
        (("--include", "moved", "--rtol", "0.12"), 0),
        (("--include", "wide"), 1),
        (("--include", "wide", "--ignore-dtype"), 0),
        (("--include", "same"), 0),
        (("--include", "*", "--exclude", "moved", "--exclude", "wide", "--exclude", "shaped"), 1),
    ],
)
def test_tolerances_and_choices_decide_what_counts(
    options: tuple[str, ...], code: int, first: Path, second: Path
) -> None:
    assert diff(first, second, *options) == code


def test_formats_do_not_matter(tmp_path: Path) -> None:
    values = {"b": np.ones(3, np.float32), "a": np.zeros((2, 2), np.int64)}
    one = saved(tmp_path / "x.ckpt", values)
    other = saved(tmp_path / "x.safetensors", values)
    assert diff(one, other) == 0


def test_strings_that_a_conversion_keeps_in_the_metadata_are_compared(tmp_path: Path) -> None:
    one = FIXTURES / "append.ckpt"
    other = tmp_path / "append.safetensors"
    assert main(["convert", str(one), str(other), "--quiet"]) == 0
    assert diff(one, other) == 0
    assert diff(other, one) == 0


def test_an_encrypted_file_is_compared_with_a_plain_one(tmp_path: Path, first: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    key = ("--key-file", str(tmp_path / "key"), "--key-format", "raw")
    sealed = tmp_path / "sealed.ckpt"
    assert main(["encrypt", str(first), str(sealed), *key]) == 0
    assert diff(first, sealed) == 2
    assert diff(first, sealed, *key) == 0


def test_a_name_map_renames_what_stands_in_the_first_file(tmp_path: Path, capsys: CAPTURE) -> None:
    one = saved(tmp_path / "x.ckpt", {"net.fc.w": np.ones(2), "net.fc.b": np.ones(1), "head": np.ones(1)})
    other = saved(tmp_path / "y.ckpt", {"backbone.fc.w": np.ones(2), "backbone.fc.b": np.ones(1), "out": np.ones(1)})
    assert diff(one, other) == 1
    (tmp_path / "map.json").write_text('{"net": "backbone", "head": "out"}')
    assert diff(one, other, "--name-map", tmp_path / "map.json") == 0
    assert "3 the same" in capsys.readouterr().out


def test_a_map_that_changes_values_is_refused(tmp_path: Path, first: Path, capsys: CAPTURE) -> None:
    rules = [{"from": next(iter(ckptload.load_checkpoint(first))), "to": "x", "reshape": "... -> ... 1"}]
    (tmp_path / "map.json").write_text(json.dumps({"format": "ckptload-map", "version": 1, "rules": rules}))
    assert diff(first, first, "--map", tmp_path / "map.json") == 2
    assert "only names can be mapped" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', "\xff"])
def test_a_name_map_that_is_none_is_trouble(content: str, tmp_path: Path, first: Path, capsys: CAPTURE) -> None:
    (tmp_path / "map.json").write_text(content, "latin-1")
    assert diff(first, first, "--name-map", tmp_path / "map.json") == 2
    assert re.search("map.json: (the|a) map ", capsys.readouterr().err)


def test_other_strings_and_maps_differ(tmp_path: Path) -> None:
    table = [np.array([1], np.int32), np.array([[1.0]], np.float32), np.array([0], np.int32)]
    one = saved(tmp_path / "x.ckpt", {"note": "a", "table": table})
    assert diff(one, saved(tmp_path / "y.ckpt", {"note": "b", "table": table})) == 1
    table[1] = np.array([[2.0]], np.float32)
    assert diff(one, saved(tmp_path / "z.ckpt", {"note": "a", "table": table})) == 1


@pytest.mark.parametrize("other", ["no-such-file.ckpt", "README.md", "enc_gcm.ckpt"])
def test_a_file_that_cannot_be_opened_is_trouble(other: str, first: Path, capsys: CAPTURE) -> None:
    for options in ((), ("--json",)):
        assert diff(first, FIXTURES / other, *options) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("ckptload: ")


def test_large_tensors_are_compared_in_pieces(tmp_path: Path, capsys: CAPTURE) -> None:
    values = np.zeros((1, 3_000_000), np.float32)
    one = saved(tmp_path / "x.ckpt", {"w": values})
    values[0, -1] = 2
    other = saved(tmp_path / "y.ckpt", {"w": values.astype(np.float64)})
    assert diff(one, other, "--ignore-dtype") == 1
    assert "1 of 3,000,000 elements changed, max 2," in capsys.readouterr().out


def test_quiet_speaks_by_the_exit_code_alone(first: Path, second: Path, capsys: CAPTURE) -> None:
    assert diff("-q", first, second) == 1
    assert capsys.readouterr() == ("", "")


def test_json_is_valid(first: Path, second: Path, capsys: CAPTURE) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert diff("--json", first, second) == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    by_name = {change["name"]: change for change in found["changes"]}
    assert by_name["moved"]["values"]["max"] == 0.5
    assert by_name["gone"]["change"] == "removed"
    assert not found["same"]


# -- types that are not supported -----------------------------------------------------------------------------


def odd(path: Path, kind: str = "Foo", content: bytes = b"12345", shape: tuple[int, ...] = (2,)) -> Path:
    path.write_bytes(record("w", shape, kind, content) + floats("good", 1.0))
    return path


def test_entries_of_a_type_that_is_not_supported_are_compared_by_their_bytes(tmp_path: Path, capsys: CAPTURE) -> None:
    one = odd(tmp_path / "one.ckpt")
    assert diff(one, one) == 0
    assert "2 entries in both: 2 the same" in capsys.readouterr().out
    for other, words in (
        ({"content": b"12346"}, "Foo (not supported) with another value"),
        ({"content": b"1234"}, "Foo (not supported) with another value"),
        ({"shape": (1,)}, "Foo (2,) -> Foo (1,)"),
        ({"kind": "Bar"}, "Foo -> Bar"),
        ({"kind": "Int8", "content": b"12"}, "Foo (2,) -> Int8 (2,)"),
    ):
        assert diff(one, odd(tmp_path / "other.ckpt", **other)) == 1
        assert words in capsys.readouterr().out


def test_bytes_are_compared_wherever_they_are_cut(tmp_path: Path) -> None:
    """In one file they are slices, and longer than what is read at once."""
    content = bytes(range(256)) * (1 << 16)
    whole = odd(tmp_path / "whole.ckpt", content=content)
    for part in (1, 3 << 20, len(content) - 1):
        sliced = tmp_path / "sliced.ckpt"
        slices = record("w", (2,), "Foo", content[:part]) + record("w", (2,), "Foo", content[part:])
        sliced.write_bytes(slices + floats("good", 1.0))
        assert diff(whole, sliced) == 0
        sliced.write_bytes(slices.replace(b"\xfe\xff", b"\xff\xff", 1) + floats("good", 1.0))
        assert diff(whole, sliced) == 1


def test_only_the_first_differences_are_shown(tmp_path: Path, capsys: CAPTURE) -> None:
    """The last line, the exit code and `same` are about all of them."""
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    ckptload.save_checkpoint({f"w{number}": np.zeros(1) for number in range(5)}, one)
    ckptload.save_checkpoint({f"w{number}": np.ones(1) for number in range(5)}, two)
    assert main(["diff", str(one), str(two), "--limit", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines[2:4]] == ["~ w0", "~ w1"]
    assert lines[4] == "... 3 more differences"
    assert "5 changed" in lines[5]
    assert main(["diff", str(one), str(two), "--limit", "0", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["changes"]) == (False, [])
    assert main(["diff", str(one), str(one), "--limit", "0"]) == 0


def test_a_choice_that_keeps_nothing_is_no_match(capsys: CAPTURE) -> None:
    """What was not compared is not the same."""
    lenet = str(FIXTURES / "lenet5.ckpt")
    assert main(["diff", lenet, lenet, "--include", "conv"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no entry matches 'conv'" in captured.err
    assert "'conv1.weight'" in captured.err
    assert main(["diff", lenet, lenet, "--exclude", "*"]) == 1
