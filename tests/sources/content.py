"""What the files hold that the tests of sources read."""

from __future__ import annotations

from typing import Final

CONTENT: Final = bytes(range(256)) * 40
