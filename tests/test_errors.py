"""Errors: one base, MindSpore's classes beside it, one layout of the message, and all of them pickle."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from ckptload import errors
from ckptload.errors import CheckpointError

DEFINED = [
    found
    for found in vars(errors).values()
    if inspect.isclass(found)
    and issubclass(found, BaseException)
    and not issubclass(found, Warning)
    and found.__module__ == errors.__name__
]
CLASSES = [found for found in DEFINED if issubclass(found, CheckpointError)]

#: Beside ValueError, what callers of MindSpore or of the system catch for the same reason.
ALSO: dict[str, type[Exception]] = {
    "UnknownNameError": KeyError,
    "RankError": RuntimeError,
    "ReadError": OSError,
    "MissingFileError": FileNotFoundError,
    "MissingShardError": FileNotFoundError,
    "OutOfMemoryError": MemoryError,
    "BindingError": RuntimeError,
    "ArgumentTypeError": TypeError,
    "ArgumentOverflowError": OverflowError,
    "ArgumentNameError": KeyError,
    "MissingAttributeError": AttributeError,
}


def whole(kind: type[CheckpointError]) -> CheckpointError:
    return kind("what is wrong", path="dir/x.ckpt", name="fc.weight", offset=30, hint="what to do")


every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def test_every_error_is_a_checkpoint_error_and_so_a_value_error() -> None:
    assert DEFINED == CLASSES
    assert CheckpointError in CLASSES
    assert issubclass(CheckpointError, ValueError)


@pytest.mark.parametrize(("name", "base"), ALSO.items())
def test_an_error_is_also_of_the_class_that_callers_catch(name: str, base: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), base)


@every_class
def test_every_error_says_what_it_is_for(kind: type[CheckpointError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != CheckpointError.__doc__ or kind is CheckpointError


@every_class
def test_the_message_has_name_problem_place_file_and_hint(kind: type[CheckpointError]) -> None:
    """The same layout whatever the class: OSError and KeyError would print in their own way."""
    assert str(whole(kind)) == (
        "parameter 'fc.weight': what is wrong (at byte 30)\n  in file dir/x.ckpt\n  hint: what to do"
    )


@every_class
def test_the_message_leaves_out_what_is_not_known(kind: type[CheckpointError]) -> None:
    assert str(kind("what is wrong")) == "what is wrong"
    assert str(kind("what is wrong", offset=0)) == "what is wrong (at byte 0)"


@every_class
def test_what_is_learned_later_is_in_the_message(kind: type[CheckpointError]) -> None:
    """The reader, which alone knows the path, sets it before the error leaves the package."""
    error = kind("what is wrong")
    error.path = "x.ckpt"
    assert str(error) == "what is wrong\n  in file x.ckpt"


@every_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickling(kind: type[CheckpointError], protocol: int) -> None:
    """An error crosses from a worker process with all that it carries."""
    error = whole(kind)
    error.extra = ["of a subclass"]  # type: ignore[attr-defined]
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is kind
    assert str(back) == str(error)
    for attribute in ("problem", "path", "name", "offset", "hint", "extra"):
        assert getattr(back, attribute) == getattr(error, attribute)


@every_class
def test_every_error_survives_copying(kind: type[CheckpointError]) -> None:
    error = whole(kind)
    for back in (copy.copy(error), copy.deepcopy(error)):
        assert type(back) is kind
        assert str(back) == str(error)


@every_class
def test_an_error_keeps_its_cause_when_it_is_raised(kind: type[CheckpointError]) -> None:
    cause = OSError("disk")
    with pytest.raises(kind) as caught:
        raise whole(kind) from cause
    assert caught.value.__cause__ is cause
