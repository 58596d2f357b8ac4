// The pictures of the playground.

import { formatNumber, html } from "./explorer.js";
import { DIGIT_COLORS, legendKey, linePath, lineStyle, lineSwatch, panel, plot, svg } from "./figure.js";

export const ACTIVE_NATS = 0.01;
const PLANE_SIDE = 320;
const LINES = [
  { key: "said", name: "what the objective says", color: "#e69f00", dash: 2 },
  { key: "train", name: "right bound, training images", color: "#56b4e9", dash: 1 },
  { key: "heldOut", name: "right bound, held-out images", color: "#0072b2", dash: 0 },
];

/** Return the curves' picture: its element, and `draw(history)`. */
export function curvesPicture() {
  const picture = plot({ label: "Bounds against the step" }, 250, [], 330);
  const draw = (history) => {
    const values = LINES.flatMap(({ key }) => history[key].map(([, value]) => value)).filter(Number.isFinite);
    // An objective may say anything; what it says below the bounds by far is not worth their room.
    const low = Math.floor(Math.max(-400, Math.min(...(values.length ? values : [-200]))) / 10) * 10;
    const high = Math.ceil(Math.max(low + 10, ...(values.length ? values : [-100])) / 10) * 10;
    const last = Math.max(100, ...LINES.map(({ key }) => history[key].at(-1)?.[0] ?? 0));
    const made = panel({
      left: 62, width: 252, height: 190, numTicks: [4, 5], xRange: [0, last], yRange: [low, high], xLabel: "step",
      yLabel: "nats per image",
    });
    for (const line of LINES) {
      const points = history[line.key];
      const d = linePath(points.map(([x]) => x), points.map(([, y]) => y), made.x, made.y);
      made.drawing.append(svg("path", { "data-name": line.key, d, ...lineStyle(line) }));
    }
    picture.replaceChildren(made.group);
  };
  const legend = html("div", { class: "vi-legend" }, ...LINES.map((line) => legendKey(line.name, lineSwatch(line))));
  return { element: html("figure", {}, picture, legend), draw };
}

/** Return the plane of two dimensions: its element, and `draw(look, labels, dims, z)`; it calls `onPick(x, y)`. */
export function latentPlane({ onPick }) {
  const caption = html("figcaption", {}, "The encoder's codes of held-out images appear here.");
  const canvas = html("canvas", { class: "vi-plane", role: "img", "aria-label": caption.textContent });
  const scale = Math.min(3, globalThis.devicePixelRatio || 1);
  canvas.width = canvas.height = PLANE_SIDE * scale;
  const context = canvas.getContext("2d");
  let reach = 3.5;
  const pixel = (value) => ((value + reach) / (2 * reach)) * PLANE_SIDE;
  const pick = (event) => {
    const box = canvas.getBoundingClientRect();
    const value = (fraction) => (Math.min(1, Math.max(0, fraction)) * 2 - 1) * reach;
    onPick(value((event.clientX - box.left) / box.width), -value((event.clientY - box.top) / box.height));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pick(event);
  });
  canvas.addEventListener("pointermove", (event) => event.buttons && pick(event));
  const draw = ({ means, numImages, latent }, labels, [first, second], z) => {
    const style = getComputedStyle(canvas);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, PLANE_SIDE, PLANE_SIDE);
    const farthest = Math.max(...Array.from(means, Math.abs).filter(Number.isFinite));
    reach = Math.min(8, Math.max(3.5, Math.ceil(2 * farthest) / 2));
    context.strokeStyle = style.color;
    context.globalAlpha = 0.25;
    context.beginPath();
    context.moveTo(0, pixel(0));
    context.lineTo(PLANE_SIDE, pixel(0));
    context.moveTo(pixel(0), 0);
    context.lineTo(pixel(0), PLANE_SIDE);
    context.stroke();
    context.globalAlpha = 1;
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let i = 0; i < numImages; i++) {
      // With one dimension there is nothing to say about the height: it is spread evenly.
      const y = second === undefined ? ((i * 0.618034) % 1) * 6 - 3 : means[i * latent + second];
      context.fillStyle = DIGIT_COLORS[labels[i]];
      context.fillText(labels[i], pixel(means[i * latent + first]), pixel(-y));
    }
    context.strokeStyle = style.color;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(pixel(z[first]), pixel(second === undefined ? 0 : -z[second]), 8, 0, 7);
    context.stroke();
    const names = second === undefined ? `z[${first}] (the height says nothing)` : `z[${first}] and z[${second}]`;
    const text = `codes of ${numImages} held-out images: ${names}, each from −${reach} to ${reach}`;
    if (caption.textContent === text) return;
    caption.textContent = text;
    canvas.setAttribute("aria-label", `Where the encoder puts the digits: ${text}`);
  };
  return { element: html("figure", {}, canvas, caption), draw };
}

/** Return a row of images: its element, and `draw(images)` with the ink of each. */
export function imageRow(name, count) {
  const canvas = html("canvas", { class: "vi-canvas vi-strip", role: "img", "aria-label": name });
  const context = canvas.getContext("2d");
  const columns = Math.min(8, count);
  const setSide = (side) => ([canvas.width, canvas.height] = [columns * side, Math.ceil(count / columns) * side]);
  setSide(28);
  const draw = (images, side) => {
    if (canvas.width !== columns * side) setSide(side);
    images.forEach((ink, i) => {
      const image = new ImageData(side, side);
      for (let p = 0; p < ink.length; p++) {
        const grey = 255 - Math.round(255 * ink[p]);
        image.data.set([grey, grey, grey, 255], 4 * p);
      }
      context.putImageData(image, (i % columns) * side, Math.floor(i / columns) * side);
    });
  };
  return { element: html("figure", {}, canvas, html("figcaption", {}, name)), draw };
}

/** Return the bars of the latent dimensions' KL: their element, and `draw(kl)`. */
export function unitBars() {
  const caption = html("figcaption", {}, "The KL of each latent dimension appears here.");
  const bars = html("div", { class: "vi-units", role: "img", "aria-label": caption.textContent });
  const draw = (kl) => {
    const sorted = [...kl].sort((a, b) => b - a);
    const active = sorted.filter((nats) => nats >= ACTIVE_NATS).length;
    const total = formatNumber(kl.reduce((a, b) => a + b, 0), 1);
    const text = `${active} of ${kl.length} latent dimensions active; KL ${total} nats in all`;
    const highest = Math.max(1, sorted[0]);
    bars.replaceChildren(
      ...sorted.map((nats) => html("span", {
        class: nats >= ACTIVE_NATS ? "vi-unit" : "vi-unit vi-off",
        style: `height: ${Math.max(2, (100 * nats) / highest)}%`,
        title: `${formatNumber(nats, 2)} nats`,
      })),
    );
    bars.setAttribute("aria-label", text);
    caption.textContent = text;
  };
  return { element: html("figure", {}, bars, caption), draw };
}

/** Return the KL of each dimension in nats, the mean over the images. */
export function meanKl({ means, scales, numImages, latent }) {
  const kl = new Array(latent).fill(0);
  means.forEach((mean, i) => {
    kl[i % latent] += (0.5 * (mean ** 2 + scales[i] ** 2 - 1) - Math.log(scales[i])) / numImages;
  });
  return kl;
}
