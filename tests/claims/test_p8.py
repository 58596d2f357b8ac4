"""The claims of ``notebooks/projects/p8_model_based_rl.ipynb``; each test is named after its cell."""

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from tests.claims.cells import run_cells

NOTEBOOK = "projects/p8_model_based_rl"


@pytest.mark.parametrize("seed", range(3))
def test_pendulum(seed):
    """ "This is `Pendulum-v1` of the library gymnasium, written in JAX." """
    names = run_cells(NOTEBOOK, "setup", "imports", "pendulum-code")
    reference, rng = gymnasium.make("Pendulum-v1"), np.random.default_rng(seed)
    reference.reset(seed=seed)
    for action in rng.uniform(-3, 3, 200):
        before = jnp.float32(reference.unwrapped.state)
        seen, reward, *_ = reference.step(np.float32([action]))
        new, paid = names["pendulum"](before, jnp.float32(action))
        found = names["coordinates"](new) * jnp.array([1, 1, 4])
        np.testing.assert_allclose(found, seen, atol=1e-4)
        np.testing.assert_allclose(paid, -reward, atol=1e-4)
