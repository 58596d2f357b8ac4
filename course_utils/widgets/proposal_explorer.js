import { announcer, button, formatNumber, html, listen, numbers, sharing, slider } from "./explorer.js";
import { columns, contourSwatch, handle, heatSwatch, legendKey, lineStyle, lineSwatch, MARGIN, plot, svg, tableOf } from "./figure.js";
import { dotsLayer, drawsSwatch, noiseOf, normalLayer, plane } from "./plane.js";

const STEP = 0.01;
const EVIDENCE_LINE = { color: "currentColor", dash: 1 };
const BARS_HEIGHT = 150;

/**
 * Return the function that interpolates between `values`, a square grid of `num` x `num` numbers stored row by row,
 * whose axes begin at `first`: through the four points around it in each direction goes a polynomial of degree 3.
 */
export function interpolation(values, num, axes) {
  const [weightsX, weightsY] = [new Float64Array(4), new Float64Array(4)];
  /** Write the weights of the four points around a coordinate; return the index of the first. */
  const place = (weights, { first, spacing }, coordinate) => {
    const distance = (coordinate - first) / spacing;
    const index = Math.max(0, Math.min(num - 4, Math.floor(distance) - 1));
    const t = distance - index - 1;
    weights[0] = (-t * (t - 1) * (t - 2)) / 6;
    weights[1] = ((t + 1) * (t - 1) * (t - 2)) / 2;
    weights[2] = (-(t + 1) * t * (t - 2)) / 2;
    weights[3] = ((t + 1) * t * (t - 1)) / 6;
    return index;
  };
  return (z1, z2) => {
    const [column, row] = [place(weightsX, axes[0], z1), place(weightsY, axes[1], z2)];
    let sum = 0;
    for (let j = 0; j < 4; j++) {
      const begin = (row + j) * num + column;
      for (let i = 0; i < 4; i++) sum += weightsY[j] * weightsX[i] * values[begin + i];
    }
    return sum;
  };
}

/** Return the normal with these five numbers: its mean, and the lower triangle whose product with itself is its covariance. */
export function normal([mean1, mean2, scale1, scale2, correlation]) {
  const root = [[scale1], [scale2 * correlation, scale2 * Math.sqrt(1 - correlation ** 2)]];
  return { mean: [mean1, mean2], root };
}

/** Return the draws of q that `noise` makes, z = mean + root · noise, with their log-weights log p(x, z) − log q(z). */
export function weigh({ mean, root: [[a], [b, c]] }, noise, logJoint) {
  const xs = noise.map(([e1]) => mean[0] + a * e1);
  const ys = noise.map(([e1, e2]) => mean[1] + b * e1 + c * e2);
  const logConstant = -Math.log(2 * Math.PI * a * c);
  const logWeights = noise.map(([e1, e2], k) => logJoint(xs[k], ys[k]) - (logConstant - 0.5 * (e1 ** 2 + e2 ** 2)));
  return { xs, ys, logWeights };
}

/** Return each draw's share of the sum of all weights, the effective sample size, log p̂ and the ELBO in nats. */
export function estimates(logWeights) {
  const largest = Math.max(...logWeights);
  const relative = logWeights.map((logWeight) => Math.exp(logWeight - largest));
  const sum = relative.reduce((total, weight) => total + weight, 0);
  const shares = relative.map((weight) => weight / sum);
  return {
    shares,
    effective: 1 / shares.reduce((total, share) => total + share ** 2, 0),
    logEvidence: largest + Math.log(sum / logWeights.length),
    elbo: logWeights.reduce((total, logWeight) => total + logWeight, 0) / logWeights.length,
  };
}

/** Return the bars and the table of what the draws say: its element, `draw(found)`, and `text()`, all of it in words. */
function readings({ colors, evidence, evidence_label, num_draws, bars_range, bars_label }) {
  const nats = columns([{ name: "log p̂", color: colors.estimate }, { name: "ELBO", color: colors.elbo }], {
    left: MARGIN.left, width: 110, height: BARS_HEIGHT, yRange: bars_range, yLabel: "nats",
  });
  const size = columns([{ name: "ESS", color: colors.effective }], {
    left: 2 * MARGIN.left + 114, width: 50, height: BARS_HEIGHT, yRange: [0, 1], yLabel: "share of the draws",
  });
  const level = { x1: 0, x2: nats.width, y1: nats.y(evidence), y2: nats.y(evidence) };
  nats.drawing.append(svg("line", { ...level, ...lineStyle(EVIDENCE_LINE) }));
  const bars = plot({ label: bars_label }, MARGIN.top + BARS_HEIGHT + 26, [nats, size], 2 * MARGIN.left + 170);
  const table = tableOf(["ESS", "log p̂", "ELBO", evidence_label]);
  const draw = ({ effective, logEvidence, elbo }) => {
    nats.draw([logEvidence, elbo]);
    size.draw([effective / num_draws]);
    const texts = [logEvidence, elbo, evidence].map((value) => formatNumber(value, 3));
    table.draw([`${formatNumber(effective, 1)} of ${num_draws}`, ...texts]);
  };
  return { element: html("div", { class: "vi-bars" }, bars, table.element), draw, text: table.text };
}

/**
 * Put handles on a plane for the mean of q and the two columns of its root: `draw(q)`. `change(entries)` is called with
 * the numbers of q, by their index, that are to be others.
 */
function handlesOf(picture, { limits, getQ, change, onEnd }) {
  // Those of the columns stand on the side of the mean that has more room.
  const side = (axis) => (getQ()[axis] > (limits[axis][0] + limits[axis][1]) / 2 ? -1 : 1);
  const setSecondRow = (b, c) => change({ 3: Math.hypot(b, c), 4: b / Math.hypot(b, c) });
  const make = (onMove) => handle(picture, { onMove, onEnd, attributes: { "aria-hidden": "true" } });
  const centre = make((z1, z2) => change({ 0: z1, 1: z2 }));
  const first = make((z1, z2) => {
    const { mean, root: [, [, c]] } = normal(getQ());
    change({ 2: side(0) * (z1 - mean[0]) });
    setSecondRow(side(0) * (z2 - mean[1]), c);
  });
  const second = make((_, z2) => {
    const { mean, root: [, [b]] } = normal(getQ());
    setSecondRow(b, Math.max(side(1) * (z2 - mean[1]), limits[3][0]));
  });
  return {
    draw({ mean, root: [[a], [b, c]] }) {
      centre.put(...mean);
      first.put(mean[0] + side(0) * a, mean[1] + side(0) * b);
      second.put(mean[0], mean[1] + side(1) * c);
    },
  };
}

/** Return the legend of the plane. */
function legendOf({ colors, evidence_label }) {
  return html(
    "div",
    { class: "vi-legend" },
    legendKey("posterior", heatSwatch({ color: colors.posterior })),
    legendKey("q", contourSwatch({ color: colors.q })),
    legendKey("its draws, by weight", drawsSwatch(colors.q, [2, 5, 3])),
    legendKey(evidence_label, lineSwatch(EVIDENCE_LINE)),
  );
}

function render({ model, el }) {
  const spec = model.get("spec");
  const { limits, num_draws } = spec;
  const logJoint = interpolation(numbers(model.get("log_joint"), Float32Array), spec.num_grid, spec.axes);
  const share = sharing(model);
  const announce = announcer();
  const set = (name, value) => {
    model.set(name, value);
    share.soon();
  };
  const change = (entries) => {
    const within = (value, [low, high]) => Number(Math.max(low, Math.min(high, value)).toFixed(3));
    set("q", model.get("q").map((value, i) => (i in entries ? within(entries[i], limits[i]) : value)));
  };

  const picture = plane(spec);
  picture.drawHeat(numbers(model.get("heights"), Uint8Array));
  const dots = dotsLayer(picture, num_draws, spec.colors.q);
  const contours = normalLayer(picture, spec.colors.q);
  const read = readings(spec);
  const say = () => announce.say(read.text());
  const handles = handlesOf(picture, { limits, getQ: () => model.get("q"), change, onEnd: say });
  const sliders = spec.names.map((name, i) => {
    const [min, max] = limits[i];
    return slider({ name, min, max, step: STEP, onInput: (value) => change({ [i]: value }), onChange: say });
  });
  let [noise, shares] = [[], []];
  const draw = () => {
    const q = normal(model.get("q"));
    const { xs, ys, logWeights } = weigh(q, noise, logJoint);
    const found = estimates(logWeights);
    ({ shares } = found);
    // The area of a dot is its weight.
    dots.draw(xs, ys, shares.map((each) => 0.5 + 2.4 * Math.sqrt(num_draws * each)));
    contours.draw(q);
    handles.draw(q);
    read.draw(found);
    model.get("q").forEach((value, i) => sliders[i].set(value, formatNumber(value, 2)));
  };
  const drawAnew = () => {
    noise = noiseOf(model.get("seed"), num_draws);
    draw();
  };
  drawAnew();
  dots.onHover((k) => `${formatNumber(100 * shares[k], 2)} % of all weights`);

  const fresh = button("New draws", () => {
    set("seed", model.get("seed") + 1);
    say();
  });
  const reset = button("Reset", () => {
    for (const [name, value] of Object.entries(spec.start)) set(name, value);
    say();
  });
  const controls = html("div", { class: "vi-sliders" }, ...sliders.map(({ element }) => element));
  const root = html("div", { class: "vi-explorer vi-plane-explorer", role: "group", "aria-label": spec.label });
  root.append(
    html("div", { class: "vi-picture" }, picture.element, legendOf(spec)),
    html("div", { class: "vi-side" }, controls, html("div", { class: "vi-row" }, fresh, reset), read.element),
    announce.element,
  );
  el.append(root);
  const ends = [listen(model, "change:q", draw), listen(model, "change:seed", drawAnew), share.close];
  return () => ends.forEach((end) => end());
}

export default { render };
