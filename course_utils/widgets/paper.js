// Shared by the explorers with an image to paint on.

import { html, keepKeys } from "./explorer.js";

// What a pixel can be, with the radius of the brush that makes it so, in pixels.
export const PAPER = { code: "0", name: "Rubber", radius: 2.2 };
export const INK = { code: "1", name: "Pencil", radius: 1.2 };
export const UNSEEN = { code: "?", name: "Hide", radius: 2.2 };

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Return `pixels`, one code for each, with the line between two places drawn by `tool`. */
export function stroke(pixels, width, tool, [fromX, fromY], [toX, toY]) {
  const [alongX, alongY] = [toX - fromX, toY - fromY];
  const length = alongX ** 2 + alongY ** 2;
  return Array.from(pixels, (code, i) => {
    const [x, y] = [(i % width) + 0.5 - fromX, Math.floor(i / width) + 0.5 - fromY];
    const share = length ? Math.max(0, Math.min(1, (x * alongX + y * alongY) / length)) : 0;
    return Math.hypot(x - share * alongX, y - share * alongY) <= tool.radius ? tool.code : code;
  }).join("");
}

/**
 * Return an image to paint on with mouse, pen, finger or keys: its `element`, and `draw(pixels)`. `onPaint(pixels)` gets
 * what it becomes, and `onEnd()` comes after the last of it.
 */
export function paper({ height, width, label, getPixels, getTool, onPaint, onEnd }) {
  const keys = "Arrow keys move the brush, the space bar paints, and so do arrow keys with Shift.";
  const canvas = keepKeys(html("canvas", { class: "vi-canvas vi-paper", height, width, tabindex: 0, role: "application" }));
  canvas.setAttribute("aria-label", `${label}. ${keys}`);
  const cursor = html("div", { class: "vi-cursor" });
  const context = canvas.getContext("2d");
  const image = new ImageData(width, height);
  image.data.fill(255);
  const paint = (from, to) => onPaint(stroke(getPixels(), width, getTool(), from, to));

  let last = null;
  const place = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    return [((clientX - box.left) / box.width) * width, ((clientY - box.top) / box.height) * height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    paint(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last === null) return;
    const next = place(event);
    paint(last, next);
    last = next;
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, () => {
      if (last !== null) onEnd();
      last = null;
    });
  }

  let [column, row, painted] = [width >> 1, height >> 1, false];
  const brush = () => [column + 0.5, row + 0.5];
  const moveCursor = () => {
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(cursor.style, {
      left: percent(column, width), top: percent(row, height), width: percent(1, width), height: percent(1, height),
    });
  };
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow && event.key !== " ") return;
    event.preventDefault();
    const from = brush();
    if (arrow) {
      column = Math.max(0, Math.min(width - 1, column + arrow[0]));
      row = Math.max(0, Math.min(height - 1, row + arrow[1]));
      moveCursor();
    }
    if (!arrow || event.shiftKey) {
      paint(from, brush());
      painted = true;
    }
  });
  canvas.addEventListener("keyup", () => {
    if (painted) onEnd();
    painted = false;
  });
  moveCursor();
  return {
    element: html("div", { class: "vi-page" }, canvas, cursor),
    draw(pixels) {
      for (let i = 0; i < pixels.length; i++) {
        // A chequered blue, which no shade of ink is.
        const odd = (i + Math.floor(i / width)) % 2;
        const color = { 0: [255, 255, 255], 1: [0, 0, 0], "?": odd ? [134, 190, 226] : [188, 219, 240] }[pixels[i]];
        image.data.set(color, 4 * i);
      }
      context.putImageData(image, 0, 0);
    },
  };
}
