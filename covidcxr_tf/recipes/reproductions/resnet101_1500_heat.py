"""Kusakunniran's heat maps, confidences of shown films, and the lungs' share of a film (sections 2.2 and 3.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.roc import ratio
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.predict import LoadedModel
from covidcxr_tf.progress import track
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric
from covidcxr_tf.recipes.reproductions.film_figure import Shown, draw_films, nearest_median, read_film
from covidcxr_tf.recipes.reproductions.resnet101_1500_films import CONFIG, POSITIVE, train_scenario
from covidcxr_tf.recipes.reproductions.resnet101_1500_reading import NAMES, RESAMPLES, Judged
from covidcxr_tf.train.run_dir import RunDir

#: Films of each kind in the paper's figure 5, and false alarms in its figure 6.
SHOWN, FALSE_ALARMS = 4, 3
FIGURE = "activation_test.png"
#: Films whose lungs are measured at most, drawn by the seed.
LUNG_FILMS = 200


@dataclass(frozen=True)
class Chosen:
    """A shown test film: its row in the predictions table, and why it is shown."""

    row: int
    reason: str


def heat_maps(bench: Bench) -> dict[str, Measured]:
    """Draw activation maps of test films in the run of scenario 1, and return the shown films' confidences.

    Which films are shown is a rule: the paper shows four of each kind and does not say how they were chosen; here they
    are those next to the median confidence of D1 and of D2, and the non-COVID-19 films of the highest confidence.
    """
    outcome = train_scenario(bench, 1)
    tested = Judged.read(bench, outcome)
    confidence = 100 * pd.Series(tested.confidence)
    kinds = {name: nearest_median(confidence[tested.of(name)], SHOWN) for name in ("d1", "d2")}
    chosen = [Chosen(row, f"{NAMES[name]}, typical") for name, rows in kinds.items() for row in rows]
    highest = confidence[tested.of("d2", "other")].sort_values(kind="stable").index[::-1][:FALSE_ALARMS]
    chosen += [Chosen(int(row), f"{NAMES[tested.dataset[row]]}, most like COVID-19") for row in highest]
    shares = _draw(bench, outcome.run, tested, chosen)
    found = _confidences(tested, kinds)
    others = confidence[tested.of("other")]
    if len(others):
        name = "also scenario 1: median confidence for COVID-19 of D3 and D4"
        found[name] = Measured(float(others.median()), n=len(others), note=_quartiles(others), unit="%")
    return found | shares


def _confidences(tested: Judged, kinds: dict[str, list[int]]) -> dict[str, Measured]:
    confidence = 100 * pd.Series(tested.confidence)
    rule = "scenario 1's network (the text does not say which); test films next to the median"
    found = {}
    positive, negative = confidence[kinds["d1"]], confidence[kinds["d2"]]
    for name, shown, least, every in (
        ("covid19_confidence", positive, True, confidence[tested.of("d1")]),
        ("non_covid19_confidence", negative, False, confidence[tested.of("d2")]),
        ("non_covid19_certainty", 100 - negative, True, 100 - confidence[tested.of("d2")]),
    ):
        if shown.empty:
            found[f"section3_6.{name}"] = Measured(None, why="no test film of this kind")
            continue
        note = f"{'lowest' if least else 'highest'} of {len(shown)} shown; {rule}; all {len(every)}: median "
        note += f"{every.median():.1f} %, {_quartiles(every)}; {tested.note}"
        value = float(shown.min() if least else shown.max())
        found[f"section3_6.{name}"] = Measured(value, n=len(shown), note=note)
    return found


def _draw(bench: Bench, run: RunDir, tested: Judged, chosen: list[Chosen]) -> dict[str, Measured]:
    """Write the picture into the run's own folder and return the share of activation in the lungs, before masking."""
    loaded = LoadedModel.load(run.folder)
    columns, inside, even = [], [], []
    for one in chosen:
        film = read_film(bench, str(tested.table["path"].iloc[one.row]))
        explanation = explain_film(loaded, film, "activation", POSITIVE)
        title = f"{one.reason}\nconfidence {100 * tested.confidence[one.row]:.0f} %"
        columns.append(Shown(title, film, (explanation.heatmap,), explanation.lung_region))
        if explanation.heat_in_lungs is not None and explanation.lung_region is not None:
            inside.append(100 * explanation.heat_in_lungs)
            even.append(100 * float(explanation.lung_region.mean()))
    name = "also activation maps: share of the heat in the lungs before the rest is cut off"
    if columns:
        headline = "Scenario 1, test films: confidence for COVID-19"
        draw_films(columns, ("mean activation, in the lungs",), headline, run.figures / FIGURE)
    if not inside:
        return {name: Measured(None, why="not measured: no lungs were found, or there was no heat", unit="%")}
    note = f"the films of the figure, a look and no test; evenly spread heat would have {np.mean(even):.1f} %"
    return {name: Measured(float(np.mean(inside)), n=len(inside), note=note, unit="%")}


def lung_share(bench: Bench) -> dict[str, Measured]:
    """Return the mean share of the film inside the lungs that the lung network finds (section 2.2)."""
    finder = LungFinder.load(bench.config(CONFIG).image.lung_model)
    films = bench.manifest
    drawn = np.sort(np.random.default_rng([bench.seed, 7]).permutation(len(films))[:LUNG_FILMS])
    shares, patients = [], []
    for row in track([int(row) for row in drawn], len(drawn), "lungs"):
        share = float(finder.segment(read_image(film_path(films, row))).mask.mean())
        if share:
            shares.append(100 * share)
            patients.append(films["patient_id"].iloc[row])
    if not shares:
        why = f"{finder.name} found no lungs on {len(drawn)} films"
        return {"section2_2.lung_share": Measured(None, why=why)}
    values = np.array(shares)

    def statistics(weights: Floats) -> dict[str, Floats]:
        return {"mean": ratio(values @ weights, weights.sum(axis=0))}

    number = patient_numbers(patients)[1]
    samples = bootstrap(statistics, patients, RESAMPLES if number > 1 else 0, bench.seed)["mean"]
    note = f"{finder.name}, of other films than the paper's; {len(drawn) - len(shares)} of {len(drawn)} films without "
    note += f"lungs left out; {_quartiles(pd.Series(values))}"
    metric = describe(float(values.mean()), samples, number)
    return {"section2_2.lung_share": from_metric(metric, n=len(shares), note=note)}


def _quartiles(values: pd.Series) -> str:
    return "quartiles {:.1f} and {:.1f} %".format(*values.quantile([0.25, 0.75]))
