"""From a run's ``metrics.json`` to rows of a reproduction's table: confusion cells, figures within one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric


def cells(
    metrics: Mapping[str, Any], names: Mapping[str, str], prefix: str, *, percent: bool = False, note: str = ""
) -> dict[str, Measured]:
    """Return ``<prefix>.<true>.<called>`` -> count of films (or share of the row in per cent) for each cell.

    Parameters
    ----------
    metrics : mapping
        ``metrics.json`` of a single-label classifier.
    names : mapping
        Class of the model -> its name in the paper's table; other classes are left out.
    prefix : str
        ``table3``.
    percent : bool
        Shares of the true class in per cent, as some papers print; otherwise counts, with the share in the note, as the
        sets differ in size.
    note : str
        Put before that share.
    """
    counts = metrics["confusion"]
    classes = metrics["classes"]
    found = {}
    for row, true in enumerate(classes):
        total = sum(counts[row])
        for column, called in enumerate(classes):
            if true not in names or called not in names:
                continue
            key = f"{prefix}.{names[true]}.{names[called]}"
            if not total:
                found[key] = Measured(None, why=f"no test film is {true}")
                continue
            share = 100 * counts[row][column] / total
            parts = [note] if note else []
            if not percent:
                parts.append(f"{share:.1f} % of {total}")
            value = share if percent else counts[row][column]
            found[key] = Measured(value, n=total if percent else metrics["n"], note="; ".join(parts))
    return found


def within_sources(metrics: Mapping[str, Any], title: str, sources: Sequence[str] = ()) -> dict[str, Measured]:
    """Return an ``also`` row for each source with both kinds of films: the area within it, which says something."""
    rows = {}
    for source, metric in metrics.get("within_source", {}).items():
        if metric.get("value") is None or (sources and source not in sources):
            continue
        n = metric["positives"] + metric["rest"]
        note = f"{metric['positives']} {metrics['positive']}, {metric['rest']} others"
        rows[f"also {title}: AUC within {source}"] = from_metric(metric, n=n, note=note)
    if not rows:
        rows[f"also {title}: AUC within one source"] = Measured(
            None, why="not measured: no source has test films of both kinds; a pooled figure may tell sources apart"
        )
    return rows
