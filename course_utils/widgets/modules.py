"""The explorers' JavaScript: files that import each other, joined to the one module that a page can import."""

import json
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
IMPORT = re.compile(r'^import \{(?:(?! as )[\w\s,])+\} from "\./(\w+\.js)";\n*', re.MULTILINE)
OTHER_IMPORT = re.compile(r"^\s*(?:import\b\s*[^\s(.]|export\s*(?:\*|\{[^}]*\}\s*from)).*", re.MULTILINE)
# Of `const [a, b] = …` it sees nothing, but the browser does.
DEFINITION = re.compile(r"^(?:export )?(?:(?:async )?function|class|const|let) (\w+)", re.MULTILINE)
SECONDS_BETWEEN_LOOKS = 0.3


def page_module(entry: str, folder: Path = HERE) -> object:
    """Return the text of one ES module: the file ``entry``, behind all that it imports, each file once.

    With ``ANYWIDGET_HMR=1`` in the environment, open notebooks get it anew when one of the files is saved.
    """
    return live(lambda: joined(entry, folder))


def joined(entry: str, folder: Path = HERE) -> str:
    """Return the text of ``page_module``.

    Raises:
        ImportError: a file is missing, imports itself by way of others, or imports anything but names from
            ``"./file.js"``; or two of them define the same name.
    """
    texts: dict[str, str] = {}
    definers: dict[str, str] = {}

    def add(name: str, importers: list[str]) -> None:
        if name in importers:
            raise ImportError(f"{name} imports itself, by way of {importers[-1]}.")
        if name in texts:
            return
        if not (folder / name).is_file():
            raise ImportError(f"{importers[-1] if importers else 'An explorer'} imports {name}, which is not there.")
        text = (folder / name).read_text(encoding="utf-8")
        for imported in IMPORT.findall(text):
            add(imported, [*importers, name])
        texts[name] = IMPORT.sub("", text)
        if other := OTHER_IMPORT.search(texts[name]):
            raise ImportError(f"{name} has an import that cannot be joined: {other[0].strip()}")
        for defined in DEFINITION.findall(text):
            if definers.setdefault(defined, name) != name:
                raise ImportError(f"{definers[defined]} and {name} both define {defined}.")

    add(entry, [])
    return "\n".join(texts.values())


def live(read: Callable[[], str]) -> object:
    """Return ``read()``; with ``ANYWIDGET_HMR=1``, contents for anywidget that become what it returns later."""
    if os.environ.get("ANYWIDGET_HMR") != "1":
        return read()
    from anywidget._file_contents import VirtualFileContents

    contents = VirtualFileContents(read())

    def follow() -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            try:
                text = read()
            except OSError:  # in the middle of being saved
                continue
            except ImportError as error:  # the page says it in the explorer's place
                text = f"export default {{ render: ({{ el }}) => el.append({json.dumps(str(error))}) }};"
            if text != contents.contents:
                contents.contents = text

    threading.Thread(target=follow, daemon=True).start()
    return contents
