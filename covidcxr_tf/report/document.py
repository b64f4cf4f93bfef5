"""The report: one HTML file of a run, with everything in it and nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from covidcxr_tf import __version__
from covidcxr_tf.files import write_text
from covidcxr_tf.report.blocks import Checklist, Missing, Picture, Section
from covidcxr_tf.report.checklist import checklist_section
from covidcxr_tf.report.run_folder import RunFolder, read_run
from covidcxr_tf.report.sections_audit import audit_section
from covidcxr_tf.report.sections_data import data_section
from covidcxr_tf.report.sections_failures import failure_section
from covidcxr_tf.report.sections_model import environment_section, model_section, training_section
from covidcxr_tf.report.sections_paper import paper_section
from covidcxr_tf.report.sections_parts import parts_section
from covidcxr_tf.report.sections_results import result_section
from covidcxr_tf.report.sections_trust import trust_section
from covidcxr_tf.report.summary import format_metric

ERRORS_LISTED = 8
NAME = "report.html"


@dataclass(frozen=True)
class Tile:
    """One figure at the head of the page."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Report:
    """A report ready to be drawn."""

    title: str
    run: RunFolder
    tiles: Sequence[Tile]
    sections: Sequence[Section]

    @property
    def missing(self) -> list[Missing]:
        """What the run folder does not hold."""
        return list(dict.fromkeys(one for section in self.sections for one in section.missing()))

    @property
    def checklists(self) -> list[Checklist]:
        """The reporting checklists."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Checklist)]


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    *,
    audit: str | Path | None = None,
    anonymous: bool = False,
    errors: int = ERRORS_LISTED,
    pictures: Mapping[str, Picture] | None = None,
    no_pictures: str = "",
) -> Path:
    """Write the report of a run folder as one HTML file, in one step, and return its path.

    Parameters
    ----------
    run : str or path
        Run folder; of a finished or an interrupted run, or of a shipped model.
    out : str or path, optional
        The file; by default ``report.html`` of the run.
    audit : str or path, optional
        ``audit.json`` or its folder; by default the run's own ``audit/audit.json``.
    anonymous : bool
        Films by keyed hashes, sources by letters, no places on a disk.
    errors : int
        How many of the worst errors to list.
    pictures : mapping, optional
        Film's path -> picture of it, for the worst errors; without it none is shown.
    no_pictures : str
        Why there are none.

    Raises
    ------
    DataError
        If the folder is no run, or a file in it is damaged.
    """
    report = build_report(read_run(run, audit=audit, anonymous=anonymous), errors, pictures or {}, no_pictures)
    return write_text(Path(out) if out is not None else Path(run) / NAME, render(report))


def build_report(
    run: RunFolder, errors: int = ERRORS_LISTED, pictures: Mapping[str, Picture] | None = None, no_pictures: str = ""
) -> Report:
    """Return the chapters of a run's report; parameters as `write_report`."""
    shown = pictures or {}
    sections = [
        result_section(run),
        audit_section(run) if run.task in ("classification", "hierarchical") else None,
        trust_section(run),
        failure_section(run, errors, shown, no_pictures),
        parts_section(run),
        data_section(run),
        model_section(run),
        training_section(run),
        paper_section(run),
        environment_section(run),
        checklist_section(run, failures=bool(errors)),
    ]
    return Report(run.title, run, _tiles(run), [section for section in sections if section and section.blocks])


def render(report: Report) -> str:
    """Return the page."""
    return page("report.html.j2", report=report, run=report.run, version=__version__)


def page(template: str, **values: Any) -> str:
    """Return a template of this package filled in; all text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("covidcxr_tf.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)


def _tiles(run: RunFolder) -> list[Tile]:
    """Return the figures that come first: within one source, pooled, audit, films."""
    if run.judged is None:
        return [Tile("Figures", "none", "the model has not been judged", "fail")]
    split, metrics = run.judged
    tiles = []
    if "per_class" in metrics and metrics.get("task") != "multilabel":
        tiles += _area_tiles(metrics)
    elif "dice" in metrics:
        tiles += [_tile(name, metrics[key]) for key, name in (("dice", "Dice"), ("jaccard", "Jaccard"))]
    elif "auroc" in metrics:
        tiles.append(_tile("AUC, mean over findings", metrics["auroc"]))
    if run.audit is not None:
        counted = ", ".join(f"{count} {name}" for name, count in run.audit["verdicts"].items() if count)
        tiles.append(Tile("Audit", str(run.audit.get("verdict", "")), counted, str(run.audit.get("verdict", ""))))
    elif run.task == "classification":
        tiles.append(Tile("Audit", "none", "not asked whether it tells disease", "warn"))
    return [*tiles, Tile(f"{split} films".capitalize(), str(metrics["n"]), f"{metrics['patients']} patients")]


def _area_tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    positive = metrics["positive"]
    within = [(name, found) for name, found in metrics.get("within_source", {}).items() if found["value"] is not None]
    pooled = _tile(f"AUC of {positive}, sources pooled", metrics["per_class"][positive]["auroc"])
    if not within:
        why = "no source holds both kinds" if metrics.get("within_source") else "no source is given"
        return [Tile("AUC within one source", "undefined", why, "warn"), pooled]
    # Of several the one with the most films on its smaller side says most.
    name, metric = max(within, key=lambda item: min(item[1]["positives"], item[1]["rest"]))
    more = f" ({len(within) - 1} more below)" if len(within) > 1 else ""
    counts = f"n = {metric['positives']} against {metric['rest']}{more}"
    first = _tile(f"AUC of {positive} within {name}", metric)
    return [Tile(first.label, first.value, f"{first.note}; {counts}" if first.note else counts), pooled]


def _tile(label: str, metric: Mapping[str, Any]) -> Tile:
    value, _, note = format_metric(metric).partition(" (")
    return Tile(label, value, note.rstrip(")"))
