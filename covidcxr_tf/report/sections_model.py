"""Chapters on what the model is, what it was made from, and how it was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.report.blocks import Block, Facts, Folded, Missing, Picture, Pictures, Section, Table, Text
from covidcxr_tf.report.card import NOT_FOR, REAL, SYNTHETIC
from covidcxr_tf.report.pictures import history_picture
from covidcxr_tf.report.run_folder import RunFolder

#: Weights that come from nowhere in particular: what `model.init` names them, in words.
STARTS = {"none": "random weights", "imagenet": "ImageNet weights of Keras", "": "not told"}
SHOWN_TRAINING = (
    "epochs", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay", "loss", "label_smoothing",
    "class_weights", "decay", "monitor", "reduce_lr_patience", "reduce_lr_factor", "early_stopping_patience",
)  # fmt: skip


def model_section(run: RunFolder) -> Section:
    """Return what the model is and where its weights come from."""
    card, config, names = run.card or {}, run.config or {}, run.names
    model = card.get("model", {})
    rows = [
        ("Model", str(model.get("what") or config.get("arch") or run.task)),
        ("Classes", ", ".join(card.get("classes") or config.get("classes") or [])),
        ("Positive class", str(card.get("positive") or config.get("positive") or "")),
        ("Readings of the paper", _compat(model.get("compat") or config.get("compat"))),
        ("Film to network", _pixels(card.get("image") or config.get("image") or {}, names.setting)),
        ("Initial weights", _start(config, names.setting)),
        ("Model file", f"SHA-256 {model['sha256']}" if model.get("sha256") else ""),
        ("Lung network", _lungs(card.get("facts", {}).get("lung_model"))),
        ("Split", f"SHA-256 {card['split_digest']}" if card.get("split_digest") else ""),
        ("Config", f"SHA-256 {card['config_digest']}" if card.get("config_digest") else ""),
        ("Made with", str(model.get("made_with") or (run.environment or {}).get("covidcxr_tf", ""))),
    ]
    rows += _more(card)
    blocks: list[Block] = [Text(str(card.get("use") or NOT_FOR), "lead"), Facts([row for row in rows if row[1]])]
    if run.lineage:
        blocks.append(_history(run))
    if not run.card:
        blocks.append(Missing("No model card: the run has not finished.", "covidcxr train --resume --out RUN ..."))
    blocks.append(Text("Limits, as the model card states them", "head"))
    limits = card.get("limits") or [SYNTHETIC if run.synthetic else REAL]
    blocks += [Text(names.text(str(line)), "item") for line in limits]
    return Section("model", "The model", blocks)


def training_section(run: RunFolder) -> Section:
    """Return how the network was trained, with its curves."""
    blocks: list[Block] = []
    if run.history is not None and len(run.history):
        blocks.append(Text(_told(run)))
        blocks.append(Pictures([Picture(history_picture(run), *_history_words(run.history))], wide=True))
    elif not run.parts:
        blocks.append(Missing("No history.csv: no epoch was recorded.", "covidcxr train --out RUN ..."))
    else:
        blocks.append(Text("The parts were trained one by one; their curves are in their own folders.", "note"))
    if run.config:
        train = run.config.get("train", {})
        blocks.append(Facts([(key.replace("_", " "), str(train[key])) for key in SHOWN_TRAINING if key in train]))
        blocks.append(Folded("The whole configuration, with the source of each value", [_config_table(run)]))
    else:
        blocks.append(Missing("No config.toml: the settings are not known."))
    return Section("training", "Training", blocks)


def environment_section(run: RunFolder) -> Section:
    """Return versions and the commands that make this again."""
    if run.environment is None:
        return Section("environment", "Environment", [Missing("No environment.json: versions are not known.")])
    found = run.environment
    rows = [
        ("covidcxr_tf", str(found.get("covidcxr_tf", ""))),
        ("Python", str(found.get("python", ""))),
        ("Platform", str(found.get("platform", ""))),
        ("Seed", str(found.get("seed", ""))),
        *((name, str(version)) for name, version in (found.get("packages") or {}).items() if version),
    ]
    again = "Again: covidcxr train --config RUN/config.toml --data MANIFEST --out NEW (RUN: this run's folder)."
    return Section("environment", "Environment", [Facts([row for row in rows if row[1]]), Text(again, "note")])


def _history(run: RunFolder) -> Table:
    rows = [
        (
            run.names.text(str(record["name"])),
            str(record["patients"]),
            str(record["split_digest"])[:12],
            str(record["config_digest"])[:12],
        )
        for record in run.lineage
    ]
    note = "The last line is this run; lines above it are runs whose weights it began with."
    return Table("What the weights have seen", ("run", "training patients", "split", "config"), rows, (1,), note)


def _told(run: RunFolder) -> str:
    history = run.history
    assert history is not None
    words = [f"{len(history)} epoch{'s' if len(history) > 1 else ''}"]
    if "seconds" in history:
        words.append(f"{_time(float(history['seconds'].sum()))} in all")
    epoch = (run.card or {}).get("facts", {}).get("epoch")
    if epoch is not None:
        words.append(f"the model is that of epoch {epoch}, chosen on validation films")
    return ", ".join(words) + "."


def _history_words(history: pd.DataFrame) -> tuple[str, str]:
    alt = f"Training curves over {len(history)} epochs: loss, scores, learning rate and time."
    if "val_loss" in history and history["val_loss"].notna().any():
        row = int(np.nanargmin(history["val_loss"].to_numpy(np.float64)))
        lowest, epoch = float(history["val_loss"].iloc[row]), int(history["epoch"].iloc[row])
        alt += f" The lowest validation loss, {lowest:.4f}, is of epoch {epoch}."
    return alt, "Loss, scores, learning rate and time of each epoch."


def _config_table(run: RunFolder) -> Table:
    assert run.config is not None
    config = run.names.setting({key: value for key, value in run.config.items() if key != "smoke"})
    from_where = config.pop("source", {})
    rows = [(key, value, str(from_where.get(key, ""))) for key, value in _flat(config)]
    return Table("Configuration", ("key", "value", "where it comes from"), rows)


def _flat(table: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", in_words(value)


def in_words(value: Any) -> str:
    """Return a setting as a reader reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items())
    return ", ".join(in_words(item) for item in value) if isinstance(value, (list, tuple)) else str(value)


def _start(config: Mapping[str, Any], shown: Any) -> str:
    init = str((config.get("model") or {}).get("init", ""))
    return STARTS[init] if init in STARTS else str(shown(init))


def _compat(value: Any) -> str:
    known = {
        "ours": "ours: the paper with our corrections",
        "paper": "paper: as the text says",
        "authors": "authors: as their code does",
    }
    return known.get(str(value), str(value or ""))


def _pixels(image: Mapping[str, Any], shown: Any) -> str:
    if not image:
        return ""
    lungs = {"crop": "cropped to the lungs", "mask": "cropped to the lungs, the rest blackened", "none": "whole film"}
    words = [f"{image['size']} x {image['size']} px" if "size" in image else ""]
    words += [" + ".join(image.get("channels", [])), lungs.get(str(image.get("lungs")), "")]
    if image.get("histogram_reference"):
        words.append(f"histogram matched to {shown(str(image['histogram_reference']))}")
    return ", ".join(word for word in words if word)


def _lungs(found: Any) -> str:
    return f"{found['name']}, SHA-256 {found['sha256']}" if isinstance(found, Mapping) else ""


def _more(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what newer models carry: an out-of-domain gate, a temperature."""
    facts, rows = card.get("facts", {}), []
    gate = facts.get("gate")
    if isinstance(gate, Mapping):
        rows.append(("Out-of-domain gate", f"fitted on {gate.get('films')} training films, layer {gate.get('layer')}"))
    if isinstance(facts.get("temperature"), (int, float)):
        rows.append(("Temperature", f"{facts['temperature']:.3f}, fitted on validation films"))
    return rows


def _time(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
