"""Two sets of films and two networks with weights set by hand: one set leaks its label, one network takes the bait.

Nothing is trained, so that what a check has to find is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidcxr_tf.audit.evidence import Evidence
from covidcxr_tf.classifiers import LoadedModel

SIZE = 64
PATIENTS = 80
#: Where the "lungs" of these films lie, and the corner that a marker is burnt into: rows, columns.
LEFT, RIGHT, CORNER = (slice(16, 48), slice(10, 28)), (slice(16, 48), slice(36, 54)), (slice(1, 6), slice(1, 10))


def draw(disease: bool, marked: bool, seed: int) -> np.ndarray:
    """Return a film uint8 (64, 64): dark lungs, brighter ones with the disease, a bright corner with a marker."""
    random = np.random.default_rng(seed)
    film = np.full((SIZE, SIZE), 150.0)
    # Soft tissue of its own, inside the border, so that no two patients are one picture to a perceptual hash.
    film[8:-8, 8:-8] += np.kron(random.uniform(-70, 70, (6, 6)), np.ones((8, 8)))
    for place in (LEFT, RIGHT):
        film[place] = (120 if disease else 40) + 12 * random.standard_normal()
    film += random.normal(0, 4, film.shape)
    if marked:
        film[CORNER] = 250
    return np.clip(film, 0, 255).astype(np.uint8)


def write_films(folder: Path, leaking: bool) -> pd.DataFrame:
    """Write two films of each patient; `leaking`: marker, source, age and size tell the label."""
    folder.mkdir()
    rows = []
    for number in range(PATIENTS):
        disease, other = number % 2 == 0, number % 4 < 2
        for index in range(2):
            name = f"{number}_{index}.png"
            film = draw(disease, disease if leaking else other, 1000 * number + index)
            if leaking and disease:
                film = np.pad(film, ((0, 16), (0, 0)), mode="edge")[: SIZE + 16]
                film = np.asarray(Image.fromarray(film).crop((0, 0, SIZE, SIZE + 4)))
            Image.fromarray(film).save(folder / name)
            first = disease if leaking else other
            rows.append(
                {
                    "path": name,
                    "label": "covid19" if disease else "normal",
                    "patient_id": f"p{number:02d}",
                    "source": "north" if first else "south",
                    "age": str(70 if first else 8),
                    "sex": "F" if (number // 2) % 2 else "M",
                    "split": "test" if number >= 4 else "train",
                }
            )
    table = pd.DataFrame(rows)
    table.attrs.update(root=folder.resolve(), manifest=str(folder / "manifest.csv"))
    table.to_csv(folder / "manifest.csv", index=False)
    return table


def reader(places: tuple[tuple[slice, slice], ...], middle: float) -> keras.Model:
    """Return a network whose logit of covid19 grows with the mean level inside `places`; `middle` gives 50 %."""
    gate = np.zeros((1, SIZE, SIZE, 1), np.float32)
    for rows, columns in places:
        gate[0, rows, columns] = 1
    image = keras.Input((SIZE, SIZE, 1), name="image")
    seen = keras.layers.Activation("relu", name="seen")(image * keras.ops.convert_to_tensor(gate))
    pooled = keras.layers.GlobalAveragePooling2D()(seen)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(pooled))
    per_pixel = 40.0 / gate.mean()
    kernel = np.array([[0.0, per_pixel]], np.float32)
    model.get_layer("logits").set_weights([kernel, np.array([0.0, -40.0 * middle], np.float32)])
    return model


def loaded(model: keras.Model, file: Path) -> LoadedModel:
    """Return a network as a loaded classifier of whole films."""
    file.write_bytes(b"a hand-made network")
    facts = {
        "task": "classification",
        "classes": ["normal", "covid19"],
        "positive": "covid19",
        "name": file.stem,
        "arch": "by_hand",
        "image": {"size": SIZE, "channels": ["raw"], "lungs": "none"},
    }
    return LoadedModel(model, facts, file, None)


def lungs(film: np.ndarray) -> np.ndarray:
    """Return the region of the lungs of these films, whatever is on the picture."""
    region = np.zeros((SIZE, SIZE), np.uint8)
    region[LEFT], region[RIGHT] = 1, 1
    return region


@pytest.fixture(scope="session")
def gather(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool, bool], Evidence]:
    """Return a function (films leak, network takes the bait) -> evidence."""
    folder = tmp_path_factory.mktemp("audit")
    made: dict[tuple[bool, bool], Evidence] = {}
    tables = {leaking: write_films(folder / f"films_{leaking}", leaking) for leaking in (True, False)}

    def get(leaking: bool, cheats: bool) -> Evidence:
        if (leaking, cheats) not in made:
            network = reader((CORNER,), 200 / 255) if cheats else reader((LEFT, RIGHT), 80 / 255)
            model = loaded(network, folder / f"{'cheat' if cheats else 'honest'}.keras")
            films = tables[leaking][lambda table: table["split"] == "test"].reset_index(drop=True)
            films.attrs = tables[leaking].attrs
            finder = SimpleNamespace(region=lungs)
            made[leaking, cheats] = Evidence(model, films, tables[leaking], finder, resamples=200)  # type: ignore[arg-type]
        return made[leaking, cheats]

    return get
