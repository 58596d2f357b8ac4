const WIDTH = 760;
const HEIGHT = 300;
const MARGIN = { left: 62, right: 14, top: 12, bottom: 46 };
const BARS_WIDTH = 190;
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

/** Return a panel with axes: the group to draw in, clipped to it, and the scales from data to pixels. */
function panel({ left, width, xRange, yRange, xLabel, yLabel }) {
  const top = MARGIN.top;
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  // Far outside of the panel a coordinate need not be exact, but it must be one that a browser can draw.
  const clamp = (pixel) => Math.max(-1e4, Math.min(1e4, pixel));
  const x = (value) => clamp(((value - xRange[0]) / (xRange[1] - xRange[0])) * width);
  const y = (value) => clamp(height - ((value - yRange[0]) / (yRange[1] - yRange[0])) * height);
  const group = svg("g", { transform: `translate(${left} ${top})` });
  const drawing = svg("svg", { width, height });
  for (const { value, text } of ticks(...yRange, 5)) {
    group.append(
      svg("line", { class: "vi-grid", x1: 0, x2: width, y1: y(value), y2: y(value) }),
      svg("text", { class: "vi-tick", x: -8, y: y(value), dy: "0.35em", "text-anchor": "end" }, text),
    );
  }
  if (xLabel !== null) {
    for (const { value, text } of ticks(...xRange, 7)) {
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

/** Return the SVG path through `ys`, interrupted where one is not finite. */
export function linePath(xs, ys, x, y) {
  let path = "";
  let pen = "M";
  for (let i = 0; i < xs.length; i++) {
    if (!Number.isFinite(ys[i])) {
      pen = "M";
      continue;
    }
    path += `${pen}${x(xs[i]).toFixed(1)},${y(ys[i]).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

/** Return the SVG path of filled steps centred on `xs`. */
export function stepsPath(xs, ys, x, y) {
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

/** Return the legend's entry for a curve, a bar or a level. */
function legendKey(entry, isArea) {
  const shape = isArea
    ? svg("rect", { x: 3, y: 2, width: 22, height: 10, ...areaStyle(entry) })
    : svg("line", { x1: 1, x2: 27, y1: 7, y2: 7, ...lineStyle(entry) });
  const swatch = svg("svg", { width: 28, height: 14, "aria-hidden": "true" }, shape);
  return html("span", { class: "vi-key" }, swatch, entry.name);
}

/** Return the panel of the curves: its group, and `draw(position)`. */
function curvesPanel(spec, data, width) {
  const { group, drawing, x, y } = panel({
    left: MARGIN.left, width, xRange: spec.x_range, yRange: spec.y_range, xLabel: spec.x_label, yLabel: spec.y_label,
  });
  const xs = data.subarray(spec.x.offset, spec.x.offset + spec.num_x);
  const paths = spec.curves.map((entry) =>
    svg("path", { "data-name": entry.name, ...(entry.steps ? areaStyle : lineStyle)(entry) }),
  );
  drawing.append(...paths);
  const draw = (position) =>
    spec.curves.forEach((entry, i) => {
      const begin = frameOffset(entry, position);
      const ys = data.subarray(begin, begin + spec.num_x);
      paths[i].setAttribute("d", (entry.steps ? stepsPath : linePath)(xs, ys, x, y));
    });
  return { group, draw };
}

/** Return the panel of the bars and levels: its group, and `draw(position)`. */
function barsPanel(spec, data, left, width) {
  const { group, drawing, y } = panel({
    left, width, xRange: [0, 1], yRange: spec.bars_range, xLabel: null, yLabel: spec.bars_label,
  });
  const blocks = spec.bars.map((entry) => svg("rect", { "data-name": entry.name, ...areaStyle(entry) }));
  const lines = spec.levels.map((entry) =>
    svg("line", { "data-name": entry.name, x1: 0, x2: width, ...lineStyle(entry) }),
  );
  drawing.append(...blocks, ...lines);

  function draw(position) {
    let [from, total] = [spec.bars_from, 0];
    let [lowest, highest] = [from, from];
    spec.bars.forEach((entry, i) => {
      const value = data[frameOffset(entry, position)];
      const to = Number.isFinite(value) ? total + value : total;
      // A bar that goes back over those before it stands in front of them, narrower.
      const goesBack = i > 0 && Math.min(from, to) < highest && Math.max(from, to) > lowest;
      const share = goesBack ? 0.36 : 0.64;
      const [top, bottom] = [y(Math.max(from, to)), y(Math.min(from, to))];
      const box = { x: ((1 - share) / 2) * width, width: share * width, y: top, height: bottom - top };
      for (const [name, pixels] of Object.entries(box)) blocks[i].setAttribute(name, pixels.toFixed(1));
      [lowest, highest] = [Math.min(lowest, to), Math.max(highest, to)];
      from = total = to;
    });
    spec.levels.forEach((entry, i) => {
      const height = y(data[frameOffset(entry, position)]).toFixed(1);
      lines[i].setAttribute("y1", height);
      lines[i].setAttribute("y2", height);
    });
  }
  return { group, draw };
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

function render({ model, el }) {
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
  const legend = html(
    "div",
    { class: "vi-legend" },
    ...spec.curves.map((entry) => legendKey(entry, entry.steps)),
    ...spec.bars.map((entry) => legendKey(entry, true)),
    ...spec.levels.map((entry) => legendKey(entry, false)),
  );
  const viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
  const picture = svg("svg", { class: "vi-plot", viewBox, role: "img", "aria-label": spec.label });
  const room = WIDTH - MARGIN.left - MARGIN.right;
  const parts = [];
  if (spec.bars.length + spec.levels.length) {
    const width = BARS_WIDTH - MARGIN.left - 8;
    parts.push(curvesPanel(spec, data, room - BARS_WIDTH), barsPanel(spec, data, WIDTH - MARGIN.right - width, width));
  } else {
    parts.push(curvesPanel(spec, data, room));
  }
  picture.append(...parts.map((part) => part.group));
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
  const root = html("div", { class: "vi-explorer vi-curve-explorer", role: "group", "aria-label": spec.label });
  root.append(controls, legend, picture);
  el.append(root);
  const ends = [listen(model, "change:position", draw), share.close];
  return () => ends.forEach((end) => end());
}

export default { render };
