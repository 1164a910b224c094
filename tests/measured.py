"""How much memory something takes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def peak(action: Callable[[], object]) -> int:
    """Return the most bytes that Python and numpy held while something was done."""
    # What is imported or cached by the first call does not count.
    action()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
