"""Soft tissue of the phantom: the trunk with neck and arms, breasts, gas under the diaphragm, vessels of the lung."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from covidcxr_tf.data.phantom import Chest, Grid, Map, chord, smoothstep


def body(chest: Chest) -> Map:
    """Return the thickness of the body in cm, front to back, as if the lungs were solid; 0 beside it.

    Parameters
    ----------
    chest : Chest
        One patient in one pose.

    Returns
    -------
    numpy.ndarray
        float32 (H, W), cm.
    """
    patient, rows = chest.patient, chest.grid.rows
    side = np.abs(chest.grid.columns)
    girth = 1.18 * patient.half_width + 0.9 * patient.fat
    girth = girth + 4.2 * np.exp(-(((rows - 1.0) / 6.5) ** 2)) + 0.04 * patient.fat * np.maximum(rows - 12, 0)
    top = -5.0 + patient.shoulder + 0.26 * side + 4.0 * smoothstep(14.0, 20.0, side)
    height = np.clip((rows - top) / 8.5, 0, 1)
    deep = patient.depth * (0.98 + 0.012 * patient.fat * smoothstep(18, 30, rows))
    trunk = deep * chord((1 - height) ** 2) * np.maximum(1 - (side / girth) ** 3.2, 0) ** np.float32(0.55)
    neck = 11.5 * chord((side / (5.6 + 0.25 * patient.fat)) ** 2) * smoothstep(8.0, -1.0, rows)
    limbs = np.maximum(arm(chest, -1), arm(chest, 1))
    # A high power mean joins the parts without the seams that a plain maximum leaves.
    total = np.maximum.reduce([trunk, neck, limbs])
    second = trunk + neck + limbs - total
    return (total + 0.25 * np.minimum(second, 3.0)).astype(np.float32) + breasts(chest)


def arm(chest: Chest, sign: int) -> Map:
    """Return the thickness in cm of one upper arm, which hangs a little away from the trunk (`sign` 1 = left)."""
    patient = chest.patient
    spread = 0.12 + 0.1 * float(patient.stream(2).random(2)[(sign + 1) // 2])
    rows, columns = chest.grid.rows, sign * chest.grid.columns
    start = (2.0 + patient.shoulder, 1.22 * patient.half_width)
    along = (columns - start[1]) * spread + (rows - start[0])
    off = (columns - start[1]) - (rows - start[0]) * spread
    radius = 4.3 + 0.35 * patient.fat
    before = np.minimum(along, 0)
    return (2 * radius * chord((off / radius) ** 2 + (before / radius) ** 2)).astype(np.float32)


def breasts(chest: Chest) -> Map:
    """Return the thickness in cm that breasts (or the chest muscles) add."""
    patient, grid = chest.patient, chest.grid
    size = patient.breast if patient.sex == "F" else 0.8
    row = 0.62 * patient.lung_height if patient.sex == "F" else 0.36 * patient.lung_height
    radius = 6.6 + 0.25 * patient.fat
    across = (np.abs(grid.columns) - 0.66 * patient.half_width) / radius
    down = (grid.rows - row) / (radius * 0.95)
    # Breasts hang: a long slope above, a short one below.
    down = np.where(down < 0, down * 0.72, down * 1.15)
    return (size * np.maximum(1 - across**2 - down**2, 0) ** np.float32(0.75)).astype(np.float32)


def gas(chest: Chest) -> Map:
    """Return the length in cm of gas in the stomach and the left colon; its floor is level, as the patient stands."""
    patient, grid = chest.patient, chest.grid
    rng = patient.stream(3)
    if patient.bubble == 0:
        return np.zeros_like(grid.rows)
    column = 0.42 * patient.half_width + rng.uniform(-1, 1.2)
    wall = rng.uniform(0.5, 0.9)
    under = np.maximum(grid.rows - chest.diaphragm - wall, 0)
    wide = rng.uniform(2.6, 4.2) * patient.bubble
    deep = rng.uniform(1.4, 2.6) * patient.bubble
    across = (grid.columns - column) / wide
    room = np.maximum(1 - across**2, 0)
    level = smoothstep(0.35, -0.35, under - deep * room**0.8)
    bubble = 5.0 * patient.bubble * np.sqrt(room) * chord((1 - np.clip(under / 1.6, 0, 1)) ** 2) * level
    colon = np.zeros_like(bubble)
    for _ in range(int(rng.integers(0, 4))):
        row = chest.floor - patient.dome + rng.uniform(3.5, 8.5)
        middle = 0.75 * patient.half_width + rng.uniform(-2.5, 2.5)
        radius = rng.uniform(0.9, 1.8)
        square = ((grid.columns - middle) / (radius * 1.3)) ** 2 + ((grid.rows - row) / radius) ** 2
        colon = np.maximum(colon, 2.2 * np.maximum(1 - square, 0))
    return np.maximum(bubble, colon * (under > 0)).astype(np.float32)


def vessel_segments(chest: Chest, sign: int) -> list[tuple[float, NDArray[np.float64]]]:
    """Grow the vessels of one lung from its hilum by halving.

    Parameters
    ----------
    chest : Chest
        One patient in one pose.
    sign : int
        1 = the patient's left, -1 = right.

    Returns
    -------
    list of (float, numpy.ndarray)
        Radius in cm, and the segments of that generation as (N, 2, 2): start and end, row and column in cm.
    """
    patient = chest.patient
    rng = patient.stream(5 + sign)
    hilum = np.array([0.4 * patient.lung_height - 0.6 * (sign > 0), sign * 0.27 * patient.half_width, 0.0])
    # Angles from straight down, towards the side: apex, upper, middle, lower, base.
    fan = np.deg2rad(np.array([158.0, 122.0, 88.0, 58.0, 36.0, 20.0, 6.0]) + rng.normal(0, 7, 7))
    ways = np.stack([np.cos(fan), sign * np.sin(fan), rng.normal(0, 0.35, 7)], axis=1)
    radius = np.array([0.26, 0.24, 0.26, 0.3, 0.4, 0.42, 0.3]) * rng.uniform(0.85, 1.15, 7)
    tips = np.repeat(hilum[None], 7, axis=0) + ways * rng.uniform(0.2, 0.8, (7, 1)) + rng.normal(0, 0.35, (7, 3))
    out: list[tuple[float, NDArray[np.float64]]] = []
    length = 2.1
    for _ in range(9):
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        middle = tips + 0.5 * length * ways + rng.normal(0, 0.05 * length, tips.shape)
        ends = tips + length * rng.uniform(0.7, 1.25, (len(tips), 1)) * ways
        for first, last in ((tips, middle), (middle, ends)):
            order = np.argsort(radius)
            for part in np.array_split(order, 3):
                segments = np.stack([first[part, :2], last[part, :2]], axis=1)
                out.append((float(radius[part].mean()), segments))
        split = rng.uniform(0.25, 0.6, (len(ways), 1))
        turn = rng.normal(0, 1, ways.shape)
        turn -= (turn * ways).sum(axis=1, keepdims=True) * ways
        ways = np.concatenate([ways + split * 0.6 * turn, ways - split * turn])
        tips = np.concatenate([ends, ends])
        radius = np.concatenate([radius * 0.84, radius * rng.uniform(0.62, 0.78, len(radius))])
        inside = np.abs(tips[:, 1]) < patient.half_width
        keep = inside & (tips[:, 0] > 0.5) & (sign * tips[:, 1] > 0) & (radius > 0.022) & (tips[:, 0] < chest.floor)
        ways, tips, radius = ways[keep], tips[keep], radius[keep]
        length *= 0.86
        if not len(tips):
            break
    return out


def tubes(grid: Grid, generations: list[tuple[float, NDArray[np.float64]]]) -> Map:
    """Draw segments as round tubes and return the length in cm through them.

    A tube thinner than a pixel is drawn one pixel wide and as much fainter, so its mass stays the same at any size.
    """
    total = np.zeros(grid.rows.shape, np.float32)
    for radius, segments in generations:
        if not len(segments):
            continue
        points = np.rint(grid.pixels(segments[..., 0], segments[..., 1]) * 16).astype(np.int32)
        wide = 2 * radius / grid.pixel
        layers = ((1.0, 0.55), (0.6, 0.45)) if wide > 2.5 else ((1.0, 0.8),)
        for share, weight in layers:
            canvas = np.zeros(grid.rows.shape, np.uint8)
            thick = max(round(wide * share), 1)
            faint = min(wide * share / thick, 1.0)
            cv2.polylines(canvas, list(points), False, 255, thick, cv2.LINE_AA, 4)
            total += canvas * np.float32(2 * radius * weight * faint / 255)
    return total


def vessels(chest: Chest) -> Map:
    """Return the length in cm of blood in the vessels of both lungs, hila included."""
    total = np.zeros_like(chest.grid.rows)
    for sign in (-1, 1):
        total += tubes(chest.grid, vessel_segments(chest, sign))
        total += hilum(chest, sign)
    return total * (chest.cavity > 0)


def hilum(chest: Chest, sign: int) -> Map:
    """Return the length in cm of the pulmonary artery and nodes where they enter one lung."""
    patient, grid = chest.patient, chest.grid
    rng = patient.stream(8 + sign)
    total = np.zeros_like(grid.rows)
    for _ in range(7):
        row = 0.4 * patient.lung_height - 0.7 * (sign > 0) + rng.normal(0.4, 1.3)
        column = sign * (0.25 * patient.half_width + 0.3 * (sign > 0) + abs(rng.normal(0, 0.55)))
        long, short = rng.uniform(0.7, 1.5), rng.uniform(0.4, 0.7)
        turn = rng.uniform(0.1, 0.9) * sign
        over, down = grid.columns - column, grid.rows - row
        first = (np.cos(turn) * down + np.sin(turn) * over) / long
        second = (np.cos(turn) * over - np.sin(turn) * down) / short
        total += 0.9 * np.exp(-1.3 * (first**2 + second**2))
    return total.astype(np.float32)
