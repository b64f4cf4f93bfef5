"""`--retrain`: a network trained anew on films without lungs finds a planted marker, and nothing on clean films."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.audit.limits import load_limits
from covidcxr_tf.catalog import resolve
from covidcxr_tf.config import dump_toml, load_config
from covidcxr_tf.errors import SplitError, UsageError
from covidcxr_tf.recipes import retraining
from covidcxr_tf.recipes.retraining import CHANGES, retrain

LIMITS = load_limits()
SETTINGS = (
    "image.size=64", "image.tiles=4", "train.batch_size=8", "train.learning_rate=5e-4", "train.epochs=90",
    "augment.zoom=[1.0, 1.0]", "augment.rotation_degrees=0", "augment.brightness=[1.0, 1.0]", "augment.noise=0.01",
    "train.reduce_lr_patience=0", "augment.horizontal_flip=false",
)  # fmt: skip
EPOCHS = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a config alone: that of the base model, small."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.toml").write_text(dump_toml(load_config("base", SETTINGS)))
    return folder


@pytest.fixture(scope="module")
def split(gather: Callable[[bool, bool], Evidence]) -> Callable[[bool], Evidence]:
    """Return a function: films leak -> evidence whose manifest holds half of the patients to train on."""

    def get(leaking: bool) -> Evidence:
        whole = gather(leaking, leaking)
        table = whole.manifest.copy()
        table["split"] = np.where(table["patient_id"] < "p40", "train", "test")
        table.attrs = whole.manifest.attrs
        films = table[table["split"] == "test"].reset_index(drop=True)
        films.attrs = table.attrs
        return Evidence(whole.loaded, films, table, whole.finder, resamples=100)

    return get


@pytest.mark.parametrize(("leaking", "verdict"), [(True, "fail"), (False, "pass")])
def test_a_marker_is_learned_without_lungs_and_clean_films_teach_nothing(
    split: Callable[[bool], Evidence], run: Path, leaking: bool, verdict: str
) -> None:
    evidence = split(leaking)
    evidence.retrained = retrain(evidence, run, CHANGES, EPOCHS)
    assert set(evidence.retrained) == {"border_trained", "hidden_trained"}
    for name, anew in evidence.retrained.items():
        found = resolve("audits", name)(evidence, LIMITS[name])
        assert found.value == pytest.approx(roc_auc_score(evidence.is_positive, anew.scores))
        assert found.verdict == verdict, found
        assert found.details["films_trained_on"] == 64  # of 80: a fifth of the patients chooses the epoch
        assert f"{EPOCHS} epochs" in found.sentence
        assert found.details["whole_films"]["value"] > 0.9
    simple = resolve("audits", "border_trained")(replace(evidence, retrained={}), LIMITS["border_trained"])
    told = resolve("audits", "border_trained")(evidence, LIMITS["border_trained"])
    assert told.details["simple_model"]["value"] == simple.value


def test_what_is_trained_on_has_lost_its_lungs_and_holds_no_judged_patient(
    split: Callable[[bool], Evidence], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = split(True)
    seen = {}

    def stop(config: object, films: object, out: Path) -> None:
        from covidcxr_tf.imaging.reading import read_image

        middles = [read_image(path)[7:-7, 7:-7].max() for path in sorted(out.parent.glob("*.png"))]
        seen.update(films=films, config=config, middles=middles, folder=out.parent)
        raise KeyboardInterrupt

    monkeypatch.setattr(retraining, "prepare_films", stop)
    with pytest.raises(KeyboardInterrupt):
        retrain(evidence, run, ["border_trained"], EPOCHS, most=40)
    films, config = seen["films"], seen["config"]
    judged = films["split"] == "test"
    assert not set(films.loc[judged, "patient_id"]) & set(films.loc[~judged, "patient_id"])
    assert list(films.loc[judged, "label"]) == list(evidence.films["label"])
    assert 36 <= (~judged).sum() <= 44
    assert max(seen["middles"]) == 0
    assert (config.image.lungs, config.train.epochs, config.train.learning_rate) == ("none", EPOCHS, 5e-4)
    assert not seen["folder"].exists(), "films go again, whatever happens"


def test_only_what_is_asked_for_is_trained(split: Callable[[bool], Evidence], tmp_path: Path) -> None:
    assert retrain(split(False), tmp_path, ["label_source", "calibration"]) == {}


def test_a_model_without_a_config_and_films_without_others_are_refused(
    split: Callable[[bool], Evidence], run: Path, tmp_path: Path
) -> None:
    evidence = split(False)
    with pytest.raises(UsageError, match=r"config\.toml.*expected a run folder"):
        retrain(evidence, tmp_path, CHANGES)
    everything = replace(evidence, films=evidence.manifest)
    table = evidence.manifest.assign(split=np.where(evidence.manifest["patient_id"] < "p04", "validation", "train"))
    table.to_csv(tmp_path / "manifest.csv", index=False)
    places = [f"data.manifest={tmp_path / 'manifest.csv'}", f"data.root={evidence.manifest.attrs['root']}"]
    config = load_config("base", places)
    (tmp_path / "config.toml").write_text(dump_toml(config))
    with pytest.raises(SplitError, match="left to train on"):
        retrain(everything, tmp_path, CHANGES)


def test_without_it_the_check_of_hidden_lungs_does_not_apply(split: Callable[[bool], Evidence]) -> None:
    found = resolve("audits", "hidden_trained")(split(False), LIMITS["hidden_trained"])
    assert (found.verdict, found.value) == ("not applicable", None)
    assert "--retrain" in found.sentence
