"""The chapter on how far probabilities, cut-off and groups of people can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidcxr_tf.evaluate.cut_offs import aim_of, cut_off_interval
from covidcxr_tf.evaluate.operating import class_facts
from covidcxr_tf.evaluate.subgroups import subgroup_rows
from covidcxr_tf.evaluate.table import class_names, one_against_rest
from covidcxr_tf.report.blocks import Block, Facts, Missing, Section, Table, Text
from covidcxr_tf.report.run_folder import RunFolder, with_people
from covidcxr_tf.report.sections_results import EVALUATE
from covidcxr_tf.report.summary import format_metric

Metrics = Mapping[str, Any]
RESAMPLES, SAME = 1000, 1e-6


def trust_section(run: RunFolder) -> Section:
    """Return calibration, cut-off, decision and subgroups."""
    title = "Calibration, cut-off and subgroups"
    if run.judged is None or "per_class" not in run.judged[1] or run.judged[1].get("task") == "multilabel":
        return Section("trust", title, [])
    metrics = run.judged[1]
    facts, note = _class_facts(run, metrics)
    blocks: list[Block] = [Facts(_cut_off(metrics, facts, _moved(run, metrics)))]
    if note:
        blocks.append(Text(note, "note"))
    blocks += _points(metrics, facts)
    blocks += _subgroups(run, metrics)
    return Section("trust", title, blocks)


def _class_facts(run: RunFolder, metrics: Metrics) -> tuple[Metrics, str]:
    """Return calibration, operating points and decision: of ``metrics.json``, else computed of the predictions."""
    if "calibration" in metrics:
        return metrics, ""
    table = run.table
    if table is None:
        return {}, ""
    scores, is_positive = one_against_rest(table, metrics["positive"])
    found = class_facts(scores, is_positive, table["patient_id"].to_numpy(object), metrics.get("threshold"))
    return found, "metrics.json is of an older version: computed for this report from the run's predictions."


def _moved(run: RunFolder, metrics: Metrics) -> Sequence[float] | None:
    """Return where other validation patients would have put the cut-off; None where the run does not tell."""
    if metrics.get("threshold_ci95"):
        return list(metrics["threshold_ci95"])
    table, aim = run.predictions.get("validation"), aim_of(str(metrics.get("threshold_from", "")))
    if (
        table is None
        or aim is None
        or metrics.get("threshold") is None
        or metrics["positive"] not in class_names(table)
    ):
        return None
    scores, is_positive = one_against_rest(table, metrics["positive"])
    found = cut_off_interval(scores, is_positive, table["patient_id"].to_numpy(object), *aim, RESAMPLES)
    # Of a run whose cut-off came from other films, or that was recalibrated since, the interval would be another's.
    same = found["value"] is not None and abs(found["value"] - metrics["threshold"]) < SAME
    return found["ci95"] if same else None


def _cut_off(metrics: Metrics, facts: Metrics, moved: Sequence[float] | None) -> list[tuple[str, str]]:
    threshold, origin = metrics.get("threshold"), str(metrics.get("threshold_from", ""))
    called = f"{metrics['positive']} from {threshold:.4f} on" if threshold is not None else "the most probable class"
    rows = [("Called", called), ("Cut-off from", origin if origin and origin != "argmax" else "no cut-off")]
    if moved is not None:
        words = "{:.4f} to {:.4f} in 95 % of resamples of the validation patients".format(*moved)
        rows.append(("Other patients would have put it", words))
    debiased = metrics["ece"].get("debiased")
    noise = "" if debiased is None else f"; {debiased:.3f} less the noise of its bins"
    rows += [
        ("Calibration error (ECE)", format_metric(metrics["ece"]) + noise),
        ("Brier score", format_metric(metrics["brier"])),
    ]
    calibration = facts.get("calibration", {})
    for key, words in (
        ("slope", "Calibration slope (1 is right)"),
        ("intercept", "Calibration intercept (0 is right)"),
    ):
        if key in calibration:
            rows.append((words, format_metric(calibration[key], 2)))
    better = facts.get("decision", {}).get("better")
    if better is not None:
        ranges = ", ".join(f"{low:.2f} to {high:.2f}" for low, high in better) or "nowhere"
        rows.append(("Better than acting on all or none", f"for probabilities to act from: {ranges}"))
    if metrics.get("recalibration"):
        rows.append(
            ("Recalibrated", ", ".join(f"{k} {v}" for k, v in metrics["recalibration"].items() if v is not None))
        )
    return rows


def _points(metrics: Metrics, facts: Metrics) -> list[Block]:
    points = facts.get("operating_points") or []
    if not points:
        return []
    keys = [key for key in ("sensitivity", "specificity", "ppv", "npv") if key in points[0]]
    rows = [(f"{point['threshold']:.4g}", *(format_metric(point[key]) for key in keys)) for point in points]
    share = metrics.get("prevalence")
    note = "" if share is None else f"PPV and NPV at a stated prevalence of {share:g}."
    return [Table(f"Calling {metrics['positive']} from a cut-off on", ("cut-off", *keys), rows, note=note)]


def _subgroups(run: RunFolder, metrics: Metrics) -> list[Block]:
    found, table = metrics.get("subgroups"), run.table
    if not found:
        if table is None:
            return []
        found = subgroup_rows(with_people(run, table), metrics["positive"], metrics.get("threshold"))
    rows = [
        (
            "all films" if row["by"] == "all" else f"{row['by']}: {row['group']}",
            f"{row['positives']} + {row['negatives']}",
            *(format_metric(row[key]) for key in ("auroc", "sensitivity", "specificity")),
            "few" if row["small"] else "",
        )
        for row in found
    ]
    head = ("group", "films with + without", "AUC", "sensitivity", "specificity", "")
    note = "AUC: interval over patients (Obuchowski). 'few': fewer than ten patients on a side."
    blocks: list[Block] = [Table(f"Subgroups: {metrics['positive']} against the rest", head, rows, (1,), note)]
    if not {str(row["by"]) for row in found} & {"sex", "age", "view"}:
        blocks.append(
            Missing("No subgroups by sex, age and view: the run's predictions and manifest do not tell them.", EVALUATE)
        )
    return blocks
