"""Golden answers: synthetic films and what the trained model says of them, replayed on the exported graph.

The films hold no patient. What the model says is computed twice: through `LoadedModel` and
`covidcxr_tf.explain.gradcam`, as ``predict`` and ``explain`` do, and through the graph in memory. The graph that is
read back from disk has to agree with both.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from covidcxr_tf.catalog import resolve
from covidcxr_tf.classifiers import UNREADABLE, FilmInput, LoadedModel
from covidcxr_tf.data.synthetic import make_film
from covidcxr_tf.errors import ImageError, RunFailed
from covidcxr_tf.export.film_graph import NONE
from covidcxr_tf.export.frozen import heat_layer
from covidcxr_tf.imaging.crop import lungs_found, mask_film
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import encode_png16, read_image
from covidcxr_tf.imaging.stack import channels, film_levels, framed

Answers = dict[str, np.ndarray]
Signatures = Mapping[str, Callable[..., Mapping[str, tf.Tensor]]]

GOLDEN = "golden_io.npz"
SIDE = 320  # px of the golden films
#: Largest difference that is no fault, by output; others have to be equal.
TOLERANCES = {"probabilities": 1e-4, "heatmap": 1e-3, "lung_box": 1e-6, "lung_quality": 1e-5, "ood_score": 1e-3}
LABELS = ("normal", "covid19", "pneumonia")


@dataclass(frozen=True)
class Requests:
    """What the three signatures are asked.

    Attributes
    ----------
    files : tuple of bytes
    class_index : int32 [N]
    image : float32 [M, S, S, 1]
        The readable films as the network's square, before they are made into channels.
    """

    files: tuple[bytes, ...]
    class_index: np.ndarray
    image: np.ndarray


def golden_requests(loaded: LoadedModel, films: int = 3) -> Requests:
    """Return requests: synthetic films as 16- and 8-bit PNG and JPEG, a ramp without lungs, and a file cut short."""
    files = [_encoded(make_film(LABELS[k % 3], seed=k, size=SIDE).film, k) for k in range(films)]
    ramp = np.add.outer(np.linspace(0, 0.5, 96), np.linspace(0, 0.5, 128)).astype(np.float32)
    files += [encode_png16(ramp), files[0][: len(files[0]) // 2]]
    index = np.array([(-1, 0, len(loaded.classes) - 1)[k % 3] for k in range(len(files))], np.int32)
    readable = [_square(loaded, read_image(content)) for content in files[:-1]]
    return Requests(tuple(files), index, np.stack(readable)[..., np.newaxis])


def python_answers(loaded: LoadedModel, requests: Requests) -> Answers:
    """Return what the trained model says, ``signature/output`` -> array, without the graph."""
    seen = [_film_input(loaded, content) for content in requests.files]
    found = [_judged(loaded, one, int(index)) for one, index in zip(seen, requests.class_index, strict=True)]
    shared = {name: np.stack([one[name] for one in found]) for name in found[0]}
    answers = {f"serving_default/{name}": shared[name] for name in ("probabilities", "status", "lung_box")}
    answers |= {f"serving_default/{name}": shared[name] for name in ("lung_quality", "ood_score")}
    answers |= {f"explain/{name}": shared[name] for name in ("probabilities", "status", "lung_box", "heatmap")}
    answers["explain/class_index"] = shared["class_index"]
    cfg = loaded.image
    levels = [channels(film_levels(image[..., 0], cfg), cfg, loaded.reference) for image in requests.image]
    answers["tensors/probabilities"] = loaded.probabilities(_fractions(np.stack(levels))).astype(np.float32)
    return answers


def graph_answers(signatures: Signatures, requests: Requests) -> Answers:
    """Return what a graph says, ``signature/output`` -> array."""
    files = tf.constant(list(requests.files))
    given = {
        "serving_default": {"image_bytes": files},
        "tensors": {"image": tf.constant(requests.image)},
        "explain": {"image_bytes": files, "class_index": tf.constant(requests.class_index)},
    }
    answers: Answers = {}
    for signature, inputs in given.items():
        outputs = signatures[signature](**inputs)
        answers |= {f"{signature}/{name}": value.numpy() for name, value in outputs.items() if name != "classes"}
    return answers


def differences(expected: Answers, found: Answers) -> dict[str, float]:
    """Return output -> largest difference, over what both hold; infinite where shapes differ or it is NaN.

    Absolute, and beyond 1, where only scores of far films lie, relative.
    """
    largest: dict[str, float] = {}
    for key in expected.keys() & found.keys():
        one, other = expected[key], found[key]
        same = one.shape == other.shape and bool(np.isfinite(other).all())
        apart = np.abs(one.astype(np.float64) - other) / np.maximum(1, np.abs(one)) if same else np.array([np.inf])
        value = float(apart.max(initial=0.0))
        output = key.rpartition("/")[2]
        largest[output] = max(value, largest.get(output, 0.0))
    return dict(sorted(largest.items()))


def check_equal(expected: Answers, found: Answers, what: str, tolerances: Mapping[str, float] | None = None) -> None:
    """Raise RunFailed where an answer differs by more than is allowed (`TOLERANCES`, 0 for what has none)."""
    allowed = TOLERANCES if tolerances is None else tolerances
    for output, value in differences(expected, found).items():
        if value > allowed.get(output, 0.0):
            raise RunFailed(
                f"the exported graph is not the trained model: {output} differ by {value:.3g} from {what}",
                expected=f"at most {allowed.get(output, 0.0):.0e}",
                remedy="nothing was published",
            )


def write_golden(path: Path, requests: Requests, python: Answers, graph: Answers) -> None:
    """Write ``golden_io.npz``: ``image_bytes`` (all files in a row, uint8) with ``image_ends``, and the answers."""
    arrays = {
        "image_bytes": np.frombuffer(b"".join(requests.files), np.uint8),
        "image_ends": np.cumsum([len(content) for content in requests.files]),
        "class_index": requests.class_index,
        "image": requests.image,
    }
    arrays |= {f"python/{key}": value for key, value in python.items()}
    arrays |= {f"graph/{key}": value for key, value in graph.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def read_golden(path: Path) -> tuple[Requests, Answers, Answers]:
    """Return the requests of a ``golden_io.npz``, and what model and graph had answered."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    content, ends = arrays["image_bytes"].tobytes(), [0, *arrays["image_ends"].tolist()]
    files = tuple(content[first:last] for first, last in itertools.pairwise(ends))
    requests = Requests(files, arrays["class_index"], arrays["image"])

    def under(prefix: str) -> Answers:
        return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

    return requests, under("python/"), under("graph/")


def replay(folder: Path, *, exact: bool = True) -> None:
    """Load a version folder from disk and replay its golden answers.

    Parameters
    ----------
    folder : Path
        ``OUT/NAME/N``.
    exact : bool
        False: compare with the graph's own answers alone, as a variant of lower precision differs from the model's.

    Raises
    ------
    RunFailed
        If an answer differs.
    """
    requests, python, graph = read_golden(folder / "assets.extra" / GOLDEN)
    served = graph_answers(tf.saved_model.load(str(folder), tags=["serve"]).signatures, requests)
    check_equal(graph, served, "the graph before it was written")
    if exact:
        check_equal(python, served, "the trained model's answers")


def _encoded(film: np.ndarray, number: int) -> bytes:
    if number % 3 == 0:
        return encode_png16(film)
    buffer = io.BytesIO()
    kind = "PNG" if number % 3 == 1 else "JPEG"
    Image.fromarray(to_uint8(film)).save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return buffer.getvalue()


def _film_input(loaded: LoadedModel, content: bytes) -> FilmInput | None:
    try:
        return loaded.film_input(read_image(content))
    except ImageError:
        return None


def _judged(loaded: LoadedModel, seen: FilmInput | None, index: int) -> dict[str, Any]:
    """Return one film's answers."""
    size = loaded.image.size
    none = NONE if loaded.lungs is None else 0.0
    if seen is None:
        blank = np.zeros(len(loaded.classes), np.float32), np.zeros((size, size), np.float32), np.zeros(4, np.float32)
        return _named(*blank, np.int32(UNREADABLE), np.float32(none), np.int32(-1), np.float32(NONE))
    image = _fractions(seen.array)
    (probabilities,), scores = loaded.answer(image[np.newaxis])
    if index < 0:
        called = loaded.decide(probabilities) if loaded.task != "multilabel" else None
        index = int(np.argmax(probabilities)) if called is None else loaded.classes.index(called)
    # Through the catalog, as `explain` does: the two rooms stand beside each other.
    explain = resolve("explainers", "gradcam")
    layer = heat_layer(loaded.model, loaded.arch)
    heat = explain(loaded.model, image, index, layer, independent=loaded.task == "multilabel")
    quality = NONE if seen.quality is None else seen.quality["score"]
    box = np.asarray(seen.box, np.float32)
    numbers = np.float32(quality), np.int32(index), np.float32(NONE if scores is None else scores[0])
    return _named(probabilities.astype(np.float32), heat, box, np.int32(seen.status), *numbers)


def _named(*values: Any) -> dict[str, Any]:
    names = ("probabilities", "heatmap", "lung_box", "status", "lung_quality", "class_index", "ood_score")
    return dict(zip(names, values, strict=True))


def _square(loaded: LoadedModel, film: np.ndarray) -> np.ndarray:
    """Return the film cropped (and masked) as the model wants it, float32 (S, S)."""
    seen = loaded.film_input(film)
    if loaded.image.lungs == "mask" and seen.region is not None and lungs_found(seen.region):
        film = mask_film(film, seen.region)
    return framed(film, loaded.image, seen.box)


def _fractions(levels: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(levels).astype(np.float32) / np.float32(255)
