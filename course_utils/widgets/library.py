"""JavaScript libraries for the explorers: a page gets each one once, however many explorers use it."""

import gzip
import json

import anywidget
import traitlets

from course_utils.widgets.modules import HERE, page_module

VENDOR = HERE / "vendor"

_sent: dict[str, "Library"] = {}


class Library(anywidget.AnyWidget):
    """A library on its way to the page: a widget that is never displayed. ``packed`` is its one module, gzipped."""

    _esm = page_module("library.js")

    name = traitlets.Unicode().tag(sync=True)
    packed = traitlets.Bytes().tag(sync=True)

    def __repr__(self) -> str:
        return f"Library({self.name!r})"


def send_library(name: str) -> Library:
    """Send the library in ``vendor/NAME`` to the page, unless this kernel has done so before; explorers call it."""
    library = _sent.get(name)
    if library is None or library.comm is None:  # what was closed is gone from the page, too
        folder = VENDOR / name
        module = json.loads((folder / "vendored.json").read_text(encoding="utf-8"))["module"]
        _sent[name] = library = Library(name=name, packed=gzip.compress((folder / module).read_bytes(), mtime=0))
    return library
