"""The chapter of the worst errors: what the model was most sure of, and wrong about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf.evaluate.table import class_names, holds_findings
from covidcxr_tf.report.blocks import Block, Film, Films, Missing, Picture, Section, Text
from covidcxr_tf.report.run_folder import RunFolder
from covidcxr_tf.report.sections_results import EVALUATE


def worst_errors(run: RunFolder, count: int) -> list[dict[str, Any]]:
    """Return the films that were called wrongly with the most confidence.

    Parameters
    ----------
    run : RunFolder
    count : int
        At most so many.

    Returns
    -------
    list of dict
        ``path``, ``source``, ``label``, ``called``, ``confidence`` (probability of the class called), most confident
        first. Of masks: ``dice`` in place of the last three, lowest first. Empty for a model of findings.
    """
    table = run.table
    if table is None or holds_findings(table):
        return []
    if "dice" in table:
        lowest = table.assign(dice=pd.to_numeric(table["dice"])).sort_values("dice", kind="stable").head(count)
        return [
            {key: row.get(key, "") for key in ("path", "source", "label", "dice")} for row in lowest.to_dict("records")
        ]
    if "predicted" not in table:
        return []
    chances = table[[f"prob_{name}" for name in class_names(table)]].to_numpy(np.float64)
    column = {name: number for number, name in enumerate(class_names(table))}
    called = [column[name] for name in table["predicted"]]
    wrong = table.assign(confidence=chances[np.arange(len(table)), called])
    wrong = wrong[wrong["predicted"] != wrong["label"]].sort_values("confidence", ascending=False, kind="stable")
    worst = wrong.rename(columns={"predicted": "called"}).head(count)
    keys = ("path", "source", "label", "called", "confidence")
    return [{key: row.get(key, "") for key in keys} for row in worst.to_dict("records")]


def failure_section(run: RunFolder, count: int, pictures: Mapping[str, Picture], why: str = "") -> Section:
    """Return the worst errors, each with its picture where one was made; `why` says why not."""
    title = "Where it was wrong"
    if run.task == "multilabel":
        return Section(
            "failures", title, [Text("Findings are judged one by one: there is no single worst error.", "note")]
        )
    errors = worst_errors(run, count)
    if not errors:
        if run.table is None:
            return Section("failures", title, [Missing("No predictions: no errors to show.", EVALUATE)])
        return Section("failures", title, [Text("No film was called wrongly.")])
    if "dice" in errors[0]:
        words = "The films whose found lungs differ most from the drawn ones."
    else:
        table = run.table
        assert table is not None
        wrong = int((table["predicted"] != table["label"]).sum())
        words = f"{wrong} of {len(table)} films were called wrongly. Those that the model was most sure of:"
    blocks: list[Block] = [Text(words)]
    if why:
        blocks.append(Text(why, "note"))
    return Section("failures", title, [*blocks, Films([_film(run, error, pictures) for error in errors])])


def _film(run: RunFolder, error: Mapping[str, Any], pictures: Mapping[str, Picture]) -> Film:
    words = [("truth", str(error["label"]))]
    if "dice" in error:
        words = [("Dice", f"{error['dice']:.3f}"), *words]
    else:
        words += [("called", f"{error['called']}, probability {error['confidence']:.3f}")]
    if error["source"]:
        words.append(("source", str(error["source"])))
    return Film(run.names.film(error["path"]), words, pictures.get(error["path"]))
