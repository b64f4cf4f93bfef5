"""One uploaded film to what the page shows of it: numbers, warnings, the film and where the model looked."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.imaging.crop import Box, box_pixels
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.lungs.masks import GOOD
from covidcxr_tf.serving.film_bytes import upright_png
from covidcxr_tf.serving.problems import invalid

if TYPE_CHECKING:
    from covidcxr_tf.serving.limits import Limits
    from covidcxr_tf.serving.servable import Servable
    from covidcxr_tf.serving.work import Worker

__all__ = ["SHOWN_SIDE", "WARNINGS", "answer_film", "describe_model", "predicted_index"]

Film = npt.NDArray[np.float32]
Outputs = Mapping[str, np.ndarray]

SHOWN_SIDE = 1600
"""Longest side in pixels of the film as the page shows it: what a large screen can."""

UNREADABLE, NO_LUNGS = 1, 2
GRAPH_READS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8")  # first bytes of PNG, JPEG, BMP and GIF
WHOLE_FILM: Box = (0.0, 0.0, 1.0, 1.0)
UNLIKE_FILMS = 1.0  # of `ood_score`: the gate's limit, see `covidcxr_tf.gate`

NOT_A_DIAGNOSIS = "A research tool's answer, not a diagnosis: it must not guide the care of a patient."
WARNINGS: dict[str, str] = {
    "lungs_not_found": (
        "No lungs were found. The model judged the whole film, which it was not trained on: "
        "do not rely on this answer. It may not be a frontal chest film."
    ),
    "lungs_doubtful": (
        "The lungs were found only in part or in an odd shape, or the film is inverted or turned: "
        "the model may have looked at the wrong place."
    ),
    "not_a_chest_film": (
        "This is probably not a chest film like those the model was trained on: do not rely on this answer."
    ),
    "no_heat": "The heat map is empty: nothing on the film speaks for this class.",
    "not_a_diagnosis": NOT_A_DIAGNOSIS,
}
"""Each warning's code and plain sentence."""


class _Judged(NamedTuple):
    """What one version of the model says of a film."""

    facts: dict[str, Any]
    box: Box
    target: int
    heat: npt.NDArray[np.float32] | None
    most_unlike: float
    model: dict[str, Any]


def answer_film(
    worker: Worker,
    content: bytes,
    *,
    name: str,
    class_index: int = -1,
    limits: Limits,
    picture: bool = True,
) -> dict[str, Any]:
    """Return all that the page shows of one film.

    Parameters
    ----------
    worker : Worker
        Who runs the model. All of one answer comes from one version, the newest.
    content : bytes
        The file, of any kind that `read_image` reads.
    name : str
        What the answer calls the film.
    class_index : int
        The class whose heat map is wanted; -1: the predicted one.
    limits : Limits
        Its `max_pixels` is the largest film, judged by its header.
    picture : bool
        False leaves the film's own pixels out (they have been sent before).

    Returns
    -------
    dict
        Plain JSON. Pictures are base64 PNG, at most `SHOWN_SIDE` px: ``picture`` the upright film in 16-bit grey,
        ``heatmap`` 8-bit grey of the same size, 255 the largest heat, 0 outside of what the model saw.

    Raises
    ------
    ImageError
        If the film cannot be read.
    ServingProblem
        If the class does not exist, or the model is not there, busy or too slow.
    """
    begun = time.perf_counter()
    film = read_image(content, max_pixels=limits.max_pixels, name="the film")
    ways = _ways(content, film, limits)
    read = time.perf_counter()
    judged, _ = worker.do(lambda servable, left: _judge(servable, ways, class_index, left))
    worker.metrics.films({"status": judged.facts["status"]})
    ran = time.perf_counter()
    shown = _shown(film)
    heatmap = _heat_picture(judged, shown.shape)
    return {
        "schema_version": 1,
        "name": name,
        "rows": film.shape[0],
        "columns": film.shape[1],
        **judged.facts,
        "warnings": _warnings(judged.facts, heatmap, judged.most_unlike),
        "heatmap": heatmap,
        "picture": _picture(_png(_levels16(shown)), shown.shape) if picture else None,
        "model": judged.model,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {"reading": round(read - begun, 3), "model": round(ran - read, 3)},
    }


def describe_model(servable: Servable) -> dict[str, Any]:
    """Return what the page tells of a model: name, version, digest, classes, cut-off."""
    card = servable.card
    classes = list(card.get("classes", []))
    return {
        "name": servable.name,
        "version": int(servable.version),
        "sha256": card.get("model_sha256"),
        "arch": card.get("arch"),
        "task": card.get("task", "classification"),
        "classes": classes,
        "positive": card.get("positive"),
        "threshold": card.get("threshold"),
        "finds_lungs": bool(card.get("lung_model")),
        "explains": "explain" in servable.signatures,
    }


def predicted_index(probabilities: Sequence[float], classes: Sequence[str], positive: object, cut_off: object) -> int:
    """Return the place of the predicted class.

    Of two classes the positive one if it reaches the cut-off, where there is one; otherwise the most probable one. This
    is the rule of ``covidcxr predict``.
    """
    if isinstance(cut_off, (int, float)) and len(classes) == 2 and positive in classes:
        place = list(classes).index(str(positive))
        return place if probabilities[place] >= cut_off else 1 - place
    return int(np.argmax(probabilities))


def _ways(content: bytes, film: Film, limits: Limits) -> Iterator[bytes]:
    """Give what can be sent to the model: the file itself where the graph reads it upright, then the film as PNG.

    16 bits round a colour film's luma, which may move a grey level by one and a probability by some 1e-4.
    """
    if content.startswith(GRAPH_READS) and upright_png(content, limits) is content:
        yield content
    yield _png(_levels16(film), effort=0)


def _judge(servable: Servable, ways: Iterable[bytes], class_index: int, left: float) -> _Judged:
    """Run both signatures of one version within `left` seconds."""
    end = time.monotonic() + left
    for sent in ways:
        seen = _run(servable, "serving_default", {"image_bytes": np.array([sent], dtype=object)}, end)
        if int(seen["status"][0]) != UNREADABLE:
            break
    else:
        limit = servable.card.get("limits", {}).get("max_pixels")
        raise invalid(f"the model refused the film; it reads at most {limit} pixels")
    facts = _numbers(seen, servable.card)
    index = _class_index(class_index, facts["predicted_index"], len(facts["classes"]))
    heat = None
    if "explain" in servable.signatures:
        inputs = {"image_bytes": np.array([sent], dtype=object), "class_index": np.array([index], dtype=np.int32)}
        heat = np.asarray(_run(servable, "explain", inputs, end)["heatmap"][0], dtype=np.float32)
    limit = servable.card.get("ood_threshold")
    return _Judged(
        facts, _box(seen), index, heat, UNLIKE_FILMS if limit is None else float(limit), describe_model(servable)
    )


def _run(servable: Servable, signature: str, inputs: dict[str, np.ndarray], end: float) -> Outputs:
    return servable.run(signature, inputs, timeout_s=max(0.001, end - time.monotonic()))


def _numbers(outputs: Outputs, card: Mapping[str, Any]) -> dict[str, Any]:
    classes = [word.decode() if isinstance(word, bytes) else str(word) for word in outputs["classes"][0]]
    probabilities = [float(value) for value in outputs["probabilities"][0]]
    positive, cut_off = card.get("positive"), card.get("threshold")
    index = predicted_index(probabilities, classes, positive, cut_off)
    status = int(outputs["status"][0])
    lungs = bool(card.get("lung_model")) and status != NO_LUNGS
    return {
        "classes": classes,
        "probabilities": probabilities,
        "predicted": classes[index],
        "predicted_index": index,
        "positive": positive,
        "threshold": cut_off,
        "status": status,
        "lung_box": list(_box(outputs)) if lungs else None,
        "lung_quality": _score(outputs, "lung_quality"),
        "ood_score": _score(outputs, "ood_score"),
    }


def _score(outputs: Outputs, key: str) -> float | None:
    """Return a score, or None where the model has none, which the signature writes as -1."""
    value = float(outputs[key][0])
    return value if value >= 0 else None


def _box(outputs: Outputs) -> Box:
    top, left, bottom, right = (float(value) for value in outputs["lung_box"][0])
    return (top, left, bottom, right) if top < bottom and left < right else WHOLE_FILM


def _class_index(wanted: int, predicted: int, count: int) -> int:
    if not -1 <= wanted < count:
        raise invalid(f"class_index is {wanted}; expected -1 (predicted) to {count - 1}")
    return predicted if wanted == -1 else wanted


def _shown(film: Film) -> Film:
    longest = max(film.shape)
    if longest <= SHOWN_SIDE:
        return film
    rows, columns = (max(1, round(side * SHOWN_SIDE / longest)) for side in film.shape)
    return resize(film, (rows, columns))


def _heat_picture(judged: _Judged, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Place the heat on the film's box, the largest value 255, as ``covidcxr explain`` does in the film's own size."""
    if judged.heat is None:
        return None
    heat = np.clip(judged.heat, 0.0, None)
    top, left, bottom, right = box_pixels(judged.box, shape)
    placed = np.zeros(shape, dtype=np.float32)
    rows, columns = bottom - top, right - left
    way = cv2.INTER_AREA if columns < heat.shape[1] and rows < heat.shape[0] else cv2.INTER_LINEAR
    placed[top:bottom, left:right] = cv2.resize(heat, (columns, rows), interpolation=way)
    peak = float(placed.max(initial=0.0))
    png = _png(to_uint8(placed / peak if peak > 0 else placed))
    facts = {"class": judged.facts["classes"][judged.target], "class_index": judged.target, "empty": peak <= 0}
    return {**facts, **_picture(png, shape)}


def _levels16(film: Film) -> npt.NDArray[np.uint16]:
    """Return the levels of `imaging.reading.encode_png16`, which `read_image` gives back to 1/131070."""
    return np.clip(np.rint(film.astype(np.float64) * 65535), 0, 65535).astype(np.uint16)


def _png(levels: npt.NDArray[np.unsignedinteger[Any]], effort: int = 1) -> bytes:
    # Packing a large film well takes longer than the model does, and it travels no farther than this machine.
    settings = (cv2.IMWRITE_PNG_COMPRESSION, effort, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    return cv2.imencode(".png", levels, settings)[1].tobytes()


def _picture(png: bytes, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"png": base64.b64encode(png).decode("ascii"), "rows": shape[0], "columns": shape[1]}


def _warnings(facts: Mapping[str, Any], heatmap: Mapping[str, Any] | None, most_unlike: float) -> list[dict[str, str]]:
    """Return the warnings that hold, the gravest first; the last one always holds."""
    quality, unlike = facts["lung_quality"], facts["ood_score"]
    holds = {
        "not_a_chest_film": unlike is not None and unlike > most_unlike,
        "lungs_not_found": facts["status"] == NO_LUNGS,
        "lungs_doubtful": facts["status"] != NO_LUNGS and quality is not None and quality < GOOD,
        "no_heat": heatmap is not None and bool(heatmap["empty"]),
        "not_a_diagnosis": True,
    }
    return [{"code": code, "text": WARNINGS[code]} for code, now in holds.items() if now]
