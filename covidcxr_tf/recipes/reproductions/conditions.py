"""How a run was trained, in words: the note beside its numbers."""

from __future__ import annotations

import os

import pandas as pd

from covidcxr_tf.config import Config, load_config
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench


def conditions(bench: Bench, outcome: Outcome, first: str = "") -> str:
    """Return what a run was trained on and from: films, size, first weights, epochs.

    Parameters
    ----------
    bench : Bench
    outcome : Outcome
    first : str
        The init string that its weights come from in the end, where it starts from another run of ours.
    """
    config = load_config(outcome.run.folder / "config.toml")
    parts = [_size(config), first_weights(first or config.model.init)]
    if config.data.folds:  # each fold has films and epochs of its own
        parts.append(f"{config.train.epochs} epoch(s)")
    else:
        split = pd.read_csv(outcome.run.folder / "split.csv", dtype=str, keep_default_na=False)["split"]
        trained = split.isin(("train", "validation") if config.data.redraw_validation else ("train",))
        parts.insert(0, f"{trained.sum()} training films")
        parts.append(f"{len(pd.read_csv(outcome.run.history))} epoch(s)")
    if outcome.metrics.get("split") == "validation":
        parts.append("judged on validation films, as the manifest's split has no test films")
    if bench.synthetic:
        parts.append("phantoms stand in for the paper's films")
    return ", ".join(parts)


def first_weights(init: str) -> str:
    """Return an init string in words."""
    known = {"none": "random first weights", "imagenet": "first weights of ImageNet"}
    return known.get(init, f"first weights of {os.path.basename(init)}")


def _size(config: Config) -> str:
    whole = f"{config.image.size} px"
    return f"patches of {config.patches.size} px out of {whole}" if config.patches.size else whole
