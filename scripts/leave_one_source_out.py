"""What a recipe does on a hospital that it was not trained on: one training a source, each tested on that source alone.

    python scripts/leave_one_source_out.py --config efficientnet-lite0 --data cxr.csv --root cxr \
        --source cohen --source kermany --out runs/left_out --set train.epochs=6

Writes ``left_out.csv`` and ``left_out.md`` to OUT. A run that is finished is not trained again.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--config", required=True, metavar="FILE", help="A TOML file, or the name of a shipped config.")
@click.option("--data", required=True, metavar="MANIFEST")
@click.option("--root", default="", metavar="DIR", help="Folder that the manifest's paths start from.")
@click.option("--source", "sources", required=True, multiple=True, metavar="NAME", help="Left out; repeatable.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="As `covidcxr train --set`.")
def main(config: str, data: str, root: str, sources: tuple[str, ...], out: Path, changes: tuple[str, ...]) -> None:
    """Train once for each SOURCE without it, and print the areas inside it."""
    import pandas as pd

    from covidcxr_tf.config import load_config
    from covidcxr_tf.evaluate.table import read_predictions
    from covidcxr_tf.evaluate.within_sources import within_source_areas
    from covidcxr_tf.files import write_text
    from covidcxr_tf.recipes.execute import execute

    found = []
    for source in sources:
        places = [f"data.manifest={data}", f"data.root={root}", f"data.test_sources=['{source}']"]
        wanted = load_config(config, [*places, *changes])
        execute(wanted, out / source, resume=True)
        predictions = read_predictions(out / source / "predictions_test.csv")
        found.append(within_source_areas(predictions, wanted.class_names))
    table = pd.concat(found, ignore_index=True)
    write_text(out / "left_out.csv", table.to_csv(index=False))
    page = markdown(table)
    write_text(out / "left_out.md", page)
    click.echo(page)


def markdown(table) -> str:  # type: ignore[no-untyped-def]
    """Return the table for people."""
    lines = ["| source, not trained on | told apart | films | AUC (95 % by patient) |", "|---|---|---|---|"]
    for row in table.to_dict("records"):
        area = f"{row['auc']:.3f} ({row['low']:.3f} to {row['high']:.3f})" if row["auc"] == row["auc"] else row["why"]
        films = f"{row['films_positive']} / {row['films_negative']}"
        lines.append(f"| {row['source']} | {row['positive']} against {row['negative']} | {films} | {area} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
