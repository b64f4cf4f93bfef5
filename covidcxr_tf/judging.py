"""A trained model against a manifest: which films may judge it, its predictions, its masks' overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf.data.manifest import film_path, load_manifest, map_classes, with_findings
from covidcxr_tf.data.splits import patient_digest
from covidcxr_tf.errors import SplitError
from covidcxr_tf.evaluate.segmentation import evaluate_masks, missed_share, score_classes, score_masks
from covidcxr_tf.evaluate.thresholds import Threshold
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.lung_finder import LungFinder, model_file
from covidcxr_tf.lungs.anatomy import CLASSES, LEFT_LUNG
from covidcxr_tf.lungs.drawn_masks import drawn_mask, has_heart_masks
from covidcxr_tf.models.files import read_facts
from covidcxr_tf.predict import (
    Classifier,
    EnsembleModel,
    HierarchicalModel,
    class_labels,
    holds_several,
    load_any,
    predict_manifest,
)
from covidcxr_tf.progress import track
from covidcxr_tf.report.run_figures import draw_overlap

#: What a network for heart and lungs is judged by, one by one.
ORGANS = {name: number for number, name in enumerate(CLASSES) if number}


def load_for_judging(model: str) -> Classifier | None:
    """Return a classifier, or None where the model is a lung network, which `judge_masks` judges."""
    if holds_several(model) or read_facts(model_file(model)).get("task") != "segmentation":
        return load_any(model)
    return None


def model_threshold(loaded: Classifier) -> Threshold | None:
    """Return the cut-off stored with a classifier of two classes, or None."""
    value = getattr(loaded, "threshold", None)
    if value is None:
        return None
    origin = getattr(loaded, "facts", {}).get("threshold_from", "stored with the model")
    return Threshold(float(value), "stored", f"the model's own: {origin}", loaded.positive)


def predict_table_for(
    loaded: Classifier, manifest: str, split: str | None = None, root: str | None = None
) -> pd.DataFrame:
    """Return the predictions table of a model on a manifest's films, or on those of one split.

    Labels are mapped to the model's classes as in its training; films of other labels are left out. For a model of
    findings, films whose findings are not known are left out, and the labels stay.

    Raises
    ------
    ManifestError, ImageError
        For a manifest or film that cannot be used.
    SplitError
        For a split that is not there, or films of patients that the model was trained on.
    """
    films = judged_films(loaded, manifest, split, root)
    return predict_manifest(loaded, films)[0]


def judged_films(loaded: Classifier, manifest: str, split: str | None, root: str | None) -> pd.DataFrame:
    """Return the films of `predict_table_for`, index 0..n-1."""
    films = load_manifest(manifest, root=root)
    if loaded.task == "multilabel":
        films = with_findings(films)
    else:
        films = map_classes(films, class_labels(loaded), complete=False)
    attributes = films.attrs
    if split is not None:
        if "split" not in films:
            raise SplitError("no column 'split'", where=manifest, remedy="make one with `covidcxr data split`")
        films = films[films["split"] == split]
        if films.empty:
            raise SplitError(f"no film in the split '{split}'", where=manifest, expected="train, validation or test")
    films = films.reset_index(drop=True)
    films.attrs = attributes
    if split != "train":
        folder = loaded.path if loaded.path.is_dir() else loaded.path.parent
        _refuse_trained_on(films, folder, _facts_of(loaded), manifest)
    return films


def _refuse_trained_on(films: pd.DataFrame, folder: Path, stored_facts: list[dict[str, Any]], manifest: str) -> None:
    """Raise where films are of patients that the run, or one its weights come from, was trained on.

    Such figures flatter the model. The model's own records also hold what ``split.csv`` does not: the patients of
    earlier phases, and validation films that were drawn anew each epoch.
    """
    split = folder / "split.csv"
    trained: set[str] = set()
    if split.is_file():
        stored = pd.read_csv(split, dtype=str, keep_default_na=False)
        trained = set(stored.loc[stored["split"] == "train", "patient_id"])
    records = [record for facts in stored_facts for record in facts.get("history", [])]
    digests = {digest for record in records for digest in record["patients"]}
    patients = films["patient_id"]
    seen = int((patients.isin(trained) | patients.map(patient_digest).isin(digests)).sum())
    if seen:
        raise SplitError(
            f"{seen} of {len(films)} films are of patients that the model was trained on",
            where=manifest,
            expected="films of other patients" + (f"; the run's own split is {split}" if split.is_file() else ""),
            remedy="judge with --split test on a manifest with that split, or with --split train to see the fit",
        )


def _facts_of(loaded: Classifier) -> list[dict[str, Any]]:
    """Return what is stored with each network that a classifier asks."""
    if isinstance(loaded, HierarchicalModel):
        return [loaded.first.facts, loaded.second.facts]
    if isinstance(loaded, EnsembleModel):
        return [member.facts for member in loaded.members]
    return [loaded.facts]


def judge_masks(
    model: str, manifest: str, split: str | None, root: str | None, out: str | Path, *, seed: int = 0
) -> dict[str, Any]:
    """Write Dice and Jaccard of a lung network on a manifest's masks: ``metrics.json``, ``overlap.csv``, a figure.

    Raises
    ------
    ManifestError, SplitError, ImageError
        For a manifest without masks, a split without films, films of patients that the network was trained on (but for
        the split ``train``), or a film that cannot be read.
    """
    films = load_manifest(manifest, root=root, require=("path", "label", "patient_id", "mask_path"))
    attributes = films.attrs
    films = (films if split is None else films[films["split"] == split]).reset_index(drop=True)
    films.attrs = attributes
    if films.empty:
        raise SplitError(f"no film in the split '{split}'", where=manifest, expected="train, validation or test")
    file = model_file(model)
    if split != "train":
        _refuse_trained_on(films, file.parent, [read_facts(file)], manifest)
    table = overlap_table(LungFinder.load(model), films)
    metrics = evaluate_masks(table, seed=seed)
    folder = Path(out)
    write_text(folder / "overlap.csv", table.to_csv(index=False))
    write_json(folder / "metrics.json", metrics)
    draw_overlap(table, metrics, folder / "figures" / "overlap.png", Path(manifest).name)
    return metrics


def overlap_table(finder: LungFinder, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return path, patient_id, source, dice, jaccard, missed and the quality verdict of each film of a manifest.

    ``dice`` and ``jaccard`` are those of both lungs together, ``missed`` the share of the drawn lungs that is left out.
    A network that finds the heart too is also judged by each class (``dice_heart``, ``dice_left_lung``...; NaN where
    the film has no drawing of the heart), and its lungs, which leave the heart out, against the drawn lungs without the
    drawn heart.
    """
    drawn = has_heart_masks(manifest) & finder.finds_heart
    found = []
    for row in track(range(len(manifest)), len(manifest), "judge masks"):
        film = read_image(film_path(manifest, row))
        segmentation = finder.segment(film)
        truth = drawn_mask(manifest, row, film.shape, finder.classes if drawn[row] else ())
        lungs = truth >= LEFT_LUNG if drawn[row] else truth
        scores = score_masks(lungs, segmentation.mask) | {"missed": missed_share(lungs, segmentation.mask)}
        if drawn[row] and segmentation.anatomy is not None:
            scores |= score_classes(truth, segmentation.anatomy, ORGANS)
        quality = segmentation.quality
        found.append(
            {
                "path": manifest.at[row, "path"],
                "patient_id": manifest.at[row, "patient_id"],
                "source": manifest.at[row, "source"] if "source" in manifest else "",
                "label": manifest.at[row, "label"],
                **scores,
                "quality": quality.score,
                "verdict": quality.verdict,
            }
        )
    return pd.DataFrame(found)
