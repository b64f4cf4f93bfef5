"""What a model's weights have seen: who trained them, on which split and which patients.

Weights that are handed from phase to phase carry this with them, so that a film is never tested on by a network that
was trained on its patient three runs ago (NIH films, for one, come back in the RSNA pneumonia set).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf.config import Config
from covidcxr_tf.data.splits import patient_digest, split_digest
from covidcxr_tf.errors import SplitError
from covidcxr_tf.models.files import kind_of, read_facts


def training_record(config: Config, manifest: pd.DataFrame) -> dict[str, Any]:
    """Return what a run's training saw: name, digests of config and split, and digests of its training patients."""
    trained = manifest["split"].isin(("train", "validation") if config.data.redraw_validation else ("train",))
    return {
        "name": config.name,
        "config_digest": config.digest(),
        "split_digest": split_digest(manifest),
        "patients": sorted({patient_digest(patient) for patient in manifest.loc[trained, "patient_id"]}),
    }


def earlier_training(init: str) -> list[dict[str, Any]]:
    """Return the records within a model file of ours that a run starts from; nothing for other weights."""
    if init in ("none", "imagenet") or init.startswith("chexnet:"):
        return []
    path = Path(init)
    if not path.is_file() or kind_of(path) != "zip":
        return []
    return list(read_facts(path).get("history", []))


def refuse_seen_patients(manifest: pd.DataFrame, history: list[dict[str, Any]]) -> None:
    """Raise where a test film is of a patient that earlier training saw.

    Raises
    ------
    SplitError
    """
    digests = manifest.loc[manifest["split"] == "test", "patient_id"].map(patient_digest)
    for record in history:
        seen = int(digests.isin(set(record["patients"])).sum())
        if seen:
            raise SplitError(
                f"{seen} of {len(digests)} test films are of patients that the initial weights were trained on "
                f"(run {record['name']}, split {record['split_digest'][:12]})",
                where=manifest.attrs.get("manifest"),
                expected="one split by patient over all phases",
                remedy="split all manifests together (`data split --with`), or start from other weights",
            )
