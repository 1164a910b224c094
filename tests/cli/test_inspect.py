"""`ckptload inspect`: what it lists, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from ckptload.cli import globs, text
from ckptload.shown import human_count
from cli_program import FIXTURES, KEY, LONG_KEY, on_terminal, run
from strategies import block, floats, record

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = json.loads((Path(ckptload.__file__).parent / "cli" / "schemas" / "inspect.schema.json").read_text("utf-8"))
CAPTURE = pytest.CaptureFixture[str]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")


def inspect(*arguments: object) -> int:
    return main(["inspect", *map(str, arguments)])


def inspect_json(capsys: CAPTURE, *arguments: object) -> dict[str, Any]:
    """Return the output of --json, which is valid."""
    inspect("--json", *arguments)
    data: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)
    return data


def names(out: str) -> list[str]:
    """Return the first column of the table."""
    lines = out.split("\n\n")[1].splitlines()
    return [line.split("  ")[0] for line in lines[1:]]


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """Return a file of which size, name and dtype give different orders."""
    path = tmp_path / "sizes.ckpt"
    values = {
        "layer.10.weight": np.zeros(4, np.float32),
        "layer.2.weight": np.zeros(8, np.float16),
        "layer.1": np.zeros(5, np.int8),
        "a.bias": np.zeros(2, np.float32),
    }
    ckptload.save_checkpoint(values, path)
    return path


# -- for people -------------------------------------------------------------------------------------------


def test_entries_are_listed_in_the_order_of_the_file(capsys: CAPTURE) -> None:
    assert inspect(FIXTURES / "lenet5.ckpt") == 0
    out = capsys.readouterr().out
    with ckptload.open_checkpoint(FIXTURES / "lenet5.ckpt") as reader:
        assert names(out) == list(reader)
    assert re.search(r"^fc1\.weight +Float32 +\(120, 400\) +192,000 +77\.8%$", out, re.MULTILINE)
    assert out.splitlines()[-1] == "8 entries, 61.7K parameters, 241.0 KiB (246,736 bytes)"


def test_the_total_tells_state_of_optimizers_from_parameters(capsys: CAPTURE) -> None:
    """By the names of the entries, which for the state of a parameter begin with that of the state."""
    inspect(FIXTURES / "adam.ckpt")
    total = next(line for line in capsys.readouterr().out.splitlines() if "parameter" in line)
    with ckptload.open_checkpoint(FIXTURES / "adam.ckpt") as reader:
        sizes = {name: reader.info(name).nbytes // 4 for name in reader if reader.info(name).kind == "tensor"}
    state = sum(size for name, size in sizes.items() if name.startswith(("moment1.", "moment2.")))
    assert f"{human_count(state)} elements of optimizer state" in total
    total_of_json = inspect_json(capsys, FIXTURES / "adam.ckpt")["files"][0]["total"]
    assert total_of_json["optimizer_elements"] == state
    assert 0 < state < total_of_json["elements"]


def test_each_dtype_has_its_sums(sizes: Path, capsys: CAPTURE) -> None:
    inspect(sizes)
    table = [line.split() for line in capsys.readouterr().out.rpartition("\n\n")[2].splitlines()]
    assert table[1:] == [
        ["DTYPE", "ENTRIES", "ELEMENTS", "SIZE"],
        ["Float32", "2", "6", "24", "B"],
        ["Float16", "1", "8", "16", "B"],
        ["Int8", "1", "5", "5", "B"],
    ]
    by_type = inspect_json(capsys, sizes)["files"][0]["total"]["by_type"]
    assert by_type["Float16"] == {"entries": 1, "elements": 8, "bytes": 16}


@pytest.mark.parametrize(("limit", "expected"), [(0, []), (2, ["layer.10.weight", "layer.2.weight"]), (9, None)])
def test_only_the_first_rows_are_shown(limit: int, expected: list[str] | None, sizes: Path, capsys: CAPTURE) -> None:
    """The total is that of all, and so are sums by dtype."""
    inspect(sizes, "--sort", "size", "--limit", limit)
    out = capsys.readouterr().out
    assert "4 entries, 19 parameters, 45 bytes" in out
    if expected is None:
        assert "more entr" not in out
    else:
        assert names(out) == [*expected, f"... {4 - limit} more entries"]
    found = inspect_json(capsys, sizes, "--limit", limit)["files"][0]
    assert (len(found["entries"]), found["total"]["entries"]) == (min(limit, 4), 4)


def test_statistics_are_those_of_the_rows_that_are_shown(sizes: Path, capsys: CAPTURE) -> None:
    inspect(sizes, "--stats", "--limit", 1)
    assert re.search(r"^layer\.10\.weight .* 4\n\.\.\. 3 more entries$", capsys.readouterr().out, re.MULTILINE)


def test_only_the_first_lines_of_a_tree_are_shown(sizes: Path, capsys: CAPTURE) -> None:
    inspect(sizes, "--tree", "--limit", 2)
    out = capsys.readouterr().out
    assert names(out)[-1] == "... 6 more lines"
    assert names(out)[0] == "layer"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("size", ["layer.10.weight", "layer.2.weight", "a.bias", "layer.1"]),
        ("name", ["a.bias", "layer.1", "layer.2.weight", "layer.10.weight"]),
        ("dtype,name", ["layer.2.weight", "a.bias", "layer.10.weight", "layer.1"]),
    ],
)
def test_entries_are_sorted_by_the_keys_that_are_given(
    keys: str, expected: list[str], sizes: Path, capsys: CAPTURE
) -> None:
    """The largest comes first, and numbers in names count as numbers."""
    inspect(sizes, "--sort", keys)
    assert names(capsys.readouterr().out) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.weight", ["layer.10.weight", "layer.2.weight"]),
        ("layer.1", ["layer.1"]),
        ("layer", ["layer.10.weight", "layer.2.weight", "layer.1"]),
        ("layer.?", ["layer.1"]),
        ("A.b*", []),
        ("a.BIAS", []),
        ("[a]*", ["a.bias"]),
    ],
)
def test_a_filter_is_a_pattern_or_the_beginning_of_a_path(
    pattern: str, expected: list[str], sizes: Path, capsys: CAPTURE
) -> None:
    assert inspect(sizes, "--filter", pattern) == (0 if expected else 1)
    out = capsys.readouterr().out
    if expected:
        assert names(out) == expected
        assert f"{len(expected)} of 4 entries" in out


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.weight", "Conv.Weight", True),
        ("conv", "Conv.weight", True),
        ("conv", "conv1.weight", False),
        ("*.Weight", "conv.weight", False),
        ("Conv", "conv.weight", False),
        ("Conv", "Conv.weight", True),
        ("[c]onv*", "CONV", True),
    ],
)
def test_a_pattern_without_capitals_ignores_case(pattern: str, name: str, expected: bool) -> None:
    assert globs.matcher([pattern])(name) is expected
    assert globs.matcher(["other", pattern])(name) is expected
    assert globs.chooser([], [pattern])(name) is not expected


def test_a_filter_that_keeps_nothing_says_so(sizes: Path, capsys: CAPTURE) -> None:
    """In all files; the hint names what looks like it."""
    assert inspect(sizes, "--filter", "Layer*") == 1
    err = capsys.readouterr().err
    assert "no entry matches 'Layer*'" in err
    assert "the nearest names are 'layer.10.weight', 'layer.2.weight', 'layer.1'" in err
    assert inspect(sizes, FIXTURES / "lenet5.ckpt", "--filter", "conv1") == 0


def test_a_tree_has_subtotals(sizes: Path, capsys: CAPTURE) -> None:
    inspect(sizes, "--tree", "--sort", "name")
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    cells = [re.split(r" {2,}", line.strip()) for line in table[1:]]
    assert cells[0] == ["a", "1", "8", "17.8%"]
    assert cells[2] == ["layer", "3", "37", "82.2%"]
    inner = [line.lstrip("├─└│ ").split()[0] for line in table[4:]]
    assert inner == ["1", "2", "weight", "10", "weight"]


def test_a_tree_ends_at_the_depth_that_is_given(sizes: Path, capsys: CAPTURE) -> None:
    inspect(sizes, "--tree", "--depth", "1")
    assert names(capsys.readouterr().out) == ["layer", "a"]


def test_scalars_and_short_strings_are_shown_with_their_values(capsys: CAPTURE) -> None:
    inspect(FIXTURES / "append.ckpt")
    out = capsys.readouterr().out
    for value in ("12", "9223372036854775808", "0.1", "True", "'plain text'", "''"):
        assert re.search(rf"  {re.escape(value)}$", out, re.MULTILINE), value


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system has no preadv")
def test_only_the_index_and_short_values_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither tensors nor long strings, though what is read at once may reach into them."""
    path = tmp_path / "x.ckpt"
    values = {"w": np.ones(1 << 20, np.float32), "long": "x" * 50_000, "step": 3, "short": "a note", "end": np.ones(1)}
    ckptload.save_checkpoint(values, path)
    read: list[int] = []
    pread, preadv = os.pread, os.preadv

    def one(fd: int, size: int, at: int) -> bytes:
        read.append(size)
        return pread(fd, size, at)

    def several(fd: int, outs: list[memoryview], at: int) -> int:
        read.append(sum(map(len, outs)))
        return preadv(fd, outs, at)

    monkeypatch.setattr(os, "pread", one)
    monkeypatch.setattr(os, "preadv", several)
    assert inspect(path) == 0
    assert 0 < sum(read) < 40_000


def test_several_files_and_folders_are_listed_one_after_the_other(tmp_path: Path, sizes: Path, capsys: CAPTURE) -> None:
    ckptload.save_checkpoint({"w": np.zeros(1, np.float32)}, tmp_path / "b.safetensors", format="safetensors")
    (tmp_path / "notes.txt").write_text("no checkpoint")
    assert inspect(tmp_path, FIXTURES / "cell.ckpt") == 0
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("/")]
    assert found == [str(tmp_path / "b.safetensors"), str(sizes), str(FIXTURES / "cell.ckpt")]


def test_the_shards_of_an_index_are_not_listed_once_more(tmp_path: Path, capsys: CAPTURE) -> None:
    assert main(["convert", "-q", str(FIXTURES / "lenet5.ckpt"), str(tmp_path / "s"), "--shard-size", "100KB"]) == 0
    assert len(list((tmp_path / "s").iterdir())) > 2
    assert inspect(tmp_path / "s") == 0
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("/")]
    assert found == [str(tmp_path / "s" / "model.safetensors.index.json")]


def test_an_index_in_a_folder_is_known_by_its_content(tmp_path: Path, capsys: CAPTURE) -> None:
    for name in ("part0", "hyper_param", "other"):
        save = {"w": np.zeros(1, np.float32)}
        ckptload.save_checkpoint(save, tmp_path / f"{name}.safetensors", format="safetensors")
    (tmp_path / "param_name_map.json").write_text('{"weight_map": {"w": "part0.safetensors"}}')
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"w": "x.bin"}}')
    assert inspect(tmp_path) == 0
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("/")]
    assert [Path(line).name for line in found] == [
        "hyper_param.safetensors",
        "other.safetensors",
        "param_name_map.json",
    ]
    (tmp_path / "model.safetensors.index.json").write_text("{")
    assert inspect(tmp_path) == 1
    assert "not an index of shards" in capsys.readouterr().err


def test_a_folder_without_checkpoints_is_an_error(tmp_path: Path, capsys: CAPTURE) -> None:
    assert inspect(tmp_path) == 2
    assert "this directory does not have a checkpoint" in capsys.readouterr().err


def test_one_bad_file_among_several_stops_no_other(capsys: CAPTURE) -> None:
    assert inspect(FIXTURES / "README.md", FIXTURES / "lenet5.ckpt", FIXTURES / "enc_gcm.ckpt") == 3
    out, err = capsys.readouterr()
    assert "8 entries" in out
    complaints = [line for line in err.splitlines() if line.startswith("ckptload: ")]
    assert len(complaints) == 2
    assert "README.md" in complaints[0]
    assert "enc_gcm.ckpt" in complaints[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plain_2.10.0_crc", "with CRC-32, written by MindSpore 2.3 or newer"),
        ("plain_2.0.0_random_op", "written by MindSpore 2.0 to 2.2"),
        ("lenet5", "no CRC-32"),
    ],
)
def test_the_first_lines_say_what_the_file_is(name: str, said: str, capsys: CAPTURE) -> None:
    inspect(FIXTURES / f"{name}.ckpt")
    assert said in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [
        ("enc_gcm", KEY, "encrypted with AES-GCM,"),
        ("enc_gcm256_blocks", LONG_KEY, "encrypted with AES-GCM,"),
        ("enc_cbc", KEY, "encrypted with AES-CBC (not authenticated)"),
        ("enc_sm4", KEY, "encrypted with SM4-CBC (not authenticated)"),
    ],
)
def test_an_encrypted_file_needs_its_key_and_tells_its_mode(
    name: str, key: str, said: str, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKPTLOAD_TEST_KEY", key)
    path = FIXTURES / f"{name}.ckpt"
    assert inspect(path) == 3
    assert inspect(path, "--key-env", "CKPTLOAD_TEST_KEY", "--key-format", "raw") == 0
    out, err = capsys.readouterr()
    assert said in out
    assert key not in out + err


def test_damaged_entries_are_listed_beside_the_others(capsys: CAPTURE, damaged: Path) -> None:
    assert inspect(damaged) == 1
    out, err = capsys.readouterr()
    assert names(out) == ["good", "bad", "worse"]
    assert err.count("ckptload: ") == 2
    assert "parameter 'bad'" in err
    assert "parameter 'worse'" in err


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a file with a valid entry and two whose sizes do not fit their shapes."""
    path = tmp_path / "damaged.ckpt"
    values = {name: np.zeros(3, np.float32) for name in ("good", "bad", "worse")}
    ckptload.save_checkpoint(values, path)
    data = bytearray(path.read_bytes())
    for name in (b"bad", b"worse"):
        # The dims stand right behind the name: field 2 of the record, its length, 08, the dim.
        at = data.index(name) + len(name)
        assert data[at + 2 : at + 4] == b"\x08\x03"
        data[at + 3] = 4
    path.chmod(0o600)
    path.write_bytes(data)
    return path


# -- statistics -------------------------------------------------------------------------------------------


def test_statistics_are_shown_and_exact(tmp_path: Path, capsys: CAPTURE) -> None:
    values = np.array([1.0, -2.0, 0.0, np.nan, np.inf, -np.inf, 3.0], np.float32)
    ckptload.save_checkpoint({"w": values, "z": np.zeros(4, np.float16)}, tmp_path / "s.ckpt")
    first, second = inspect_json(capsys, tmp_path / "s.ckpt", "--stats")["files"][0]["entries"]
    assert first["stats"] == {
        "min": -2.0,
        "max": 3.0,
        "mean": 0.5,
        "std": pytest.approx(np.array([1.0, -2.0, 0.0, 3.0]).std()),
        "nan": 1,
        "inf": 2,
        "zeros": 1,
        "dead": False,
        "constant": False,
    }
    assert second["stats"]["dead"]
    inspect(tmp_path / "s.ckpt", "--stats")
    assert re.search(r"^w +Float32 +\(7,\) +28 +-2 +3 +0\.5 +1\.803 +1 +2 +1$", capsys.readouterr().out, re.MULTILINE)


def test_large_tensors_are_measured_in_pieces(tmp_path: Path, capsys: CAPTURE) -> None:
    """One row that is larger than a piece, so that rows cannot be what is read at a time."""
    values = np.random.default_rng(0).standard_normal((1, 5_000_000)).astype(np.float32)
    ckptload.save_checkpoint({"w": values}, tmp_path / "w.ckpt")
    found = inspect_json(capsys, tmp_path / "w.ckpt", "--stats")["files"][0]["entries"][0]["stats"]
    assert (found["min"], found["max"]) == (values.min(), values.max())
    assert found["mean"] == pytest.approx(values.mean(dtype=np.float64))
    assert found["std"] == pytest.approx(values.std(dtype=np.float64))


# -- for programs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.ckpt")), ids=lambda path: path.stem)
def test_json_is_valid_for_every_fixture(path: Path, capsys: CAPTURE) -> None:
    data = inspect_json(capsys, path, "--stats", "--tree")
    if "error" in data["files"][0]:
        assert path.name.startswith("enc_")
        return
    with ckptload.open_checkpoint(path) as reader:
        assert [entry["name"] for entry in data["files"][0]["entries"]] == list(reader)
        for entry in data["files"][0]["entries"]:
            info = reader.info(entry["name"])
            assert (entry["kind"], entry["bytes"], tuple(entry["shape"])) == (info.kind, info.nbytes, info.shape)


@pytest.mark.parametrize(
    ("name", "versions", "evidence"),
    [
        ("plain_2.0.0_random_op", "MindSpore 2.0 to 2.2", ["a random_op record"]),
        ("plain_2.10.0_crc", "MindSpore 2.3 or newer", None),
    ],
)
def test_json_lists_the_features_that_tell_the_version(
    name: str, versions: str, evidence: list[str] | None, capsys: CAPTURE
) -> None:
    found = inspect_json(capsys, FIXTURES / f"{name}.ckpt")["files"][0]
    assert found["written_by"] == versions
    assert found["evidence"] == evidence if evidence else "CRC" in " ".join(found["evidence"])


def test_json_says_what_is_damaged(capsys: CAPTURE, damaged: Path) -> None:
    data = inspect_json(capsys, damaged, "no such file")
    kinds = [entry["kind"] for entry in data["files"][0]["entries"]]
    assert kinds == ["tensor", "damaged", "damaged"]
    assert data["files"][1]["error"]["type"] == "MissingFileError"
    assert data["files"][1]["error"]["kind"] == "unread"


def test_json_of_numbers_that_json_does_not_have_is_null(tmp_path: Path, capsys: CAPTURE) -> None:
    ckptload.save_checkpoint({"n": np.array(np.nan), "i": np.array([np.inf, 1.0])}, tmp_path / "n.ckpt")
    entries = inspect_json(capsys, tmp_path / "n.ckpt", "--stats")["files"][0]["entries"]
    assert entries[0]["value"] is None
    assert entries[0]["stats"]["mean"] is None
    assert entries[1]["stats"]["max"] == 1.0


# -- terminals --------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("columns", [30, *(pytest.param(columns, marks=pytest.mark.slow) for columns in (60, 100))])
@pytest.mark.parametrize(
    "options", [(), *(pytest.param((option,), marks=pytest.mark.slow) for option in ("--tree", "--stats"))]
)
def test_no_line_of_the_table_is_wider_than_the_terminal(
    columns: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "names.ckpt"
    long = "backbone.encoder.layers.11.attention.query_key_value.weight"
    values = {long: np.zeros((3, 4), np.float32), "模型.权重": np.zeros(2, np.float32), "b": np.zeros(1, np.int8)}
    ckptload.save_checkpoint(values, path)
    out = on_terminal(path, *options, "--color", "never", columns=columns, LC_ALL="C.UTF-8").out
    table = out.split("\n\n")[1].splitlines()
    assert len(table) >= 4
    assert max(map(text.width, table)) <= columns


@POSIX
def test_a_pipe_gets_whole_names() -> None:
    done = run(FIXTURES / "adam.ckpt", COLUMNS="30")
    assert "moment1.head.0.weight" in done.out


def test_long_metadata_and_types_are_cut_but_not_in_json(tmp_path: Path, capsys: CAPTURE) -> None:
    path, odd = tmp_path / "x.safetensors", tmp_path / "odd.ckpt"
    save_file({"w": np.zeros(1, np.float32)}, path, {"about": "m" * 500})
    odd.write_bytes(record("w", (), "T" * 100, b""))
    for file, text_of_it, kept in ((path, "m" * 500, 200 - len("about: ...")), (odd, "T" * 100, 32 - len("..."))):
        inspect(file)
        out = capsys.readouterr().out
        assert text_of_it[:kept] + "..." in out
        assert text_of_it[: kept + 1] not in out.partition("not supported")[0]
        assert text_of_it in json.dumps(inspect_json(capsys, file))


def test_names_sort_as_people_do() -> None:
    assert sorted(["l.10", "l.9", "l", "k.1"], key=globs.natural) == ["k.1", "l", "l.9", "l.10"]
    # What has zeros in front is the same number.
    assert sorted(["a.010", "a.2", "a.02.c", "a.0", "a.00.b", "2", "a"], key=globs.natural) == (
        ["2", "a", "a.0", "a.00.b", "a.2", "a.02.c", "a.010"]
    )


def test_a_number_may_have_any_number_of_digits() -> None:
    """Python refuses to make an integer of more than 4300."""
    names = [f"l.{digits}.w" for digits in ("9" * 6000, "1" + "0" * 6000, "0" * 9000 + "3", "12")]
    assert sorted(names, key=globs.natural) == [names[2], names[3], names[0], names[1]]


def test_a_file_whose_names_have_thousands_of_digits_is_listed(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"".join(floats(f"l.{'1' * size}", 1) for size in (5000, 1, 2)))
    # MindSpore's limit on names is told, and the rest is listed in its order.
    assert main(["inspect", "--sort", "name", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "5002 characters" in err
    assert out.index("l.1 ") < out.index("l.11 ")


def test_a_name_with_thousands_of_dots_makes_no_deep_tree(tmp_path: Path, capsys: CAPTURE) -> None:
    ckptload.save_checkpoint({"." * 1000: np.zeros(1), ".".join("ab" * 200): np.zeros(1)}, tmp_path / "d.ckpt")
    assert inspect(tmp_path / "d.ckpt", "--tree") == 0
    capsys.readouterr()
    inspect_json(capsys, tmp_path / "d.ckpt", "--tree")


# -- types that are not supported, and fields that no MindSpore writes ------------------------------------------


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return a file with two entries of types that are not supported, and a field that no MindSpore writes."""
    path = tmp_path / "odd.ckpt"
    path.write_bytes(
        record("w", (2, 3), "torch.float32", bytes(24)) + record("v", (4,), "F4", b"12")
        + floats("good", 1.0) + block(2, floats("lost", 2.0))
    )  # fmt: skip
    return path


def test_entries_of_types_that_are_not_supported_are_listed(odd: Path, capsys: CAPTURE) -> None:
    assert inspect(odd) == 0
    out, err = capsys.readouterr()
    cells = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line[:1] in "wvg" and line}
    assert cells["w"][:4] == ["torch.float32", "(2,", "3)", "24"]
    assert cells["v"][:3] == ["F4", "(4,)", "2"]
    assert "not supported: type 'torch.float32' of 1 entry: 'w'; type 'F4' of 1 entry: 'v'" in out
    assert "1 field of " in out
    assert err == ""
    data = inspect_json(capsys, odd)["files"][0]
    assert [(entry["kind"], entry["dtype"]) for entry in data["entries"]] == [
        ("unsupported", "torch.float32"), ("unsupported", "F4"), ("tensor", "Float32"),
    ]  # fmt: skip
    assert (data["foreign"]["number"], data["foreign"]["first"][0]["what"]) == (1, "field 2 of wire type 2")


@pytest.mark.parametrize("options", [("--stats",), ("--tree",), ("--sort", "dtype")])
def test_every_view_shows_types_that_are_not_supported(odd: Path, options: tuple[str, ...], capsys: CAPTURE) -> None:
    assert inspect(odd, *options) == 0
    assert "torch.float32" in capsys.readouterr().out


def test_the_name_of_a_type_is_shortened_and_cannot_steer_the_terminal(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "odd.ckpt"
    path.write_bytes(record("w", (), "T" * 200, b"") + record("v", (), "\u202eF", b""))
    assert inspect(path) == 1
    out, err = capsys.readouterr()
    assert "T" * 29 + "..." in out
    assert "\u202e" not in out + err
