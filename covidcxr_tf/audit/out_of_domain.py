"""Whether the model stays silent on pictures that are no upright chest film."""

from __future__ import annotations

import cv2
import numpy as np

from covidcxr_tf.audit.evidence import Evidence, Film, mean
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.classifiers import OK
from covidcxr_tf.progress import track

NAME = "out_of_domain"
#: From this probability on an answer is certain.
CERTAIN = 0.9
#: Films that are turned and inverted, and the side that pictures are brought to.
FILMS, SIDE = 20, 512
#: Pictures that scikit-image carries in its package.
PICTURES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "page", "text")


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the share of such pictures that get an answer of 90 % and more, and no warning.

    Photographs, noise, an empty film, and films of the set that are inverted, on their side or upside down. A warning
    is: no lungs found, or the verdict ``poor`` on them, or the model's own gate. ``details`` holds each kind.
    """
    answers: dict[str, list[bool]] = {}
    certain: dict[str, list[bool]] = {}
    pictures = [*_pictures(), *_noise(evidence.seed), *_turned(evidence)]
    for kind, film in track(pictures, len(pictures), "other pictures"):
        seen = evidence.loaded.film_input(film)
        image = seen.array[None].astype(np.float32) / np.float32(255)
        (found,), scores = evidence.loaded.answer(image)
        gated = scores is not None and scores[0] > 1
        warned = gated or seen.status != OK or (seen.quality or {}).get("verdict") == "poor"
        certain.setdefault(kind, []).append(bool(found.max() >= CERTAIN))
        answers.setdefault(kind, []).append(bool(found.max() >= CERTAIN and not warned))
    hits = np.array([hit for part in answers.values() for hit in part], np.float64)
    found_share = mean(hits, np.arange(len(hits)), evidence.resamples, evidence.seed)
    sentence = (
        f"{int(hits.sum())} of {len(hits)} pictures that are no upright chest film (photographs, noise, inverted or "
        "turned films) were answered with 90 % certainty and without a warning."
    )
    details = {
        kind: {"pictures": len(part), "certain": sum(certain[kind]), "certain_without_warning": sum(part)}
        for kind, part in answers.items()
    }
    return limits.judge(NAME, "share answered with certainty, unwarned", found_share, sentence, {"kinds": details})


def _pictures() -> list[tuple[str, Film]]:
    import skimage.data
    from skimage.color import rgb2gray

    found = []
    for name in PICTURES:
        picture = getattr(skimage.data, name)()
        grey = rgb2gray(picture[..., :3]) if picture.ndim == 3 else picture / 255
        found.append(("photographs", cv2.resize(grey.astype(np.float32), (SIDE, SIDE))))
    return found


def _noise(seed: int) -> list[tuple[str, Film]]:
    random = np.random.default_rng(seed)
    found = [("noise", random.random((SIDE, SIDE), np.float32)) for _ in range(5)]
    coarse = [cv2.resize(random.random((8, 8), np.float32), (SIDE, SIDE)) for _ in range(5)]
    return [*found, *(("noise", film) for film in coarse), ("empty", np.zeros((SIDE, SIDE), np.float32))]


def _turned(evidence: Evidence) -> list[tuple[str, Film]]:
    rows = np.arange(len(evidence.films))
    if len(rows) > FILMS:
        rows = np.sort(np.random.default_rng(evidence.seed).choice(rows, FILMS, replace=False))
    found = []
    for row in rows:
        film = evidence.read(int(row))
        found += [
            ("inverted", 1 - film),
            ("on its side", np.ascontiguousarray(np.rot90(film))),
            ("upside down", np.ascontiguousarray(film[::-1])),
        ]
    return found
