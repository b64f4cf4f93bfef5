"""A trained run to a version folder that TensorFlow Serving, ``covidcxr serve`` or libtensorflow load as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from covidcxr_tf.classifiers import LoadedModel, PatchModel
from covidcxr_tf.errors import RunFailed, UsageError
from covidcxr_tf.export import golden
from covidcxr_tf.export.card import model_card
from covidcxr_tf.export.folding import Variant
from covidcxr_tf.export.graph import ServableGraph
from covidcxr_tf.export.publish import next_version, publishing
from covidcxr_tf.export.tf_serving import check_name, write_server_files
from covidcxr_tf.export.warmup import WARMUP, write_warmup
from covidcxr_tf.files import write_json
from covidcxr_tf.models.shipped import shipped_models
from covidcxr_tf.predict import holds_several

__all__ = ["BFLOAT16_LIMIT", "Exported", "export_model"]

BFLOAT16_LIMIT = 0.02
"""Largest change of a probability with which the bfloat16 variant is published."""

AGREEMENT_FILMS = {"float32": 3, "bfloat16": 12}
EXTRA = "assets.extra"


@dataclass(frozen=True)
class Exported:
    """What `export_model` has written.

    Attributes
    ----------
    folder : Path
        ``OUT/NAME/N``.
    card : dict
        ``assets.extra/card.json``.
    server_files : tuple of Path
        Configurations and client examples in ``OUT``.
    """

    folder: Path
    card: dict[str, Any]
    server_files: tuple[Path, ...]


def export_model(
    run: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    version: int | None = None,
    variant: Variant = "float32",
    progress: Callable[[str], None] | None = None,
) -> Exported:
    """Write a classifier as SavedModel, replay its golden answers, and publish it in one step.

    Parameters
    ----------
    run : str or Path
        Run folder, ``.keras`` file or shipped name.
    out : str or Path
        The folder of served models.
    name : str, optional
        Under which it is served; the model's own by default.
    version : int, optional
        From 1; the next free one by default.
    variant : "float32" or "bfloat16"
        What the classifier computes in. The second is for processors with bfloat16 arithmetic.
    progress : callable, optional
        Called with a few words before each step.

    Raises
    ------
    UsageError
        For an ensemble, a two-level run, a model of patches, a name that cannot be one, or a version that is there.
    WeightsError
        If the model or its lung network cannot be read.
    RunFailed
        If the written graph does not answer as the trained model does; nothing is left then.
    """
    tell = progress or (lambda _words: None)
    if variant not in AGREEMENT_FILMS:
        raise UsageError(f"'{variant}' is no variant", expected=" or ".join(AGREEMENT_FILMS))
    tell("loading the model")
    loaded = _one_model(run)
    check_name(name or loaded.name)
    folder = Path(out) / (name or loaded.name)
    number = next_version(folder) if version is None else version
    if number < 1:
        raise UsageError(f"version {number}", expected="a whole number from 1")
    with publishing(folder, number) as aside:
        tell("tracing the graph")
        graph = ServableGraph(loaded, variant)
        tell("comparing the graph with the trained model")
        requests = golden.golden_requests(loaded, AGREEMENT_FILMS[variant])
        python = golden.python_answers(loaded, requests)
        answers = golden.graph_answers(graph.endpoints, requests)
        agreement = _agreement(variant, python, answers)
        tell("writing")
        with _quiet():
            tf.saved_model.save(graph, str(aside), signatures=graph.endpoints)
        extra = aside / EXTRA
        extra.mkdir()
        golden.write_golden(extra / golden.GOLDEN, requests, python, answers)
        write_warmup(extra / WARMUP, folder.name, requests)
        card = model_card(loaded, folder.name, number, variant, graph.endpoints, agreement)
        write_json(extra / "card.json", card)
        tell("replaying the golden answers from disk")
        golden.replay(aside, exact=variant == "float32")
    files = write_server_files(Path(out), folder.name)
    return Exported(folder / str(number), card, tuple(files))


def _one_model(run: str | Path) -> LoadedModel:
    named = isinstance(run, str) and run in shipped_models()
    if not named and holds_several(run):
        raise UsageError(
            "holds several models as one",
            where=run,
            expected="one classifier of whole films",
            remedy="export each member's (or level's) folder and combine the answers at the client",
        )
    loaded = LoadedModel.load(run)
    if isinstance(loaded, PatchModel):
        raise UsageError(
            "sees patches, which vote; that is not written as a graph",
            where=loaded.path,
            expected="one classifier of whole films",
            remedy="use covidcxr predict and explain for this model",
        )
    return loaded


def _agreement(variant: Variant, python: golden.Answers, answers: golden.Answers) -> dict[str, Any]:
    """Return how far the graph is from the trained model on the golden films; too far is RunFailed."""
    found = golden.differences(python, answers)
    if variant == "float32":
        golden.check_equal(python, answers, "the trained model's answers")
    elif found["probabilities"] > BFLOAT16_LIMIT or found["status"] > 0:
        raise RunFailed(
            f"bfloat16 changes a probability by {found['probabilities']:.3g}",
            expected=f"at most {BFLOAT16_LIMIT}",
            remedy="export it with --variant float32",
        )
    expected, served = python["serving_default/probabilities"], answers["serving_default/probabilities"]
    readable = python["serving_default/status"] != 1
    return {
        "against": "the trained model in float32, synthetic films",
        "films": int(readable.sum()),
        "largest_difference": {key: found[key] for key in ("probabilities", "heatmap", "lung_box", "lung_quality")},
        "same_most_probable_class": int((expected.argmax(axis=1) == served.argmax(axis=1))[readable].sum()),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow from telling which assets it has written: the folder is not the final one."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
