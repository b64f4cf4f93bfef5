"""What every classifier's recipe does: build the network of a config, judge it, write the judgement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from covidcxr_tf.config import Config
from covidcxr_tf.errors import ManifestError, SplitError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.multilabel import evaluate_findings
from covidcxr_tf.evaluate.table import write_predictions
from covidcxr_tf.evaluate.thresholds import choose_threshold
from covidcxr_tf.files import write_json
from covidcxr_tf.models.files import kind_of, model_digest, read_facts, save_model
from covidcxr_tf.models.layers import Normalisation
from covidcxr_tf.predict import decide, predictions_table, to_probabilities
from covidcxr_tf.recipes.datasets import Datasets
from covidcxr_tf.recipes.network import build_network, prepared
from covidcxr_tf.recipes.trust import build_step, gate_facts, gate_layer, temperature_facts
from covidcxr_tf.report.card import write_card
from covidcxr_tf.report.run_figures import draw_judgement
from covidcxr_tf.train.loop import Job
from covidcxr_tf.train.run_dir import RunDir
from covidcxr_tf.train.validation import evaluate_batches


def model(config: Config, *, synchronized: bool = False, normalise: Normalisation | None = None) -> keras.Model:
    """Return the classifier that the config asks for, with its initial weights.

    Parameters
    ----------
    config : Config
    synchronized : bool
        Batch statistics over all replicas.
    normalise : (mean, std), optional
        One value a channel, of [0, 1]; None: what the initial weights were trained with.
    """
    wanted = config.model
    settings: dict[str, Any] = {
        "head_units": wanted.head_units,
        "head_layers": wanted.head_layers,
        "pooling": wanted.pooling,
        "normalise": normalise,
        "synchronized": synchronized,
    }
    # The base model's two dense layers and its lack of dropout are the architecture, not settings.
    fixed = ("dropout", "head_units", "head_layers", "pooling") if config.arch == "base" else ()
    size = config.patches.size or config.image.size
    shape = (size, size, len(config.image.channels))
    built = build_network(config, shape, len(config.class_names), settings, fixed)
    if other_task(config):
        output = built.get_layer("logits")
        output.set_weights([make(w.shape) for make, w in zip(_initialisers(output), output.weights, strict=True)])
    return prepared(built, config)


def other_task(config: Config) -> bool:
    """Return whether the initial weights are a model of ours with other outputs than the config's.

    Weights are handed over by name and shape, and the outputs for pneumonia and for COVID-19 have one shape: without
    this, a detector of COVID-19 would begin as one of pneumonia (Fricks 2021, sections 2.2 and 2.3: "the output layer
    was replaced").
    """
    init = config.model.init
    if init in ("none", "imagenet") or init.startswith("chexnet:"):
        return False
    if not Path(init).is_file() or kind_of(Path(init)) != "zip":
        return False
    return tuple(read_facts(init).get("classes", ())) != config.class_names


def _initialisers(output: keras.layers.Dense) -> tuple[keras.initializers.Initializer, ...]:
    return output.kernel_initializer, output.bias_initializer


def judge(config: Config, job: Job, sets: Datasets) -> dict[str, Any]:
    """Write predictions, metrics, figures and card of a trained classifier, and return the metrics.

    The validation films are those of the split, also where other ones were drawn in each epoch (`Datasets.judged`).
    Probabilities are at the temperature that fits the validation films. The cut-off between two classes is chosen on
    validation films, by Youden's index, stored with the model, and used unchanged on the test films. The gate is
    fitted on the training films as they are, which costs one more pass over them without gradients.
    """
    layer = gate_layer(config, job.model)
    step = build_step(job.model, job.loss, layer)
    columns = int(job.model.output_shape[-1])
    rows, outputs = {}, {}
    for split, batches in sets.judged.items():
        rows[split], _, outputs[split], _ = evaluate_batches(step, batches, job.strategy)
    facts = gate_facts(step, sets, job.strategy, layer, outputs["validation"][:, columns:], columns)

    def table(split: str, temperature: float) -> pd.DataFrame:
        probabilities = to_probabilities(outputs[split][:, :columns] / temperature, config.task)
        return predictions_table(sets.manifest_of(rows[split]), probabilities, config.class_names, config.task)

    facts |= temperature_facts(table("validation", 1.0), config)
    return write_tables(config, job, {split: table(split, facts.get("temperature", 1.0)) for split in rows}, facts)


def write_tables(
    config: Config, job: Job, tables: dict[str, pd.DataFrame], learned: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Store the cut-off and what else was learned with the model, then write the judgement of its tables."""
    facts = read_facts(job.run.model) | dict(learned or {})
    if len(config.class_names) == 2 and config.task == "classification":
        if config.data.redraw_validation:
            cut = {"threshold": None, "threshold_from": "none: every validation film was trained on in other epochs"}
        else:
            cut = cut_off(tables["validation"], config.positive_class)
        facts |= cut
    save_model(job.model, job.run.model, facts)
    return write_judgement(config, job.run, tables, facts | {"sha256": model_digest(job.run.model)})


def cut_off(table: pd.DataFrame, positive: str) -> dict[str, Any]:
    """Return ``threshold`` and ``threshold_from`` of a validation table; None where its films are of one class."""
    try:
        cut = choose_threshold(table, positive)
    except (SplitError, ManifestError) as why:  # the most probable class is called then
        return {"threshold": None, "threshold_from": f"none: {why.problem}"}
    return {"threshold": cut.value, "threshold_from": cut.threshold_from}


def write_judgement(
    config: Config, run: RunDir, tables: dict[str, pd.DataFrame], facts: dict[str, Any]
) -> dict[str, Any]:
    """Write ``predictions_*.csv``, ``metrics.json``, figures and ``card.json`` from predictions tables."""
    cut = facts.get("threshold")
    metrics = {}
    for split, table in tables.items():
        if config.task == "multilabel":
            write_predictions(table, run.folder / f"predictions_{split}.csv")
            metrics[split] = evaluate_findings(table, seed=config.seed)
            continue
        tables[split] = table = decide(table, config.class_names, config.positive_class, cut)
        write_predictions(table, run.folder / f"predictions_{split}.csv")
        metrics[split] = evaluate_table(
            table, config.positive_class, cut, seed=config.seed, threshold_from=facts.get("threshold_from")
        )
    split = "test" if "test" in metrics else "validation"
    final = {**metrics[split], "split": split, "validation": metrics["validation"]}
    write_json(run.folder / "metrics.json", final)
    draw_judgement(tables, metrics, run.figures)
    write_card(run.folder, facts, final)
    return final
