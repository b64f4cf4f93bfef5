"""The model card: what a model is, what it was made from, how it did, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from covidcxr_tf import __version__
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.report.summary import caveats, summary_rows

SCHEMA_VERSION = 1
NOT_FOR = "For research and teaching. Not for diagnosis, triage or any decision about a patient."
SYNTHETIC = "Trained and judged on synthetic films: the figures show that the tool works, and nothing about patients."
REAL = (
    "Films of public collections come from few hospitals, with labels that were partly mined from text or taken from "
    "file names; a model can learn the hospital instead of the disease."
)
LIMITS = (
    "Intervals tell how much the figures would vary with other patients of the same sources; films of another "
    "hospital, device or age group may give quite different ones.",
    "Probabilities hold for the share of each class among the films judged, not for a clinic's.",
)
TASKS = {
    "classification": "classifier of frontal chest films",
    "hierarchical": "two-level classifier of frontal chest films",
    "multilabel": "multi-label classifier of frontal chest films",
    "segmentation": "segmentation of frontal chest films",
}
KNOWN = ("schema_version", "name", "arch", "task", "classes", "positive", "compat", "sha256", "threshold", "history")


def write_card(
    folder: str | Path,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    limits: Iterable[str] = (),
) -> Path:
    """Write ``card.json`` and ``card.md`` into a folder, each in one step, and return the path of ``card.json``.

    Parameters
    ----------
    folder : str or path
        Run folder or version folder of a shipped model.
    facts : mapping
        The facts stored with the model (``models.files``).
    metrics : mapping, optional
        ``metrics.json``; of masks it may hold one document a split.
    data : mapping, optional
        What is to be said about the films (manifest, sources, licences, counts).
    limits : iterable of str
        Further limits, before the general ones.
    """
    card = build_card(facts, metrics, data=data, limits=limits)
    write_text(Path(folder) / "card.md", card_markdown(card))
    return write_json(Path(folder) / "card.json", card)


def build_card(
    facts: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    limits: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the card as a dictionary fit for JSON; see `write_card`."""
    task = str(facts.get("task", "classification"))
    judged = metrics or {}
    own = [line for part in (judged, *_parts(judged)) for line in caveats(part)]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": facts.get("name"),
            "what": f"{facts.get('arch', 'unknown architecture')}: {TASKS.get(task, task)}",
            **{key: facts.get(key) for key in ("arch", "task", "compat", "sha256")},
            "made_with": f"covidcxr_tf {__version__}",
        },
        "use": NOT_FOR,
        "classes": list(facts.get("classes", ())),
        "positive": facts.get("positive"),
        "threshold": judged.get("threshold", facts.get("threshold")),
        "threshold_from": judged.get("threshold_from"),
        "image": facts.get("image"),
        "data": dict(data or {}),
        "split_digest": facts.get("split_digest"),
        "config_digest": facts.get("config_digest"),
        "facts": {
            key: value
            for key, value in facts.items()
            if key not in (*KNOWN, "image", "split_digest", "config_digest", "gate")
        },
        "gate": _gate(facts.get("gate")),
        "metrics": judged or None,
        "limits": [*limits, *dict.fromkeys(own), *([SYNTHETIC] if facts.get("synthetic") else [REAL]), *LIMITS],
    }


def card_markdown(card: Mapping[str, Any]) -> str:
    """Return the card as a short Markdown page."""
    model = card["model"]
    lines = [f"# {model['name'] or 'Unnamed model'}", "", f"**{card['use']}**", "", f"{model['what']}.", ""]
    rows = [
        ("Classes", ", ".join(card["classes"]) + (f" (positive: {card['positive']})" if card["positive"] else "")),
        ("Model file", f"sha256 `{model['sha256']}`" if model["sha256"] else ""),
        ("Config", f"digest `{card['config_digest']}`" if card["config_digest"] else ""),
        ("Split", f"digest `{card['split_digest']}`" if card["split_digest"] else ""),
        ("Input", _settings(card["image"])),
        ("Temperature", _temperature(card["facts"])),
        ("Gate", _settings(card["gate"])),
        ("Made with", model["made_with"]),
    ]
    lines += _table(("", ""), [row for row in rows if row[1]])
    if card["data"]:
        lines += ["", "## Data", "", *_table(("", ""), [(key, _cell(value)) for key, value in card["data"].items()])]
    lines += ["", "## Figures", ""]
    if card["metrics"]:
        lines += ["Value (95 % interval, bootstrap over patients).", ""]
        lines += _table(("figure", "value"), summary_rows(card["metrics"]))
    else:
        lines += ["Not judged yet."]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in card["limits"]), ""]
    return "\n".join(lines)


def _parts(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the documents of single splits inside one that has no figures itself."""
    return [] if "n" in metrics else [part for part in metrics.values() if isinstance(part, Mapping)]


def _gate(gate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a reader wants of the gate: its arrays stay with the model."""
    wanted = ("kind", "layer", "films", "percentile", "limit")
    return None if gate is None else {name: gate[name] for name in wanted if name in gate}


def _temperature(facts: Mapping[str, Any]) -> str:
    value = facts.get("temperature")
    return "" if value is None else f"{value:.3f} ({facts.get('temperature_from', 'origin unknown')})"


def _settings(image: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{key} {_cell(value)}" for key, value in (image or {}).items() if value not in ("", None))


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    return " + ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {_safe(a)} | {_safe(b)} |" for a, b in rows)]


def _safe(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
