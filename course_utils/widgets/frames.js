// Shared by the explorers whose frames are all computed beforehand: this text stands in front of each one's own.

/** Return the number at which the frame at `position` of a packed array begins. */
export function frameOffset({ offset, strides }, position) {
  return strides.reduce((sum, stride, axis) => sum + stride * position[axis], offset);
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
