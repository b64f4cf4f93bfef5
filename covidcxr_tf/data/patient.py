"""The made-up patients of the phantom and how they stand before the detector."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Patient:
    """What all films of one patient share. Lengths in cm, angles in degrees."""

    age: int
    sex: str
    half_width: float  # midline to the inner chest wall at its widest
    lung_height: float  # lung tip to costophrenic angle
    depth: float  # front to back, at the breast bone
    fat: float
    dome: float  # top of the right diaphragm above the costophrenic angle
    left_drop: float  # how much lower the left dome stands
    heart_ratio: float  # cardiothoracic ratio
    heart_tilt: float
    aorta: float
    rib_drop: float
    rib_pitch: float
    bone: float
    clavicle_rise: float
    shoulder: float
    spine_bend: float
    bubble: float
    breast: float
    seed: np.random.SeedSequence

    @classmethod
    def draw(cls, seed: np.random.SeedSequence) -> Patient:
        """Draw one adult.

        Parameters
        ----------
        seed : numpy.random.SeedSequence
            Everything about the patient follows from it.

        Returns
        -------
        Patient
            Age 18 to 90, sex ``"F"`` or ``"M"``, and the measures of the chest.
        """
        rng = np.random.default_rng(seed)
        sex = "F" if rng.random() < 0.5 else "M"
        age = int(rng.integers(18, 91))
        build = (0.94 if sex == "F" else 1.03) * rng.uniform(0.94, 1.06)
        fat = float(np.clip(rng.normal(1.6, 1.0), 0.3, 4.5))
        old = (age - 18) / 72
        return cls(
            age=age,
            sex=sex,
            half_width=13.8 * build * rng.uniform(0.96, 1.04),
            lung_height=25.0 * build * rng.uniform(0.93, 1.06),
            depth=(20.5 + fat * 1.6) * build * rng.uniform(0.94, 1.06),
            fat=fat,
            dome=rng.uniform(3.0, 4.6) * build,
            left_drop=rng.uniform(0.4, 1.7),
            heart_ratio=float(np.clip(rng.normal(0.43 + 0.05 * old, 0.03), 0.36, 0.58)),
            heart_tilt=rng.uniform(28, 48),
            aorta=rng.uniform(1.5, 1.8) + 0.7 * old * rng.random(),
            rib_drop=rng.uniform(8.0, 11.0),
            rib_pitch=rng.uniform(0.92, 1.0),
            bone=rng.uniform(0.85, 1.15) * (1.05 - 0.25 * old),
            clavicle_rise=rng.uniform(0.08, 0.3),
            shoulder=rng.uniform(-0.8, 1.2),
            spine_bend=rng.normal(0, 0.25),
            bubble=float(rng.choice([0.0, 1.0], p=[0.25, 0.75]) * rng.uniform(0.6, 1.3)),
            breast=rng.uniform(1.5, 4.5) if sex == "F" else 0.0,
            seed=seed,
        )

    def stream(self, key: int) -> np.random.Generator:
        """Return the random numbers of one organ; each organ has its own, so none depends on the others' order."""
        key_path = (*self.seed.spawn_key, key)
        return np.random.default_rng(np.random.SeedSequence(self.seed.entropy, spawn_key=key_path))


@dataclasses.dataclass(frozen=True)
class Pose:
    """How the patient stood for one film: cm, degrees, and the share of a full breath."""

    portable: bool = False
    field: float = 40.0  # height of the detector field in cm
    tilt: float = 0.0
    row_shift: float = 0.0
    column_shift: float = 0.0
    turn: float = 0.0  # how far the front has moved against the back
    breath: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator, patient: Patient, portable: bool) -> Pose:
        """Draw the pose of one film; a portable film is crooked, near and taken on a shallow breath."""
        loose = 1.7 if portable else 1.0
        field = 1.46 * patient.lung_height * rng.uniform(0.97, 1.16)
        return cls(
            portable=portable,
            field=float(field * (0.97 if portable else 1.0)),
            tilt=float(np.clip(rng.normal(0, 1.0 * loose), -5, 5)),
            row_shift=float(rng.uniform(-1.2, 1.2)),
            column_shift=float(np.clip(rng.normal(0, 0.6 * loose), -2, 2)),
            turn=float(np.clip(rng.normal(0, 0.35 * loose), -1.2, 1.2)),
            breath=float(rng.uniform(0.82, 0.94) if portable else rng.uniform(0.94, 1.02)),
        )
