// Shared by the explorers of a posterior over two latent variables.

import { randomNumbers, standardNormal } from "./explorer.js";
import { contourStyle, heatMap, layered, MARGIN, panel, plot, svg, swatch } from "./figure.js";

const PLANE_SIDE = 250;
const CONTOUR_SCALES = [1, 2];

/** Return the plane of z₁ and z₂ with a heat map: its element, what `panel` returns, to draw in, and `drawHeat(bytes)`. */
export function plane(spec) {
  const box = { left: MARGIN.left, width: PLANE_SIDE, height: PLANE_SIDE };
  const made = panel({
    ...box, numTicks: [6, 6], grid: false,
    xRange: spec.x_range, yRange: spec.y_range, xLabel: spec.x_label, yLabel: spec.y_label,
  });
  const heat = heatMap(spec.num_cells, spec.num_cells, spec.colors.posterior);
  const picture = plot(spec, MARGIN.top + PLANE_SIDE + MARGIN.bottom, [made], MARGIN.left + PLANE_SIDE + MARGIN.right);
  return { ...made, element: layered(heat.canvas, picture, box), drawHeat: heat.draw };
}

/** Return the legend's picture of draws. */
export const drawsSwatch = (color, radii) =>
  swatch(...radii.map((r, i) => svg("circle", { class: "vi-draw", cx: 6 + 8 * i, cy: 7, r, fill: color, stroke: color })));

/**
 * Return the contour lines of a normal on a plane, one scale and two scales away from its mean: `draw(q)` takes
 * the mean and the lower triangle of the covariance's root.
 */
export function normalLayer({ drawing, x, y }, color) {
  const circles = (attributes) => CONTOUR_SCALES.map((r) => svg("circle", { r, ...attributes }));
  const casing = { class: "vi-casing vi-unscaled", "stroke-width": 3.6 };
  const group = svg("g", {}, ...circles(casing), ...circles({ class: "vi-unscaled", ...contourStyle({ color }) }));
  drawing.append(group);
  const [unitX, unitY] = [x(1) - x(0), y(1) - y(0)];
  return {
    draw({ mean, root: [[a], [b, c]] }) {
      const matrix = [unitX * a, unitY * b, 0, unitY * c, x(mean[0]), y(mean[1])];
      group.setAttribute("transform", `matrix(${matrix.map((entry) => entry.toFixed(3)).join(" ")})`);
    },
  };
}

/** Return `count` dots on a plane: `draw(xs, ys, radii)` takes their places, and their sizes in pixels. */
export function dotsLayer({ drawing, x, y }, count, color) {
  const dots = Array.from({ length: count }, () => svg("circle", { class: "vi-draw", fill: color, stroke: color }));
  drawing.append(svg("g", {}, ...dots));
  return {
    /** Let `text(k)` say what the mouse sees over the dot `k`. */
    onHover(text) {
      dots.forEach((dot, k) => {
        const title = svg("title");
        dot.append(title);
        dot.addEventListener("pointerenter", () => (title.textContent = text(k)));
      });
    },
    draw(xs, ys, radii) {
      dots.forEach((dot, k) => {
        dot.setAttribute("cx", x(xs[k]).toFixed(1));
        dot.setAttribute("cy", y(ys[k]).toFixed(1));
        dot.setAttribute("r", radii[k].toFixed(2));
      });
    },
  };
}

/** Return `count` draws of the standard normal in two dimensions, the same for the same `seed`. */
export function noiseOf(seed, count) {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, () => [standardNormal(random), standardNormal(random)]);
}
