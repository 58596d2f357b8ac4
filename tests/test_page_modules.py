"""How the explorers' files become the one module that a page can import, and how it is replaced when one is saved."""

import os
import re
import subprocess
import sys
import threading

import pytest

from course_utils.widgets.modules import HERE, joined, page_module

FILES = {
    "low.js": 'export const low = "low";\nconst own = 1;\n',
    "left.js": 'import { low } from "./low.js";\n\nexport function left() {\n  return low;\n}\n',
    "right.js": 'import {\n  low,\n} from "./low.js";\n\nexport const right = () => import("somewhere");\n',
    "entry.js": '// Says what it is.\n\nimport { left } from "./left.js";\nimport { right } from "./right.js";\n\nexport default { left, right };\n',
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_each_file_comes_once_behind_what_it_imports(folder):
    assert joined("entry.js", folder).split("\n") == [
        'export const low = "low";',
        "const own = 1;",
        "",
        "export function left() {",
        "  return low;",
        "}",
        "",
        'export const right = () => import("somewhere");',
        "",
        "// Says what it is.",
        "",
        "export default { left, right };",
        "",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("low.js", 'import { left } from "./left.js";\n', "left.js imports itself, by way of low.js"),
        ("low.js", 'import { none } from "./none.js";\n', "low.js imports none.js, which is not there"),
        (
            "low.js",
            'import { left } from "left";\n',
            'low.js has an import that cannot be joined: import { left } from "left"',
        ),
        ("low.js", 'import low from "./left.js";\n', "low.js has an import that cannot be joined: import low"),
        (
            "low.js",
            'import * as low from "./left.js";\n',
            "low.js has an import that cannot be joined: import * as low",
        ),
        ("low.js", 'import "./left.js";\n', "low.js has an import that cannot be joined: import"),
        (
            "low.js",
            'import { a as b } from "./left.js";\n',
            "low.js has an import that cannot be joined: import { a as b }",
        ),
        (
            "low.js",
            '  import { left } from "./left.js";\n',
            "low.js has an import that cannot be joined: import { left }",
        ),
        (
            "low.js",
            'export { left } from "./left.js";\n',
            "low.js has an import that cannot be joined: export { left }",
        ),
        ("low.js", 'export * from "./left.js";\n', "low.js has an import that cannot be joined: export *"),
        ("left.js", "const own = 2;\n", "low.js and left.js both define own"),
        ("left.js", "async function own() {}\n", "low.js and left.js both define own"),
        ("left.js", "export class own {}\n", "low.js and left.js both define own"),
    ],
)
def test_one_sentence_names_the_file_that_cannot_be_joined(folder, name, text, message):
    (folder / name).write_text(f"{text}{FILES[name]}")
    with pytest.raises(ImportError, match=re.escape(message)):
        joined("entry.js", folder)


def test_an_entry_that_is_not_there_is_named(folder):
    with pytest.raises(ImportError, match=r"An explorer imports none\.js, which is not there"):
        joined("none.js", folder)


LIVE = """
import sys, time
from pathlib import Path
import anywidget
from modules import page_module

folder = Path(sys.argv[1])

class Example(anywidget.AnyWidget):
    _esm = page_module("entry.js", folder)

widget = Example()

def wait_for(text):
    deadline = time.monotonic() + 30
    while text not in widget._esm:
        assert time.monotonic() < deadline, widget._esm
        time.sleep(0.05)

wait_for('low = "low"')
for text, expected in [
    ('export const low = "lower";', 'low = "lower"'),
    ('import { none } from "./none.js";', 'el.append("low.js imports none.js'),
    ('export const low = "lowest";', 'low = "lowest"'),
]:
    (folder / "low.js").write_text(text)
    wait_for(expected)
"""


def test_what_is_saved_replaces_the_module_of_an_open_widget(folder):
    environment = os.environ | {"ANYWIDGET_HMR": "1"}
    # From its own folder the module comes without the package, which would import JAX.
    subprocess.run([sys.executable, "-c", LIVE, str(folder)], env=environment, cwd=HERE, check=True)


def test_nothing_is_followed_unless_one_asks_for_it(folder, monkeypatch):
    monkeypatch.delenv("ANYWIDGET_HMR", raising=False)
    before = threading.active_count()
    assert page_module("entry.js", folder) == joined("entry.js", folder)
    assert threading.active_count() == before
