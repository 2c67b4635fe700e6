"""Settings of Sphinx: ``sphinx-build -W docs build/site`` makes the site; no page needs the network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pages import write_pages  # noqa: E402

from astro_dist import __version__  # noqa: E402

project = "astro_dist"
author = "the authors of astro_dist"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Blocks without a language are commands and tables of text, not Python.
highlight_language = "none"
nitpicky = False
# Docstrings state types in their numpydoc sections; signatures stay on one line without them.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Titles of guides come from their first heading; those of old guides begin below it with deeper ones.
suppress_warnings = ["myst.header"]
html_theme = "furo"
html_title = "astro_dist"
html_static_path = ["static"]
html_css_files = ["house.css"]
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5cad", "color-brand-content": "#0b5cad"},
    "dark_css_variables": {"color-brand-primary": "#79b8ff", "color-brand-content": "#79b8ff"},
}

write_pages(HERE / "generated")
