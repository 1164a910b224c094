"""Messages of MindSpore's scripts go to Python's logging: ``from mindspore import log as logger``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ckptload.absent import absent_from

__all__ = ["critical", "debug", "error", "info", "warning"]

_LOGGER: Final = logging.getLogger("ckptload.script")

debug = _LOGGER.debug
info = _LOGGER.info
warning = _LOGGER.warning
error = _LOGGER.error
critical = _LOGGER.critical

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
