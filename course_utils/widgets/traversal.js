// Ways through a latent space, for the latent explorer.

import { ACTIVATIONS, inkCanvas } from "./decoder.js";
import { formatNumber, html, keepKeys, numberField, randomNumbers, slider, standardNormal } from "./explorer.js";
import { DIGIT_COLORS, handle, MARGIN, MOVABLE, moveByKeys, panel, plot, svg } from "./figure.js";

const STRIP_IMAGES = 9;
const STRIP_ROWS = 8;
const PAD_SIDE = 250;
export const NUM_NOISE = 8;
const PAD_KEY_STEP = 0.05;

/** Return `count` draws of standard normal noise in `dim` dimensions, the same each time, one after the other. */
export function fixedNoise(count, dim) {
  const random = randomNumbers(0);
  return Float32Array.from({ length: count * dim }, () => standardNormal(random));
}

/**
 * Return the ELBO of an image in nats, the mean over its binarisations if it is grey: with the normal of this mean and
 * scale for q, the exact KL, and the mean log-likelihood over the draws that `noise` makes. `logits(z)` decodes.
 */
export function elboOf(logits, ink, mean, scale, noise) {
  const dim = mean.length;
  let logLikelihood = 0;
  for (let begin = 0; begin < noise.length; begin += dim) {
    const outputs = logits(mean.map((value, d) => value + scale[d] * noise[begin + d]));
    for (let i = 0; i < ink.length; i++) logLikelihood += ink[i] * outputs[i] - ACTIVATIONS.softplus(outputs[i]);
  }
  const kl = mean.reduce((sum, value, d) => sum + 0.5 * (value ** 2 + scale[d] ** 2 - 1) - Math.log(scale[d]), 0);
  return (logLikelihood * dim) / noise.length - kl;
}

/** Return a canvas for images side by side: `canvas`, and `draw(codes)`, which decodes and shows one for each code. */
function filmStrip(spec, decode, label) {
  const strip = inkCanvas(spec.height, spec.width * STRIP_IMAGES);
  strip.canvas.classList.add("vi-strip");
  strip.canvas.setAttribute("aria-label", label);
  const ink = new Float32Array(spec.height * spec.width * STRIP_IMAGES);
  return {
    canvas: strip.canvas,
    draw(codes) {
      codes.forEach((z, column) => {
        const image = decode(z);
        for (let row = 0; row < spec.height; row++) {
          const pixels = image.subarray(row * spec.width, (row + 1) * spec.width);
          ink.set(pixels, (row * STRIP_IMAGES + column) * spec.width);
        }
      });
      strip.draw(ink, 1);
    },
  };
}

/** Return numbers from `from` to `to`, one for each image of a strip. */
const along = (from, to) => Array.from({ length: STRIP_IMAGES }, (_, i) => from + ((to - from) * i) / (STRIP_IMAGES - 1));

/** Return a part that can be folded out, and is drawn only then: its `element`, and `draw()`. */
function folded(title, content, draw) {
  const element = html("details", {}, keepKeys(html("summary", {}, title)), ...content);
  element.addEventListener("toggle", () => element.open && draw());
  return { element, draw: () => element.open && draw() };
}

/**
 * Return the strips: one for each of the first dimensions, which goes from end to end while the others stay; a bar below each
 * stands where z is.
 */
export function strips({ spec, ranges, decode, getZ, setZ }) {
  const rows = spec.order.slice(0, Math.min(STRIP_ROWS, spec.num_sliders)).map((d) => {
    const values = along(...ranges[d]);
    const ends = ranges[d].map((end) => formatNumber(end, 1)).join(" to ");
    const { canvas, draw } = filmStrip(spec, decode, `Images for z[${d}] from ${ends}`);
    canvas.title = `z[${d}] from ${ends}: press on an image to go there`;
    canvas.addEventListener("click", ({ offsetX }) => {
      const column = Math.floor((offsetX / canvas.clientWidth) * STRIP_IMAGES);
      setZ(getZ().with(d, values[Math.max(0, Math.min(STRIP_IMAGES - 1, column))]));
    });
    const here = html("div", { class: "vi-here" });
    const row = html("div", { class: "vi-strips" }, html("span", {}, `z[${d}]`), html("div", {}, canvas, here));
    const [low, high] = ranges[d];
    return {
      row,
      draw() {
        draw(values.map((value) => getZ().with(d, value)));
        const column = ((STRIP_IMAGES - 1) * (getZ()[d] - low)) / (high - low);
        here.style.left = `${(100 * Math.max(0, Math.min(STRIP_IMAGES - 1, column))) / STRIP_IMAGES}%`;
      },
    };
  });
  const draw = () => rows.forEach((each) => each.draw());
  return folded("Strips: one dimension a row, the others as they are", rows.map(({ row }) => row), draw);
}

/**
 * Return the plane of two dimensions with the codes of the images in it, and z, which follows mouse, finger and arrow keys.
 * Beside it stands the image decoded from z: the one at the explorer's top is out of sight from here.
 */
export function pad({ spec, ranges, labels, numImages, decode, encodedMean, getZ, setZ }) {
  const choose = (name, chosen) => {
    const options = spec.order.map((d) => html("option", { value: d }, `z[${d}]`));
    const node = keepKeys(html("select", { "aria-label": name }, ...options));
    node.value = chosen;
    node.addEventListener("change", () => build());
    return node;
  };
  const [first, second = first] = spec.order;
  const selects = [choose("dimension to the right", first), choose("dimension upwards", second)];
  const nearest = html("div", { class: "vi-note" });
  const place = html("div", { class: "vi-pad" });
  const decoded = inkCanvas(spec.height, spec.width);
  decoded.canvas.setAttribute("aria-hidden", "true");
  const figure = html("figure", {}, decoded.canvas, html("figcaption", {}, "decoded from z"));
  const kinds = [...new Set(labels)].sort();
  const colorOf = (image) => (kinds.length <= DIGIT_COLORS.length ? DIGIT_COLORS[kinds.indexOf(labels[image])] : undefined);
  let [made, marker, dimensions, codes] = [null, null, null, null];
  const nameNearest = ([x, y]) => {
    const distances = codes.map(([codeX, codeY]) => Math.hypot(codeX - x, codeY - y));
    const image = distances.indexOf(Math.min(...distances));
    nearest.textContent = `nearest code in this plane: image ${image}${labels.length ? `, label ${labels[image]}` : ""}`;
  };
  const draw = () => {
    const [x, y] = dimensions.map((d) => getZ()[d]);
    marker.put(x, y);
    marker.say(dimensions.map((d) => `z[${d}] ${formatNumber(getZ()[d], 2)}`).join(", "));
    decoded.draw(decode(getZ()), 1);
    nameNearest([x, y]);
  };
  const build = () => {
    dimensions = selects.map((select) => Number(select.value));
    const [xRange, yRange] = dimensions.map((d) => ranges[d]);
    const [xLabel, yLabel] = dimensions.map((d) => `z[${d}]`);
    const box = { left: MARGIN.left, width: PAD_SIDE, height: PAD_SIDE };
    made = panel({ ...box, numTicks: [6, 6], grid: false, xRange, yRange, xLabel, yLabel });
    codes = Array.from({ length: numImages }, (_, image) => dimensions.map((d) => encodedMean(image)[d]));
    codes.forEach(([x, y], image) => {
      const attributes = { class: "vi-code", x: made.x(x), y: made.y(y), dy: "0.35em", "text-anchor": "middle" };
      if (colorOf(image)) attributes.fill = colorOf(image);
      made.drawing.append(svg("text", attributes, labels[image] ?? "·"));
    });
    const sheet = svg("rect", { class: "vi-sheet", width: PAD_SIDE, height: PAD_SIDE });
    made.drawing.append(sheet);
    const within = (value, [low, high]) => Math.max(low, Math.min(high, value));
    const onMove = (x, y) => setZ(getZ().with(dimensions[0], within(x, xRange)).with(dimensions[1], within(y, yRange)));
    const follow = (event) => onMove(...made.placeAt(event));
    marker = handle({ ...made, group: made.drawing }, { onMove, onEnd() {}, attributes: { ...MOVABLE, style: "--vi-grip: none" } });
    const move = (...steps) => onMove(...dimensions.map((d, i) => getZ()[d] + PAD_KEY_STEP * steps[i]));
    moveByKeys(marker.node, { move, onEnd() {} });
    sheet.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      sheet.setPointerCapture(event.pointerId);
      follow(event);
    });
    sheet.addEventListener("pointermove", (event) =>
      sheet.hasPointerCapture(event.pointerId) ? follow(event) : nameNearest(made.placeAt(event)),
    );
    sheet.addEventListener("pointerleave", draw);
    const label = `The plane of ${xLabel} and ${yLabel}, with the codes of the images`;
    const height = MARGIN.top + PAD_SIDE + MARGIN.bottom;
    const picture = plot({ label }, height, [made], MARGIN.left + PAD_SIDE + MARGIN.right);
    // What stands in it can be moved: it is no mere image.
    picture.setAttribute("role", "group");
    place.replaceChildren(picture, figure);
    draw();
  };
  build();
  const content = [html("div", { class: "vi-row" }, ...selects), place, nearest];
  return folded("Plane: drag z among the codes of the images", content, draw);
}

/**
 * Return the way from the code of the chosen image to that of another: a strip, and a slider that goes along it. `reset()`
 * chooses the other image of the start.
 */
export function between({ spec, decode, numImages, getImage, encodedMean, getZ, setZ }) {
  let other = 1 % numImages;
  const blend = (share) => {
    const [from, to] = [encodedMean(getImage()), encodedMean(other)];
    return from.map((value, d) => value + share * (to[d] - value));
  };
  const strip = filmStrip(spec, decode, "Images decoded between the codes of two images");
  const number = numberField({
    name: "number of the other image", min: 0, max: numImages - 1,
    onChange() {
      const wanted = Math.round(number.valueAsNumber);
      choose(Number.isFinite(wanted) ? Math.max(0, Math.min(numImages - 1, wanted)) : other);
    },
  });
  const choose = (image) => {
    other = number.value = image;
    draw();
  };
  number.value = other;
  const share = slider({
    name: "share of the other image", min: 0, max: 1, step: 0.01,
    onInput(value) {
      share.set(value, formatNumber(value, 2));
      setZ(blend(value));
    },
  });
  share.set(0, "0.00");
  let drawn = "";
  const draw = () => {
    const ends = `${getImage()} ${other}`;
    if (ends !== drawn) strip.draw(along(0, 1).map(blend));
    drawn = ends;
    const from = encodedMean(getImage());
    if (getZ().every((value, d) => value === from[d])) share.set(0, "0.00");
  };
  const content = [html("label", { class: "vi-row" }, "other image", number), strip.canvas, html("div", { class: "vi-sliders" }, share.element)];
  const fold = folded("Between two images: on a straight line from code to code", content, draw);
  return { ...fold, reset: () => choose(1 % numImages) };
}
