"""Bones of the phantom: what ribs, collar bones, shoulder blades, arms and spine absorb beyond soft tissue."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.data.phantom import Chest, Map, chord, smoothstep
from covidcxr_tf.data.soft_tissue import arm_spread

# Excess over soft tissue in 1/cm: dense shell and spongy inside.
MU_SHELL = 0.34
MU_SPONGE = 0.075


def hollow(distance: Map, half: float, deep: float, shell: float) -> Map:
    """Return the attenuation across a hollow tube: dense at its rims, where the beam runs along the shell.

    Parameters
    ----------
    distance : numpy.ndarray
        Distance in cm from the axis.
    half, deep, shell : float
        Half height, thickness along the beam, and shell thickness in cm.
    """
    outer = deep * chord((distance / half) ** 2)
    inner = (deep - 2 * shell) * chord((distance / (half - shell)) ** 2)
    return (MU_SHELL * (outer - inner) + MU_SPONGE * inner).astype(np.float32)


def skeleton(chest: Chest) -> Map:
    """Return what all bones absorb beyond the soft tissue they replace.

    Parameters
    ----------
    chest : Chest
        One patient in one pose.

    Returns
    -------
    numpy.ndarray
        float32 (H, W), nepers (the exponent of Beer and Lambert's law).
    """
    grid, wide = chest.grid, chest.patient.half_width
    total = ribs(chest)
    box = grid.window(-20, 50, -5, 5)
    total[box] += spine(chest.part(box))
    for sign in (-1, 1):
        box = grid.window(-7, 8, *sorted((sign * 1.0, sign * 1.3 * wide)))
        total[box] += clavicle(chest.part(box), sign)
        box = grid.window(-9, 50, *sorted((sign * 0.6 * wide, sign * 40)))
        total[box] += shoulder(chest.part(box), sign)
    return total * np.float32(chest.patient.bone)


def ribs(chest: Chest) -> Map:
    """Return the attenuation of ribs 1 to 11: each a tilted hoop whose back arc is high and whose front arc is low."""
    patient = chest.patient
    rng = patient.stream(10)
    total = np.zeros_like(chest.grid.rows)
    spacing = patient.rib_pitch * patient.lung_height / 9.9
    for number in range(1, 12):
        shares = rng.normal(1, 0.02, (2, 3))
        back = -1.4 + spacing * (number - 0.2) - 0.35 * max(3 - number, 0)
        drop = patient.rib_drop * (0.5, 0.72, 0.85)[number - 1] if number < 4 else patient.rib_drop
        for sign, share in zip((-1, 1), shares, strict=True):
            rib(chest, total, sign, number, back * share[0] if number > 3 else back, drop * share[1], share[2])
    return total


def rib(chest: Chest, total: Map, sign: int, number: int, back: float, drop: float, share: float) -> None:
    """Add one rib to `total`: half an ellipse from the spine over the side to the front, in place."""
    grid, half_drop = chest.grid, drop / 2
    middle = back + half_drop
    reach = float(chest.wall(np.array([max(middle, 0.9)], np.float32))[0]) * share + 0.15
    box = grid.window(back - 1.2, back + drop + 1.2, min(0, sign * reach), max(0, sign * reach))
    rows = grid.rows[box] - middle
    back_columns = sign * (grid.columns[box])
    front_columns = sign * (grid.columns[box] - 0.7 * chest.pose.turn)
    # Both arcs meet at the side; the front one is further from the detector's axis when the patient is turned.
    columns = np.where(rows < 0, back_columns, front_columns)
    level = np.sqrt((columns / reach) ** 2 + (rows / half_drop) ** 2) + 1e-6
    slope = np.sqrt((columns / reach**2) ** 2 + (rows / half_drop**2) ** 2) / level
    distance = (level - 1) / slope
    front = rows > 0
    height = np.where(front, 0.6, 0.5) * (1.15 if number == 1 else 1.0)
    end = reach * (0.52 + 0.045 * max(number - 4, 0))
    start = smoothstep(1.4, 2.2, columns) * ~front
    faint = 0.75 if number > 9 else 1.0
    fade = smoothstep(drop * 0.42, drop * 0.3, rows) if number > 9 else np.float32(1)
    stop = smoothstep(end - 0.5, end + 0.7, columns) * front * fade
    # At the side the rib runs along the beam, which makes its path longer.
    along = np.clip(np.abs(columns) / reach, 0, 0.985)
    longer = np.minimum(1 / np.sqrt(1 - along**4), 2.2)
    # Seen from the side a rib is thinner than it is high.
    height = height * (1 - 0.42 * along**6)
    path = hollow(distance / height, 1.0, 0.58, 0.13)
    total[box] += faint * path * longer * (start + 0.55 * stop).astype(np.float32)


def clavicle(chest: Chest, sign: int) -> Map:
    """Return the attenuation of one collar bone, an S from the breast bone to the shoulder."""
    patient, grid = chest.patient, chest.grid
    rise = patient.clavicle_rise + (0.12 if chest.pose.portable else 0.0)
    columns = sign * (grid.columns - chest.pose.turn)
    span = 1.16 * patient.half_width - 1.8
    share = (columns - 1.8) / span
    curve = -rise * span * share + 0.75 * np.sin(2 * np.pi * np.clip(share, 0, 1)) * 0.7
    axis = 0.155 * patient.lung_height + curve + 0.25 * patient.shoulder
    slope = np.float32(np.cos(np.arctan(rise + 0.1)))
    half = 0.52 + 0.22 * np.exp(-((share / 0.08) ** 2)) + 0.15 * smoothstep(0.75, 1.0, share)
    distance = (grid.rows - axis) * slope / (half / 0.62)
    ends = smoothstep(-0.03, 0.015, share) * smoothstep(1.03, 0.98, share)
    return hollow(distance, 0.62, 1.15, 0.13) * ends.astype(np.float32)


def shoulder(chest: Chest, sign: int) -> Map:
    """Return the attenuation of the shoulder blade with its edges, and of the head and shaft of the upper arm."""
    patient, grid = chest.patient, chest.grid
    rows = grid.rows - patient.shoulder
    columns = sign * grid.columns
    outward = (0.7 if chest.pose.portable else 0.88) * patient.half_width
    head = (1.0, 1.3 * patient.half_width)
    square = ((rows - head[0]) / 2.3) ** 2 + ((columns - head[1]) / 2.2) ** 2
    total = 0.11 * 3.4 * chord(square) + 0.06 * smoothstep(0.72, 0.97, square) * (square < 1)
    off = columns - head[1] - 0.6 - arm_spread(chest, sign) * (rows - head[0])
    total = np.maximum(total, hollow(off, 1.15, 2.2, 0.38) * smoothstep(1.5, 3.5, rows))
    inner = outward - 0.5 + 0.11 * (rows - 2)
    outer = head[1] - 2.6 - 0.3 * np.maximum(rows - 2.5, 0) + 0.5 * np.minimum(rows - 2.5, 0)
    spread_rows = smoothstep(0.0, 3.5, rows) * smoothstep(15.5, 11.5, rows)
    blade = smoothstep(-0.15, 0.25, columns - inner) * smoothstep(-0.15, 0.2, outer - columns)
    rim = np.exp(-(((columns - outer + 0.35) / 0.3) ** 2)) + 0.5 * np.exp(-(((columns - inner - 0.2) / 0.2) ** 2))
    total = total + (0.04 * blade + 0.1 * rim * blade) * spread_rows
    ridge_axis = 1.2 - 0.28 * (columns - inner)
    ridge = np.exp(-(((rows - ridge_axis) / 0.45) ** 2)) * smoothstep(0.0, 2.0, columns - inner)
    tip = hollow(rows + 2.0 + 0.15 * (columns - head[1]), 0.7, 1.0, 0.12)
    tip *= smoothstep(head[1] - 3.0, head[1] - 2.0, columns) * smoothstep(head[1] + 1.8, head[1] + 1.0, columns)
    return (total + 0.1 * ridge * (columns < head[1] - 1) + tip).astype(np.float32)


def spine(chest: Chest) -> Map:
    """Return the attenuation of the vertebrae: bodies with bright end plates, pedicles and spinous processes."""
    patient, grid = chest.patient, chest.grid
    bend = patient.spine_bend * np.sin(grid.rows * np.float32(0.16))
    columns = grid.columns - bend + 0.6 * np.float32(chest.pose.turn)
    pitch = 0.088 * patient.lung_height
    wide = 1.35 + 0.022 * np.clip(grid.rows + 6, 0, 40)
    phase = np.mod(grid.rows / np.float32(pitch), 1).astype(np.float32)
    plate = np.exp(-(((phase - 0.12) / 0.045) ** 2)) + np.exp(-(((phase - 0.88) / 0.045) ** 2))
    bone = smoothstep(0.06, 0.14, phase) * smoothstep(0.94, 0.86, phase)
    across = np.abs(columns) / (wide * (1 - 0.1 * np.sin(np.pi * phase)))
    body = smoothstep(1.08, 0.88, across) * (0.14 + 0.06 * smoothstep(0.7, 0.97, across)) * (0.55 + 0.45 * bone)
    body = body + 0.06 * plate * smoothstep(1.02, 0.9, across)
    spot = ((np.abs(columns) - 0.66 * wide) / 0.36) ** 2 + ((phase - 0.36) * pitch / 0.52) ** 2
    pedicle = 0.05 * np.exp(-(((spot - 0.8) / 0.5) ** 2))
    process = 0.12 * np.exp(-((columns / 0.32) ** 2) - ((phase - 0.72) * pitch / 0.55) ** 2)
    limb = np.exp(-(((phase - 0.3) * pitch / 0.55) ** 2)) * smoothstep(3.0, 2.3, np.abs(columns))
    return (body + pedicle + process + 0.12 * limb * (np.abs(columns) > 0.9 * wide)).astype(np.float32)
