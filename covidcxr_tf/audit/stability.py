"""Whether the answer changes when the film is saved, shifted or copied as films are."""

from __future__ import annotations

import cv2
import numpy as np

from covidcxr_tf.audit.evidence import Change, Evidence, Film, Look
from covidcxr_tf.audit.finding import Finding
from covidcxr_tf.audit.limits import Limits
from covidcxr_tf.imaging.levels import to_uint8

NAME = "stability"
JPEG_QUALITY, CONTRAST, BRIGHTNESS, SHIFT, BLUR = 50, 0.8, 0.06, 0.03, 0.004


def jpeg(film: Film, look: Look) -> Film:
    """Return the film after a JPEG of quality 50."""
    done, packed = cv2.imencode(".jpg", to_uint8(film), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "cv2 encodes any grey film"
    return cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE).astype(np.float32) / np.float32(255)


def contrast(film: Film, look: Look) -> Film:
    """Return the film with four fifths of its contrast, about its own mean."""
    return film.mean() + np.float32(CONTRAST) * (film - film.mean())


def brighter(film: Film, look: Look) -> Film:
    """Return the film 6 % of the scale brighter."""
    return film + np.float32(BRIGHTNESS)


def shift(film: Film, look: Look) -> Film:
    """Return the film 3 % further down and right; the edge repeats."""
    rows, columns = (max(1, round(SHIFT * length)) for length in film.shape)
    return np.pad(film, ((rows, 0), (columns, 0)), mode="edge")[: film.shape[0], : film.shape[1]]


def blur(film: Film, look: Look) -> Film:
    """Return the film with a Gaussian blur of 0.4 % of its rows."""
    return cv2.GaussianBlur(film, (0, 0), max(0.5, BLUR * film.shape[0]))


CHANGES: dict[str, Change] = {
    "JPEG of quality 50": jpeg,
    "four fifths of the contrast": contrast,
    "6 % brighter": brighter,
    "shifted by 3 %": shift,
    "blurred": blur,
}


def check(evidence: Evidence, limits: Limits) -> Finding:
    """Return the share of films called otherwise under the worst of five harmless changes; each in ``details``.

    The box that the model cuts out stays that of the film as it was: what moves is the network's answer alone.
    """
    before = evidence.called(evidence.probabilities())
    shares = {
        name: evidence.share(before != evidence.called(evidence.probabilities(name, change)))
        for name, change in CHANGES.items()
    }
    worst = max(shares, key=lambda name: shares[name]["value"])
    sentence = (
        f"The most upsetting of five changes that no reader would mind ({worst}) changes the answer on "
        f"{100 * shares[worst]['value']:.0f} % of films."
    )
    return limits.judge(NAME, "share of films called otherwise", shares[worst], sentence, {"changes": shares})
