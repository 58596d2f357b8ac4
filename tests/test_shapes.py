"""Signatures are checked while the tests run: see ``conftest.py``."""

import importlib
import inspect

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from course_utils import bounds, data, montecarlo
from course_utils.models import VAE
from tests.conftest import CHECKED


@pytest.mark.parametrize("name", CHECKED)
def test_every_function_of_the_maths_is_checked(name):
    module = importlib.import_module(name)
    functions = [member for _, member in inspect.getmembers(module, inspect.isfunction) if member.__module__ == name]
    assert functions or name == "course_utils.models"
    assert all(hasattr(function, "__wrapped__") for function in functions)


def test_a_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError, match="log_weights"):
        montecarlo.self_normalized_importance_sampling(jnp.zeros((5, 2)), jnp.zeros(4))
    with pytest.raises(TypeCheckError, match="z"):
        bounds.standard_normal(2).log_prob(jnp.zeros(()))
    with pytest.raises(TypeCheckError, match="x"):
        VAE.elbo(None, jnp.zeros(784), jax.random.key(0))


def test_a_wrong_type_is_refused():
    with pytest.raises(TypeCheckError, match="images"):
        data.binarize(jax.random.key(0), jnp.zeros((2, 784)))
