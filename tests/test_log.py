"""Messages of scripts go to Python's logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ckptload import log

if TYPE_CHECKING:
    import pytest


def test_a_message_has_its_level_and_the_place_of_the_script(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "ckptload.script"):
        for name in log.__all__:
            getattr(log, name)("%s of %d", name, 5)
    assert [(record.levelname.lower(), record.getMessage()) for record in caplog.records] == [
        (name, f"{name} of 5") for name in log.__all__
    ]
    assert {record.filename for record in caplog.records} == {"test_log.py"}
