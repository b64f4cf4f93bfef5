"""What an exported model says of itself: ``assets.extra/card.json``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from covidcxr_tf import __version__
from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.export.frozen import heat_layer
from covidcxr_tf.export.headers import MAX_PIXELS
from covidcxr_tf.imaging.opening import MIN_SIDE

SCHEMA = 1
NOT_FOR_CLINICAL_USE = (
    "For research and teaching. Not for diagnosis, triage or any decision about a patient; not a medical device."
)
#: What the names alone do not tell.
MEANING = {
    "image_bytes": "PNG (8 or 16 bit), JPEG, BMP or GIF (first picture), the file's bytes",
    "image": "film in [0, 1], bone bright, already cropped to lung_box (and masked, where image.lungs is 'mask') and "
    "resized with antialiasing; no lungs are looked for",
    "class_index": "class of the heat map; -1: the predicted one. In the answer: the class that was meant, -1: none",
    "probabilities": "in the order of classes; all 0 where status is 1",
    "classes": "names of the probabilities",
    "status": "0 ok; 1 unreadable, every number is 0 or -1; 2 lungs not found, the whole film was used",
    "lung_box": "what the network saw: top, left, bottom, right as fractions of the upright film",
    "lung_quality": "0 to 1: shape of the lung region against human masks, the lung network's certainty, and whether "
    "the film stands upright with bone bright (mask_quality at the lung network's resolution); -1 without one",
    "ood_score": "how far the film lies from the training films: above 1 it is out of domain; -1 without a gate, or "
    "where status is 1",
    "heatmap": "Grad-CAM in [0, 1] over lung_box alone, the network's own square: stretch it over the box, not over "
    "the film",
}
#: Facts that stand elsewhere in the card, or are of no use to who serves it.
ELSEWHERE = ("schema_version", "name", "arch", "task", "classes", "positive", "threshold", "image", "lung_model")


def model_card(
    loaded: LoadedModel,
    name: str,
    version: int,
    variant: str,
    endpoints: Mapping[str, Any],
    agreement: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the card as JSON knows it.

    Parameters
    ----------
    loaded : LoadedModel
    name, version
        Under which it is served.
    variant : str
        What the network computes in.
    endpoints : mapping
        Signature -> concrete function.
    agreement : mapping or None
        How far the graph's answers are from the trained model's.
    """
    facts = {key: value for key, value in loaded.facts.items() if key not in ELSEWHERE}
    gate = facts.pop("gate", None)
    return {
        "schema_version": SCHEMA,
        "name": name,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "covidcxr_version": __version__,
        "model": loaded.name,
        "arch": loaded.arch,
        "task": loaded.task,
        "classes": list(loaded.classes),
        "positive": loaded.positive,
        "threshold": loaded.threshold,
        "temperature": loaded.temperature,
        "ood_threshold": None if gate is None else 1.0,
        "image": loaded.image.model_dump(mode="json"),
        "input_size": loaded.image.size,
        "channels": len(loaded.image.channels),
        "model_sha256": loaded.digest,
        "lung_model": None if loaded.lungs is None else loaded.lungs.identity(),
        "cam_layer": heat_layer(loaded.model, loaded.arch),
        "trained_on": facts,
        "signatures": {key: _signature(function) for key, function in endpoints.items()},
        "variant": variant,
        "agreement": agreement,
        "limits": {
            "max_pixels": MAX_PIXELS,
            "min_side": MIN_SIDE,
            "kinds": ["PNG", "JPEG", "BMP", "GIF"],
            "unreadable": "CMYK JPEG, compressed or 1- and 4-bit BMP, WebP, TIFF, DICOM: turn them into 16-bit PNG",
            "not_noticed": "damage inside a JPEG that its decoder paints over",
        },
        "not_for_clinical_use": NOT_FOR_CLINICAL_USE,
    }


def _signature(function: Any) -> dict[str, Any]:
    positional, named = function.structured_input_signature
    inputs = {**{spec.name: spec for spec in positional}, **named}
    return {"inputs": _specs(inputs), "outputs": _specs(function.structured_outputs)}


def _specs(specs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {"dtype": spec.dtype.name, "shape": spec.shape.as_list(), "meaning": MEANING[key]}
        for key, spec in sorted(specs.items())
    }
