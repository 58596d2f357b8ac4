// Shared by the explorers that run a VAE.

import { button, html, numberField } from "./explorer.js";

export const Z_STEP = 0.05;

export const ACTIVATIONS = {
  silu: (x) => x / (1 + Math.exp(-x)),
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
  identity: (x) => x,
};

/** Write `kernel @ input + bias` to `output`; `kernel` is stored row by row of outputs, `bias` after it. */
function linear(weights, start, input, output) {
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
    output[row] = sumA + weights[bias + row];
    output[row + 1] = sumB + weights[bias + row + 1];
    output[row + 2] = sumC + weights[bias + row + 2];
    output[row + 3] = sumD + weights[bias + row + 3];
  }
  for (; row < height; row++) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += input[i] * weights[start + row * width + i];
    output[row] = sum + weights[bias + row];
  }
}

/** Return the function that a network computes, with the activation of its last layer; it writes into the same array each time. */
export function mlp(layers, weights) {
  const outputs = layers.map((layer) => new Float32Array(layer.outputs));
  return (inputs) => {
    let values = Float32Array.from(inputs);
    let start = 0;
    layers.forEach((layer, i) => {
      linear(weights, start, values, outputs[i]);
      // In a loop of its own, so that the loops above stay the same compiled code for all activations.
      const activation = ACTIVATIONS[layer.activation];
      for (let row = 0; row < layer.outputs; row++) outputs[i][row] = activation(outputs[i][row]);
      start += (layer.inputs + 1) * layer.outputs;
      values = outputs[i];
    });
    return values;
  };
}

/** Return a canvas that shows images of ink on white paper: `draw(ink, scale)`, where `scale` is the ink of black. */
export function inkCanvas(height, width) {
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

/** Return the buttons and the number by which an image is chosen: their `element`, and `show(image)`. */
export function imageChoice({ numImages, getImage, setImage }) {
  const turn = (by) => () => setImage((getImage() + by + numImages) % numImages);
  // What is typed counts as the nearest image that there is.
  const choose = () => {
    const wanted = Math.round(number.valueAsNumber);
    if (Number.isFinite(wanted)) setImage(Math.max(0, Math.min(numImages - 1, wanted)));
    number.value = getImage();
  };
  const number = numberField({ name: "number of the image", min: 0, max: numImages - 1, onChange: choose });
  return {
    element: html("div", { class: "vi-row" }, button("Previous", turn(-1)), number, button("Next", turn(1))),
    show: (image) => number.valueAsNumber !== image && (number.value = image),
  };
}
