"""`ckptload verify`: what it can tell about a file, and by which exit code."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from ckptload.encryption.encrypting import EncryptingWriter
from cli_program import FIXTURES, KEY, LONG_KEY
from strategies import block, floats, mapping, record, tensor, with_crc

SCHEMA = json.loads((Path(ckptload.__file__).parent / "cli" / "schemas" / "verify.schema.json").read_text("utf-8"))
CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTLOAD_KEY", KEY)
    monkeypatch.setenv("CKPTLOAD_LONG_KEY", LONG_KEY)


def verify(*arguments: object) -> int:
    return main(["verify", *map(str, arguments)])


def with_key(name: str = "CKPTLOAD_KEY") -> tuple[str, ...]:
    return ("--key-env", name, "--key-format", "raw")


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    """Return a valid file with a CRC-32."""
    path = tmp_path / "checked.ckpt"
    ckptload.save_checkpoint({"w": np.arange(4, dtype=np.float32), "s": "text"}, path, crc_check=True)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("code", "name", "options"),
    [
        (0, "plain_2.10.0_crc.ckpt", ()),
        (4, "plain_2.10.0_maptensor_crc.ckpt", ()),
        (4, "crc.safetensors", ()),
        (0, "enc_gcm.ckpt", with_key()),
        (4, "enc_gcm256_blocks.ckpt", with_key("CKPTLOAD_LONG_KEY")),
        (1, "bad_crc.ckpt", ()),
        (1, "enc_gcm.ckpt", with_key("CKPTLOAD_LONG_KEY")),
        (1, "lenet5.ckpt", with_key()),
        (2, "no-such-file.ckpt", ()),
        (2, "lenet5.ckpt", ("--no-such-option",)),
        (2, "enc_gcm.ckpt", ("--key-env", "NO_SUCH_VARIABLE", "--key-format", "hex")),
        (3, "enc_gcm.ckpt", ()),
        (4, "lenet5.ckpt", ()),
        (4, "enc_cbc.ckpt", with_key()),
        (4, "enc_sm4.ckpt", with_key()),
        (4, "types.safetensors", ()),
        (5, "README.md", ()),
        (0, "lenet5.ckpt", ("--allow-unchecked",)),
        (0, "enc_cbc.ckpt", (*with_key(), "--allow-unchecked")),
    ],
)
def test_the_exit_code_says_what_was_found(code: int, name: str, options: tuple[str, ...]) -> None:
    """A plain file where an encrypted one is expected is not valid: anyone can write one without the key."""
    assert verify(FIXTURES / name, *options) == code


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (["plain_2.10.0_crc.ckpt", "lenet5.ckpt"], 4),
        (["lenet5.ckpt", "enc_gcm.ckpt"], 3),
        (["enc_gcm.ckpt", "no-such-file.ckpt"], 2),
        (["no-such-file.ckpt", "bad_crc.ckpt", "enc_gcm.ckpt"], 1),
        (["README.md", "lenet5.ckpt"], 5),
        (["README.md", "enc_gcm.ckpt"], 3),
    ],
)
def test_of_several_files_the_worst_counts(files: list[str], code: int) -> None:
    assert verify(*(FIXTURES / name for name in files)) == code


def test_any_flipped_bit_is_found_in_a_file_with_a_sum(checked: Path) -> None:
    data = checked.read_bytes()
    assert verify(checked) == 0
    for at in range(len(data)):
        checked.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        # A flip that destroys the trailer leaves a file that may have none.
        assert verify(checked) != 0, at


def test_any_cut_is_found_in_a_file_with_a_sum(checked: Path) -> None:
    data = checked.read_bytes()
    for size in range(len(data)):
        checked.write_bytes(data[:size])
        assert verify(checked) != 0, size


def test_every_damaged_entry_is_named(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "damaged.ckpt"
    ckptload.save_checkpoint({name: np.zeros(3, np.float32) for name in ("good", "bad", "worse")}, path)
    data = bytearray(path.read_bytes())
    for name in (b"bad", b"worse"):
        data[data.index(name) + len(name) + 3] = 4
    path.chmod(0o600)
    path.write_bytes(data)
    assert verify(path) == 1
    out = capsys.readouterr().out
    assert "parameter 'bad': Float32 of shape (4,) needs 16 bytes, 12 are present" in out
    assert "parameter 'worse'" in out
    assert "'good'" not in out


def test_damage_in_strings_is_found(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "string.ckpt"
    ckptload.save_checkpoint({"note": "abc"}, path)
    data = path.read_bytes().replace("abc".encode("utf-32-le"), b"\xff" * 12)
    path.chmod(0o600)
    path.write_bytes(data)
    assert verify(path) == 1
    assert "U+10FFFF" in capsys.readouterr().out


def test_a_wrong_sum_and_a_damaged_entry_are_both_reported(checked: Path, capsys: CAPTURE) -> None:
    data = bytearray(checked.read_bytes())
    at = data.index(b"\x08\x04")
    data[at + 1] = 5
    checked.write_bytes(data)
    assert verify(checked) == 1
    out = capsys.readouterr().out
    assert "needs 20 bytes" in out
    assert "CRC-32" in out


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_finite_looks_for_what_is_no_number(value: float, tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "values.ckpt"
    values = {"a": np.ones(3, np.float32), "b": np.array([[1, value]], np.float16)}
    ckptload.save_checkpoint(values, path, crc_check=True)
    assert verify(path) == 0
    assert verify(path, "--finite") == 1
    assert "parameter 'b':" in capsys.readouterr().out


def test_finite_looks_into_maps(tmp_path: Path) -> None:
    path = tmp_path / "map.ckpt"
    table = [np.array([1, 2], np.int32), np.array([[1.0], [np.nan]], np.float32), np.array([0, 0], np.int32)]
    ckptload.save_checkpoint({"table": table}, path)
    assert verify(path, "--allow-unchecked") == 0
    assert verify(path, "--allow-unchecked", "--finite") == 1


def test_quiet_speaks_by_the_exit_code_alone(capsys: CAPTURE) -> None:
    assert verify("--quiet", FIXTURES / "bad_crc.ckpt", FIXTURES / "lenet5.ckpt") == 1
    assert capsys.readouterr() == ("", "")


def test_a_swapped_value_is_no_structure(checked: Path, capsys: CAPTURE) -> None:
    """What a CRC-32 is for: a file whose sum matches is valid, whoever wrote it."""
    data = checked.read_bytes()
    body = data[:-17].replace(np.float32(3).tobytes(), np.float32(4).tobytes())
    checked.write_bytes(body + data[-17:])
    assert verify(checked) == 1
    checked.write_bytes(body + data[-17:-4] + zlib.crc32(body).to_bytes(4, "big"))
    assert verify(checked) == 0
    assert "checked: structure, CRC-32" in capsys.readouterr().out


def test_json_is_valid(capsys: CAPTURE) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    verify("--json", *sorted(FIXTURES.glob("*.ckpt")), *with_key())
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    verdicts = {Path(file["path"]).name: file["verdict"] for file in found["files"]}
    assert verdicts["enc_gcm.ckpt"] == "sound"
    assert verdicts["lenet5.ckpt"] == "damaged"


@pytest.mark.parametrize(("name", "kind", "code"), [("none.ckpt", "unread", 2), ("enc_gcm.ckpt", "encrypted", 3)])
def test_json_says_why_a_file_could_not_be_checked(name: str, kind: str, code: int, capsys: CAPTURE) -> None:
    found = findings(capsys, FIXTURES / name)
    assert (found["verdict"], found["code"]) == ("not checked", code)
    assert [(finding["kind"], finding["note"]) for finding in found["findings"]] == [(kind, False)]


# -- damaged, missing, of another kind ------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Return the index of four tensors in three shards."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    places = {"a": "one", "b": "two", "c": "two", "d": "three"}
    for file in ("one", "two", "three"):
        tensors = {name: np.ones(2, np.float32) for name, place in places.items() if place == file}
        save_file(tensors, tmp_path / f"{file}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: f"{place}.safetensors" for name, place in places.items()}}))
    return index


def findings(capsys: CAPTURE, *arguments: object) -> dict[str, Any]:
    verify("--json", *arguments)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    pytest.importorskip("jsonschema").validate(found, SCHEMA)
    only: dict[str, Any] = found["files"][0]
    return only


def test_missing_shards_are_one_finding_and_the_others_are_checked(shards: Path, capsys: CAPTURE) -> None:
    for name in ("one", "two"):
        shards.with_name(f"{name}.safetensors").unlink()
    assert verify(shards) == 6
    out = capsys.readouterr().out
    assert "MISSING FILES" in out
    assert "damaged" not in out.lower()
    assert out.count("2 of the 3 files of the index are missing: 'one.safetensors', 'two.safetensors'") == 1
    found = findings(capsys, shards)
    assert (found["verdict"], found["code"], found["entries"]) == ("missing", 6, 4)
    assert [finding["kind"] for finding in found["findings"]] == ["missing"]


def test_damage_in_another_shard_is_found_beside_a_missing_one(shards: Path, capsys: CAPTURE) -> None:
    shards.with_name("one.safetensors").unlink()
    two = shards.with_name("two.safetensors")
    two.write_bytes(two.read_bytes()[:-1])
    assert verify(shards) == 1
    capsys.readouterr()
    found = findings(capsys, shards)
    assert [finding["kind"] for finding in found["findings"]] == ["missing", "damaged"]


def test_inspect_lists_what_is_there_and_says_once_what_is_missing(shards: Path, capsys: CAPTURE) -> None:
    shards.with_name("two.safetensors").unlink()
    assert main(["inspect", str(shards)]) == 6
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines() if line[:2] in ("a ", "b ", "c ", "d ")] == [
        "Float32", "missing", "missing", "Float32",
    ]  # fmt: skip
    assert err.count("is missing") == 1


def test_a_file_of_another_kind_is_named_and_not_called_damaged(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert verify(path) == 5
    out = capsys.readouterr().out
    assert "ANOTHER KIND OF FILE" in out
    assert "HDF5" in out
    found = findings(capsys, path)
    assert (found["verdict"], found["code"]) == ("other kind", 5)
    assert [finding["kind"] for finding in found["findings"]] == ["other kind"]


# -- an index, and a name -----------------------------------------------------------------------------------


def test_what_does_not_fit_between_an_index_and_its_shards_is_damage(shards: Path, capsys: CAPTURE) -> None:
    index = json.loads(shards.read_text())
    assert verify(shards) == 4
    del index["weight_map"]["b"]
    shards.write_text(json.dumps(index | {"metadata": {"total_size": 9}}))
    assert verify(shards) == 1
    capsys.readouterr()
    found = findings(capsys, shards)
    assert [finding["kind"] for finding in found["findings"]] == ["damaged", "damaged"]
    assert "does not list 1 tensor in 'two.safetensors'" in found["findings"][0]["problem"]
    assert "9 bytes (total_size), they have 24" in found["findings"][1]["problem"]


def test_a_sha_256_in_the_name_vouches_for_a_file(tmp_path: Path, capsys: CAPTURE) -> None:
    content = (FIXTURES / "lenet5.ckpt").read_bytes()
    path = tmp_path / f"lenet5-{hashlib.sha256(content).hexdigest()[:8]}.ckpt"
    path.write_bytes(content)
    assert verify(path) == 0
    assert "checked: structure, SHA-256 in the name" in capsys.readouterr().out
    path.write_bytes(content[:-1] + b"x")
    found = findings(capsys, path)
    assert (found["verdict"], found["code"]) == ("damaged", 1)
    assert "the name says that the file's SHA-256 begins with" in found["findings"][0]["problem"]


def test_a_missing_shard_with_a_sha_256_in_its_name_is_missing(shards: Path, capsys: CAPTURE) -> None:
    index = json.loads(shards.read_text())
    index["weight_map"]["a"] = "one-1a2b3c4d.safetensors"
    shards.write_text(json.dumps(index))
    assert verify(shards) == 6
    capsys.readouterr()
    assert [finding["kind"] for finding in findings(capsys, shards)["findings"]] == ["missing"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors.index.json", b'{"weight_map": {}}'),
        ("model.safetensors.index.json", b'{"metadata": {"total_size": 0}, "weight_map": {}}'),
        ("model.safetensors", b"\x02" + bytes(7) + b"{}"),
        ("model.safetensors", b"\x20" + bytes(7) + b'{"__metadata__":{"crc_num":"0"}}'),
    ],
)
def test_what_holds_no_entries_is_never_valid(name: str, content: bytes, tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert verify(path, "--allow-unchecked") == 1
    assert "no entries" in capsys.readouterr().out


# -- what is covered ----------------------------------------------------------------------------------------


LEFT_OUT = mapping("m", tensor((1,), "int8", b"x"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (floats("a", 1.0) + LEFT_OUT, "'m'"),
        (LEFT_OUT + floats("a", 1.0), "'m'"),
        (floats("a", 1.0) + LEFT_OUT + mapping("evil", tensor((1,), "int8", b"x")), "'m', 'evil'"),
    ],
)
def test_what_a_sum_leaves_out_is_listed_and_not_valid(
    body: bytes, words: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(with_crc(body, zlib.crc32(floats("a", 1.0))))
    assert verify(path) == 4
    out = capsys.readouterr().out
    assert "verified in part (" in out
    assert "checked: structure, CRC-32" in out
    assert f"may have changed: {words}" in out
    assert "hint: compare the file's SHA-256 with one that you trust; or" in out
    found = findings(capsys, path)
    assert (found["verdict"], found["code"]) == ("unchecked", 4)
    gaps = found["coverage"].pop("gaps")
    assert found["coverage"] == {"bytes": False, "entries": False, "order": False, "completeness": False}
    assert words in gaps[0]
    assert verify(path, "--allow-unchecked") == 0
    assert "not covered: " in capsys.readouterr().out


def test_a_map_that_replaces_a_value_of_the_sum_is_damage(tmp_path: Path, capsys: CAPTURE) -> None:
    """No MindSpore writes a name twice, and nothing vouches for the second."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(with_crc(floats("m", 1.0) + LEFT_OUT, zlib.crc32(floats("m", 1.0))))
    assert verify(path) == 1
    out = capsys.readouterr().out
    assert "another value of a name" in out
    assert "1 of these maps replaces a value of the same name, which the CRC-32 covers: 'm'" in out


def test_blocks_cut_at_their_border_are_not_valid(tmp_path: Path, capsys: CAPTURE) -> None:
    """All tags match, and what is left is a checkpoint."""
    path = tmp_path / "a.ckpt"
    first = floats("a", 1.0)
    for kept in (3, 2):
        with path.open("wb") as file:
            writer = EncryptingWriter(file, KEY.encode(), "AES-GCM", block_size=len(first))
            writer.write(b"".join([first, floats("b", 2.0), floats("c", 3.0)][:kept]))
            writer.finish()
        assert verify(path, *with_key()) == 4
        out = capsys.readouterr().out
        assert f"the tags do not cover how many blocks there are, here {kept}" in out
        assert "--crc" not in out


def test_a_sound_file_is_covered_and_has_no_gaps(checked: Path, capsys: CAPTURE) -> None:
    every = dict.fromkeys(("bytes", "entries", "order", "completeness"), True)
    assert findings(capsys, checked)["coverage"] == {**every, "gaps": []}
    assert findings(capsys, FIXTURES / "lenet5.ckpt")["coverage"] == {**dict.fromkeys(every, False), "gaps": []}


def test_a_safetensors_file_is_valid_if_a_conversion_wrote_its_sum(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "a.safetensors"
    assert verify(FIXTURES / "crc.safetensors") == 4
    assert "not covered: the CRC-32 leaves out dtypes and shapes" in capsys.readouterr().out
    assert main(["convert", str(FIXTURES / "crc.safetensors"), str(path), "--crc"]) == 0
    assert verify(path) == 0
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"', 1))
    assert verify(path) == 1


def test_a_date_in_the_name_is_no_sha_256(tmp_path: Path) -> None:
    path = tmp_path / "lenet5-20240101.ckpt"
    path.write_bytes((FIXTURES / "lenet5.ckpt").read_bytes())
    assert verify(path) == 4


# -- types that are not supported, and fields that no MindSpore writes ------------------------------------------


def test_types_that_are_not_supported_are_one_note_and_no_damage(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "types.ckpt"
    data = b"".join(record(f"w{number}", (1,), "Foo", b"1") for number in range(100)) + floats("good", 1.0)
    path.write_bytes(data)
    assert verify(path) == 4
    out = capsys.readouterr().out
    assert out.count("not supported: type 'Foo' of 100 entries: 'w0', ") == 1
    assert "damaged" not in out.lower()
    found = findings(capsys, path)
    assert (found["verdict"], found["code"], found["entries"]) == ("unchecked", 4, 101)
    assert [(finding["kind"], finding["note"]) for finding in found["findings"]] == [("unsupported", True)]
    path.write_bytes(with_crc(data))
    assert verify(path) == 0


def test_damage_beside_a_type_that_is_not_supported_is_damage(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "types.ckpt"
    path.write_bytes(record("w", (1,), "Foo", b"1") + record("bad", (2,), "Int8", b"1"))
    found = findings(capsys, path)
    assert (found["verdict"], found["code"]) == ("damaged", 1)
    assert [finding["kind"] for finding in found["findings"]] == ["damaged", "unsupported"]


LENGTH = len(floats("a", 1.0))
STRANGER = floats("a", 1.0) + block(2, floats("b", 2.0))


def test_a_field_that_no_mindspore_writes_is_a_finding(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "foreign.ckpt"
    path.write_bytes(STRANGER)
    assert verify(path) == 1
    out, err = capsys.readouterr()
    assert (
        f"1 field of {LENGTH + 2} bytes that no version of MindSpore writes: field 2 of wire type 2 at byte {LENGTH}"
        in out
    )
    assert err == ""
    found = findings(capsys, path)
    assert (found["verdict"], found["code"]) == ("damaged", 1)
    assert [(finding["kind"], finding["note"]) for finding in found["findings"]] == [("foreign field", False)]


def test_a_field_for_which_a_sum_or_a_tag_vouches_is_a_note(tmp_path: Path, capsys: CAPTURE) -> None:
    """The writer wrote it; what it means is not known."""
    summed = tmp_path / "foreign.ckpt"
    summed.write_bytes(with_crc(STRANGER))
    sealed = tmp_path / "sealed.ckpt"
    with sealed.open("wb") as file:
        writer = EncryptingWriter(file, KEY.encode(), "AES-GCM")
        writer.write(STRANGER)
        writer.finish()
    for path, more in ((summed, ()), (sealed, with_key())):
        assert verify(path, *more) == 0
        out = capsys.readouterr().out
        assert "note: 1 field of" in out
        assert "compare its entries" in out
        assert "fetch" not in out
        found = findings(capsys, path, *more)
        assert [(finding["kind"], finding["note"]) for finding in found["findings"]] == [("foreign field", True)]


def test_a_field_beside_a_wrong_sum_is_a_finding(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "foreign.ckpt"
    path.write_bytes(with_crc(STRANGER, crc=1))
    assert [finding["note"] for finding in findings(capsys, path)["findings"]] == [False, False]
