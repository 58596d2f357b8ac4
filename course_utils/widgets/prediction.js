import { button, html, keepKeys, listen, numberField, slider } from "./explorer.js";

const LEAST = 1;

/** Return `weights` scaled to the sum `total`; the same for each if there are none. */
function shares(weights, total) {
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => (sum > 0 ? (total * weight) / sum : total / weights.length));
}

/** Return percentages, each at least 1 and 100 in all, with `value` at `index` and the others as in `percents`. */
export function rebalance(percents, index, value) {
  const others = percents.filter((_, i) => i !== index);
  const mine = Math.min(100 - LEAST * others.length, Math.max(LEAST, Math.round(value)));
  const rest = shares(others.map((percent) => percent - LEAST), 100 - mine - LEAST * others.length);
  return percents.map((_, i) => (i === index ? mine : LEAST + rest[i < index ? i : i - 1]));
}

/** Return `percents` as whole numbers with the same sum, 100: the largest fractions are rounded up. */
export function whole(percents) {
  const floors = percents.map((percent) => Math.floor(percent + 1e-9));
  const byFraction = percents.map((_, i) => i).sort((i, j) => percents[j] - floors[j] - (percents[i] - floors[i]) || i - j);
  const missing = 100 - floors.reduce((a, b) => a + b, 0);
  byFraction.slice(0, missing).forEach((i) => (floors[i] += 1));
  return floors;
}

/** Return what keeps a prediction in this browser until a kernel is there: `read()`, `write(value)`, `forget()`. */
function browserMemory(spec) {
  const notebook = spec.notebook || /\d\d_\w+(?=\.\w+$)/.exec(decodeURIComponent(location.pathname))?.[0] || "notebook";
  const key = `course-prediction/${notebook}/${spec.name}`;
  // A page that may not store anything, such as a private one, still lets one predict.
  const attempt = (action) => {
    try {
      return action();
    } catch {
      return null;
    }
  };
  return {
    read() {
      const kept = attempt(() => JSON.parse(localStorage.getItem(key)));
      return kept && String(kept.options) === String(spec.options) ? kept.locked : [];
    },
    write: (locked) => attempt(() => localStorage.setItem(key, JSON.stringify({ options: spec.options, locked }))),
    forget: () => attempt(() => localStorage.removeItem(key)),
  };
}

/** Return the text with what stands between two backticks as code, a paragraph for each empty line. */
function paragraphs(text) {
  return text.split(/\n\s*\n/).map((part) => {
    const pieces = part.split("`").map((piece, i) => (i % 2 ? html("code", {}, piece) : piece));
    return html("p", {}, ...pieces);
  });
}

function render({ model, el }) {
  const spec = model.get("spec");
  const memory = browserMemory(spec);
  const even = spec.options.map(() => 100 / spec.options.length);
  let [percents, basis, moving] = [even, even, null];

  const move = (index, value) => {
    // While one option is moved, the others keep the proportions that they had before.
    if (moving !== index) [basis, moving] = [percents, index];
    percents = rebalance(basis, index, value);
    draw();
  };
  const most = 100 - LEAST * (spec.options.length - 1);
  const rows = spec.options.map((option, index) => {
    const onChange = () => {
      if (number.value !== "") move(index, number.valueAsNumber);
      draw();
    };
    const number = numberField({ name: `${option}, in percent`, min: LEAST, max: most, onChange });
    const made = slider({ name: option, min: LEAST, max: most, step: 1, onInput: (value) => move(index, value) });
    const value = html("span", { class: "vi-percent" }, number, "%");
    const row = html("div", { class: "vi-option" }, html("span", { class: "vi-name" }, option), made.input, value);
    return { row, number, ...made };
  });
  const setLocked = (locked) => {
    if (locked.length) memory.write(locked);
    else memory.forget();
    model.set("locked", locked);
    model.save_changes();
  };
  const lock = button("Lock in", () => setLocked(whole(percents).map((percent) => percent / 100)));
  const skip = button("Skip", () => (then.open = true));
  const reset = button("Reset", () => {
    [percents, basis, moving] = [even, even, null];
    setLocked([]);
    draw();
  });
  const status = html("p", { class: "vi-status", role: "status" });
  const then = html("details", { class: "vi-then" }, keepKeys(html("summary", {}, "Read on")), ...paragraphs(spec.then));
  then.hidden = !spec.then;
  skip.hidden = !spec.then;

  let wasLocked = null;
  function draw() {
    const locked = model.get("locked");
    const isLocked = locked.length > 0;
    if (isLocked) percents = locked.map((share) => 100 * share);
    whole(percents).forEach((percent, i) => {
      rows[i].set(percent, `${percent} %`);
      rows[i].number.value = percent;
      rows[i].input.disabled = rows[i].number.disabled = isLocked;
    });
    lock.disabled = skip.disabled = isLocked;
    if (isLocked === wasLocked) return;
    then.open = isLocked;
    status.textContent = isLocked
      ? "Locked in. The next cells say what happens."
      : "How probable is each answer? The percentages always add up to 100.";
    wasLocked = isLocked;
  }

  const root = html("div", { class: "vi-explorer vi-prediction", role: "group", "aria-label": `Prediction: ${spec.question}` });
  root.append(html("p", { class: "vi-question" }, html("b", {}, "Predict. "), ...paragraphs(spec.question)[0].childNodes));
  root.append(html("div", { class: "vi-options" }, ...rows.map(({ row }) => row)), status);
  root.append(html("div", { class: "vi-row" }, lock, skip, reset), then);
  el.append(root);
  // What was locked in before there was a kernel is passed on to it; what the work folder holds comes first.
  if (model.get("locked").length) memory.write(model.get("locked"));
  else if (memory.read().length) setLocked(memory.read());
  draw();
  return listen(model, "change:locked", draw);
}

export default { render };
