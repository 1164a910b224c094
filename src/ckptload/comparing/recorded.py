"""What MindSpore computed: inputs, outputs, and what layers gave, by their keys."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ckptload.comparing.archive import Archive
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from ckptload.foreign.taking import is_foreign, taken
from ckptload.messages import listed, type_name
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ckptload.foreign.taken import Taken

_KEY: Final = re.compile(r"(?P<kind>input|output)(_(?P<number>\d{1,6}))?|layer:(?P<layer>.+)", re.DOTALL)
_HINT: Final = "the keys are 'input' or 'input_0', 'output' or 'output_0', and 'layer:NAME'"
_PAIR: Final = 2


class Recorded:
    """Recorded arrays.

    Attributes:
        inputs: keys of the inputs, in order.
        outputs: keys of the outputs, in order.
        layers: keys of what layers gave, by the names of the layers.
        unknown: keys of anything else, which is not compared.
    """

    def __init__(self, keys: Iterable[str], read: Callable[[str], Any]) -> None:
        self._read = read
        self.layers: dict[str, str] = {}
        numbered: dict[str, dict[int, str]] = {"input": {}, "output": {}}
        self.unknown: list[str] = []
        for key in keys:
            found = _KEY.fullmatch(key)
            if found is None:
                self.unknown.append(key)
            elif found["layer"]:
                self.layers[found["layer"]] = key
            elif numbered[found["kind"]].setdefault(int(found["number"] or 0), key) != key:
                raise ArgumentError(f"two recorded arrays are {found['kind']} {int(found['number'] or 0)}", hint=_HINT)
        self.inputs, self.outputs = ([them[number] for number in sorted(them)] for them in numbered.values())
        if not self.outputs and not self.layers:
            raise ArgumentError(
                f"no output and no layer is recorded, but {listed(self.unknown or self.inputs) or 'nothing'}",
                hint=_HINT,
            )

    def array(self, key: str) -> Taken:
        """Return an array with its dtype."""
        return taken_of(self._read(key), key)


def taken_of(value: object, name: str) -> Taken:
    """Return an array or a tensor of any framework with its dtype.

    Raises:
        ArgumentTypeError: it is none.
        UnsupportedTypeError: its values cannot be read.
    """
    try:
        found = taken(value)
    except CheckpointError as error:
        error.name = name
        raise
    if found is None:
        raise ArgumentTypeError(f"it must be an array or a tensor, not {type_name(value)}", name=name)
    return found


@contextmanager
def opened(recorded: object) -> Iterator[Recorded]:
    """Open what was recorded: an .npz, arrays by their keys, or a pair of an input and an output.

    Raises:
        ArgumentTypeError: it is none of these.
        CheckpointError: the file cannot be read, or is not an .npz.
    """
    if isinstance(recorded, (tuple, list)) and len(recorded) == _PAIR and all(map(is_foreign, recorded)):
        recorded = dict(zip(("input", "output"), recorded, strict=True))
    if isinstance(recorded, dict):
        wrong = next((key for key in recorded if not isinstance(key, str)), None)
        if wrong is not None:
            raise ArgumentTypeError(f"a key of recorded must be a str, not {type_name(wrong)}", hint=_HINT)
        yield Recorded(recorded, recorded.__getitem__)
        return
    if not isinstance(recorded, (str, os.PathLike, bytes)) and not hasattr(recorded, "read"):
        raise ArgumentTypeError(
            f"recorded must be the path of an .npz, a dict of arrays, or a pair of arrays, not {type_name(recorded)}",
            hint=_HINT,
        )
    source = open_source(recorded)
    try:
        archive = Archive(source)
        yield Recorded(archive.names, archive.array)
    finally:
        source.close()
