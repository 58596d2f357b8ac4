import { formatNumber, numbers } from "./explorer.js";
import {
  contourStyle, contourSwatch, heatMap, heatSwatch, layered, legendKey, linePath, lineStyle, lineSwatch, MARGIN, panel,
  plot, svg, swatch,
} from "./figure.js";
import { curvesPanel, frameOffset, renderFrames } from "./frames.js";

const SIDE = 320;
const GAP = 88;
// In less room the curves stand below the densities.
const LEAST_BESIDE = 580;

// Where a Gaussian would be this many scales away from its mean.
const LEVELS = [0.5, 1, 1.5, 2, 2.5].map((scales) => Math.exp(-0.5 * scales ** 2));

// The edges by which a line enters and leaves a cell, for each sum of the corners above it (SW 1, SE 2, NE 4, NW 8);
// these stay on its left. Where two opposite corners are (5 and 10), the middle of the cell decides.
const CROSSINGS = ["", "SW", "ES", "EW", "NE", "SWNE", "NS", "NW", "WN", "SN", "ESWN", "EN", "WE", "SE", "WS", ""];
const CROSSINGS_WITH_MIDDLE = { 5: "SENW", 10: "WSEN" };

/**
 * Return the SVG path of the lines where `values`, a grid stored row by row, cross `level` (marching squares). `x` and
 * `y` take a column and a row, or fractions between them, to pixels.
 */
export function contourPath(values, numX, numY, level, x, y) {
  // An edge of the grid goes from a point to the east (even numbers) or north of it (odd ones); `next` joins the edges.
  const next = new Map();
  for (let j = 0; j + 1 < numY; j++) {
    for (let i = 0; i + 1 < numX; i++) {
      const here = j * numX + i;
      const [sw, se, nw, ne] = [values[here], values[here + 1], values[here + numX], values[here + numX + 1]];
      const corners = (sw >= level) + 2 * (se >= level) + 4 * (ne >= level) + 8 * (nw >= level);
      if (corners === 0 || corners === 15) continue;
      const middle = (corners === 5 || corners === 10) && sw + se + nw + ne >= 4 * level;
      const crossings = (middle ? CROSSINGS_WITH_MIDDLE : CROSSINGS)[corners];
      const edges = { S: 2 * here, W: 2 * here + 1, E: 2 * here + 3, N: 2 * (here + numX) };
      for (let k = 0; k < crossings.length; k += 2) next.set(edges[crossings[k]], edges[crossings[k + 1]]);
    }
  }
  const point = (edge) => {
    const from = edge >> 1;
    const north = edge & 1;
    const step = (level - values[from]) / (values[from + (north ? numX : 1)] - values[from]);
    const [i, j] = [from % numX, Math.floor(from / numX)];
    return `${x(north ? i : i + step).toFixed(1)},${y(north ? j + step : j).toFixed(1)}`;
  };
  let path = "";
  const follow = (start) => {
    let [edge, pen] = [start, "M"];
    do {
      path += pen + point(edge);
      const after = next.get(edge);
      next.delete(edge);
      [edge, pen] = [after, "L"];
    } while (edge !== undefined && edge !== start);
    if (edge === start) path += "Z";
  };
  // Lines that begin at the border of the grid come first, so that none is begun in its middle.
  const entered = new Set(next.values());
  for (const edge of [...next.keys()].filter((edge) => !entered.has(edge))) follow(edge);
  for (const edge of next.keys()) follow(edge);
  return path;
}

/** Return the SVG path of a dot at each finite point: a line of no length, which its round ends make visible. */
export function dotsPath(xs, ys, x, y) {
  let path = "";
  for (let i = 0; i < xs.length; i++) {
    if (Number.isFinite(xs[i]) && Number.isFinite(ys[i])) path += `M${x(xs[i]).toFixed(1)},${y(ys[i]).toFixed(1)}h0`;
  }
  return path;
}

const dotStyle = ({ color }) => ({ fill: "none", stroke: color, "stroke-width": 5.5 });

/** Return the function that says what the densities are at a place, of which `bytes(entry, position)` has the square roots. */
function densityReader(spec, bytes) {
  const axes = [spec.x_range, spec.y_range];
  const labels = [spec.x_label, spec.y_label];
  const decimals = axes.map(([low, high]) => Math.max(0, 2 - Math.floor(Math.log10(high - low))));
  return (place, position) => {
    const [column, row] = axes.map(([low, high], axis) => {
      const cell = Math.floor(((place[axis] - low) / (high - low)) * spec.shape[axis]);
      return Math.max(0, Math.min(spec.shape[axis] - 1, cell));
    });
    const shares = spec.densities
      .map((entry) => [entry.name, bytes(entry, position)])
      .filter(([, values]) => values.some((value) => value > 0))
      .map(([name, values]) => `${name}: ${Math.round(100 * (values[row * spec.shape[0] + column] / 255) ** 2)} % of its peak`);
    return [...labels.map((label, axis) => `${label}: ${formatNumber(place[axis], decimals[axis])}`), ...shares];
  };
}

/** Return the panel of densities, points and paths, a square: what `panel` returns, the heat map's `canvas`, and `draw(position)`. */
function densitiesPanel(spec, data, densities, side) {
  const [numX, numY] = spec.shape;
  const count = Math.round(side / 46);
  const made = panel({
    left: MARGIN.left, width: side, height: side, numTicks: [count, count], grid: false,
    xRange: spec.x_range, yRange: spec.y_range, xLabel: spec.x_label, yLabel: spec.y_label,
  });
  const { drawing, x, y, width, height } = made;
  const bytes = (entry, position) => {
    const begin = frameOffset(entry, position);
    return densities.subarray(begin, begin + numX * numY);
  };
  // The axes reach to the borders of the outermost cells.
  const column = (i) => ((i + 0.5) / numX) * width;
  const row = (j) => height - ((j + 0.5) / numY) * height;
  const contours = (entry, position) => {
    const values = bytes(entry, position);
    return LEVELS.map((level) => contourPath(values, numX, numY, 255 * Math.sqrt(level), column, row)).join("");
  };
  const through = (path) => (entry, position) => {
    const begin = frameOffset(entry, position);
    const numbers = data.subarray(begin, begin + 2 * entry.num);
    const coordinates = [0, 1].map((axis) => numbers.filter((_, i) => i % 2 === axis));
    return path(...coordinates, x, y);
  };
  const [first, ...others] = spec.densities;
  const layers = [
    ...others.map((entry) => ({ entry, style: contourStyle(entry), path: contours })),
    ...spec.paths.map((entry) => ({ entry, style: lineStyle(entry), path: through(linePath) })),
    ...spec.points.map((entry) => ({ entry, style: dotStyle(entry), path: through(dotsPath) })),
  ].map(({ entry, style, path }) => {
    // Below each line lies a wider one in the colour of the page, so that it is seen on every shade of the heat map.
    const casing = svg("path", { class: "vi-casing vi-round", "stroke-width": style["stroke-width"] + 2 });
    const line = svg("path", { class: "vi-round", "data-name": entry.name, ...style });
    drawing.append(casing, line);
    return { entry, path, nodes: [casing, line] };
  });
  const heat = heatMap(numX, numY, first.color);
  const draw = (position) => {
    heat.draw(bytes(first, position));
    for (const { entry, path, nodes } of layers) {
      const d = path(entry, position);
      for (const node of nodes) node.setAttribute("d", d);
    }
  };
  const isShaded = densities.some((value) => value > 0);
  const textsAt = isShaded ? densityReader(spec, bytes) : () => [];
  return { ...made, canvas: heat.canvas, draw, textsAt, drag: spec.drag, isShaded };
}

/** Return the panel of the curves, with a line at the first slider's value: what `curvesPanel` returns. */
function sidePanel(spec, data, place) {
  const made = curvesPanel(spec, data, { ...place, numTicks: [Math.min(4, Math.floor(place.width / 60)), 5] });
  const marker = svg("line", { class: "vi-marker", y1: 0, y2: place.height });
  made.drawing.prepend(marker);
  const draw = (position) => {
    made.draw(position);
    const pixel = made.x(data[frameOffset(spec.marker, position)]).toFixed(1);
    marker.setAttribute("x1", pixel);
    marker.setAttribute("x2", pixel);
  };
  return { ...made, draw };
}

/** Return the `side` of the densities' square, the place of the curves, and the picture's size, all `room` pixels wide at most. */
function places(room, hasCurves) {
  const margins = MARGIN.left + MARGIN.right;
  if (!hasCurves || room < LEAST_BESIDE) {
    const side = Math.min(SIDE, room - margins);
    const row = MARGIN.top + side + MARGIN.bottom;
    const curves = { left: MARGIN.left, top: row + MARGIN.top, width: side, height: Math.round(0.7 * side) };
    const height = hasCurves ? curves.top + curves.height + MARGIN.bottom : row;
    return { side, curves, width: margins + side, height };
  }
  const side = Math.min(SIDE, Math.floor(0.54 * (room - margins - GAP)));
  const left = MARGIN.left + side + GAP;
  const curves = { left, width: room - MARGIN.right - left, height: side };
  return { side, curves, width: room, height: MARGIN.top + side + MARGIN.bottom };
}

const dotSwatch = (entry) => swatch(svg("path", { class: "vi-round", d: "M7,8h0M14,5h0M21,9h0", ...dotStyle(entry) }));

export default {
  render: (context) => {
    const densities = numbers(context.model.get("densities"), Uint8Array);
    return renderFrames(context, "density", (spec, data, room) => {
      const { side, curves, width, height } = places(room, spec.side !== null);
      const main = densitiesPanel(spec, data, densities, side);
      const parts = [main, ...(spec.side ? [sidePanel(spec.side, data, curves)] : [])];
      const box = { left: MARGIN.left, width: side, height: side };
      const picture = layered(main.canvas, plot(spec, height, parts, width), box);
      const [first, ...others] = spec.densities;
      const legend = [
        ...(main.isShaded ? [legendKey(first.name, heatSwatch(first))] : []),
        ...others.map((entry) => legendKey(entry.name, contourSwatch(entry))),
        ...spec.paths.map((entry) => legendKey(entry.name, lineSwatch(entry))),
        ...spec.points.map((entry) => legendKey(entry.name, dotSwatch(entry))),
        ...(spec.side?.curves ?? []).map((entry) => legendKey(entry.name, lineSwatch(entry))),
      ];
      return { legend, parts, picture };
    });
  },
};
