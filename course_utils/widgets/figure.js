// Shared by the explorers that draw figures: axes, lines, areas and heat maps.

import { formatNumber, html, keepKeys } from "./explorer.js";

export const WIDTH = 760;
export const MARGIN = { left: 62, right: 14, top: 12, bottom: 46 };
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
// What screen readers are told of a handle that has keys of its own.
export const MOVABLE = { tabindex: 0, role: "button", "aria-roledescription": "movable point" };
export const DIGIT_COLORS = [
  "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8a8a8a", "#b8860b", "#7b5fc7", "#4d9221",
];
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 4", "4 2", "6 2 2 2 2 2"];

export function svg(tag, attributes = {}, ...children) {
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
 * Return a panel with axes: the group to draw in, clipped to it, the scales from data to pixels and back, and
 * `placeAt(event)`, the place under a pointer in the units of the axes. `numTicks` says about how many numbers the axes
 * have, and `grid` whether lines go from those of `y` to the right.
 */
export function panel({ left, top = MARGIN.top, width, height, numTicks, grid = true, xRange, yRange, xLabel, yLabel }) {
  // Far outside of the panel a coordinate need not be exact, but it must be one that a browser can draw.
  const clamp = (pixel) => Math.max(-1e4, Math.min(1e4, pixel));
  const x = (value) => clamp(((value - xRange[0]) / (xRange[1] - xRange[0])) * width);
  const y = (value) => clamp(height - ((value - yRange[0]) / (yRange[1] - yRange[0])) * height);
  const group = svg("g", { transform: `translate(${left} ${top})` });
  const drawing = svg("svg", { width, height });
  const tick = grid ? { class: "vi-grid", x1: 0, x2: width } : { class: "vi-axis", x1: -5, x2: 0 };
  const yTicks = ticks(...yRange, numTicks[1]);
  for (const { value, text } of yTicks) {
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
  const isWide = yTicks.some(({ text }) => text.replace(".", "").length > 3);
  const turned = `translate(${isWide ? -52 : -46} ${height / 2}) rotate(-90)`;
  group.append(
    svg("text", { class: "vi-label", transform: turned, "text-anchor": "middle" }, yLabel),
    drawing,
    svg("path", { class: "vi-axis", d: `M0,0V${height}H${width}`, fill: "none" }),
  );
  const xAt = (pixel) => xRange[0] + (pixel / width) * (xRange[1] - xRange[0]);
  const yAt = (pixel) => yRange[0] + (1 - pixel / height) * (yRange[1] - yRange[0]);
  const placeAt = ({ clientX, clientY }) => {
    const pixel = new DOMPoint(clientX, clientY).matrixTransform(group.getScreenCTM().inverse());
    return [xAt(pixel.x), yAt(pixel.y)];
  };
  return { group, drawing, x, y, xAt, yAt, placeAt, width, height };
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

export const lineStyle = ({ color, dash }) => ({
  fill: "none", stroke: color, "stroke-width": 2.2, "stroke-dasharray": DASHES[dash % DASHES.length],
});
export const areaStyle = ({ color, steps }) => ({
  fill: color, "fill-opacity": steps ? 0.35 : 0.85, stroke: color, "stroke-width": 1.3,
});

/** Return the legend's entry: `picture`, beside the name. */
export const legendKey = (name, picture) => html("span", { class: "vi-key" }, picture, name);

/** Return the legend's picture of what is drawn by `shapes`. */
export const swatch = (...shapes) => svg("svg", { width: 28, height: 14, "aria-hidden": "true" }, ...shapes);
export const lineSwatch = (entry) => swatch(svg("line", { x1: 1, x2: 27, y1: 7, y2: 7, ...lineStyle(entry) }));
export const areaSwatch = (entry) => swatch(svg("rect", { x: 3, y: 2, width: 22, height: 10, ...areaStyle(entry) }));

/** Return the picture in which the panels of `parts` stand. */
export function plot(spec, height, parts, width = WIDTH) {
  const attributes = { class: "vi-plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.label };
  return svg("svg", attributes, ...parts.map((part) => part.group));
}

/** Return a panel with a named bar for each of `entries`: its group, `y`, `draw(heights)`, and `mark(number)`. */
export function columns(entries, place) {
  const { group, drawing, y, width, height } = panel({ numTicks: [1, 5], xRange: [0, 1], xLabel: null, ...place });
  const room = width / entries.length;
  const blocks = entries.map(({ name, color }, i) => {
    const middle = (i + 0.5) * room;
    group.append(svg("text", { x: middle, y: height + 18, "text-anchor": "middle" }, name));
    return svg("rect", { "data-name": name, x: middle - 0.3 * room, width: 0.6 * room, ...areaStyle({ color }) });
  });
  const titles = entries.map(() => svg("title"));
  const rooms = titles.map((title, i) => svg("rect", { class: "vi-room", x: i * room, width: room, height }, title));
  drawing.append(...blocks, ...rooms);
  const draw = (heights) =>
    blocks.forEach((block, i) => {
      const top = Math.min(y(heights[i]), height);
      block.setAttribute("y", top.toFixed(1));
      block.setAttribute("height", (height - top).toFixed(1));
      titles[i].textContent = `${entries[i].name}: ${formatNumber(heights[i], 2)}`;
    });
  /** Let one of the bars stand out. */
  const mark = (chosen) => blocks.forEach((block, i) => block.classList.toggle("vi-pale", i !== chosen));
  return { group, drawing, y, width, draw, mark };
}

/** Return the table of the numbers: its element, `draw(numbers)`, and `text()`, all of it in words. */
export function tableOf(names) {
  const cells = names.map((name) => [name, html("td")]);
  const rows = cells.map(([name, cell]) => html("tr", {}, html("th", { scope: "row" }, name), cell));
  return {
    element: html("table", { class: "vi-readout" }, html("tbody", {}, ...rows)),
    draw: (texts) => texts.forEach((text, i) => (cells[i][1].textContent = text)),
    text: () => cells.map(([name, cell]) => `${name} ${cell.textContent}`).join(", "),
  };
}

/** Let what `heat` shows lie below the axes of `picture`, at the box from (left, top) on; both scale with the page. */
export function layered(heat, picture, { left, width, height }) {
  const [, , wholeWidth, wholeHeight] = picture.getAttribute("viewBox").split(" ").map(Number);
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  Object.assign(heat.style, {
    left: percent(left, wholeWidth), top: percent(MARGIN.top, wholeHeight),
    width: percent(width, wholeWidth), height: percent(height, wholeHeight),
  });
  return html("div", { class: "vi-layers", style: `flex-basis: ${wholeWidth}px` }, heat, picture);
}

/** Return the middle of an element, in pixels of the window. */
function middleOf(node) {
  const { left, right, top, bottom } = node.getBoundingClientRect();
  return { x: (left + right) / 2, y: (top + bottom) / 2 };
}

/** Return the handle in `group` whose middle is nearest to the pointer. */
function nearestHandle(group, { clientX, clientY }) {
  const distance = (node) => Math.hypot(middleOf(node).x - clientX, middleOf(node).y - clientY);
  return [...group.querySelectorAll("g.vi-handle")].reduce((a, b) => (distance(b) < distance(a) ? b : a));
}

/**
 * Return a handle that mouse, pen or finger drag over a panel: its `node`, `put(x, y)`, which takes the place in the units
 * of the axes, and `say(text)`, which names it to mouse and screen reader. While it is dragged, `onMove(x, y)` gets the
 * place where its middle is wanted, then comes `onEnd()`.
 */
export function handle({ group, x, y, placeAt }, { onMove, onEnd, attributes = {} }) {
  // A finger needs more room than the eye.
  const room = svg("circle", { class: "vi-room", r: 16 });
  const title = svg("title");
  const node = svg("g", { class: "vi-handle", ...attributes }, title, room, svg("circle", { class: "vi-grip", r: 6 }));
  let grip = null;
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    // The rooms of handles that stand close together overlap, and the upper one need not be the one that is meant.
    const nearest = nearestHandle(group, event);
    if (nearest !== node) return nearest.dispatchEvent(new PointerEvent(event.type, event));
    node.setPointerCapture(event.pointerId);
    const middle = middleOf(node);
    grip = { x: middle.x - event.clientX, y: middle.y - event.clientY };
  });
  node.addEventListener("pointermove", (event) => {
    if (grip === null) return;
    onMove(...placeAt({ clientX: event.clientX + grip.x, clientY: event.clientY + grip.y }));
  });
  for (const type of ["pointerup", "pointercancel"]) {
    node.addEventListener(type, () => {
      if (grip !== null) onEnd();
      grip = null;
    });
  }
  group.append(node);
  return {
    node,
    put: (dataX, dataY) => node.setAttribute("transform", `translate(${x(dataX).toFixed(1)} ${y(dataY).toFixed(1)})`),
    say(text) {
      title.textContent = text;
      node.setAttribute("aria-label", text);
    },
  };
}

/** Let arrow keys move a handle, five times as far with Shift: `move(right, up)` gets the steps; then comes `onEnd()`. */
export function moveByKeys(node, { move, onEnd }) {
  keepKeys(node);
  node.addEventListener("keydown", (event) => {
    if (!(event.key in KEYS)) return;
    event.preventDefault();
    move(...KEYS[event.key].map((step) => step * (event.shiftKey ? 5 : 1)));
  });
  node.addEventListener("keyup", (event) => event.key in KEYS && onEnd());
}

/** Return the colours of the heat map for each byte, RGBA: from transparent white through `color` towards black. */
function heatColors(color) {
  const canvas = html("canvas", { width: 256, height: 1 });
  const context = canvas.getContext("2d");
  const gradient = context.createLinearGradient(0, 0, 420, 0);
  ["white", color, "black"].forEach((stop, i) => gradient.addColorStop(i / 2, stop));
  context.fillStyle = gradient;
  context.fillRect(0, 0, 256, 1);
  const shades = context.getImageData(0, 0, 256, 1).data;
  const colors = new Uint8ClampedArray(4 * 256);
  for (let byte = 0; byte < 256; byte++) {
    const share = (byte / 255) ** 2;
    const shade = 4 * Math.round(255 * share);
    colors.set([...shades.subarray(shade, shade + 3), 255 * Math.min(1, 4 * share)], 4 * byte);
  }
  return colors;
}

/** Return a canvas of `width` x `height` cells, and `draw(bytes)`, which takes them row by row from the bottom. */
export function heatMap(width, height, color) {
  const canvas = html("canvas", { class: "vi-heat", width, height, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const colors = heatColors(color);
  const image = context.createImageData(width, height);
  const draw = (bytes) => {
    for (let j = 0; j < height; j++) {
      for (let i = 0; i < width; i++) {
        const color = 4 * bytes[j * width + i];
        const pixel = 4 * ((height - 1 - j) * width + i);
        for (let k = 0; k < 4; k++) image.data[pixel + k] = colors[color + k];
      }
    }
    context.putImageData(image, 0, 0);
  };
  return { canvas, draw };
}

export const contourStyle = ({ color }) => ({ fill: "none", stroke: color, "stroke-width": 1.6 });

/** Return the legend's picture of a heat map. */
export function heatSwatch({ color }) {
  const { canvas, draw } = heatMap(28, 1, color);
  canvas.style = "width: 28px; height: 12px";
  draw(Uint8Array.from({ length: 28 }, (_, i) => 255 * Math.sqrt(i / 27)));
  return canvas;
}

/** Return the legend's picture of contour lines. */
export const contourSwatch = (entry) =>
  swatch(...[[12, 5.8], [6, 2.6]].map(([rx, ry]) => svg("ellipse", { cx: 14, cy: 7, rx, ry, ...contourStyle(entry) })));
