"""How soon and how often the picture follows a slider: ``LatentExplorer`` beside ``interact`` with ``imshow``.

Of the explorers that compute in the page, it is also measured how soon they answer a key.

Run it from the course folder: ``python -m tests.benchmarks.sliders``. Both stand in one notebook, in one JupyterLab and
one headless browser, and take turns; each figure is the median over the rounds.

What is measured, in the page, with one look at each frame just after it was painted:

- *key to paint*: from the time stamp of the key press to the first painted frame with another picture;
- *drag*: pictures painted a second while the mouse moves, the share of the values that the slider went through that
  got a picture, and the share of the frames with a new value in which the picture is that of this very value;
- *settle*: from the release of the mouse to the last change of the picture.
"""

import asyncio
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_notebook
from playwright.async_api import Page, async_playwright

from course_utils.coursework.author.stills import BROWSERS, find_browser
from tests.browser.lab import BROWSER_OPTIONS, IS_READY, RUN_ALL, VIEWPORT, jupyter_lab

NUM_KEYS = 20
DRAG_SECONDS = 2.0
EVENTS_PER_SECOND = 120

SETUP = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from ipywidgets import FloatSlider, interact
from matplotlib import pyplot as plt
from course_utils.models import VAE
from course_utils.widgets import LatentExplorer

vae = VAE(50, rngs=nnx.Rngs(0))
for layer in vae.decoder.layers:  # so that each step of a slider changes the picture, as after training
    layer.kernel[...] = 2.5 * layer.kernel[...]
decode = jax.jit(vae.decode)
z = np.zeros(50, np.float32)
"""
EXPLORER = "LatentExplorer(vae, np.zeros((2, 784)), num_sliders=8)"
INTERACT = """
@interact(value=FloatSlider(value=0.0, min=-3.0, max=3.0, step=0.05))
def show(value):
    z[0] = value
    plt.figure(figsize=(2, 2))
    plt.imshow(decode(z).reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
    plt.axis("off")
    plt.show()
"""

# Explorers that compute in the page, and the key that moves what has the focus.
OTHERS = {
    "ProposalExplorer": (
        "from course_utils.widgets import ProposalExplorer\nProposalExplorer(lambda z: -(z**2).sum(-1), 1.14)",
        "ArrowRight",
    ),
    "RegressionExplorer": (
        "from course_utils.widgets import RegressionExplorer\n"
        "RegressionExplorer(np.linspace(-1, 1, 40), np.sin(3 * np.linspace(-1, 1, 40)))",
        "ArrowRight",
    ),
    "AscentExplorer": (
        "from course_utils.widgets import AscentExplorer\n"
        "AscentExplorer({'bowl': lambda z: -(z**2).sum(-1)}, {'bowl': 1.14})",
        "Enter",
    ),
    "InferenceExplorer": (
        "from course_utils.widgets import InferenceExplorer\nInferenceExplorer(vae, np.zeros((2, 784)), from_prior=True)",
        "Enter",
    ),
}
STRIP_SECONDS = 2.0

# A look at a frame is taken when the page is about to paint it, and dated when it has.
WATCH = """() => {
    const variants = {
        explorer: {
            slider: ".vi-latent-explorer input[type=range]",
            value: (slider) => slider.value,
            picture: () => {
                const canvas = document.querySelector(".vi-latent-explorer canvas[aria-label*=decoded]");
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return data.every((value) => value === data[0]) ? "none" : data.join();
            },
        },
        interact: {
            slider: ".widget-interact .noUi-handle",
            value: (slider) => slider.getAttribute("aria-valuetext"),
            picture: () => {
                const image = document.querySelector(".widget-interact .widget-output img");
                return image?.complete && image.naturalWidth ? image.src : "none";
            },
        },
    };
    const moved = (root) => [...root.querySelectorAll(".vi-picture svg [d], .vi-picture svg [transform]")]
        .map((node) => node.getAttribute("d") + node.getAttribute("transform")).join();
    const other = (name, inner, focused, value) => {
        const root = () => [...document.querySelectorAll(".vi-plane-explorer")].find((each) => each.querySelector(inner));
        const find = () => [...root().querySelectorAll(focused)].find((node) => !node.disabled && (!node.textContent || node.textContent === "Step"));
        variants[name] = { find, value, picture: () => moved(root()) };
    };
    other("ProposalExplorer", "circle.vi-draw", "input", (slider) => slider.value);
    other("RegressionExplorer", ".vi-sheet", "input[aria-label='noise scale']", (slider) => slider.value);
    other("AscentExplorer", ".vi-setup", "button", (button) => button.closest(".vi-explorer").querySelector("td").textContent);
    variants.InferenceExplorer = {
        find: () => [...document.querySelectorAll(".vi-inference-explorer button")].find((node) => node.textContent === "Step"),
        value: (button) => button.closest(".vi-latent").querySelector("figure + figure figcaption").textContent,
        picture: () => [...document.querySelectorAll(".vi-charts [d]")].map((node) => node.getAttribute("d")).join(),
    };
    const pictures = new Map();
    const watch = { frames: [], waiting: null, keyTime: 0, releaseTime: 0 };
    watch.choose = (name) => {
        watch.variant = variants[name];
        watch.slider = watch.variant.find?.() ?? document.querySelector(watch.variant.slider);
        watch.frames = [];
    };
    watch.look = () => {
        const picture = watch.variant.picture();
        if (!pictures.has(picture)) pictures.set(picture, pictures.size);
        return { value: watch.variant.value(watch.slider), picture: pictures.get(picture), blank: picture === "none" };
    };
    // Wait for the next painted frame with another picture; return the milliseconds since the key press.
    watch.nextPicture = () => new Promise((resolve) => (watch.waiting = { before: watch.look(), resolve }));
    watch.pictureOf = (value) => {
        watch.slider.value = value;
        watch.slider.dispatchEvent(new Event("input"));
        return watch.look().picture;
    };
    // Keys that only go up need room.
    watch.rewind = () => {
        if (watch.slider.type !== "range") return;
        watch.slider.value = watch.slider.min;
        watch.slider.dispatchEvent(new Event("input"));
    };
    addEventListener("keydown", (event) => (watch.keyTime = event.timeStamp), true);
    addEventListener("pointerup", (event) => (watch.releaseTime = event.timeStamp), true);
    const painted = new MessageChannel();
    painted.port1.onmessage = ({ data }) => {
        data.time = performance.now();
        watch.frames.push(data);
        const { before, resolve } = watch.waiting ?? {};
        if (before && !data.blank && data.picture !== before.picture) {
            watch.waiting = null;
            resolve({ latency: data.time - watch.keyTime, changed: data.value !== before.value });
        }
        requestAnimationFrame(frame);
    };
    const frame = () => (watch.variant ? painted.port2.postMessage(watch.look()) : requestAnimationFrame(frame));
    requestAnimationFrame(frame);
    window.watch = watch;
}"""


async def measure_keys(page: Page, key: str) -> list[float]:
    """Return the milliseconds from key to paint of each of some key presses, one after the other."""
    await page.evaluate("() => watch.slider.focus()")
    latencies = []
    for _ in range(NUM_KEYS):
        waiting = asyncio.ensure_future(page.evaluate("() => watch.nextPicture()"))
        await page.wait_for_function("() => watch.waiting !== null")
        await page.keyboard.press(key)
        result = await asyncio.wait_for(waiting, 30)
        assert result["changed"], "the picture changed but the slider did not"
        latencies.append(result["latency"])
    return latencies


# A slider of its own moves in every frame; the strips of all dimensions are decoded before the next.
STRIPS = """async (seconds) => {
    const explorer = document.querySelector(".vi-latent-explorer");
    const [strips, slider] = [explorer.querySelector(".vi-ways details"), explorer.querySelector("input[type=range]")];
    strips.open = true;
    const nextFrame = () => new Promise(requestAnimationFrame);
    await nextFrame();
    const begin = performance.now();
    let frames = 0;
    for (; performance.now() < begin + 1000 * seconds; frames++) {
        slider.value = (frames % 100) / 50 - 1;
        slider.dispatchEvent(new Event("input"));
        await nextFrame();
    }
    strips.open = false;
    return [frames / seconds, strips.querySelectorAll("canvas").length];
}"""


async def measure_drag(page: Page, name: str) -> dict[str, float]:
    """Drag the slider to and fro and return what the frames show."""
    tracks = {"interact": ".widget-interact .noUi-base", "explorer": ".vi-latent-explorer input[type=range]"}
    track = page.locator(tracks[name]).first
    await track.scroll_into_view_if_needed()
    box = await track.bounding_box()
    inset = 0 if name == "interact" else 8
    left, width, y = box["x"] + inset, box["width"] - 2 * inset, box["y"] + box["height"] / 2
    handle = await page.locator(".widget-interact .noUi-handle").bounding_box()
    value = float(await page.evaluate("() => watch.look().value"))
    start = handle["x"] + handle["width"] / 2 if name == "interact" else left + width * (value + 3) / 6
    session = await page.context.new_cdp_session(page)

    async def send(kind: str, x: float) -> None:
        await session.send(
            "Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        )

    await page.mouse.move(start, y)
    await send("mousePressed", start)
    await page.evaluate("() => (watch.frames = [])")
    loop, sent = asyncio.get_running_loop(), []
    num_events, begin = int(DRAG_SECONDS * EVENTS_PER_SECOND), loop.time()
    # To one end, to the other, and back to the middle; a page that is slow must not slow the mouse.
    stops = np.interp(np.linspace(0, 1, num_events), [0, 0.25, 0.75, 1], [(start - left) / width, 0.02, 0.98, 0.5])
    for event, stop in enumerate(stops):
        sent.append(asyncio.ensure_future(send("mouseMoved", left + width * stop)))
        await asyncio.sleep(max(0.0, begin + (event + 1) / EVENTS_PER_SECOND - loop.time()))
    sent.append(asyncio.ensure_future(send("mouseReleased", left + width * stops[-1])))
    await asyncio.gather(*sent)
    await page.wait_for_function(
        """() => {
            const last = watch.frames.at(-1);
            const settled = watch.frames.findLast(({ picture }) => picture !== last.picture);
            return last.time - Math.max(watch.releaseTime, settled?.time ?? 0) > 1000;
        }""",
        timeout=60_000,
    )
    frames, release = await page.evaluate("() => [watch.frames, watch.releaseTime]")
    result = _summary([frame for frame in frames if not frame["blank"]], release)
    result["blank frames"] = sum(frame["blank"] for frame in frames)
    if name == "explorer":
        values = list({frame["value"]: None for frame in reversed(frames)})[::-1]  # so that it ends where it is
        right = dict(zip(values, await page.evaluate("(values) => values.map(watch.pictureOf)", values)))
        changed = [now for before, now in pairwise(frames) if now["value"] != before["value"]]
        result["newest"] = sum(frame["picture"] == right[frame["value"]] for frame in changed) / len(changed)
    await session.detach()
    return result


def _summary(frames: list[dict[str, Any]], release: float) -> dict[str, float]:
    moving = [frame for frame in frames if frame["time"] <= release]
    seconds = (release - frames[0]["time"]) / 1000
    new_pictures = [now for before, now in pairwise(frames) if now["picture"] != before["picture"]]
    new_values = sum(now["value"] != before["value"] for before, now in pairwise(frames))
    assert new_values > 10, "the slider did not follow the mouse"
    return {
        "frames/s": sum(frame["time"] <= release for frame in new_pictures) / seconds,
        "page frames/s": len(moving) / seconds,
        "painted": len(new_pictures) / new_values,
        "settle": max(0.0, new_pictures[-1]["time"] - release),
    }


async def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians over the rounds for both variants."""
    executable = find_browser()
    if executable is None:
        raise RuntimeError(f"This benchmark needs a browser: none of {', '.join(BROWSERS)} is on the PATH.")
    sources = SETUP, EXPLORER, INTERACT, *(source for source, _ in OTHERS.values())
    cells = [new_code_cell(source.strip()) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    drags = {"explorer": [], "interact": []}
    latencies = {name: [] for name in (*drags, *OTHERS)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "notebooks")
        root.mkdir()
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), root / "sliders.ipynb")
        with jupyter_lab(root, Path(folder, "private")) as lab:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=executable, args=list(BROWSER_OPTIONS))
                page = await browser.new_page(viewport=VIEWPORT)
                await page.goto(lab.address("sliders.ipynb"))
                await page.wait_for_function(IS_READY, timeout=120_000)
                await page.evaluate(RUN_ALL)
                await page.locator(".widget-interact img").wait_for(timeout=120_000)
                for shown in (".vi-latent-explorer", ".widget-interact"):
                    await page.locator(shown).first.scroll_into_view_if_needed()
                await page.evaluate(WATCH)
                for number in range(-1, rounds):
                    for name in drags:
                        await page.evaluate("(name) => watch.choose(name)", name)
                        keys = await measure_keys(page, "ArrowRight")
                        drag = await measure_drag(page, name)
                        if number >= 0:  # the first round only warms up
                            latencies[name].append(keys)
                            drags[name].append(drag)
                for name, (_, key) in OTHERS.items():
                    await page.evaluate("(name) => watch.choose(name)", name)
                    await page.evaluate("() => watch.slider.scrollIntoView({ block: 'center' })")
                    for number in range(-1, rounds):
                        await page.evaluate("() => watch.rewind()")
                        keys = await measure_keys(page, key)
                        if number >= 0:
                            latencies[name].append(keys)
                strips = [await page.evaluate(STRIPS, STRIP_SECONDS) for _ in range(rounds)]
                await browser.close()
    medians = {name: {} for name in latencies}
    for name, results in drags.items():
        medians[name] = {what: statistics.median(result[what] for result in results) for what in results[0]}
    for name, keys_of_rounds in latencies.items():
        medians[name]["key median"] = statistics.median(map(statistics.median, keys_of_rounds))
        medians[name]["key p95"] = statistics.median(statistics.quantiles(keys, n=20)[-1] for keys in keys_of_rounds)
    medians["strips"] = {"frames/s": statistics.median(frames for frames, _ in strips), "rows": strips[0][1]}
    return medians


def run(rounds: int = 5) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, measured for ``LatentExplorer``, and how it compares."""
    medians = asyncio.run(measure(rounds))
    rows = {
        "slider: key to paint, median": ("key median", "{:.1f} ms", "goal: at most 20 ms"),
        "slider: key to paint, 95th percentile": ("key p95", "{:.1f} ms", "goal: at most 34 ms"),
        "slider: pictures a second while dragged": ("frames/s", "{:.1f}", ""),
        "slider: frames of the page a second meanwhile": ("page frames/s", "{:.1f}", ""),
        "slider: values that got a picture": ("painted", "{:.0%}", ""),
        "slider: new values painted in their own frame": ("newest", "{:.0%}", "goal: at least 95%"),
        "slider: blank frames in a drag": ("blank frames", "{:.0f}", "goal: none"),
        "slider: release to last change": ("settle", "{:.0f} ms", ""),
    }
    explorer, interact = medians["explorer"], medians["interact"]
    return (
        [
            (
                title,
                form.format(explorer[what]),
                "; ".join(filter(None, [goal, f"interact: {form.format(interact[what])}" if what in interact else ""])),
            )
            for title, (what, form, goal) in rows.items()
        ]
        + [
            (
                f"{name}: key to paint, median",
                f"{medians[name]['key median']:.1f} ms",
                f"goal: at most 20 ms; 95th percentile: {medians[name]['key p95']:.1f} ms",
            )
            for name in OTHERS
        ]
        + [
            (
                f"LatentExplorer: frames a second of {medians['strips']['rows']} strips of 9 images",
                f"{medians['strips']['frames/s']:.1f}",
                "goal: at least 30 with 8 strips of 8",
            )
        ]
    )


if __name__ == "__main__":
    for row in run():
        print(f"{row[0]:48}{row[1]:>10}   {row[2]}")
