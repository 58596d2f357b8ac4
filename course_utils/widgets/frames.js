// Shared by the explorers whose frames are all computed beforehand: this text stands in front of each one's own.

const WIDTH = 760;
const MARGIN = { left: 62, right: 14, top: 12, bottom: 46 };
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 4", "4 2", "6 2 2 2 2 2"];

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Return round numbers from `low` to `high`, about `count` of them, with their text. */
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
    const value = i * step;
    found.push({ value, text: decimals > 5 ? value.toExponential(1) : formatNumber(value, decimals) });
  }
  return found;
}

/**
 * Return a panel with axes: the group to draw in, clipped to it, and the scales from data to pixels. `numTicks` says
 * about how many numbers the axes have, and `grid` whether lines go from those of `y` to the right.
 */
function panel({ left, width, height, numTicks, grid = true, xRange, yRange, xLabel, yLabel }) {
  // Far outside of the panel a coordinate need not be exact, but it must be one that a browser can draw.
  const clamp = (pixel) => Math.max(-1e4, Math.min(1e4, pixel));
  const x = (value) => clamp(((value - xRange[0]) / (xRange[1] - xRange[0])) * width);
  const y = (value) => clamp(height - ((value - yRange[0]) / (yRange[1] - yRange[0])) * height);
  const group = svg("g", { transform: `translate(${left} ${MARGIN.top})` });
  const drawing = svg("svg", { width, height });
  const tick = grid ? { class: "vi-grid", x1: 0, x2: width } : { class: "vi-axis", x1: -5, x2: 0 };
  for (const { value, text } of ticks(...yRange, numTicks[1])) {
    group.append(
      svg("line", { ...tick, y1: y(value), y2: y(value) }),
      svg("text", { class: "vi-tick", x: -8, y: y(value), dy: "0.35em", "text-anchor": "end" }, text),
    );
  }
  if (xLabel !== null) {
    for (const { value, text } of ticks(...xRange, numTicks[0])) {
      group.append(
        svg("line", { class: "vi-axis", x1: x(value), x2: x(value), y1: height, y2: height + 5 }),
        svg("text", { class: "vi-tick", x: x(value), y: height + 18, "text-anchor": "middle" }, text),
      );
    }
    group.append(svg("text", { class: "vi-label", x: width / 2, y: height + 38, "text-anchor": "middle" }, xLabel));
  }
  const turned = `translate(-46 ${height / 2}) rotate(-90)`;
  group.append(
    svg("text", { class: "vi-label", transform: turned, "text-anchor": "middle" }, yLabel),
    drawing,
    svg("path", { class: "vi-axis", d: `M0,0V${height}H${width}`, fill: "none" }),
  );
  return { group, drawing, x, y, width, height };
}

/** Return the number at which the frame at `position` of a packed array begins. */
export function frameOffset({ offset, strides }, position) {
  return strides.reduce((sum, stride, axis) => sum + stride * position[axis], offset);
}

/** Return the SVG path through the points, interrupted where one is not finite. */
export function linePath(xs, ys, x, y) {
  let path = "";
  let pen = "M";
  for (let i = 0; i < xs.length; i++) {
    if (!Number.isFinite(xs[i]) || !Number.isFinite(ys[i])) {
      pen = "M";
      continue;
    }
    path += `${pen}${x(xs[i]).toFixed(1)},${y(ys[i]).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

/** Return the SVG path of filled steps centred on `xs`. */
function stepsPath(xs, ys, x, y) {
  const last = xs.length - 1;
  const edge = (i) => {
    if (i === 0) return xs[0] - (xs[1] - xs[0]) / 2;
    if (i > last) return xs[last] + (xs[last] - xs[last - 1]) / 2;
    return (xs[i - 1] + xs[i]) / 2;
  };
  const base = y(0).toFixed(1);
  let path = `M${x(edge(0)).toFixed(1)},${base}`;
  for (let i = 0; i <= last; i++) {
    path += `V${y(Number.isFinite(ys[i]) ? ys[i] : 0).toFixed(1)}H${x(edge(i + 1)).toFixed(1)}`;
  }
  return `${path}V${base}Z`;
}

const lineStyle = ({ color, dash }) => ({
  fill: "none", stroke: color, "stroke-width": 2.2, "stroke-dasharray": DASHES[dash % DASHES.length],
});
const areaStyle = ({ color, steps }) => ({
  fill: color, "fill-opacity": steps ? 0.35 : 0.85, stroke: color, "stroke-width": 1.3,
});

/** Return the legend's entry: `picture`, beside the name. */
const legendKey = (name, picture) => html("span", { class: "vi-key" }, picture, name);

/** Return the legend's picture of what is drawn by `shapes`. */
const swatch = (...shapes) => svg("svg", { width: 28, height: 14, "aria-hidden": "true" }, ...shapes);
const lineSwatch = (entry) => swatch(svg("line", { x1: 1, x2: 27, y1: 7, y2: 7, ...lineStyle(entry) }));
const areaSwatch = (entry) => swatch(svg("rect", { x: 3, y: 2, width: 22, height: 10, ...areaStyle(entry) }));

/** Return the picture in which the panels of `parts` stand. */
function plot(spec, height, parts, width = WIDTH) {
  const attributes = { class: "vi-plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.label };
  return svg("svg", attributes, ...parts.map((part) => part.group));
}

/** Return a panel of curves over `x`, of the size in `place`, with `draw(position)`. */
function curvesPanel(spec, data, place) {
  const made = panel({
    ...place, xRange: spec.x_range, yRange: spec.y_range, xLabel: spec.x_label, yLabel: spec.y_label,
  });
  const xs = data.subarray(spec.x.offset, spec.x.offset + spec.num_x);
  const paths = spec.curves.map((entry) =>
    svg("path", { "data-name": entry.name, ...(entry.steps ? areaStyle : lineStyle)(entry) }),
  );
  made.drawing.append(...paths);
  const draw = (position) =>
    spec.curves.forEach((entry, i) => {
      const begin = frameOffset(entry, position);
      const ys = data.subarray(begin, begin + spec.num_x);
      paths[i].setAttribute("d", (entry.steps ? stepsPath : linePath)(xs, ys, made.x, made.y));
    });
  return { ...made, draw };
}

/** Return the table of numbers: its element, and `draw(position)`. */
function readoutTable(spec, data) {
  const cells = spec.readout.map(() => html("td"));
  const rows = spec.readout.map(({ name }, i) => html("tr", {}, html("th", { scope: "row" }, name), cells[i]));
  const attributes = { class: "vi-readout", "aria-live": "polite", "aria-atomic": "true" };
  const draw = (position) =>
    spec.readout.forEach((entry, i) => {
      const text = formatNumber(data[frameOffset(entry, position)], entry.decimals);
      if (cells[i].textContent !== text) cells[i].textContent = text;
    });
  return { element: html("table", attributes, html("tbody", {}, ...rows)), draw };
}

/**
 * Draw an explorer that holds all of its frames, and keep it at the sliders' values. `build(spec, data)` returns what
 * differs between the explorers: the entries of the `legend`, the `picture`, and `parts` with `draw(position)` each.
 */
function renderFrames({ model, el }, name, build) {
  const spec = model.get("spec");
  const data = numbers(model.get("data"), Float32Array);
  const share = sharing(model);
  const sliders = spec.sliders.map(({ name, texts }, axis) => {
    const onInput = (index) => {
      // Setting it on the model is what draws it, at once and in all views.
      model.set("position", model.get("position").with(axis, index));
      share.soon();
    };
    return slider({ name, min: 0, max: texts.length - 1, step: 1, onInput });
  });
  // Room for the widest value, so that nothing moves when a slider does.
  const widest = Math.max(...spec.sliders.flatMap(({ texts }) => texts.map((text) => text.length)));
  const controls = html(
    "div",
    { class: "vi-controls" },
    html("div", { class: "vi-sliders", style: `--vi-value-width: ${widest}ch` }, ...sliders.map((s) => s.element)),
  );
  const { legend, picture, parts } = build(spec, data);
  if (spec.readout.length) {
    const readout = readoutTable(spec, data);
    controls.append(readout.element);
    parts.push(readout);
  }

  const draw = () => {
    const position = model.get("position");
    spec.sliders.forEach(({ texts }, axis) => sliders[axis].set(position[axis], texts[position[axis]]));
    parts.forEach((part) => part.draw(position));
  };
  draw();
  const root = html("div", { class: `vi-explorer vi-${name}-explorer`, role: "group", "aria-label": spec.label });
  root.append(html("div", { class: "vi-top" }, controls, html("div", { class: "vi-legend" }, ...legend)), picture);
  el.append(root);
  const ends = [listen(model, "change:position", draw), share.close];
  return () => ends.forEach((end) => end());
}
