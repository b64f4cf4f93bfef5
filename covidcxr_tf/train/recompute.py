"""Gradient recomputation: keep a few tensors of a forward pass and compute the rest again going back.

Source: Chen 2016, "Training deep nets with sublinear memory cost". The network is cut where a single tensor connects
both sides. Each part is a pure function of that tensor and its weights (Keras' ``stateless_call``) within
`tf.recompute_grad`; the moving statistics that a part gives out are assigned once, after its forward pass, so that
computing it again changes nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from covidcxr_tf.errors import ConfigError

SEGMENTS = 16  # at most; ResNet-101 at 1500 px would hold a twentieth less with 24, a quarter more with 12
GRADIENTS = 1.5  # what a part holds going back, in units of the outputs of its layers


def recomputed(model: keras.Model, cuts: Sequence[str] | None = None, segments: int = SEGMENTS) -> Callable[[Any], Any]:
    """Return what a training step calls instead of ``model(images, training=True)``.

    Loss and gradients are those of the plain call; batch normalisation's moving statistics move once. The part after
    the last cut is not computed again, so dropout may stand there and nowhere else.

    Parameters
    ----------
    model : keras.Model
        Flat: one input, one output, each layer called once.
    cuts : sequence of str, optional
        Names of layers after whose output the model is cut. Left out, `choose_cuts` chooses them.
    segments : int
        Parts of the model at most, at least 2, where `cuts` is left out.

    Returns
    -------
    callable
        Images (N, H, W, channels) float32 to logits; for use under a gradient tape within a `tf.function`.

    Raises
    ------
    ConfigError
        If the model is not flat, has no place to be cut at, has a random layer before the last cut, synchronised batch
        normalisation, or a cut is none.
    """
    chosen = list(cuts) if cuts is not None else choose_cuts(model, segments)
    possible = single_tensor_cuts(model)
    stray = [name for name in chosen if name not in possible]
    if stray:
        raise ConfigError(f"the model cannot be cut at '{stray[0]}'", expected=f"one of {', '.join(possible)}")
    if not chosen:
        raise ConfigError(f"no single tensor connects two parts of {model.name}", remedy="set train.recompute = false")
    chosen = sorted(set(chosen), key=possible.index)
    names = [layer.name for layer in model.layers]
    noise = [name for name in _random_layers(model) if names.index(name) <= names.index(chosen[-1])]
    if noise:
        raise ConfigError(
            f"'{noise[0]}' would draw other numbers when it is computed again",
            expected=f"random layers after the last cut ('{chosen[-1]}') only",
            remedy="set train.recompute = false",
        )
    if any(getattr(layer, "synchronized", False) for layer in model.layers):
        # The replicas would meet for their statistics in one order and for their gradients in another, and wait.
        raise ConfigError(
            "batch normalisation that is synchronised over several devices cannot be computed again",
            remedy="train on one device, or set train.recompute = false",
        )
    ends = [model.get_layer(name).output for name in chosen]
    parts = [
        keras.Model(start, end, name=f"segment_{number}")
        for number, (start, end) in enumerate(zip([model.input, *ends], [*ends, model.output]), start=1)
    ]

    def forward(images: Any) -> Any:
        features = _computed_again(parts[0], [tf.convert_to_tensor(images), *_weights(parts[0])])
        for part in parts[1:-1]:
            features = _computed_again(part, _one_by_one(features, *_weights(part)))
        return parts[-1](features, training=True)

    return forward


def _weights(part: keras.Model) -> list[Any]:
    return [tf.convert_to_tensor(variable.value) for variable in part.trainable_variables]


def _computed_again(part: keras.Model, arguments: Sequence[Any]) -> Any:
    """Return the output of a part for its input and its weights; its inner tensors are not kept.

    Its moving statistics are assigned here, once.
    """
    state = [tf.convert_to_tensor(variable.value) for variable in part.non_trainable_variables]

    def pure(features: Any, *weights: Any) -> tuple[Any, ...]:
        outputs, moved = part.stateless_call(list(weights), state, features, training=True)
        # No gradient goes through what was moved, else it would be computed, as zeros, over every feature map.
        return outputs, *(tf.stop_gradient(value) for value in moved)

    outputs, *moved = tf.recompute_grad(pure)(*arguments)
    for variable, value in zip(part.non_trainable_variables, moved, strict=True):
        variable.assign(value)
    return outputs


@tf.custom_gradient
def _one_by_one(*arguments: Any) -> tuple[Any, Callable]:
    """Return the arguments of a part; going back, none has its gradient before all have.

    Without it the part before could be computed again while kernels of this one still wait for their gradients, and
    the tensors of both would be held.
    """

    def backward(*gradients: Any) -> list[Any]:
        with tf.control_dependencies(gradients):
            return [tf.identity(gradient) for gradient in gradients]

    return [tf.identity(argument) for argument in arguments], backward


def single_tensor_cuts(model: keras.Model) -> list[str]:
    """Return the names of the layers whose output alone connects what lies before with what lies after, in order.

    The input and the last layer are not among them.

    Raises
    ------
    ConfigError
        If the model is not flat: one input, one output, no model inside, each layer called once.
    """
    if (
        len(model.inputs) != 1
        or len(model.outputs) != 1
        or any(isinstance(layer, keras.Model) for layer in model.layers)
    ):
        raise ConfigError(f"{model.name} is not flat", expected="one input, one output and no model inside another")
    steps = model.operations  # layers, and Keras' operations between them, each after all that it takes from
    place = {id(tensor): number for number, step in enumerate(steps) for tensor in _as_list(step.output)}
    # The last step that takes a tensor from this one.
    last_use = list(range(len(steps)))
    for number, step in enumerate(steps):
        for tensor in _inputs_of(step):
            if id(tensor) not in place:
                raise ConfigError(
                    f"what '{step.name}' takes does not come from the first call of a layer of {model.name}",
                    expected="layers and operations of Keras, each called once",
                    remedy="set train.recompute = false",
                )
            last_use[place[id(tensor)]] = number
    found, reach = [], 0  # the furthest use of any tensor before
    for number, step in enumerate(steps[:-1]):
        if 0 < number >= reach and isinstance(step, keras.layers.Layer):
            found.append(step.name)
        reach = max(reach, last_use[number])
    return found


def choose_cuts(model: keras.Model, segments: int = SEGMENTS) -> list[str]:
    """Return at most ``segments - 1`` places for `recomputed` with which the peak is least.

    What is held while a part goes back: the tensors between the parts up to its own input, and the outputs of its
    layers one and a half times, as their gradients come and go. Counted in values; open rows and columns count as 1.

    Raises
    ------
    ConfigError
        If `segments` is below 2 or the model is not flat.
    """
    if segments < 2:
        raise ConfigError(f"segments is {segments}", expected="at least 2")
    steps = model.operations
    sizes = [
        sum(math.prod(side or 1 for side in tensor.shape[1:]) for tensor in _as_list(step.output)) for step in steps
    ]
    names = [step.name for step in steps]
    noise = [names.index(name) for name in _random_layers(model)]
    before_noise = min(noise, default=len(names))
    places = [number for name in single_tensor_cuts(model) if (number := names.index(name)) < before_noise]
    low, high = 0, math.ceil(GRADIENTS * sum(sizes))
    while low < high:
        middle = (low + high) // 2
        if _cuts_within(middle, sizes, places, segments) is None:
            low = middle + 1
        else:
            high = middle
    return [names[place] for place in _cuts_within(high, sizes, places, segments) or ()]


def _cuts_within(bound: int, sizes: list[int], places: list[int], segments: int) -> tuple[int, ...] | None:
    """Return the fewest cuts with which no part holds more than `bound`; None where there are none."""
    upto = [0, *itertools.accumulate(sizes)]
    ends: dict[int, tuple[int, tuple[int, ...]]] = {-1: (0, ())}  # last cut -> least kept between parts, and the cuts
    for _ in range(segments):
        for kept, cuts in sorted(ends.values()):
            if kept + GRADIENTS * (upto[-1] - upto[(cuts or (-1,))[-1] + 1]) <= bound:
                return cuts
        further: dict[int, tuple[int, tuple[int, ...]]] = {}
        for last, (kept, cuts) in ends.items():
            for place in places:
                if place > last and kept + GRADIENTS * (upto[place + 1] - upto[last + 1]) <= bound:
                    new = (kept + sizes[place], (*cuts, place))
                    further[place] = min(further.get(place, new), new)
        ends = further
    return None


def _random_layers(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if getattr(layer, "seed_generator", None) is not None]


def _inputs_of(step: Any) -> list[Any]:
    """Return the tensors that a layer or an operation takes: none for the input itself."""
    return [] if isinstance(step, keras.layers.InputLayer) else _as_list(step.input)


def _as_list(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
