"""``audit.json`` for people: a figure of all checks and a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidcxr_tf.files import replacing

#: Told apart without colour too: the verdict stands beside each row, and each has a shape of its own.
COLOURS = {"pass": "#1b7837", "warn": "#b35806", "fail": "#b2182b", "not applicable": "#7f7f7f"}
SHAPES = {"pass": "o", "warn": "^", "fail": "X", "not applicable": "s"}
ZONES = {"pass": "#e5f5e9", "warn": "#fdf0dc", "fail": "#fbe3e4"}


def draw_audit(document: Mapping[str, Any], path: str | Path) -> Path:
    """Write the figure of an audit as PNG: a row a check, its value and interval over the zones of its limits."""
    findings = document["findings"]
    figure = Figure(figsize=(11, 1.4 + 0.52 * len(findings)), layout="constrained")
    axes = figure.subplots(len(findings), 1, squeeze=False)[:, 0]
    for ax, finding in zip(axes, findings, strict=True):
        draw_finding(finding, ax)
    model, verdicts = document["model"]["name"], document["verdicts"]
    counted = ", ".join(f"{number} {name}" for name, number in verdicts.items() if number)
    figure.suptitle(f"Audit of {model} on {document['films']} films of {document['patients']} patients: {counted}")
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=130)
    return Path(path)


def draw_finding(finding: Mapping[str, Any], ax: Axes) -> Axes:
    """Draw one check as one row: zones of pass, warn and fail, the value, its interval, the verdict in words."""
    limits, value, verdict = finding["limits"], finding["value"], finding["verdict"]
    top = 1.0 if value is None or value <= 1 else 1.15 * value
    bounds = {"above": ("pass", "warn", "fail"), "below": ("fail", "warn", "pass")}[limits["bad_is"]]
    edges = [0.0, *sorted((limits["warn"], limits["fail"])), top]
    for name, left, right in zip(bounds, edges, edges[1:]):
        ax.axvspan(min(left, top), min(right, top), color=ZONES[name], linewidth=0)
    if value is not None:
        if finding["ci95"] is not None:
            ax.plot(finding["ci95"], [0, 0], color=COLOURS[verdict], linewidth=2, solid_capstyle="butt")
        ax.plot(min(max(value, 0), top), 0, SHAPES[verdict], color=COLOURS[verdict], markersize=9, clip_on=False)
    ax.set(xlim=(0, top), ylim=(-1, 1), yticks=[])
    ax.tick_params(axis="x", labelsize=7, length=2)
    ax.spines[["top", "left", "right"]].set_visible(False)
    ax.set_ylabel(finding["name"].replace("_", " "), rotation=0, ha="right", va="center", fontsize=9)
    ax.text(1.01, 0.5, _label(finding), transform=ax.transAxes, va="center", color=COLOURS[verdict], fontsize=9)
    return ax


def _label(finding: Mapping[str, Any]) -> str:
    if finding["value"] is None:
        return finding["verdict"]
    return f"{finding['verdict']}  {number(finding)}"


def number(finding: Mapping[str, Any]) -> str:
    """Return value and interval of a finding in words, ``-`` where there is none."""
    value = finding["value"]
    if value is None:
        return "-"
    if finding["ci95"] is None and float(value).is_integer():
        return f"{value:.0f}"
    interval = finding["ci95"]
    return f"{value:.2f}" + ("" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})")


def audit_markdown(document: Mapping[str, Any]) -> str:
    """Return the page ``audit.md``: what was asked, what came out, by which limit and why."""
    model = document["model"]
    lines = [
        f"# Audit of {model['name']}",
        "",
        f"Model {model['name']} ({model['arch']}, sha256 {model['sha256'][:12]}), class {document['positive']} against "
        f"the rest, {document['films']} films of {document['patients']} patients. Intervals: 95 %, over patients.",
        "",
        "![verdicts](figures/audit.png)",
        "",
        "| Check | Verdict | Value | What it says |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one['name']} | **{one['verdict']}** | {number(one)} | {_cell(one['sentence'])} |"
        for one in document["findings"]
    ]
    lines += [
        "",
        "## What the verdicts were judged by",
        "",
        "| Check | Value | Warns | Fails | Why |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['name']} | {one['quantity'] or '-'} | {_bound(one, 'warn')} | {_bound(one, 'fail')} | "
        f"{_cell(one['limits']['reason'])} |"
        for one in document["findings"]
    ]
    return "\n".join([*lines, "", document["note"].capitalize() + ".", ""])


def _bound(finding: Mapping[str, Any], name: str) -> str:
    limits = finding["limits"]
    return f"{'from' if limits['bad_is'] == 'above' else 'down from'} {limits[name]:g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def summarise_audit(document: Mapping[str, Any]) -> str:
    """Return the audit as lines for a terminal."""
    width = max(len(one["name"]) for one in document["findings"])
    lines = [f"{one['verdict']:<14}  {one['name']:<{width}}  {one['sentence']}" for one in document["findings"]]
    counted = ", ".join(f"{number} {name}" for name, number in document["verdicts"].items() if number)
    return "\n".join([*lines, f"verdict: {document['verdict']} ({counted})"])
