"""What disease adds to the lungs of the phantom: for each label the share of air that fluid or tissue replaces.

Each pattern is the one the field describes for its class: COVID-19 bilateral, peripheral and lower ground glass;
bacterial pneumonia one lobe, consolidated, with air bronchograms; viral pneumonia diffuse and reticular from the
hila; tuberculosis cavities, nodules and strands in the upper lobes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from covidcxr_tf.data.phantom import Chest, Map, chord, smoothstep
from covidcxr_tf.data.soft_tissue import tubes, vessel_paths


@dataclasses.dataclass(frozen=True)
class Opacity:
    """`fill`: share of the lung's air that is replaced, [0, 1]; `extra`: cm of tissue that pushes the lung away."""

    fill: Map
    extra: Map


def draw_opacity(label: str, chest: Chest, rng: np.random.Generator) -> Opacity:
    """Draw the disease of one film.

    Parameters
    ----------
    label : str
        One of `PATTERNS`.
    chest : Chest
        The patient and the pose it lies in.
    rng : numpy.random.Generator
        The same stream gives the same disease in every pose of the patient.

    Returns
    -------
    Opacity
        Zero for ``normal``.
    """
    nothing = np.zeros_like(chest.grid.rows)
    fill, extra = PATTERNS[label](chest, rng, nothing)
    inside = chest.cavity > 0
    return Opacity((np.clip(fill, 0, 0.96) * inside).astype(np.float32), (extra * inside).astype(np.float32))


Pattern = Callable[[Chest, np.random.Generator, Map], tuple[Map, Map]]


def height(chest: Chest) -> Map:
    """Return the place between lung tip (0) and costophrenic angle (1)."""
    return chest.grid.rows / np.float32(chest.floor)


def depth_inside(chest: Chest) -> Map:
    """Return the distance in cm from the chest wall or the diaphragm, whichever is nearer."""
    return np.minimum(chest.lateral - chest.side, 1.2 * (chest.diaphragm - chest.grid.rows))


def blob(chest: Chest, row: float, column: float, radius: float, rough: Map) -> Map:
    """Return a soft, lobulated patch around a point in cm: 1 inside, 0 outside."""
    far = np.sqrt((chest.grid.rows - row) ** 2 + (chest.grid.columns - column) ** 2)
    return smoothstep(1.25, 0.45, far / np.float32(radius) + 0.22 * rough)


def normal(chest: Chest, rng: np.random.Generator, nothing: Map) -> tuple[Map, Map]:
    """No disease."""
    return nothing, nothing


def covid19(chest: Chest, rng: np.random.Generator, nothing: Map) -> tuple[Map, Map]:
    """Ground glass in patches along the wall and the bases of both lungs."""
    share = height(chest)
    coarse, fine = chest.grid.noise(rng, 3.0), chest.grid.noise(rng, 1.1)
    rind = np.exp(-np.maximum(depth_inside(chest), 0) / np.float32(rng.uniform(2.2, 3.6)))
    low = smoothstep(0.15, 0.75, share)
    balance = rng.uniform(0.7, 1.0, 2)
    weight = np.where(chest.left, np.float32(balance[1]), np.float32(balance[0])) * rind * (0.12 + 0.88 * low)
    patch = smoothstep(-0.5, 1.3, coarse + 0.35 * fine + rng.uniform(0.0, 0.5))
    haze = rng.uniform(0.55, 1.5) * weight * patch
    for sign in (-1, 1):
        for _ in range(int(rng.integers(1, 4))):
            row = chest.floor * rng.uniform(0.42, 0.85)
            reach = float(chest.wall(np.array([row], np.float32))[0])
            column = sign * (reach - rng.uniform(1.0, 4.0))
            haze = haze + rng.uniform(0.18, 0.4) * blob(chest, row, column, rng.uniform(1.4, 3.0), coarse + fine)
    return 0.75 * (1 - np.exp(-haze)), nothing


def lobe(chest: Chest, rng: np.random.Generator) -> tuple[Map, int, float]:
    """Return where one lobe lies (soft map), its side (1 = left) and its middle row in cm."""
    share = height(chest)
    slant = share + 0.05 * (chest.side / np.float32(chest.patient.half_width))
    name = str(rng.choice(["right upper", "right middle", "right lower", "left upper", "left lower"]))
    sign = 1 if name.startswith("left") else -1
    top, bottom, sharp = {
        "right upper": (-0.1, 0.42, 0.02),
        "right middle": (0.46, 0.8, 0.025),
        "right lower": (0.55, 1.2, 0.09),
        "left upper": (-0.1, 0.5, 0.06),
        "left lower": (0.52, 1.2, 0.09),
    }[name]
    band = smoothstep(top - 0.08, top + 0.08, slant) * smoothstep(bottom + sharp, bottom - sharp, slant)
    if name == "right middle":
        band = band * smoothstep(0.95, 0.6, chest.side / np.float32(chest.patient.half_width))
    middle = chest.floor * (max(top, 0) + min(bottom, 0.9)) / 2
    return band * (chest.left == (sign > 0)), sign, middle


def bacterial(chest: Chest, rng: np.random.Generator, nothing: Map) -> tuple[Map, Map]:
    """One lobe filled with fluid, its bronchi still holding air."""
    band, sign, middle = lobe(chest, rng)
    coarse, fine = chest.grid.noise(rng, 3.5), chest.grid.noise(rng, 1.0)
    column = sign * chest.patient.half_width * rng.uniform(0.45, 0.7)
    far = np.sqrt((chest.grid.rows - middle) ** 2 + (0.85 * (chest.grid.columns - column)) ** 2)
    core = smoothstep(1.35, 0.5, far / np.float32(rng.uniform(4.6, 6.5)) + 0.16 * coarse + 0.07 * fine)
    dense = rng.uniform(0.6, 0.85) * band * core
    radius, paths = vessel_paths(chest, sign)
    large = (radius > 0.09) & (radius < 0.28)
    air = tubes(chest.grid, radius[large] * 0.8, paths[large] + np.array([0.25, 0.2]))
    return dense * (1 - 0.25 * np.clip(air / 0.35, 0, 1)), nothing


def viral(chest: Chest, rng: np.random.Generator, nothing: Map) -> tuple[Map, Map]:
    """A net of thickened septa and cuffed bronchi in both lungs, densest around the hila, over a slight haze."""
    hila = 0.42 * chest.patient.lung_height
    away = np.sqrt((chest.grid.rows - hila) ** 2 * 0.5 + (chest.side - 4.0) ** 2)
    spread = 0.45 + 0.55 * np.exp(-((away / 6.5) ** 2))
    net = np.zeros_like(nothing)
    for scale in (0.8, 1.2, 1.9):
        field = chest.grid.noise(rng, scale)
        net = net + np.exp(-((field / 0.3) ** 2)) * smoothstep(-1.0, 1.0, chest.grid.noise(rng, 2.5))
    patch = smoothstep(-1.8, 1.0, chest.grid.noise(rng, 5.0))
    cuffs = nothing
    for sign in (-1, 1):
        radius, paths = vessel_paths(chest, sign)
        kept = (radius > 0.05) & (radius < 0.35)
        cuffs = cuffs + tubes(chest.grid, radius[kept] * 1.3, paths[kept])
    haze = rng.uniform(0.05, 0.13)
    fill = (haze + rng.uniform(0.08, 0.15) * net + 0.16 * np.clip(cuffs, 0, 0.8)) * spread * patch
    return fill * smoothstep(-0.3, 1.2, depth_inside(chest)), nothing


def tuberculosis(chest: Chest, rng: np.random.Generator, nothing: Map) -> tuple[Map, Map]:
    """Thick-walled cavities, nodules and strands in one or both upper lobes."""
    coarse = chest.grid.noise(rng, 1.4)
    share = height(chest)
    sides = [int(rng.choice([-1, 1]))] if rng.random() < 0.55 else [-1, 1]
    fill, extra = nothing, nothing
    for sign in sides:
        row, column = _upper_point(chest, rng, sign)
        infiltrate = blob(chest, row, column, rng.uniform(2.8, 4.2), coarse)
        strands = smoothstep(0.2, 1.6, chest.grid.noise(rng, 0.8))
        fill = fill + infiltrate * (rng.uniform(0.15, 0.3) + 0.35 * strands) * smoothstep(0.5, 0.3, share)
        for _ in range(int(rng.integers(1, 3))):
            radius = rng.uniform(1.1, 2.1)
            at = _upper_point(chest, rng, sign)
            far = np.hypot(chest.grid.rows - at[0], 0.9 * (chest.grid.columns - at[1])) / np.float32(radius)
            far = far + 0.07 * coarse
            wall = rng.uniform(0.3, 0.45)
            ring = chord(far**2) - chord((far / (1 - wall)) ** 2) * (1 - wall)
            extra = extra + 1.6 * radius * ring
            fill = fill * (1 - 0.8 * smoothstep(1.0, 0.7, far))
        for _ in range(int(rng.integers(7, 18))):
            at = _upper_point(chest, rng, sign)
            radius = rng.uniform(0.2, 0.5)
            far = np.hypot(chest.grid.rows - at[0], chest.grid.columns - at[1]) / np.float32(radius)
            extra = extra + 1.7 * radius * np.maximum(1 - far**2, 0)
    return fill, extra


def _upper_point(chest: Chest, rng: np.random.Generator, sign: int) -> tuple[float, float]:
    row = chest.floor * rng.uniform(0.12, 0.36)
    reach = float(chest.wall(np.array([row], np.float32))[0])
    return row, sign * float(rng.uniform(4.2, reach - 1.2))


def pneumonia(chest: Chest, rng: np.random.Generator, nothing: Map) -> tuple[Map, Map]:
    """One lobe as in `bacterial`, or patches of bronchopneumonia anywhere."""
    if rng.random() < 0.5:
        return bacterial(chest, rng, nothing)
    rough = chest.grid.noise(rng, 2.4) + 0.6 * chest.grid.noise(rng, 0.9)
    haze = nothing
    one_side = 0 if rng.random() < 0.5 else int(rng.choice([-1, 1]))
    for _ in range(int(rng.integers(3, 7))):
        sign = one_side or int(rng.choice([-1, 1]))
        row = chest.floor * rng.uniform(0.25, 0.8)
        reach = float(chest.wall(np.array([row], np.float32))[0])
        column = sign * rng.uniform(3.8, reach - 2.5)
        haze = haze + rng.uniform(0.35, 0.8) * blob(chest, row, column, rng.uniform(1.6, 3.4), 1.2 * rough)
    return 0.85 * (1 - np.exp(-haze)), nothing


def other(chest: Chest, rng: np.random.Generator, nothing: Map) -> tuple[Map, Map]:
    """Fluid around one lung with its rising edge, or a single round mass."""
    sign = int(rng.choice([-1, 1]))
    this_side = chest.left == (sign > 0)
    if rng.random() < 0.6:
        level = chest.floor * rng.uniform(0.55, 0.78)
        rise = 4.0 * np.exp(-np.maximum(chest.lateral - chest.side, 0) / 1.6)
        return 0.95 * smoothstep(-0.6, 1.4, chest.grid.rows - level + rise) * this_side, nothing
    row = chest.floor * rng.uniform(0.2, 0.7)
    reach = float(chest.wall(np.array([row], np.float32))[0])
    column = sign * rng.uniform(4.5, reach - 2.0)
    radius = rng.uniform(0.8, 2.2)
    far = np.hypot(chest.grid.rows - row, chest.grid.columns - column) / np.float32(radius)
    far = far + 0.1 * chest.grid.noise(rng, 1.0)
    return nothing, 2.2 * radius * np.maximum(1 - far**2, 0) ** np.float32(0.75)


PATTERNS: dict[str, Pattern] = {
    "normal": normal,
    "pneumonia": pneumonia,
    "bacterial": bacterial,
    "viral": viral,
    "tuberculosis": tuberculosis,
    "covid19": covid19,
    "other": other,
}
