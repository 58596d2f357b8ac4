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

const FRAMES_PER_SECOND = 10;

/** Return the buttons that let the slider of `axis` play to its end, or go back to its beginning, and `close()`. */
function filmOf({ axis, length, getPosition, setPosition, readout }) {
  const at = () => getPosition()[axis];
  const go = (index) => setPosition(getPosition().with(axis, index));
  let next = 0;
  // What changes many times a second is not to be read out.
  const hush = (politeness) => readout?.setAttribute("aria-live", politeness);
  const { node, pause } = player({
    beforePlay() {
      hush("off");
      if (at() === length - 1) go(0);
      next = performance.now() + 1000 / FRAMES_PER_SECOND;
    },
    step() {
      if (performance.now() < next) return true;
      next += 1000 / FRAMES_PER_SECOND;
      go(Math.min(at() + 1, length - 1));
      return at() < length - 1;
    },
    onPause: () => hush("polite"),
  });
  const reset = button("Reset", () => {
    pause();
    go(0);
  });
  return { element: html("div", { class: "vi-row" }, node, reset), close: pause };
}

/**
 * Draw an explorer that holds all of its frames, and keep it at the sliders' values. `build(spec, data)` returns what
 * differs between the explorers: the entries of the `legend`, the `picture`, and `parts` with `draw(position)` each.
 */
function renderFrames({ model, el }, name, build) {
  const spec = model.get("spec");
  const data = numbers(model.get("data"), Float32Array);
  const share = sharing(model);
  const getPosition = () => model.get("position");
  const setPosition = (position) => {
    // Setting it on the model is what draws it, at once and in all views.
    model.set("position", position);
    share.soon();
  };
  const sliders = spec.sliders.map(({ name, texts }, axis) => {
    const onInput = (index) => setPosition(getPosition().with(axis, index));
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
  const readout = spec.readout.length ? readoutTable(spec, data) : null;
  if (readout) {
    controls.append(readout.element);
    parts.push(readout);
  }
  const [axis, ends] = [spec.film, []];
  if (axis !== null) {
    const { length } = spec.sliders[axis].texts;
    const film = filmOf({ axis, length, getPosition, setPosition, readout: readout?.element });
    controls.prepend(film.element);
    ends.push(film.close);
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
  ends.push(listen(model, "change:position", draw), share.close);
  return () => ends.forEach((end) => end());
}
