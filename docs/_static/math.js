// Renders what Sphinx marks as mathematics, with KaTeX, a slice at a time, so that a long page can be read meanwhile.
const MATH_SLICE = 30; // milliseconds
const KATEX = new URL("katex/katex.min.js", document.currentScript.src);
let katexLoaded = null;

/** Return a promise of KaTeX, which is loaded when the first formula needs it. */
function loadKatex() {
  katexLoaded ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: KATEX, onload: resolve });
    script.onerror = () => reject(new Error(`${KATEX} cannot be loaded`));
    document.head.append(script);
  });
  return katexLoaded;
}

async function courseMath(root) {
  const formulas = root.querySelectorAll(".math:not(:has(.katex))");
  if (formulas.length) await loadKatex();
  let until = performance.now() + MATH_SLICE;
  for (const node of formulas) {
    const text = node.textContent.trim();
    const tex = text.replace(/^\\[[(]|\\[\])]$/g, "");
    katex.render(tex, node, { displayMode: text.startsWith("\\["), throwOnError: false });
    if (performance.now() < until) continue;
    await new Promise((resolve) => setTimeout(resolve));
    until = performance.now() + MATH_SLICE;
  }
}
document.addEventListener("DOMContentLoaded", () => courseMath(document));
