"""What the five-fold portable CXR study says of lungs: the lung network's overlap, and heat inside and outside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.splits import patient_digest, split_digest
from covidcxr_tf.errors import SplitError
from covidcxr_tf.evaluate.segmentation import evaluate_masks
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.explain.explanation import Film
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.explain.heat_share import heat_share
from covidcxr_tf.judging import overlap_table
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.models.files import read_facts
from covidcxr_tf.predict import LoadedModel
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric
from covidcxr_tf.recipes.reproductions.film_figure import Shown, draw_films, nearest_median, read_film
from covidcxr_tf.recipes.reproductions.vgg16_pcxr_films import CLASSES, activation_networks

POSITIVE = "covid19"
#: COVID-19 test films whose heat is measured at most, and those of the picture; one of each other class stands beside.
HEAT_FILMS, SHOWN = 40, 3
FIGURE = "cam_test.png"


def missing_lungs(bench: Bench) -> str:
    """Return why the lung network cannot be judged, or nothing."""
    if bench.drawn() is None:
        return (
            "not run: no film has a drawn lung mask; name films with mask_path by --masks (`covidcxr data import "
            "montgomery` writes a manifest of the paper's), or run `covidcxr evaluate --model lung_unet` on them"
        )
    return ""


def lung_overlap(bench: Bench) -> dict[str, Measured]:
    """Return mean IoU and Dice of the lung network behind `segmented_lungs` on films that it was not trained on.

    Raises
    ------
    SplitError
        If it cannot be told that it was not.
    """
    finder = LungFinder.load(bench.config("vgg16_segmented").image.lung_model)
    drawn = bench.drawn()
    assert drawn is not None
    films, which = unseen_films(finder, drawn)
    metrics = evaluate_masks(overlap_table(finder, films), seed=bench.seed)
    source = ", ".join(sorted(set(films["source"]))) if "source" in films else "not named"
    kind = "phantoms" if bench.synthetic else f"sources {source}"
    note = f"{finder.name}, {which}; {kind}; the paper's network is trained and judged on Montgomery's films"
    return {
        f"methods.unet_{name}": from_metric(metrics[overlap], n=metrics["n"], note=note)
        for name, overlap in (("iou", "jaccard"), ("dice", "dice"))
    }


def unseen_films(finder: LungFinder, drawn: Bench) -> tuple[pd.DataFrame, str]:
    """Return the films with drawn masks that a lung network was not trained on, and which these are, in words.

    It is told by the patients that the network's file names, else by the split that it names, else by the sources.

    Raises
    ------
    SplitError
        If none of them tells, or no film is left.
    """
    facts = read_facts(finder.path)
    films = drawn.manifest
    history = facts.get("history", [])
    every = load_manifest(drawn.manifest_path, root=str(drawn.root))
    if history:
        seen = {patient for record in history for patient in record["patients"]}
        chosen, which = films[~films["patient_id"].map(patient_digest).isin(seen)], "patients it was not trained on"
    elif "split" in every and every["split"].ne("").all() and split_digest(every) == facts.get("split_digest"):
        chosen, which = films[films["split"].eq("test")], "test films of its own split"
    elif "source" in films and facts.get("source"):
        own = films["source"].map(lambda name: str(name).split("-")[0] in str(facts["source"]))
        chosen, which = films[~own], "films of sources it was not trained on"
    else:
        raise SplitError(f"the file of {finder.name} does not say which films it was trained on", where=drawn.root.name)
    if chosen.empty:
        raise SplitError(
            f"every film with a mask may have trained {finder.name}",
            where=drawn.manifest_path.name,
            expected="films of other patients",
            remedy="name others by --masks, such as Montgomery's, or a manifest with the network's own split",
        )
    chosen = chosen.reset_index(drop=True)
    chosen.attrs = films.attrs
    return chosen, which


@dataclass(frozen=True)
class Maps:
    """A film with the activation maps of both networks, and the share of their heat in the lungs."""

    shown: Shown
    shares: tuple[float | None, float | None]
    even: float


def heat_maps(bench: Bench) -> dict[str, Measured]:
    """Write class activation maps of test films into the run of whole films; return the share of heat in the lungs."""
    outcomes = activation_networks(bench)
    networks = [LoadedModel.load(outcome.run.folder) for outcome in outcomes]
    table = read_predictions(outcomes[0].run.folder / "predictions_test.csv")
    finder = LungFinder.load(bench.config("vgg16_segmented").image.lung_model)
    positives = [int(row) for row in table.index[table["label"].eq(POSITIVE)][:HEAT_FILMS]]
    maps = {row: _maps(bench, networks, finder, table.iloc[row], POSITIVE) for row in positives}
    columns = []
    for row, target in shown_films(table):
        known = row in maps and target == POSITIVE
        columns.append((maps[row] if known else _maps(bench, networks, finder, table.iloc[row], target)).shown)
    rows = ("CAM, whole film", "CAM, segmented lungs")
    headline = "Class activation maps of the true class, test films next to the median output (lungs in white)"
    if columns:
        draw_films(columns, rows, headline, outcomes[0].run.figures / FIGURE)
    found: dict[str, Measured] = {}
    for place, name in enumerate(("whole films", "segmented lungs")):
        found |= _share(f"also CAM on {name}: share of the heat in the lungs", list(maps.values()), place)
        auc = outcomes[place].metrics["auroc"]
        note = "one split by patient, mean over four classes, each against the rest"
        found[f"also network with global average pooling, {name}: AUC"] = from_metric(
            auc, n=outcomes[place].metrics["n"], note=note
        )
    return found


def shown_films(table: pd.DataFrame) -> list[tuple[int, str]]:
    """Return (row, class whose map is shown) of the films next to their class's median output, COVID-19 first."""
    chosen = []
    for name in (POSITIVE, *(name for name in CLASSES if name != POSITIVE)):
        own = table.loc[table["label"].eq(name), f"prob_{name}"]
        chosen += [(row, name) for row in nearest_median(own, SHOWN if name == POSITIVE else 1)]
    return chosen


def _maps(bench: Bench, networks: list[LoadedModel], finder: LungFinder, row: pd.Series, target: str) -> Maps:
    film = read_film(bench, str(row["path"]))
    lungs = finder.segment(film).mask
    heats: list[Film] = [explain_film(network, film, "cam", target).heatmap for network in networks]
    title = f"{target}\noutput {100 * float(row[f'prob_{target}']):.0f} %"
    shares = heat_share(heats[0], lungs), heat_share(heats[1], lungs)
    return Maps(Shown(title, film, tuple(heats), lungs), shares, float(lungs.mean()))


def _share(name: str, maps: list[Maps], place: int) -> dict[str, Measured]:
    there = [one for one in maps if one.shares[place] is not None]
    if not there:
        return {name: Measured(None, why="not measured: no lungs were found, or there was no heat", unit="%")}
    values = [100 * float(one.shares[place] or 0.0) for one in there]
    even = 100 * float(np.mean([one.even for one in there]))
    note = f"COVID-19 test films, no interval: a look, no test; evenly spread heat would have {even:.1f} %"
    return {name: Measured(float(np.mean(values)), n=len(values), note=note, unit="%")}
