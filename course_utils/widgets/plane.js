// Shared by the explorers of a posterior over two latent variables: this text stands in front of each one's own.

const PLANE_SIDE = 250;
const NUM_CELLS = 90;
const CONTOUR_SCALES = [1, 2];

/**
 * Return the plane of z₁ and z₂ with the heat map of a density, to the `logDensity(z1, z2)` of which a constant may be
 * added: its element, and what `panel` returns, to draw in.
 */
function plane(spec, logDensity) {
  const box = { left: MARGIN.left, width: PLANE_SIDE, height: PLANE_SIDE };
  const made = panel({
    ...box, numTicks: [6, 6], grid: false,
    xRange: spec.x_range, yRange: spec.y_range, xLabel: spec.x_label, yLabel: spec.y_label,
  });
  const heat = heatMap(NUM_CELLS, NUM_CELLS, spec.colors.posterior);
  const middle = (cell) => ((cell + 0.5) / NUM_CELLS) * PLANE_SIDE;
  const heights = Float64Array.from({ length: NUM_CELLS ** 2 }, (_, cell) =>
    logDensity(made.xAt(middle(cell % NUM_CELLS)), made.yAt(PLANE_SIDE - middle(Math.floor(cell / NUM_CELLS)))),
  );
  const top = heights.reduce((highest, height) => Math.max(highest, height));
  // The square root, of which the tails get more.
  heat.draw(Uint8Array.from(heights, (height) => Math.round(255 * Math.exp(0.5 * (height - top)))));
  const picture = plot(spec, MARGIN.top + PLANE_SIDE + MARGIN.bottom, [made], MARGIN.left + PLANE_SIDE + MARGIN.right);
  return { ...made, element: layered(heat.canvas, picture, box) };
}

/**
 * Return the contour lines of a normal on a plane, one scale and two scales away from its mean: `draw(q)` takes
 * the mean and the lower triangle of the covariance's root.
 */
function normalLayer({ drawing, x, y }, color) {
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
function dotsLayer({ drawing, x, y }, count, color) {
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
