"""Decorated functions run as they are."""

from __future__ import annotations

from ckptload import jit


def test_jit_returns_the_function_with_and_without_arguments() -> None:
    def twice(x: int) -> int:
        return 2 * x

    assert jit(twice) is twice
    assert jit(jit_level="O0")(twice) is twice
