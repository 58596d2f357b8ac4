"""An explorer in an otherwise empty page."""

import base64

from playwright.sync_api import Page

from course_utils.widgets.explorer import Explorer

# What JupyterLab gives to an explorer, reduced to what an explorer asks of it.
PAGE = """async ([source, traits]) => {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const values = Object.fromEntries(Object.entries(traits).map(([name, value]) =>
        [name, value?.base64 === undefined ? value : new DataView(bytes(value.base64).buffer)]));
    const handlers = [];
    window.saved = [];
    const model = {
        get: (name) => values[name],
        set(name, value) {
            values[name] = value;
            handlers.filter(([event]) => event === `change:${name}`).forEach(([, handler]) => handler());
        },
        save_changes: () => window.saved.push(performance.now()),
        on: (event, handler) => handlers.push([event, handler]),
        off() {},
    };
    document.body.replaceChildren();
    window.module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    window.model = model;
    module.default.render({ model, el: document.body });
}"""


def show(page: Page, explorer: Explorer) -> None:
    """Let the explorer draw itself in an empty page."""
    traits = {
        name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in explorer.get_state().items()
        if not name.startswith("_") and name != "layout"
    }
    page.evaluate(PAGE, [explorer._esm, traits])
