// Shows the explorers of a page as a notebook does. There is no kernel: what an explorer tells Python goes no further.

window.courseExplorers = (() => {
  const folder = new URL("explorers/", document.currentScript.src);
  const pieces = new Map(); // by name: a promise of the piece, and what fulfils it

  /** Return a promise of the piece called `name`: the script that holds it calls `take`. */
  function piece(name) {
    if (!pieces.has(name)) {
      const script = document.createElement("script");
      const entry = {};
      entry.promise = new Promise((resolve, reject) => {
        entry.resolve = resolve;
        script.onerror = () => reject(new Error(`${script.src} cannot be loaded`));
      });
      pieces.set(name, entry);
      script.src = new URL(`${name}.js`, folder);
      document.head.append(script);
    }
    return pieces.get(name).promise;
  }

  const modules = new Map();
  const styles = new Set();

  function importOnce(name, source) {
    if (!modules.has(name)) {
      modules.set(name, import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))));
    }
    return modules.get(name);
  }

  function addStyle(name, css) {
    if (styles.has(name)) return;
    styles.add(name);
    document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  }

  /** Return the value of a trait; bytes are deflated and written in base64. */
  async function valueOf(trait) {
    if (trait?.deflated === undefined) return trait;
    const bytes = Uint8Array.from(atob(trait.deflated), (character) => character.charCodeAt(0));
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new DataView(await new Response(inflated).arrayBuffer());
  }

  /** Return what anywidget hands a module: the traits, and the events that tell of their changes. */
  async function modelOf(traits) {
    const entries = Object.entries(traits).map(async ([name, trait]) => [name, await valueOf(trait)]);
    const values = new Map(await Promise.all(entries));
    const handlers = new Map();
    const emit = (event, ...given) => [...(handlers.get(event) ?? [])].forEach((handler) => handler(...given));
    const model = {
      get: (name) => values.get(name),
      set(name, value) {
        if (values.get(name) === value) return;
        values.set(name, value);
        emit(`change:${name}`, model, value);
        emit("change", model);
      },
      on: (event, handler) => handlers.set(event, [...(handlers.get(event) ?? []), handler]),
      off: (event, handler) =>
        handlers.set(event, handler ? (handlers.get(event) ?? []).filter((other) => other !== handler) : []),
      save_changes() {},
      send() {},
    };
    return model;
  }

  /** Return the widget with these three pieces, and a model with its traits. */
  async function widgetOf([ofModule, ofStyle, ofTraits]) {
    const [source, css, traits] = await Promise.all([ofModule, ofStyle, ofTraits].map(piece));
    const { default: widget } = await importOnce(ofModule, source);
    addStyle(ofStyle, css);
    const model = await modelOf(traits);
    await widget.initialize?.({ model });
    return { widget, model };
  }

  const begun = new Set();

  /** Begin what an explorer may use and no cell shows, such as a library; the explorer is drawn without waiting for it. */
  function begin(unseen) {
    if (begun.has(unseen)) return;
    begun.add(unseen);
    const names = unseen.split(" ");
    for (let i = 0; i + 3 <= names.length; i += 3) widgetOf(names.slice(i, i + 3)).catch(console.error);
  }

  /** Say at its outcome what a prediction costs that is locked in here, as `came_true` does where there is a kernel. */
  function score(model) {
    const { name, options } = model.get("spec");
    for (const outcome of document.querySelectorAll(`.outcome[data-prediction="${name}"]`)) {
      const cost = outcome.querySelector(".cost");
      const without = cost.textContent;
      const tell = () => {
        const given = model.get("locked")[options.indexOf(outcome.dataset.option)];
        const mine = `You gave it ${Math.round(100 * given)} %, which costs −log ${given?.toFixed(2)} = ${(-Math.log(given)).toFixed(2)} nats. `;
        cost.textContent = given ? mine + without : without;
      };
      model.on("change:locked", tell);
      tell();
    }
  }

  async function show(place) {
    try {
      begin(place.dataset.unseen);
      const { widget, model } = await widgetOf(place.dataset.pieces.split(" "));
      if ("ownPage" in place.dataset) model.set("spec", { ...model.get("spec"), own_page: true });
      const el = document.createElement("div");
      await widget.render({ model, el });
      if (model.get("locked")) score(model);
      place.replaceChildren(el);
      place.dataset.live = "";
    } catch (error) {
      console.error(error);
      place.append("This explorer cannot be shown here; the picture is a still of it.");
    }
  }

  /** Let the reader ask for an explorer that is large; its still stays until it is there. */
  function offer(place) {
    const text = `Start it here (${place.dataset.megabytes} MB)`;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "start", textContent: text });
    const start = () => {
      button.disabled = true;
      show(place);
    };
    place.addEventListener("click", start, { once: true }); // the still shows buttons, too
    place.prepend(button);
  }

  /** Bring to life the explorers under `root`, each when it comes near, a large one when it is asked for. */
  function watch(root) {
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          watcher.unobserve(target);
          show(target);
        }
      },
      { rootMargin: "600px" },
    );
    for (const place of root.querySelectorAll(".explorer[data-pieces]")) {
      if (place.dataset.megabytes) offer(place);
      else watcher.observe(place);
    }
  }

  document.addEventListener("DOMContentLoaded", () => watch(document));
  return { take: (name, value) => pieces.get(name).resolve(value) };
})();
