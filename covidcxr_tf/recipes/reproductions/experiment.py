"""What a paper's experiment is, and what it hands back.

A reproduction module ``covidcxr_tf.recipes.reproductions.<key>`` holds ``EXPERIMENTS`` (tuple of `Experiment`),
``CAVEATS`` (tuple of str), ``SMOKE_LABELS`` (labels of the synthetic films) and, where labels alone do not do,
``smoke_films(folder, seed) -> manifest``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covidcxr_tf.recipes.reproductions.bench import Bench

#: A result named ``"also AUC within one hospital"`` answers no printed number and stands in the table all the same.
ALSO = "also "


@dataclass(frozen=True)
class Measured:
    """One measured number, or why there is none.

    Attributes
    ----------
    value : float or None
        In the unit of the fact it answers: per cent stay per cent. Never NaN.
    ci95 : tuple of float, optional
        95 % interval, same unit.
    n : int or None
        Films (or what the fact counts) it is over.
    why : str
        With `value` None: why there is none and what a user must supply.
    note : str
        A caveat beside the value.
    unit : str
        Of an ``also`` row only; elsewhere the fact's unit holds.

    Raises
    ------
    ValueError
        For a value that is not finite, and for none without a reason.
    """

    value: float | None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    why: str = ""
    note: str = ""
    unit: str = "1"

    def __post_init__(self) -> None:
        if self.value is None:
            if not self.why:
                raise ValueError("a value that is not there needs a reason: Measured(None, why=...)")
            return
        numbers = [self.value, *(self.ci95 or ())]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{numbers} cannot stand in a table; write Measured(None, why=...)")
        object.__setattr__(self, "value", float(self.value))  # NumPy's scalars are no JSON
        if self.ci95 is not None:
            object.__setattr__(self, "ci95", (float(self.ci95[0]), float(self.ci95[1])))


@dataclass(frozen=True)
class Experiment:
    """One experiment of a paper.

    Attributes
    ----------
    name : str
        Short and in a command line's form: ``base_model``.
    title : str
        What is done, a phrase with the paper's locator.
    facts : tuple of str
        Ids of the printed numbers it answers. None may stand in two experiments.
    run : callable
        Takes a `Bench`; returns a `Measured` for each of `facts`, and for any name that begins with ``"also "``.
    missing : callable
        Takes a `Bench`; returns "" where the experiment can run, else what is missing and how a user supplies it.
    """

    name: str
    title: str
    facts: tuple[str, ...]
    run: Callable[[Bench], dict[str, Measured]]
    missing: Callable[[Bench], str] = lambda bench: ""


def from_metric(
    metric: Mapping[str, Any], *, percent: bool = False, n: int | None = None, note: str = "", unit: str = "1"
) -> Measured:
    """Return an entry of ``metrics.json`` (``{"value", "ci95", "why"}``) as `Measured`.

    Parameters
    ----------
    metric : mapping
        The entry; ``value`` None is handed on with its ``why``, and a missing interval with its ``why`` as note.
    percent : bool
        True multiplies by 100, for facts in per cent.
    n, note, unit
        As in `Measured`.
    """
    factor = 100.0 if percent else 1.0
    if metric.get("value") is None:
        return Measured(None, n=n, why=str(metric.get("why") or "not defined on these films"), note=note, unit=unit)
    ci95 = metric.get("ci95")
    if ci95 is None and metric.get("why"):
        note = "; ".join(part for part in (note, f"no interval: {metric['why']}") if part)
    interval = None if ci95 is None else (factor * ci95[0], factor * ci95[1])
    return Measured(factor * metric["value"], interval, n, note=note, unit=unit)
