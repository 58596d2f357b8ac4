import { inkCanvas, mlp, Z_STEP } from "./decoder.js";
import { button, formatNumber, html, keepKeys, listen, numbers, sharing, slider, standardNormal } from "./explorer.js";

function render({ model, el }) {
  const spec = model.get("spec");
  const decode = mlp(spec.layers, numbers(model.get("weights"), Float32Array));
  const share = sharing(model);
  const change = (name) => (value) => {
    model.set(name, value);
    share.soon();
  };
  const [setZ, setChoice] = [change("z"), change("choice")];

  const sliders = Array.from({ length: spec.style_dim }, (_, d) =>
    slider({
      name: `z[${d}]`,
      min: -3,
      max: 3,
      step: Z_STEP,
      onInput: (value) => setZ(model.get("z").map((old, i) => (i === d ? value : old))),
    }),
  );
  const large = inkCanvas(spec.height, spec.width);
  const caption = html("figcaption");
  const each = spec.choices.map((name, i) => {
    const small = inkCanvas(spec.height, spec.width);
    small.canvas.setAttribute("aria-hidden", "true");
    const node = keepKeys(html("button", { type: "button", class: "vi-choice", "aria-label": `draw ${name}` }, small.canvas));
    node.addEventListener("click", () => setChoice(i));
    return { node, draw: small.draw };
  });

  const draw = () => {
    const [z, choice] = [model.get("z"), model.get("choice")];
    each.forEach(({ node, draw: drawSmall }, i) => {
      const ink = decode([...z, ...spec.choices.map((_, j) => Number(i === j))]);
      drawSmall(ink, 1);
      node.setAttribute("aria-pressed", String(i === choice));
      if (i === choice) large.draw(ink, 1);
    });
    const text = `${spec.choices[choice]}, in the style z`;
    large.canvas.setAttribute("aria-label", text);
    caption.textContent = text;
    z.forEach((value, d) => sliders[d].set(value, formatNumber(value, 2)));
  };
  draw();
  const styles = html(
    "div",
    { class: "vi-row" },
    button("Prior mean", () => setZ(new Array(spec.style_dim).fill(0))),
    button("Random style", () => setZ(Array.from({ length: spec.style_dim }, () => standardNormal()))),
    button("Reset", () => {
      setChoice(spec.start.choice);
      setZ(spec.start.z);
    }),
  );
  const row = html("div", { class: "vi-choices", role: "group", "aria-label": "what is drawn" }, ...each.map(({ node }) => node));
  const column = html("div", { class: "vi-latent" }, html("div", { class: "vi-sliders" }, ...sliders.map((s) => s.element)));
  column.append(styles);
  const root = html("div", { class: "vi-explorer vi-latent-explorer", role: "group", "aria-label": spec.label });
  root.append(html("div", { class: "vi-pictures" }, html("figure", {}, large.canvas, caption)), column, row);
  el.append(root);
  const ends = [listen(model, "change:z", draw), listen(model, "change:choice", draw), share.close];
  return () => ends.forEach((end) => end());
}

export default { render };
