"""Grad-CAM of the best path on validation films (Fricks 2021, sections 2.4 and 3.4, Figures 4 to 7)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.explain.film import explain_film
from covidcxr_tf.explain.heat_share import heat_share
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.predict import LoadedModel
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.densenet121_phased_areas import best_path, title
from covidcxr_tf.recipes.reproductions.densenet121_phased_paths import POSITIVE, all_paths
from covidcxr_tf.recipes.reproductions.experiment import Measured
from covidcxr_tf.recipes.reproductions.film_figure import Shown, draw_films, nearest_median, read_film

#: Films of each kind that lie next to the median output; of the most mistaken ones, one a kind is shown.
TYPICAL = 2
FIGURE = "gradcam_validation.png"
LUNG_NETWORK = "lung_unet"


def heat_maps(bench: Bench) -> dict[str, Measured]:
    """Draw Grad-CAM in the run folder of the best path, and return what it says of all validation films.

    The path is the best on validation films. Which films are shown is a rule, not a choice: those next to the median
    output of each kind, and the most mistaken of each kind.
    """
    trained = all_paths(bench)
    best = best_path(trained)
    if not best:
        why = next(iter(trained.whys.values()), "not run: no path has an area on the validation films")
        return {"also Grad-CAM of the best path": Measured(None, why=why)}
    outcome = trained.outcomes[best]
    table = read_predictions(outcome.run.folder / "predictions_validation.csv")
    shown = _explained(bench, outcome, chosen_films(table))
    headline = f"{title(best)}, Grad-CAM for {POSITIVE}, validation films"
    draw_films(shown, ("Grad-CAM",), headline, outcome.run.figures / FIGURE)
    return _outputs(table, best) | _shares(shown, best)


def chosen_films(table: pd.DataFrame) -> list[tuple[int, str]]:
    """Return (row of the predictions table, why it is shown): typical ones of each kind, then the most mistaken."""
    output = table[f"prob_{POSITIVE}"]
    chosen: list[tuple[int, str]] = []
    mistaken: list[tuple[int, str]] = []
    for is_positive in (True, False):
        rows = output[table["label"].eq(POSITIVE) == is_positive].sort_values(kind="stable")
        kind = POSITIVE if is_positive else "negative"
        typical = nearest_median(rows, TYPICAL)
        chosen += [(row, f"{kind}, median output") for row in typical]
        worst = rows.index[0 if is_positive else -1] if len(rows) else None
        if worst is not None and worst not in typical:
            extreme = "lowest" if is_positive else "highest"
            mistaken.append((int(worst), f"{kind}, {extreme} output"))
    return chosen + mistaken


def _explained(bench: Bench, outcome: Outcome, chosen: list[tuple[int, str]]) -> list[Shown]:
    table = read_predictions(outcome.run.folder / "predictions_validation.csv")
    loaded = LoadedModel.load(outcome.run.folder)
    shown = []
    for row, reason in chosen:
        film = read_film(bench, str(table["path"].iloc[row]))
        explanation = explain_film(loaded, film, "gradcam", POSITIVE)
        caption = f"{reason}\noutput {100 * explanation.probabilities[POSITIVE]:.1f} %"
        shown.append(Shown(caption, film, (explanation.heatmap,)))
    return shown


def _outputs(table: pd.DataFrame, best: str) -> dict[str, Measured]:
    """Return the median output on films of each kind, in per cent, as section 3.4 gives that of two patients."""
    found = {}
    for kind, rows in (("covid19", table["label"].eq(POSITIVE)), ("negative", table["label"].ne(POSITIVE))):
        output = 100 * table.loc[rows, f"prob_{POSITIVE}"]
        name = f"also {title(best)}: median network output, {kind} validation films"
        if output.empty:
            found[name] = Measured(None, why=f"no validation film is {kind}", unit="%")
            continue
        quartiles = "quartiles {:.1f} and {:.1f} %".format(*output.quantile([0.25, 0.75]))
        note = f"{quartiles}; section 3.4 prints 95.4 % of one positive and 5.5 % of one negative patient"
        found[name] = Measured(float(output.median()), n=len(output), note=note, unit="%")
    return found


def _shares(shown: list[Shown], best: str) -> dict[str, Measured]:
    """Return the mean share of heat in the lungs, beside the share that evenly spread heat would have."""
    name = f"also Grad-CAM of {title(best)}: share of the heat in the lungs"
    try:
        finder = LungFinder.load(LUNG_NETWORK)
    except WeightsError:
        return {name: Measured(None, why=f"not measured: no {LUNG_NETWORK} is here", unit="%")}
    inside, even = [], []
    for one in shown:
        lungs = finder.segment(one.film).mask
        share = heat_share(one.heats[0], lungs)
        if share is not None:
            inside.append(100 * share)
            even.append(100 * float(lungs.mean()))
    if not inside:
        return {name: Measured(None, why="not measured: no lungs were found, or there was no heat", unit="%")}
    note = f"the films of the figure, a look and no test; evenly spread heat would have {np.mean(even):.1f} %"
    if len(inside) < len(shown):
        note += f"; {len(shown) - len(inside)} of {len(shown)} films are left out: no heat, or no lungs found"
    return {name: Measured(float(np.mean(inside)), n=len(inside), note=note, unit="%")}
