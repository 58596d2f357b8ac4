// Renders what Sphinx marks as mathematics, with KaTeX, a slice at a time, so that a long page can be read meanwhile.
const MATH_SLICE = 30; // milliseconds

async function courseMath(root) {
  let until = performance.now() + MATH_SLICE;
  for (const node of root.querySelectorAll(".math:not(:has(.katex))")) {
    const text = node.textContent.trim();
    const tex = text.replace(/^\\[[(]|\\[\])]$/g, "");
    katex.render(tex, node, { displayMode: text.startsWith("\\["), throwOnError: false });
    if (performance.now() < until) continue;
    await new Promise((resolve) => setTimeout(resolve));
    until = performance.now() + MATH_SLICE;
  }
}
document.addEventListener("DOMContentLoaded", () => courseMath(document));
