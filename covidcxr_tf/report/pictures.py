"""The pictures of a report: those of the run folder, and those drawn anew where it has none."""

from __future__ import annotations

import tempfile
from pathlib import Path

from covidcxr_tf.errors import CovidcxrError
from covidcxr_tf.report.blocks import Picture
from covidcxr_tf.report.evaluation import Metrics, draw_evaluation
from covidcxr_tf.report.run_figures import draw_history
from covidcxr_tf.report.run_folder import RunFolder

#: Shown in this order; confusion is a table of the page. Models of findings and of masks have pictures of their own.
SHOWN = ("roc_within_source", "roc", "precision_recall", "calibration", "decision", "findings", "overlap")
NAMES_SOURCES = ("roc_within_source", "subgroups", "overlap")
ALTS = {
    "roc_within_source": "ROC curves inside each source that holds both classes; the areas stand in the table above.",
    "roc": "ROC curve over all sources pooled, with its area.",
    "precision_recall": "Precision against recall, with the share of positives as a dotted line.",
    "calibration": "Observed share against stated probability, with a histogram of stated probabilities.",
    "decision": "Net benefit of acting on the model, on all films and on none.",
    "findings": "Area under the ROC curve of each finding, with its interval.",
    "overlap": "Histogram of the Dice of each film, and its spread by source.",
}
#: Of pictures without a title of their own.
CAPTIONS = {"findings": "Area of each finding"}


def history_picture(run: RunFolder) -> bytes:
    """Return the training curves as PNG."""
    own = run.folder / "figures" / "history.png"
    if own.is_file():
        return own.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        return draw_history(run.folder / "history.csv", Path(folder)).read_bytes()


def result_pictures(run: RunFolder, split: str, metrics: Metrics) -> list[Picture]:
    """Return the pictures of a split's figures: the run's own, and what is missing among them drawn from its table."""
    found = {} if run.names.anonymous else _own(run, split)
    table = run.predictions.get(split)
    if "classes" in metrics and table is not None and _lacking(found, metrics):
        found = {**_drawn(run, split, metrics), **found}
    elif run.names.anonymous:
        found = {name: content for name, content in _own(run, split).items() if name not in NAMES_SOURCES}
    return [Picture(found[name], ALTS[name], CAPTIONS.get(name, "")) for name in SHOWN if name in found]


def _own(run: RunFolder, split: str) -> dict[str, bytes]:
    paths = {name: run.folder / "figures" / f"{name}_{split}.png" for name in SHOWN}
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def _lacking(found: dict[str, bytes], metrics: Metrics) -> bool:
    if metrics.get("task") == "multilabel":
        return "findings" not in found
    wanted = {"roc", "precision_recall", "calibration"}
    if any(metric["value"] is not None for metric in metrics.get("within_source", {}).values()):
        wanted.add("roc_within_source")
    if len(metrics["classes"]) == 2 and metrics["auroc"]["value"] is not None:
        wanted.add("decision")
    return not wanted <= set(found)


def _drawn(run: RunFolder, split: str, metrics: Metrics) -> dict[str, bytes]:
    plain = {name: value for name, value in metrics.items() if name != "subgroups"}
    try:
        with tempfile.TemporaryDirectory() as folder:
            written = draw_evaluation(run.predictions[split], plain, folder, resamples=300)
            return {path.stem: path.read_bytes() for path in written}
    except CovidcxrError:
        return {}
