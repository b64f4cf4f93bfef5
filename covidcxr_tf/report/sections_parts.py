"""The chapter of a run of several parts: folds, phases, levels, members, with their key figures in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidcxr_tf.report.blocks import Block, Folded, Missing, Section, Table, Text
from covidcxr_tf.report.run_folder import RunFolder
from covidcxr_tf.report.summary import OVERALL, format_metric, summary_rows

TITLES = {"fold": "Folds", "phase": "Phases", "level": "Levels", "member": "Members"}
KEYS = {"auroc": "AUC", "accuracy": "accuracy", "macro_f1": "macro F1", "dice": "Dice"}


def parts_section(run: RunFolder) -> Section | None:
    """Return the key figures of each part; None for a run of one part."""
    if not run.parts:
        return None
    kinds = list(dict.fromkeys(part.folder.name.partition("_")[0] for part in run.parts))
    title = " and ".join(TITLES[kind] for kind in kinds)
    rows, folded, unfinished = [], [], []
    for part in run.parts:
        name = part.folder.name.replace("_", " ")
        if part.judged is None:
            unfinished.append(name)
            continue
        split, metrics = part.judged
        figures = [format_metric(metrics[key]) if key in metrics else "" for key in KEYS]
        rows.append((name, part.title, str(metrics["n"]), split, *_within(metrics), *figures))
        folded.append(Folded(f"{name}: all figures", [Table(name, ("figure", "value"), summary_rows(metrics))]))
    head = ["part", "name", "films", "split", "AUC within one source", *KEYS.values()]
    used = [column for column in range(len(head)) if column < 4 or any(row[column] for row in rows)]
    blocks: list[Block] = []
    if rows:
        shown = [tuple(row[column] for column in used) for row in rows]
        blocks.append(Table("Key figures of each part", [head[column] for column in used], shown, (2,)))
    blocks += _spread(run.folds)
    blocks += folded
    blocks += [
        Missing(f"{name} has no figures: it has not finished.", "covidcxr train --resume --out RUN ...")
        for name in unfinished
    ]
    return Section("parts", title, blocks)


def _within(metrics: Mapping[str, Any]) -> tuple[str]:
    found = {name: metric for name, metric in metrics.get("within_source", {}).items() if metric["value"] is not None}
    return ("; ".join(f"{name} {format_metric(metric)}" for name, metric in found.items()),)


def _spread(folds: Mapping[str, Any] | None) -> list[Block]:
    """Return mean and standard deviation over folds."""
    if not folds:
        return []
    rows = []
    for key, name in OVERALL.items():
        found = folds["mean_sd"].get(key)
        if found is None:
            continue
        defined = found.get("mean") is not None and found.get("sd") is not None
        words = f"{found['mean']:.3f} ± {found['sd']:.3f}" if defined else f"undefined: {found.get('why', '')}"
        rows.append((name, words, str(found.get("n", ""))))
    table = Table("Mean and standard deviation over folds", ("figure", "mean ± sd", "folds"), rows, (2,))
    return [table, Text(str(folds.get("note", "")), "note")]
