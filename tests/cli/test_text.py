"""Exit codes: one for each class of errors, the same in every command, and their order."""

from __future__ import annotations

import inspect
import itertools

import pytest

from ckptload import errors
from ckptload.cli import text
from ckptload.errors import CheckpointError

CODES: dict[type[CheckpointError], int] = {
    errors.CheckpointError: 1,
    errors.CorruptCheckpointError: 1,
    errors.ChecksumError: 1,
    errors.DecryptionError: 1,
    errors.ReadError: 2,
    errors.MissingFileError: 2,
    errors.WriteError: 2,
    errors.ArgumentError: 2,
    errors.LimitError: 2,
    errors.EmptyCheckpointError: 1,
    errors.NothingSelectedError: 1,
    errors.UnknownNameError: 1,
    errors.MissingPackageError: 2,
    errors.UnsavableTypeError: 2,
    errors.EncryptedCheckpointError: 3,
    errors.WrongFormatError: 5,
    errors.MissingShardError: 6,
    errors.UnsupportedTypeError: 7,
}


@pytest.mark.parametrize(("kind", "code"), CODES.items(), ids=lambda one: getattr(one, "__name__", str(one)))
def test_the_class_of_an_error_decides_the_exit_code(kind: type[CheckpointError], code: int) -> None:
    assert text.exit_code(kind("what is wrong")) == code


def test_every_exit_code_of_an_error_has_a_word() -> None:
    every = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, CheckpointError)]
    assert {text.exit_code(one("x")) for one in every} == set(text.KINDS)


def test_of_two_codes_the_one_that_comes_first_counts() -> None:
    order = [1, 2, 3, 5, 6, 7, 4, 0]
    for worse, better in itertools.combinations(order, 2):
        assert text.worst([better, worse]) == text.worst([worse, better]) == worse
    assert text.worst([]) == 0
