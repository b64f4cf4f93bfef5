"""CLAIM 2024 and TRIPOD+AI: what a run can answer is answered, everything else is left to a person, and counted.

The items stand in our own words under the numbers of the two statements.

Source: Tejani 2024, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update"; Collins 2024,
"TRIPOD+AI statement".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from covidcxr_tf.evaluate.table import sources
from covidcxr_tf.report.blocks import Answered, Block, Checklist, Section, Text
from covidcxr_tf.report.checklist_items import CLAIM, TRIPOD, Item
from covidcxr_tf.report.run_folder import RunFolder
from covidcxr_tf.report.sections_results import few_films
from covidcxr_tf.report.summary import format_metric

PERSON = "To be filled by a person."
MEASURES = (
    "AUC (within sources first), average precision, accuracy, macro F1, sensitivity, specificity, calibration error, "
    "Brier score, decision curve."
)
OVERLAP_MEASURES = "Dice and Jaccard: mean, median and 5th percentile."
CLAIM_TITLE, TRIPOD_TITLE = "CLAIM 2024", "TRIPOD+AI"


class Known(NamedTuple):
    """An answer of the run, and whether it answers the whole item."""

    words: str
    whole: bool = True


def checklist_section(run: RunFolder, failures: bool = True) -> Section:
    """Return both checklists, answered as far as the run knows."""
    known = answers(run, failures)
    blocks: list[Block] = [
        Text("Items in our own words; read the statements themselves before you report by them.", "note"),
        _answered(CLAIM_TITLE, CLAIM, known),
        _answered(TRIPOD_TITLE, TRIPOD, known),
    ]
    return Section("checklists", "Reporting checklists", blocks)


def answers(run: RunFolder, failures: bool = True) -> dict[str, Known]:
    """Return key of `checklist_items` -> answer, for what the run's files tell; other keys are left out."""
    found = {**_about_model(run), **_about_data(run), **_about_results(run)}
    if failures and run.table is not None and run.task != "multilabel":
        found["failures"] = Known(
            "The most confident errors: 'Where it was wrong'. Why they came about is for a person to say.", False
        )
    return {key: answer for key, answer in found.items() if answer.words}


def _answered(caption: str, items: Sequence[Item], known: Mapping[str, Known]) -> Checklist:
    rows = []
    for item in items:
        answer = known.get(item.key)
        if answer is None:
            rows.append(Answered(item.number, item.part, item.asks, "person", PERSON))
            continue
        state = "filled" if answer.whole else "partly"
        rows.append(Answered(item.number, item.part, item.asks, state, answer.words))
    return Checklist(caption, rows)


def _about_model(run: RunFolder) -> dict[str, Known]:
    card, config, environment = run.card or {}, run.config or {}, run.environment or {}
    model, train = card.get("model", {}), config.get("train", {})
    found: dict[str, Known] = {}
    if model:
        found["limits"] = Known("'The model', limits: those that the figures themselves show.", False)
        found["use"] = Known(str(card.get("use", "")), False)
        output = f"Probabilities of {', '.join(card.get('classes', []))}." if card.get("classes") else ""
        found["output"] = Known(f"{output} Called {_called(card)}.".strip())
        found["identify"] = Known(f"Deep learning, {model.get('what', '')}; the title is for a person.", False)
        found["architecture"] = Known(
            f"{model.get('arch')}, {model.get('compat')}: 'The model'; the network is in model.keras."
        )
    if config:
        image = config.get("image", {})
        found["pixels"] = Known(
            f"{image.get('size')} px, channels {' + '.join(image.get('channels', []))}, lungs {image.get('lungs')}; "
            "each setting with its source under 'Training', and the pixel path lies in the package."
        )
        found["initial"] = Known(
            f"model.init = {run.names.setting(config.get('model', {}).get('init', ''))}, seed {config.get('seed')}."
        )
        found["training"] = Known(
            f"{train.get('optimizer')}, learning rate {train.get('learning_rate')}, batch {train.get('batch_size')}, "
            f"loss {train.get('loss')}, at most {train.get('epochs')} epochs; all else under 'Training'."
        )
        found["choice"] = Known(f"The epoch by {train.get('monitor')} on validation films; never on test films.")
        found["imbalance"] = Known(f"Class weights: {train.get('class_weights')}.")
        found["protocol"] = Known("All settings with their sources: 'Training'.", False)
    if environment:
        packages = ", ".join(
            f"{name} {version}" for name, version in (environment.get("packages") or {}).items() if version
        )
        found["software"] = Known(
            f"covidcxr_tf {environment.get('covidcxr_tf')}, Python {environment.get('python')}, {packages}."
        )
        found["code"] = Known(
            f"covidcxr_tf {environment.get('covidcxr_tf')} (Apache-2.0); where model and data are is for a person.",
            False,
        )
    if any(part.folder.name.startswith("member") for part in run.parts):
        found["ensemble"] = Known(f"Mean of logits of {len(run.parts)} members: 'Members'.")
    elif run.task == "classification" and not run.parts:
        found["ensemble"] = Known("One network; no ensemble.")
    if model:
        found["input_quality"] = Known(
            "Unreadable films are reported, not judged; where no lungs are found the whole film is used, and said so. "
            "How a user is to deal with it is for a person.",
            False,
        )
    return found


def _about_data(run: RunFolder) -> dict[str, Known]:
    split, found = run.split, {}
    if split is None:
        return {}
    places = sorted(set(split["source"])) if "source" in split else []
    splits = {str(name): len(rows) for name, rows in split.groupby("split")}
    counted = ", ".join(f"{count} {name}" for name, count in splits.items())
    if places:
        found["sources"] = Known(
            f"Sources: {', '.join(places)} ('Data and split'); their dates, and why these, are for a person.", False
        )
        found["setting"] = Known(f"{len(places)} sources, by name only: 'Data and split'.", False)
    patients = split["patient_id"].nunique()
    shared = int((split.groupby("patient_id")["split"].nunique() > 1).sum())
    found["flow"] = Known(
        f"{len(split)} films of {patients} patients were used ({counted}); whom the sources left out is not known.",
        False,
    )
    data = (run.config or {}).get("data", {})
    how = (
        f" by ratios {data.get('ratios')} unless the manifest has splits, seed {(run.config or {}).get('seed')}"
        if data
        else ""
    )
    found["partition"] = Known(f"{counted} films{how}: 'Data and split'.")
    level = "Patient" if not shared else f"Meant: patient; but {shared} patients stand in several splits"
    found["disjoint"] = Known(f"{level}.")
    counts = Counter(zip(split["split"], split["label"], strict=True))
    events = "; ".join(f"{part}: {label} {count}" for (part, label), count in sorted(counts.items()))
    found["events"] = Known(f"{events}.")
    found["characteristics"] = Known(
        "Labels and sources by split: 'Data and split'; age, sex and disease severity are for a person.", False
    )
    taken = (run.card or {}).get("facts", {}).get("class_labels")
    if taken:
        words = "; ".join(f"{name} = {' or '.join(labels)}" for name, labels in taken.items())
        found["outcome"] = Known(
            f"Classes by the manifest's labels ({words}); how these came about is for a person.", False
        )
    if run.synthetic:
        found["deidentified"] = Known("The films are drawn by a program: there are no patients.")
        found["ethics"] = Known("The films are drawn by a program: there are no patients.")
    elif run.names.anonymous:
        found["deidentified"] = Known(
            "In this page: keyed hashes for films, letters for sources. In the data: for a person.", False
        )
    return found


def _about_results(run: RunFolder) -> dict[str, Known]:
    if run.judged is None:
        return {}
    split, metrics = run.judged
    boot = metrics.get("bootstrap", {})
    found = {
        "measures": Known(MEASURES if "per_class" in metrics else OVERLAP_MEASURES),
        "uncertainty": Known(f"95 % intervals, {boot.get('resamples')} bootstrap resamples over patients."),
    }
    test = split == "test"
    main = metrics.get("auroc") or metrics.get("dice")
    name = "AUC" if "auroc" in metrics else "Dice"
    found["performance"] = Known(
        f"{name} {format_metric(main)} on {metrics['n']} {split} films; all figures under 'Results'.", test
    )
    found |= _where_tested(run) if test else {}
    words = (
        "The smallest class has few films." if few_films(metrics) else "Intervals show what the number of films allows."
    )
    found["size"] = Known(f"{metrics['n']} {split} films; whether a size was planned is for a person. {words}", False)
    if "by_source" in metrics:
        found["clusters"] = Known(f"Each of {len(metrics['by_source'])} sources by itself: 'Results'.")
    if "per_class" in metrics and metrics.get("task") != "multilabel":
        found["fairness"] = Known(
            "Figures by subgroup: 'Calibration, cut-off and subgroups'; no step of training sees to fairness.", False
        )
        found["threshold"] = Known(f"Called {_called(run.card or metrics)}.")
    if metrics.get("recalibration"):
        found["updating"] = Known("Recalibrated on labelled films: 'Calibration, cut-off and subgroups'.")
    else:
        found["updating"] = Known("The model was not updated or recalibrated.")
    if run.audit is not None:
        counted = ", ".join(f"{count} {kind}" for kind, count in run.audit["verdicts"].items() if count)
        found["robust"] = Known(f"Audit ({counted}): changes of the film, hidden lungs, borders, metadata, sources.")
        found["heat"] = Known(
            "Grad-CAM; share of heat inside the lungs in the audit; `covidcxr explain` for single films."
        )
        found["interpretation"] = Known(
            "The audit says how far the figures may be told hospitals apart; the rest is for a person.", False
        )
        found["quality"] = Known("Duplicates, patients in several splits, metadata: 'Audit'.", False)
    return found


def _where_tested(run: RunFolder) -> dict[str, Known]:
    """Return whether the test films are of the training films' sources, of others, or of both."""
    if run.split is None or run.table is None or "source" not in run.split:
        return {}
    folds = any(part.folder.name.startswith("fold") for part in run.parts)  # each fold's films train the others
    trained = set(run.split["source"] if folds else run.split.loc[run.split["split"] == "train", "source"])
    tested = set(sources(run.table))
    found = {}
    if trained & tested:
        words = f"Test films of the training films' sources ({', '.join(sorted(trained & tested))}): 'Results'."
        found["internal"] = Known(words)
    if trained and tested - trained:
        words = f"Test films of sources that no training film is of ({', '.join(sorted(tested - trained))}): 'Results'."
        found["external"] = Known(words)
    return found


def _called(document: Mapping[str, Any]) -> str:
    threshold = document.get("threshold")
    if threshold is None:
        return "by the most probable class"
    return f"{document.get('positive')} from {threshold:.4f} on ({document.get('threshold_from')})"
