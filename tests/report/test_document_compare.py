from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr_tf.evaluate.comparison import compare_tables
from covidcxr_tf.report.comparison_summary import area_text, p_text
from covidcxr_tf.report.document_compare import write_compare_page


def table(seed: int) -> pd.DataFrame:
    truth = np.arange(40) % 2 == 0
    score = 1 / (1 + np.exp(-(truth + np.random.default_rng(seed).normal(size=40))))
    names = {"path": [f"{k}.png" for k in range(40)], "patient_id": [f"p{k // 2}" for k in range(40)]}
    label = np.where(truth, "covid19", "normal")
    return pd.DataFrame({**names, "label": label, "prob_normal": 1 - score, "prob_covid19": score})


def test_areas_and_tests_of_all_pairs_stand_in_one_escaped_page(tmp_path: Path) -> None:
    document = compare_tables({"ours": table(1), "<b>theirs": table(2), "third": table(3)})
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "roc_models.png").write_bytes(b"picture")
    text = write_compare_page(document, tmp_path).read_text()
    for model in document["models"]:
        assert area_text(model["by_patient"]) in text.replace(" <small>", " ").replace("</small>", "")
    for pair in document["pairs"]:
        assert f">{pair['difference']:+.3f}<" in text
        assert f">{p_text(pair['by_patient']['p'])}<" in text
    assert "<b>theirs" not in text and "&lt;b&gt;theirs" in text
    assert text.count('src="data:image/png;base64,') == 1 and "p_values" not in text
    assert "films of one patient are not" in text
