"""A comparison of models as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]


def summarise_comparison(document: Document) -> str:
    """Return what ``compare`` prints: areas with both intervals, pairs with their p-values, and what to beware of."""
    names = [model["name"] for model in document["models"]]
    width = max(len(name) for name in (*names, "model"))
    lines = [
        f"{document['positive']}: {document['positives']} films against {document['negatives']}, "
        f"{document['patients']} patients",
        f"{'model':<{width}}  {'AUC (95 % over patients)':<28}  over films (DeLong)",
    ]
    lines += [
        f"{model['name']:<{width}}  {area_text(model['by_patient']):<28}  {area_text(model['by_film'])}"
        for model in document["models"]
    ]
    lines += ["", f"pairs, over patients; {document['comparisons']} comparisons"]
    pair_names = [f"{pair['first']} - {pair['second']}" for pair in document["pairs"]]
    width = max(len(text) for text in pair_names)
    lines.append(f"{'':<{width}}  {'difference':>10}  {'p':>8}  {'Holm':>8}  {'Bonferroni':>10}  {'p over films':>12}")
    for text, pair in zip(pair_names, document["pairs"], strict=True):
        tests = pair["by_patient"]
        p, holm, bonferroni = (p_text(tests[column]) for column in ("p", "holm", "bonferroni"))
        of_films = p_text(pair["by_film"]["p"])
        lines.append(
            f"{text:<{width}}  {pair['difference']:>+10.3f}  {p:>8}  {holm:>8}  {bonferroni:>10}  {of_films:>12}"
        )
    return "\n".join([*lines, "", *(f"note: {note}" for note in comparison_notes(document))])


def comparison_notes(document: Document) -> list[str]:
    """Return what the numbers themselves say against taking them at face value."""
    notes = []
    if document["patients"] < document["n"]:
        notes.append(document["assumption"])
    else:
        notes.append("every patient has one film here: both intervals are DeLong's, which takes films for independent")
    for model in document["models"]:
        metric = model["by_patient"]
        if metric["ci95"] is None:
            bounds = f"; {metric['exact_by']}: {_bounds(metric['exact'])}" if "exact" in metric else ""
            notes.append(f"{model['name']} has no interval: {metric['why']}{bounds}")
    notes += [
        f"{pair['first']} - {pair['second']} has no p-value: {pair['by_patient']['why']}"
        for pair in document["pairs"]
        if pair["by_patient"]["p"] is None
    ]
    left_out = {name: count for name, count in document["left_out"].items() if count}
    if left_out:
        notes.append("left out, as not in all tables: " + ", ".join(f"{n} of {name}" for name, n in left_out.items()))
    return notes


def p_text(value: float | None) -> str:
    """Return three decimals, one digit and a power below .001, or a dash where it is undefined."""
    if value is None:
        return "-"
    if value >= 0.001:
        return f"{value:.3f}"
    return f"{value:.0e}".replace("e-0", "e-") if value >= 1e-99 else "<1e-99"


def area_text(metric: Mapping[str, Any]) -> str:
    """Return an area with its interval, in one short line."""
    if metric["ci95"] is None:
        return f"{metric['value']:.3f} (no interval)"
    return f"{metric['value']:.3f} {_bounds(metric['ci95'])}"


def _bounds(bounds: Sequence[float]) -> str:
    return f"({bounds[0]:.3f} to {bounds[1]:.3f})"
