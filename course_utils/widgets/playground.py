"""A variational autoencoder that trains in the page: no kernel is asked, and nothing is installed."""

import functools
import gzip
from typing import Any

import numpy as np
import traitlets

from course_utils import data
from course_utils.errors import CourseError
from course_utils.widgets.explorer import FROM_PAGE, Explorer
from course_utils.widgets.library import send_library
from course_utils.widgets.modules import page_module

# The module that trains, for a worker of the page.
WORKER = page_module("playground_worker.js")
NUM_TRAIN, NUM_HELD_OUT, SIDE = 10_000, 500, 28
CHOICES: dict[str, tuple[str, list[Any]]] = {
    "objective": (
        "objective",
        [
            "right",
            "mean over pixels",
            "variance as scale",
            "no noise",
            "N/B times the KL",
            "pixels cut at 1/2",
            "mean over latents",
            "missing 1/K",
        ],
    ),
    "side": ("pixels a side", [14, 28]),
    "latent_dim": ("latent dimensions", [1, 2, 5, 10, 20, 50]),
    "width": ("hidden units", [50, 100, 200, 400]),
    "num_samples": ("K", [1, 5, 20, 50]),
    "batch_size": ("batch", [20, 64, 128]),
    "beta": ("β", [0.25, 0.5, 1, 2, 4, 8]),
    "learning_rate": ("learning rate", [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.02]),
    "seed": ("seed", [0, 1, 2, 3]),
}
DEFAULTS = {
    "objective": "right",
    "side": 28,
    "latent_dim": 2,
    "width": 200,
    "num_samples": 1,
    "batch_size": 64,
    "beta": 1,
    "learning_rate": 0.002,
    "seed": 0,
}
PRESETS = [
    ("The plane unfolds", {}, "Watch the plane: images of the same digit gather, and the held-out bound climbs."),
    (
        "Too small a latent space",
        {"latent_dim": 1, "side": 14},
        "One number for each image. Watch the decoded images: many turn into another digit, and the bound stops early.",
    ),
    (
        "K = 50",
        {"num_samples": 50, "batch_size": 20, "side": 14, "latent_dim": 10},
        "Fifty draws for each image: a tighter bound from dearer steps. Watch the steps a second, then set K to 1 and compare.",
    ),
    (
        "Collapse by β",
        {"beta": 8, "side": 14, "latent_dim": 10},
        "The KL counts eight times. Watch the active dimensions fall, and the samples become one blurred digit.",
    ),
    (
        "Wrong: mean over pixels",
        {"objective": "mean over pixels", "side": 14, "latent_dim": 10},
        "The objective says almost 0 nats. Watch the right bound, and the number of active dimensions.",
    ),
    (
        "Wrong: no noise",
        {"objective": "no noise", "side": 14, "latent_dim": 10},
        "The objective climbs above the right bound. Watch the gap between the two grow.",
    ),
]


class Playground(Explorer):
    """A VAE that the page trains on 10,000 images of MNIST, with what the notebook's own would show.

    One hidden layer on either side, SiLU, Bernoulli pixels drawn anew at each step, Adam: the code is that of notebook 09, in
    JavaScript. The curves are in nats per image; the right bound is the importance-weighted one with
    ``num_samples``, whatever the objective, on 500 images each.

    Args:
        own_page: whether the page is there for it, so that its address can carry the settings.
        **settings: any of those in ``DEFAULTS``, each one of its ``CHOICES``.

    ``settings`` follows what is chosen in the page, and starts anew when it is set. ``result`` holds, of the last
    pause, the ``step``, what the ``objective`` said, the right bounds ``train`` and ``held_out``, and each dimension's ``kl``.

    Raises:
        CourseError: there is no such setting, or it can have no such value.
    """

    _esm = page_module("playground.js")

    spec = traitlets.Dict().tag(sync=True)
    pixels = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Bytes().tag(sync=True)
    worker = traitlets.Unicode().tag(sync=True)
    settings = traitlets.Dict().tag(**FROM_PAGE)
    result = traitlets.Dict().tag(**FROM_PAGE)

    def __init__(self, *, own_page: bool = False, **settings: Any):
        send_library("jax-js")
        packed, labels = _images()
        spec = {
            "label": "A variational autoencoder that trains in this page",
            "own_page": own_page,
            "side": SIDE,
            "defaults": DEFAULTS,
            "choices": [{"key": key, "name": name, "values": values} for key, (name, values) in CHOICES.items()],
            "presets": [{"name": name, "settings": chosen, "watch": watch} for name, chosen, watch in PRESETS],
        }
        given = {"spec": spec, "pixels": packed, "labels": labels, "worker": str(WORKER)}
        super().__init__(**given, settings=DEFAULTS | settings, result={})

    @traitlets.validate("settings")
    def _check_settings(self, proposal: dict[str, Any]) -> dict[str, Any]:
        settings = DEFAULTS | proposal["value"]
        for name, value in settings.items():
            if name not in CHOICES:
                raise CourseError(f"The playground has no setting {name!r}; it has {', '.join(CHOICES)}.")
            if not isinstance(value, int | float | str) or value not in CHOICES[name][1]:
                raise CourseError(f"{name} is {value!r}; it can be {', '.join(map(str, CHOICES[name][1]))}.")
        return settings

    def __repr__(self) -> str:
        changed = (f"{name}={value!r}" for name, value in self.settings.items() if value != DEFAULTS[name])
        return f"Playground({', '.join(changed)})"


@functools.cache
def _images() -> tuple[bytes, bytes]:
    """Return the images to train on and those held out, one after the other and packed, and the labels of the latter."""
    train, _ = data.load_mnist("train")
    held_out, labels = data.load_mnist("test")
    pixels = np.concatenate([train[:NUM_TRAIN], held_out[:NUM_HELD_OUT]])
    return gzip.compress(pixels.tobytes(), mtime=0), labels[:NUM_HELD_OUT].tobytes()
