"""What every classifier's recipe does: build the network of a config, judge it, write the judgement."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from covidcxr_tf.catalog import nearest, resolve
from covidcxr_tf.config import Config
from covidcxr_tf.errors import ConfigError, ManifestError, SplitError
from covidcxr_tf.evaluate.classification import evaluate_table
from covidcxr_tf.evaluate.multilabel import evaluate_findings
from covidcxr_tf.evaluate.table import write_predictions
from covidcxr_tf.evaluate.thresholds import choose_threshold
from covidcxr_tf.files import write_json
from covidcxr_tf.models.files import kind_of, model_digest, read_facts, save_model
from covidcxr_tf.models.layers import Normalisation
from covidcxr_tf.predict import decide, predictions_table, to_probabilities
from covidcxr_tf.recipes.datasets import Datasets
from covidcxr_tf.recipes.trust import build_step, gate_facts, gate_layer, temperature_facts
from covidcxr_tf.report.card import write_card
from covidcxr_tf.report.run_figures import draw_judgement
from covidcxr_tf.train.loop import Job
from covidcxr_tf.train.run_dir import RunDir
from covidcxr_tf.train.validation import evaluate_batches


def model(config: Config, *, synchronized: bool = False, normalise: Normalisation | None = None) -> keras.Model:
    """Return the classifier that the config asks for, with its initial weights.

    The architecture's ``build`` gets those of our settings that its signature names: a new one is a file and a line in
    the catalog.

    Parameters
    ----------
    config : Config
    synchronized : bool
        Batch statistics over all replicas.
    normalise : (mean, std), optional
        One value a channel, of [0, 1]; None: what the initial weights were trained with.
    """
    image, wanted = config.image, config.model
    build = resolve("archs", config.arch)
    known = inspect.signature(build).parameters
    settings: dict[str, Any] = {
        "compat": config.compat,
        "dropout": wanted.dropout,
        "head_units": wanted.head_units,
        "head_layers": wanted.head_layers,
        "pooling": wanted.pooling,
        "low_pass": wanted.low_pass,
        "normalise": normalise,
        "synchronized": synchronized,
        "seed": config.seed,
    }
    if wanted.low_pass and "low_pass" not in known:
        raise ConfigError(
            f"model.low_pass is {wanted.low_pass}, and {config.arch} has no such layers",
            expected="0",
        )
    if wanted.blocks:
        settings["blocks"] = wanted.blocks
    if config.arch == "base":  # its two dense layers and its lack of dropout are the architecture, not settings
        settings = {name: settings[name] for name in ("compat", "synchronized", "seed", "normalise")}
    size = config.patches.size or image.size
    built = build(
        (size, size, len(image.channels)),
        len(config.class_names),
        weights=wanted.init,
        **{name: value for name, value in settings.items() if name in known},
    )
    if other_task(config):
        output = built.get_layer("logits")
        output.set_weights([make(w.shape) for make, w in zip(_initialisers(output), output.weights, strict=True)])
    for layer in built.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras's 0.99 follows weights that move little. From scratch, with some fifty steps an epoch, it lags so
            # far behind that validation looks like chance for ten epochs; 0.9 does not.
            layer.momentum = wanted.batch_norm_momentum
    if wanted.frozen_to:
        freeze(built, wanted.frozen_to)
    return built


def freeze(network: keras.Model, last: str) -> None:
    """Keep the layer `last` and all before it as they are, batch statistics too.

    Raises
    ------
    ConfigError
        If there is no such layer, or nothing is left to train.
    """
    names = [layer.name for layer in network.layers]
    if last not in names or last == names[-1]:
        raise ConfigError(
            f"model.frozen_to is '{last}'",
            expected=f"a layer of {network.name} before {names[-1]}",
            remedy=nearest(last, names) or None,
        )
    for layer in network.layers[: names.index(last) + 1]:
        layer.trainable = False


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
