"""Where things are, for tests at any depth."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent
FIXTURES: Final = TESTS / "fixtures"
#: The checkout, or the unpacked source distribution.
ROOT: Final = TESTS.parent
DOCS: Final = ROOT / "docs"
#: Recorded cases and sample files; users have none.
SHARED: Final = ROOT.parent / "shared"
