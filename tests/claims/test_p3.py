"""The claims of ``notebooks/projects/p3_mesh_upsampling.ipynb``; each test quotes its sentence and is named after its cell."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from scipy.spatial.transform import Rotation

from tests.claims.cells import run_cells, take

SEEDS = range(6)
NOTEBOOK = "projects/p3_mesh_upsampling"
# What a starter trains takes minutes, and few work on it: weekly is often enough.
pytestmark = pytest.mark.slow
MESHES = ("setup", "imports", "sides", "levels", "body", "draw", "draw-data")
NETWORKS = ("ex-mean-answer", "take-mean", "convolutions", "network", "midpoint-mesh", "players")


@cache
def meshes():
    return run_cells(NOTEBOOK, *MESHES, yours=take)


@cache
def networks():
    """Return the variables after the definition of both networks, for six seeds instead of three."""
    six = {"convolutions": {"SEEDS, BATCH, SIZES = 3": f"SEEDS, BATCH, SIZES = {len(SEEDS)}"}}
    return run_cells(NOTEBOOK, *NETWORKS, names=meshes(), replacing=six)


@cache
def loop():
    pytest.importorskip("trimesh")
    return run_cells(NOTEBOOK, "loop-code", names=meshes())["LOOP"]


# --- The mathematics --------------------------------------------------------------------------------------------------


def test_mathematics():
    """D* = p / (p + p_theta), and V(theta, D*) = 2 JS[p, p_theta] - log 4."""
    for seed in SEEDS:
        p, q = np.random.default_rng(seed).dirichlet(np.ones(5), size=2)
        found = scipy.optimize.minimize(lambda t, p=p, q=q: -value(p, q, t), np.zeros(5), tol=1e-10)
        np.testing.assert_allclose(scipy.special.expit(found.x), p / (p + q), atol=1e-4)
        middle = (p + q) / 2
        divergence = (scipy.stats.entropy(p, middle) + scipy.stats.entropy(q, middle)) / 2
        assert -found.fun == pytest.approx(2 * divergence - np.log(4), abs=1e-8)
        assert value(p, p, np.zeros(5)) == pytest.approx(-np.log(4))


def value(p, q, t):
    """Return V for distributions over five values and a discriminator with these logits."""
    return -(p * np.logaddexp(0, -t)).sum() - (q * np.logaddexp(0, t)).sum()


def test_bound_on_divergence():
    """For any other discriminator, V is smaller."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        p, q = rng.dirichlet(np.ones(5), size=2)
        best = value(p, q, np.log(p / q))
        assert all(value(p, q, np.log(p / q) + rng.normal(size=5)) < best for _ in range(20))


def test_bound_on_samples():
    """E |mean of K samples - y|^2 = (1 + 1/K) E |E[y|x] - y|^2."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        for num_samples in (1, 4, 16):
            draws = rng.choice([-1, 1], size=(num_samples + 1, 40_000)) + 0.25 * rng.normal(
                size=(num_samples + 1, 40_000)
            )
            ratio = ((draws[1:].mean(0) - draws[0]) ** 2).mean() / (draws[0] ** 2).mean()
            assert ratio == pytest.approx(1 + 1 / num_samples, rel=0.03)


def test_two_players():
    """log(1 - D) is flat where the generator is poor, so in practice it climbs log D instead."""
    for t in (-3.0, -6.0, -10.0):  # the verdict on what a poor generator made
        flat = jax.grad(lambda t: jax.nn.log_sigmoid(-t))(t)
        steep = jax.grad(jax.nn.log_sigmoid)(t)
        assert abs(flat) < 0.05
        assert steep > 0.95


# --- Meshes and shapes ------------------------------------------------------------------------------------------------


def test_meshes():
    """An icosahedron (12 vertices) is divided twice ... 42 vertices ... 162. In the fine mesh the coarse vertices come first."""
    names = meshes()
    assert (len(names["level_0"]), names["COARSE"], names["FINE"]) == (12, 42, 162)
    fine, faces = names["on_sphere"](names["MIDPOINTS"] @ names["level_1"]), names["faces_2"]
    edges, _ = names["sides_of"](faces)
    assert len(fine) - len(edges) + len(faces) == 2  # Euler, for a sphere
    np.testing.assert_array_equal(names["MIDPOINTS"][:42], np.eye(42))
    assert (np.sort(names["MIDPOINTS"][42:], axis=1)[:, -2:] == 0.5).all()
    assert (np.linalg.det(fine[faces]) > 0).all()


def test_shapes():
    """The detail is about +a or -a. ... Its size ... is 0.08 where the body bulges, and nearly zero in hollows. ... Coarse vertices lie
    on the body."""
    draw = meshes()["draw_shapes"]
    for seed in SEEDS:
        x, y, smooth, size = draw(np.random.default_rng(seed), 50)
        np.testing.assert_allclose(np.linalg.norm(x, axis=-1), smooth[:, :42], rtol=1e-5)
        np.testing.assert_allclose(y[:, :42], x, rtol=1e-4, atol=1e-6)
        detail = (np.linalg.norm(y, axis=-1) - smooth)[:, 42:]
        coins = detail / size[:, 42:]
        clear = size[:, 42:] > 0.01
        assert (np.abs(coins[clear]) < 0.4).mean() < 0.02
        assert np.abs(coins[clear]).mean() == pytest.approx(1, abs=0.03)
        assert size[:, 42:][smooth[:, 42:] > 1.2].min() > 0.079
        assert size[:, 42:][smooth[:, 42:] < 0.8].max() < 0.001


def test_take_mean():
    """Right for this mesh: on the sphere, neighbours are near."""
    names = networks()
    by_distance = names["mean_by_distance"](names["faces_2"], names["FINE"])
    np.testing.assert_allclose(by_distance, names["MEAN"], atol=1e-6)


def test_networks():
    """What they see does not change when the mesh is turned ... the order of the neighbours does not matter."""
    names = networks()
    theta = jax.tree.map(lambda leaf: leaf[0], names["start_networks"](np.random.default_rng(0)))
    generate, discriminate = jax.jit(names["generate"]), jax.jit(names["discriminate"])
    for seed in SEEDS:
        turn = jnp.float32(Rotation.random(rng=seed).as_matrix())
        x, z = names["x_test"][seed], jax.random.normal(jax.random.key(seed), (162, 1))
        made = generate(theta, x, z)
        np.testing.assert_allclose(generate(theta, x @ turn, z), made @ turn, atol=1e-4)
        verdicts = [discriminate(theta, x, made), discriminate(theta, x @ turn, made @ turn)]
        np.testing.assert_allclose(*verdicts, atol=1e-3)
        np.testing.assert_allclose(made[:42], x, atol=1e-6)


def test_take_game():
    """by_two_gradients has the value of the game, and each player's gradient is that of its own payoff."""
    names = run_cells(NOTEBOOK, "ex-game-answer", "take-game", names=networks() | {"yours": take})
    both = names["start_networks"](np.random.default_rng(0))

    @jax.jit
    def outcomes(theta, phi, x, y, z):
        arguments = x, y, z, names["generate"], names["discriminate"]
        return [
            jax.value_and_grad(f, (0, 1))(theta, phi, *arguments) for f in (names["game"], names["by_two_gradients"])
        ]

    for seed in SEEDS:
        theta, phi = (jax.tree.map(lambda leaf, i=i: leaf[i], both) for i in (seed, seed - 1))
        x, y = names["x_test"][:4], names["y_test"][:4]
        one, two = outcomes(theta, phi, x, y, jax.random.normal(jax.random.key(seed), (4, 162, 1)))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_loop():
    """Loop's subdivision (1987), as trimesh computes it: the weights of the thesis, in the order of our fine mesh."""
    names, matrix = meshes(), loop()
    np.testing.assert_allclose(matrix.sum(1), 1)
    weights = np.sort(matrix[42:], axis=1)[:, ::-1]
    np.testing.assert_allclose(weights[:, :4], np.tile([3 / 8, 3 / 8, 1 / 8, 1 / 8], (120, 1)))
    ends = np.argsort(matrix[42:], axis=1)[:, -2:]
    assert (names["MIDPOINTS"][42:][np.arange(120)[:, None], ends] == 0.5).all()
    for row in range(42):
        degree = (matrix[row] > 0).sum() - 1
        kept = 3 / 8 + (3 / 8 + np.cos(2 * np.pi / degree) / 4) ** 2
        assert matrix[row, row] == pytest.approx(kept, abs=1e-6)


def test_loop_text():
    """It moves the coarse vertices, too ... that shrinks so coarse a mesh. ... so that they end up where they were."""
    matrix = loop()
    for seed in SEEDS:
        x, *_ = meshes()["draw_shapes"](np.random.default_rng(seed), 20)
        radius, smaller = (np.linalg.norm(each, axis=-1).mean() for each in (x, matrix[:42] @ x))
        assert smaller < 0.97 * radius
        np.testing.assert_allclose(matrix[:42] @ np.linalg.solve(matrix[:42], x), x, atol=1e-5)


# --- What is measured -------------------------------------------------------------------------------------------------


@cache
def trained():
    """Return all that the notebook measures, for six seeds; the wrong number of error bars does not matter here."""
    names = networks() | {"yours": take, "came_true": lambda *_: None}
    cells = ("squared-code", "ex-game-answer", "take-game", "game-fit", "samples", "loop-code", "errors")
    return run_cells(NOTEBOOK, *cells, "errors-measured", "detail", names=names)


def test_errors_explained():
    """One sample is hardly better than the midpoints, and the generator trained by squared error beats all others. ... They are within a
    few percent of sqrt(1 + 1/K), those of a perfect sampler."""
    names = trained()
    rms, ratios = names["rms"], names["ratios"]
    assert (
        (rms["GAN, one sample"] / rms["midpoints"] > 0.93) & (rms["GAN, one sample"] / rms["midpoints"] < 1.03)
    ).all()
    others = [values for name, values in rms.items() if name != "squared error"]
    assert all((rms["squared error"] < values).all() for values in others)
    for k, ratio in ratios.items():
        np.testing.assert_allclose(ratio, np.sqrt(1 + 1 / k), rtol=0.05)


def test_detail_explained():
    """Left: squared error puts nearly all vertices between them, where the truth has almost none. ... The GAN finds both humps, though
    wider ones, and leaves the valley about half full. ... In hollows it stays too rough. Squared error's is about the same everywhere."""
    names = trained()
    details, size = names["details"], names["SIZE"][:, 42:]

    def share(name, low, high):  # of the vertices, by seed
        values = np.abs(details[name][:, size > 0.06])
        return ((values >= low) & (values < high)).mean(1)

    assert (share("squared error", 0, 0.04) > 0.8).all()
    assert (share("truth", 0, 0.04) < 0.03).all()
    gan = details["GAN"][:, size > 0.06]
    left, valley, right = (((gan >= a) & (gan < a + 0.04)).mean(1) for a in (-0.1, -0.02, 0.06))
    assert (np.minimum(left, right) > 1.15 * valley).all()
    assert (2 * valley / (left + right)).mean() == pytest.approx(0.5, abs=0.15)
    widths = [np.abs(details[name][:, size > 0.06]).std(1) for name in ("truth", "GAN")]
    assert (widths[1] > widths[0]).all()
    for name, low, high in (("squared error", 0.8, 2.5), ("GAN", 2.5, 6)):
        rough, smooth = (np.sqrt((details[name][:, where] ** 2).mean(1)) for where in (size > 0.064, size < 0.016))
        assert ((low < rough / smooth) & (rough / smooth < high)).all(), name
    hollow = np.sqrt((details["GAN"][:, size < 0.016] ** 2).mean(1))
    assert (hollow > 1.5 * np.sqrt((details["truth"][:, size < 0.016] ** 2).mean())).all()


def test_predict_detail():
    """The generator trained by squared error has a tenth to a half of the truth's detail."""
    sizes = trained()["sizes"]
    share = sizes["squared error"] / sizes["truth"]
    assert ((share > 0.2) & (share < 0.4)).all()


def test_take_lie():
    """The verdicts: squared error hardly varies, the GAN is honest, and with another shape's detail it ignores the place."""
    names = trained()
    run = run_cells(NOTEBOOK, "ex-lie-answer", "take-lie", names=names | {"yours": take})
    truth = run["details"]["truth"].ravel()
    for expected, moves in zip((1, 0, 2), run["suspects"].values(), strict=True):
        assert [run["verdict"](truth, each.reshape(16, -1)) for each in moves] == [expected] * len(SEEDS)
