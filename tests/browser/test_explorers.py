"""The explorers in a small notebook of their own: mouse, keyboard, two views, and whether the picture is right."""

import re
from collections.abc import Iterator

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, expect

from tests.browser.lab import Lab, OpenNotebook, canvas_grey, drag

# The untrained networks are changed so that the dimensions differ in KL, and that each of them can be seen.
SETUP = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from course_utils.models import VAE
from course_utils.widgets import CurveExplorer, DensityExplorer, LatentExplorer

def make_vae(seed):
    vae = VAE(6, hidden=(32, 32), rngs=nnx.Rngs(seed))
    encoder, decoder = vae.encoder.network.layers[-1], vae.decoder.layers
    encoder.bias[...] = jnp.concatenate([jnp.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5]), jnp.zeros(6)])
    encoder.kernel[...] = 0.1 * encoder.kernel[...] * (jnp.arange(12) % 6 > 0)
    for layer in decoder:
        layer.kernel[...] = 3 * layer.kernel[...]
    return vae

images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
def decoded(explorer, vae):
    return np.rint(255 * (1 - np.asarray(vae.decode(jnp.array(explorer.z))))).astype(int).tolist()
"""
LATENT = "vae = make_vae(1)\nlatent = LatentExplorer(vae, images, labels=range(9))\nlatent"
OTHER = "other = LatentExplorer(make_vae(2), images, num_sliders=3)\nother"
CURVES = """
means, scales, x = np.linspace(-2, 2, 21), np.geomspace(0.1, 3, 13), np.linspace(-4, 4, 81)
q = np.exp(-0.5 * ((x - means[:, None, None]) / scales[:, None]) ** 2) / scales[:, None]
kl = 0.5 * (means[:, None] ** 2 + scales**2 - 1) - np.log(scales)
curves = CurveExplorer(
    sliders={"mean of q": means, "scale of q": scales}, x=x, curves={"prior": np.exp(-0.5 * x**2), "q": q},
    bars={"ELBO": -3 - kl, "KL": kl}, bars_from=-12.0, level={"log-evidence": -3.0}, start={"mean of q": 0.3},
)
curves
"""
DENSITIES = """
steps, grid = np.arange(0, 400, 10), np.linspace(-3, 3, 60)
path = np.stack([-2 * np.exp(-steps / 60), 1.8 * np.exp(-steps / 110)], 1)
z1, z2 = np.meshgrid(grid, grid)
target = np.exp(-(z1**2 + z2**2 - 1.6 * z1 * z2) / 0.72)
normal = np.exp(-0.5 * ((z1 - path[:, :1, None]) ** 2 + (z2 - path[:, 1:, None]) ** 2) / 0.36)
blend = np.linspace(0, 1, 5)[:, None, None]
densities = DensityExplorer(
    sliders={"step": steps, "blend": blend.ravel()}, x=grid, y=grid,
    densities={"target": (1 - blend * (z1 > 0)) * target[None, None], "q": normal[:, None]},
    paths={"mean": np.where((steps <= steps[:, None])[:, None, :, None], path, np.nan)},
    curve={"distance": np.hypot(*path.T)}, curve_x=steps, curve_label="distance", readout={"mean": path[:, :1]},
    start={"step": 0}, label="q moves to the target",
)
densities
"""

BY_HAND = """
from course_utils.widgets import AscentExplorer, ProposalExplorer, RegressionExplorer
proposal = ProposalExplorer(lambda z: -(z**2).sum(-1), 1.14)
regression = RegressionExplorer([-0.5, 0.5], [1, -1])
bowl = lambda z: -((z - 1) ** 2).sum(-1)
race = AscentExplorer({"bowl": bowl}, {"bowl": 1.14})
display(proposal, regression, race)
"""


@pytest.fixture(scope="module")
def notebook(lab: Lab, browser: Browser) -> Iterator[OpenNotebook]:
    """A notebook in which all cells have been run; ``latent`` is shown twice."""
    cells = [new_code_cell(source.strip()) for source in (SETUP, LATENT, "latent", OTHER, CURVES, DENSITIES, BY_HAND)]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), lab.root / "explorers.ipynb")
    with lab.notebook(browser, "explorers.ipynb") as notebook:
        notebook.run_all()
        yield notebook


@pytest.fixture(autouse=True)
def no_console_errors(notebook: OpenNotebook) -> Iterator[None]:
    yield
    assert notebook.problems == []


@pytest.fixture
def latent(notebook: OpenNotebook) -> Locator:
    """The first view of ``latent``, showing its first image as it did in the beginning."""
    return _view_of_latent(notebook, 0)


@pytest.fixture
def curves(notebook: OpenNotebook) -> Locator:
    notebook.show_cell("curves = CurveExplorer")
    notebook.execute("curves.position = [10, 6]")
    return notebook.page.locator(".vi-curve-explorer")


@pytest.fixture
def densities(notebook: OpenNotebook) -> Locator:
    notebook.show_cell("densities = DensityExplorer")
    notebook.execute("densities.position = [10, 2]")
    explorer = notebook.page.locator(".vi-density-explorer")
    expect(explorer.get_by_role("slider", name="step")).to_have_js_property("valueAsNumber", 10)
    expect(explorer.get_by_role("slider", name="blend")).to_have_js_property("valueAsNumber", 2)
    return explorer


def _view_of_latent(notebook: OpenNotebook, number: int) -> Locator:
    notebook.show_cell("latent = LatentExplorer")
    notebook.execute("latent.image = 0; latent.z = np.arange(6) / 2")
    view = notebook.page.locator(".vi-latent-explorer").nth(number)
    expect(view.get_by_role("slider").first).to_have_attribute("aria-valuetext", "2.50")
    return view


def _decoded(view: Locator) -> Locator:
    return view.get_by_role("img", name="decoded")


def _assert_same_picture(canvas: Locator, grey: list[int]) -> None:
    """The page and JAX may round to different sides, so one grey level is allowed."""
    difference = np.abs(np.subtract(canvas_grey(canvas), grey)).max()
    assert difference <= 1, f"{difference} grey levels from the picture that JAX decodes"


def test_sliders_are_named_and_sorted_by_kl(latent):
    names = [slider.get_attribute("aria-label") for slider in latent.get_by_role("slider").all()]
    assert [name.split(",")[0] for name in names] == ["z[5]", "z[4]", "z[3]", "z[2]", "z[1]"]
    nats = [float(re.search(r"([\d.]+) nats", name)[1]) for name in names]
    np.testing.assert_allclose(nats, np.array([2.5, 2, 1.5, 1, 0.5]) ** 2 / 2, atol=0.03)
    expect(latent.get_by_text("1 more dimension, below 0.01 nats")).to_be_visible()


def test_each_key_changes_value_and_picture_and_reaches_python(notebook, latent):
    slider, canvas = latent.get_by_role("slider", name="z[4]"), _decoded(latent)
    slider.focus()
    for key, value in (("ArrowRight", 2.05), ("ArrowUp", 2.1), ("ArrowLeft", 2.05), ("Home", -3.0), ("End", 3.0)):
        before = canvas_grey(canvas)
        notebook.page.keyboard.press(key)
        expect(slider).to_have_js_property("valueAsNumber", value)
        expect(slider).to_have_attribute("aria-valuetext", f"{value:.2f}".replace("-", "\N{MINUS SIGN}"))
        assert canvas_grey(canvas) != before
        notebook.wait_for("latent.z[4]", value)
        _assert_same_picture(canvas, notebook.evaluate("decoded(latent, vae)"))


def test_dragging_draws_at_every_value_and_ends_where_the_mouse_is(notebook, latent):
    slider, canvas = latent.get_by_role("slider", name="z[3]"), _decoded(latent)
    height, before = latent.bounding_box()["height"], canvas_grey(canvas)
    # The picture of every value that the slider takes is compared with the one before, within the same event.
    slider.evaluate(
        """(slider, canvas) => {
            const picture = () => canvas.getContext("2d").getImageData(0, 0, 28, 28).data.join();
            window.painted = [];
            let last = picture();
            slider.addEventListener("input", () => {
                const now = picture();
                window.painted.push([slider.valueAsNumber, now !== last]);
                last = now;
            });
        }""",
        canvas.element_handle(),
    )
    drag(slider, [0.5, 0.4, 0.3, 0.2, 0.6, 0.9])
    painted = notebook.page.evaluate("window.painted")
    assert len(painted) >= 5 and all(changed for _, changed in painted)
    value = slider.evaluate("(slider) => slider.valueAsNumber")
    assert value == painted[-1][0] == pytest.approx(-3 + 0.9 * 6, abs=0.11)
    assert canvas_grey(canvas) != before
    notebook.wait_for("latent.z[3]", value)
    _assert_same_picture(canvas, notebook.evaluate("decoded(latent, vae)"))
    assert latent.bounding_box()["height"] == height


def test_python_moves_the_sliders(notebook, latent):
    rng = np.random.default_rng(1)
    for z in rng.normal(size=(10, 6)).round(3).tolist():
        notebook.execute(f"latent.z = {z}")
        expect(latent.get_by_role("slider", name="z[5]")).to_have_attribute(
            "aria-valuetext", f"{z[5]:.2f}".replace("-", "\N{MINUS SIGN}")
        )
        _assert_same_picture(_decoded(latent), notebook.evaluate("decoded(latent, vae)"))


def test_a_busy_kernel_holds_nothing_up(notebook, latent):
    slider, canvas = latent.get_by_role("slider", name="z[5]"), _decoded(latent)
    notebook.page.evaluate(
        """() => {
            const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
            kernel.requestExecute({ code: "import time; time.sleep(3)" });
        }"""
    )
    notebook.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"
    )
    slider.focus()
    for _ in range(5):
        before = canvas_grey(canvas)
        notebook.page.keyboard.press("ArrowLeft")
        assert canvas_grey(canvas) != before
    expect(slider).to_have_js_property("valueAsNumber", 2.25)
    notebook.wait_for("latent.z[5]", 2.25)


def test_no_key_of_many_is_undone_by_an_answer_from_the_kernel(notebook, latent):
    slider = latent.get_by_role("slider", name="z[5]")
    slider.focus()
    for step in range(1, 61):
        notebook.page.keyboard.press("ArrowLeft")
        assert slider.evaluate("(slider) => slider.valueAsNumber") == pytest.approx(2.5 - 0.05 * step)
    notebook.wait_for("latent.z[5]", -0.5)
    expect(slider).to_have_js_property("valueAsNumber", -0.5)


def test_focus_is_visible_and_dd_does_not_delete_the_cell(notebook, latent):
    cells = notebook.cell_ids()
    focusable = [
        latent.get_by_role("slider", name="z[5]"),
        latent.get_by_role("button", name="Random draw"),
        latent.get_by_role("spinbutton"),
        latent.locator(".vi-latent summary"),
    ]
    for element in focusable:
        notebook.page.keyboard.press("Shift")
        element.focus()
        expect(element).to_be_focused()
        assert element.evaluate("(element) => getComputedStyle(element).outlineStyle") == "solid"
        notebook.page.keyboard.type("dd")
        notebook.page.keyboard.press("ArrowDown")
        expect(element).to_be_focused()
        assert notebook.cell_ids() == cells


def test_buttons_choose_images_and_codes(notebook, latent):
    original, number = latent.get_by_role("img", name=re.compile(r"^image \d")), latent.get_by_role("spinbutton")
    latent.get_by_role("button", name="Prior mean").click()
    notebook.wait_for("latent.z", [0.0] * 6)
    _assert_same_picture(_decoded(latent), notebook.evaluate("decoded(latent, vae)"))
    latent.get_by_role("button", name="Random draw").click()
    notebook.wait_for("all(latent.z)", True)
    notebook.execute("codes = np.asarray(vae.encode(jnp.array(images.reshape(9, 784) / 255)).mean)")
    has_code = "[latent.image, bool(np.abs(codes[latent.image] - latent.z).max() < 1e-5)]"
    latent.get_by_role("button", name="Encode image").click()
    notebook.wait_for(has_code, [0, True])
    for turn, image in (("Previous", 8), ("Next", 0), ("Next", 1)):
        latent.get_by_role("button", name=turn).click()
        notebook.wait_for(has_code, [image, True])
        expect(original).to_have_attribute("aria-label", f"image {image}, label {image}")
        _assert_same_picture(original, notebook.evaluate(f"(255 - images[{image}].ravel().astype(int)).tolist()"))
    # A number counts once it is whole, not with its first digit; there is no image 77, and the last one is nearest.
    before = 1
    for typed, image in (("4", 4), ("77", 8), ("", 8), ("0", 0)):
        number.select_text()
        number.press_sequentially(typed) if typed else number.press("Delete")
        assert notebook.evaluate("latent.image") == before
        number.press("Enter")
        notebook.wait_for(has_code, [image, True])
        expect(number).to_have_value(str(image))
        before = image


def test_two_views_move_together_and_another_explorer_does_not(notebook, latent):
    second, other = (notebook.page.locator(".vi-latent-explorer").nth(number) for number in (1, 2))
    others = canvas_grey(_decoded(other)), notebook.evaluate("other.z")
    for moved, follower in ((latent, second), (second, latent)):
        slider = moved.get_by_role("slider", name="z[5]")
        slider.focus()
        value = slider.evaluate("(slider) => slider.valueAsNumber")
        notebook.page.keyboard.press("ArrowLeft")
        expect(slider).not_to_have_js_property("valueAsNumber", value)
        expect(follower.get_by_role("slider", name="z[5]")).to_have_attribute(
            "aria-valuetext", slider.get_attribute("aria-valuetext")
        )
        assert canvas_grey(_decoded(moved)) == canvas_grey(_decoded(follower))
    assert (canvas_grey(_decoded(other)), notebook.evaluate("other.z")) == others
    assert other.get_by_role("slider").count() == 3


def _assert_frame(notebook: OpenNotebook, curves: Locator, position: list[int]) -> None:
    """The curve, the bars and the text must be those of ``position``, computed anew from the arrays."""
    i, j = position
    spec, q, kl = notebook.evaluate(f"[dict(curves.spec), q[{i}, {j}].tolist(), kl[{i}, {j}]]")
    path = curves.locator("path[data-name=q]")
    points = np.array(re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", path.get_attribute("d")), float)
    width, height = path.evaluate("({ ownerSVGElement: p }) => [p.width.baseVal.value, p.height.baseVal.value]")
    np.testing.assert_allclose(points[:, 0], np.linspace(0, width, 81), atol=0.06)
    low, high = spec["y_range"]
    np.testing.assert_allclose(points[:, 1], height * (1 - (np.array(q) - low) / (high - low)), atol=0.06)
    low, high = spec["bars_range"]
    for name, ends in {"ELBO": (-12, -3 - kl), "KL": (-3 - kl, -3)}.items():
        bar = curves.locator(f"rect[data-name={name}]")
        top, length = (float(bar.get_attribute(a)) for a in ("y", "height"))
        drawn = high - np.array([top + length, top]) * (high - low) / height
        np.testing.assert_allclose(drawn, sorted(ends), atol=0.11 * (high - low) / height)
    row = curves.get_by_role("row").filter(has=notebook.page.get_by_role("rowheader", name="KL", exact=True))
    assert row.get_by_role("cell").last.inner_text() == f"{kl:.3f}".replace("-", "\N{MINUS SIGN}")


def test_curves_follow_keys_and_python(notebook, curves):
    mean, scale = (curves.get_by_role("slider", name=name) for name in ("mean of q", "scale of q"))
    expect(mean).to_have_attribute("aria-valuetext", "0.0")
    _assert_frame(notebook, curves, [10, 6])
    for slider, key, position in ((mean, "ArrowRight", [11, 6]), (scale, "ArrowDown", [11, 5]), (mean, "End", [20, 5])):
        slider.focus()
        notebook.page.keyboard.press(key)
        expect(slider).to_have_js_property("valueAsNumber", position[0 if slider is mean else 1])
        _assert_frame(notebook, curves, position)
        notebook.wait_for("curves.position", position)
    expect(mean).to_have_attribute("aria-valuetext", "2.0")
    assert notebook.evaluate("curves.values")["mean of q"] == 2.0
    notebook.execute("curves.position = [0, 12]")
    expect(scale).to_have_attribute("aria-valuetext", "3")
    _assert_frame(notebook, curves, [0, 12])


def test_curves_follow_the_mouse(notebook, curves):
    slider = curves.get_by_role("slider", name="mean of q")
    height = curves.bounding_box()["height"]
    drag(slider, [0.55, 0.7, 0.2])
    expect(slider).to_have_js_property("valueAsNumber", 4)
    _assert_frame(notebook, curves, [4, 6])
    notebook.wait_for("curves.position", [4, 6])
    assert curves.bounding_box()["height"] == height


def test_dd_on_a_curve_slider_does_not_delete_the_cell(notebook, curves):
    cells = notebook.cell_ids()
    curves.get_by_role("slider", name="scale of q").focus()
    notebook.page.keyboard.type("dd")
    assert notebook.cell_ids() == cells


def _drawn(densities: Locator) -> list:
    """Return the picture: the heat map's pixels, then the contour lines, the path, the marker and the number."""
    lines = [densities.locator(f"path[data-name={name}]").get_attribute("d") for name in ("q", "mean")]
    marker = densities.locator(".vi-marker").get_attribute("x1")
    heat = canvas_grey(densities.locator(".vi-layers > canvas"))
    return [heat, *lines, marker, densities.get_by_role("cell").last.inner_text()]


def _assert_density_frame(notebook: OpenNotebook, densities: Locator, position: list[int]) -> None:
    """The middle of the contour lines, the path's end and the text must be those of ``position``."""
    mean, decimals = notebook.evaluate(f"[path[{position[0]}].tolist(), densities.spec['readout'][0]['decimals']]")
    _, contours, path, marker, text = _drawn(densities)
    side = densities.locator("path[data-name=q]").evaluate("(path) => path.ownerSVGElement.width.baseVal.value")
    middle = side * (0.5 + np.array(mean) * [1, -1] * 59 / 60 / 6)
    # The innermost line comes first, a circle of half a scale; the path ends at its centre.
    innermost = np.array(re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", contours.split("M")[1]), float)
    np.testing.assert_allclose((innermost.min(0) + innermost.max(0)) / 2, middle, atol=1.5)
    np.testing.assert_allclose(np.array(path.split("L")[-1].strip("M").split(","), float), middle, atol=0.06)
    assert path.count("L") == position[0]
    assert text == f"{mean[0]:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
    width = densities.locator(".vi-marker").evaluate("(line) => line.ownerSVGElement.width.baseVal.value")
    assert float(marker) == pytest.approx(width * position[0] / 39, abs=0.06)


def test_densities_follow_keys_and_python(notebook, densities):
    step, blend = (densities.get_by_role("slider", name=name) for name in ("step", "blend"))
    expect(step).to_have_attribute("aria-valuetext", "100")
    expect(densities.get_by_role("img", name="q moves to the target")).to_be_visible()
    _assert_density_frame(notebook, densities, [10, 2])
    for slider, key, position in ((step, "ArrowRight", [11, 2]), (step, "End", [39, 2]), (blend, "Home", [39, 0])):
        heat, *others = _drawn(densities)
        slider.focus()
        notebook.page.keyboard.press(key)
        expect(slider).to_have_js_property("valueAsNumber", position[0 if slider is step else 1])
        now, *others_now = _drawn(densities)
        # The target follows only the second slider, everything else only the first.
        assert (now != heat) == (slider is blend)
        assert [a != b for a, b in zip(others, others_now)] == [slider is step] * 4
        _assert_density_frame(notebook, densities, position)
        notebook.wait_for("densities.position", position)
    notebook.execute("densities.position = [3, 4]")
    expect(step).to_have_attribute("aria-valuetext", "30")
    _assert_density_frame(notebook, densities, [3, 4])


def test_densities_follow_the_mouse_and_what_is_seen_changes(notebook, densities):
    picture = densities.locator(".vi-layers")
    height = densities.bounding_box()["height"]
    for name, stops, index in (("step", [0.5, 0.2, 0.9], 35), ("blend", [0.3, 1.0], 4)):
        slider = densities.get_by_role("slider", name=name)
        before = picture.screenshot()
        drag(slider, stops)
        expect(slider).to_have_js_property("valueAsNumber", index)
        assert picture.screenshot() != before
    _assert_density_frame(notebook, densities, [35, 4])
    notebook.wait_for("densities.position", [35, 4])
    assert densities.bounding_box()["height"] == height


def test_dd_on_a_density_slider_does_not_delete_the_cell(notebook, densities):
    cells = notebook.cell_ids()
    densities.get_by_role("slider", name="step").focus()
    notebook.page.keyboard.type("dd")
    assert notebook.cell_ids() == cells


def _drag_handle(notebook: OpenNotebook, handle: Locator, right: float, down: float) -> None:
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    notebook.page.mouse.move(x, y)
    notebook.page.mouse.down()
    notebook.page.mouse.move(x + right / 2, y + down / 2)
    notebook.page.mouse.move(x + right, y + down)
    notebook.page.mouse.up()


def test_what_is_moved_by_hand_reaches_python_and_follows_it(notebook):
    notebook.show_cell("proposal = ProposalExplorer")
    cells = notebook.cell_ids()
    proposal, regression, race = (notebook.page.locator(".vi-plane-explorer").nth(i) for i in range(3))
    _drag_handle(notebook, proposal.locator(".vi-grip").first, 40, -20)
    slider = proposal.get_by_role("slider", name="mean of z₁")
    moved = slider.evaluate("(slider) => slider.valueAsNumber")
    assert moved > 0.3
    notebook.wait_for("round(proposal.q[0], 2)", round(moved, 2))
    notebook.execute("proposal.q = [0.5, -0.5, 0.7, 0.4, 0.3]")
    expect(proposal.get_by_role("slider", name="correlation")).to_have_attribute("aria-valuetext", "0.30")

    point = regression.get_by_role("button", name="point 1: x −0.50, y 1.00")
    point.focus()
    notebook.page.keyboard.press("ArrowRight")
    notebook.wait_for("regression.points[0]", [-0.48, 1.0])
    notebook.page.keyboard.press("Delete")
    notebook.wait_for("regression.points", [[0.5, -1.0]])
    notebook.execute("regression.points = [[0, 0], [0.1, 2]]")
    expect(regression.get_by_role("button", name="point 2: x 0.10, y 2.00")).to_be_visible()

    step = race.get_by_role("button", name="Step")
    expect(step).to_be_enabled()
    step.focus()
    notebook.page.keyboard.press("Enter")
    notebook.wait_for("len(race.history[1])", 2)
    notebook.page.keyboard.type("dd")
    assert notebook.cell_ids() == cells
    notebook.execute("race.settings = [each | {'K': 2} for each in race.settings]")
    expect(race.get_by_role("combobox", name="K of q 2")).to_have_value("2")


def test_a_closed_explorer_is_gone_and_the_others_stay(notebook, latent):
    notebook.execute("other.close()")
    expect(notebook.page.locator(".vi-latent-explorer")).to_have_count(2)
    slider, canvas = latent.get_by_role("slider", name="z[5]"), _decoded(latent)
    before = canvas_grey(canvas)
    slider.focus()
    notebook.page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "2.45")
    assert canvas_grey(canvas) != before
