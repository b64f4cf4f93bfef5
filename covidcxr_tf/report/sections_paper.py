"""The chapter that sets a run's figures beside those that its paper prints.

Which printed number a run answers hangs on its architecture, classes and lungs; numbers of other experiments of the
paper belong to ``covidcxr reproduce``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidcxr_tf.catalog import PAPERS
from covidcxr_tf.papers.facts import Fact, Paper, load_paper
from covidcxr_tf.report.blocks import Block, Section, Table, Text
from covidcxr_tf.report.run_folder import RunFolder
from covidcxr_tf.report.summary import format_metric

Metrics = Mapping[str, Any]
TITLE = "Beside the paper"
#: Where a metric stands in ``metrics.json``; {positive} is the class that the paper's figure is of.
ACCURACY, AREA = ("accuracy",), ("auroc",)
F1 = ("per_class", "{positive}", "f1")
SENSITIVITY, SPECIFICITY = ("per_class", "{positive}", "sensitivity"), ("per_class", "{positive}", "specificity")
OF_CLASS = {"precision": "precision", "recall": "sensitivity", "f1": "f1"}


def paper_section(run: RunFolder) -> Section:
    """Return printed, measured and difference of each number that this run answers."""
    key = paper_of(run)
    if key is None:
        return Section("paper", TITLE, [Text("No paper of the five is behind this run.", "note")])
    paper = load_paper(key)
    about = f"{paper.authors}: {paper.title}. {paper.journal}, {paper.year}."
    command = f"covidcxr reproduce {key} --data MANIFEST"
    whole = Text(f"All that the paper prints, experiment by experiment: {command}", "note")
    if run.judged is None:
        return Section("paper", TITLE, [Text(about), whole])
    split, metrics = run.judged
    rows = [_row(paper.fact(fact), metric) for fact, metric in answered(run, metrics, paper)]
    blocks: list[Block] = [Text(about)]
    if not rows:
        return Section(
            "paper", TITLE, [*blocks, Text("The paper prints no number that this run answers.", "note"), whole]
        )
    blocks.append(Text(_data_differ(run, split, metrics), "warn"))
    head = ("what the paper calls it", "where", "printed", "measured (95 % interval)", "difference")
    blocks.append(Table("Printed and measured", head, rows, (4,)))
    blocks += [
        Text(note.text, "note")
        for note in paper.notes
        if set(note.facts) & {f for f, _ in answered(run, metrics, paper)}
    ]
    return Section("paper", TITLE, [*blocks, whole])


def paper_of(run: RunFolder) -> str | None:
    """Return the key of the paper behind a run, None where there is none."""
    for config in (run.config, *(part.config for part in run.parts)):
        recipe = (config or {}).get("recipe")
        if recipe in PAPERS:
            return str(recipe)
    return None


def answered(run: RunFolder, metrics: Metrics, paper: Paper) -> list[tuple[str, Metrics]]:
    """Return (fact, measured metric) of each printed number that this run answers; undefined ones are left out."""
    positive = str(metrics.get("positive", ""))
    wanted = {
        "covid_cxnet": _covid_cxnet,
        "resnet101_1500": _resnet101,
        "densenet121_phased": _densenet121,
        "vgg16_pcxr": _vgg16,
        "patch_resnet18": _patches,
    }[paper.key](run, metrics)
    known = {fact.id for fact in paper.facts}
    found = [(fact, _at(metrics, path, positive)) for fact, path in wanted if fact in known]
    return [(fact, metric) for fact, metric in found if metric is not None and metric.get("value") is not None]


Wanted = list[tuple[str, tuple[str, ...]]]


def _covid_cxnet(run: RunFolder, metrics: Metrics) -> Wanted:
    classes, lungs = len(metrics.get("classes", [])), _setting(run, "image", "lungs")
    if run.task == "hierarchical":
        model = "hierarchical"
    elif classes == 3:
        model = "flat"
    elif classes == 2:
        model = "base_v2" if _arch(run) == "base" else ("cxnet_v1" if lungs == "none" else "cxnet_v2")
    else:
        return []
    return [(f"table6.{model}.accuracy", ACCURACY), (f"table6.{model}.f_score", F1)]


def _resnet101(run: RunFolder, metrics: Metrics) -> Wanted:
    if len(metrics.get("classes", [])) != 2:
        return []
    names = (("sensitivity", SENSITIVITY), ("specificity", SPECIFICITY), ("accuracy", ACCURACY))
    return [(f"table10.proposed.{name}", path) for name, path in names]


def _densenet121(run: RunFolder, metrics: Metrics) -> Wanted:
    if metrics.get("task") == "multilabel":
        each = [(f"table1.{name.lower()}.ours", ("per_class", name, "auroc")) for name in metrics["classes"]]
        return [*each, ("table1.macroaverage.ours", AREA)]
    name = str((run.config or {}).get("name", ""))
    path = next((letter for letter in "abcdef" if f"path_{letter}" in name), "")
    if not path:
        return []
    table = "table2" if name.endswith("phase_2") else "table3"
    return [(f"{table}.path_{path}.auroc", AREA)]


def _vgg16(run: RunFolder, metrics: Metrics) -> Wanted:
    if len(metrics.get("classes", [])) != 4:
        return []
    kind = "whole" if _setting(run, "image", "lungs") == "none" else "segmented"
    wanted: Wanted = [(f"results.{kind}.accuracy", ACCURACY), (f"results.{kind}.auc", AREA)]
    if kind == "whole":
        wanted += [
            (f"table2.{name}.{printed}", ("per_class", name, ours))
            for name in metrics["classes"]
            for printed, ours in OF_CLASS.items()
        ]
    return wanted


def _patches(run: RunFolder, metrics: Metrics) -> Wanted:
    if _arch(run) != "patch-resnet18":
        return []
    if "viral_or_covid19" in metrics.get("classes", []):
        return [("section4d.sensitivity_covid19_viral", ("per_class", "viral_or_covid19", "sensitivity"))]
    return [("section5d.accuracy", ACCURACY)]


def _at(metrics: Metrics, path: tuple[str, ...], positive: str) -> Metrics | None:
    found: Any = metrics
    for step in path:
        found = found.get(step.format(positive=positive)) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _row(fact: Fact, metric: Metrics) -> tuple[str, ...]:
    scale = 100.0 if fact.unit == "%" else 1.0
    unit = " %" if fact.unit == "%" else ""
    measured = {**metric, "value": scale * metric["value"]}
    if metric.get("ci95"):
        measured["ci95"] = [scale * bound for bound in metric["ci95"]]
    digits = 1 if fact.unit == "%" else 3
    printed = f"{fact.sign}{fact.printed}{unit}" + (
        f" ({fact.ci95[0]:g} to {fact.ci95[1]:g}: {fact.interval})" if fact.ci95 else ""
    )
    difference = f"{measured['value'] - fact.value:+.{digits}f}{unit}"
    shown = format_metric(measured, digits) + unit
    return fact.what, fact.locator, printed, shown, difference


def _data_differ(run: RunFolder, split: str, metrics: Metrics) -> str:
    films = "drawn by a program" if run.synthetic else f"other films ({metrics['n']} {split} films, split by patient)"
    return (
        f"The data differ: these figures are of {films}, not of the paper's. A difference says nothing about who is "
        "right, and the printed figures may share the confounding that the audit asks about."
    )


def _arch(run: RunFolder) -> str:
    return str((run.config or {}).get("arch") or (run.card or {}).get("model", {}).get("arch") or "")


def _setting(run: RunFolder, table: str, key: str) -> str:
    return str((run.config or {}).get(table, {}).get(key) or (run.card or {}).get(table, {}).get(key) or "")
