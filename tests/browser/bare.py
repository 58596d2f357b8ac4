"""An empty page with an explorer in it: what JupyterLab gives to an explorer, reduced to what an explorer asks of it."""

import base64

import anywidget
from playwright.sync_api import Page

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
    await module.default.initialize?.({ model });
    window.end = module.default.render?.({ model, el: document.body });
}"""


def show(page: Page, widget: anywidget.AnyWidget) -> None:
    """Let the widget draw itself in the page, alone; what an earlier one left in the page's memory stays there."""
    traits = {
        name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in widget.get_state().items()
        if not name.startswith("_") and name != "layout"
    }
    page.evaluate(PAGE, [widget._esm, traits])


def text_sizes(page: Page) -> list[float]:
    """Return the sizes, in pixels of the screen, of all texts in the explorer's figures."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".vi-plot text")].map((text) =>
            parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b))"""
    )
