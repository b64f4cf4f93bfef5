"""`covidcxr data split`: one assignment of patients to splits or folds, over one manifest or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--with",
    "others",
    type=(click.Path(path_type=Path), click.Path(dir_okay=False, path_type=Path)),
    multiple=True,
    metavar="OTHER.csv OUT2.csv",
    help="Split this manifest too, each patient as in the first. Can be given again.",
)
@click.option("--ratios", help="Shares of the patients in train, validation, test.  [.6,.2,.2]")
@click.option("--folds", type=int, help="Write a column fold (1..K) instead of split.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of MANIFEST's paths, if not its own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(
    manifest: Path,
    out: Path,
    others: tuple[tuple[Path, Path], ...],
    ratios: str | None,
    folds: int | None,
    seed: int,
    root: Path | None,
    as_json: bool,
) -> None:
    """Write MANIFEST to OUT with a column `split`, by patient, stratified by label and source."""
    from covidcxr_tf.data.manifest import load_manifest, write_manifest
    from covidcxr_tf.data.splits import RATIOS, fold_together, split_together

    if folds is not None and ratios is not None:
        raise click.UsageError("--folds and --ratios exclude each other")
    jobs = [(manifest, out), *others]
    _refuse_mixed_up([source for source, _ in jobs], [target for _, target in jobs])
    tables = [load_manifest(source, root if number == 0 else None) for number, (source, _) in enumerate(jobs)]
    if folds is not None:
        made = fold_together(tables, folds, seed)
    else:
        made = split_together(tables, RATIOS if ratios is None else _numbers(ratios), seed)
    results = []
    for (_, target), films in zip(jobs, made, strict=True):
        write_manifest(films, target)
        results.append(_summary(films, target, "split" if folds is None else "fold"))
        _say_root(films, target)
    if as_json:
        document = {"schema_version": 1, "seed": seed, "manifests": results}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(_as_text(result) for result in results))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as cause:
        raise click.UsageError(f"--ratios {text}: expected three numbers, as in .6,.2,.2") from cause


def _refuse_mixed_up(sources: list[Path], targets: list[Path]) -> None:
    """Refuse to write two tables to one file, or one over the manifest of another."""
    resolved = [path.resolve() for path in targets]
    for number, target in enumerate(resolved):
        if target in resolved[:number]:
            raise click.UsageError(f"{targets[number]} is named twice as an output")
        if any(target == source.resolve() for other, source in enumerate(sources) if other != number):
            raise click.UsageError(f"{targets[number]} is another manifest of this command; name another output")


def _summary(films: pd.DataFrame, target: Path, column: str) -> dict[str, Any]:
    """Return digest, root and the films and patients of each label in each part."""
    from covidcxr_tf.data.schema import SPLITS
    from covidcxr_tf.data.splits import split_digest

    parts = SPLITS if column == "split" else tuple(range(1, int(films[column].max()) + 1))
    table = {
        str(label): {str(part): _counts(rows[rows[column] == part]) for part in parts} | {"all": _counts(rows)}
        for label, rows in films.groupby("label")
    }
    table["all"] = {str(part): _counts(films[films[column] == part]) for part in parts} | {"all": _counts(films)}
    # The digest goes by `split` where there is one: a manifest that gets folds may have had one before.
    bare = films[["path", "patient_id", column]]
    return {
        "out": str(target),
        "root": films.attrs["root"],
        "column": column,
        "digest": split_digest(bare),
        "table": table,
    }


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {"films": len(rows), "patients": int(rows["patient_id"].nunique())}


def _as_text(result: dict[str, Any]) -> str:
    """Return the table label x part; a cell is ``films (patients)``."""
    table = result["table"]
    names = list(table["all"])
    cells = [[f"{row[name]['films']} ({row[name]['patients']})" for name in names] for row in table.values()]
    rows = [["label", *names], *([label, *row] for label, row in zip(table, cells, strict=True))]
    widths = [max(len(row[number]) for row in rows) for number in range(len(names) + 1)]
    lines = [
        "  ".join(cell.ljust(width) if not number else cell.rjust(width) for number, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    head = f"{result['out']}: films (patients) by label and {result['column']}"
    return "\n".join([head, *lines, f"{result['column']} digest {result['digest']}"])


def _say_root(films: pd.DataFrame, target: Path) -> None:
    """Say on stderr which --root a manifest needs that no longer lies beside its films."""
    root = films.attrs["root"]
    if str(target.resolve().parent) != root:
        click.echo(f"{target}: its paths begin in another folder; give commands --root {root}", err=True)
