"""Soft tissue of the phantom: the trunk with neck and arms, breasts, gas under the diaphragm, vessels of the lung."""

from __future__ import annotations

import functools

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
    top = -5.5 + patient.shoulder + 0.012 * np.minimum(side, 22) ** 2
    height = np.clip((rows - top) / 17, 0, 1)
    deep = patient.depth * (0.98 + 0.012 * patient.fat * smoothstep(18, 30, rows))
    trunk = deep * chord((1 - height) ** 2) * np.maximum(1 - (side / girth) ** 3.2, 0) ** np.float32(0.55)
    reach = 5.6 + 0.25 * patient.fat + 2.5 * smoothstep(-6.0, 3.0, rows)
    neck = 11.5 * np.maximum(1 - (side / reach) ** 2, 0) ** np.float32(0.7) * smoothstep(5.0, -4.0, rows)
    limbs = np.maximum(arm(chest, -1), arm(chest, 1))
    # The root of summed squares joins the parts without the seams that a plain maximum leaves.
    return np.sqrt(trunk**2 + neck**2 + limbs**2).astype(np.float32) + breasts(chest)


def arm(chest: Chest, sign: int) -> Map:
    """Return the thickness in cm of one upper arm, which hangs a little away from the trunk (`sign` 1 = left)."""
    patient = chest.patient
    spread = arm_spread(chest, sign)
    rows, columns = chest.grid.rows, sign * chest.grid.columns
    start = (3.2 + patient.shoulder, 1.2 * patient.half_width)
    along = (columns - start[1]) * spread + (rows - start[0])
    off = (columns - start[1]) - (rows - start[0]) * spread
    radius = 4.3 + 0.35 * patient.fat
    before = np.minimum(along, 0)
    round_off = np.maximum(1 - (off / radius) ** 2 - (before / radius) ** 2, 0) ** np.float32(0.6)
    return (1.9 * radius * round_off * smoothstep(-5.0, 6.0, along)).astype(np.float32)


def arm_spread(chest: Chest, sign: int) -> float:
    """Return the slope at which an arm hangs away from the trunk."""
    return 0.12 + 0.1 * float(chest.patient.stream(2).random(2)[(sign + 1) // 2])


def breasts(chest: Chest) -> Map:
    """Return the thickness in cm that breasts (or the chest muscles) add."""
    patient, grid = chest.patient, chest.grid
    size = patient.breast if patient.sex == "F" else 0.8
    row = 0.7 * patient.lung_height if patient.sex == "F" else 0.36 * patient.lung_height
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
    top = chest.floor - patient.dome + patient.left_drop + wall
    level = smoothstep(0.4, -0.3, grid.rows + 0.3 * across - top - deep * (0.35 + 0.65 * room))
    bubble = 4.5 * patient.bubble * room * smoothstep(0.0, 0.9, under) * level
    colon = np.zeros_like(bubble)
    for _ in range(int(rng.integers(0, 4))):
        row = chest.floor - patient.dome + rng.uniform(3.5, 8.5)
        middle = 0.75 * patient.half_width + rng.uniform(-2.5, 2.5)
        radius = rng.uniform(0.9, 1.8)
        square = ((grid.columns - middle) / (radius * 1.3)) ** 2 + ((grid.rows - row) / radius) ** 2
        colon = np.maximum(colon, 2.2 * np.maximum(1 - square, 0))
    return np.maximum(bubble, colon * (under > 0)).astype(np.float32)


def vessel_paths(chest: Chest, sign: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grow the vessels of one lung from its hilum by halving.

    Parameters
    ----------
    chest : Chest
        One patient in one pose.
    sign : int
        1 = the patient's left, -1 = right.

    Returns
    -------
    radius : numpy.ndarray
        float64 (N,), cm.
    paths : numpy.ndarray
        float64 (N, 3, 2): start, middle and end of each piece, row and column in cm.
    """
    patient = chest.patient
    rng = patient.stream(5 + sign)
    root = np.array([0.4 * patient.lung_height - 0.6 * (sign > 0), sign * 0.28 * patient.half_width, 0.0])
    # Angles from straight down, towards the side: apex, upper, middle, lower, base.
    fan = np.deg2rad(np.array([158.0, 125.0, 92.0, 60.0, 38.0, 20.0, 4.0]) + rng.normal(0, 6, 7))
    ways = np.stack([np.cos(fan), sign * np.sin(fan), rng.normal(0, 0.35, 7)], axis=1)
    radius = np.array([0.25, 0.24, 0.26, 0.3, 0.38, 0.42, 0.3]) * rng.uniform(0.85, 1.15, 7)
    tips = np.repeat(root[None], 7, axis=0) + ways * rng.uniform(0.2, 1.2, (7, 1)) + rng.normal(0, 0.3, (7, 3))
    tips[:, 0] += np.array([-1.2, -0.8, 0.0, 0.8, 1.6, 2.2, 2.4])
    radii, paths, length = [], [], 2.4
    for _ in range(9):
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        middle = tips + 0.5 * length * ways + rng.normal(0, 0.07 * length, tips.shape)
        ends = tips + length * rng.uniform(0.7, 1.25, (len(tips), 1)) * ways
        radii.append(radius)
        paths.append(np.stack([tips, middle, ends], axis=1)[..., :2])
        split = rng.uniform(0.2, 0.5, (len(ways), 1))
        turn = rng.normal(0, 1, ways.shape)
        turn -= (turn * ways).sum(axis=1, keepdims=True) * ways
        ways = np.concatenate([ways + 0.45 * split * turn, ways - split * turn])
        tips = np.concatenate([ends, ends])
        radius = np.concatenate([radius * 0.85, radius * rng.uniform(0.55, 0.75, len(radius))])
        inside = np.abs(tips[:, 1]) < patient.half_width
        keep = inside & (tips[:, 0] > 0.5) & (sign * tips[:, 1] > 0) & (radius > 0.024) & (tips[:, 0] < chest.floor)
        ways, tips, radius = ways[keep], tips[keep], radius[keep]
        length *= 0.87
        if not len(tips):
            break
    return np.concatenate(radii), np.concatenate(paths)


@functools.cache
def drawn_width(thick: int) -> float:
    """Return how many pixels wide OpenCV draws a smooth line of a thickness; it is more, and differs by version."""
    canvas = np.zeros((300, 300), np.uint8)
    cv2.polylines(canvas, [np.array([[800, 1600], [4000, 3200]], np.int32)], False, 255, thick, cv2.LINE_AA, 4)
    return float(canvas.sum()) / 255 / float(np.hypot(200, 100))


def tubes(grid: Grid, radius: NDArray[np.float64], paths: NDArray[np.float64]) -> Map:
    """Draw paths as round tubes and return the length in cm through them, tubes of like calibre counted once.

    A tube thinner than a pixel is drawn a pixel wide and as much fainter, so its mass stays the same at any size.
    """
    total = np.zeros(grid.rows.shape, np.float32)
    points = np.rint(grid.pixels(paths[..., 0], paths[..., 1]) * 16).astype(np.int32)
    classes = np.digitize(np.log(radius), np.log([0.03, 0.045, 0.065, 0.09, 0.13, 0.18, 0.25, 0.35]))
    for number in np.unique(classes):
        members = classes == number
        mean = float(radius[members].mean())
        wide = 2 * mean / grid.pixel
        layer = np.zeros_like(total)
        for share, weight in ((1.0, 0.55), (0.6, 0.4)) if wide > 2.5 else ((1.0, 0.785),):
            canvas = np.zeros(grid.rows.shape, np.uint8)
            thick = max((t for t in range(1, 40) if drawn_width(t) <= wide * share), default=1)
            cv2.polylines(canvas, list(points[members]), False, 255, thick, cv2.LINE_AA, 4)
            layer += canvas * np.float32(2 * mean * weight * wide * share / drawn_width(thick) / 255)
        total += layer
    return cv2.GaussianBlur(total, (0, 0), max(0.025 / grid.pixel, 0.3))


def vessels(chest: Chest) -> Map:
    """Return the length in cm of blood in the vessels of both lungs, hila included."""
    right, left = vessel_paths(chest, -1), vessel_paths(chest, 1)
    total = tubes(chest.grid, np.concatenate([right[0], left[0]]), np.concatenate([right[1], left[1]]))
    # Each artery has a vein and a bronchus of about its size near it, in front or behind.
    return (1.5 * total + hilum(chest, -1) + hilum(chest, 1)) * (chest.cavity > 0)


def hilum(chest: Chest, sign: int) -> Map:
    """Return the length in cm of the pulmonary artery and nodes where they enter one lung."""
    patient = chest.patient
    rng = patient.stream(8 + sign)
    top = 0.39 * patient.lung_height - 0.6 * (sign > 0)
    middle = (0.28 + 0.02 * (sign > 0)) * patient.half_width
    box = chest.grid.window(top - 6, top + 9, *sorted((sign * (middle - 4), sign * (middle + 6))))
    rows, columns = chest.grid.rows[box] - top, sign * chest.grid.columns[box]
    below = np.clip(rows / 6.0, 0, 1)
    axis = middle + 0.1 + 1.6 * below**1.5
    artery = np.exp(-(((columns - axis) / (0.75 - 0.4 * below)) ** 2) * 1.2)
    part = 1.3 * artery * smoothstep(-1.2, 0.6, rows) * smoothstep(1.0, 0.45, below)
    for _ in range(7):
        down, over = rows - rng.normal(0.6, 1.3), columns - middle - abs(rng.normal(0, 0.55))
        long, short, turn = rng.uniform(0.7, 1.5), rng.uniform(0.4, 0.7), rng.uniform(0.1, 0.9)
        first = (np.cos(turn) * down + np.sin(turn) * over) / long
        second = (np.cos(turn) * over - np.sin(turn) * down) / short
        part += 0.8 * np.exp(-1.3 * (first**2 + second**2))
    total = np.zeros_like(chest.grid.rows)
    total[box] = part
    return total
