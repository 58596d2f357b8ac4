// Shows the beginning of what a link of the course leads to, when the pointer or the focus stays on it.
/* global courseMath */
{
  const DELAY = 350; // milliseconds
  const WORTH_SHOWING = "article a.reference.internal[href]:not(.headerlink)";
  const pages = new Map();
  const card = Object.assign(document.createElement("div"), { className: "preview", popover: "manual", role: "tooltip", id: "preview" });
  let timer = null;
  let shown = null;

  function load(address) {
    if (!pages.has(address)) {
      const page = address === location.href.split("#")[0] ? Promise.resolve(document) : fetchPage(address);
      pages.set(address, page);
    }
    return pages.get(address);
  }

  async function fetchPage(address) {
    const answer = await fetch(address);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  /** Return the heading and the first paragraphs of the section, or all of the entry, that a link leads to. */
  function beginning(page, hash) {
    const target = hash ? page.getElementById(decodeURIComponent(hash.slice(1))) : page.querySelector("article section");
    if (!target) return [];
    const parts = target.matches("section")
      ? [...target.children].filter((part) => part.matches("h1, h2, h3, h4, p:not(.runs), div.math")).slice(0, 3)
      : [target.closest(".citation, tr, li, p") ?? target];
    return parts.map((part) => document.importNode(part, true));
  }

  async function show(link) {
    const { origin, pathname, search, hash } = new URL(link.href);
    if (origin !== location.origin) return;
    const parts = beginning(await load(origin + pathname + search), hash);
    if (shown !== link || !parts.length) return;
    card.replaceChildren(...parts);
    for (const node of card.querySelectorAll("[id], .headerlink")) {
      node.removeAttribute("id");
      if (node.matches(".headerlink")) node.remove();
    }
    await courseMath(card);
    if (shown !== link) return;
    card.showPopover();
    const { left, top, bottom } = link.getBoundingClientRect();
    const above = bottom + card.offsetHeight + 8 > innerHeight && top > card.offsetHeight;
    card.style.left = `${Math.max(8, Math.min(left, innerWidth - card.offsetWidth - 8))}px`;
    card.style.top = `${above ? top - card.offsetHeight - 6 : bottom + 6}px`;
    link.setAttribute("aria-describedby", card.id);
  }

  function hide() {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    if (card.matches(":popover-open")) card.hidePopover();
  }

  function soon(event) {
    const link = event.target.closest?.(WORTH_SHOWING);
    if (!link || link === shown) return;
    hide();
    shown = link;
    // From a disk a page may not read another, so there is no preview.
    timer = setTimeout(() => show(link).catch(() => hide()), DELAY);
  }

  const leave = (event) => shown && !shown.contains(event.relatedTarget) && hide();
  document.body.append(card);
  document.addEventListener("pointerover", (event) => event.pointerType !== "touch" && soon(event));
  document.addEventListener("focusin", soon);
  document.addEventListener("pointerout", leave);
  document.addEventListener("focusout", leave);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}
