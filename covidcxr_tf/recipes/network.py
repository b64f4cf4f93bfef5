"""The network that a config asks for, whatever its task: what classifiers and lung networks are built alike with."""

from __future__ import annotations

import inspect
import json
from typing import Any

import keras

from covidcxr_tf.catalog import nearest, resolve
from covidcxr_tf.config import Config
from covidcxr_tf.errors import ConfigError

__all__ = ["build_network", "freeze", "prepared"]


def build_network(
    config: Config, shape: tuple[int | None, ...], outputs: int, settings: dict[str, Any], fixed: tuple[str, ...] = ()
) -> keras.Model:
    """Return the architecture of a config with its initial weights.

    The architecture's ``build`` gets those of the settings that its signature names: a new one is a file and a line in
    the catalog.

    Parameters
    ----------
    config : Config
    shape : tuple of int
        Rows, columns, channels.
    outputs : int
        Classes, or channels of a mask.
    settings : dict
        The task's own, name -> value; ``compat``, ``dropout``, ``low_pass``, ``mirrored``, ``seed`` and
        ``blocks`` are the config's.
    fixed : tuple of str
        Settings that are the architecture's own even if its signature names them.

    Raises
    ------
    ConfigError
        For a low pass or a mean of both sides that the architecture has no layers for.
    """
    wanted = config.model
    build = resolve("archs", config.arch)
    known = inspect.signature(build).parameters.keys() - set(fixed)
    for name, nothing in (("low_pass", 0), ("mirrored", False)):
        value = getattr(wanted, name)
        if value != nothing and name not in known:
            raise ConfigError(
                f"model.{name} is {json.dumps(value)}, and {config.arch} has no such layers",
                expected=json.dumps(nothing),
            )
    given = settings | {
        "compat": config.compat,
        "dropout": wanted.dropout,
        "low_pass": wanted.low_pass,
        "mirrored": wanted.mirrored,
        "seed": config.seed,
    }
    if wanted.blocks:
        given["blocks"] = wanted.blocks
    return build(shape, outputs, weights=wanted.init, **{name: value for name, value in given.items() if name in known})


def prepared(network: keras.Model, config: Config) -> keras.Model:
    """Return the network, ready to be trained: the momentum of its statistics, and what of it is frozen.

    Raises
    ------
    ConfigError
        As `freeze`.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras's 0.99 follows weights that move little. From scratch, with some fifty steps an epoch, it lags so
            # far behind that validation looks like chance for ten epochs; 0.9 does not.
            layer.momentum = config.model.batch_norm_momentum
    if config.model.frozen_to:
        freeze(network, config.model.frozen_to)
    return network


def freeze(network: keras.Model, last: str) -> None:
    """Keep the layer `last` and all before it as they are, batch statistics too.

    Raises
    ------
    ConfigError
        If there is no such layer, or nothing is left to train.
    """
    names = [layer.name for layer in network.layers]
    if last not in names or last == names[-1]:
        raise ConfigError(
            f"model.frozen_to is '{last}'",
            expected=f"a layer of {network.name} before {names[-1]}",
            remedy=nearest(last, names) or None,
        )
    for layer in network.layers[: names.index(last) + 1]:
        layer.trainable = False
