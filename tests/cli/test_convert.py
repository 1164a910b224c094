"""`ckptload convert`, `encrypt` and `decrypt`, and where their keys come from."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from ckptload.encryption.encrypting import EncryptingWriter
from cli_program import FIXTURES, KEY, on_terminal
from strategies import block, floats, record

CAPTURE = pytest.CaptureFixture[str]
HEX = KEY.encode().hex()
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")


def ckpt(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def same(first: Path, second: Path, *options: object) -> bool:
    return ckpt("diff", "-q", first, second, *options) == 0


@pytest.fixture
def raw(tmp_path: Path) -> tuple[str, ...]:
    """Return the options for a key in a file."""
    (tmp_path / "key.raw").write_bytes(KEY.encode())
    return ("--key-file", str(tmp_path / "key.raw"), "--key-format", "raw")


# -- convert ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.ckpt", "out.safetensors"])
@pytest.mark.parametrize("fixture", ["lenet5.ckpt", "append.ckpt", "dtypes.ckpt", "sliced.ckpt"])
def test_the_suffix_says_the_format(name: str, fixture: str, tmp_path: Path) -> None:
    # safetensors has no such types.
    options = ("--exclude", "complex128", "--exclude", "hifloat8") if fixture == "dtypes.ckpt" else ()
    assert ckpt("convert", FIXTURES / fixture, tmp_path / name, *options) == 0
    assert same(FIXTURES / fixture, tmp_path / name, *options)
    with ckptload.open_checkpoint(tmp_path / name) as reader:
        assert reader.format == name.removeprefix("out.")


def test_npz_and_shards(tmp_path: Path) -> None:
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path / "out.npz") == 0
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["fc1.weight"].shape == (120, 400)
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path / "shards", "--shard-size", "100KB") == 0
    index = tmp_path / "shards" / "model.safetensors.index.json"
    assert same(FIXTURES / "lenet5.ckpt", index)
    assert ckpt("convert", index, tmp_path / "joined.ckpt") == 0
    assert same(FIXTURES / "lenet5.ckpt", tmp_path / "joined.ckpt")


def test_an_option_says_the_format_where_the_name_does_not(tmp_path: Path) -> None:
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path / "weights", "--to", "safetensors") == 0
    with ckptload.open_checkpoint(tmp_path / "weights") as reader:
        assert reader.format == "safetensors"


def test_entries_are_chosen_renamed_and_converted(tmp_path: Path, capsys: CAPTURE) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"conv1": "stem", "fc9": "nothing"}))
    target = tmp_path / "out.ckpt"
    options = ("--include", "conv1", "--include", "fc*", "--exclude", "*.bias", "--dtype", "bfloat16")
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", target, *options, "--name-map", tmp_path / "map.json") == 0
    with ckptload.open_checkpoint(target) as reader:
        assert list(reader) == ["stem.weight", "fc1.weight", "fc2.weight", "fc3.weight"]
        assert {str(reader.info(name).dtype) for name in reader} == {"BFloat16"}
    assert "these names of the name map match no entry: fc9" in capsys.readouterr().err


def test_rules_of_a_map_are_applied_and_shown(tmp_path: Path, capsys: CAPTURE) -> None:
    rules = [
        {"from": "fc{i}.weight", "to": "head.{i}.weight", "reshape": "... -> ... 1 1"},
        {"from": ["fc2.bias", "fc3.bias"], "to": "bias"},
        {"from": "conv1", "to": "stem"},
        {"from": "conv2.weight", "to": None},
        {"to": "extra", "zeros": [3]},
        {"from": "x.{i}", "to": "y.{i}"},
    ]
    (tmp_path / "map.json").write_text(json.dumps({"format": "ckptload-map", "version": 1, "rules": rules}))
    call = ("convert", FIXTURES / "lenet5.ckpt", tmp_path / "out.safetensors", "--map", tmp_path / "map.json")
    assert ckpt(*call, "--dry-run", "--color", "never") == 0
    shown = capsys.readouterr()
    assert "match no entry: x.{i}" in shown.err
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "conv1.weight stem.weight Float32 (6, 1, 5, 5) 600" in lines
    assert "fc1.weight head.1.weight Float32 (120, 400) -> (120, 400, 1, 1) 192,000" in lines
    assert "fc2.bias + fc3.bias bias Float32 (94,) 376" in lines
    assert any(line.startswith("(zeros) extra") for line in lines)
    assert ckpt(*call) == 0
    before = ckptload.load_checkpoint(FIXTURES / "lenet5.ckpt")
    after = ckptload.load_checkpoint(call[2], format="safetensors")
    assert "conv2.weight" not in after
    assert after["bias"].asnumpy().tolist() == [*before["fc2.bias"].asnumpy(), *before["fc3.bias"].asnumpy()]
    assert np.array_equal(after["head.1.weight"].asnumpy()[..., 0, 0], before["fc1.weight"].asnumpy())


def test_a_map_that_ckptload_knows_is_given_by_its_name(tmp_path: Path, capsys: CAPTURE) -> None:
    source, target = tmp_path / "in.ckpt", tmp_path / "out.ckpt"
    ckptload.save_checkpoint({"model.tok_embeddings.embedding_weight": np.ones((2, 2), np.float32)}, source)
    assert ckpt("convert", source, target, "--map", "mindformers-llama") == 0
    assert list(ckptload.load_checkpoint(target)) == ["model.embed_tokens.weight"]
    assert "match no entry" not in capsys.readouterr().err
    assert ckpt("convert", source, target, "--force", "--map", "mindformers-lama") == 2
    assert "mindformers-llama" in capsys.readouterr().err


def test_what_a_rule_names_as_a_whole_keeps_that_name(tmp_path: Path) -> None:
    """PyTorch's nets have parameters that are called gamma, too."""
    source, target = tmp_path / "in.ckpt", tmp_path / "out.ckpt"
    flat = np.ones(4, np.float32)
    names = [
        f"{layer}.{last}" for layer in ("a", "b.bn") for last in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    ckptload.save_checkpoint(dict.fromkeys(names, flat), source)
    (tmp_path / "map.json").write_text(json.dumps({"a.gamma": "scale.gamma", "a.beta": "scale.beta", "b": "c"}))
    assert ckpt("convert", source, target, "--torch", "--map", tmp_path / "map.json", "--exclude", "a.moving*") == 0
    assert list(ckptload.load_checkpoint(target)) == [
        *("scale.gamma", "scale.beta"),
        *("c.bn.weight", "c.bn.bias", "c.bn.running_mean", "c.bn.running_var"),
    ]


def test_names_for_torch_follow_the_layers(tmp_path: Path) -> None:
    from safetensors import safe_open

    target = tmp_path / "torch.safetensors"
    assert ckpt("convert", FIXTURES / "adam.ckpt", target, "--torch", "--include", "bn", "--include", "conv") == 0
    with safe_open(target, "np") as opened:
        found = set(opened.keys())
        assert opened.metadata()["format"] == "pt"
    assert found == {"conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}


def test_names_that_may_be_something_else_in_torch_are_kept_and_counted(tmp_path: Path, capsys: CAPTURE) -> None:
    """A norm is told by shapes and by every name of the file, chosen or not, after the name map."""
    wide, flat = np.ones((1, 1, 1, 4), np.float32), np.ones(4, np.float32)
    values = {"grn": wide, "block": flat, "block.ln": flat, "bn.bn2d": flat}
    parameters = {f"{prefix}.{last}": value for prefix, value in values.items() for last in ("gamma", "beta")}
    parameters |= {f"bn.bn2d.{last}": flat for last in ("moving_mean", "moving_variance")}
    source, target = tmp_path / "in.ckpt", tmp_path / "out.ckpt"
    ckptload.save_checkpoint({name: ckptload.Parameter(value) for name, value in parameters.items()}, source)
    (tmp_path / "map.json").write_text(json.dumps({"block": "b"}))
    options = ("--torch", "--exclude", "*.ln.*", "--exclude", "bn.*.beta", "--name-map", tmp_path / "map.json")
    assert ckpt("convert", source, target, *options) == 0
    with ckptload.open_checkpoint(target) as reader:
        assert list(reader) == [
            *("grn.gamma", "grn.beta", "b.gamma", "b.beta"),
            *("bn.bn2d.weight", "bn.bn2d.running_mean", "bn.bn2d.running_var"),
        ]
    lines = capsys.readouterr().err
    assert "4 names are ambiguous in PyTorch and were left unchanged: grn.gamma, grn.beta, b.gamma, b.beta" in lines
    assert "3 names are ambiguous in PyTorch and got the likeliest name: bn.bn2d.gamma, " in lines


def test_a_dry_run_shows_what_would_be_written(tmp_path: Path, capsys: CAPTURE) -> None:
    options = ("--torch", "--dtype", "float16", "--dry-run")
    assert ckpt("convert", FIXTURES / "adam.ckpt", tmp_path / "out.ckpt", *options) == 0
    out = capsys.readouterr().out
    assert "bn.moving_mean" in out
    assert "bn.running_mean" in out
    assert "Float32 -> Float16" in out
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_replaced_only_if_that_is_asked_for(tmp_path: Path, capsys: CAPTURE) -> None:
    target = tmp_path / "out.ckpt"
    target.write_text("precious")
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", target) == 2
    assert target.read_text() == "precious"
    assert "--force" in capsys.readouterr().err
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", target, "--force") == 0
    assert same(FIXTURES / "lenet5.ckpt", target)


@pytest.mark.parametrize(("target", "options"), [("model.safetensors.index.json", []), ("", ["--shard-size", "5GB"])])
def test_every_file_that_would_be_replaced_or_removed_needs_force(
    tmp_path: Path, capsys: CAPTURE, target: str, options: list[str]
) -> None:
    """Whether OUT is the folder of shards or their index, and whether what is written is one file or several."""
    folder, lenet = tmp_path / "out", FIXTURES / "lenet5.ckpt"
    assert ckpt("convert", lenet, folder, "--shard-size", "200KB") == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    convert = ("convert", FIXTURES / "adam.ckpt", folder / target, *options)
    capsys.readouterr()
    assert ckpt(*convert) == 2
    said = capsys.readouterr().err
    assert "already exist" in said
    assert "model-00001-of-0000" in said
    assert "model.safetensors.index.json" in said
    assert "--force" in said
    assert ckpt(*convert, "--dry-run") == 0
    said = capsys.readouterr().err
    assert "would be written: model.safetensors" in said
    assert "would be removed: " in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert ckpt(*convert, "--force") == 0
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", target} - {""}
    assert same(FIXTURES / "adam.ckpt", folder / (target or "model.safetensors"))


def test_files_that_do_not_belong_to_a_set_need_no_force(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_text("precious")
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path, "--shard-size", "200KB") == 0
    assert (tmp_path / "other.safetensors").read_text() == "precious"


def test_a_sum_is_added_for_verify_to_compare(tmp_path: Path) -> None:
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path / "out.ckpt", "--crc") == 0
    assert ckpt("verify", tmp_path / "out.ckpt") == 0


def test_what_a_format_cannot_hold_is_named_with_a_way_out(tmp_path: Path, capsys: CAPTURE) -> None:
    source = FIXTURES / "plain_2.10.0_maptensor.ckpt"
    assert ckpt("convert", source, tmp_path / "out.safetensors") != 0
    assert "parameter 'emb'" in (err := capsys.readouterr().err)
    assert "--exclude" in err
    assert ckpt("convert", source, tmp_path / "out.safetensors", "--exclude", "emb") == 0


# -- encryption -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["AES-GCM", "aes-cbc", "SM4-CBC"])
def test_encrypted_and_decrypted_a_file_is_the_same(mode: str, tmp_path: Path, raw: tuple[str, ...]) -> None:
    sealed, plain = tmp_path / "sealed.ckpt", tmp_path / "plain.ckpt"
    assert ckpt("encrypt", FIXTURES / "lenet5.ckpt", sealed, *raw, "--mode", mode) == 0
    assert ckptload.load_checkpoint(sealed, dec_key=KEY.encode(), dec_mode=mode.upper())
    assert ckpt("decrypt", sealed, plain, *raw) == 0
    assert plain.read_bytes() == (FIXTURES / "lenet5.ckpt").read_bytes()


def test_entries_can_be_left_out_of_an_encrypted_file_and_of_a_decrypted_one(
    tmp_path: Path, raw: tuple[str, ...]
) -> None:
    sealed, plain = tmp_path / "sealed.ckpt", tmp_path / "plain.ckpt"
    assert ckpt("encrypt", FIXTURES / "lenet5.ckpt", sealed, *raw, "--exclude", "conv*") == 0
    assert ckpt("decrypt", sealed, plain, *raw, "--include", "fc1") == 0
    assert list(ckptload.load_checkpoint(plain)) == ["fc1.weight", "fc1.bias"]


def test_what_mindspore_encrypted_is_decrypted(tmp_path: Path, raw: tuple[str, ...]) -> None:
    for name in ("enc_gcm", "enc_cbc", "enc_sm4"):
        assert ckpt("decrypt", FIXTURES / f"{name}.ckpt", tmp_path / f"{name}.safetensors", *raw) == 0
    assert same(tmp_path / "enc_gcm.safetensors", tmp_path / "enc_sm4.safetensors")


def test_convert_re_encrypts_under_another_key(tmp_path: Path, raw: tuple[str, ...]) -> None:
    (tmp_path / "new.hex").write_text("00" * 32 + "\n")
    new = ("--out-key-file", tmp_path / "new.hex", "--out-key-format", "hex", "--out-mode", "AES-CBC")
    target = tmp_path / "new.ckpt"
    assert ckpt("convert", FIXTURES / "enc_gcm.ckpt", target, *raw, *new) == 0
    assert ckptload.load_checkpoint(target, dec_key=bytes(32), dec_mode="AES-CBC")


def test_files_of_1_3_to_1_6_need_their_mode(tmp_path: Path, capsys: CAPTURE) -> None:
    samples = json.loads((FIXTURES / "encrypted" / "samples.json").read_text())["samples"]
    for sample in samples:
        if not sample["file"].startswith("enc_1.3.0_cbc128"):
            continue
        (tmp_path / "key").write_text(sample["key_hex"])
        options = ["--key-file", tmp_path / "key", "--key-format", "hex"]
        path = FIXTURES / "encrypted" / sample["file"]
        assert ckpt("inspect", path, *options) == 2
        assert "choose one: --mode AES-GCM or --mode AES-CBC" in capsys.readouterr().err
        assert ckpt("inspect", path, *options, "--mode", "AES-CBC") == 0


def test_encrypting_twice_and_decrypting_what_is_plain_are_refused(tmp_path: Path, raw: tuple[str, ...]) -> None:
    assert ckpt("encrypt", FIXTURES / "enc_gcm.ckpt", tmp_path / "x.ckpt", *raw) == 3
    assert ckpt("decrypt", FIXTURES / "lenet5.ckpt", tmp_path / "x.ckpt", *raw) == 1
    assert not (tmp_path / "x.ckpt").exists()


# -- keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "form"), [(KEY, "raw"), (HEX, "hex"), (f"  {HEX.upper()}\n", "hex"), (" ".join(["30"] * 16), "hex")]
)
def test_a_key_comes_from_a_file_as_it_is_said_to_be_written(content: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(content)
    sealed = tmp_path / "sealed.ckpt"
    options = ("--key-file", tmp_path / "key", "--key-format", form)
    assert ckpt("encrypt", FIXTURES / "lenet5.ckpt", sealed, *options) == 0
    expected = bytes.fromhex(content) if form == "hex" else content.encode()
    assert ckptload.load_checkpoint(sealed, dec_key=expected)


@pytest.mark.parametrize(
    ("content", "form", "said"),
    [
        (KEY + "\n", "raw", "newline"),
        (KEY[:15], "raw", "the key has 15 bytes"),
        ("ab" * 24, "raw", "use --key-format hex"),
        (HEX * 3, "raw", "the key has 96 bytes"),
        ("0123456789abcdeg" * 2, "hex", "the key is not hexadecimal"),
        (HEX[:-1], "hex", "the key is not hexadecimal"),
        ("0" * 10000, "raw", "too long to be a key"),
        (KEY, None, "--key-format hex"),
    ],
)
def test_what_is_wrong_with_a_key_is_said_without_showing_it(
    content: str, form: str | None, said: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    (tmp_path / "key").write_text(content)
    options = ["--key-file", tmp_path / "key", *(["--key-format", form] if form else [])]
    for debug in ([], ["--debug"]):
        assert ckpt("inspect", FIXTURES / "enc_gcm.ckpt", *options, *debug) == 2
        out, err = capsys.readouterr()
        assert said in err
        assert out == ""
        assert content[:8] not in err


def test_keys_that_cannot_be_had_are_an_error(tmp_path: Path, capsys: CAPTURE, raw: tuple[str, ...]) -> None:
    path = FIXTURES / "enc_gcm.ckpt"
    assert ckpt("inspect", path, "--key-file", tmp_path / "none", "--key-format", "raw") == 2
    assert ckpt("inspect", path, "--key-env", "NO_SUCH_VARIABLE", "--key-format", "raw") == 2
    assert ckpt("inspect", path, *raw, "--key-env", "HOME") == 2
    assert "cannot be combined" in capsys.readouterr().err


def piped(content: bytes) -> tuple[int, threading.Thread]:
    """Return what reads a pipe, and a thread that writes to it after a while."""
    reads, writes = os.pipe()

    def write() -> None:
        time.sleep(0.05)
        with open(writes, "wb") as file:  # noqa: PTH123 -- a descriptor
            file.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    return reads, thread


@POSIX
def test_keys_and_name_maps_come_through_pipes(tmp_path: Path) -> None:
    """As `<(command)` of a shell, and /dev/stdin; the writer may take its time, and write to it in pieces."""
    if not Path("/dev/fd").exists():
        pytest.skip("there is no /dev/fd")
    sealed = tmp_path / "sealed.ckpt"
    number, thread = piped(HEX.encode())
    assert (
        ckpt("encrypt", FIXTURES / "lenet5.ckpt", sealed, "--key-file", f"/dev/fd/{number}", "--key-format", "hex") == 0
    )
    os.close(number)
    thread.join()
    assert ckptload.load_checkpoint(sealed, dec_key=KEY.encode())
    number, thread = piped(json.dumps({"conv1": "stem", "x" * 200_000: "nothing"}).encode())
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path / "x.ckpt", "--name-map", f"/dev/fd/{number}") == 0
    os.close(number)
    thread.join()
    assert "stem.weight" in ckptload.load_checkpoint(tmp_path / "x.ckpt")


@POSIX
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path, capsys: CAPTURE) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = FIXTURES / "enc_gcm.ckpt"
    assert ckpt("inspect", source, "--key-file", tmp_path / "pipe", "--key-format", "hex") == 2
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path / "x.ckpt", "--name-map", tmp_path / "pipe") == 2
    assert ckpt("diff", source, source, "--name-map", tmp_path / "pipe") == 2
    assert capsys.readouterr().err.count("a pipe that nobody writes to") == 3


@POSIX
def test_a_device_is_not_read(tmp_path: Path, capsys: CAPTURE) -> None:
    """A terminal would show what is typed, and /dev/zero does not end."""
    for path in ("/dev/zero", "/dev/null"):
        assert ckpt("inspect", FIXTURES / "enc_gcm.ckpt", "--key-file", path, "--key-format", "raw") == 2
        assert ckpt("convert", FIXTURES / "lenet5.ckpt", tmp_path / "x.ckpt", "--name-map", path) == 2
        assert capsys.readouterr().err.count("this is a device") == 2


@POSIX
def test_a_key_is_asked_for_without_being_shown() -> None:
    done = on_terminal(FIXTURES / "enc_gcm.ckpt", "--key-prompt", "--key-format", "raw", typed=KEY + "\n")
    assert done.code == 0
    assert "conv.weight" in done.out or "10 entries" in done.out
    assert KEY not in done.out


@POSIX
def test_without_a_terminal_no_key_is_asked_for(capsys: CAPTURE) -> None:
    assert ckpt("inspect", FIXTURES / "enc_gcm.ckpt", "--key-prompt", "--key-format", "raw") == 2
    assert "only be typed at a terminal" in capsys.readouterr().err


def test_an_entry_of_a_type_that_is_not_supported_is_named_and_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is never left out without a word."""
    path = tmp_path / "odd.ckpt"
    path.write_bytes(b"".join(record(f"w{number}", (1,), "Foo", b"1") for number in range(20)) + floats("good", 1.0))
    for name in ("out.safetensors", "out.ckpt", "out.npz"):
        out = tmp_path / name
        assert main(["convert", str(path), str(out)]) == 7
        err = capsys.readouterr().err
        assert "parameter 'w0': the type 'Foo' is not supported; nor are the types of 19 other entries: 'w1', " in err
        assert "hint: leave these entries out with --exclude; known types: " in err
        assert not out.exists()
        assert main(["convert", str(path), str(out), "--exclude", "w*"]) == 0
        assert out.exists()


def test_a_field_that_no_mindspore_writes_is_told_when_a_file_is_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.ckpt"
    path.write_bytes(floats("good", 1.0) + block(2, floats("lost", 1.0)))
    assert main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 0
    assert capsys.readouterr().err.count("warning: ") == 1


def test_a_field_that_no_mindspore_writes_is_told_when_a_file_is_encrypted_or_decrypted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: tuple[str, ...]
) -> None:
    path, sealed = tmp_path / "odd.ckpt", tmp_path / "sealed.ckpt"
    path.write_bytes(floats("good", 1.0) + block(2, floats("lost", 1.0)))
    assert ckpt("encrypt", path, tmp_path / "a.ckpt", *raw) == 0
    assert capsys.readouterr().err.count("warning: ") == 1
    with sealed.open("wb") as file:
        writer = EncryptingWriter(file, KEY.encode(), "AES-GCM")
        writer.write(path.read_bytes())
        writer.finish()
    assert ckpt("decrypt", sealed, tmp_path / "b.ckpt", *raw) == 0
    assert capsys.readouterr().err.count("warning: ") == 1
    assert list(ckptload.load_checkpoint(tmp_path / "b.ckpt")) == ["good"]


@pytest.mark.parametrize("given", [("--key-env", "HOME"), ("--key-file", "key"), ("--key-prompt",)], ids=str)
def test_the_form_of_a_key_must_be_said(given: tuple[str, ...], capsys: CAPTURE) -> None:
    assert ckpt("inspect", FIXTURES / "enc_gcm.ckpt", *given) == 2
    assert "--key-format is required: hex or raw" in capsys.readouterr().err


@pytest.mark.slow
def test_what_no_tag_covers_is_opened_on_request_only(tmp_path: Path, capsys: CAPTURE) -> None:
    samples = json.loads((FIXTURES / "encrypted" / "samples.json").read_text())["samples"]
    old = [sample for sample in samples if sample["mode"] == "AES-GCM" and "1.3.0" in sample["file"]]
    assert old
    for sample in old:
        (tmp_path / "key").write_text(sample["key_hex"])
        path = FIXTURES / "encrypted" / sample["file"]
        options = ["--key-file", tmp_path / "key", "--key-format", "hex", "--mode", "AES-GCM"]
        assert ckpt("inspect", path, *options) == 1
        assert "--allow-unauthenticated" in capsys.readouterr().err
        assert ckpt("inspect", path, *options, "--allow-unauthenticated") == 0
        assert "no authentication tags" in capsys.readouterr().err
