// Says on the root element, where the explorers look for it, which of the two themes is shown.
{
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    const chosen = document.body.dataset.theme;
    document.documentElement.dataset.theme = chosen === "auto" ? (prefersDark.matches ? "dark" : "light") : chosen;
  };
  new MutationObserver(follow).observe(document.body, { attributeFilter: ["data-theme"] });
  prefersDark.addEventListener("change", follow);
  follow();
}
