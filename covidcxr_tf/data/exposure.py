"""From attenuation to a film: beam, scatter, quanta, detector, display curve, and the marks each hospital leaves."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from covidcxr_tf.data.phantom import Map


@dataclasses.dataclass(frozen=True)
class Hospital:
    """One source of films: its equipment and its habits.

    `photons` is the mean count in a square of 0.01 cm2 without a patient, `scatter` the scattered share of the signal
    behind the mean body, `bone` the contrast of bone (low tube voltage = more), `blur` the detector's in cm, `toe`
    and `slope` the display curve, `sharpen` the strength of edge enhancement, `portable` the share of bedside films.
    """

    name: str
    photons: float
    scatter: float
    bone: float
    blur: float
    slope: float
    toe: float
    sharpen: float
    border: float
    portable: float
    aspect: float
    bits: int
    lead: str
    captions: tuple[str, str]  # on films of standing patients, on bedside films
    corner: str


HOSPITALS: dict[str, Hospital] = {
    "demo-north": Hospital(
        "demo-north", 60000, 0.5, 1.0, 0.03, 0.95, 0.02, 0.35, 0.0, 0.2, 1.0, 8, "L", ("", "PORTABLE"), "right"),
    "demo-south": Hospital(
        "demo-south", 15000, 0.6, 1.25, 0.04, 0.9, 0.06, 0.2, 0.02, 0.55, 0.86, 8, "R", ("", "AP SUPINE"), "left"),
    "demo-west": Hospital(
        "demo-west", 50000, 0.4, 1.3, 0.025, 1.25, 0.0, 0.7, 0.012, 0.3, 0.94, 16, "R",
        ("PA ERECT", "AP PORTABLE"), "left"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Technique:
    """The settings of one exposure, drawn around the hospital's habits."""

    photons: float
    low: float  # share of the lungs' range that goes to black
    high: float
    slope: float
    borders: tuple[float, float, float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, hospital: Hospital) -> Technique:
        """Draw the dose, the display window and the collimation of one film."""
        borders = hospital.border * rng.uniform(0, 2, 4) * (rng.random(4) < 0.6)
        return cls(
            photons=hospital.photons * float(rng.uniform(0.6, 1.5)),
            low=float(rng.uniform(0.02, 0.2)) + hospital.toe,
            high=float(rng.uniform(0.93, 1.0)),
            slope=hospital.slope * float(rng.uniform(0.9, 1.12)),
            borders=tuple(float(b) for b in borders),  # type: ignore[arg-type]
        )


def expose(attenuation: Map, hospital: Hospital, technique: Technique, pixel: float, rng: np.random.Generator) -> Map:
    """Return what the detector reads, as nepers below the open beam.

    Parameters
    ----------
    attenuation : numpy.ndarray
        float32 (H, W), nepers along each beam.
    hospital, technique : Hospital, Technique
        Equipment and settings.
    pixel : float
        Size of a pixel in cm: fewer quanta fall on a smaller one.
    rng : numpy.random.Generator
        The quanta's randomness.

    Returns
    -------
    numpy.ndarray
        float32 (H, W): minus the logarithm of primary plus scattered signal with quantum noise and detector blur.
    """
    height, width = attenuation.shape
    primary = np.exp(-attenuation)
    small = cv2.resize(primary, (max(width // 8, 4), max(height // 8, 4)), interpolation=cv2.INTER_AREA)
    reach = 3.0 / pixel * small.shape[0] / height
    # Scatter comes from the tissue itself: the open beam beside the patient sends none.
    tissue = small * (1 - np.exp(-3 * np.maximum(-np.log(small), 0)))
    haze = cv2.GaussianBlur(tissue, (0, 0), reach, borderType=cv2.BORDER_REPLICATE)
    scatter = 0.3 * hospital.scatter / (1 - hospital.scatter) * haze
    signal = primary + cv2.resize(scatter, (width, height), interpolation=cv2.INTER_LINEAR)
    quanta = technique.photons * (pixel / 0.1) ** 2
    # Above some tens of quanta Poisson's law is Gauss's within what eight bits show, and ten times faster.
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.sqrt(signal / np.float32(quanta))
    sigma = max(hospital.blur / pixel, 0.55)
    read = cv2.GaussianBlur(signal + noise, (0, 0), sigma)
    return -np.log(np.maximum(read, 1e-4))


def window_levels(reading: Map, lung: np.ndarray, body: np.ndarray) -> tuple[float, float]:
    """Return the nepers of clear lung and of the dense middle, by which an automatic exposure sets its window."""
    lungs = reading[lung] if lung.any() else reading
    dense = reading[body] if body.any() else reading
    return float(np.percentile(lungs, 5)), float(np.percentile(dense, 96))


def display(
    reading: Map, levels: tuple[float, float], hospital: Hospital, technique: Technique, pixel: float
) -> NDArray[np.float32]:
    """Return the film: window, edge enhancement and a film-like S curve; float32 [0, 1], bone bright."""
    clear, dense = levels
    span = max(dense - clear, 0.2)
    low = clear - technique.low * span - 0.06 * span
    high = clear + (dense - clear) / technique.high
    value = (reading - low) / (high - low)
    if hospital.sharpen:
        value = value + hospital.sharpen * (value - cv2.GaussianBlur(value, (0, 0), max(0.35 / pixel, 0.5)))
    value = np.clip(value, 0, 1.25)
    # A soft shoulder: bellies end near white without a flat patch, as on a film.
    curve = value ** np.float32(technique.slope)
    return (np.tanh(1.55 * curve) / np.float32(np.tanh(1.55 * 1.12))).clip(0, 1).astype(np.float32)


def burn_in(film: Map, hospital: Hospital, technique: Technique, caption: str, rng: np.random.Generator) -> Map:
    """Return the film with the shutter's black border, the lead letter and the caption.

    Parameters
    ----------
    film : numpy.ndarray
        float32 (H, W).
    hospital, technique : Hospital, Technique
        Where and how large the marks are.
    caption : str
        Text below the letter; may be empty.
    rng : numpy.random.Generator
        Places the marks within a finger's breadth.
    """
    height, width = film.shape
    out = film.copy()
    top, bottom, left, right = (round(share * max(film.shape)) for share in technique.borders)
    out[:top], out[height - bottom :] = 0.02, 0.02
    out[:, :left], out[:, width - right :] = 0.02, 0.02
    unit = max(film.shape) / 512
    jitter = rng.uniform(0, 0.02, 2)
    row = top + (0.06 + jitter[0]) * height
    column = left + (0.03 + jitter[1]) * width
    letter_at = column if hospital.corner == "left" else width - right - column - 20 * unit
    _write(out, hospital.lead, row, letter_at, 0.95 * unit, 2.2 * unit)
    if caption:
        size = 0.42 * unit
        wide = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
        text_at = column if hospital.corner == "left" else width - right - column - wide
        _write(out, caption, row + 20 * unit, text_at, size, unit)
    return out


def _write(film: Map, text: str, row: float, column: float, size: float, thick: float) -> None:
    canvas = np.zeros(film.shape, np.uint8)
    at = (round(column), round(row))
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, 255, max(round(thick), 1), cv2.LINE_AA)
    ink = cv2.GaussianBlur(canvas, (0, 0), max(0.4 * size, 0.3)).astype(np.float32) / 255
    film += (0.97 - film) * ink * 0.95
