"""One program on many hosts: all do the same steps, any may be interrupted, and one speaks.

On a single host each of these functions does the obvious thing and costs nothing.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh

from course_utils.errors import CourseError


def agreed(number: int, stop: bool) -> tuple[int, bool]:
    """Return the number that the first host proposes, and whether any host wants to stop."""
    if jax.process_count() == 1:
        return number, stop
    proposed = multihost_utils.process_allgather(np.array([number, stop], np.int32))
    return int(proposed[0, 0]), bool(proposed[:, 1].any())


def speaks() -> bool:
    """Return whether this is the host that prints and draws."""
    return jax.process_index() == 0


def default_mesh(batch_size: int | None) -> Mesh:
    """Return all devices if the batch can be shared out evenly among them, or else the first one.

    Raises:
        CourseError: there are many hosts, and the batch cannot be shared out.
    """
    devices = jax.devices()
    even = batch_size is not None and batch_size % len(devices) == 0
    if jax.process_count() > 1 and batch_size is not None and not even:
        raise CourseError(
            f"batch_size is {batch_size}; on many hosts it must be a multiple of {len(devices)}, the number of devices."
        )
    if jax.process_count() == 1 and not even:
        devices = devices[:1]
    return jax.make_mesh((len(devices),), ("batch",), axis_types=(AxisType.Auto,), devices=devices)


@contextmanager
def interrupts_noticed() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT sets; the next one is an ordinary ``KeyboardInterrupt``.

    An exception at an arbitrary place would lose what has been learned; a flag cannot.
    """
    noticed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noticed
        return

    def notice(signum: int, frame: Any) -> None:
        noticed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = signal.signal(signal.SIGINT, notice)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, previous)
