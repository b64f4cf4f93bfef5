"""Printed and measured numbers side by side: the rows, and the rows as CSV, as text and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from covidcxr_tf.papers.facts import Fact, Paper
from covidcxr_tf.recipes.reproductions.experiment import ALSO, Experiment, Measured

UNANSWERED = "no experiment of this reproduction measures it"
NOT_RUN = "not run: "
WITHIN = " within "  # of rows that hold for one source
#: Folders of an absolute path, at the start of a word: a table that is published names files, not a machine's folders.
_FOLDERS = re.compile(r"(?<![\w/.~\])}-])~?/(?!/)(?:[^\s/'\";,|]+/)+")


@dataclass(frozen=True)
class Row:
    """One printed number with what was measured in its place, or an ``also`` number that the paper does not print.

    Attributes
    ----------
    fact : str
        Id of the printed number; empty for an ``also`` row.
    experiment : str
        Name of the experiment that answers it; empty where none does.
    what, locator, unit : str
        As the fact has them.
    printed, measured, difference : float or None
        In `unit`; `difference` is measured - printed, and None beside a printed bound as ``< 0.001`` and beside counts
        of films: sets differ in size.
    printed_text : str
        The printed number with the paper's own digits and sign: ``< 0.001``.
    printed_ci95, ci95 : tuple of float or None
        Intervals of both; `printed_interval` and `interval` say what kind.
    printed_n, n : int or None
        What both are over.
    why : str
        Why nothing was measured; empty where something was.
    note : str
        Caveat beside the measured value.
    """

    fact: str
    experiment: str
    what: str
    locator: str
    unit: str
    printed: float | None
    printed_text: str
    printed_ci95: tuple[float, float] | None
    printed_interval: str
    printed_n: int | None
    measured: float | None
    ci95: tuple[float, float] | None
    interval: str
    n: int | None
    difference: float | None
    why: str
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON types."""
        return asdict(self)


def combine(repeats: Sequence[Measured]) -> tuple[Measured, str]:
    """Return one value for several repeats of a measurement, and what its interval is.

    One repeat keeps its own 95 % interval. Of more, the value is the mean and the interval the smallest and the largest
    of the repeats: no confidence interval, as a handful of seeds gives none.
    """
    there = [one for one in repeats if one.value is not None]
    if not there:
        return Measured(None, why=repeats[0].why, note=_joined(one.note for one in repeats)), ""
    if len(repeats) == 1:
        return repeats[0], "95 % interval" if repeats[0].ci95 is not None else ""
    values = [float(one.value) for one in there if one.value is not None]
    notes = [one.note for one in there]
    if len(there) < len(repeats):
        lost = next(one.why for one in repeats if one.value is None)
        notes.append(f"{len(there)} of {len(repeats)} seeds; the others: {lost}")
    counts = {one.n for one in there}
    if len(counts) > 1:
        known = sorted(count for count in counts if count is not None)
        notes.append(f"n from {known[0]} to {known[-1]}" if len(known) > 1 else "n differs between seeds")
    several = len(there) > 1
    span = (min(values), max(values)) if several else there[0].ci95
    name = f"range of {len(there)} seeds" if several else ("95 % interval" if span is not None else "")
    n = counts.pop() if len(counts) == 1 else None
    return Measured(sum(values) / len(values), span, n, note=_joined(notes), unit=there[0].unit), name


def build_rows(
    paper: Paper, experiments: Iterable[Experiment], results: Mapping[str, Sequence[Mapping[str, Measured]]]
) -> tuple[Row, ...]:
    """Return the table of a reproduction: by experiment, and last what no experiment answers.

    In each experiment what was measured within one source stands first: where label and source go together, it alone
    says something about the disease.

    Parameters
    ----------
    paper : Paper
        Each of its facts of the role ``result`` gets a row; others only where an experiment answers them.
    experiments : iterable of Experiment
        All of the reproduction, also those that were not run.
    results : mapping
        Experiment's name -> one mapping of results a repeat.
    """
    rows: list[Row] = []
    answered: set[str] = set()
    for experiment in experiments:
        repeats = results[experiment.name]
        also = list(dict.fromkeys(name for one in repeats for name in one if name.startswith(ALSO)))
        within = [name for name in also if WITHIN in name]
        rows += [_also_row(name, experiment.name, repeats) for name in within]
        for fact_id in experiment.facts:
            fact = paper.fact(fact_id)
            measured, interval = combine([one[fact_id] for one in repeats])
            share = printed_share(paper, fact) if measured.value is not None else ""
            measured = replace(measured, note=_joined((measured.note, share)))
            rows.append(_row(fact, experiment.name, measured, interval))
        rows += [_also_row(name, experiment.name, repeats) for name in also if name not in within]
        answered.update(experiment.facts)
    left = [fact for fact in paper.of_role("result") if fact.id not in answered]
    return (*rows, *(_row(fact, "", Measured(None, why=UNANSWERED), "") for fact in left))


def as_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the rows as a table for ``table.csv``; intervals take two columns each."""
    flat = []
    for row in rows:
        entry = row.as_dict()
        for key in ("printed_ci95", "ci95"):
            low, high = entry.pop(key) or (None, None)
            entry |= {f"{key}_low": low, f"{key}_high": high}
        flat.append(entry)
    table = pd.DataFrame(flat)
    return table.astype({"printed_n": "Int64", "n": "Int64"})


def printed_cell(row: Row) -> str:
    """Return the paper's number with its own digits, interval and n."""
    if row.printed is None:
        return "-"
    kind = "" if row.printed_interval.startswith("95 %") else f"{row.printed_interval} "
    interval = f" ({kind}{row.printed_ci95[0]:g} to {row.printed_ci95[1]:g})" if row.printed_ci95 else ""
    return f"{row.printed_text}{interval}{_count(row.printed_n)}"


def measured_cell(row: Row) -> str:
    """Return the measured number with interval and n, or ``"not run: why"``."""
    if row.measured is None:
        return f"{NOT_RUN}{row.why}"
    kind = "" if row.interval.startswith("95 %") else f"{row.interval}: "
    interval = f" ({kind}{_number(row, row.ci95[0])} to {_number(row, row.ci95[1])})" if row.ci95 else ""
    return f"{_number(row, row.measured)}{interval}{_count(row.n)}"


def difference_cell(row: Row) -> str:
    """Return measured - printed with its sign, or an empty text."""
    if row.difference is None:
        return ""
    text = _number(row, round(row.difference, _decimals(row)))
    return text if text.startswith("-") else f"+{text}"


def without_folders(text: str) -> str:
    """Return the text with each absolute path cut down to its last part."""
    return _FOLDERS.sub("", text)


def _row(fact: Fact, experiment: str, measured: Measured, interval: str) -> Row:
    # "< 0.001" is a bound: there is nothing to take a difference from.
    exact = measured.value is not None and fact.sign in ("", "≈") and fact.unit != "films"
    return Row(
        fact=fact.id,
        experiment=experiment,
        what=fact.what,
        locator=fact.locator,
        unit=fact.unit,
        printed=fact.value,
        printed_text=f"{fact.sign} {fact.printed}".strip(),
        printed_ci95=fact.ci95,
        printed_interval=fact.interval,
        printed_n=fact.n,
        measured=measured.value,
        ci95=measured.ci95,
        interval=interval,
        n=measured.n,
        difference=measured.value - fact.value if exact and measured.value is not None else None,
        why="" if measured.value is not None else _reason(measured.why),
        note=without_folders(measured.note),
    )


def _also_row(name: str, experiment: str, repeats: Sequence[Mapping[str, Measured]]) -> Row:
    measured, interval = combine([one[name] for one in repeats if name in one])
    return Row(
        fact="",
        experiment=experiment,
        what=name.removeprefix(ALSO),
        locator="",
        unit=measured.unit,
        printed=None,
        printed_text="",
        printed_ci95=None,
        printed_interval="",
        printed_n=None,
        measured=measured.value,
        ci95=measured.ci95,
        interval=interval,
        n=measured.n,
        difference=None,
        why="" if measured.value is not None else _reason(measured.why),
        note=without_folders(measured.note),
    )


def printed_share(paper: Paper, fact: Fact) -> str:
    """Return a printed confusion count as share of its row, ``"printed: 97.3 % of 645"``; empty for other facts."""
    row, _, _ = fact.id.rpartition(".")
    cells = [known for known in paper.facts if known.id.rpartition(".")[0] == row and known.unit == "films"]
    total = sum(known.value for known in cells)
    if fact.unit != "films" or len(cells) < 2 or row.count(".") != 1 or not row.startswith("table"):
        return ""
    return f"printed: {100 * fact.value / total:.1f} % of {total:.0f}"


def _reason(why: str) -> str:
    return without_folders(why).removeprefix(NOT_RUN)  # the table says it itself


def _decimals(row: Row) -> int:
    """Return one decimal more than the paper prints, so that rounding alone does not look like agreement."""
    most = 2 if row.unit == "%" else 4
    if row.printed is None:
        return 3 if row.unit == "1" else 1
    _, point, digits = row.printed_text.partition(".")
    return min(len(digits) + 1, most) if point else 1


def _number(row: Row, value: float) -> str:
    counts = "." not in row.printed_text and row.unit not in ("1", "%")
    decimals = 0 if counts and float(value).is_integer() else _decimals(row)
    if value and not round(value, decimals):
        return f"{value:.1e}"  # a p-value of 2e-9 is not 0
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.00"


def _count(n: int | None) -> str:
    return "" if n is None else f", n = {n}"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
