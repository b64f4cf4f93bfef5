"""The films of the five-fold portable CXR study, and the trainings on them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.samples import draw_patients, of_sources

#: Films of each class in the study (abstract). Of more films so many are drawn, whole patients at a time.
FILMS = {"normal": 532, "bacterial": 492, "viral": 552, "covid19": 455}
CLASSES = tuple(FILMS)
PAPER = ("compat=paper",)


def study_films(bench: Bench) -> pd.DataFrame:
    """Return the films of the four classes, as many as the study has where there are more."""
    films = of_sources(bench.manifest, bench.config("vgg16").data.sources)
    kept = pd.Series(False, index=films.index)
    for number, (name, count) in enumerate(FILMS.items()):
        own = films[films["label"].eq(name)]
        kept |= films["label"].eq(name) & films["patient_id"].isin(draw_patients(own, count, bench.seed, number))
    chosen = films[kept].reset_index(drop=True)
    chosen.attrs = bench.manifest.attrs
    return chosen


def missing(bench: Bench) -> str:
    """Return why the four classes cannot be told apart, or nothing."""
    present = set(bench.manifest["label"])
    absent = [name for name in CLASSES if name not in present]
    if absent:
        return (
            f"not run: no film is {' or '.join(absent)}; supply a manifest with that label (Kermany's set has normal, "
            "bacterial and viral, Cohen's collection covid19)"
        )
    if not bench.config("vgg16").data.folds:
        return "not run: data.folds is 0; the figures are those of folds, set it to 3 or more"
    return ""


def whole(bench: Bench) -> Outcome:
    """Train on whole films, one network a fold."""
    return bench.train("vgg16", "whole", PAPER, films=bench.films(study_films(bench), "folds"))


def segmented(bench: Bench) -> Outcome:
    """Train on segmented lungs, in the same folds."""
    return bench.train("vgg16_segmented", "segmented", PAPER, films=bench.films(study_films(bench), "folds"))


def activation_networks(bench: Bench) -> tuple[Outcome, Outcome]:
    """Train the network with global average pooling on whole films and on segmented lungs, on one split by patient.

    One split is enough: the maps are looked at, and no figure of the paper is about these networks.
    """
    chosen = study_films(bench)
    films = bench.films(replace(bench, manifest=chosen).split_films(), "one_split")
    lungs = tuple(f"image.{name}={value}" for name, value in _lung_image(bench).items())
    return (
        bench.train("vgg16_cam", "cam_whole", PAPER, films=films, fixed=("data.folds=0",)),
        bench.train("vgg16_cam", "cam_segmented", (*PAPER, *lungs), films=films, fixed=("data.folds=0",)),
    )


def _lung_image(bench: Bench) -> dict[str, object]:
    image = bench.config("vgg16_segmented").image
    return {"lungs": image.lungs, "lung_margin": image.lung_margin, "lung_model": image.lung_model}
