"""How much each film counts in the loss."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covidcxr_tf.config import Config
from covidcxr_tf.errors import ManifestError


def loss_weights(targets: np.ndarray, train: np.ndarray, config: Config, manifest: pd.DataFrame) -> np.ndarray | None:
    """Return each film's weight in the loss, float32 (rows,), or None for equal weights.

    ``balanced``: n / (classes x n of the class), counted on training films (with redrawn validation films on all that
    are drawn from), so that the mean weight there is 1 (King & Zeng 2001; scikit-learn's ``class_weight="balanced"``).

    ``source_balanced``: n / (classes x sources of the class x n of class and source): a class that is nearly all of
    one hospital then cannot be told by that hospital alone without a loss on the few films from elsewhere. Weights are
    cut at ``train.most_weight``, or three films would lead a batch, and then scaled to the mean 1.
    """
    if config.train.class_weights == "none":
        return None
    counts = np.bincount(targets[train], minlength=len(config.class_names)).astype(np.float64)
    if counts.min() == 0:
        missing = config.class_names[int(counts.argmin())]
        raise ManifestError(f"no training film of the class '{missing}'", expected="at least one film a class")
    if config.train.class_weights == "balanced":
        return (counts.sum() / (len(counts) * counts))[targets].astype(np.float32)
    return _source_balanced(targets, train, manifest, config.train.most_weight)


def _source_balanced(targets: np.ndarray, train: np.ndarray, manifest: pd.DataFrame, most: float) -> np.ndarray:
    if "source" not in manifest:
        raise ManifestError(
            "no column 'source', but train.class_weights is source_balanced", where=manifest.attrs.get("manifest")
        )
    films = pd.DataFrame({"class": targets, "source": manifest["source"].to_numpy(), "count": train.astype(float)})
    cells = films[train].groupby(["class", "source"])["count"].sum()
    sources = cells.groupby("class").size()
    each = 1.0 / (cells * sources.reindex(cells.index, level="class"))
    # Validation and test films of a cell that training lacks are never weighted.
    weights = (
        films[["class", "source"]]
        .merge(each.rename("weight").reset_index(), on=["class", "source"], how="left", validate="many_to_one")[
            "weight"
        ]
        .fillna(0.0)
        .to_numpy()
    )
    weights = np.minimum(weights / weights[train].mean(), most)
    return (weights / weights[train].mean()).astype(np.float32)


def with_source_priors(targets: np.ndarray, train: np.ndarray, config: Config, manifest: pd.DataFrame) -> np.ndarray:
    """Return one-hot targets with the log shares of the classes in each film's source behind them, float32 (rows, 2 C).

    The loss adds the shares to the logits in training, so that they need not say what the source says already: a source
    of one class alone asks for next to nothing, one with both asks for their difference. In use nothing is added: the
    logits are then as if every source had all classes alike.

    Source: Menon 2021, section 4.2 (logit adjustment), with the source's shares in place of the whole set's. Counted on
    training films, `train.source_prior` added to each count.

    Raises
    ------
    ManifestError
        If the manifest has no column ``source``.
    """
    if "source" not in manifest:
        raise ManifestError("no column 'source', but train.source_prior is set", where=manifest.attrs.get("manifest"))
    classes = np.eye(len(config.class_names), dtype=np.float64)[targets]
    counts = pd.DataFrame(classes * train[:, None]).groupby(manifest["source"].to_numpy()).transform("sum").to_numpy()
    counts = counts + config.train.source_prior
    return np.concatenate([classes, np.log(counts / counts.sum(axis=1, keepdims=True))], axis=1).astype(np.float32)
