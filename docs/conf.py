"""How Sphinx builds the site. `course site` puts the notebooks beside a copy of this folder; nothing is fetched."""

import html
import re

from docutils import nodes

project = "Variational inference, hands on"
author = "The course's authors"
copyright = "the course's authors, MIT licence"

extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinxcontrib.bibtex"]
exclude_patterns = ["vendor"]

# The notebooks come with their outputs.
nb_execution_mode = "off"
nb_merge_streams = True
nb_remove_code_source = False
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 4
myst_url_schemes = ["http", "https", "mailto"]

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "alpha"

html_theme = "furo"
html_title = project
html_static_path = ["_static", "vendor"]
html_css_files = ["katex/katex.min.css", "course.css"]
html_js_files = [
    ("theme.js", {"priority": 100}),
    ("explorers.js", {"defer": "defer"}),
    ("previews.js", {"defer": "defer"}),
    ("access.js", {"defer": "defer", "priority": 900}),
]
# KaTeX takes MathJax's place: this script renders what Sphinx marks as mathematics, and what the preview of a link shows.
mathjax_path = "math.js"
mathjax_options = {"defer": "defer"}
html_favicon = "_static/icon.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "light_css_variables": {"color-brand-primary": "#00629b", "color-brand-content": "#00629b"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0"},
}
# Of a link to a page: what is too short to be a description, and the picture.
SHORTEST_DESCRIPTION = 50
PICTURE = "pictures/latent_explorer.png"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def add_preview(app, pagename, templatename, context, doctree):
    """Say in the page's head what a link to it shows where it is posted: title, first sentences, and a picture if it has an address."""
    if doctree is None:
        return
    texts = (" ".join(node.astext().split()) for node in doctree.findall(nodes.paragraph))
    described = next((text for text in texts if len(text) > SHORTEST_DESCRIPTION), project)
    tags = {
        "og:type": "website",
        "og:site_name": project,
        "og:title": html.unescape(re.sub("<[^>]+>", "", context["title"])),
        "og:description": described,
    }
    if address := app.config.html_baseurl:
        tags |= {"og:url": context["pageurl"], "og:image": f"{address}_static/{PICTURE}"}
    lines = [f'<meta property="{name}" content="{html.escape(text)}">' for name, text in tags.items()]
    lines.append(f'<meta name="description" content="{html.escape(described)}">')
    context["metatags"] += "\n".join(lines)


def setup(app):
    app.set_html_assets_policy("always")  # a page without mathematics may have links to some
    app.connect("html-page-context", add_preview)
