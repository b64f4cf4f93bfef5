"""What the architectures share: the input with its normalisation, seeded initialisers, the float32 logits."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import keras

Normalisation = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation, a channel each, of [0, 1]

#: The layer of `mean_of_sides`.
MEAN_OF_SIDES = "mean_of_sides"

# ImageNet's training pictures, RGB, in units of [0, 1]: what torchvision's and Keras' DenseNets were trained with.
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def layer_seed(seed: int | None, name: str) -> int | None:
    """Return a seed of its own for the layer `name`, the same whatever else is built; None stays None."""
    return None if seed is None else zlib.crc32(f"{seed}:{name}".encode())


def he_normal(seed: int | None, name: str) -> keras.initializers.Initializer:
    """Return He's initialiser, the one for layers that feed a ReLU."""
    return keras.initializers.HeNormal(seed=layer_seed(seed, name))


def image_input(
    shape: tuple[int | None, ...], normalise: Normalisation | None
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the input ``"image"`` and, after the layer ``"normalise"`` where wanted, what the network sees.

    Parameters
    ----------
    shape : tuple of int
        Rows, columns, channels.
    normalise : (mean, std), optional
        One value a channel, in units of [0, 1].

    Raises
    ------
    ValueError
        If the number of values is not the number of channels, or a standard deviation is not positive.
    """
    image = keras.Input(shape, name="image", dtype="float32")
    if normalise is None:
        return image, image
    mean, std = ([float(value) for value in values] for values in normalise)
    if len(mean) != shape[-1] or len(std) != shape[-1]:
        raise ValueError(
            f"normalise has {len(mean)} means and {len(std)} deviations; the input has {shape[-1]} channels"
        )
    if min(std) <= 0:
        raise ValueError(f"normalise has the standard deviations {std}; each must be above 0")
    # float32 also under mixed precision: one subtraction in half precision would cost grey levels.
    layer = keras.layers.Normalization(
        axis=-1, mean=mean, variance=[value**2 for value in std], dtype="float32", name="normalise"
    )
    return image, layer(image)


def smoothed(film: keras.KerasTensor, times: int) -> keras.KerasTensor:
    """Return the film after so many means of 3 x 3 px, ``"low_pass1"``...: about a Gaussian of sqrt(2 times / 3) px.

    Quantisation and JPEG change a film pixel by pixel, which a network with strides answers to; what tells diseases
    apart is larger. At the border the mean is of the pixels that are there. Source of the idea: Zhang 2019, section 3.
    """
    for time in range(times):
        film = keras.layers.AveragePooling2D(3, 1, padding="same", name=f"low_pass{time + 1}")(film)
    return film


def both_sides(film: keras.KerasTensor) -> keras.KerasTensor:
    """Return the films and then their mirror images, (N, H, W, C) to (2 N, H, W, C), after ``"both_sides"``."""
    return keras.layers.Concatenate(axis=0, name="both_sides")(
        [film, _named(keras.ops.flip(film, axis=2), "mirror_images")]
    )


def mean_of_sides(features: keras.KerasTensor) -> keras.KerasTensor:
    """Return the mean of each film's features and its mirror image's turned back, of what `both_sides` became.

    (2 N, h, w, C) to (N, h, w, C), ``"mean_of_sides"``. Where pooling and a linear layer follow, the logits are the
    mean of both sides' logits, and a film and its mirror image get one answer. Keras' own operations only, so that the
    file opens without this package. Source of the idea: Krizhevsky 2012, section 4.1, with logits for probabilities.
    """
    film, mirrored = keras.ops.split(features, 2, axis=0)
    turned = _named(keras.ops.flip(mirrored, axis=2), "mirrored_back")
    return keras.layers.Average(name=MEAN_OF_SIDES)([_named(film, "sides"), turned])


def _named(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Return a tensor whose operation has this name; Keras' own count the models of a process: files would differ."""
    tensor._keras_history.operation.name = name
    return tensor


def logits_layer(units: int, seed: int | None = None) -> keras.layers.Dense:
    """Return the last layer: ``"logits"``, linear, float32 under every precision policy."""
    return keras.layers.Dense(
        units,
        kernel_initializer=keras.initializers.GlorotUniform(seed=layer_seed(seed, "logits")),
        dtype="float32",
        name="logits",
    )


def dropout_layer(rate: float, seed: int | None, name: str = "dropout") -> keras.layers.Dropout:
    """Return dropout with a seed of its own, so that two runs with one seed drop the same units."""
    return keras.layers.Dropout(rate, seed=layer_seed(seed, name), name=name)


def output_units(num_classes: int, compat: str) -> int:
    """Return the number of logits: the papers give two classes one sigmoid, ours give C classes C logits.

    Raises
    ------
    ValueError
        If `num_classes` is below 1 or `compat` is unknown.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1")
    if compat not in ("ours", "paper", "authors"):
        raise ValueError(f"compat is '{compat}'; expected ours, paper or authors")
    return 1 if num_classes == 2 and compat != "ours" else num_classes


def initialise(model: keras.Model, weights: str) -> keras.Model:
    """Return `model` with the weights of an init string laid on it; ``"none"`` leaves it as it is."""
    if weights != "none":
        # Imported here: reading weight files needs h5py and, for some, torch; building a network does not.
        from covidcxr_tf.models.weights import apply_init

        apply_init(model, weights)
    return model
