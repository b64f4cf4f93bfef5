"""A model's own recipe, trained anew on films that have lost their lungs: what is learned then is no lung disease.

Maguolo & Nanni 2021 black out a rectangle over the lungs, train, and test on films treated alike. Here that is done
with a run's own config, and a second time with the films' border alone. Differs from paper: few epochs (the result is a
lower bound of what the films give away), and no lung network, as it would find nothing to crop to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from covidcxr_tf.audit.evidence import Change, Evidence, Film, Retrained
from covidcxr_tf.audit.hiding import hide_lungs, keep_border
from covidcxr_tf.audit.study import draw_films
from covidcxr_tf.classifiers import PatchModel
from covidcxr_tf.config import Config, check_config, load_config, merge
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.data.splits import split_by_patient
from covidcxr_tf.errors import SplitError, UsageError
from covidcxr_tf.evaluate.table import one_against_rest, read_predictions
from covidcxr_tf.imaging.levels import to_uint8
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.progress import track
from covidcxr_tf.recipes.datasets import PARTS, assemble, open_manifest, prepare_films
from covidcxr_tf.recipes.execute import train_and_judge
from covidcxr_tf.recipes.launch import Launch
from covidcxr_tf.recipes.phases import phase_configs

#: Check -> what is left of the films that it trains on.
CHANGES: dict[str, Change] = {"border_trained": keep_border, "hidden_trained": hide_lungs}
EPOCHS, FILMS = 3, 2000
#: Share of the patients to train on that choose the best epoch instead.
VALIDATION = 0.2


def retrain(
    evidence: Evidence, model: str | Path, checks: Iterable[str], epochs: int = EPOCHS, most: int = FILMS
) -> dict[str, Retrained]:
    """Return what the run's own network, trained anew on changed films, says of the judged films, changed alike.

    Parameters
    ----------
    evidence : Evidence
        Its films are judged; none of their patients is trained on.
    model : str or path
        The run folder: its ``config.toml`` says what is trained. Of a run in phases the last one.
    checks : iterable of str
        Those of `CHANGES` are trained, one after the other.
    epochs : int
        At most.
    most : int
        Films to train on, at most; each label and source with its share.

    Returns
    -------
    dict
        Name of the check -> scores. Films are written into a temporary folder, which goes again.

    Raises
    ------
    UsageError
        For a model of patches, which are drawn in the lungs, and one without a config.
    SplitError
        Where no films are left to train on.
    """
    wanted = [name for name in CHANGES if name in set(checks)]
    if not wanted:
        return {}
    config = _config(evidence, Path(model), epochs)
    pool = draw_films(_films_to_train(evidence, config), most, evidence.seed)
    split = split_by_patient(pool, (1 - VALIDATION, VALIDATION, 0.0), evidence.seed)
    split.attrs = pool.attrs
    found = {}
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="covidcxr_retrain_") as folder:
            found[name] = _train(evidence, config, split, name, Path(folder))
    return found


def _config(evidence: Evidence, model: Path, epochs: int) -> Config:
    """Return the run's config for whole frames and few epochs."""
    if isinstance(evidence.loaded, PatchModel):
        raise UsageError(
            "--retrain with a model of patches, which are drawn in the lungs", remedy="leave --retrain out"
        )
    file = (model if model.is_dir() else model.parent) / "config.toml"
    if not file.is_file():
        raise UsageError("--retrain needs to know how the model was trained", where=file, expected="a run folder")
    config = load_config(file)
    if config.run_phases:
        config = list(phase_configs(config).values())[-1]
    over = {"image": {"lungs": "none"}, "train": {"epochs": epochs}, "data": {"folds": 0, "redraw_validation": False}}
    table = merge(config.model_dump(mode="json"), over) | {"phases": {}, "run_phases": []}
    return check_config(table, where=str(file))


def _films_to_train(evidence: Evidence, config: Config) -> pd.DataFrame:
    """Return the films of training and validation, those of the audit's manifest where it has such, else the run's.

    No patient of a judged film is among them.
    """
    judged = set(evidence.films["patient_id"].astype(str))
    for films in (evidence.manifest, None):
        films = open_manifest(config) if films is None else films
        attributes = films.attrs
        if "split" in films:
            films = films[films["split"].isin(("train", "validation")) & ~films["patient_id"].astype(str).isin(judged)]
            films = films.reset_index(drop=True)
            films.attrs = attributes
            if set(config.class_names) <= set(films["label"]):
                return films
    raise SplitError(
        "no films of every class are left to train on",
        where=attributes.get("manifest"),
        expected="films of train and validation, of other patients than those judged",
        remedy="give --data a manifest with splits, or leave --retrain out",
    )


def _train(evidence: Evidence, config: Config, split: pd.DataFrame, name: str, folder: Path) -> Retrained:
    """Return the judged films' scores by the network trained anew on films that `CHANGES` has treated."""
    films = pd.concat([_kept(split), _kept(evidence.films).assign(split="test")], ignore_index=True)
    original = [film_path(table, row) for table in (split, evidence.films) for row in range(len(table))]
    films["path"] = [f"{row:06d}.png" for row in range(len(films))]
    films.attrs.update(root=folder, manifest=f"films of --retrain, {name}")
    for row, path in enumerate(track(original, len(original), f"films of {name}")):
        film = read_image(path)
        _write(CHANGES[name](film, evidence.look(film)), folder / str(films.at[row, "path"]))
    prepared, lungs = prepare_films(config, films, out=folder / "prepared")
    sets = assemble(config, prepared, lungs, {part: (part,) for part in PARTS})
    train_and_judge(config, sets, folder / "run", Launch())
    table = read_predictions(folder / "run" / "predictions_test.csv").set_index("path")
    table = table.loc[films.loc[films["split"] == "test", "path"]].reset_index()
    trained = int((films["split"] == "train").sum())
    return Retrained(one_against_rest(table, evidence.positive)[0], config.train.epochs, trained)


def _kept(films: pd.DataFrame) -> pd.DataFrame:
    return films[[name for name in ("path", "label", "patient_id", "source", "split") if name in films]]


def _write(film: Film, path: Path) -> None:
    done, packed = cv2.imencode(".png", to_uint8(np.clip(film, 0, 1)))
    assert done, "cv2 encodes any grey film"
    path.write_bytes(packed.tobytes())
