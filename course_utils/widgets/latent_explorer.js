const Z_STEP = 0.05;

const ACTIVATIONS = {
  silu: (x) => x / (1 + Math.exp(-x)),
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
};

/** Write `activation(kernel @ input + bias)` to `output`; `kernel` is stored row by row of outputs, `bias` after it. */
function linear(weights, start, input, output, activation) {
  const width = input.length;
  const height = output.length;
  const bias = start + width * height;
  let row = 0;
  // Four rows at a time keep four sums in registers, which is more than twice as fast as one.
  for (; row + 4 <= height; row += 4) {
    const a = start + row * width;
    const b = a + width;
    const c = b + width;
    const d = c + width;
    let [sumA, sumB, sumC, sumD] = [0, 0, 0, 0];
    for (let i = 0; i < width; i++) {
      const value = input[i];
      sumA += value * weights[a + i];
      sumB += value * weights[b + i];
      sumC += value * weights[c + i];
      sumD += value * weights[d + i];
    }
    output[row] = activation(sumA + weights[bias + row]);
    output[row + 1] = activation(sumB + weights[bias + row + 1]);
    output[row + 2] = activation(sumC + weights[bias + row + 2]);
    output[row + 3] = activation(sumD + weights[bias + row + 3]);
  }
  for (; row < height; row++) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += input[i] * weights[start + row * width + i];
    output[row] = activation(sum + weights[bias + row]);
  }
}

/** Return the function from `z` to the probability of ink in each pixel; it writes into the same array each time. */
export function decoder(layers, weights) {
  const outputs = layers.map((layer) => new Float32Array(layer.outputs));
  return (z) => {
    let values = Float32Array.from(z);
    let start = 0;
    layers.forEach((layer, i) => {
      linear(weights, start, values, outputs[i], ACTIVATIONS[layer.activation]);
      start += (layer.inputs + 1) * layer.outputs;
      values = outputs[i];
    });
    return values;
  };
}

/** Return a canvas that shows images of ink on white paper: `draw(ink, scale)`, where `scale` is the ink of black. */
function inkCanvas(height, width) {
  const canvas = html("canvas", { class: "vi-canvas", height, width, role: "img" });
  const context = canvas.getContext("2d");
  const image = new ImageData(width, height);
  const grey = image.data.fill(255);
  return {
    canvas,
    draw(ink, scale) {
      for (let i = 0; i < ink.length; i++) {
        grey[4 * i] = grey[4 * i + 1] = grey[4 * i + 2] = 255 - Math.round((255 / scale) * ink[i]);
      }
      context.putImageData(image, 0, 0);
    },
  };
}

/** Return the buttons and the number by which an image and a code are chosen. */
function choices({ numImages, latentDim, getImage, setImage, setZ, encodedMean }) {
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const turn = (by) => () => setImage((getImage() + by + numImages) % numImages);
  const number = html("input", { type: "number", min: 0, max: numImages - 1, step: 1, ...KEEP_KEYS });
  number.setAttribute("aria-label", "number of the image");
  number.addEventListener("input", () => {
    if (number.value !== "" && number.validity.valid) setImage(number.valueAsNumber);
  });
  number.addEventListener("blur", () => (number.value = getImage()));
  const images = html("div", { class: "vi-row" }, button("Previous", turn(-1)), number, button("Next", turn(1)));
  const codes = html(
    "div",
    { class: "vi-row" },
    button("Encode image", () => setZ(encodedMean(getImage()))),
    button("Prior mean", () => setZ(new Array(latentDim).fill(0))),
    button("Random draw", () => setZ(Array.from({ length: latentDim }, normal))),
  );
  return { number, images, codes };
}

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
    column.append(html("details", {}, html("summary", KEEP_KEYS, summary), group(folded)));
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
  const decode = decoder(spec.layers, numbers(model.get("weights"), Float32Array));
  const share = sharing(model);
  const [numPixels, latentDim] = [spec.height * spec.width, spec.kl.length];
  const numImages = pixels.length / numPixels;
  const encodedMean = (image) => Array.from(codes.subarray(image * latentDim, (image + 1) * latentDim));
  const encodedScale = (image) => codes.subarray((numImages + image) * latentDim, (numImages + image + 1) * latentDim);
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
  const choose = choices({ numImages, latentDim, getImage, setImage, setZ, encodedMean });
  const original = inkCanvas(spec.height, spec.width);
  const decoded = inkCanvas(spec.height, spec.width);
  decoded.canvas.setAttribute("aria-label", "Image decoded from z: the probability of ink in each pixel");
  const caption = html("figcaption");
  const figures = [
    html("figure", {}, original.canvas, caption),
    html("figure", {}, decoded.canvas, html("figcaption", {}, "decoded from z")),
  ];
  const pictures = html("div", { class: "vi-pictures" }, html("div", { class: "vi-row" }, ...figures));
  pictures.append(choose.images, choose.codes);

  const drawZ = () => {
    const z = model.get("z");
    decoded.draw(decode(z), 1);
    z.forEach((value, d) => sliders[d].set(value, formatNumber(value, 2)));
  };
  const drawImage = () => {
    const image = getImage();
    const text = labels.length ? `image ${image}, label ${labels[image]}` : `image ${image}`;
    original.draw(pixels.subarray(image * numPixels, (image + 1) * numPixels), 255);
    original.canvas.setAttribute("aria-label", text);
    caption.textContent = text;
    if (choose.number.valueAsNumber !== image) choose.number.value = image;
    const [mean, scale] = [encodedMean(image), encodedScale(image)];
    ranges.forEach(([low, high], d) => {
      const fraction = (value) => Math.min(1, Math.max(0, (value - low) / (high - low)));
      sliders[d].mark.style.setProperty("--vi-from", fraction(mean[d] - 2 * scale[d]));
      sliders[d].mark.style.setProperty("--vi-to", fraction(mean[d] + 2 * scale[d]));
    });
  };
  drawImage();
  drawZ();
  const root = html("div", { class: "vi-explorer vi-latent-explorer", role: "group", "aria-label": "Latent explorer" });
  root.append(pictures, sliderColumn(spec, sliders));
  el.append(root);
  const ends = [listen(model, "change:z", drawZ), listen(model, "change:image", drawImage), share.close];
  return () => ends.forEach((end) => end());
}

export default { render };
