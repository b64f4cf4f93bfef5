"""README says of the shipped models what their own records say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "saved_models"
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: What README's audit table calls a check, by the start of its row.
AUDITED = {
    "within_source": "AUC within a source",
    "label_source": "Cramér's V of label and source",
    "metadata_only": "AUC of age, sex, view",
    "border_only": "AUC of the model from the outer tenth",
    "lungs_hidden": "AUC of the model with the lungs blacked out",
    "stability": "films called otherwise when shifted",
    "border_trained": "AUC that logistic regression learns",
    "source_in_features": "source told from the network's features",
    "heat_in_lungs": "share of Grad-CAM heat in the lungs",
    "corner_text": "films called otherwise when the corners",
    "calibration": "gap between stated and true probability",
}


def record(model: str, name: str) -> Any:
    return json.loads((SHIPPED / model / "1" / name).read_text(encoding="utf-8"))


def shown(metric: dict[str, Any], digits: int) -> str:
    low, high = metric["ci95"]
    return f"{metric['value']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


@pytest.mark.parametrize("check", AUDITED)
def test_the_audit_table_is_the_audit_s(check: str) -> None:
    finding = next(one for one in record("covid_classifier", "audit/audit.json")["findings"] if one["name"] == check)
    row = next(line for line in README.splitlines() if line.startswith(f"| {AUDITED[check]}"))
    _, verdict, value = (cell.strip() for cell in row.strip("|").rsplit("|", 2))
    assert (verdict, value) == (finding["verdict"], shown(finding, 2))


@pytest.mark.parametrize("model", ["lung_unet", "covid_classifier"])
def test_the_worked_example_names_the_models_that_are_there(model: str) -> None:
    digest = record(model, "card.json")["model"]["sha256"]
    named = re.search(rf"{model}(?:, version 1)?, sha256 ([0-9a-f]{{12}})", README)
    assert named is not None
    assert named[1] == digest[:12]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_lung_table_is_the_lung_network_s(split: str) -> None:
    found = record("lung_unet", "metrics.json")[split]
    dice, jaccard = found["dice"], found["jaccard"]
    films = f"{found['n']} ({found['patients']})"
    cells = [split, films, shown(dice, 3), f"{dice['median']:.3f}", f"{dice['p05']:.3f}", shown(jaccard, 3)]
    assert f"| {' | '.join(cells)} |" in README


def test_the_pooled_figures_are_those_of_the_metrics() -> None:
    three, two = record("covid_classifier", "metrics.json"), record("covid_cxnet", "metrics.json")
    assert f"{shown(three['accuracy'], 3)}, {shown(three['ece'], 3)}" in README
    assert shown(three["per_class"]["covid19"]["auroc"], 3) in README
    for name in ("auroc", "accuracy"):
        assert shown(two[name], 3) in README
    assert f"{two['ece']['value']:.3f}, {two['brier']['value']:.3f}" in README
    assert f"cut-off {two['threshold']:.2f} chosen on validation films" in README
