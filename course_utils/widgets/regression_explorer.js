import { announcer, button, formatNumber, html, listen, sharing, slider } from "./explorer.js";
import {
  columns, handle, legendKey, linePath, lineStyle, lineSwatch, MARGIN, MOVABLE, moveByKeys, panel, plot, svg, swatch,
  tableOf,
} from "./figure.js";
import { drawnFunction, predictive, regression } from "./regression.js";

const PLOT_SIDE = { left: MARGIN.left, width: 250, height: 220, numTicks: [6, 6] };
const DEGREE_BARS = { left: MARGIN.left, width: 220, height: 120 };
const NATS_SHOWN = 10;
const NUM_PLACES = 81;
const KEY_STEP = 0.02;
// By how many pixels a point must be dragged out of the panel to be deleted.
const OUTSIDE = 14;

/** Return the panel of data and predictions: its element, what `panel` returns, and `draw(posterior, noiseScale)`. */
function predictionsOf(spec) {
  const { colors, quantile, lines } = spec;
  const made = panel({ ...PLOT_SIDE, xRange: spec.x_range, yRange: spec.y_range, xLabel: "x", yLabel: "y" });
  const [low, high] = spec.x_range;
  const places = Array.from({ length: NUM_PLACES }, (_, i) => low + (i / (NUM_PLACES - 1)) * (high - low));
  const band = svg("path", { fill: colors.band, "fill-opacity": 0.3, "data-name": "band" });
  const draws = lines.map(() => svg("path", { ...lineStyle({ color: colors.draws, dash: 0 }), "stroke-width": 1, "data-name": "draw" }));
  const mean = svg("path", { ...lineStyle({ color: colors.mean, dash: 0 }), "data-name": "mean" });
  made.drawing.append(band, ...draws, mean);
  const curve = (heights) => linePath(places, heights, made.x, made.y);
  const draw = (posterior, noiseScale) => {
    const found = places.map((x) => predictive(posterior, x));
    const half = found.map(({ scale }) => quantile * Math.hypot(scale, noiseScale));
    const edge = (sign) => found.map((each, i) => each.mean + sign * half[i]);
    const back = linePath([...places].reverse(), edge(-1).reverse(), made.x, made.y);
    band.setAttribute("d", `${curve(edge(1))}L${back.slice(1)}Z`);
    mean.setAttribute("d", curve(found.map((each) => each.mean)));
    draws.forEach((path, k) => path.setAttribute("d", curve(places.map(drawnFunction(posterior, lines[k])))));
  };
  const size = [MARGIN.top + PLOT_SIDE.height + MARGIN.bottom, [made], MARGIN.left + PLOT_SIDE.width + MARGIN.right];
  const element = plot({ label: spec.plot_label }, ...size);
  // What stands in it can be moved: it is no mere image.
  element.setAttribute("role", "group");
  return { ...made, element, draw };
}

/**
 * Put the points on the panel: `draw(points)`. They are moved by mouse, finger and arrow keys, deleted by the key Delete
 * or by dragging them out; a click beside them adds one. `change(points)` gets what is wanted.
 */
function pointsOf(made, { color, getPoints, change, onEnd }) {
  const sheet = svg("rect", { class: "vi-sheet", width: made.width, height: made.height, "data-name": "sheet" });
  made.group.append(sheet);
  const within = (place) => place.map((value, axis) => {
    const [low, high] = [made.ranges.x, made.ranges.y][axis];
    return Number(Math.max(low, Math.min(high, value)).toFixed(3));
  });
  const move = (i, place) => change(getPoints().with(i, within(place)));
  const remove = (i) => {
    change(getPoints().filter((_, j) => j !== i));
    onEnd();
  };
  const add = (x, y) => {
    change([...getPoints(), within([x, y])]);
    onEnd();
  };
  sheet.addEventListener("click", (event) => add(...made.placeAt(event)));
  const handles = [];
  const makeHandle = () => {
    const i = handles.length;
    let isOut = false;
    const onMove = (x, y) => {
      const [low, high] = [made.xAt(-OUTSIDE), made.xAt(made.width + OUTSIDE)];
      isOut = x < low || x > high || y < made.yAt(made.height + OUTSIDE) || y > made.yAt(-OUTSIDE);
      move(i, [x, y]);
      node.classList.toggle("vi-leaving", isOut);
    };
    const end = () => {
      node.classList.remove("vi-leaving");
      if (isOut) remove(i);
      else onEnd();
      isOut = false;
    };
    const point = handle(made, { onMove, onEnd: end, attributes: { ...MOVABLE, style: `--vi-grip: ${color}` } });
    const { node } = point;
    const moveBy = (...steps) => move(i, getPoints()[i].map((value, axis) => value + KEY_STEP * steps[axis]));
    moveByKeys(node, { move: moveBy, onEnd });
    node.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") remove(i);
      if (event.key === "Backspace") event.preventDefault();
    });
    return point;
  };
  const draw = (points) => {
    while (handles.length < points.length) handles.push(makeHandle());
    while (handles.length > points.length) handles.pop().node.remove();
    points.forEach(([x, y], i) => {
      handles[i].put(x, y);
      handles[i].say(`point ${i + 1}: x ${formatNumber(x, 2)}, y ${formatNumber(y, 2)}`);
    });
  };
  return { draw, add, focusLast: () => handles.at(-1)?.node.focus() };
}

function render({ model, el }) {
  const spec = model.get("spec");
  const { colors, degrees, max_points } = spec;
  const share = sharing(model);
  const announce = announcer();
  const set = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    share.soon();
  };
  const predictions = predictionsOf(spec);
  const table = tableOf(["points", "log-evidence, nats", "best degree"]);
  const say = () => announce.say(table.text());
  const points = pointsOf({ ...predictions, ranges: { x: spec.x_range, y: spec.y_range } }, {
    color: colors.data,
    getPoints: () => model.get("points"),
    change: (wanted) => wanted.length <= max_points && set({ points: wanted }),
    onEnd: say,
  });
  const bars = columns(degrees.map((degree) => ({ name: String(degree), color: colors.evidence })), {
    ...DEGREE_BARS, yRange: [-NATS_SHOWN, 0], yLabel: "nats below the best",
  });
  bars.group.append(svg("text", { x: DEGREE_BARS.width / 2, y: DEGREE_BARS.height + 38, "text-anchor": "middle" }, "degree"));
  const evidencePlot = plot(
    { label: "The log-evidence of each degree, below that of the best" },
    MARGIN.top + DEGREE_BARS.height + MARGIN.bottom, [bars], MARGIN.left + DEGREE_BARS.width + MARGIN.right,
  );
  const [lowNoise, highNoise] = spec.noise_range;
  const degree = slider({
    name: "degree", min: degrees[0], max: degrees.at(-1), step: 1, onInput: (value) => set({ degree: value }), onChange: say,
  });
  const noise = slider({
    name: "noise scale", min: lowNoise, max: highNoise, step: 0.01,
    onInput: (value) => set({ noise_scale: value }), onChange: say,
  });

  const draw = () => {
    const [data, chosen, noiseScale] = ["points", "degree", "noise_scale"].map((name) => model.get(name));
    const found = degrees.map((each) => regression(data, each, spec.prior_scale, noiseScale));
    const evidences = found.map((each) => each.logEvidence);
    const best = evidences.indexOf(Math.max(...evidences));
    predictions.draw(found[degrees.indexOf(chosen)], noiseScale);
    points.draw(data);
    bars.draw(evidences.map((each) => each - evidences[best]));
    bars.mark(degrees.indexOf(chosen));
    degree.set(chosen, String(chosen));
    noise.set(noiseScale, formatNumber(noiseScale, 2));
    table.draw([String(data.length), formatNumber(evidences[degrees.indexOf(chosen)], 3), String(degrees[best])]);
  };
  draw();

  const buttons = html(
    "div",
    { class: "vi-row" },
    button("Add a point", () => {
      points.add((spec.x_range[0] + spec.x_range[1]) / 2, (spec.y_range[0] + spec.y_range[1]) / 2);
      points.focusLast();
    }),
    button("Clear", () => {
      set({ points: [] });
      say();
    }),
    button("Reset", () => {
      set(spec.start);
      say();
    }),
  );
  const legend = html(
    "div",
    { class: "vi-legend" },
    legendKey("data", swatch(svg("circle", { class: "vi-grip", cx: 14, cy: 7, r: 5, style: `--vi-grip: ${colors.data}` }))),
    legendKey("mean", lineSwatch({ color: colors.mean, dash: 0 })),
    legendKey("draws of f", swatch(svg("line", { x1: 1, x2: 27, y1: 7, y2: 7, stroke: colors.draws }))),
    legendKey("90 % of a new y", swatch(svg("rect", { x: 3, y: 2, width: 22, height: 10, fill: colors.band, "fill-opacity": 0.3 }))),
  );
  const note = html("p", { class: "vi-note" }, "Click to add a point, drag it to move it, drag it out to delete it. Keys: arrows and Delete.");
  const root = html("div", { class: "vi-explorer vi-plane-explorer", role: "group", "aria-label": spec.label });
  root.append(
    html("div", { class: "vi-picture" }, predictions.element, legend),
    html(
      "div",
      { class: "vi-side" },
      html("div", { class: "vi-sliders" }, degree.element, noise.element),
      buttons,
      note,
      html("div", { class: "vi-bars" }, evidencePlot, table.element),
    ),
    announce.element,
  );
  el.append(root);
  const ends = ["points", "degree", "noise_scale"].map((name) => listen(model, `change:${name}`, draw));
  return () => [...ends, share.close].forEach((end) => end());
}

export default { render };
