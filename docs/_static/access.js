// Puts right what the theme leaves unclear to those who do not see the page, or have no mouse.
document.addEventListener("DOMContentLoaded", () => {
  const each = (selector, change) => document.querySelectorAll(selector).forEach(change);
  each(".sidebar-tree .caption", (node) => node.setAttribute("aria-level", 2));
  each(".sidebar-drawer", (node) => node.setAttribute("aria-label", "Chapters"));
  each(".toc-drawer", (node) => node.setAttribute("aria-label", "On this page"));
  each(".citation-list > .citation", (node) => node.setAttribute("role", "listitem"));
  each(".back-to-top", (node) => {
    const place = document.createElement("nav");
    place.setAttribute("aria-label", "Back to top");
    node.replaceWith(place);
    place.append(node);
  });
  // A corner without a name is no heading.
  each("th:empty, th:has(> p:empty:only-child)", (node) => {
    const corner = document.createElement("td");
    corner.className = node.className;
    node.replaceWith(corner);
  });
  if (!document.querySelector("h1")) {
    const title = Object.assign(document.createElement("h1"), { textContent: document.title.split(" - ")[0] });
    document.querySelector("article").prepend(title);
  }
  // What is scrolled has to be reached with the keys; a formula has its size when it has been rendered.
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  each("pre, .table-wrapper, div.math", (node) => sizes.observe(node));
});
