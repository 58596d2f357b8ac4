import { imageChoice, inkCanvas, mlp, Z_STEP } from "./decoder.js";
import { button, formatNumber, html, keepKeys, listen, numbers, sharing, slider, standardNormal } from "./explorer.js";
import { between, elboOf, fixedNoise, NUM_NOISE, pad, strips } from "./traversal.js";

/** Return the sliders' column: the most informative dimensions first, the others folded, and what the numbers mean. */
function sliderColumn(spec, sliders) {
  const group = (dimensions) => html("div", { class: "vi-sliders" }, ...dimensions.map((d) => sliders[d].element));
  const column = html("div", { class: "vi-latent" }, group(spec.order.slice(0, spec.num_sliders)));
  const folded = spec.order.slice(spec.num_sliders);
  if (folded.length) {
    const uninformative = Math.min(folded.length, spec.kl.length - spec.num_informative);
    const which = uninformative < folded.length ? `${uninformative} of them ` : "";
    const below = uninformative ? `, ${which}below 0.01 nats` : "";
    const summary = `${folded.length} more dimension${folded.length > 1 ? "s" : ""}${below}`;
    column.append(html("details", {}, keepKeys(html("summary", {}, summary)), group(folded)));
  }
  const total = spec.kl.reduce((sum, value) => sum + value, 0);
  const note =
    `Nats: KL[q(z|x) ‖ p(z)] of each dimension, the mean over ${spec.num_encoded} images; ` +
    `${formatNumber(total, 1)} in all. Shaded: q(z|x) of this image, mean ± 2 scales.`;
  column.append(html("p", { class: "vi-note" }, note));
  return column;
}

function render({ model, el }) {
  const spec = model.get("spec");
  const ranges = model.get("ranges");
  const labels = model.get("labels");
  const pixels = numbers(model.get("pixels"), Uint8Array);
  const codes = numbers(model.get("codes"), Float32Array);
  const weights = numbers(model.get("weights"), Float32Array);
  const decode = mlp(spec.layers, weights);
  const logits = mlp(spec.layers.with(-1, { ...spec.layers.at(-1), activation: "identity" }), weights);
  const share = sharing(model);
  const [numPixels, latentDim] = [spec.height * spec.width, spec.kl.length];
  const numImages = pixels.length / numPixels;
  const encodedMean = (image) => Array.from(codes.subarray(image * latentDim, (image + 1) * latentDim));
  const encodedScale = (image) => codes.subarray((numImages + image) * latentDim, (numImages + image + 1) * latentDim);
  const inkOf = (image) => pixels.subarray(image * numPixels, (image + 1) * numPixels);
  const getImage = () => model.get("image");
  // Setting it on the model is what draws it, at once and in all views.
  const setZ = (z) => {
    model.set("z", z);
    share.soon();
  };
  const setImage = (image) => {
    model.set("image", image);
    setZ(encodedMean(image));
  };

  const sliders = ranges.map(([min, max], d) => {
    const note = `${formatNumber(spec.kl[d], spec.kl[d] < 0.1 ? 3 : 2)} nats`;
    const onInput = (value) => setZ(model.get("z").with(d, Number(value.toFixed(6))));
    const made = slider({ name: `z[${d}]`, note, min, max, step: Z_STEP, onInput });
    const mark = html("div", { class: "vi-mark" });
    made.input.before(mark);
    return { ...made, mark };
  });
  const choose = imageChoice({ numImages, getImage, setImage });
  choose.element.append(
    button("Reset", () => {
      setImage(0);
      ways.forEach((way) => way.reset?.());
    }),
  );
  const codeButtons = html(
    "div",
    { class: "vi-row" },
    button("Encode image", () => setZ(encodedMean(getImage()))),
    button("Prior mean", () => setZ(new Array(latentDim).fill(0))),
    button("Random draw", () => setZ(Array.from({ length: latentDim }, () => standardNormal()))),
  );
  const original = inkCanvas(spec.height, spec.width);
  const decoded = inkCanvas(spec.height, spec.width);
  decoded.canvas.setAttribute("aria-label", "Image decoded from z: the probability of ink in each pixel");
  const caption = html("figcaption");
  const bound = html("div", { title: "ELBO of the image with z for the mean of q, and the encoder's scales" });
  const noise = fixedNoise(NUM_NOISE, latentDim);
  const figures = [
    html("figure", {}, original.canvas, caption),
    html("figure", {}, decoded.canvas, html("figcaption", {}, "decoded from z", bound)),
  ];
  const pictures = html("div", { class: "vi-pictures" }, html("div", { class: "vi-row" }, ...figures));
  pictures.append(choose.element, codeButtons);

  const given = { spec, ranges, labels, numImages, decode, getImage, encodedMean, setZ, getZ: () => model.get("z") };
  const ways = [strips(given), pad(given), ...(numImages > 1 ? [between(given)] : [])];

  const drawZ = () => {
    const z = model.get("z");
    decoded.draw(decode(z), 1);
    const ink = Float32Array.from(inkOf(getImage()), (grey) => grey / 255);
    bound.textContent = `ELBO ${formatNumber(elboOf(logits, ink, z, encodedScale(getImage()), noise), 1)} nats`;
    ways.forEach((way) => way.draw());
    z.forEach((value, d) => sliders[d].set(value, formatNumber(value, 2)));
  };
  const drawImage = () => {
    const image = getImage();
    const text = labels.length ? `image ${image}, label ${labels[image]}` : `image ${image}`;
    original.draw(inkOf(image), 255);
    original.canvas.setAttribute("aria-label", text);
    caption.textContent = text;
    choose.show(image);
    const [mean, scale] = [encodedMean(image), encodedScale(image)];
    ranges.forEach(([low, high], d) => {
      const fraction = (value) => Math.min(1, Math.max(0, (value - low) / (high - low)));
      sliders[d].mark.style.setProperty("--vi-from", fraction(mean[d] - 2 * scale[d]));
      sliders[d].mark.style.setProperty("--vi-to", fraction(mean[d] + 2 * scale[d]));
    });
  };
  drawImage();
  drawZ();
  const root = html("div", { class: "vi-explorer vi-latent-explorer", role: "group", "aria-label": spec.label });
  root.append(pictures, sliderColumn(spec, sliders), html("div", { class: "vi-ways" }, ...ways.map(({ element }) => element)));
  el.append(root);
  const ends = [listen(model, "change:z", drawZ), listen(model, "change:image", () => (drawImage(), drawZ())), share.close];
  return () => ends.forEach((end) => end());
}

export default { render };
