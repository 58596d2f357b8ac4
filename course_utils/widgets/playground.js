import { mlp, Z_STEP } from "./decoder.js";
import {
  button, formatNumber, html, jaxWorker, keepKeys, listen, numbers, sharing, slider, standardNormal, unpacked,
} from "./explorer.js";
import { ACTIVE_NATS, curvesPicture, imageRow, latentPlane, meanKl, unitBars } from "./playground_pictures.js";

const NUM_SLIDERS = 6;
const SAMPLES_SHOWN = 16;
const IMAGES_SHOWN = 8;

/** Return the first rows of what lies in `values` row by row. */
const cut = (values, length) =>
  Array.from({ length: IMAGES_SHOWN }, (_, i) => values.subarray(i * length, (i + 1) * length));

/** Return a labelled choice among `values`, which calls `onChange(value)`: its element, and `set(value)`. */
function selection({ name, values, onChange }) {
  const node = keepKeys(html("select", { "aria-label": name }));
  node.append(...values.map((value, i) => html("option", { value: i }, String(value))));
  node.addEventListener("change", () => onChange(values[node.selectedIndex]));
  const set = (value) => (node.selectedIndex = values.indexOf(value));
  return { element: html("label", { class: "vi-select" }, html("span", { "aria-hidden": "true" }, name), node), set };
}

/** Return the `settings` as a link's `hash` changes them, and a sentence for the first that it cannot have. */
export function settingsOfHash(hash, choices, settings) {
  const read = { ...settings };
  let problem = "";
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const choice = choices.find((entry) => entry.key === name);
    if (!choice) continue;
    const value = choice.values.find((known) => String(known) === text);
    if (value !== undefined) read[name] = value;
    else problem ||= `The link asks for ${name} = ${text}; it can be ${choice.values.join(", ")}.`;
  }
  return { settings: read, problem };
}

/** Return `settings` as a link's hash. */
export const hashOfSettings = (settings) => `#${new URLSearchParams(settings)}`;

/** Return `settings` as the Python that gives them; what is the default goes without saying. */
export function pythonOfSettings(settings, defaults) {
  const changed = Object.entries(settings).filter(([name, value]) => value !== defaults[name]);
  return `Playground(${changed.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(", ")})`;
}

function render({ model, el }) {
  const spec = model.get("spec");
  const labels = numbers(model.get("labels"), Uint8Array);
  const share = sharing(model);
  const noise = Array.from({ length: SAMPLES_SHOWN }, () => Array.from({ length: 64 }, standardNormal));
  const settings = () => model.get("settings");
  let [worker, starting, running, ended] = [null, null, false, false];
  let [look, order, z, sliders] = [null, [0, 1], [], []];
  let history;
  let [runId, rate, waiting] = [0, undefined, false];

  const status = html("p", { class: "vi-status", role: "status" });
  const watch = html("p", { class: "vi-note" });
  const say = (text) => (status.textContent = text);
  const forget = () => (history = { said: [], train: [], heldOut: [] });
  forget();

  // Settings and presets.
  const setSettings = (changed) => {
    model.set("settings", { ...settings(), ...changed });
    share.soon();
  };
  const selections = spec.choices.map((choice) => ({
    key: choice.key,
    ...selection({ ...choice, onChange: (value) => setSettings({ [choice.key]: value }) }),
  }));
  const presets = spec.presets.map(({ name, settings: chosen, watch: sentence }) => {
    const node = button(name, () => {
      setSettings({ ...spec.defaults, ...chosen });
      watch.textContent = sentence;
      act("run");
    });
    return { node, sentence, key: JSON.stringify({ ...spec.defaults, ...chosen }) };
  });

  const unpackedPixels = unpacked(model.get("pixels")).arrayBuffer();
  // The worker is started by the first button that needs it.
  const start = () => (starting ??= (async () => {
    say("Getting ready …");
    const [made, pixels] = await Promise.all([jaxWorker(model.get("worker")), unpackedPixels]);
    if (ended) return made.terminate();
    worker = made;
    worker.onmessage = ({ data: message }) => onMessage[message.type](message);
    worker.onerror = (event) => fail(event.message);
    const images = { pixels: new Uint8Array(pixels), numHeldOut: labels.length, side: spec.side };
    worker.postMessage({ type: "data", ...images }, [pixels]);
    begin();
  })().catch((error) => fail(error.message)));
  const fail = (text) => {
    running = false;
    say(`The training has stopped: ${text.replace(/^Uncaught /, "")}`);
    showButtons();
  };
  const begin = () => {
    forget();
    [look, rate, sliders, z] = [null, undefined, [], new Array(settings().latent_dim).fill(0)];
    drawReadout();
    worker.postMessage({ type: "start", id: ++runId, settings: settings() });
  };
  const act = async (type) => {
    running = type === "run";
    showButtons();
    await start();
    if (worker === null) return;
    worker.postMessage({ type, count: 1 });
    if (running) say("Training.");
  };

  const train = button("Train", () => act(running ? "pause" : "run"));
  const stepButton = button("Step", () => act("step"));
  const reset = button("Reset", () => {
    running = false;
    showButtons();
    if (worker) begin();
  });
  const copied = html("code", { class: "vi-copied" });
  const shareButton = button(spec.own_page ? "Copy link" : "Copy as Python", async () => {
    const text = spec.own_page
      ? `${location.href.split("#")[0]}${hashOfSettings(settings())}`
      : pythonOfSettings(settings(), spec.defaults);
    copied.textContent = text;
    // A page that may not write to the clipboard shows the text all the same.
    await navigator.clipboard?.writeText(text).catch(() => {});
  });
  function showButtons() {
    train.textContent = running ? "Pause" : "Train";
  }

  // What is drawn.
  const curves = curvesPicture();
  const units = unitBars();
  const plane = latentPlane({
    onPick(x, y) {
      if (!look) return;
      const [first, second] = planeDims();
      z[first] = x;
      if (second !== undefined) z[second] = y;
      soon();
    },
  });
  const rows = {
    pictures: imageRow("held-out images", IMAGES_SHOWN),
    decoded: imageRow("decoded from their codes", IMAGES_SHOWN),
    samples: imageRow("samples: decoded from the prior", SAMPLES_SHOWN),
  };
  const turned = imageRow("decoded from z", 1);
  turned.element.classList.add("vi-turned");
  const sliderGroup = html("div", { class: "vi-sliders" });
  const entries = [
    { name: "step", decimals: 0, of: () => look.step },
    { name: "steps a second", decimals: 0, of: () => rate },
    { name: "the objective says", decimals: 1, of: () => last("said") },
    { name: "right bound, training", decimals: 1, of: () => last("train") },
    { name: "right bound, held out", decimals: 1, of: () => last("heldOut") },
  ];
  const last = (key) => history[key].at(-1)?.[1];
  const cells = entries.map(() => html("td", {}, "–"));
  const readout = html(
    "table",
    { class: "vi-readout" },
    html("tbody", {}, ...entries.map(({ name }, i) => html("tr", {}, html("th", { scope: "row" }, name), cells[i]))),
  );
  const drawReadout = () =>
    entries.forEach(({ decimals, of }, i) => {
      const value = look ? of() : undefined;
      cells[i].textContent = value === undefined ? "–" : formatNumber(value, decimals);
    });

  const planeDims = () => {
    const kl = look.kl;
    return kl.map((_, d) => d).sort((a, b) => kl[b] - kl[a]).slice(0, 2).sort((a, b) => a - b);
  };
  const natsOf = (d) => `${formatNumber(look.kl[d], 2)} nats`;
  const makeSliders = () => {
    order = look.kl.map((_, d) => d).sort((a, b) => look.kl[b] - look.kl[a]).slice(0, NUM_SLIDERS);
    sliders = order.map((d) => slider({
      name: `z[${d}]`, note: natsOf(d), min: -3, max: 3, step: Z_STEP,
      onInput(value) {
        z[d] = value;
        soon();
      },
    }));
    sliderGroup.replaceChildren(...sliders.map((made) => made.element));
  };
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  };
  function draw() {
    waiting = false;
    if (!look || ended) return;
    const { latent, side, means } = look;
    if (!sliders.length) makeSliders();
    if (look.fresh) {
      look.fresh = false;
      curves.draw(history);
      units.draw(look.kl);
      order.forEach((d, i) => sliders[i].setNote(natsOf(d)));
      rows.pictures.draw(cut(look.pictures, side * side), side);
      rows.decoded.draw(cut(means, latent).map((code) => look.decode(code).slice()), side);
      rows.samples.draw(noise.map((all) => look.decode(all.slice(0, latent)).slice()), side);
      drawReadout();
    }
    plane.draw(look, labels, planeDims(), z);
    turned.draw([look.decode(z)], side);
    order.forEach((d, i) => sliders[i].set(z[d], formatNumber(z[d], 2)));
  }

  const onMessage = {
    look(message) {
      if (message.id !== runId) return; // on its way when the settings were changed
      const { latent_dim: latent, width, side } = settings();
      const size = side * side;
      if (message.said.length) {
        const mean = message.said.reduce((a, b) => a + b, 0) / message.said.length;
        history.said.push([message.step - message.said.length / 2, mean]);
      }
      if (message.bounds) {
        history.train.push([message.step, message.bounds.train]);
        history.heldOut.push([message.step, message.bounds.heldOut]);
      }
      const layers = [
        { inputs: latent, outputs: width, activation: "silu" },
        { inputs: width, outputs: size, activation: "sigmoid" },
      ];
      look = {
        ...message, latent, side, numImages: labels.length, decode: mlp(layers, message.decoder), fresh: true,
      };
      look.kl = meanKl(look);
      rate = message.rate ?? rate;
      if (message.isLast && !running) {
        makeSliders();
        const active = look.kl.filter((nats) => nats >= ACTIVE_NATS).length;
        const { step, bounds } = message;
        const steps = `${step} step${step === 1 ? "" : "s"}`;
        const bound = `right bound on held-out images ${formatNumber(bounds.heldOut, 1)} nats`;
        say(step ? `Paused after ${steps}: ${bound}, ${active} of ${latent} latent dimensions active.` : "Ready.");
        const objective = last("said") ?? null;
        model.set("result", { step, objective, train: bounds.train, held_out: bounds.heldOut, kl: look.kl });
        share.soon();
      }
      soon();
    },
    stopped({ step, value }) {
      fail(`at step ${step} the objective is ${formatNumber(value, 1)}; a smaller learning rate often helps.`);
    },
  };

  const showSettings = () => {
    const now = settings();
    selections.forEach(({ key, set }) => set(now[key]));
    const key = JSON.stringify(now);
    presets.forEach((preset) => {
      preset.node.setAttribute("aria-pressed", String(preset.key === key));
      if (preset.key === key) watch.textContent = preset.sentence;
    });
    if (!presets.some((preset) => preset.key === key)) watch.textContent = "Settings of your own.";
  };
  const restart = () => {
    showSettings();
    if (!worker) return;
    begin();
    if (running) worker.postMessage({ type: "run" });
  };
  const fromLink = () => {
    const read = settingsOfHash(location.hash, spec.choices, settings());
    if (JSON.stringify(read.settings) !== JSON.stringify(settings())) setSettings(read.settings);
    showSettings();
    say(read.problem || "Choose what to watch, or press Train.");
  };

  const column = (...parts) => html("div", { class: "vi-column" }, ...parts);
  const strips = Object.values(rows).map((row) => row.element);
  const turning = html("div", { class: "vi-latent vi-turning" }, turned.element, sliderGroup);
  const root = html("div", { class: "vi-explorer vi-playground", role: "group", "aria-label": spec.label });
  root.append(
    html("div", { class: "vi-row", role: "group", "aria-label": "what to watch" }, ...presets.map(({ node }) => node)),
    watch,
    html("div", { class: "vi-row" }, ...selections.map((made) => made.element)),
    html("div", { class: "vi-row" }, train, stepButton, reset, shareButton, copied),
    status,
    html(
      "div",
      { class: "vi-panels" },
      column(curves.element, readout, units.element),
      column(plane.element),
      column(...strips, turning),
    ),
  );
  el.append(root);
  showSettings();
  curves.draw(history);
  unpackedPixels.then((buffer) => {
    if (look || !buffer.byteLength) return; // the worker has them by now
    const size = spec.side ** 2;
    const heldOut = new Uint8Array(buffer).subarray(-labels.length * size);
    rows.pictures.draw(cut(heldOut, size).map((greys) => Float32Array.from(greys, (grey) => grey / 255)), spec.side);
  });
  if (spec.own_page) {
    fromLink();
    addEventListener("hashchange", fromLink);
  } else say("Choose what to watch, or press Train.");
  const ends = [listen(model, "change:settings", restart), share.close];
  return () => {
    ended = true;
    worker?.terminate();
    removeEventListener("hashchange", fromLink);
    ends.forEach((end) => end());
  };
}

export default { render };
