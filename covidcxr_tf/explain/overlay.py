"""The picture of an explanation: the bare film on the left, the same film with the heat on the right."""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from covidcxr_tf.explain.explanation import Explanation, Film, Superpixels
from covidcxr_tf.explain.film import ACTIVATION

SIZE_INCHES = (12.0, 6.0)
DPI = 100
LONGEST_SIDE = 1000
"""Pixels of the film in the picture; a panel shows about 500."""

OPACITY = 0.55
"""Of full heat; less heat is drawn more transparent, so that the film stays readable where there is none."""

FOR, AGAINST = (0.10, 0.75, 0.25), (0.90, 0.15, 0.15)  # the paper's green and red
LUNGS = (0.25, 0.85, 1.0)


def picture(explanation: Explanation, film: Film, name: str) -> bytes:
    """Return the picture of an explanation as PNG, 1200 x 600 pixels.

    Parameters
    ----------
    explanation : Explanation
    film : ndarray of float32, (H, W)
        In [0, 1].
    name : str
        What the title calls the film.
    """
    buffer = io.BytesIO()
    figure = draw(explanation, film, name)
    with warnings.catch_warnings():
        # A file's name may hold signs that the font lacks: a box in the title is enough.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def draw(explanation: Explanation, film: Film, name: str) -> Figure:
    """Return the figure; parameters as for `picture`."""
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor="white")
    bare = figure.add_axes((0.01, 0.06, 0.43, 0.79))
    overlay = figure.add_axes((0.45, 0.06, 0.43, 0.79))
    bar = figure.add_axes((0.89, 0.06, 0.015, 0.79))
    shown = _reduced(film, cv2.INTER_AREA)
    for axes in (bare, overlay):
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    if explanation.superpixels is None:
        scale = _draw_heat(overlay, _reduced(explanation.heatmap, cv2.INTER_AREA))
    else:
        scale = _draw_superpixels(overlay, explanation.superpixels, explanation.target_class)
    _draw_lungs(overlay, explanation)
    _draw_box(overlay, explanation, shown.shape)
    bar.set_facecolor("0.45")  # colours lie on grey, as they do on the film
    label = f"heat for {explanation.target_class}, share of its largest value"
    if explanation.method == ACTIVATION:
        label = "mean activation, share of its largest value"
    if explanation.superpixels is not None:
        label = f"weight of a super-pixel for {explanation.target_class}"
    figure.colorbar(scale, cax=bar, format="%.2g").set_label(shorten(label, 60), parse_math=False)
    figure.text(0.01, 0.945, shorten(name, 100), fontsize=14, weight="bold", parse_math=False)
    line = shorten(subtitle(explanation), 160)
    # 125 signs of 12 points are as wide as the picture.
    figure.text(0.01, 0.885, line, fontsize=12 if len(line) <= 125 else 9.5, parse_math=False)
    foot = f"for research, not for diagnosis · model {explanation.model['name']}"
    if explanation.lung_region is not None:
        by = f" (found by {explanation.lung_network})" if explanation.lung_network else ""
        foot += f" · blue line: lungs{by}, dotted frame: what the model was shown"
    figure.text(0.01, 0.015, shorten(foot, 170), fontsize=9, color="0.35", parse_math=False)
    return figure


def subtitle(explanation: Explanation) -> str:
    """Return the predicted class, its probability, target, method and share of heat inside the lungs in one line."""
    parts = [f"predicted {_called(explanation)}", f"{explanation.method} for {explanation.target_class}"]
    if explanation.called_from:
        parts[0] += " ({class} is called from {probability:.2f})".format(**explanation.called_from)
    if explanation.method == ACTIVATION:
        parts[1] = f"{explanation.method}, of no class"
    elif explanation.target_class != explanation.predicted:
        parts[1] += f" (probability {explanation.probabilities[explanation.target_class]:.2f})"
    if explanation.patches is not None:
        votes = explanation.patches.votes[explanation.target_class]
        parts[1] += f" ({votes} of {explanation.patches.count} patches)"
    if explanation.heat_in_lungs is not None:
        parts.append(f"{100 * explanation.heat_in_lungs:.0f} % of the heat in the lungs")
    if not explanation.lungs_found:
        parts.append("lungs not found: the whole film was used")
    return " · ".join(parts)


def _called(explanation: Explanation) -> str:
    """Return what is called with its probability; several findings, or none, where the model gives findings."""
    chances, predicted = explanation.probabilities, explanation.predicted
    if predicted in chances:
        return f"{predicted}, probability {chances[predicted]:.2f}"
    findings = [f"{name} {chances[name]:.2f}" for name in predicted.split("|") if name in chances]
    return ", ".join(findings) or f"{predicted}, largest probability {max(chances.values()):.2f}"


def shorten(text: str, length: int) -> str:
    """Return `text` in at most `length` signs, the middle left out, on one line and printable."""
    clean = "".join(sign if sign.isprintable() else "?" for sign in text)
    if len(clean) <= length:
        return clean
    head = (length - 1) // 2
    return f"{clean[:head]}…{clean[-(length - 1 - head) :]}"


def heat_colours() -> Colormap:
    """Return blue (little) to red (much) heat, more transparent the less there is."""
    steps = np.linspace(0, 1, 256)
    colours = colormaps["turbo"](steps)
    colours[:, 3] = OPACITY * np.minimum(1.0, 1.6 * steps)
    return ListedColormap(colours, name="heat")


def weight_colours() -> Colormap:
    """Return red (against) over clear (nothing) to green (for)."""
    steps = np.linspace(-1, 1, 256)
    colours = np.where(steps[:, None] >= 0, np.array(FOR), np.array(AGAINST))
    return ListedColormap(np.column_stack([colours, OPACITY * np.abs(steps)]), name="weights")


def _draw_heat(axes: Axes, heat: Film) -> ScalarMappable:
    return axes.imshow(heat, cmap=heat_colours(), vmin=0, vmax=1)


def _draw_superpixels(axes: Axes, found: Superpixels, target: str) -> ScalarMappable:
    """Draw the super-pixels to show, each with its border and its weight: red and green are not for all eyes."""
    segments = _reduced(found.segments, cv2.INTER_NEAREST)
    limit = float(np.abs(found.weights).max(initial=0.0)) or 1.0
    scale = ScalarMappable(Normalize(-limit, limit), weight_colours())
    canvas = np.zeros((*segments.shape, 4))
    for number in found.top:
        weight = float(found.weights[number])
        inside = segments == number
        if not inside.any():
            continue
        colour = FOR if weight > 0 else AGAINST
        canvas[inside] = (*colour, OPACITY * abs(weight) / limit)
        axes.contour(inside.astype(np.float32), levels=[0.5], colors=[colour], linewidths=1.2)
        row, column = _middle(inside)
        text = axes.text(column, row, f"{weight:+.1g}", color="white", fontsize=8, ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])
    axes.imshow(canvas)
    handles = [Patch(color=FOR, label=f"for {target}"), Patch(color=AGAINST, label=f"against {target}")]
    axes.legend(handles=handles, loc="lower right", fontsize=9, framealpha=0.8)
    return scale


def _middle(inside: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the pixel deepest inside a region, whose centroid may lie outside of it."""
    depth = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(row), float(column)


def _draw_lungs(axes: Axes, explanation: Explanation) -> None:
    region = explanation.lung_region
    if region is None or not region.any():
        return
    outline = np.pad(_reduced(region, cv2.INTER_NEAREST), 1)  # a lung at the film's border is closed along it
    rows, columns = np.arange(outline.shape[0]) - 1, np.arange(outline.shape[1]) - 1
    limits = axes.get_xlim(), axes.get_ylim()
    axes.contour(columns, rows, outline, levels=[0.5], colors=[LUNGS], linewidths=0.8)
    axes.set(xlim=limits[0], ylim=limits[1])


def _draw_box(axes: Axes, explanation: Explanation, shape: tuple[int, ...]) -> None:
    top, left, bottom, right = explanation.lung_box
    if (top, left, bottom, right) == (0.0, 0.0, 1.0, 1.0):
        return
    rows, columns = shape
    corner, size = (left * columns - 0.5, top * rows - 0.5), ((right - left) * columns, (bottom - top) * rows)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="0.9", linewidth=0.8, linestyle=":"))


def _reduced(plane: npt.NDArray[Any], interpolation: int) -> npt.NDArray[Any]:
    """Return a plane of the film's size at the size of the picture, where it is larger."""
    rows, columns = plane.shape
    share = LONGEST_SIDE / max(rows, columns)
    if share >= 1:
        return plane
    size = (max(1, round(columns * share)), max(1, round(rows * share)))
    if plane.dtype == np.int32:
        return cv2.resize(plane.astype(np.float32), size, interpolation=interpolation).astype(np.int32)
    return cv2.resize(plane, size, interpolation=interpolation)
