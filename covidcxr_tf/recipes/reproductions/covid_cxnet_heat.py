"""Grad-CAM of CheXNet's pneumonia output beside that of COVID-CXNet, film by film (Haghanifar 2020, Figure 16)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import FINDINGS, film_path, load_manifest
from covidcxr_tf.errors import ImageError
from covidcxr_tf.explain.film import explain_film, heat_on_film
from covidcxr_tf.explain.gradcam import gradcam
from covidcxr_tf.explain.heat_share import heat_share
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.models.chexnet import Probe, build_probe
from covidcxr_tf.predict import LoadedModel
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Measured
from covidcxr_tf.recipes.reproductions.film_figure import Shown, draw_films

#: Films shown; enough to see a habit, few enough for one picture.
FILMS = 6
PROBE_SIZE = 224
WHOLE = (0.0, 0.0, 1.0, 1.0)


def chexnet_file(bench: Bench) -> str:
    """Return the CheXNet file that the settings start from, or nothing."""
    init = bench.config("chexnet").model.init
    return init.removeprefix("chexnet:") if init.startswith("chexnet:") else ""


def missing_chexnet(bench: Bench) -> str:
    """Return why CheXNet's heat maps cannot be drawn, or nothing."""
    if not chexnet_file(bench):
        return "not run: needs a CheXNet weight file; name it with --set model.init=chexnet:FILE"
    if "covid19" not in set(bench.manifest["label"]):
        return "not run: no film is covid19"
    return ""


def compare_heat(bench: Bench, outcome: Outcome) -> dict[str, Measured]:
    """Write ``figures/chexnet_beside_covid_cxnet.png`` and return the mean share of heat in the lungs of each."""
    loaded, probe = LoadedModel.load(outcome.run.folder), build_probe(chexnet_file(bench), (PROBE_SIZE, PROBE_SIZE))
    shares: dict[str, list[float]] = {"CheXNet": [], "COVID-CXNet": []}
    shown = []
    for film in _films(outcome.run.folder, bench):
        ours = explain_film(loaded, film, "gradcam", "covid19")
        theirs = heat_on_film(_probe_heat(probe, film), WHOLE, film.shape)
        # In the lungs that COVID-CXNet's lung network found.
        lungs = ours.lung_region if ours.lungs_found else None
        output = 100 * ours.probabilities["covid19"]
        shown.append(Shown(f"COVID-CXNet: {output:.0f} %", film, (theirs, ours.heatmap), lungs))
        for name, heat in zip(shares, shown[-1].heats, strict=True):
            share = None if lungs is None else heat_share(heat, lungs)
            if share is not None:
                shares[name].append(share)
    if not shown:
        return {"also Grad-CAM: heat in the lungs": Measured(None, why="not run: no covid19 film in the test split")}
    headline = "Grad-CAM of covid19 test films (lungs in white)"
    rows = ("CheXNet, pneumonia", "COVID-CXNet, covid19")
    draw_films(shown, rows, headline, bench.out / "figures" / "chexnet_beside_covid_cxnet.png")
    return {f"also {name}: mean share of Grad-CAM's heat in the lungs": _mean(found) for name, found in shares.items()}


def _films(run: Path, bench: Bench) -> list[np.ndarray]:
    table = pd.read_csv(run / "predictions_test.csv", dtype=str)
    rows = table[table["label"].eq("covid19")].head(FILMS)
    films = load_manifest(bench.manifest_path, root=str(bench.root))
    films = films[films["path"].isin(rows["path"])].reset_index(drop=True)
    films.attrs = bench.manifest.attrs
    found = []
    for row in range(len(films)):
        try:
            found.append(read_image(film_path(films, row)))
        except ImageError:
            continue  # a damaged film was set aside in training too
    return found


def _probe_heat(probe: Probe, film: np.ndarray) -> np.ndarray:
    small = resize(film, (PROBE_SIZE, PROBE_SIZE))[..., np.newaxis]
    image = np.repeat(small, probe.model.input_shape[-1], axis=-1)
    place = probe.labels.index("Pneumonia") if "Pneumonia" in probe.labels else FINDINGS.index("Pneumonia")
    return gradcam(probe.model, image, place, "relu", independent=True)


def _mean(shares: list[float]) -> Measured:
    if not shares:
        return Measured(None, why="not measured: no lungs were found, or there was no heat")
    return Measured(float(np.mean(shares)), n=len(shares), note="covid19 test films, no interval: a look, not a test")
