// Shared by the explorers: fields, sliders and buttons, random numbers, libraries, and what goes to Python and comes from it.

const SAVES_PER_SECOND = 10;

/** Return an HTML element with attributes and children. */
export function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Keep the keys pressed on `node` from JupyterLab, which would take arrow keys away and delete the cell on "d d"; it looks
 * at the focused element only. What is pressed with Ctrl or ⌘, such as to save, stays JupyterLab's.
 */
export function keepKeys(node) {
  const keep = (event) => node.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey));
  for (const type of ["keydown", "keyup", "focus"]) node.addEventListener(type, keep);
  return node;
}

export function button(text, onClick) {
  const node = keepKeys(html("button", { type: "button", class: "vi-button" }, text));
  node.addEventListener("click", onClick);
  return node;
}

/**
 * Return the button that plays and pauses, `node`, and `pause()`. While it plays, `step()` is called once a frame until it
 * returns false; then, or at a pause, comes `onPause()`. `beforePlay()` comes first.
 */
export function player({ step, onPause, beforePlay = () => {} }) {
  let frame = null;
  const pause = () => {
    if (frame === null) return;
    cancelAnimationFrame(frame);
    frame = null;
    node.textContent = "Play";
    onPause();
  };
  const run = () => {
    frame = requestAnimationFrame(run);
    if (!step()) pause();
  };
  const node = button("Play", () => {
    if (frame !== null) return pause();
    beforePlay();
    node.textContent = "Pause";
    frame = requestAnimationFrame(run);
  });
  node.classList.add("vi-play");
  return { node, pause };
}

/** Return a field for a number, which calls `onChange()` when what is typed is finished: JupyterLab takes Enter's own end. */
export function numberField({ name, min, max, onChange }) {
  const node = keepKeys(html("input", { type: "number", min, max, step: 1, "aria-label": name }));
  node.addEventListener("change", onChange);
  node.addEventListener("keydown", (event) => event.key === "Enter" && onChange());
  return node;
}

/** Return a field in which one of `options` is chosen: its element, and `set(option)`. */
export function choice(name, options, onChange) {
  const entries = options.map((option) => html("option", {}, String(option)));
  const element = keepKeys(html("select", { "aria-label": name }, ...entries));
  element.addEventListener("change", () => onChange(options[element.selectedIndex]));
  return { element, set: (option) => (element.selectedIndex = options.indexOf(option)) };
}

/** Return buttons of which one is pressed: their `element`, and `press(option)`; `onChoose(option)` comes after a press. */
export function oneOf(label, options, chosen, onChoose) {
  const press = (option) => buttons.forEach((node, i) => node.setAttribute("aria-pressed", String(options[i] === option)));
  const buttons = options.map((option) =>
    button(option.name, () => {
      press(option);
      onChoose(option);
    }),
  );
  press(chosen);
  return { element: html("div", { class: "vi-row vi-group", role: "group", "aria-label": label }, ...buttons), press };
}

/**
 * Return a labelled native slider, which calls `onInput(value)` while it moves and `onChange()` when it is let go: its
 * element, its `input`, `set(value, text)` to move it, and `setNote(text)` to change what is noted beside its name.
 */
export function slider({ name, note = "", min, max, step, onInput, onChange = () => {} }) {
  const input = keepKeys(html("input", { type: "range", min, max, step, "aria-label": name }));
  input.addEventListener("input", () => onInput(input.valueAsNumber));
  input.addEventListener("change", onChange);
  const output = html("span", { class: "vi-value", "aria-hidden": "true" });
  const title = html("span", { class: "vi-name", "aria-hidden": "true" }, name);
  const noted = html("span", { class: "vi-note" });
  const setNote = (text) => {
    noted.textContent = text;
    input.setAttribute("aria-label", `${name}, ${text}`);
  };
  if (note) {
    title.append(noted);
    setNote(note);
  }
  let shown = null;
  return {
    element: html("div", { class: "vi-slider" }, title, html("div", { class: "vi-track" }, input), output),
    input,
    setNote,
    set(value, text) {
      if (value === shown) return;
      shown = value;
      input.value = value;
      output.textContent = text;
      input.setAttribute("aria-valuetext", text);
    },
  };
}

/** Return a line that only screen readers have, and `say(text)`, which has them read it once what they read now is over. */
export function announcer() {
  const element = html("p", { class: "vi-announcer", role: "status" });
  return { element, say: (text) => (element.textContent = text) };
}

/** Return a function that draws a standard normal number. */
export function standardNormal(random = Math.random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Return `random()` from 0 to 1, the same numbers for the same `seed`: the generator mulberry32. */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Return `soon()`, which passes what was set on `model` to Python, ten times a second at most, and `close()`. */
export function sharing(model) {
  let [timer, last] = [null, -Infinity];
  const save = () => {
    clearTimeout(timer);
    timer = null;
    last = performance.now();
    model.save_changes();
  };
  return {
    soon: () => (timer ??= setTimeout(save, last + 1000 / SAVES_PER_SECOND - performance.now())),
    close: () => timer !== null && save(),
  };
}

/** Return the response with what was packed by gzip: ask it for its `text()` or its `arrayBuffer()`. */
export const unpacked = (packed) => new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")));

const asModule = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));

/** Return the promise of the text of the library `name` in this page, with `resolve` for whoever brings it. */
export function library(name) {
  const libraries = (globalThis.courseLibraries ??= new Map());
  if (!libraries.has(name)) libraries.set(name, Promise.withResolvers());
  return libraries.get(name);
}

/** Return jax-js, as one module for all explorers of this page; Python brings it with `send_library("jax-js")`. */
export async function loadJax() {
  const entry = library("jax-js");
  const text = await entry.promise;
  return (entry.module ??= import(asModule(text)));
}

/** Return a worker that has run the module `source`, in which `jax` is jax-js; it listens to messages from now on. */
export async function jaxWorker(source) {
  // In a page without an origin, such as a file, a worker must be no module, and cannot read what the page holds.
  const modules = [await library("jax-js").promise, source].map((text) => JSON.stringify(text));
  const url = asModule(`const asModule = ${asModule};
    import(asModule(${modules[0]}))
      .then((module) => (globalThis.jax = module))
      .then(() => import(asModule(${modules[1]})))
      .then(() => postMessage("ready"), (error) => setTimeout(() => { throw error; }));`);
  const worker = new Worker(url);
  await new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = (event) => reject(new Error(event.message));
  });
  URL.revokeObjectURL(url);
  worker.onmessage = worker.onerror = null;
  return worker;
}

/** Listen to `model`; return a function that ends it. */
export function listen(model, event, handler) {
  model.on(event, handler);
  return () => model.off(event, handler);
}

/** Return the numbers of a binary trait, copied because they need not begin at a multiple of four bytes. */
export function numbers(view, Type) {
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

export function formatNumber(value, decimals) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : "−∞";
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}
