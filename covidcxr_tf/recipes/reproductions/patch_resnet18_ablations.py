"""The patch paper's ablations: masks alone, no masks, other patch sizes, fewer films; and its heat maps."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.explain.files import write_explanation
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.files import write_bytes
from covidcxr_tf.imaging.reading import read_image, read_mask
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.predict import LoadedModel
from covidcxr_tf.progress import track
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric
from covidcxr_tf.recipes.reproductions.patch_resnet18_classification import (
    judged_films,
    of_class,
    scores,
    train_patches,
    train_whole,
)
from covidcxr_tf.recipes.reproductions.patch_resnet18_films import (
    LEAST_PATCH,
    NO_PATCHES,
    PATCHES,
    four_classes,
    patch_config,
)
from covidcxr_tf.recipes.reproductions.reading_metrics import within_sources

MASKS = "resnet18-masks"
#: Shares of the training films (the paper's Figure 12; its shares are not in our copy of the text).
SHARES = (0.5, 0.25)
#: Factors of the patch's side: 112 and 448 px beside 224 (section V-G.1).
SIZES = (0.5, 2.0)
KINDS = {"patches": train_patches, "whole films": train_whole}
#: Test films of each class that get a heat map.
MAPS = 3


def mask_only(bench: Bench) -> dict[str, Measured]:
    """Tell normal from abnormal films by their lung masks alone (section V-F.3)."""
    films, folder, finder = _mask_pictures(bench)
    lost = len(four_classes(bench)) - len(films)
    masks = replace(bench, root=folder)
    outcome = masks.train(MASKS, "mask_only", films=masks.films(films, "mask_only"), fixed=[NO_PATCHES])
    note = f"masks found by {finder}; the paper's network had seen normal lungs and nodules only"
    note += f"; {lost} films without lungs in their mask left out" if lost else ""
    found = {"section5f3.mask_only_sensitivity": of_class(outcome, "abnormal", "sensitivity", note)}
    found["also masks only: specificity"] = of_class(outcome, "abnormal", "specificity", unit="%")
    found["also masks only: AUC"] = from_metric(outcome.metrics["auroc"], n=outcome.metrics["n"])
    return found | within_sources(outcome.metrics, "masks only")


def without_mask(bench: Bench) -> dict[str, Measured]:
    """Train patches of films that are not masked to the lungs (section V-F.3, Table XVI)."""
    outcome = train_patches(bench, "patches_without_mask", fixed=["image.lungs=none"])
    return scores(outcome, "patches without mask") | within_sources(outcome.metrics, "patches without mask")


def patch_sizes(bench: Bench) -> dict[str, Measured]:
    """Train patches of half and of twice the side (section V-G.1, Table XVII)."""
    config = patch_config(bench)
    found = {}
    for factor in SIZES:
        size = round(config.patches.size * factor)
        name = f"patches of {size} px"
        if not LEAST_PATCH <= size <= config.image.size:
            why = f"not run: does not go with films of {config.image.size} px; set {PATCHES}:image.size higher"
            found[f"also {name}: accuracy"] = Measured(None, why=why, unit="%")
            continue
        outcome = train_patches(bench, f"patches_{size}_px", fixed=[f"patches.size={size}"])
        found |= scores(outcome, f"{name} ({config.patches.size} px elsewhere)")
    return found


def train_sizes(bench: Bench) -> dict[str, Measured]:
    """Train patches and whole films on fewer films (section V-G.2, Figure 12)."""
    found = {}
    for share in SHARES[:1] if bench.smoke else SHARES:
        percent = f"{100 * share:.0f}"
        for name, train in list(KINDS.items())[: 1 if bench.smoke else None]:
            full = train(bench)
            outcome = train(bench, f"{name.replace(' ', '_')}_{percent}_percent", share=share)
            lost = outcome.metrics["accuracy"]["value"] - full.metrics["accuracy"]["value"]
            found[f"also {name}, {percent} % of the training patients: accuracy"] = from_metric(
                outcome.metrics["accuracy"],
                percent=True,
                n=outcome.metrics["n"],
                note=f"{100 * lost:+.1f} points to all of them",
                unit="%",
            )
    return found


def heat_maps(bench: Bench) -> dict[str, Measured]:
    """Draw the heat of COVID-19 and viral pneumonia on a few test films of each class (section IV-E, Figures 7, 8).

    Pictures go to ``heat_maps/``: probabilistic Grad-CAM of the patches, and Grad-CAM of the whole films. Figure 8's
    claim, heat in COVID-19 films only, is measured as the largest heat before a map is scaled.
    """
    patches, whole = (LoadedModel.load(train(bench).run.folder) for train in (train_patches, train_whole))
    films = judged_films(bench, train_patches(bench))
    folder = bench.out / "heat_maps"
    found = {}
    for name in patches.classes:
        largest = []
        for number, row in enumerate(films.index[films["label"].eq(name)][: 1 if bench.smoke else MAPS], start=1):
            film, stem = read_image(film_path(films, row)), f"{name}_{number}"
            map_of_patches = explain_film(patches, film, "patch-gradcam", patches.positive)
            write_explanation(map_of_patches, film, stem, folder, stem)
            write_explanation(explain_film(whole, film, "gradcam", whole.positive), film, stem, folder, stem)
            assert map_of_patches.patches is not None
            largest.append(map_of_patches.patches.largest)
        key = f"also largest heat of {patches.positive} on {name} films, mean"
        found[key] = (
            Measured(float(np.mean(largest)), n=len(largest), note="1: patches sure of the class")
            if largest
            else Measured(None, why=f"no test film is {name}")
        )
    return found


def _mask_pictures(bench: Bench) -> tuple[pd.DataFrame, Path, str]:
    """Return the four classes' films with the pictures of their lung masks as films, the pictures' folder, the network.

    Pictures that are there are not drawn again. A mask that is empty, or all lung, is no picture and left out.
    """
    films = four_classes(bench)
    finder = LungFinder.load(patch_config(bench).image.lung_model)
    folder = bench.out / "lung_masks" / finder.sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.png" for path in films["path"]]
    drawn = []
    for row, name in track(list(zip(films.index, names, strict=True)), len(films), "lung masks"):
        if (folder / name).is_file():
            mask = read_mask(folder / name)
        else:
            mask = finder.segment(read_image(film_path(films, row))).mask
            write_bytes(folder / name, cv2.imencode(".png", mask * np.uint8(255))[1].tobytes())
        drawn.append(mask.min() < mask.max())
    columns = [name for name in ("label", "patient_id", "source", "split") if name in films]
    return films[columns].assign(path=names)[drawn], folder, finder.name
