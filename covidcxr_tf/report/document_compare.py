"""A comparison of models as one HTML page: areas with both intervals, all pairs with their tests, the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidcxr_tf import __version__
from covidcxr_tf.files import write_text
from covidcxr_tf.report.blocks import Bar, Bars, Block, Picture, Pictures, Section, Table, Text
from covidcxr_tf.report.comparison_summary import area_text, comparison_notes, p_text
from covidcxr_tf.report.document import page

NAME = "compare.html"
PICTURES = {
    "roc_models": ("ROC curves", "ROC curves of all models over each other; their areas stand in the table."),
    "p_values": ("p-values of all pairs", "Matrix of the p-values of all pairs, plain and times the number of pairs."),
}


def write_compare_page(document: Mapping[str, Any], folder: str | Path) -> Path:
    """Write ``compare.html`` into the folder of a comparison and return its path.

    Parameters
    ----------
    document : mapping
        What ``compare_tables`` returned.
    folder : str or path
        Where ``write_comparison`` wrote ``figures/``; pictures that are not there are left out.
    """
    sections = [_areas(document), _pairs(document), _curves(Path(folder) / "figures"), _beware(document)]
    shown = [section for section in sections if section.blocks]
    text = page("compare.html.j2", document=document, sections=shown, version=__version__)
    return write_text(Path(folder) / NAME, text)


def _areas(document: Mapping[str, Any]) -> Section:
    bars, rows = [], []
    for model in document["models"]:
        metric = model["by_patient"]
        interval = tuple(metric["ci95"]) if metric["ci95"] else None
        bars.append(Bar(model["name"], model["auroc"], interval, area_text(metric), tone="first"))
        rows.append((model["name"], area_text(metric), area_text(model["by_film"])))
    caption = f"AUC of {document['positive']} against the rest"
    head = ("model", "AUC, interval over patients (Obuchowski)", "interval over films (DeLong)")
    blocks: list[Block] = [Bars(caption, bars, legend="0.5, the thin line: chance."), Table("Areas", head, rows)]
    return Section("areas", "Areas", blocks)


def _pairs(document: Mapping[str, Any]) -> Section:
    rows = []
    for pair in document["pairs"]:
        tests = [p_text(pair["by_patient"][name]) for name in ("p", "holm", "bonferroni")]
        names = f"{pair['first']} - {pair['second']}"
        rows.append((names, f"{pair['difference']:+.3f}", *tests, p_text(pair["by_film"]["p"])))
    head = ("pair", "difference", "p", "Holm", "Bonferroni", "p over films (DeLong)")
    note = f"p, Holm and Bonferroni: over patients, {document['comparisons']} comparisons."
    return Section("pairs", "Pairs", [Table("Differences of areas", head, rows, (1, 2, 3, 4, 5), note)])


def _curves(folder: Path) -> Section:
    found = [
        Picture((folder / f"{name}.png").read_bytes(), alt, caption)
        for name, (caption, alt) in PICTURES.items()
        if (folder / f"{name}.png").is_file()
    ]
    return Section("curves", "Curves", [Pictures(found)] if found else [])


def _beware(document: Mapping[str, Any]) -> Section:
    return Section("beware", "What to beware of", [Text(note, "item") for note in comparison_notes(document)])
