"""Operations as classes take their settings when they are made."""

from __future__ import annotations

import pytest

from ckptload import Tensor, errors, ops
from ckptload.ops import operations as P  # noqa: N812 -- as scripts call it
from ckptload.ops.primitives import Primitive


def test_settings_are_given_by_place_or_by_name() -> None:
    a, b = Tensor([[1, 2]]), Tensor([[3, 4]])
    for operation in (P.Concat(1), P.Concat(axis=1), ops.Concat(axis=1)):
        assert operation((a, b)).tolist() == [[1, 2, 3, 4]]
    assert P.Concat()((a, b)).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("wrong", [lambda: P.Concat(1, 2), lambda: P.Concat(axes=1), lambda: P.Concat(1, axis=1)])
def test_other_settings_are_refused_with_those_that_exist(wrong: object) -> None:
    with pytest.raises(errors.ArgumentTypeError, match="Concat takes axis"):
        wrong()  # type: ignore[operator]


def test_every_operation_has_its_name_and_a_docstring() -> None:
    for name in P.__all__:
        kind = getattr(P, name)
        assert issubclass(kind, Primitive)
        assert kind.__doc__
        assert kind.__name__ == name or getattr(P, kind.__name__) is kind
