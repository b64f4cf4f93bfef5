"""Kusakunniran 2021: ResNet-101 on large films, four scenarios, three sizes, confidences and heat maps.

The headline (97, 98 and 98 %) leaves the other films, D3 and D4, out; here it stands beside the same with them.
"""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.experiment import Experiment, Measured
from covidcxr_tf.recipes.reproductions.reading_metrics import within_sources
from covidcxr_tf.recipes.reproductions.resnet101_1500_films import (
    CONFIG,
    POSITIVE,
    missing,
    missing_second_source,
    study_sizes,
    train_scenario,
)
from covidcxr_tf.recipes.reproductions.resnet101_1500_heat import heat_maps, lung_share
from covidcxr_tf.recipes.reproductions.resnet101_1500_reading import Judged, films_used, training_minutes

SMOKE_LABELS = ("normal", "covid19", "pneumonia")
CAVEATS = (
    "The headline of the paper, 97, 98 and 98 %, counts COVID-19 (D1) and normal films (D2) only; the same model calls "
    "85 % of the other films (D3 and D4) COVID-19. The rows 'with D3 and D4' print both together.",
    "The paper's D1 to D4 are of one hospital. Here COVID-19 films are of other sources than nearly all others: any "
    "figure over several sources may tell sources apart, not disease. The rows 'AUC within' a source are the ones to "
    "read; D5's films are tested on in every scenario, so that its source can be read too.",
    "D3 and D4 stand for the labels other, pneumonia, bacterial, viral and tuberculosis together; no label tells which "
    "of them would be 'normal with remarks' (D3). D5 is the source with the fewest COVID-19 films; nothing is trained "
    "on it.",
    "As the paper says, train and validation films are drawn anew in each epoch, by film: the epoch that is kept is "
    "the best on films that other epochs trained on. The rows 'one split by patient' do not do so. Test films are of "
    "other patients in either case.",
    "Trained from scratch on some 200 films, as in the paper. Epochs, optimiser and rate are not printed there and are "
    "ours; few epochs give a network that has hardly learned.",
    "Sizes keep the proportions 3 : 2 : 1 of 1500, 1000 and 500 px; `--set image.size=` is the largest. Training times "
    "are of this machine and hang on what else it does.",
)
CUT = 0.9
#: Beside the datasets' names in Tables 5 and 6.
ROWS = {"d1": POSITIVE, "d2": "normal", "other": "other"}
TWO_CELLS = (POSITIVE, "non_covid19")
HEADLINES = ("abstract", "table10.proposed", "section5")


def scenario_1(bench: Bench) -> dict[str, Measured]:
    """Train on D1 and D2, test on D1 to D4: Tables 5 and 6 and the headline, with and without D3 and D4."""
    outcome = train_scenario(bench, 1)
    tested = Judged.read(bench, outcome)
    found = _table(tested, "table5") | _table(tested, "table6", CUT)
    headline = "D1 and D2 only, as printed"
    sensitivity = tested.positive("d1", note=headline)
    specificity = tested.negative("d2", note=headline)
    accuracy = tested.accuracy("d1", "d2", note=headline)
    for place in HEADLINES:
        found[f"{place}.sensitivity"], found[f"{place}.specificity"] = sensitivity, specificity
        found[f"{place}.accuracy"] = accuracy
    found["section3_1.sensitivity"], found["section3_1.specificity"] = sensitivity, specificity
    found["section3_5.average"] = _mean((sensitivity, specificity, accuracy), headline)
    found |= (
        _with_others(tested) | within_sources(outcome.metrics, "scenario 1") | films_used(bench, outcome, "scenario 1")
    )
    return found | _one_split(bench)


def _with_others(tested: Judged) -> dict[str, Measured]:
    found = {
        "also scenario 1 with D3 and D4: specificity": tested.negative("d2", "other"),
        "also scenario 1 with D3 and D4: accuracy": tested.accuracy("d1", "d2", "other"),
        "also scenario 1 with D3 and D4, cut-off 90 %: specificity": tested.negative("d2", "other", cut=CUT),
        "also scenario 1: AUC, D1 against D2": tested.area("d1", "d2"),
        "also scenario 1: AUC, D1 against D3 and D4": tested.area("d1", "other"),
    }
    known = [tested.positive("d1"), tested.negative("d2", "other"), tested.accuracy("d1", "d2", "other")]
    return found | {"also scenario 1 with D3 and D4: mean of the three": _mean(known, "D1 to D4")}


def _one_split(bench: Bench) -> dict[str, Measured]:
    """Return scenario 1 once more with one split by patient, which the paper does not have."""
    outcome = train_scenario(bench, 1, redraw=False)
    tested = Judged.read(bench, outcome)
    title = "also scenario 1, one split by patient"
    return {
        f"{title}: sensitivity (D1)": tested.positive("d1"),
        f"{title}: specificity (D2)": tested.negative("d2"),
        f"{title}: specificity (D3 and D4)": tested.negative("other"),
    }


def scenario_2(bench: Bench) -> dict[str, Measured]:
    """Train with D3 and D4 among the negatives (Table 7)."""
    outcome = train_scenario(bench, 2)
    tested = Judged.read(bench, outcome)
    found = _table(tested, "table7", rows={"d1": POSITIVE, "other": "other"})
    found["also scenario 2: normal films (D2) called non-COVID-19"] = tested.negative("d2")
    found["also scenario 2: AUC, D1 against D3 and D4"] = tested.area("d1", "other")
    return found | within_sources(outcome.metrics, "scenario 2") | films_used(bench, outcome, "scenario 2")


def sizes(bench: Bench) -> dict[str, Measured]:
    """Train scenario 2 at three sizes (section 3.2)."""
    found = {}
    for printed, size in study_sizes(bench).items():
        outcome = train_scenario(bench, 2, size)
        tested = Judged.read(bench, outcome)
        prefix = f"section3_2.px{printed}"
        here = f"{size} px for {printed}"
        found[f"{prefix}.{POSITIVE}"] = tested.positive("d1", note=here)
        found[f"{prefix}.non_covid19"] = tested.negative("other", note=f"{here}; D3 and D4, as in Table 7")
        found[f"{prefix}.training_time"] = _minutes(bench, tested, training_minutes(outcome), here)
        found[f"also scenario 2 at {here}: AUC, D1 against D3 and D4"] = tested.area("d1", "other")
    return found


def _minutes(bench: Bench, tested: Judged, spent: tuple[float, int], here: str) -> Measured:
    minutes, epochs = spent
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    again = ", activations computed twice" if bench.config(CONFIG).train.recompute else ""
    note = f"this machine's {kind}, the paper's is a V100; {minutes / epochs:.2f} min an epoch{again}; {here}"
    return Measured(minutes, note=f"{note}; {tested.note}")


def scenario_3(bench: Bench) -> dict[str, Measured]:
    """Test scenario 1's network on COVID-19 films of a source that it was not trained on (Table 8)."""
    tested = Judged.read(bench, train_scenario(bench, 1))
    found = {}
    for name, cut in (("cutoff50", 0.5), ("cutoff90", CUT)):
        note = f"D5 is the source {tested.second}"
        found[f"table8.{name}.{POSITIVE}"] = tested.positive("d5", cut, note)
        found[f"table8.{name}.non_covid19"] = tested.negative("d5", cut=cut, note=note)
    found["section3_3.sensitivity"] = found[f"table8.cutoff50.{POSITIVE}"]
    found["also scenario 3: AUC, D5 against D2"] = tested.area("d5", "d2")
    found["also scenario 3: AUC, D5 against D3 and D4"] = tested.area("d5", "other")
    return found


def scenario_4(bench: Bench) -> dict[str, Measured]:
    """Train three classes (Table 9)."""
    outcome = train_scenario(bench, 4)
    tested = Judged.read(bench, outcome)
    called = tested.table["predicted"].to_numpy(str)
    found = {
        f"table9.{row}.{name}": tested.share(tested.of(dataset), called == name)
        for dataset, row in ROWS.items()
        for name in ROWS.values()
    }
    found["also scenario 4: AUC of COVID-19, D1 against D3 and D4"] = tested.area("d1", "other")
    return found | within_sources(outcome.metrics, "scenario 4") | films_used(bench, outcome, "scenario 4")


def _table(tested: Judged, prefix: str, cut: float = 0.5, rows: dict[str, str] | None = None) -> dict[str, Measured]:
    """Return both cells of each row of a table of two classes."""
    found = {}
    for dataset, row in (rows or ROWS).items():
        found[f"{prefix}.{row}.{POSITIVE}"] = tested.positive(dataset, cut)
        found[f"{prefix}.{row}.non_covid19"] = tested.negative(dataset, cut=cut)
    return found


def _mean(parts: tuple[Measured, ...] | list[Measured], over: str) -> Measured:
    values = [one.value for one in parts if one.value is not None]
    if len(values) < len(parts):
        return Measured(None, why=next(one.why for one in parts if one.value is None), unit="%")
    note = f"mean of sensitivity, specificity and accuracy, {over}; no interval"
    return Measured(sum(values) / len(values), n=parts[-1].n, note=note, unit="%")


def _cells(prefix: str, rows: tuple[str, ...], columns: tuple[str, ...] = TWO_CELLS) -> tuple[str, ...]:
    return tuple(f"{prefix}.{row}.{column}" for row in rows for column in columns)


_ALL = ("d1", "d2", "other")
_CLASSES = tuple(ROWS.values())
EXPERIMENTS = (
    Experiment(
        "scenario_1",
        "COVID-19 against normal (section 3.1, Tables 5, 6 and 10, abstract)",
        (
            *(f"{place}.{name}" for place in HEADLINES for name in ("sensitivity", "specificity", "accuracy")),
            "section3_1.sensitivity",
            "section3_1.specificity",
            "section3_5.average",
            *_cells("table5", _CLASSES),
            *_cells("table6", _CLASSES),
        ),
        scenario_1,
        missing,
    ),
    Experiment(
        "scenario_2",
        "COVID-19 against normal and other films (section 3.2, Table 7)",
        _cells("table7", (POSITIVE, "other")),
        scenario_2,
        partial(missing, datasets=_ALL),
    ),
    Experiment(
        "sizes",
        "scenario 2 at three sizes (section 3.2)",
        tuple(f"section3_2.px{size}.{name}" for size in (1500, 1000, 500) for name in (*TWO_CELLS, "training_time")),
        sizes,
        partial(missing, datasets=_ALL),
    ),
    Experiment(
        "scenario_3",
        "COVID-19 films of another source (section 3.3, Table 8)",
        ("section3_3.sensitivity", *_cells("table8", ("cutoff50", "cutoff90"))),
        scenario_3,
        missing_second_source,
    ),
    Experiment(
        "scenario_4",
        "COVID-19, normal and other films (section 3.4, Table 9)",
        _cells("table9", _CLASSES, _CLASSES),
        scenario_4,
        partial(missing, datasets=_ALL),
    ),
    Experiment(
        "heat_maps",
        "confidences and activation maps of shown films (section 3.6, Figures 4 to 6)",
        tuple(
            f"section3_6.{name}" for name in ("covid19_confidence", "non_covid19_confidence", "non_covid19_certainty")
        ),
        heat_maps,
        missing,
    ),
    Experiment(
        "lung_share",
        "share of the film inside the lungs (section 2.2)",
        ("section2_2.lung_share",),
        lung_share,
    ),
)
