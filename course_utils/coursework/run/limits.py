"""What one submission may use while it runs, or is opened."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one run may use; sizes in bytes.

    Attributes:
        seconds_per_cell: the time for one cell.
        memory_bytes: the memory of a whole room, whatever holds it: processes, shared memory, files in memory.
        address_space_bytes: the address space of one process.
        processes: how many processes and threads a room may have at one time.
        file_bytes: the size of one file.
        folder_bytes: the size of each of the three folders that can be written to: home, ``/tmp`` and ``/dev/shm``.
        output_bytes: what one cell may print or draw.
    """

    seconds_per_cell: float = 30.0
    memory_bytes: int = 3_000_000_000
    address_space_bytes: int = 8_000_000_000
    processes: int = 200
    file_bytes: int = 50_000_000
    folder_bytes: int = 100_000_000
    output_bytes: int = 10_000_000


@contextlib.contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """End this process if what is done here takes more of its processor time; what waits for a busy machine takes none."""
    # The signal that comes then is nobody's to catch: not even a call that never returns to Python goes on.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
