"""What several tests of the command line begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import browser

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def chromium() -> Iterator[browser.Page]:
    """Return a page in Chromium that has complained of nothing, and asked the network for nothing, in the end."""
    if browser.find() is None:
        pytest.skip("there is no Chromium here")
    with browser.Page() as page:
        yield page
        page.run("0")
        assert page.complaints == []
        assert all(address.startswith(("file:", "blob:file:")) for address in page.requests)
