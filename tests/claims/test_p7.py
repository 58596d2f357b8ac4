"""The claims of ``notebooks/projects/p7_minimax.ipynb``; each test quotes its sentence and is named after its cell.

The rates are tested against matrices that are written out here, and against steps taken one by one with NumPy.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

from tests.claims.cells import run_cells, take

NOTEBOOK = "projects/p7_minimax"
# What a starter trains takes minutes, and few work on it: weekly is often enough.
pytestmark = pytest.mark.slow
METHODS = ("setup", "imports", "as-objective", "methods-code", "consensus-code", "ex-extragradient-answer")
J = np.array([[0.0, -1.0], [1.0, 0.0]])
EYE = np.eye(2)


@cache
def lecture():
    """Return the variables after the runs of the small games."""
    return run_cells(NOTEBOOK, *METHODS, "runs-code", "run", "run-all", "runs-table", yours=take)


@cache
def rates():
    names = lecture()
    return run_cells(NOTEBOOK, "ex-radius-answer", "steps-code", "formulas", "rates-table", names=names, yours=take)


def matrices(h, pull):
    """Return the update operators of a bilinear game, each as its own matrix."""
    return {
        "simultaneous": EYE + h * J,
        "alternating": np.array([[1, 0], [h, 1]]) @ np.array([[1, -h], [0, 1]]),  # one player, then the other
        "extragradient": EYE + h * J @ (EYE + h * J),
        "optimistic": np.block([[EYE + 2 * h * J, -h * J], [EYE, 0 * EYE]]),
        "consensus": EYE + h * J - pull * J.T @ J,
    }


def size(matrix):
    return np.abs(np.linalg.eigvals(matrix)).max()


# --- the machinery ----------------------------------------------------------------------------------------------------


def test_as_objective():
    """A function whose gradient *is* the direction that we want."""
    names = lecture()
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(5, 5))

    def direction(players, batch, key):
        both = jnp.tanh(matrix @ jnp.concatenate([players["theta"], players["psi"]]))
        return {"theta": both[:3], "psi": both[3:]}

    players = {"theta": jnp.float32(rng.normal(size=3)), "psi": jnp.float32(rng.normal(size=2))}
    slope = jax.grad(names["as_objective"](direction))(players, None, None)
    wanted = direction(players, None, None)
    for name in players:
        np.testing.assert_allclose(slope[name], wanted[name], rtol=1e-6)


@pytest.mark.parametrize("name", ["simultaneous", "alternating", "extragradient", "optimistic", "consensus"])
def test_methods(name):
    """Each is a recipe for a direction: ``fit`` takes the steps that NumPy takes one by one, in a game that is not linear."""
    path = lecture()["runs"][name].astype(float)
    eta, start = lecture()["STEP"], lecture()["begin"].T

    def field(w):  # [games, 2]
        strength = expit(w[:, :1] * w[:, 1:])
        strength[0] = -1
        return strength * np.stack([w[:, 1], -w[:, 0]], 1)

    def transposed(w, u):  # J^T u by central differences
        steps = 1e-6 * np.eye(2)
        return np.stack([((field(w + e) - field(w - e)) * u).sum(1) / 2e-6 for e in steps], 1)

    w = before = np.float64(start)
    for t in range(60):
        np.testing.assert_allclose(path[t], w, rtol=1e-3, atol=1e-4)
        if name == "simultaneous":
            after = w + eta * field(w)
        if name == "alternating":
            after = w + eta * field(w) * [1, 0]
            after = after + eta * field(after) * [0, 1]
        if name == "extragradient":
            after = w + eta * field(w + eta * field(w))
        if name == "optimistic":
            after = w + eta * (2 * field(w) - field(before))
        if name == "consensus":
            after = w + eta * (field(w) - transposed(w, field(w)))
        w, before = after, w


def test_consensus_code():
    """v − γ∇½‖v‖² = v − γ Jᵀv."""
    names = lecture()
    players = {"theta": jnp.float32([0.3, -1.2]), "psi": jnp.float32([0.8, 0.5])}
    field = names["zero_sum"](
        lambda p: jax.nn.log_sigmoid(-p["theta"] * p["psi"]).sum() + p["theta"].prod() * p["psi"].sum()
    )
    half = jax.grad(lambda p: 0.5 * sum((leaf**2).sum() for leaf in jax.tree.leaves(field(p))))(players)
    wanted = names["moved"](field(players), half, -0.7)
    found = names["consensus"](field, 0.1, gamma=0.7)(players)
    for name in players:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5)


# --- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [0.05, 0.2, 0.4, 0.5, 0.55, 0.9])
def test_rates(h):
    """The table of the spectral radii, against the eigenvalues of the matrices; J² = −I."""
    names = rates()
    for name, matrix in matrices(h, 0.7 * h).items():
        assert names["formula"](name, h, 0.7 * h) == pytest.approx(size(matrix), abs=1e-6), name
    table = {"simultaneous": np.sqrt(1 + h**2), "alternating": 1.0, "extragradient": np.sqrt((1 - h**2) ** 2 + h**2)}
    table |= {"optimistic": np.sqrt((1 + np.sqrt(1 - 4 * h**2)) / 2)} if h <= 0.5 else {}
    table |= {"consensus": np.sqrt((1 - 0.7 * h) ** 2 + h**2)}
    for name, value in table.items():
        assert size(matrices(h, 0.7 * h)[name]) == pytest.approx(value, abs=1e-6), name
    # Extragradient with step η and consensus with γ = η are the same matrix here.
    np.testing.assert_allclose(matrices(h, h * h)["consensus"], matrices(h, 0)["extragradient"], atol=1e-12)


def test_eigenvalues():
    """J of the bilinear game has the eigenvalues ± i; the Dirac-GAN's J at 0 has ± i/2, as printed."""
    lines = []
    run_cells(NOTEBOOK, "eigenvalues", names=rates() | {"print": lines.append})
    for line, size_ in zip(lines, (1.0, 0.5), strict=True):
        assert line.endswith(f"0.00 {-size_:+.2f} i, 0.00 {size_:+.2f} i")


def test_rates_table():
    """The formulas hold to four digits ... those of the bilinear game with η/2 for η and, for consensus, ηγ/4 for ηγ."""
    names = rates()
    assert max(names["apart"]) < 1e-4
    eta = names["STEP"]
    for name in names["runs"]:
        zero = np.zeros(4 if name == "optimistic" else 2)
        for game, strength in (("BILINEAR", 1.0), ("DIRAC", 0.5)):
            exact = size(matrices(eta * strength, eta * strength**2)[name])
            found = names["spectral_radius"](names["whole_step"](name, names[game], eta), zero)
            assert found == pytest.approx(exact, abs=1e-5), (name, game)


def test_rates_picture_explained():
    """Extragradient is fastest at η = 1/√2, consensus with γ = 1 at η = 1/2. Optimistic updates are faster than extragradient up to
    their limit near η = 1/2, and diverge from η = 1/√3 ≈ 0.58 on."""
    etas = np.linspace(0.01, 1, 2000)
    radius = {
        name: np.array([size(matrices(h, h)[name]) for h in etas])
        for name in ("extragradient", "consensus", "optimistic")
    }
    assert etas[radius["extragradient"].argmin()] == pytest.approx(1 / np.sqrt(2), abs=2e-3)
    assert etas[radius["consensus"].argmin()] == pytest.approx(0.5, abs=2e-3)
    assert etas[radius["optimistic"].argmin()] == pytest.approx(0.5, abs=2e-3)
    assert (radius["optimistic"] < radius["extragradient"])[etas <= 0.5].all()
    first = etas[(radius["optimistic"] > 1).argmax()]
    assert first == pytest.approx(1 / np.sqrt(3), abs=2e-3)


def test_reader_run():
    """Next to the equilibrium the Dirac-GAN is a bilinear game ... From (2, 2) ... a reader that fits one calls everything optimistic."""
    names = run_cells(NOTEBOOK, "ex-reader-answer", "reader-run", names=lecture(), yours=take)
    read, kinds = names["name_methods"], names["KINDS"]
    assert read(np.stack([names["runs"][name][:41, 1] for name in kinds])).tolist() == [0, 1, 2, 3]
    assert read(np.stack([names["runs"][name][:41, 82] for name in kinds])).tolist() == [3, 3, 3, 3]


def test_rates_picture_far():
    """Extragradient and optimistic updates creep through this region, for about forty steps at the same distance ... Consensus leaves for good: it looks for a short field."""
    far = lecture()["far"]
    for name in ("extragradient", "optimistic"):
        distance = far[name][:, 82]
        assert 0.9 < distance[38] / distance[8] < 1.1
        assert np.exp(np.diff(np.log(distance[180:])).mean()) == pytest.approx(
            rates()["formula"](name, 0.2, 0.1), abs=2e-3
        )
        assert lecture()["runs"][name][10:24, 82].prod(1).max() < -2
    leaving = far["consensus"][:, 82]
    assert (np.diff(leaving[5:]) > 0).all()
    w = lecture()["runs"]["consensus"][:, 82]
    speed = np.hypot(*w.T) * expit(w.prod(1))
    assert (np.diff(speed[100:]) < 0).all()
    for theta, psi in w[100::20]:  # there the pull towards a shorter field points away from the equilibrium
        players = {"theta": jnp.float32(theta), "psi": jnp.float32(psi)}
        field = rates()["DIRAC"]
        along, pulled = field(players), lecture()["consensus"](field, 0.4)(players)
        assert (pulled["theta"] - along["theta"]) * theta + (pulled["psi"] - along["psi"]) * psi > 0


# --- the ring ---------------------------------------------------------------------------------------------------------

RING = ("ring-data", "ring-networks", "ring-value", "ring-train")


def ring(**replacing):
    return run_cells(
        NOTEBOOK, *RING, "ring-count-code", names=lecture() | {"samples": {}}, replacing=replacing, yours=take
    )


def test_ring_value():
    """V = E log σ(D(x)) + E log σ(−D(G(z))), of which R1 takes γ/2 E‖∇D‖² off, by finite differences."""
    names, rng = ring(), np.random.default_rng(0)
    players = jax.tree.map(lambda leaf: leaf[0], names["new_players"](rng))
    batch = {name: values[:64] for name, values in names["POOL"].items()}

    def discriminate(x):
        return np.asarray(names["network"](players["psi"], jnp.asarray(x)), float)[:, 0]

    fake = names["network"](players["theta"], batch["z"])
    value = -np.logaddexp(0, -discriminate(batch["x"])).mean() - np.logaddexp(0, discriminate(fake)).mean()
    assert names["gan_value"](batch, 0.0, players) == pytest.approx(value, abs=1e-5)
    steps = np.float32(1e-2 * np.eye(2))
    slopes = [(discriminate(batch["x"] + e) - discriminate(batch["x"] - e)) / 2e-2 for e in steps]
    penalised = value - 0.3 / 2 * np.square(slopes).sum(0).mean()
    assert names["gan_value"](batch, 0.3, players) == pytest.approx(penalised, rel=5e-3)


def test_ring_count():
    """A mode counts as covered if at least 3 of 100 samples lie within 0.45 of its centre; counted by hand."""
    names, rng = ring(), np.random.default_rng(1)
    points = rng.normal(size=(3, 100, 2)) * 2
    modes, good = names["modes_and_good"](points)
    for some, covered, share in zip(points, modes, good, strict=True):
        counts = [sum(np.hypot(*(point - centre)) < 0.45 for point in some) for centre in names["CENTRES"]]
        assert covered == sum(count >= 3 for count in counts)
        assert share == pytest.approx(sum(counts) / 100)  # the circles do not meet
    modes, good = names["late"](names["real"])
    assert (modes == 8).all()
    assert good.min() > 0.95


def test_ring_penalty():
    """The eigenvalues of J become −γ/2 ± √(γ²/4 − 1/4)."""
    zero_sum = lecture()["zero_sum"]
    for gamma in (0.3, 0.9, 1.5):

        def value(p, gamma=gamma):
            return jax.nn.log_sigmoid(-p["theta"] * p["psi"]) - gamma / 2 * p["psi"] ** 2

        found = jax.jacobian(zero_sum(value))({"theta": 0.0, "psi": 0.0})
        matrix = [[float(found[row][column]) for column in ("theta", "psi")] for row in ("theta", "psi")]
        root = np.sqrt(gamma**2 / 4 - 0.25 + 0j)
        wanted = np.sort_complex([-gamma / 2 + root, -gamma / 2 - root])
        np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(matrix)), wanted, atol=1e-6)


def test_ring_explained_limits():
    """ηc must stay below 2 for simultaneous updates, below 1 for extragradient and below 2/3 for optimistic ones."""
    for limit, polynomial in {
        2.0: lambda x: [1, x - 1],
        1.0: lambda x: [1, -(1 - x + x**2)],
        2 / 3: lambda x: [1, 2 * x - 1, -x],
    }.items():
        assert np.abs(np.roots(polynomial(0.98 * limit))).max() < 1
        assert np.abs(np.roots(polynomial(1.02 * limit))).max() > 1


def kept_modes(names, seed, only=None):
    recipes = {name: {"method": method} for name, method in names["methods"].items()}
    recipes["consensus"]["method"] = lambda field, step: names["consensus"](field, step, gamma=names["GAMMA"])
    recipes["optimistic"] = {"method": names["simultaneous"], "optimizer": optax.optimistic_gradient_descent}
    recipes["R1"] = {"method": names["simultaneous"], "penalty": names["GAMMA"]}
    return {
        name: names["late"](names["train_ring"](**recipe, seed=seed))[0].mean()
        for name, recipe in recipes.items()
        if only is None or name in only
    }


def test_ring_explained():
    """Only R1 keeps nearly all of the eight modes. The cures of the bilinear game ... on average keep fewer modes than the two methods without a cure."""
    gains = []
    for seed in (0, 1, 2):  # five GANs each
        kept = kept_modes(ring(), seed)
        assert kept["R1"] > 7.2
        assert max(value for name, value in kept.items() if name != "R1") < 6.5
        cured = np.mean([kept[name] for name in ("extragradient", "optimistic", "consensus")])
        gains.append(cured - np.mean([kept["simultaneous"], kept["alternating"]]))
    assert max(gains) < 0
    assert np.mean(gains) < -0.5


def test_directions():
    """RING_STEP to 0.1 and RING_STEPS to 2,000 ...: expect simultaneous updates to keep seven or more modes, and R1 to have lost its lead.
    With a smaller step simultaneous and alternating updates catch up with R1, and the three cures stay behind."""
    names = ring(**{"ring-data": {"RING_STEPS, GAMMA = 0.2, 1500, 0.3": "RING_STEPS, GAMMA = 0.1, 2000, 0.3"}})
    for seed in (0, 1, 2):
        kept = kept_modes(names, seed, only=None if seed == 0 else ("simultaneous", "R1"))
        assert kept["simultaneous"] > 7
        assert abs(kept["R1"] - kept["simultaneous"]) < 1
        if seed == 0:  # all take minutes
            assert abs(kept["R1"] - kept["alternating"]) < 1
            assert max(kept[name] for name in ("extragradient", "optimistic", "consensus")) < kept["R1"] - 0.5


def test_ring_train():
    """A step that is set later, or handed over, is the one that is taken: by every method, with optimistic updates too."""
    names = ring(**{"ring-data": {"RING_STEPS, GAMMA = 0.2, 1500, 0.3": "RING_STEPS, GAMMA = 0.2, 3, 0.3"}})
    ways = [
        {"method": names["simultaneous"]},
        {"method": names["alternating"]},
        {"method": names["simultaneous"], "optimizer": optax.optimistic_gradient_descent},
    ]
    for way in ways:
        first = names["train_ring"](**way)
        handed = names["train_ring"](**way, step=0.1)
        later = run_cells(NOTEBOOK, "ring-train", names=names)
        later["RING_STEP"] = 0.1
        np.testing.assert_array_equal(handed, later["train_ring"](**way))
        assert np.abs(handed - first).max() > 1e-3
