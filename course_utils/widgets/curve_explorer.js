import { areaStyle, areaSwatch, legendKey, lineStyle, lineSwatch, MARGIN, panel, plot, svg } from "./figure.js";
import { curvesPanel, frameOffset, renderFrames } from "./frames.js";

const HEIGHT = 242;
const ROW = MARGIN.top + HEIGHT + MARGIN.bottom;
const BARS_WIDTH = 190;
// In less room the bars stand below the curves.
const LEAST_BESIDE = 520;

/** Return the panel of the bars and levels: its group, and `draw(position)`. */
function barsPanel(spec, data, place) {
  const { group, drawing, y, width } = panel({
    ...place, xRange: [0, 1], yRange: spec.bars_range, xLabel: null, yLabel: spec.bars_label,
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

/** Return the place of the curves, and that of the bars if there are any, in a picture `room` pixels wide. */
function places(room, hasBars) {
  const beside = hasBars && room >= LEAST_BESIDE;
  const width = room - MARGIN.left - MARGIN.right - (beside ? BARS_WIDTH : 0);
  const curves = { left: MARGIN.left, width, height: HEIGHT, numTicks: [Math.min(7, Math.floor(width / 55)), 5] };
  const bars = { width: BARS_WIDTH - MARGIN.left - 8, height: HEIGHT, numTicks: [1, 5] };
  const corner = beside ? { left: room - MARGIN.right - bars.width } : { left: MARGIN.left, top: ROW + MARGIN.top };
  return { curves, bars: { ...bars, ...corner }, height: hasBars && !beside ? 2 * ROW : ROW };
}

export default {
  render: (context) =>
    renderFrames(context, "curve", (spec, data, room) => {
      const hasBars = spec.bars.length + spec.levels.length > 0;
      const { curves, bars, height } = places(room, hasBars);
      const parts = [curvesPanel(spec, data, curves)];
      if (hasBars) parts.push(barsPanel(spec, data, bars));
      const legend = [
        ...spec.curves.map((entry) => legendKey(entry.name, (entry.steps ? areaSwatch : lineSwatch)(entry))),
        ...spec.bars.map((entry) => legendKey(entry.name, areaSwatch(entry))),
        ...spec.levels.map((entry) => legendKey(entry.name, lineSwatch(entry))),
      ];
      return { legend, parts, picture: plot(spec, height, parts, room) };
    }),
};
