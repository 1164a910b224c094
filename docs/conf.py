from __future__ import annotations

from ckptload._version import __version__

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
