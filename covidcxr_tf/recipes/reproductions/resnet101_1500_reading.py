"""From a scenario's test films to Kusakunniran's numbers: shares of each dataset in per cent, at a cut-off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.evaluate.bootstrap import Floats, bootstrap, describe, patient_numbers
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.roc import ratio
from covidcxr_tf.evaluate.table import read_predictions
from covidcxr_tf.models.files import read_facts
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.conditions import conditions
from covidcxr_tf.recipes.reproductions.experiment import Measured, from_metric
from covidcxr_tf.recipes.reproductions.resnet101_1500_films import POSITIVE, dataset_of, second_source, study_films

Bools = npt.NDArray[np.bool_]
RESAMPLES = 2000
NAMES = {"d1": "D1", "d2": "D2", "other": "D3 + D4", "d5": "D5"}


@dataclass(frozen=True)
class Judged:
    """The test films of a scenario.

    Attributes
    ----------
    table : DataFrame
        Predictions table.
    dataset : ndarray of str
        ``d1``, ``d2``, ``other`` or ``d5`` of each film.
    second : str
        The source that D5 is.
    seed : int
        Of the bootstrap.
    note : str
        How it was trained, for the note beside each number.
    """

    table: pd.DataFrame
    dataset: npt.NDArray[np.str_]
    second: str
    seed: int
    note: str

    @classmethod
    def read(cls, bench: Bench, outcome: Outcome) -> Judged:
        """Return the test films of a run with the bench's films."""
        table = read_predictions(outcome.run.folder / "predictions_test.csv")
        second = second_source(study_films(bench))
        dataset = dataset_of(table["original_label"], table["source"], second)
        return cls(table, dataset.to_numpy(str), second, bench.seed, conditions(bench, outcome))

    @property
    def confidence(self) -> Floats:
        """Probability of COVID-19 of each film, [0, 1]."""
        return self.table[f"prob_{POSITIVE}"].to_numpy(np.float64)

    def of(self, *names: str) -> Bools:
        """Return which films are of some datasets."""
        return np.isin(self.dataset, names)

    def share(self, films: Bools, hit: Bools, note: str = "") -> Measured:
        """Return the share of some films that `hit` holds for, in per cent, with an interval over patients."""
        n, hits = int(films.sum()), int((films & hit).sum())
        if not n:
            return Measured(None, why="no test film of this dataset", unit="%")
        patient_ids = self.table.loc[films, "patient_id"].to_numpy(object)
        inside = hit[films].astype(np.float64)

        def statistics(weights: Floats) -> dict[str, Floats]:
            return {"share": ratio(inside @ weights, weights.sum(axis=0))}

        patients = patient_numbers(patient_ids)[1]
        samples = bootstrap(statistics, patient_ids, RESAMPLES if patients > 1 else 0, self.seed)["share"]
        metric = describe(hits / n, samples, patients)
        width = "the interval has no width: all alike" if metric.get("note") else ""
        counted = f"{hits} of {n} films, {patients} patient{'' if patients == 1 else 's'}"
        parts = (counted, width, note, self.note)
        return from_metric(metric, percent=True, n=n, note="; ".join(part for part in parts if part), unit="%")

    def positive(self, dataset: str, cut: float = 0.5, note: str = "") -> Measured:
        """Return the share of a dataset called COVID-19: confidence above the cut-off (section 3)."""
        return self.share(self.of(dataset), self.confidence > cut, note)

    def negative(self, *datasets: str, cut: float = 0.5, note: str = "") -> Measured:
        """Return the share of some datasets that is not called COVID-19."""
        return self.share(self.of(*datasets), self.confidence <= cut, note)

    def accuracy(self, *datasets: str, cut: float = 0.5, note: str = "") -> Measured:
        """Return the share of some datasets that is called rightly."""
        right = (self.confidence > cut) == self.table["label"].eq(POSITIVE).to_numpy(bool)
        return self.share(self.of(*datasets), right, note)

    def area(self, *datasets: str) -> Measured:
        """Return the area of COVID-19 against the rest, over some datasets."""
        films = self.table[self.of(*datasets)].reset_index(drop=True)
        positive = films["label"].eq(POSITIVE)
        if not positive.any() or positive.all():
            return Measured(None, why=f"not both kinds of test films in {', '.join(NAMES[name] for name in datasets)}")
        metric = evaluate_table(films, POSITIVE, seed=self.seed)["per_class"][POSITIVE]["auroc"]
        return from_metric(metric, n=len(films), note=f"{positive.sum()} COVID-19 films; {self.note}")


def films_used(bench: Bench, outcome: Outcome, title: str) -> dict[str, Measured]:
    """Return how many films a scenario was trained and validated on, as Table 4 has it, with the datasets' shares."""
    split = pd.read_csv(outcome.run.folder / "split.csv", dtype=str, keep_default_na=False)
    dataset = dataset_of(split["original_label"], split["source"], second_source(study_films(bench)))
    pool = split["split"].ne("test")

    def counted(films: pd.Series) -> str:
        numbers = dataset[films].value_counts()
        return ", ".join(f"{numbers[name]} {NAMES[name]}" for name in NAMES if name in numbers)

    patients = split.loc[pool, "patient_id"].nunique()
    note = f"{counted(pool)}, of {patients} patients; test: {counted(~pool)}"
    return {f"also {title}: films to train and validate": Measured(int(pool.sum()), note=note, unit="films")}


def trained_size(outcome: Outcome) -> int:
    """Return rows and columns of what a run's network sees."""
    return int(read_facts(outcome.run.model)["image"]["size"])


def training_minutes(outcome: Outcome) -> tuple[float, int]:
    """Return minutes of training and validation, and epochs."""
    history = pd.read_csv(outcome.run.history)
    return float(history["seconds"].sum()) / 60, len(history)
