from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.report.card import build_card, card_markdown, write_card

FACTS = {
    "schema_version": 1,
    "name": "covid_cxnet",
    "arch": "chexnet",
    "task": "classification",
    "classes": ["normal", "covid19"],
    "positive": "covid19",
    "compat": "ours",
    "image": {"size": 320, "channels": ["beasf", "clahe", "raw"], "histogram_reference": ""},
    "config_digest": "c" * 64,
    "split_digest": "d" * 64,
    "lung_model": {"name": "lung_unet", "sha256": "e" * 64},
    "sha256": "f" * 64,
    "epoch": 7,
}


def metrics() -> dict:
    count = 40
    films = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "label": ["normal", "covid19"] * 20,
            "source": ["nih14", "armiro"] * 20,
            "prob_normal": np.linspace(0.1, 0.9, count),
        }
    )
    films["prob_covid19"] = 1 - films["prob_normal"]
    return evaluate_table(films, threshold=0.4, threshold_from="validation, Youden index", resamples=30)


def test_card_holds_what_a_reader_must_know(tmp_path: Path) -> None:
    judged = metrics()
    data = {"sources": ["nih14", "armiro"], "licence": "see | README"}
    path = write_card(tmp_path, FACTS, judged, data=data, limits=["Trained for an hour."])
    card = json.loads(path.read_text())
    assert path == tmp_path / "card.json"
    assert card["schema_version"] == 1
    assert card["model"]["name"] == "covid_cxnet"
    assert card["model"]["what"] == "chexnet: classifier of frontal chest films"
    assert card["classes"] == ["normal", "covid19"]
    assert (card["split_digest"], card["config_digest"]) == ("d" * 64, "c" * 64)
    assert (card["threshold"], card["threshold_from"]) == (0.4, "validation, Youden index")
    assert card["metrics"] == judged
    assert card["data"] == data
    assert card["facts"] == {"lung_model": FACTS["lung_model"], "epoch": 7}
    assert "Not for diagnosis" in card["use"]
    assert card["limits"][0] == "Trained for an hour."
    # every source holds one class only: the card says so without being told
    assert any("2 of 2 sources do not hold both" in limit for limit in card["limits"])


def test_page_reads_well(tmp_path: Path) -> None:
    write_card(tmp_path, FACTS, metrics(), data={"licence": "see | README"})
    page = (tmp_path / "card.md").read_text()
    assert page.startswith("# covid_cxnet\n\n**For research and teaching. Not for diagnosis")
    assert "| licence | see \\| README |" in page
    assert "| Classes | normal, covid19 (positive: covid19) |" in page
    assert "size 320, channels beasf + clahe + raw" in page
    assert f"digest `{'d' * 64}`" in page
    assert "| sensitivity for covid19 | " in page
    assert "{" not in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in tables)


def test_masks_and_splits() -> None:
    scores = pd.DataFrame({"patient_id": list("abc"), "dice": [0.9, 0.92, 0.97], "jaccard": [0.8, 0.85, 0.9]})
    judged = {split: evaluate_masks(scores, resamples=20) for split in ("validation", "test")}
    facts: dict[str, Any] = {"name": "lung_unet", "arch": "unet", "task": "segmentation", "classes": [], "image": None}
    page = card_markdown(build_card(facts, judged))
    assert "unet: segmentation of frontal chest films." in page
    assert "| test: Dice | 0.930 (" in page
    assert "None" not in page


def test_a_model_without_facts_or_metrics_still_has_a_card() -> None:
    card = build_card({})
    assert card["metrics"] is None
    page = card_markdown(card)
    assert "Not judged yet." in page
    assert page.startswith("# Unnamed model")
