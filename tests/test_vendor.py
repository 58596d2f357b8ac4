"""What is not ours but shipped with the course: the very files that were built, with their licences."""

import gzip
import hashlib
import json

import pytest

from course_utils.widgets.library import VENDOR, send_library

LIBRARIES = sorted(path.parent.name for path in VENDOR.glob("*/vendored.json"))


def test_every_folder_says_what_it_holds():
    assert sorted(path.name for path in VENDOR.iterdir()) == LIBRARIES


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_is_what_was_built_and_says_its_licence(name):
    folder = VENDOR / name
    vendored = json.loads((folder / "vendored.json").read_text(encoding="utf-8"))
    source = (folder / vendored["module"]).read_bytes()
    assert hashlib.sha256(source).hexdigest() == vendored["sha256"]
    assert (folder / "LICENSE").read_text(encoding="utf-8").startswith(f"{vendored['license']} License")
    assert any(f"{vendored['name']}@{vendored['version']}" in command for command in vendored["build"])


def test_a_kernel_sends_a_library_once_and_again_when_it_was_closed():
    library = send_library("jax-js")
    assert gzip.decompress(library.packed) == (VENDOR / "jax-js" / "jax.js").read_bytes()
    assert send_library("jax-js") is library
    library.close()
    again = send_library("jax-js")
    assert again is not library and again.packed == library.packed
