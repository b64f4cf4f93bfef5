"""The base model of COVID-CXNet: five convolutions, two dense layers of 10, one output.

Source: Haghanifar 2020, section 4.1 and figure 5. The text and the authors' files are two networks:

- ``compat="authors"``: convolution 5x5 stride 2, then four 3x3 stride 2; 11 * 11 * 32 features of a 400x400 film.
- ``compat="paper"``: 3x3 throughout, "no pooling". The text gives no stride. With stride 1 the flattened features of
  a 400x400 film would be 390 * 390 * 32 = 4.9 million, 49 million weights in the first dense layer, which no one
  would call a base model: we read stride 2, as the authors' files have it.
- ``compat="ours"``: the paper's kernels with one logit a class.

Differs from paper: `build` returns logits; the sigmoid of the paper's single output is taken by whoever predicts.
"""

from __future__ import annotations

import keras

from covidcxr_tf.models.layers import (
    Normalisation,
    dropout_layer,
    he_normal,
    image_input,
    initialise,
    logits_layer,
    output_units,
)

CAM_LAYER = "conv5"
FILTERS = 32
CONVOLUTIONS = 5


def build(
    input_shape: tuple[int, int, int] = (400, 400, 1),
    num_classes: int = 2,
    *,
    weights: str = "none",
    compat: str = "ours",
    dropout: float = 0.0,
    head_units: int = 10,
    normalise: Normalisation | None = None,
    synchronized: bool = False,
    filters: int = FILTERS,
    seed: int | None = None,
) -> keras.Model:
    """Return the base model from films (N, H, W, channels) float32 in [0, 1] to logits (N, classes) float32.

    Parameters
    ----------
    input_shape : tuple of int
        Rows, columns, channels; 400x400x1 in the authors' files. At least 63 px a side (65 with the authors' 5x5).
    num_classes : int
        Logits; with ``compat`` ``"paper"`` or ``"authors"`` two classes share one logit (sigmoid).
    weights : str
        ``"none"`` or the path of a model file of ours.
    compat : str
        See the module.
    dropout : float
        Rate before the logits; 0, the paper's, leaves the layer out.
    head_units : int
        Units of each of the two dense layers.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1].
    synchronized : bool
        Accepted as every architecture does; there is no batch normalisation here.
    filters : int
        Filters of every convolution.
    seed : int, optional
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError
        If the film is too small for five valid convolutions.
    """
    units = output_units(num_classes, compat)
    first_kernel = 5 if compat == "authors" else 3
    smallest = 60 + first_kernel  # one pixel after five halvings without padding
    if min(input_shape[:2]) < smallest:
        raise ValueError(f"the input has {input_shape[0]} x {input_shape[1]} px; expected at least {smallest} a side")
    image, features = image_input(input_shape, normalise)
    for step in range(1, CONVOLUTIONS + 1):
        name = f"conv{step}"
        features = keras.layers.Conv2D(
            filters,
            first_kernel if step == 1 else 3,
            strides=2,
            activation="relu",
            kernel_initializer=he_normal(seed, name),
            name=name,
        )(features)
    features = keras.layers.Flatten(name="flatten")(features)
    for step in (1, 2):
        name = f"dense{step}"
        features = keras.layers.Dense(
            head_units, activation="relu", kernel_initializer=he_normal(seed, name), name=name
        )(features)
    if dropout:
        features = dropout_layer(dropout, seed)(features)
    model = keras.Model(image, logits_layer(units, seed)(features), name="base")
    return initialise(model, weights)
