from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ckptload._version import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "ckptload"
author = "The ckptload authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"ckptload {release}"
html_copy_source = False
html_show_sphinx = False

# Headings are link targets, so that pages can point at a section: [](#crc-trailer).
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Aliases such as Array and Prefixes stay names; their meaning stands in the docstrings.
autodoc_type_aliases = {"Array": "numpy.ndarray"}
napoleon_numpy_docstring = False
napoleon_use_rtype = False


def without_comments(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Leave out the lines that name the tests of promises: even unseen, they would space lists more widely."""
    source[0] = re.sub(r"^ *<!-- tested by .*-->\n", "", source[0], flags=re.MULTILINE)


def setup(app: Sphinx) -> None:
    """Change pages when Sphinx reads them."""
    app.connect("source-read", without_comments)
