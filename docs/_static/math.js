// Renders what Sphinx marks as mathematics, with KaTeX.
function courseMath(root) {
  for (const node of root.querySelectorAll(".math:not(:has(.katex))")) {
    const text = node.textContent.trim();
    const tex = text.replace(/^\\[[(]|\\[\])]$/g, "");
    katex.render(tex, node, { displayMode: text.startsWith("\\["), throwOnError: false });
  }
}
document.addEventListener("DOMContentLoaded", () => courseMath(document));
