"""The options for opening a checkpoint: checked once, never changed, and shown without the key."""

from __future__ import annotations

import copy
import dataclasses
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.encryption.ciphers import AES_GCM, MODES
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from ckptload.formats import limits
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.reading.access import Access

#: Recognisable in any text that should not hold it.
KEY = b"do not show this"
OTHER_MODES = sorted({*MODES} - {AES_GCM})


def refused(kind: type[CheckpointError], **options: Any) -> CheckpointError:
    with pytest.raises(kind) as caught:
        Access(**options)
    return caught.value


# -- what is accepted -------------------------------------------------------------------------------------------


def test_without_options_a_file_is_opened_safely() -> None:
    access = Access()
    assert access.format is None
    assert access.key is None
    assert access.mode == AES_GCM
    assert not access.allow_unauthenticated
    assert access.max_records == limits.MAX_RECORDS
    assert not access.mapped
    assert access.watches_name
    assert access.authenticates


@pytest.mark.parametrize("name", [None, CKPT, SAFETENSORS])
def test_each_format_is_accepted(name: str | None) -> None:
    assert Access(format=name).format == name


@pytest.mark.parametrize("name", [None, CKPT])
@pytest.mark.parametrize("mode", MODES)
def test_a_key_is_accepted_for_what_may_be_encrypted(name: str | None, mode: str) -> None:
    access = Access(format=name, key=KEY, mode=mode)
    assert (access.key, access.mode) == (hidden(KEY), mode)


@pytest.mark.parametrize(
    "options", [{"key": b""}, {"key": b"short"}, {"mode": "DES"}, {"key": KEY, "mode": "DES"}], ids=str
)
def test_length_of_key_and_name_of_mode_are_left_to_the_opening(options: dict[str, Any]) -> None:
    """Only an encrypted file needs them."""
    Access(**options)


def test_a_single_record_may_be_the_limit() -> None:
    assert Access(max_records=1).max_records == 1


# -- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["do not show this", bytearray(KEY), memoryview(KEY), list(KEY), 0, False], ids=type)
def test_a_key_that_is_not_bytes_is_a_type_error(key: object) -> None:
    error = refused(ArgumentTypeError, key=key)
    assert error.problem == f"dec_key must be bytes or None, not {type(key).__name__}"
    assert error.hint == "for example bytes.fromhex('...')"


@pytest.mark.parametrize("mode", [None, 0, b"AES-GCM", ["AES-GCM"]], ids=type)
def test_a_mode_that_is_not_text_is_a_type_error(mode: object) -> None:
    error = refused(ArgumentTypeError, mode=mode)
    assert error.problem == f"dec_mode must be a string, not {type(mode).__name__}"


@pytest.mark.parametrize("number", [None, 1.0, "1", True], ids=type)
def test_a_limit_that_is_not_an_integer_is_a_type_error(number: object) -> None:
    error = refused(ArgumentTypeError, max_records=number)
    assert error.problem == f"max_records must be an int, not {type(number).__name__}"


@pytest.mark.parametrize("number", [0, -1, -(1 << 70)])
def test_a_limit_below_one_is_refused(number: int) -> None:
    error = refused(ArgumentError, max_records=number)
    assert error.problem == f"max_records must be at least 1, not {number}"


@pytest.mark.parametrize("name", ["", "CKPT", ".ckpt", "ckpt ", "npz", 0, False, [], {}], ids=repr)
def test_an_unknown_format_is_refused_with_those_that_exist(name: object) -> None:
    error = refused(ArgumentError, format=name)
    assert error.problem == f"format must be 'ckpt' or 'safetensors', not {name!r}"


def test_bytes_for_a_format_may_be_a_key_and_are_not_shown() -> None:
    error = refused(ArgumentError, format=b"ckpt")
    assert error.problem == "format must be 'ckpt' or 'safetensors', not bytes of length 4"


@pytest.mark.parametrize(
    "options",
    [{"key": KEY}, {"key": b""}, *({"mode": mode} for mode in OTHER_MODES), {"key": KEY, "mode": "DES"}],
    ids=str,
)
def test_a_key_or_mode_for_safetensors_is_refused(options: dict[str, Any]) -> None:
    """Whoever passes one takes the file for an encrypted one, which it cannot be."""
    error = refused(ArgumentError, format=SAFETENSORS, **options)
    assert error.problem.startswith("safetensors files are never encrypted")
    assert error.hint == "leave both out, or load an encrypted .ckpt"


# -- the key does not show --------------------------------------------------------------------------------------


@given(st.binary(min_size=8))
def test_no_representation_holds_the_key(key: bytes) -> None:
    """It is the same for every key, so that it says nothing about it, not even whether there is one."""
    assert {repr(Access(key=key)), str(Access(key=key)), f"{Access(key=key)}"} == {repr(Access())}


@pytest.mark.parametrize("key", [KEY, KEY.decode(), bytearray(KEY)], ids=type)
def test_no_error_holds_the_key(key: object) -> None:
    error = refused(CheckpointError, key=key, format=SAFETENSORS)
    shown = [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
    assert not any("show this" in text for text in shown)


def test_a_representation_shows_the_rest() -> None:
    shown = repr(Access(format=CKPT, key=KEY, mode="AES-CBC", max_records=7, mapped=True))
    for part in ("format='ckpt'", "mode='AES-CBC'", "max_records=7", "mapped=True"):
        assert part in shown


# -- one object for all who open --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Access)])
def test_an_option_that_was_checked_does_not_change(name: str) -> None:
    access = Access()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(access, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(access, name)
    assert access == Access()


def test_equal_options_are_equal() -> None:
    first, second = (Access(format=CKPT, key=bytes(KEY), mode="AES-CBC", max_records=7) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert copy.deepcopy(first) == first


#: For each option, another value than its own.
OTHERS: dict[str, Any] = {
    "format": CKPT,
    "key": KEY,
    "mode": "AES-CBC",
    "allow_unauthenticated": True,
    "max_records": 7,
    "mapped": True,
    "gives": "numpy",
    "watches_name": False,
    "authenticates": False,
}


def test_other_options_are_not_equal() -> None:
    """Each counts, and the key counts although it does not show."""
    assert OTHERS.keys() == {field.name for field in dataclasses.fields(Access)}
    made = [Access(), *(Access(**{name: other}) for name, other in OTHERS.items())]
    assert len(set(made)) == len(made)
    assert Access(key=KEY) != Access(key=KEY[::-1])


def test_changed_copies_are_checked_too() -> None:
    access = Access(format=CKPT, key=KEY)
    assert dataclasses.replace(access, max_records=7) == Access(format=CKPT, key=KEY, max_records=7)
    with pytest.raises(ArgumentError, match="never encrypted"):
        dataclasses.replace(access, format=SAFETENSORS)
