// Shared by the explorers whose frames are all computed beforehand.

import { button, formatNumber, html, listen, numbers, oneOf, player, sharing, slider } from "./explorer.js";
import { areaStyle, linePath, lineStyle, panel, stepsPath, svg, WIDTH } from "./figure.js";

/** Return the number at which the frame at `position` of a packed array begins. */
export function frameOffset({ offset, strides }, position) {
  return strides.reduce((sum, stride, axis) => sum + stride * position[axis], offset);
}

/** Return a panel of curves over `x`, of the size in `place`, with `draw(position)` and `textsAt(place, position)`. */
export function curvesPanel(spec, data, place) {
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
  const textsAt = ([x], position) => {
    const gaps = Array.from(xs, (each) => Math.abs(each - x));
    const nearest = gaps.indexOf(Math.min(...gaps));
    const heights = spec.curves
      .map((entry) => [entry, data[frameOffset(entry, position) + nearest]])
      .filter(([, height]) => !Number.isNaN(height))
      .map(([{ name, decimals }, height]) => `${name}: ${formatNumber(height, decimals)}`);
    return [`${spec.x_label}: ${formatNumber(xs[nearest], spec.x.decimals)}`, ...heights];
  };
  return { ...made, draw, textsAt, drag: spec.drag };
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
// A film of few frames would be over before it is seen: it has fewer in a second.
const LEAST_SECONDS = 2;
// A narrower picture would not hold its labels: it is scaled down.
const LEAST_WIDTH = 320;

/** Return the button that lets the slider of `axis` play to its end: its `node`, and `pause()`. */
function filmOf({ axis, length, getPosition, setPosition, readout }) {
  const at = () => getPosition()[axis];
  const go = (index) => setPosition(getPosition().with(axis, index));
  const duration = Math.max(1000 / FRAMES_PER_SECOND, (1000 * LEAST_SECONDS) / (length - 1));
  let next = 0;
  // What changes many times a second is not to be read out.
  const hush = (politeness) => readout?.setAttribute("aria-live", politeness);
  return player({
    beforePlay() {
      hush("off");
      if (at() === length - 1) go(0);
      next = performance.now() + duration;
    },
    step() {
      if (performance.now() < next) return true;
      next += duration;
      go(Math.min(at() + 1, length - 1));
      return at() < length - 1;
    },
    onPause: () => hush("polite"),
  });
}

/** Return a slider, or two buttons if there are but two values: its `element`, and `set(index)`. */
function control({ name, texts }, onInput) {
  if (texts.length > 2) {
    const { element, set } = slider({ name, min: 0, max: texts.length - 1, step: 1, onInput });
    return { element, set: (index) => set(index, texts[index]) };
  }
  const options = texts.map((text) => ({ name: text }));
  const { element, press } = oneOf(name, options, null, (option) => onInput(options.indexOf(option)));
  const title = html("span", { class: "vi-name", "aria-hidden": "true" }, name);
  return { element: html("div", { class: "vi-slider" }, title, element), set: (index) => press(options[index]) };
}

/**
 * Return a line of what lies under the pointer: its `element`, `draw(position)`, and `watch(made)`, which lets it show
 * `made.textsAt(place, position)` while the pointer is over the panel `made`, and returns the sheet that notices it.
 */
function pointerLine(getPosition) {
  const [shown, room] = [html("span"), html("span", { class: "vi-hidden" })];
  const element = html("p", { class: "vi-note vi-pointed", "aria-hidden": "true" }, shown, room);
  let textsNow = () => [];
  const draw = (position) => (shown.textContent = textsNow(position).join(" · "));
  const say = (texts) => {
    textsNow = texts;
    draw(getPosition());
  };
  const watch = (made) => {
    // Room for longer numbers than those in the middle, so that nothing moves when the line fills.
    const middle = [made.xAt(made.width / 2), made.yAt(made.height / 2)];
    const longest = made.textsAt(middle, getPosition()).map((text) => `${text} −00`).join(" · ");
    if (longest.length > room.textContent.length) room.textContent = longest;
    const sheet = svg("rect", { class: "vi-room", width: made.width, height: made.height });
    const read = (event) => {
      const place = made.placeAt(event);
      say((position) => made.textsAt(place, position));
    };
    sheet.addEventListener("pointerdown", read);
    sheet.addEventListener("pointermove", read);
    // What a finger has pointed at is read once it is lifted and no longer hides it.
    sheet.addEventListener("pointerleave", ({ pointerType }) => pointerType !== "touch" && say(() => []));
    made.group.append(sheet);
    return sheet;
  };
  return { element, draw, watch };
}

/** Let a drag on `sheet`, over the panel `made`, move the sliders of `made.drag`: the first to the right, a second upwards. */
function letDrag(sheet, made, { sliders, getPosition, setPosition }) {
  let from = null;
  sheet.classList.add("vi-handle");
  // A finger that moves upwards then scrolls the page.
  if (made.drag.length === 1) sheet.style.touchAction = "pan-y";
  sheet.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    sheet.setPointerCapture(event.pointerId);
    from = { place: made.placeAt(event), position: getPosition() };
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!sheet.hasPointerCapture(event.pointerId)) return;
    const place = made.placeAt(event);
    const position = made.drag.reduce((moved, { slider, steps }, axis) => {
      const index = Math.round(from.position[slider] + steps * (place[axis] - from.place[axis]));
      return moved.with(slider, Math.max(0, Math.min(sliders[slider].texts.length - 1, index)));
    }, from.position);
    if (String(position) !== String(getPosition())) setPosition(position);
  });
}

/** Return the sliders, the table of numbers and the buttons: their `element`, `draw(position)`, and `close()`. */
function controlsOf(spec, data, { getPosition, setPosition }) {
  const sliders = spec.sliders.map((each, axis) => control(each, (index) => setPosition(getPosition().with(axis, index))));
  // Room for the widest value, so that nothing moves when a slider does.
  const widest = Math.max(...spec.sliders.flatMap(({ texts }) => texts.map((text) => text.length)));
  const element = html("div", { class: "vi-controls" });
  element.append(html("div", { class: "vi-sliders", style: `--vi-value-width: ${widest}ch` }, ...sliders.map((s) => s.element)));
  const readout = spec.readout.length ? readoutTable(spec, data) : null;
  if (readout) element.append(readout.element);
  const buttons = html("div", { class: "vi-row" });
  let close = () => {};
  if (spec.film !== null) {
    const { length } = spec.sliders[spec.film].texts;
    const film = filmOf({ axis: spec.film, length, getPosition, setPosition, readout: readout?.element });
    buttons.append(film.node);
    close = film.pause;
  }
  buttons.append(
    button("Reset", () => {
      close();
      setPosition(spec.start);
    }),
  );
  element.append(buttons);
  const draw = (position) => {
    sliders.forEach(({ set }, axis) => set(position[axis]));
    readout?.draw(position);
  };
  return { element, draw, close };
}

/**
 * Draw an explorer that holds all of its frames, and keep it at the sliders' values. `build(spec, data, room)` returns what
 * differs between the explorers: the entries of the `legend`, the `picture`, `room` pixels wide, and its `parts`, which have
 * `draw(position)` each, `textsAt(place, position)` if the pointer can read them, and `drag` if it can move sliders there.
 */
export function renderFrames({ model, el }, name, build) {
  const spec = model.get("spec");
  const data = numbers(model.get("data"), Float32Array);
  const share = sharing(model);
  const getPosition = () => model.get("position");
  const setPosition = (position) => {
    // Setting it on the model is what draws it, at once and in all views.
    model.set("position", position);
    share.soon();
  };
  const controls = controlsOf(spec, data, { getPosition, setPosition });
  const line = pointerLine(getPosition);
  const layOut = (room) => {
    const made = build(spec, data, room);
    for (const part of made.parts.filter(({ textsAt }) => textsAt)) {
      const sheet = line.watch(part);
      if (part.drag?.length) letDrag(sheet, part, { sliders: spec.sliders, getPosition, setPosition });
    }
    return { ...made, room };
  };
  let made = layOut(WIDTH);
  const draw = () => [controls, line, ...made.parts].forEach((part) => part.draw(getPosition()));
  draw();
  const root = html("div", { class: `vi-explorer vi-${name}-explorer`, role: "group", "aria-label": spec.label });
  const top = html("div", { class: "vi-top" }, controls.element, html("div", { class: "vi-legend" }, ...made.legend));
  root.append(top, made.picture, line.element);
  el.append(root);

  // The line is as wide as the explorer, and does not change when the picture does.
  const observer = new ResizeObserver(([{ contentRect: { width } }]) => {
    const room = Math.max(LEAST_WIDTH, Math.min(WIDTH, Math.floor(width)));
    if (width === 0 || room === made.room) return;
    const { picture } = made;
    made = layOut(room);
    picture.replaceWith(made.picture);
    draw();
  });
  observer.observe(line.element);
  const ends = [listen(model, "change:position", draw), share.close, controls.close, () => observer.disconnect()];
  return () => ends.forEach((end) => end());
}
