"""What is known of a CheXNet file: layout, labels, preprocessing, network, split; and a file that has been read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from covidcxr_tf.models.arrays import Layers

LAYOUTS = ("chexnet-keras", "chexnet-torch", "torchxrayvision")


@dataclass(frozen=True)
class Provenance:
    """Where weights come from and how they want to be fed; travels with the converted file."""

    layout: str
    source_name: str
    source_sha256: str
    labels: tuple[str, ...]  # a logit each; "" where the output was never trained
    labels_from: str  # "layout", "checkpoint" or "documentation"
    channels: int
    mean: tuple[float, ...]  # of [0, 1], a channel each
    std: tuple[float, ...]
    blocks: tuple[int, ...]
    growth: int
    stem: int
    final_relu: bool  # Keras before 2.2.3 left out the ReLU after the last batch normalisation
    split: str = "unknown"
    split_usual: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def provenance_of(document: Mapping[str, Any]) -> Provenance:
    """Return the `Provenance` that `as_dict` wrote; unknown keys of newer versions are left aside.

    Raises
    ------
    TypeError
        If a field is missing.
    """
    known = {field.name for field in fields(Provenance)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items() if key in known
    }
    return Provenance(**values)


class Checkpoint(NamedTuple):
    """A CheXNet file, read: arrays by our layer names (the output layer is ``"logits"``) and their provenance."""

    layers: Layers
    provenance: Provenance
