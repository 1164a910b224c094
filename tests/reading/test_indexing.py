"""From a source to an index: empty files, files of other kinds, strangers, and names that are made public."""

from __future__ import annotations

import io
import traceback

import pytest

from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    EncryptedCheckpointError,
    WrongFormatError,
)
from ckptload.formats.ckpt.index import CkptIndex
from ckptload.reading.access import Access
from ckptload.reading.indexing import open_index
from ckptload.sources.memory import BufferSource
from strategies import CountingSource, block, floats, integer, record, value, with_crc

KEY = b"0123456789abcdef"
#: ModelProto of MindIR: version, producer, its version, an empty graph.
MINDIR = block(1, b"1.1") + block(2, b"MindSpore") + block(5, b"2.10.0") + block(7, b"\x0a\x00")


def opened(data: bytes, key: bytes | None = None) -> CkptIndex:
    index = open_index(BufferSource(data), Access(format="ckpt", key=key))
    assert isinstance(index, CkptIndex)
    return index


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty"),
        (with_crc(b""), "a CRC trailer but no record"),
        (block(2, b"normal"), "no record of a checkpoint"),
        (integer(1, 1) + block(9, b"\xff" * 20), "no record of a checkpoint"),
    ],
)
def test_a_file_without_records_says_which_it_is(data: bytes, problem: str) -> None:
    with pytest.raises(EmptyCheckpointError, match=problem) as caught:
        opened(data)
    assert caught.value.path == "<bytes>"
    assert caught.value.hint


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_file_that_ends_inside_a_record_is_corrupt(cut: int) -> None:
    """No filter can help: what is missing may be wanted."""
    data = floats("a", 1.0) + floats("b", 1.0)[:-cut]
    with pytest.raises(CorruptCheckpointError, match=r"needs \d+ bytes, \d+ are left") as caught:
        opened(data)
    assert caught.value.path == "<bytes>"
    assert caught.value.offset is not None
    assert caught.value.offset >= len(floats("a", 1.0))


def test_a_tag_that_is_not_utf8_is_corrupt() -> None:
    with pytest.raises(CorruptCheckpointError, match="the name is not UTF-8") as caught:
        opened(floats("a", 1.0) + record(b"\xff", (), "Float32", b"1234"))
    assert caught.value.offset == len(floats("a", 1.0)) + 4


def test_a_plain_file_with_a_key_is_an_error_that_does_not_show_it() -> None:
    key = b"0123456789abcdef"
    with pytest.raises(DecryptionError, match="the file is not encrypted") as caught:
        opened(floats("a", 1.0), key)
    assert key.decode() not in str(caught.value)


def test_a_file_of_another_kind_shows_no_traceback_of_the_failed_walk() -> None:
    with pytest.raises(WrongFormatError, match="HTML page") as caught:
        opened(b"<html>" + b"x" * 100)
    assert "".join(traceback.format_exception(caught.value)).count("Traceback") == 1


def test_a_file_of_another_kind_is_named_although_it_looks_like_too_many_fields() -> None:
    """Text of fields without end exceeds the limits of the walk before it fails."""
    with pytest.raises(WrongFormatError, match="text file"):
        open_index(BufferSource(b"p p p p " * 10_000), Access(format="ckpt", max_records=1))


@pytest.mark.parametrize("ending", ["part", "crdownload", "download", "tmp"])
def test_a_damaged_file_whose_name_says_that_it_is_not_complete_says_so(ending: str) -> None:
    source = BufferSource(floats("a", 1.0)[:-1], label=f"model.ckpt.{ending}")
    with pytest.raises(CorruptCheckpointError) as caught:
        open_index(source, Access(format="ckpt"))
    assert type(caught.value) is CorruptCheckpointError
    assert f"a name that ends in .{ending} means that the download has not ended" in str(caught.value)


def test_the_data_of_a_tensorflow_checkpoint_are_known_by_their_name() -> None:
    source = BufferSource(b"\xff" * 40, label="model.ckpt.data-00000-of-00001")
    with pytest.raises(WrongFormatError, match="the data of a TensorFlow checkpoint"):
        open_index(source, Access(format="ckpt"))


def encrypted(data: bytes, mode: str) -> bytes:
    file = io.BytesIO()
    writer = EncryptingWriter(file, KEY, mode)
    writer.write(data)
    writer.finish()
    return file.getvalue()


def test_an_encrypted_mindir_is_named_when_its_tag_was_compared() -> None:
    """MindSpore encrypts MindIR as it does checkpoints; only the decrypted bytes tell them apart."""
    data = encrypted(MINDIR, "AES-GCM")
    with pytest.raises(EncryptedCheckpointError):
        opened(data)
    with pytest.raises(WrongFormatError, match="a MindIR model"):
        opened(data, KEY)


def test_of_a_mindir_that_no_tag_covers_only_the_possibility_is_said() -> None:
    """Nothing derived from the decrypted data may be said under CBC."""
    with pytest.raises(DecryptionError, match="does not begin with a record") as caught:
        open_index(BufferSource(encrypted(MINDIR, "AES-CBC")), Access(format="ckpt", key=KEY, mode="AES-CBC"))
    assert "export() encrypts MindIR in the same way" in str(caught.value)


def test_an_encrypted_mindir_without_a_key_is_known_by_its_name() -> None:
    source = BufferSource(encrypted(MINDIR, "AES-GCM"), label="net.mindir")
    with pytest.raises(WrongFormatError, match="an encrypted MindIR model, judging by its name"):
        open_index(source, Access(format="ckpt"))


def test_unknown_fields_between_records_are_no_matter() -> None:
    assert opened(floats("a", 1.0) + block(9, b"x") + floats("b", 1.0)).names() == ["a", "b"]


def test_opening_reads_no_content() -> None:
    content = bytes(1 << 20)
    source = CountingSource(b"".join(record(name, (1 << 20,), "UInt8", content) for name in "abc"))
    open_index(source, Access(format="ckpt"))
    assert source.total < 40_000


NAMES = ["b.__param_key__1", "a", "c.__param_key__", ".__param_key__x", "d.__param_key__1.__param_key__2"]


def test_names_are_cut_at_the_first_mark_and_those_that_were_cut_come_last() -> None:
    index = opened(b"".join(floats(name, 1.0) for name in NAMES))
    assert index.names() == NAMES
    public = index.public_names(index.names())
    assert list(public.items()) == [("a", "a"), ("b", NAMES[0]), ("c", NAMES[2]), ("", NAMES[3]), ("d", NAMES[4])]


@pytest.mark.parametrize("other", ["b", "b.__param_key__9"])
def test_two_names_that_become_one_are_an_error_that_names_both(other: str) -> None:
    index = opened(floats(NAMES[0], 1.0) + floats(other, 1.0))
    with pytest.raises(CheckpointError, match="have the same name without") as caught:
        index.public_names(index.names())
    assert repr(NAMES[0]) in str(caught.value)
    assert repr(other) in str(caught.value)
    assert index.public_names([other]) == {"b": other}


def test_an_entry_is_judged_when_it_is_asked_for() -> None:
    index = opened(value("bad") + floats("good", 1.0))
    assert index.entry("good").shape == (1,)
    with pytest.raises(CorruptCheckpointError, match="no tensor and no map"):
        index.entry("bad")


def test_names_that_collide_are_not_printed_at_any_length() -> None:
    long = "n" * 60_000
    index = opened(floats(long, 1.0) + floats(long + ".__param_key__1", 1.0))
    with pytest.raises(CheckpointError, match="have the same name without") as caught:
        index.public_names(index.names())
    assert len(str(caught.value)) < 700


def test_a_cut_file_says_how_far_it_goes() -> None:
    """Who has half a download sees what is in the half."""
    data = floats("a") + floats("b") + floats("c")[:-1]
    with pytest.raises(CorruptCheckpointError, match="the last complete record before it is 'b'"):
        open_index(BufferSource(data), Access(format="ckpt"))
