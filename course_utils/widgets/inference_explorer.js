import { imageChoice, inkCanvas, mlp } from "./decoder.js";
import { announcer, button, formatNumber, html, listen, loadJax, numbers, oneOf, player, sharing, standardNormal } from "./explorer.js";
import { legendKey, linePath, lineStyle, lineSwatch, MARGIN, panel, plot, svg } from "./figure.js";
import { adamClimb, MASKED_STEPS, maskedBound } from "./masked.js";
import { INK, PAPER, paper, UNSEEN } from "./paper.js";

const STEP_DRAWS = 4;
const NUM_COMPLETIONS = 4;
const NUM_NEAREST = 8;
const [CHART_WIDTH, CHART_HEIGHT] = [300, 150];
const CODES_RANGE = [-4, 4];

/** Return images that were packed eight pixels to a byte, each from a byte of its own: arrays of zeros and ones. */
function unpackImages(bytes, numPixels) {
  const stride = Math.ceil(numPixels / 8);
  return Array.from({ length: bytes.length / stride }, (_, image) =>
    Uint8Array.from({ length: numPixels }, (_, i) => (bytes[image * stride + (i >> 3)] >> (7 - (i & 7))) & 1),
  );
}

/** Return whether the codes in `paint` are no longer those of `image`: more pixels differ than half of its ink that is seen. */
export function isDrawing(paint, image) {
  const seen = Array.from(paint, (code, i) => [code, String(image[i])]).filter(([code]) => code !== UNSEEN.code);
  const [differing, ink] = [seen.filter(([code, own]) => code !== own), seen.filter(([, own]) => own === INK.code)];
  return differing.length > ink.length / 2;
}

/** Return the indices of the `count` rows of `codes` that are nearest to `mean`, the nearest first. */
export function nearest(codes, mean, count) {
  const distances = Array.from({ length: codes.length / mean.length }, (_, row) => {
    let sum = 0;
    for (let d = 0; d < mean.length; d++) sum += (codes[row * mean.length + d] - mean[d]) ** 2;
    return { row, sum };
  });
  return distances.sort((a, b) => a.sum - b.sum).slice(0, count).map(({ row }) => row);
}

/**
 * Return an image with what stands below it: its `element`, `draw(ink)`, and `say(text)`. Without a `label`, that text is all
 * that screen readers have of it.
 */
function captioned(spec, label = null) {
  const { canvas, draw } = inkCanvas(spec.height, spec.width);
  const caption = html("figcaption");
  canvas.setAttribute(...(label ? ["aria-label", label] : ["aria-hidden", "true"]));
  return {
    element: html("figure", {}, canvas, caption),
    draw: (ink) => draw(ink, 1),
    say: (...lines) => caption.replaceChildren(...lines.map((line) => html("div", {}, line))),
  };
}

/** Return the picture of each dimension's mean ± 2 scales: its `element`, and `draw(encoded, q)`. */
function codesPicture({ order, colors }) {
  const made = panel({
    left: MARGIN.left, width: CHART_WIDTH - MARGIN.left - MARGIN.right, height: CHART_HEIGHT, numTicks: [4, 5],
    xRange: [0.5, order.length + 0.5], yRange: CODES_RANGE,
    xLabel: "latent dimension, by KL", yLabel: "mean ± 2 scales",
  });
  const layer = (color) => {
    const [interval, dots] = [1.6, 6].map((thickness) =>
      svg("path", { class: "vi-round", fill: "none", stroke: color, "stroke-width": thickness }),
    );
    made.drawing.append(interval, dots);
    return (shift, { mean, scale }) => {
      const x = (i) => made.x(i + 1 + shift).toFixed(1);
      const y = (value) => made.y(value).toFixed(1);
      const lines = order.map((d, i) => `M${x(i)},${y(mean[d] - 2 * scale[d])}V${y(mean[d] + 2 * scale[d])}`);
      interval.setAttribute("d", lines.join(""));
      dots.setAttribute("d", order.map((d, i) => `M${x(i)},${y(mean[d])}h0`).join(""));
    };
  };
  const [drawEncoded, drawQ] = [layer(colors.encoder), layer(colors.q)];
  const titles = order.map((d, i) => {
    const title = svg("title");
    const [left, right] = [made.x(i + 0.5), made.x(i + 1.5)];
    made.drawing.append(svg("rect", { class: "vi-room", x: left, width: right - left, height: CHART_HEIGHT }, title));
    return title;
  });
  const label = "Mean and two scales of each latent dimension, by the encoder and in q";
  return {
    element: plot({ label }, MARGIN.top + CHART_HEIGHT + MARGIN.bottom, [made], CHART_WIDTH),
    draw(encoded, q) {
      drawEncoded(-0.16, encoded);
      drawQ(0.16, q);
      const text = ({ mean, scale }, d) => `${formatNumber(mean[d], 2)} ± ${formatNumber(scale[d], 2)}`;
      titles.forEach((title, i) => {
        const d = order[i];
        title.textContent = `z[${d}], mean ± scale: encoder ${text(encoded, d)}, q ${text(q, d)}`;
      });
    },
  };
}

/** Return the picture of the bound against the steps: its `element`, and `draw(history, ofEncoder)`. */
function climbPicture({ bound_range: yRange, colors }) {
  const made = panel({
    left: MARGIN.left, width: CHART_WIDTH - MARGIN.left - MARGIN.right, height: CHART_HEIGHT, numTicks: [4, 5],
    xRange: [0, MASKED_STEPS], yRange, xLabel: "steps", yLabel: "bound, nats",
  });
  const level = svg("line", { x1: 0, x2: made.width, ...lineStyle({ color: colors.encoder, dash: 1 }) });
  const path = svg("path", lineStyle({ color: colors.q, dash: 0 }));
  const end = svg("path", { class: "vi-round", stroke: colors.q, "stroke-width": 7 });
  made.drawing.append(level, path, end);
  const label = "The bound of q after each step, and that of the encoder as a line";
  return {
    element: plot({ label }, MARGIN.top + CHART_HEIGHT + MARGIN.bottom, [made], CHART_WIDTH),
    draw(history, ofEncoder) {
      const y = made.y(ofEncoder).toFixed(1);
      level.setAttribute("y1", y);
      level.setAttribute("y2", y);
      path.setAttribute("d", linePath(history.map((_, t) => t), history, made.x, made.y));
      end.setAttribute("d", `M${made.x(history.length - 1).toFixed(1)},${made.y(history.at(-1)).toFixed(1)}h0`);
    },
  };
}

/** Return the row of the training images whose codes are nearest: its `element`, `draw(mean)`, and `text()`. */
function neighbours(spec, images, codes) {
  const shown = Array.from({ length: Math.min(NUM_NEAREST, images.length) }, () => captioned(spec));
  let rows = [];
  const names = () => rows.map((row) => spec.training_labels[row]).join(", ");
  const figures = html("div", { class: "vi-row vi-small", role: "group" }, ...shown.map(({ element }) => element));
  const title = html("div", { class: "vi-note" }, "training images whose codes are nearest to the mean of q");
  return {
    element: images.length ? html("div", { class: "vi-nearest" }, title, figures) : "",
    text: () => (images.length ? ` Nearest training images: ${names()}.` : ""),
    draw(mean) {
      rows = images.length ? nearest(codes, spec.order.map((d) => mean[d]), NUM_NEAREST) : [];
      rows.forEach((row, i) => {
        shown[i].draw(images[row]);
        shown[i].say(spec.training_labels[row]);
      });
      figures.setAttribute("aria-label", `nearest training images: ${names()}`);
    },
  };
}

function render({ model, el }) {
  const spec = model.get("spec");
  const [numPixels, latentDim] = [spec.height * spec.width, spec.decoder[0].inputs];
  const weights = numbers(model.get("decoder"), Float32Array);
  const decode = mlp(spec.decoder, weights);
  const runEncoder = mlp(spec.encoder, numbers(model.get("encoder"), Float32Array));
  const images = unpackImages(numbers(model.get("images"), Uint8Array), numPixels);
  const training = unpackImages(numbers(model.get("training"), Uint8Array), numPixels);
  const noise = numbers(model.get("noise"), Float32Array);
  const share = sharing(model);
  const announce = announcer();
  const set = (name, value) => {
    model.set(name, value);
    share.soon();
  };
  const getQ = () => ({ mean: model.get("q")[0], scale: model.get("q")[1] });
  const setQ = (mean, scale) => set("q", [Array.from(mean), Array.from(scale)]);

  let tool = UNSEEN;
  let { from_prior: fromPrior } = spec.start;
  let bound = null;
  let [x, seen, encoded, climb, history] = [null, null, null, null, []];
  const done = () => history.length - 1;
  const steps = () => `${done()} step${done() === 1 ? "" : "s"}`;

  const sheet = paper({
    ...spec, label: "Image to paint on", getPixels: () => model.get("paint"), getTool: () => tool,
    onPaint: (pixels) => set("paint", pixels), onEnd: () => say(),
  });
  const caption = html("figcaption");
  const ofEncoder = captioned(spec, "Image decoded from the mean of the encoder's q");
  const ofQ = captioned(spec, "Image decoded from the mean of q");
  const completions = Array.from({ length: NUM_COMPLETIONS }, (_, k) => captioned(spec, `Image decoded from draw ${k + 1} of q`));
  const [codes, climbing] = [codesPicture(spec), climbPicture(spec)];
  const near = neighbours(spec, training, numbers(model.get("training_codes"), Float32Array));

  const nats = (value) => `${formatNumber(value, 1)} nats`;
  const say = () => {
    const { encoder, q } = model.get("bounds");
    announce.say(`After ${steps()}: encoder ${nats(encoder)}, q ${nats(q)}.${near.text()}`);
  };
  const drawQ = () => {
    const q = getQ();
    ofQ.draw(decode(q.mean));
    completions.forEach(({ draw }, k) =>
      draw(decode(q.mean.map((value, d) => value + q.scale[d] * noise[k * latentDim + d]))),
    );
    codes.draw(encoded, q);
    near.draw(q.mean);
  };
  const drawBounds = () => {
    const { encoder, q } = model.get("bounds");
    ofEncoder.say("encoder", nats(encoder));
    ofQ.say(`q, ${steps()}`, nats(q));
    climbing.draw(history, encoder);
  };
  const logged = ({ mean, scale }) => ({ mean: Float32Array.from(mean), logScale: Float32Array.from(scale, Math.log) });
  // Until jax-js has arrived, the bounds are those that Python has sent.
  const measure = (qs) => {
    const found = Object.entries(qs).map(([key, q]) => [key, bound.value(logged(q), noise, x, seen)]);
    set("bounds", { ...model.get("bounds"), ...Object.fromEntries(found) });
  };

  /** Read what was painted; q is its encoder's or the prior until it has made a step, and then goes on from where it is. */
  const readPaint = () => {
    const paint = model.get("paint");
    const follows = done() <= 0 && !fromPrior && encoded !== null;
    seen = Float32Array.from(paint, (code) => Number(code !== UNSEEN.code));
    x = Float32Array.from(paint, (code) => Number(code === INK.code));
    const outputs = runEncoder(x);
    encoded = { mean: outputs.slice(0, latentDim), scale: outputs.slice(latentDim).map(Math.exp) };
    sheet.draw(paint);
    ofEncoder.draw(decode(encoded.mean));
    const hidden = numPixels - seen.reduce((sum, each) => sum + each, 0);
    caption.textContent = `${name()}${hidden ? `, ${hidden} pixels hidden` : ""}`;
    if (follows) setQ(encoded.mean, encoded.scale);
    restartClimb();
  };
  const name = () => {
    const image = model.get("image");
    if (isDrawing(model.get("paint"), images[image])) return "your own drawing";
    return spec.labels.length ? `image ${image}, label ${spec.labels[image]}` : `image ${image}`;
  };
  const restartClimb = () => {
    climb = adamClimb(latentDim);
    if (bound) measure({ encoder: encoded, q: getQ() });
    history = [model.get("bounds").q];
    drawQ();
    drawBounds();
  };
  const restartQ = () => {
    stop();
    fromPrior ? setQ(new Array(latentDim).fill(0), new Array(latentDim).fill(1)) : setQ(encoded.mean, encoded.scale);
    restartClimb();
  };

  const step = () => {
    const q = logged(getQ());
    const drawn = Float32Array.from({ length: STEP_DRAWS * latentDim }, () => standardNormal());
    const { mean, logScale } = climb(q, bound.gradient(q, drawn, x, seen));
    setQ(mean, logScale.map(Math.exp));
    measure({ q: getQ() });
    history.push(model.get("bounds").q);
    drawQ();
    drawBounds();
  };
  const again = () => done() >= MASKED_STEPS && restartQ();
  const { node: play, pause: stop } = player({
    beforePlay: again,
    onPause: say,
    step() {
      step();
      return done() < MASKED_STEPS;
    },
  });
  const once = button("Step", () => {
    stop();
    again();
    step();
    say();
  });
  const show = (paint) => {
    set("paint", paint);
    say();
  };
  const whole = () => Array.from(images[model.get("image")]).join("");
  const setImage = (image) => {
    set("image", image);
    history = [];
    show(whole());
    restartQ();
  };
  const reset = button("Reset", () => {
    set("image", spec.start.image);
    fromPrior = spec.start.from_prior;
    starts.press(origins[Number(fromPrior)]);
    set("paint", spec.start.paint);
    restartQ();
    say();
  });
  const origins = [{ name: "From the encoder" }, { name: "From the prior" }];
  const starts = oneOf("where q starts", origins, origins[Number(fromPrior)], (origin) => {
    fromPrior = origin === origins[1];
    restartQ();
    say();
  });
  const choice = imageChoice({ numImages: images.length, getImage: () => model.get("image"), setImage });
  const hideHalf = () => {
    const half = (spec.height >> 1) * spec.width;
    show(model.get("paint").slice(0, half) + UNSEEN.code.repeat(numPixels - half));
  };
  const wholes = html("div", { class: "vi-row" });
  wholes.append(
    button("Whole image", () => show(whole())),
    button("Hide lower half", hideHalf),
    button("Blank page", () => show(PAPER.code.repeat(numPixels))),
  );
  const tools = oneOf("what the brush does", [UNSEEN, INK, PAPER], tool, (chosen) => (tool = chosen));
  for (const node of [play, once]) node.disabled = true;

  const drawImage = () => choice.show(model.get("image"));
  drawImage();
  history = [model.get("bounds").q];
  readPaint();
  const left = html("div", { class: "vi-pictures" }, html("figure", {}, sheet.element, caption));
  left.append(tools.element, wholes, choice.element);
  const outcomes = html("div", { class: "vi-row vi-outcomes" }, ofEncoder.element, ofQ.element);
  outcomes.append(
    html(
      "div", {},
      html("div", { class: "vi-completions" }, ...completions.map(({ element }) => element)),
      html("div", { class: "vi-center" }, "draws from q"),
    ),
  );
  const legend = html(
    "div", { class: "vi-legend" },
    legendKey("encoder", lineSwatch({ color: spec.colors.encoder, dash: 1 })),
    legendKey("q", lineSwatch({ color: spec.colors.q, dash: 0 })),
  );
  const right = html("div", { class: "vi-latent" }, outcomes);
  right.append(html("div", { class: "vi-row" }, play, once, reset, starts.element));
  right.append(legend, html("div", { class: "vi-charts" }, climbing.element, codes.element));
  const root = html("div", { class: "vi-explorer vi-latent-explorer vi-inference-explorer", role: "group", "aria-label": spec.label });
  root.append(left, right, near.element, announce.element);
  el.append(root);

  let closed = false;
  loadJax().then((jax) => {
    if (closed) return;
    bound = maskedBound(jax, spec.decoder, weights);
    for (const node of [play, once]) node.disabled = false;
    restartClimb();
  });
  const ends = [
    listen(model, "change:paint", readPaint),
    listen(model, "change:image", drawImage),
    listen(model, "change:q", drawQ),
    share.close,
  ];
  return () => {
    closed = true;
    stop();
    ends.forEach((end) => end());
  };
}

export default { render };
