"""Networks as plain Keras models: one file an architecture, found by name through the catalog.

Every ``build`` returns a flat `keras.Model` from a float32 film batch in [0, 1] to float32 logits.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from covidcxr_tf import catalog

if TYPE_CHECKING:
    import keras

__all__ = ["build", "cam_layer"]


def build(name: str, num_classes: int = 2, weights: str = "none", **options: Any) -> keras.Model:
    """Return the architecture `name` as a plain Keras model that gives logits.

    Parameters
    ----------
    name : str
        A name of ``covidcxr list archs``: ``"base"``, ``"chexnet"``, ``"unet"``.
    num_classes : int
        Number of logits (for ``unet``: of mask channels).
    weights : str
        ``"none"``, ``"imagenet"``, ``"chexnet:FILE"`` or ``"FILE"``; see `covidcxr_tf.models.weights`.
    **options
        Handed to the architecture's own ``build``: ``input_shape``, ``compat``, ``dropout``, ``normalise``, ...

    Raises
    ------
    UsageError
        If there is no such architecture.
    WeightsError
        If the weights cannot be found, read or matched.
    """
    model: keras.Model = catalog.resolve("archs", name)(num_classes=num_classes, weights=weights, **options)
    return model


def cam_layer(name: str) -> str:
    """Return the layer of the architecture `name` whose output class activation maps are drawn from.

    Raises
    ------
    UsageError
        If there is no such architecture.
    """
    layer: str = importlib.import_module(catalog.entry("archs", name).target.partition(":")[0]).CAM_LAYER
    return layer
