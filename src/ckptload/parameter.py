"""Parameter: a named tensor, as a net holds it and a checkpoint stores it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from ckptload.tensor import Array, Tensor

if TYPE_CHECKING:
    from ckptload.dtypes import DType

_numbers = count()


def _automatic_name() -> str:
    return f"Parameter#{next(_numbers)}"


class Parameter(Tensor):
    """A tensor with a name."""

    _name: str
    _requires_grad: bool = True

    @classmethod
    def _adopt(cls, array: Array, dtype: DType, name: str = "") -> Parameter:
        """Wrap an array under a name as it stands; an empty name becomes an automatic one."""
        self = object.__new__(cls)
        self._array = array
        self._dtype = dtype
        self._name = name or _automatic_name()
        return self

    @property
    def name(self) -> str:
        """Name under which nets and checkpoints know the parameter."""
        return self._name

    @property
    def requires_grad(self) -> bool:
        """Whether training changes the parameter."""
        return self._requires_grad

    @property
    def data(self) -> Tensor:
        """The values as a plain Tensor that shares memory with the parameter."""
        return self._plain(self._array, self._dtype)

    def __repr__(self) -> str:
        return (
            f"Parameter (name={self._name}, shape={self.shape}, dtype={self._dtype}, "
            f"requires_grad={self._requires_grad})"
        )
