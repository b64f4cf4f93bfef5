"""A chest of attenuating shapes: lungs, heart, great vessels and airways of one patient in one pose.

Lengths are centimetres in the plane of the detector. The frame of the patient has its origin on the midline at the
height of the lung tips; rows grow downwards, columns towards the patient's left (the right side of the film). Shapes
are closed formulas of row and column, so a film of any size shows the same patient.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from covidcxr_tf.data.patient import Patient, Pose

Map = NDArray[np.floating[Any]]  # float32 wherever it is as large as a film

# Linear attenuation in 1/cm of a hardened beam behind a grid; lung tissue is about a quarter of water.
MU_SOFT = 0.19
MU_LUNG = 0.05
LATTICE = 0.3  # spacing in cm of the random lattices, which are the same at every film size


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where each pixel looks in the frame of the patient: `rows` and `columns` in cm, shape (H, W)."""

    rows: Map
    columns: Map
    pixel: float  # cm a pixel
    to_pixel: NDArray[np.float64]  # 2 x 3: (column, row, 1) in cm -> pixel column, pixel row

    def pixels(self, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return pixel (column, row) pairs, shape (..., 2), the order OpenCV draws in."""
        points = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
        return points @ self.to_pixel.T

    def window(self, top: float, bottom: float, left: float, right: float) -> tuple[slice, slice]:
        """Return the pixel slices that hold a box of the patient's frame, with half a centimetre to spare."""
        corners = self.pixels(
            np.array([top, top, bottom, bottom]) + 0.5 * np.array([-1, -1, 1, 1]),
            np.array([left, right, left, right]) + 0.5 * np.array([-1, 1, -1, 1]),
        )
        low = np.floor(corners.min(axis=0)).astype(int)
        high = np.ceil(corners.max(axis=0)).astype(int) + 1
        height, width = self.rows.shape
        return slice(max(low[1], 0), min(max(high[1], 0), height)), slice(max(low[0], 0), min(max(high[0], 0), width))

    def noise(self, rng: np.random.Generator, scale: float) -> Map:
        """Return smooth noise of unit variance whose grains are about `scale` cm wide, fixed to the patient."""
        spacing = max(scale / 2.5, LATTICE / 2)
        side = int(np.ceil(60 / spacing)) + 4
        lattice = cv2.GaussianBlur(rng.standard_normal((side, side), dtype=np.float32), (0, 0), 1.0)
        lattice /= lattice.std()
        columns = (self.columns + 30) / np.float32(spacing) + 1
        rows = (self.rows + 20) / np.float32(spacing) + 1
        return cv2.remap(lattice, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def make_grid(patient: Patient, pose: Pose, height: int, width: int) -> Grid:
    """Return the grid of a film of `height` x `width` pixels; a slow bend of a few mm keeps shapes from being ideal."""
    pixel = pose.field / max(height, width)
    centre_row = 0.5 * pose.field - 0.15 * pose.field + pose.row_shift
    turn = np.deg2rad(pose.tilt)
    linear = pixel * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([pose.column_shift, centre_row])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre - linear @ middle
    inverse = np.linalg.inv(linear)
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    columns = (linear[0, 0] * u + linear[0, 1] * v + offset[0]).astype(np.float32)
    rows = (linear[1, 0] * u + linear[1, 1] * v + offset[1]).astype(np.float32)
    straight = Grid(rows, columns, pixel, np.hstack([inverse, (-inverse @ offset)[:, None]]))
    rng = patient.stream(1)
    bend = [0.12 * straight.noise(rng, 9.0), 0.12 * straight.noise(rng, 9.0)]
    return dataclasses.replace(straight, rows=rows + bend[0], columns=columns + bend[1])


def chord(square: Map) -> Map:
    """Return sqrt(1 - square) where it is real, else 0: the path through an ellipsoid, in units of its diameter."""
    return np.sqrt(np.maximum(1 - square, 0))


def smoothstep(low: float, high: float, value: Map) -> Map:
    """Return 0 below `low`, 1 above `high` and a smooth step between (`low` > `high` turns it round)."""
    share = (value - low) / (high - low)
    np.clip(share, 0, 1, out=share)
    curve = 3 - 2 * share
    curve *= share
    curve *= share
    return curve


def table(share: Map, values: Map) -> Map:
    """Look `values` up, which stand for shares 0 to 1.2 of the lung's height: a power a pixel is ten times slower."""
    place = np.clip(share * np.float32((len(values) - 1) / 1.2), 0, len(values) - 1.001)
    whole = np.floor(place)
    index = whole.astype(np.int32)
    first = values[index]
    return first + (values[index + 1] - first) * (place - whole)


# Half width and depth of the lung by height. The root is steep at the tip, which the fine table resolves.
_SHARE = np.minimum(np.linspace(0, 1.2, 4097), 0.85 * 1.25)
_WALL: Map = ((1 - np.abs(1 - _SHARE / 0.85) ** 2.2) ** 0.3).astype(np.float32)
_DEEP: Map = ((1 - np.maximum(1 - _SHARE / 0.85, 0) ** 2) ** 0.36).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Chest:
    """The geometry of one patient in one pose; every map has the shape of the grid and is computed once."""

    patient: Patient
    pose: Pose
    grid: Grid

    def part(self, box: tuple[slice, slice]) -> Chest:
        """Return the same chest seen through a window of the film, for organs that fill a small part of it."""
        grid = dataclasses.replace(self.grid, rows=self.grid.rows[box], columns=self.grid.columns[box])
        return dataclasses.replace(self, grid=grid)

    @functools.cached_property
    def floor(self) -> float:
        """Row of the costophrenic angles in cm below the lung tips."""
        return self.patient.lung_height * self.pose.breath

    @functools.cached_property
    def lateral(self) -> Map:
        """Distance in cm from the midline to the inner chest wall, at each pixel's row."""
        return self.wall(self.grid.rows)

    def wall(self, rows: Map) -> Map:
        """Return how far the lung reaches from the midline at `rows`; 0 above the lung tips."""
        return table(rows / np.float32(self.patient.lung_height), _WALL) * np.float32(self.patient.half_width)

    @functools.cached_property
    def medial(self) -> Map:
        """Distance in cm from the midline to the lung's inner border, along the spine."""
        rows = np.maximum(self.grid.rows, 0)
        return 1.9 + 2.4 * np.exp(-rows / 1.1) + 0.012 * rows

    @functools.cached_property
    def side(self) -> Map:
        """Distance in cm from the midline, which bends with the spine and turns with the patient."""
        bend = self.patient.spine_bend * np.sin(self.grid.rows * np.float32(0.16))
        return np.abs(self.grid.columns - bend)

    @functools.cached_property
    def left(self) -> NDArray[np.bool_]:
        """True on the patient's left, the right half of the film."""
        return self.grid.columns > 0

    @functools.cached_property
    def diaphragm(self) -> Map:
        """Row in cm of the top of the diaphragm at each pixel's column."""
        width = self.patient.half_width
        share = self.grid.columns / np.float32(width)
        drop = np.where(self.left, self.patient.left_drop, 0).astype(np.float32)
        top = self.floor - self.patient.dome + drop * smoothstep(0.0, 3.0, self.grid.columns)
        off = (np.abs(share) - 0.47) / 0.5
        outer = np.maximum(off, 0)
        inner = np.maximum(-off, 0)
        fall = self.patient.dome - drop * 0.8
        return top + fall * (0.55 * outer**2 + 0.45 * outer**4) + 0.16 * self.patient.dome * inner**2

    @functools.cached_property
    def lung_mask(self) -> NDArray[np.bool_]:
        """Lung as a reader draws it: from tip to diaphragm, the part behind the heart included."""
        return (self.side < self.lateral) & (self.side > self.medial) & (self.grid.rows < self.diaphragm)

    @functools.cached_property
    def cavity(self) -> Map:
        """Front-to-back length in cm of the lung before heart and vessels take their place."""
        edge = np.clip((self.lateral - self.side) / 5.5, 0, 1)
        share = self.grid.rows / np.float32(self.patient.lung_height)
        deep = table(share, _DEEP) * np.float32(0.68 * self.patient.depth)
        inner = smoothstep(0, 1, (self.side - self.medial) / (2.0 + 1.8 * smoothstep(7.0, 15.0, self.grid.rows)))
        length = deep * chord((1 - edge) ** 2) * (0.25 + 0.75 * inner) * (self.side > self.medial)
        below = np.maximum(self.grid.rows - self.diaphragm, 0)
        recess = 0.16 * length * np.exp(-below / 1.8) * (below < 9)
        return np.maximum(length - 2 * np.sqrt(16 * below), np.where(below > 0, recess, 0)).astype(np.float32)

    @functools.cached_property
    def heart(self) -> Map:
        """Front-to-back length of the heart in cm; it fades where it rests on the diaphragm."""
        rows, columns = self._front()
        width = 2 * self.patient.half_width * self.patient.heart_ratio * (1.06 if self.pose.portable else 1.0)
        bottom = self.floor - self.patient.dome + 0.9
        unit = width / 12.6
        low = bottom - 3.0 * unit
        shapes = [
            (low, 2.3, 7.2, 4.6, self.patient.heart_tilt, 11.5),
            (low - 2.2 * unit, -0.5, 5.2, 3.15, 100.0, 10.5),
            (low - 5.6 * unit, 1.0, 4.2, 2.7, 60.0, 9.5),
        ]
        body = np.zeros_like(rows)
        for row, column, along, across, tilt, deep in shapes:
            turn = np.deg2rad(tilt)
            down, over = rows - row, columns - column * unit
            first = (np.cos(turn) * over + np.sin(turn) * down) / (along * unit)
            second = (np.cos(turn) * down - np.sin(turn) * over) / (across * unit)
            body = np.maximum(body, deep * unit * chord(first**2 + second**2))
        # The last of the heart lies on the diaphragm, in front of the lung that hangs down behind it.
        return (body * smoothstep(2.5, 0.0, self.grid.rows - self.diaphragm)).astype(np.float32)

    @functools.cached_property
    def heart_mask(self) -> NDArray[np.bool_]:
        """Silhouette of the heart down to the diaphragm, without the great vessels."""
        return (self.heart > 0) & (self.grid.rows < self.diaphragm)

    def _front(self) -> tuple[Map, Map]:
        return self.grid.rows, self.grid.columns - np.float32(self.pose.turn)

    @functools.cached_property
    def great_vessels(self) -> Map:
        """Length in cm through aorta, superior vena cava and the tissue around them."""
        rows, columns = self._front()
        knob, calibre = 0.25 * self.patient.lung_height, self.patient.aorta
        arch = 2.2 * calibre * chord(((columns - 2.3) / calibre) ** 2 + ((rows - knob) / (calibre * 1.05)) ** 2)
        span = smoothstep(knob - 1.0, knob + 1.0, rows)
        centre = 1.9 - 1.6 * smoothstep(knob, self.floor, rows)
        descending = 2 * calibre * 0.8 * chord(((columns - centre) / (calibre * 0.8)) ** 2) * span
        wide = 1.6 * smoothstep(4.0, -1.0, rows)
        bulge = 0.7 * np.exp(-(((rows - knob - 3.0) / 3.0) ** 2))
        cava = 4.0 * chord(((columns + 0.9) / (1.6 + bulge + wide)) ** 2) * smoothstep(-1.0, 3.0, rows)
        trunk = 5.0 * chord(((columns - 1.6) / 2.3) ** 2 + ((rows - knob - 3.4) / 2.2) ** 2)
        top = 3.0 * chord((columns / (2.2 + wide)) ** 2) * smoothstep(-6.0, 1.0, rows)
        return np.maximum.reduce([arch, descending, cava, trunk, top]).astype(np.float32)

    @functools.cached_property
    def lung(self) -> Map:
        """Length in cm of aerated lung in the beam."""
        kept = 0.12 + 0.1 * smoothstep(0.55, 0.9, self.side / np.float32(self.patient.half_width))
        return np.maximum(self.cavity - self.heart - self.great_vessels, kept * self.cavity)

    @functools.cached_property
    def airway(self) -> Map:
        """Length in cm of air in the windpipe and the main bronchi."""
        rows, columns = self._front()
        fork = 0.3 * self.patient.lung_height
        pipe = 1.7 * chord(((columns + 0.15) / 0.85) ** 2) * smoothstep(fork + 0.6, fork - 0.4, rows)
        below = np.clip(rows - fork, 0, None)
        right = 1.2 * chord(((columns + 0.5 + 0.8 * below) / 0.75) ** 2) * (below > 0) * smoothstep(4.2, 2.6, below)
        left = 1.0 * chord(((columns - 0.4 - 1.2 * below) / 0.85) ** 2) * (below > 0) * smoothstep(3.6, 2.2, below)
        return np.maximum(pipe, np.maximum(right, left)).astype(np.float32)
