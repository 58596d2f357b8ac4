"""Grade on a Dask cluster: jobs out, answers back.

A task on a Dask worker hands its job to a process of its own (:class:`~course_utils.coursework.grade.pool.Workers`), which
runs the notebook in a sandbox. So a hostile notebook is three processes away from the Dask worker, and each machine
needs bubblewrap and the same version of the course. Dask's connections are to be trusted: use a private network or TLS.
"""

import contextlib
import socket
from collections.abc import Iterator

from distributed import CancelledError, Client, KilledWorker
from distributed.comm import get_address_host_port

from course_utils.coursework.grade.jobs import worker_environment
from course_utils.coursework.grade.pool import Graders, Workers
from course_utils.coursework.source.notebooks import NotebookError

SECONDS_TO_CONNECT = 10
_workers: list[Workers] = []


@contextlib.contextmanager
def connected(address: str) -> Iterator[Graders]:
    """Connect to a cluster; yield what grades on it.

    Raises:
        NotebookError: nobody answers at ``address``, there are no workers, or the cluster goes away.
    """
    try:
        # A client that finds nobody keeps on trying, and complains when it is thrown away; so a plain socket tries first.
        socket.create_connection(get_address_host_port(address), SECONDS_TO_CONNECT).close()
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError):
        raise NotebookError(f"No Dask scheduler answers at {address!r}: it looks like tcp://machine:8786.") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise NotebookError(
                f"The Dask cluster at {address} has no workers: start some with `dask worker {address}`."
            )

        def ask(job: bytes, seconds: float) -> bytes | None:
            try:
                return client.submit(do_on_worker, job, seconds, pure=False).result()
            except KilledWorker:
                return None
            except (CancelledError, OSError, RuntimeError) as error:
                raise NotebookError(
                    f"The Dask cluster at {address} went away ({type(error).__name__}): go on later with --resume."
                ) from None

        # A few more than can be done, so that nobody waits and workers that join later find something.
        yield Graders(4 * threads, ask, client.close)


def do_on_worker(job: bytes, seconds: float) -> bytes | None:
    """What a Dask worker runs: hand a job to a process of this thread, and return its answer."""
    if not _workers:
        _workers.append(Workers(worker_environment()))
    return _workers[0].ask(job, seconds)
