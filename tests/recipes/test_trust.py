"""A trained classifier carries its temperature and its gate, and everything after it uses both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.config import load_config
from covidcxr_tf.data.manifest import film_path, load_manifest
from covidcxr_tf.data.synthetic import write_demo
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.recipes.trust import temperature_facts

LABELS = ("normal", "covid19")


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return manifest and run folder of the base model on 50 patients: enough validation films for a gate."""
    from covidcxr_tf.recipes.execute import execute

    folder = tmp_path_factory.mktemp("gated")
    films = write_demo(folder / "films", 50, 5, 64, LABELS)
    changes = [f"data.manifest={films}", "data.ratios=[0.4,0.4,0.2]", "image.size=64", "image.tiles=4"]
    execute(load_config("base", [*changes, "train.epochs=1", "train.batch_size=8"]), folder / "run")
    return films, folder / "run"


def test_the_gate_is_stored_and_scores_every_film(gated: tuple[Path, Path], covidcxr: Callable, tmp_path: Path) -> None:
    films, run = gated
    loaded = LoadedModel.load(run)
    assert loaded.gate is not None
    done = covidcxr("predict", films, "--model", run, "--out", tmp_path / "p.csv")
    assert done.code == 0, done.err
    scores = pd.read_csv(tmp_path / "p.csv").set_index("path")["ood_score"]
    split = pd.read_csv(run / "split.csv").set_index("path")["split"]
    validation = scores[split.index[split == "validation"]]
    assert len(validation) >= 20
    assert (validation <= 1).mean() >= 0.95, "the limit is the 99th percentile of these very films"
    assert (scores > 0).all()


def test_one_film_has_the_same_score_alone_and_in_a_batch(gated: tuple[Path, Path]) -> None:
    films, run = gated
    loaded, manifest = LoadedModel.load(run), load_manifest(films)
    some = [read_image(film_path(manifest, row)) for row in range(3)]
    together = loaded.predict_with_columns(some)[1]["ood_score"]
    alone = [loaded.predict_with_columns([film])[1]["ood_score"][0] for film in some]
    assert together == pytest.approx(alone, rel=1e-4)


def test_noise_lies_further_out_than_films(gated: tuple[Path, Path]) -> None:
    films, run = gated
    loaded, manifest = LoadedModel.load(run), load_manifest(films)
    noise = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    film = read_image(film_path(manifest, 0))
    far, near = (loaded.predict_with_columns([one])[1]["ood_score"][0] for one in (noise, film))
    assert far > 1 > near


def test_probabilities_are_logits_over_the_temperature(gated: tuple[Path, Path]) -> None:
    loaded = LoadedModel.load(gated[1])
    batch = np.random.default_rng(1).random((2, 64, 64, len(loaded.image.channels))).astype(np.float32)
    logits = np.asarray(loaded.model(batch, training=False), np.float64)
    expected = softmax(logits / loaded.temperature, axis=1)
    assert loaded.probabilities(batch) == pytest.approx(expected, abs=1e-6)


def test_the_temperature_lies_in_the_models_facts_with_its_origin(gated: tuple[Path, Path]) -> None:
    facts = LoadedModel.load(gated[1]).facts
    assert facts["temperature"] > 0
    assert facts["temperature_from"].startswith(("validation", "none"))
    card = json.loads((gated[1] / "card.json").read_text())
    assert card["facts"]["temperature"] == facts["temperature"]
    assert card["gate"]["films"] == facts["gate"]["films"]
    assert "mean" not in card["gate"], "arrays stay with the model"


def table(sureness: float) -> pd.DataFrame:
    """Return 400 validation films whose stated probability is the true one, made surer by a factor on the logit."""
    random = np.random.default_rng(2)
    logit = random.normal(0, 1.5, 400)
    truth = random.random(400) < 1 / (1 + np.exp(-logit))
    stated = 1 / (1 + np.exp(-sureness * logit))
    labels = np.where(truth, "covid19", "normal")
    return pd.DataFrame(
        {
            "path": [f"{n}.png" for n in range(400)], "patient_id": [f"p{n}" for n in range(400)], "label": labels,
            "predicted": "normal", "split": "validation", "source": "one", "prob_normal": 1 - stated,
            "prob_covid19": stated,
        }
    )  # fmt: skip


def test_a_model_three_times_too_sure_gets_a_temperature_of_three() -> None:
    facts = temperature_facts(table(3.0), load_config("chexnet"))
    assert facts["temperature"] == pytest.approx(3.0, rel=0.25)
    assert "400 films of 400 patients" in facts["temperature_from"]


def test_a_perfect_model_has_no_temperature_and_says_why() -> None:
    films = table(1.0)
    films["prob_covid19"] = np.where(films["label"] == "covid19", 0.9, 0.1)
    films["prob_normal"] = 1 - films["prob_covid19"]
    facts = temperature_facts(films, load_config("chexnet"))
    assert facts["temperature"] == 1.0
    assert facts["temperature_from"].startswith("none: ")


def test_redrawn_validation_and_findings_have_none() -> None:
    redrawn = load_config("resnet101", ["data.redraw_validation=true"])
    assert temperature_facts(table(3.0), redrawn)["temperature"] == 1.0
    findings = load_config("chexnet").model_copy(update={"task": "multilabel"})
    assert temperature_facts(table(3.0), findings) == {}
