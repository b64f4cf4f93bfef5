"""CheXNet files converted once: a Keras 3 weight file that carries its provenance.

It is the weight file of `covidcxr_tf.models.chexnet.probe_network`, so any Keras 3 loads it into that network; the
provenance and a digest of the arrays stand as JSON in the HDF5 root attribute ``covidcxr_provenance``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.files import replacing
from covidcxr_tf.models.arrays import arrays_digest, assign_all, named_arrays, open_store
from covidcxr_tf.models.files import kind_of
from covidcxr_tf.models.layouts import read_checkpoint
from covidcxr_tf.models.provenance import Checkpoint, Provenance, provenance_of

PROVENANCE = "covidcxr_provenance"
DIGEST = "arrays_sha256"
SUFFIX = ".weights.h5"


def convert(source: str | Path, target: str | Path, layout: str | None = None, split: str = "unknown") -> Provenance:
    """Write a published CheXNet file as a Keras 3 weight file with its provenance; return the provenance.

    Parameters
    ----------
    source : str or path
    target : str or path
        Must end in ``.weights.h5``.
    layout : str, optional
        One of `covidcxr_tf.models.provenance.LAYOUTS`; left out, the content decides.
    split : str
        What is known of the films that the file was trained on; stored as stated.

    Raises
    ------
    WeightsError
        If the source cannot be read, is incomplete, or holds a value that is not finite.
    """
    from covidcxr_tf.models.chexnet import probe_network

    target = Path(target)
    if not target.name.endswith(SUFFIX):
        raise WeightsError(f"the name is '{target.name}'", where=target, expected=f"a name that ends in {SUFFIX}")
    layers, known = read_checkpoint(source, layout, split)
    for name, arrays in layers.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise WeightsError(f"the layer {name} holds values that are not finite", where=source)
    model = probe_network(known)
    assign_all(model, layers, where=source)
    document = {"schema_version": 1, **known.as_dict(), DIGEST: arrays_digest(layers)}
    with replacing(target) as aside, tempfile.TemporaryDirectory(prefix=".covidcxr-", dir=target.parent) as folder:
        written = Path(folder) / f"model{SUFFIX}"
        model.save_weights(written)
        with h5py.File(written, "a") as store:
            store.attrs[PROVENANCE] = json.dumps(document)
        aside.write_bytes(written.read_bytes())
    return known


def read_chexnet(path: str | Path) -> Checkpoint:
    """Return a CheXNet file, converted or as published.

    Raises
    ------
    WeightsError
        If it is missing, damaged or no CheXNet.
    """
    path = Path(path)
    if kind_of(path) != "HDF5":
        return read_checkpoint(path)
    document = stored_provenance(path)
    if document is None:
        return read_checkpoint(path)
    try:
        known = provenance_of(document)
    except TypeError as cause:
        raise WeightsError(f"its provenance is incomplete: {cause}", where=path, remedy="convert it again") from cause
    with open_store(path) as store:
        return Checkpoint(named_arrays(store), known)


def stored_provenance(path: str | Path) -> dict[str, Any] | None:
    """Return the provenance document of a converted file, digest included; None where the file has none.

    Raises
    ------
    WeightsError
        If the file is missing or damaged.
    """
    path = Path(path)
    if kind_of(path) != "HDF5":
        return None
    with open_store(path) as store:
        if PROVENANCE not in store.attrs:
            return None
        document = json.loads(store.attrs[PROVENANCE])  # ValueError: what is no JSON is damage
        if not isinstance(document, dict):
            raise ValueError("its provenance is no JSON object")
        return document
