"""Fricks 2021: six ways to COVID-19 through findings and pneumonia, judged on the same test films (Tables 1 to 5)."""

from __future__ import annotations

from functools import partial

from covidcxr_tf.data.schema import FINDINGS
from covidcxr_tf.errors import DataError
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.densenet121_phased_areas import (
    PAIRS,
    area,
    best_path,
    judged_tables,
    mean_of_paths,
    pair_tests,
    title,
    within_one_source,
)
from covidcxr_tf.recipes.reproductions.densenet121_phased_heat import heat_maps
from covidcxr_tf.recipes.reproductions.densenet121_phased_paths import (
    PATHS,
    all_paths,
    missing_path,
    missing_stage,
    phase_1,
    phase_2,
    prevalence,
    trained_on,
)
from covidcxr_tf.recipes.reproductions.experiment import Experiment, Measured, from_metric
from covidcxr_tf.report.findings import draw_findings

SMOKE_LABELS = ("normal", "pneumonia", "covid19")
CAVEATS = (
    "Every path starts from ImageNet's weights in the paper. That file is downloaded, not shipped: without "
    "`--set model.init=imagenet` the first phase of each path starts from random weights, and path (f), the paper's "
    "'standard transfer learning', is then a network without any transfer.",
    "The paper's 1,060 films are of one collection, homogenised and cropped by hand; negative means a negative "
    "RT-PCR. Here covid19 stands against every other label of the manifest, whose films come from other places: an "
    "area over all sources may tell sources apart, not disease. The rows 'AUC within' a source are the ones to read. "
    "Films of one collection alone are taken with `--set 'phases.phase_3.data.sources=[\"NAME\"]'`.",
    "Where NIH films are among the negatives of phase 3, phases 1 and 2 have seen them (those of training patients "
    "only): paths (a) to (e) then know one side of the task's films, which the paper's phase 3 does not allow.",
    "The paper tests phase 1 on the NIH's own list and then trains phase 2 of paths (b) and (e) on it. Here one split "
    "by patient (60/20/20, or the manifest's own) holds for all phases: phase 2 trains on the NIH films of the "
    "training patients, which phase 1 saw with other targets, and nothing is tested on a patient that was trained on. "
    "So path (b) adds no new films, and pneumonia is as frequent as in the manifest, not 2 %.",
    "The paper's phase 2 is judged on its validation films, which also stop the training; here on test films.",
    "DeLong's intervals and tests, which the paper uses, take films of one patient for independent. The notes give the "
    "same over patients; the figures in comparison/ lead with those.",
)
TABLE_1 = (*FINDINGS, "macroaverage")


def findings(bench: Bench) -> dict[str, Measured]:
    """Train the 14 findings and return Table 1; the area of each finding is drawn in the run's folder."""
    outcome = phase_1(bench)
    metrics, note = outcome.metrics, trained_on(bench, outcome)
    draw_findings(metrics, outcome.run.figures)
    found = {}
    for name in FINDINGS:
        one = metrics["per_class"][name]
        with_it = f"{one['support']} films with it; {note}"
        found[f"table1.{name.lower()}.ours"] = from_metric(one["auroc"], n=metrics["n"], note=with_it)
    mean = metrics["auroc"]
    over = f"mean over {len(mean['over'])} of {len(FINDINGS)} findings; {note}"
    found["table1.macroaverage.ours"] = from_metric(mean, n=metrics["n"], note=over)
    if len(metrics["by_source"]) > 1:
        for source, part in metrics["by_source"].items():
            name = f"also phase 1: macro average AUROC within {source}"
            found[name] = from_metric(part["auroc"], n=part["n"], note=f"over {len(part['auroc']['over'])} findings")
    return found


def pneumonia(bench: Bench, paths: tuple[str, ...]) -> dict[str, Measured]:
    """Train phase 2 of some paths and return their rows of Table 2."""
    found = {}
    for path in paths:
        fact = f"table2.path_{path}.auroc"
        why = next((why for stage in PATHS[path] if (why := missing_stage(bench, stage))), "")
        if not why:
            try:
                outcome = phase_2(bench, path)
            except DataError as fault:
                why = str(fault)
        if why:
            found[fact] = Measured(None, why=why)
            continue
        start = "from phase 1" if PATHS[path][:-1] else "without phase 1"
        note = f"{start}; {trained_on(bench, outcome)}; {prevalence(outcome, 'pneumonia')}"
        found[fact] = from_metric(outcome.metrics["auroc"], n=outcome.metrics["n"], note=note)
    return found


def covid19(bench: Bench) -> dict[str, Measured]:
    """Train phase 3 of every path and return Tables 3 to 5 and the abstract's two areas."""
    trained = all_paths(bench)
    tables = judged_tables(trained)
    found = {}
    for path in PATHS:
        if path in tables:
            found[f"table3.path_{path}.auroc"] = area(tables[path], trained_on(bench, trained.outcomes[path]))
        else:
            found[f"table3.path_{path}.auroc"] = Measured(None, why=trained.whys[path])
    found["abstract.control_auroc"] = found["table3.path_f.auroc"]
    found["abstract.best_auroc"] = _with_note(found["table3.path_b.auroc"], _best_here(best_path(trained)))
    found |= pair_tests(tables, trained.whys, bench.out)
    return found | within_one_source(trained, tables, bench.out) | mean_of_paths(trained, tables, bench)


def _best_here(best: str) -> str:
    return f"path (b), as printed; the best on the validation films here is {title(best)}" if best else ""


def _with_note(one: Measured, note: str) -> Measured:
    if one.value is None:
        return one
    return Measured(one.value, one.ci95, one.n, note="; ".join(part for part in (note, one.note) if part))


def _all_missing(bench: Bench, paths: tuple[str, ...]) -> str:
    """Return why none of some paths has its phase 2, or nothing where one has."""
    whys = [next((w for stage in PATHS[path] if (w := missing_stage(bench, stage))), "") for path in paths]
    return whys[-1] if all(whys) else ""


def _patients(bench: Bench) -> str:
    return (
        "not run: the two patients' films are not published; `covidcxr explain --method gradcam` gives output and heat "
        "map of one's own, and the medians beside the Grad-CAM figure are the nearest to it"
    )


EXPERIMENTS = (
    Experiment(
        "phase_1",
        "14 findings of ChestX-ray14 (Table 1)",
        tuple(f"table1.{name.lower()}.ours" for name in TABLE_1),
        findings,
        partial(missing_stage, stage="findings"),
    ),
    Experiment(
        "phase_2_rsna",
        "pneumonia in RSNA films (Table 2, paths (a) and (d))",
        ("table2.path_a.auroc", "table2.path_d.auroc"),
        partial(pneumonia, paths=("a", "d")),
        partial(_all_missing, paths=("a", "d")),
    ),
    Experiment(
        "phase_2_nih",
        "pneumonia in NIH films (Table 2, paths (b) and (e))",
        ("table2.path_b.auroc", "table2.path_e.auroc"),
        partial(pneumonia, paths=("b", "e")),
        partial(_all_missing, paths=("b", "e")),
    ),
    Experiment(
        "phase_3",
        "COVID-19 by six paths on the same test films (Tables 3 to 5, Figure 3)",
        (
            "abstract.control_auroc",
            "abstract.best_auroc",
            *(f"table3.path_{path}.auroc" for path in PATHS),
            *(f"table{number}.path_{one}_{other}.p" for number in (4, 5) for one, other in PAIRS),
        ),
        covid19,
        partial(missing_path, path="f"),
    ),
    Experiment(
        "heat_maps",
        "Grad-CAM of the best path on validation films (section 3.4, Figures 4 to 7)",
        (),
        heat_maps,
        partial(missing_path, path="f"),
    ),
    Experiment(
        "patients",
        "network output of two patients (section 3.4)",
        ("section3_4.patient30.output", "section3_4.patient191.output"),
        lambda bench: {},
        _patients,
    ),
)
