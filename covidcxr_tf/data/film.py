"""One synthetic chest film from a label, a hospital and a seed, with its exact masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from covidcxr_tf.data.exposure import HOSPITALS, Hospital, Technique, burn_in, display, expose, window_levels
from covidcxr_tf.data.opacities import PATTERNS, draw_opacity
from covidcxr_tf.data.patient import Patient, Pose
from covidcxr_tf.data.phantom import MU_LUNG, MU_SOFT, Chest, Map, make_grid
from covidcxr_tf.data.skeleton import skeleton
from covidcxr_tf.data.soft_tissue import body, gas, vessels
from covidcxr_tf.errors import UsageError

SOURCES: tuple[str, ...] = tuple(HOSPITALS)
LABELS: tuple[str, ...] = tuple(PATTERNS)
SMALLEST, LARGEST = 32, 4096


@dataclasses.dataclass(frozen=True)
class SyntheticFilm:
    """One film and what is exactly known about it.

    Attributes
    ----------
    film : numpy.ndarray
        float32 (H, W), [0, 1], bone bright.
    lung_mask : numpy.ndarray
        uint8 0/1 (H, W). The lung behind the heart counts as lung; the recess below the diaphragm's dome does not.
    heart_mask : numpy.ndarray
        uint8 0/1 (H, W). The heart's silhouette down to the diaphragm, without the great vessels; overlaps the lungs.
    view : str
        ``"PA"`` or ``"AP"`` (bedside).
    age : int
        Years.
    sex : str
        ``"F"`` or ``"M"``.
    """

    film: NDArray[np.float32]
    lung_mask: NDArray[np.uint8]
    heart_mask: NDArray[np.uint8]
    view: str
    age: int
    sex: str


def make_film(
    label: str,
    source: str = SOURCES[0],
    seed: int | np.random.SeedSequence = 0,
    size: int = 512,
    *,
    index: int = 0,
    caption: str | None = None,
) -> SyntheticFilm:
    """Make one film.

    Anatomy, pose, quanta and disease have their own random streams: with the same seed, ``"normal"`` and a disease
    differ in the disease alone, and another `index` shows the same patient (and disease) in another pose.

    Parameters
    ----------
    label : str
        One of `LABELS`.
    source : str
        One of `SOURCES`, the made-up hospitals.
    seed : int or numpy.random.SeedSequence
        Names the patient.
    size : int
        Longest side in pixels, 32 to 4096. The short side follows the hospital's detector.
    index : int
        Which film of the patient.
    caption : str, optional
        Burnt-in text under the lead letter; by default the hospital's own.

    Returns
    -------
    SyntheticFilm
        Film, masks, view, age and sex.

    Raises
    ------
    UsageError
        For an unknown label or source, a size out of range, or a negative seed or index.
    """
    check(source in HOSPITALS, f"unknown source {source!r}", "one of " + ", ".join(SOURCES))
    check_labels((label,))
    check_size(size)
    check(index >= 0, f"film index {index}", "0 or more")
    hospital = HOSPITALS[source]
    anatomy, disease, exposure = _streams(seed)
    patient = Patient.draw(anatomy)
    setting, quanta = exposure.spawn(index + 1)[index].spawn(2)
    rng = np.random.default_rng(setting)
    pose = Pose.draw(rng, patient, portable=bool(rng.random() < hospital.portable))
    technique = Technique.draw(rng, hospital)
    chest = Chest(patient, pose, make_grid(patient, pose, *_shape(size, hospital)))
    film = _film(chest, label, disease, hospital, technique, quanta)
    text = hospital.captions[pose.portable] if caption is None else caption
    film = burn_in(film, hospital, technique, text, rng)
    return SyntheticFilm(
        film=film,
        lung_mask=chest.lung_mask.astype(np.uint8),
        heart_mask=chest.heart_mask.astype(np.uint8),
        view="AP" if pose.portable else "PA",
        age=patient.age,
        sex=patient.sex,
    )


def _film(
    chest: Chest,
    label: str,
    disease: np.random.SeedSequence,
    hospital: Hospital,
    technique: Technique,
    quanta: np.random.SeedSequence,
) -> Map:
    healthy = _healthy(chest, hospital)
    opacity = draw_opacity(label, chest, np.random.default_rng(disease))
    added = (MU_SOFT - MU_LUNG) * (opacity.fill * chest.lung + np.minimum(opacity.extra, chest.cavity))
    reading = expose(healthy, hospital, technique, chest.grid.pixel, np.random.default_rng(quanta))
    middle = (chest.side < 3) & (chest.grid.rows > 0.5 * chest.floor) & (chest.grid.rows < chest.floor)
    # The window follows the healthy chest: else the display would hide part of the disease, and give it away.
    levels = window_levels(reading, chest.lung_mask, middle)
    if label != "normal":
        reading = expose(healthy + added, hospital, technique, chest.grid.pixel, np.random.default_rng(quanta))
    return display(reading, levels, hospital, technique, chest.grid.pixel)


def _healthy(chest: Chest, hospital: Hospital) -> Map:
    """Return the attenuation of the chest without disease, in nepers."""
    whole = body(chest)
    soft = np.maximum(whole - chest.lung - chest.airway - gas(chest), 0.15 * whole)
    grain = chest.grid.noise(chest.patient.stream(20), 0.5)
    tissue = np.maximum(vessels(chest) + 0.12 * grain * np.minimum(chest.lung / 8, 1), -0.3)
    blood = np.minimum(tissue, 0.4 * chest.lung)
    bone = hospital.bone * skeleton(chest) * np.clip(whole / 2, 0, 1)
    return MU_SOFT * soft + MU_LUNG * chest.lung + (MU_SOFT - MU_LUNG) * blood + bone


def _streams(seed: int | np.random.SeedSequence) -> tuple[np.random.SeedSequence, ...]:
    if isinstance(seed, np.random.SeedSequence):
        # A fresh copy: `spawn` counts, and the same sequence must give the same patient every time.
        root = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    else:
        check(seed >= 0, f"seed {seed}", "0 or more")
        root = np.random.SeedSequence(seed)
    return tuple(root.spawn(3))


def _shape(size: int, hospital: Hospital) -> tuple[int, int]:
    return size, max(round(size * hospital.aspect), 1)


def check(good: bool, problem: str, expected: str) -> None:
    """Raise UsageError unless `good`."""
    if not good:
        raise UsageError(problem, expected=expected)


def check_size(size: int) -> None:
    """Raise UsageError unless `size` is between `SMALLEST` and `LARGEST`."""
    check(SMALLEST <= size <= LARGEST, f"size {size}", f"{SMALLEST} to {LARGEST} pixels")


def check_labels(labels: Sequence[str]) -> None:
    """Raise UsageError unless `labels` are known, different and at least one."""
    check(len(labels) > 0, "no labels", "one or more of " + ", ".join(LABELS))
    for label in labels:
        check(label in PATTERNS, f"unknown label {label!r}", "one of " + ", ".join(LABELS))
    check(len(set(labels)) == len(labels), f"a label comes twice in {', '.join(labels)}", "different labels")
