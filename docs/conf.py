from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ckptload._version import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Classes whose objects come from functions.
RETURNED = frozenset(
    {
        *("ArrayDifference", "BindingPlan", "Comparison", "Coverage", "DType", "Entry", "Evidence", "Facts", "Foreign"),
        *("ForeignField", "Installation", "Item", "LayerDifference", "Load", "Misfit", "Move", "Moves", "Note"),
        *(
            "ParamDictFuture",
            "Proposal",
            "Question",
            "RankFile",
            "RankFiles",
            "Reader",
            "SliceLayout",
            "Strategy",
            "TensorSlice",
        ),
        *("Type", "mindspore.Installation"),
    }
)

project = "ckptload"
author = "The ckptload authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

# Buttons copy what a reader types: no prompts, and no output where there are prompts.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"ckptload {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["wide.css"]

# Headings are link targets, so that pages can point at a section: [](#crc-trailer).
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# Longer signatures have one argument a line.
python_maximum_signature_line_length = 80

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# Aliases such as Array and Prefixes stay names; their meaning stands in the docstrings.
autodoc_type_aliases = {"Array": "numpy.ndarray"}
napoleon_numpy_docstring = False
napoleon_use_rtype = False


def without_comments(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Leave out the lines that name the tests of promises: even unseen, they would space lists more widely."""
    source[0] = re.sub(r"^ *<!-- tested by .*-->\n", "", source[0], flags=re.MULTILINE)


def without_constructors(
    _app: Sphinx, what: str, name: str, _thing: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leave out the arguments of classes that functions return, and that users do not make themselves."""
    if what == "class" and name.removeprefix("ckptload.") in RETURNED:
        return "", None
    return signature, returns


def setup(app: Sphinx) -> None:
    """Change pages when Sphinx reads them."""
    app.connect("source-read", without_comments)
    app.connect("autodoc-process-signature", without_constructors)
