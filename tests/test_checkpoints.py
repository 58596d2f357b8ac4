"""``checkpoints``: a fingerprint tells functions apart by what they compute, in any process."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import checkify
from numpy.testing import assert_array_equal

from course_utils.checkpoints import CheckpointError, Checkpoints, checksum, fingerprint


def scaled(by):
    """Return a function whose constant is deep inside, as a hyper-parameter is."""
    return lambda x: jax.jit(lambda x: jnp.tanh(x * by))(x).sum()


def drawn_from(key):
    return lambda x: x.sum() + jax.jit(lambda: jax.random.normal(key))()


CONSTANTS = [1.0, 2.0, np.float32(3), jnp.float32(4), np.ones(3, np.float32), np.float32([1, 1, 2]), np.ones(1)]


def test_fingerprints_differ_where_the_functions_do():
    functions = [scaled(by) for by in CONSTANTS] + [drawn_from(jax.random.key(seed)) for seed in (0, 1)]
    assert len({fingerprint(function, jnp.ones(3)) for function in functions}) == len(functions)
    assert fingerprint(scaled(2.0), jnp.ones(3)) == fingerprint(scaled(2.0), np.zeros(3, np.float32))
    assert fingerprint(scaled(2.0), jnp.ones(3)) != fingerprint(scaled(2.0), jnp.ones(4))


ONE = """
import jax, jax.numpy as jnp, numpy as np
from tests.test_checkpoints import *
print(fingerprint(jax.grad(scaled(np.float32([1, 1, 2]))), jnp.ones(3)), fingerprint(jax.nn.relu, jnp.ones(3)))
"""


def test_a_check_is_the_same_whenever_it_is_traced():
    def checked(least):
        def function(x):
            checkify.debug_check(jnp.all(x > least), "too small")
            return 2 * x

        return function

    assert fingerprint(checked(0), jnp.ones(3)) == fingerprint(checked(0), jnp.ones(3))
    assert fingerprint(checked(0), jnp.ones(3)) != fingerprint(checked(1), jnp.ones(3))
    chosen = [lambda x, other=other: jax.lax.select(x > 0, jnp.int32(-1), jnp.int32(other)) for other in (2, 3)]
    assert len({fingerprint(function, jnp.float32(1)) for function in chosen}) == 2


def test_a_fingerprint_is_the_same_in_another_process():
    """Also where the trace names a function by its address, as that of ``relu`` does."""
    other = subprocess.run(
        [sys.executable, "-c", ONE], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )
    here = [fingerprint(jax.grad(scaled(np.float32([1, 1, 2]))), jnp.ones(3)), fingerprint(jax.nn.relu, jnp.ones(3))]
    assert other.stdout.split() == here


def test_a_checksum_sees_one_number_changed():
    data = {"x": np.arange(12.0).reshape(3, 4), "y": np.arange(3)}
    changed = data | {"y": np.array([0, 1, 3])}
    assert checksum(data) == checksum(jax.tree.map(np.copy, data)) != checksum(changed)
    assert checksum(data["x"][:, ::2]) == checksum(data["x"][:, ::2].copy())


def test_random_keys_are_kept_as_keys(tmp_path):
    state = {"key": jax.random.key(7, impl="rbg"), "numbers": (jnp.arange(3), np.float32(2.5))}
    checkpoints = Checkpoints(tmp_path, {"what": "a test"})
    assert checkpoints.restore(5, like=lambda step: state) is None
    checkpoints.save(5, state)
    again = Checkpoints(tmp_path, {"what": "a test"}).restore(5, like=lambda step: state)
    assert jax.random.key_impl(again["key"]) == jax.random.key_impl(state["key"])
    assert_array_equal(jax.random.normal(again["key"], 3), jax.random.normal(state["key"], 3))
    assert_array_equal(again["numbers"][0], [0, 1, 2])
    with pytest.raises(CheckpointError, match="differs in what"):
        Checkpoints(tmp_path, {"what": "another"}).restore(5, like=lambda step: state)


def test_optimizers_have_fingerprints_of_their_own():
    def of(optimizer):
        return fingerprint(optimizer.update, jnp.ones(3), optimizer.init(jnp.ones(3)), jnp.ones(3))

    schedules = [optax.cosine_decay_schedule(1e-3, steps) for steps in (100, 200)]
    rates = [1e-3, 2e-3, *schedules]
    assert len({of(optax.adam(rate)) for rate in rates}) == 4
    assert of(optax.adam(1e-3)) == of(optax.adam(1e-3))
