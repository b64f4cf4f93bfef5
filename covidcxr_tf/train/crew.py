"""The processes that train together: who writes, what they tell each other, and what is said where one is lost.

All of it is sums over the workers of the strategy's own collectives. A process that trains alone is a crew of one:
what it tells itself comes back as it is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from covidcxr_tf.errors import RunFailed
from covidcxr_tf.files import write_bytes
from covidcxr_tf.train.stopping import AGAIN
from covidcxr_tf.train.task import Task

#: int32 numbers in one message: 16 MB.
CHUNK = 1 << 22
#: What collectives raise where another process is gone.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class Crew:
    """One process's view of all that train together.

    Attributes
    ----------
    task : Task or None
        None: it trains alone.
    strategy : tf.distribute.MultiWorkerMirroredStrategy or None
        None: it trains alone.
    """

    def __init__(self, task: Task | None = None, strategy: Any = None) -> None:
        self.task, self.strategy = task, strategy
        self._scratch: Path | None = None

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.task is None

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder."""
        return self.task is None or self.task.rank == 0

    def sum(self, numbers: np.ndarray) -> np.ndarray:
        """Return the sums of float32 or int32 numbers over all processes; each must call this with as many."""
        if self.alone:
            return numbers
        result: np.ndarray = _patiently(lambda: self._sum(tf.constant(numbers)).numpy())
        return result

    @tf.function(reduce_retracing=True, jit_compile=False)
    def _sum(self, numbers: Any) -> Any:
        # One device of each process speaks for it.
        devices = self.strategy.num_replicas_in_sync // self.task.size  # type: ignore[union-attr]

        def own(values: Any) -> Any:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return values * tf.cast(tf.equal(number % devices, 0), values.dtype)

        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(own, args=(numbers,)), axis=None)

    def bytes(self, content: bytes | None) -> bytes:
        """Return what the chief's `content` is, on all."""
        if self.alone:
            return content or b""
        own = content if self.is_chief and content is not None else b""
        # Halves of 16 bits, as int32 has no room for files beyond 2 GB.
        high, low = self.sum(np.array(divmod(len(own), 1 << 16), np.int32))
        length = int(high) << 16 | int(low)
        padded = np.zeros(-(-length // 4), np.int32)
        padded.view(np.uint8)[: len(own)] = np.frombuffer(own, np.uint8)
        parts = [self.sum(padded[start : start + CHUNK]) for start in range(0, len(padded), CHUNK)]
        return b"".join(part.tobytes() for part in parts)[:length]

    def document(self, value: Any) -> Any:
        """Return the chief's `value`, which JSON can hold, on all."""
        return value if self.alone else json.loads(self.bytes(json.dumps(value).encode()))

    def arrays(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the chief's arrays on all; the others give ones of the same shapes and types."""
        if self.alone:
            return list(values)
        sent = [(array.dtype, array.shape, self.bytes(array.tobytes())) for array in values]
        return [np.frombuffer(content, kind).reshape(shape) for kind, shape, content in sent]

    def file(self, path: Path) -> None:
        """Write the chief's file of this name, where it has one, on all others."""
        if self.alone:
            return
        content = self.bytes(path.read_bytes() if self.is_chief and path.is_file() else None)
        if content and not self.is_chief:
            write_bytes(path, content)

    def meet(self) -> None:
        """Wait for all."""
        self.sum(np.zeros(1, np.float32))

    def chief_first(self, work: Callable[[], object]) -> None:
        """Do something once it is done by the chief: it finds there what the chief wrote, where they share a disk."""
        if self.is_chief:
            work()
        self.meet()
        if not self.is_chief:
            work()

    @contextlib.contextmanager
    def folder(self, out: str | Path) -> Iterator[Path]:
        """Give the chief the run folder, and others a folder of their own that goes at the end.

        Parts of a run, which call this again, lie within that.
        """
        if self.is_chief or self._scratch is not None:
            yield Path(out)
            return
        with tempfile.TemporaryDirectory(prefix="covidcxr-worker-") as made:
            self._scratch = Path(made)
            try:
                yield self._scratch / "run"
            finally:
                self._scratch = None

    def tell(self, logger: logging.Logger) -> None:
        """Let a worker that is not the chief, whose folder goes, log to stderr under its name."""
        if self.task is None or self.is_chief:
            return
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(f"{self.task.name}: %(message)s"))
        logger.addHandler(handler)

    @contextlib.contextmanager
    def faults(self) -> Iterator[None]:
        """Turn what collectives raise where another process is gone into `RunFailed`, which names it.

        Raises
        ------
        RunFailed
        """
        try:
            yield
        except (*LOST, RuntimeError) as fault:
            lost = None if self.task is None else self.task.gone(str(fault))
            if lost is None:
                raise
            raise RunFailed(
                f"{lost} is gone; {self.task.name if self.task else ''} stops",
                remedy=f"see its log, then on all machines {AGAIN}",
            ) from fault


def _patiently(call: Callable[[], Any]) -> Any:
    """Return what `call` gives, waiting for it where signals are heard: TensorFlow's own waiting hears none."""
    found: list[Any] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as fault:
            raised.append(fault)

    # A daemon: a process that is told to stop does not wait for the others.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return found[0]
