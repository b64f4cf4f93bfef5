"""How a run is begun or gone on with: what its parts are told alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covidcxr_tf.config import Config
from covidcxr_tf.train.run_dir import RunDir

__all__ = ["Launch"]


@dataclass(frozen=True)
class Launch:
    """How a run is begun or gone on with.

    Attributes
    ----------
    devices : str
        ``all``, ``cpu`` or a number.
    skip_bad : int
        So many unreadable films are set aside.
    resume : bool
        Go on with what an interrupted run left: finished parts are read again, the one that was interrupted continues
        from its last checkpoint. Where there is nothing yet, begin.
    derived : sequence of str
        Keys of the config that may have changed: those that a run of several parts sets in its parts.
    profile : bool
        Write a TensorBoard profile of steps 10 to 20 into the run folder.
    """

    devices: str = "all"
    skip_bad: int = 0
    resume: bool = False
    derived: Sequence[str] = ()
    profile: bool = False

    def of_part(self, derived: Sequence[str]) -> Launch:
        """Return how a part of the run is begun, in whose config the run sets the keys `derived`."""
        return replace(self, derived=derived, profile=False)

    def open(self, out: str | Path, config: Config) -> RunDir:
        """Return the run folder: a new one, or with `resume` the one that is there.

        Raises
        ------
        ConfigError
            If a resumed run is of another config.
        UsageError
            If a new run's folder is not free.
        """
        if self.resume:
            return RunDir.reopen(out, config, derived=self.derived)
        return RunDir.create(out, config)
