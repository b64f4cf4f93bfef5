"""The chapter of an audit: each check with its value over the zones of its limits, in words a clinician reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covidcxr_tf.report.audit_page import number
from covidcxr_tf.report.blocks import Bar, Block, Finding, Findings, Missing, Section, Text
from covidcxr_tf.report.run_folder import RunFolder
from covidcxr_tf.report.sections_results import AUDIT, audit_is_of

TITLE = "Audit: disease, or something else?"
VERDICTS = ("pass", "warn", "fail", "not applicable")


def audit_section(run: RunFolder) -> Section:
    """Return what the audit found, or the command that makes one."""
    if run.audit is None:
        return Section("audit", TITLE, [Missing("No audit of this run.", AUDIT)])
    audit = run.audit
    model = audit.get("model", {})
    blocks: list[Block] = []
    same = audit_is_of(run)
    if same is False:
        own = str((run.card or {})["model"]["sha256"])
        blocks.append(Text(f"This audit is of another model file ({model['sha256'][:12]}, not {own[:12]}).", "warn"))
    elif same is None:
        blocks.append(
            Text("Whether this audit is of this very model cannot be told: the run names no model file.", "note")
        )
    counted = ", ".join(f"{count} {name}" for name, count in audit["verdicts"].items() if count)
    words = f"{counted}: {audit['films']} films of {audit['patients']} patients"
    if audit.get("split"):
        words += f", split {audit['split']}"
    if audit.get("films_of_split", audit["films"]) > audit["films"]:
        words += f", drawn from {audit['films_of_split']}"
    blocks += [
        Text(f"{words}. Class: {audit.get('positive')}."),
        Findings([_finding(run, one) for one in audit["findings"]]),
    ]
    if audit.get("note"):
        blocks.append(Text(f"{str(audit['note'])[:1].upper()}{str(audit['note'])[1:]}.", "note"))
    return Section("audit", TITLE, blocks)


def _finding(run: RunFolder, one: Mapping[str, Any]) -> Finding:
    limits, text = one["limits"], run.names.text
    above = limits["bad_is"] == "above"
    bound = "warns from {warn:g}, fails from {fail:g} on" if above else "warns at {warn:g}, fails at {fail:g} and below"
    value = one["value"]
    top = 1.0 if value is None or value <= 1 else 1.15 * value
    interval = (float(one["ci95"][0]), float(one["ci95"][1])) if one["ci95"] else None
    bar = Bar(one["name"], value, interval, number(one), tone=one["verdict"], zones=_zones(limits, top), top=top)
    return Finding(
        name=one["name"].replace("_", " "),
        verdict=one["verdict"],
        bar=bar,
        sentence=text(one["sentence"]),
        quantity=text(one["quantity"]),
        limit=bound.format(**limits),
        reason=text(limits["reason"]),
    )


def _zones(limits: Mapping[str, Any], top: float) -> list[tuple[float, float, str]]:
    """Return from, to and verdict of each zone on an axis from 0 to `top`."""
    first, second = (min(edge, top) for edge in sorted((limits["warn"], limits["fail"])))
    names = ("pass", "warn", "fail") if limits["bad_is"] == "above" else ("fail", "warn", "pass")
    edges = (0.0, first, second, top)
    return [(a, b, name) for name, a, b in zip(names, edges, edges[1:], strict=False) if b > a]
