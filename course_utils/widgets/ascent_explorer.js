import { ascentOf } from "./ascent.js";
import { announcer, button, choice, formatNumber, html, listen, loadJax, numbers, player, sharing } from "./explorer.js";
import {
  contourSwatch, handle, heatSwatch, legendKey, linePath, lineStyle, lineSwatch, MARGIN, MOVABLE, moveByKeys, panel,
  plot, svg, tableOf,
} from "./figure.js";
import { noiseOf, normalLayer, plane } from "./plane.js";
import { runnable } from "./program.js";

const CURVE = { left: MARGIN.left, width: 240, height: 150, numTicks: [4, 5] };
const KEY_STEP = 0.05;
const NORMALISER_LINE = { color: "currentColor", dash: 1 };

/** Return the parameters of q, in the form that they are climbed in, of an entry of the history. */
const parametersOf = ([mean1, mean2, logScale1, logScale2, tilt]) => ({
  mean: [mean1, mean2], logScale: [logScale1, logScale2], tilt,
});
const entryOf = ({ mean, logScale, tilt }, elbo) => [...mean, ...logScale, tilt, elbo];

/** Return the mean of q and the lower triangle of its covariance's root. */
const normalOf = ([mean1, mean2, logScale1, logScale2, tilt]) => ({
  mean: [mean1, mean2], root: [[Math.exp(logScale1)], [tilt, Math.exp(logScale2)]],
});

/** Return the parameters after one step of stochastic gradient ascent. */
export function stepped(phi, gradient, { "step size": size, family }) {
  const along = (values, slopes) => values.map((value, i) => value + size * slopes[i]);
  return {
    mean: along(phi.mean, gradient.mean),
    logScale: along(phi.logScale, gradient.logScale),
    tilt: family === "full" ? phi.tilt + size * gradient.tilt : 0,
  };
}

/**
 * Return the table in which both are set up, below the choice of the target: its element, and `set(settings)`;
 * `onChange(number, what, option)`.
 */
function setUp(target, names, colors, choices, onChange) {
  const heads = names.map((name, i) => html("span", { class: "vi-head" }, legendKey(name, lineSwatch({ color: colors[i], dash: 0 }))));
  const rows = Object.entries(choices).map(([what, options]) => {
    const fields = names.map((name, i) => choice(`${what} of ${name}`, options, (option) => onChange(i, what, option)));
    return { what, fields };
  });
  const first = [html("span", { "aria-hidden": "true" }, "target"), html("div", { class: "vi-wide" }, target)];
  const cells = rows.flatMap(({ what, fields }) => [html("span", { "aria-hidden": "true" }, what), ...fields.map(({ element }) => element)]);
  return {
    element: html("div", { class: "vi-setup" }, ...first, html("span"), ...heads, ...cells),
    set: (settings) => rows.forEach(({ what, fields }) => fields.forEach((field, i) => field.set(settings[i][what]))),
  };
}

/** Return the panel of the ELBOs over the steps, below the line of log Z: its element, `frame(target)`, and `draw(history)`. */
function curvesOf({ max_steps, colors }) {
  const element = html("div", { class: "vi-curves" });
  const paths = colors.runs.map((color) => svg("path", lineStyle({ color, dash: 0 })));
  let made = null;
  const frame = ({ name, log_normaliser }) => {
    const yRange = [log_normaliser - 5, log_normaliser + 0.5];
    made = panel({ ...CURVE, xRange: [0, max_steps], yRange, xLabel: "step", yLabel: "ELBO, nats" });
    const level = { x1: 0, x2: made.width, y1: made.y(log_normaliser), y2: made.y(log_normaliser) };
    made.drawing.append(svg("line", { ...level, ...lineStyle(NORMALISER_LINE) }), ...paths);
    const size = [MARGIN.top + CURVE.height + MARGIN.bottom, [made], MARGIN.left + CURVE.width + MARGIN.right];
    element.replaceChildren(plot({ label: `The ELBO of both at each step, and log Z of the ${name}` }, ...size));
  };
  const draw = (history) =>
    history.forEach((run, i) =>
      paths[i].setAttribute("d", linePath(run.map((_, step) => step), run.map((entry) => entry[5] ?? NaN), made.x, made.y)),
    );
  return { element, frame, draw };
}

/** Return what happens to the two: their steps and new beginnings, all of them set with `set({ history, ... })`. */
function raceOf(model, spec, set) {
  const { targets, start, max_steps, choices, quadrature } = spec;
  const target = () => targets.find(({ name }) => name === model.get("target"));
  const ascents = new Map();
  let jax = null;
  const ascent = () => {
    const { name, program } = target();
    if (!ascents.has(name)) ascents.set(name, ascentOf(jax, runnable(program, jax)));
    return ascents.get(name);
  };
  const measured = (phi) => entryOf(phi, ascent().elbo(phi, quadrature));
  const begin = (entries) => set({ history: entries.map((entry) => [jax ? measured(parametersOf(entry)) : entry]) });
  const beginAnew = () => begin(start.history.map(([entry]) => entry));
  return {
    target,
    begin,
    beginAnew,
    load(loaded) {
      jax = loaded;
      if (model.get("history").every((run) => run.at(-1)[5] === null)) beginAnew();
    },
    isOver: () => model.get("history")[0].length > max_steps,
    /** Take a step; return the number of the run that cannot take it, or -1. */
    step() {
      const [history, settings] = [model.get("history"), model.get("settings")];
      const seed = 1000 * (model.get("seed") + 1) + history[0].length;
      const noise = noiseOf(seed, Math.max(...choices.K));
      const next = history.map((run, i) => {
        const phi = parametersOf(run.at(-1));
        const gradient = ascent().gradients[settings[i].estimator](phi, noise.slice(0, settings[i].K));
        return [...run, measured(stepped(phi, gradient, settings[i]))];
      });
      const lost = next.findIndex((run) => !run.at(-1).every(Number.isFinite));
      if (lost < 0) set({ history: next });
      return lost;
    },
  };
}

/** Return the buttons of the race, which `step()` until it returns false: their elements, `pause()` and `enable()`. */
function controlsOf({ step, isOver, onPause, onReset, onFresh }) {
  // A step that ends the race is its last, and Play after that takes none.
  const { node: play, pause } = player({ step: () => !isOver() && step() && !isOver(), onPause });
  const afterPause = (action) => () => {
    pause();
    action();
    onPause();
  };
  const one = button("Step", afterPause(() => isOver() || step()));
  const elements = [play, one, button("Reset", afterPause(onReset)), button("New noise", afterPause(onFresh))];
  const enable = (is) => [play, one].forEach((node) => (node.disabled = !is));
  return { elements, pause, enable, afterPause };
}

function render({ model, el }) {
  const spec = model.get("spec");
  const { colors, targets, start } = spec;
  const heights = numbers(model.get("heights"), Uint8Array);
  const share = sharing(model);
  const announce = announcer();
  const set = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    share.soon();
  };
  const race = raceOf(model, spec, set);
  const names = ["q 1", "q 2"];
  const table = tableOf(["step", ...names.map((name) => `ELBO of ${name}`), "log Z"]);
  const say = () => announce.say(table.text());
  const note = html("p", { class: "vi-note", role: "status" });
  const controls = controlsOf({
    step() {
      const lost = race.step();
      note.textContent = lost < 0 ? "" : `The next step of ${names[lost]} would leave all bounds: choose a smaller step size, or a larger K.`;
      return lost < 0;
    },
    isOver: race.isOver,
    onPause: say,
    onReset() {
      note.textContent = "";
      set({ target: start.target, settings: start.settings, seed: start.seed });
      race.beginAnew();
    },
    onFresh() {
      set({ seed: model.get("seed") + 1 });
      race.beginAnew();
    },
  });
  const chooseTarget = (name) => controls.afterPause(() => {
    set({ target: name });
    race.beginAnew();
  })();
  const select = choice("target", targets.map(({ name }) => name), chooseTarget);

  const picture = plane(spec);
  // What stands in it can be moved: it is no mere image.
  picture.group.ownerSVGElement.setAttribute("role", "group");
  const runs = names.map((_, i) => {
    const path = svg("path", { ...lineStyle({ color: colors.runs[i], dash: 0 }), "stroke-width": 1.3 });
    picture.drawing.append(path);
    const within = (value, [low, high]) => Math.max(low, Math.min(high, value));
    const onMove = (z1, z2) => {
      controls.pause();
      const place = [within(z1, spec.x_range), within(z2, spec.y_range)];
      race.begin(model.get("history").map((run, j) => (i === j ? [...place, ...run.at(-1).slice(2)] : run.at(-1))));
    };
    const contours = normalLayer(picture, colors.runs[i]);
    const grip = handle(picture, { onMove, onEnd: say, attributes: { ...MOVABLE, style: `--vi-grip: ${colors.runs[i]}` } });
    const move = (right, up) => {
      const [z1, z2] = model.get("history")[i].at(-1);
      onMove(z1 + KEY_STEP * right, z2 + KEY_STEP * up);
    };
    moveByKeys(grip.node, { move, onEnd: say });
    return { path, contours, grip };
  });
  const curves = curvesOf(spec);
  const setups = setUp(select.element, names, colors.runs, spec.choices, (number, what, option) =>
    set({ settings: model.get("settings").map((chosen, i) => (i === number ? { ...chosen, [what]: option } : chosen)) }),
  );

  const draw = () => {
    const history = model.get("history");
    runs.forEach(({ path, contours, grip }, i) => {
      const [xs, ys] = [0, 1].map((axis) => history[i].map((entry) => entry[axis]));
      path.setAttribute("d", linePath(xs, ys, picture.x, picture.y));
      contours.draw(normalOf(history[i].at(-1)));
      grip.put(xs.at(-1), ys.at(-1));
      const place = `z₁ ${formatNumber(xs.at(-1), 2)}, z₂ ${formatNumber(ys.at(-1), 2)}`;
      grip.say(`mean of ${names[i]}: ${place}`);
    });
    curves.draw(history);
    const nats = [...history.map((run) => run.at(-1)[5]), race.target().log_normaliser];
    table.draw([String(history[0].length - 1), ...nats.map((value) => (value === null ? "–" : formatNumber(value, 3)))]);
  };
  const drawTarget = () => {
    const begin = targets.indexOf(race.target()) * spec.num_cells ** 2;
    picture.drawHeat(heights.subarray(begin, begin + spec.num_cells ** 2));
    curves.frame(race.target());
    select.set(model.get("target"));
    draw();
  };
  const drawSettings = () => setups.set(model.get("settings"));
  drawTarget();
  drawSettings();
  controls.enable(false);
  loadJax().then((jax) => {
    race.load(jax);
    controls.enable(true);
  });

  const legend = html(
    "div",
    { class: "vi-legend" },
    legendKey("target", heatSwatch({ color: colors.posterior })),
    ...names.map((name, i) => legendKey(name, contourSwatch({ color: colors.runs[i] }))),
    legendKey("log Z", lineSwatch(NORMALISER_LINE)),
  );
  const root = html("div", { class: "vi-explorer vi-plane-explorer", role: "group", "aria-label": spec.label });
  root.append(
    html("div", { class: "vi-picture" }, picture.element, legend),
    html(
      "div",
      { class: "vi-side" },
      html("div", { class: "vi-row" }, ...controls.elements),
      setups.element,
      note,
      html("div", { class: "vi-bars" }, curves.element, table.element),
    ),
    announce.element,
  );
  el.append(root);
  const ends = [
    listen(model, "change:history", draw),
    listen(model, "change:settings", drawSettings),
    listen(model, "change:target", drawTarget),
    controls.pause,
    share.close,
  ];
  return () => ends.forEach((end) => end());
}

export default { render };
