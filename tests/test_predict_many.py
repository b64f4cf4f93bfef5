"""Films to a table in parts: what `predict_manifest` gives, however the films are cut, stopped or shared out."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.errors import ImageError, ManifestError, Stopped, UsageError
from covidcxr_tf.evaluate.table import read_predictions, unreadable, write_predictions
from covidcxr_tf.evaluate.table_files import join_tables, read_table
from covidcxr_tf.interrupts import Noted
from covidcxr_tf.ledger import Ledger, held
from covidcxr_tf.parallel import in_order
from covidcxr_tf.predict import EnsembleModel, HierarchicalModel, LoadedModel, PatchModel, predict_manifest
from covidcxr_tf.predict_many import predict_to_file, share

CLASSES = ["normal", "covid19"]


def facts(**changes: object) -> dict[str, object]:
    image = ImageConfig(size=32, channels=("raw",), lungs="none").model_dump(mode="json")
    return {"name": "tiny", "task": "classification", "classes": CLASSES, "image": image} | changes


def network(side: int = 32, seed: int = 3) -> keras.Model:
    start = keras.initializers.HeNormal(seed)
    image = keras.Input((side, side, 1), name="image")
    seen = keras.layers.Conv2D(8, 3, strides=2, activation="relu", kernel_initializer=start)(image)
    pooled = keras.layers.GlobalAveragePooling2D()(seen)
    return keras.Model(image, keras.layers.Dense(2, kernel_initializer=start, name="logits")(pooled))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    file = tmp_path_factory.mktemp("model") / "model.keras"
    file.write_bytes(b"the digest is of this")
    return LoadedModel(network(), facts(threshold=0.5), file, None)


@pytest.fixture
def films(phantoms: Path, tmp_path: Path) -> pd.DataFrame:
    """Return 20 films of two labels, copied so that a test may spoil some."""
    shutil.copytree(phantoms.parent, tmp_path / "films")
    found = load_manifest(tmp_path / "films" / "manifest.csv")
    chosen = found[found["label"] != "pneumonia"].head(20).reset_index(drop=True)
    chosen.attrs = found.attrs
    assert len(chosen) == 20
    return chosen


def kinds(file: Path) -> dict[str, object]:
    patches = facts(patches={"size": 16, "votes": 9, "seed": 3})
    one, two = (LoadedModel(network(seed=seed), facts(), file, None) for seed in (3, 4))
    second = LoadedModel(network(seed=5), facts(classes=["pneumonia", "covid19"]), file, None)
    return {
        "film": one,
        "patches": PatchModel(network(16), patches, file, None),
        "ensemble": EnsembleModel([one, two], file),
        "levels": HierarchicalModel(
            LoadedModel(network(), facts(classes=["normal", "other"]), file, None), second, file
        ),
    }


@pytest.mark.parametrize("kind", ["film", "patches", "ensemble", "levels"])
def test_every_kind_of_model_gives_what_the_table_in_memory_has(
    kind: str, loaded: LoadedModel, films: pd.DataFrame, tmp_path: Path
) -> None:
    model = kinds(loaded.path)[kind]
    expected, _ = predict_manifest(model, films)  # type: ignore[arg-type]
    done = predict_to_file(model, films, tmp_path / "out.csv")  # type: ignore[arg-type]
    assert (done.films, done.bad) == (20, ())
    found = read_predictions(done.out)
    expected = read_predictions(write_predictions(expected, tmp_path / "expected.csv"))
    assert set(found.columns) - set(expected.columns) == {"status"}
    assert found["status"].unique().tolist() == ["0"]
    probabilities = [name for name in found if name.startswith("prob_")]
    # The first batch is whole on both sides; the last one is filled up to the size of the others here.
    pd.testing.assert_frame_equal(found[expected.columns].head(16), expected.head(16), check_exact=True)
    np.testing.assert_allclose(found[probabilities], expected[probabilities], rtol=0, atol=1e-6)
    others = [name for name in expected if name not in probabilities]
    assert found[others].to_dict() == expected[others].to_dict()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_shards_together_are_the_whole_to_the_last_bit(
    suffix: str, loaded: LoadedModel, films: pd.DataFrame, tmp_path: Path
) -> None:
    whole = read_predictions(predict_to_file(loaded, films, tmp_path / f"whole{suffix}").out)
    for number in range(1, 12):
        predict_to_file(loaded, films, tmp_path / "shards" / f"part-{number}-of-11{suffix}", shard=(number, 11))
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "shards"), whole, check_exact=True)


def test_shares_cover_every_row_once() -> None:
    for films, count in ((10, 3), (7, 7), (100_003, 16)):
        cuts = [share(films, (number, count)) for number in range(1, count + 1)]
        assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])] and cuts[-1][1] == films
        sizes = [stop - start for start, stop in cuts]
        assert max(sizes) - min(sizes) <= 1
    for wrong in ((0, 4), (5, 4), (3, 4)):
        with pytest.raises(UsageError):
            share(2, wrong)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_stopped_run_goes_on_where_it_was(
    suffix: str, loaded: LoadedModel, films: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = predict_to_file(loaded, films, tmp_path / f"whole{suffix}").out
    out = tmp_path / f"out{suffix}"
    with pytest.raises(Stopped, match=r"4 films left.*--resume"):
        predict_to_file(loaded, films, out, signals=Noted(signal.SIGTERM))
    with pytest.raises(UsageError, match=r"16 films of an interrupted run.*--resume"):
        predict_to_file(loaded, films, out)
    done = predict_to_file(loaded, films, out, resume=True)
    assert "16 of 20 films are there already" in capsys.readouterr().err
    assert out.read_bytes() == whole.read_bytes()
    stamp = out.stat().st_mtime_ns
    assert predict_to_file(loaded, films, out, resume=True) == done
    assert out.stat().st_mtime_ns == stamp, "a finished table was computed again"


def test_another_model_or_manifest_is_refused_and_named(
    loaded: LoadedModel, films: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    other = tmp_path / "other.keras"
    other.write_bytes(b"another model")
    relabelled = films.assign(label="covid19")
    relabelled.attrs = films.attrs
    another = LoadedModel(network(), facts(), other, None)

    def check() -> None:
        for model, rows, match in ((another, films, "model sha256"), (loaded, relabelled, "manifest sha256")):
            with pytest.raises(UsageError, match=rf"another {match}: was .*, is "):
                predict_to_file(model, rows, out, resume=True)
        with pytest.raises(UsageError, match=r'another settings shard: was null, is "1/2"'):
            predict_to_file(loaded, films, out, resume=True, shard=(1, 2))

    with pytest.raises(Stopped):
        predict_to_file(loaded, films, out, signals=Noted(signal.SIGTERM))
    check()
    predict_to_file(loaded, films, out, resume=True)
    check()


def test_parts_that_no_longer_hold_are_computed_again(loaded: LoadedModel, films: pd.DataFrame, tmp_path: Path) -> None:
    out, root = tmp_path / "out.csv", Path(films.attrs["root"])
    with pytest.raises(Stopped):
        predict_to_file(loaded, films, out, signals=Noted(signal.SIGTERM))
    part = next((tmp_path / "out.csv.parts").glob("part-*"))
    part.write_bytes(part.read_bytes()[:-3])
    whole = predict_to_file(loaded, films, tmp_path / "whole.csv").out
    assert predict_to_file(loaded, films, out, resume=True).out.read_bytes() == whole.read_bytes()
    # A film that changed takes its part with it.
    with pytest.raises(Stopped):
        predict_to_file(loaded, films, tmp_path / "b.csv", signals=Noted(signal.SIGTERM))
    (root / films["path"][3]).write_bytes((root / films["path"][18]).read_bytes())
    found = read_predictions(predict_to_file(loaded, films, tmp_path / "b.csv", resume=True).out)
    assert found["prob_covid19"][3] == pytest.approx(found["prob_covid19"][18], abs=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_bad_film_gets_a_row_and_stops_nothing(
    suffix: str, loaded: LoadedModel, films: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = read_predictions(predict_to_file(loaded, films, tmp_path / f"good{suffix}").out)
    bad = [2, 17]
    for row in bad:
        (Path(films.attrs["root"]) / films["path"][row]).write_text("no film")
    out = tmp_path / f"out{suffix}"
    done = predict_to_file(loaded, films, out)
    assert [path for path, _ in done.bad] == films["path"][bad].tolist()
    listed = pd.read_csv(tmp_path / "out.quarantine.csv")
    assert listed["path"].tolist() == films["path"][bad].tolist() and listed["reason"].str.len().min() > 20
    raw = read_table(out)
    assert len(raw) == 20 and np.flatnonzero(unreadable(raw)).tolist() == bad
    assert raw["prob_covid19"].replace("", np.nan)[bad].isna().all()
    assert "2 films that could not be read" not in capsys.readouterr().err
    left = read_predictions(out)
    assert "(without 2 films that could not be read)" in capsys.readouterr().err
    expected = good.drop(index=bad).reset_index(drop=True)
    pd.testing.assert_frame_equal(left, expected, check_exact=True)  # the neighbours' last bits, too
    for row in range(20):
        (Path(films.attrs["root"]) / films["path"][row]).write_text("no film")
    with pytest.raises(ImageError, match="no film could be read"):
        predict_to_file(loaded, films, tmp_path / "none.csv")
    assert not list(tmp_path.glob("none*"))


def test_the_command_exits_with_3_for_bad_films_unless_allowed(
    loaded: LoadedModel, films: pd.DataFrame, covidcxr: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covidcxr_tf.predict.load_any", lambda name: loaded)
    root = Path(films.attrs["root"])
    (root / films["path"][2]).write_text("no film")
    words = ("predict", root / "manifest.csv", "--out", tmp_path / "out.csv")
    done = covidcxr(*words)
    assert done.code == 3 and "--skip-bad" in done.err.splitlines()[-1]
    assert len(pd.read_csv(tmp_path / "out.csv")) == len(pd.read_csv(root / "manifest.csv"))
    assert covidcxr(*words, "--skip-bad", 1).code == 0
    assert covidcxr(*words, "--shard", "0/4").code == 2
    assert covidcxr(*words, "--shard", "2/4", "--skip-bad", 1).code == 0
    stored = json.loads((tmp_path / "out.csv.json").read_text())
    assert stored["settings"]["shard"] == "2/4"


def test_a_film_twice_and_a_second_process_are_refused(
    loaded: LoadedModel, films: pd.DataFrame, tmp_path: Path
) -> None:
    twice = films.assign(path=films["path"].replace(films["path"][4], films["path"][1]))
    twice.attrs = films.attrs
    with pytest.raises(ManifestError, match=r"row 6, column path: the film .* stands there twice"):
        predict_to_file(loaded, twice, tmp_path / "out.csv")
    with held(tmp_path / "out.csv.parts"), pytest.raises(UsageError, match="another process"):
        predict_to_file(loaded, films, tmp_path / "out.csv")


def test_few_results_wait_and_all_come_in_order() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number * number

    results = in_order(work, range(50), 3, 5)
    assert next(results) == 0
    assert len(begun) <= 6
    assert [*results] == [number * number for number in range(1, 50)]


def test_what_fails_is_raised_at_its_turn() -> None:
    results = in_order(lambda number: 1 // (3 - number), range(9), 2, 4)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_worker_may_be_the_one_that_lets_go_of_the_rest() -> None:
    """As the garbage collector does, which runs in whatever thread asks for memory."""
    left, closed = threading.Event(), threading.Event()
    faults: list[BaseException] = []

    def work(number: int) -> int:
        if number == 1:
            left.wait(60)
            try:
                results.close()
            except BaseException as fault:
                faults.append(fault)
            closed.set()
        return number

    results = in_order(work, range(9), 1, 2)
    assert next(results) == 0
    left.set()
    closed.wait(60)
    assert faults == []
    assert [*results] == []


def test_a_ledger_forgets_the_line_that_was_cut(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.lines() == []
    ledger.add(number=1)
    with ledger.path.open("ab") as stream:
        stream.write(b'{"number": 2')
    assert ledger.lines() == [{"number": 1}]
    ledger.add(number=3)
    assert ledger.lines() == [{"number": 1}, {"number": 3}]


def test_joined_parquet_keeps_rows_and_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidcxr_tf.evaluate.table_files.GROUP", 4)
    rows = np.arange(11)
    table = pd.DataFrame({"path": rows.astype(str), "patient_id": "p", "label": "", "prob_a": rows / 16})
    table = table.assign(prob_b=1 - table["prob_a"])
    parts = [write_predictions(table[a:b], tmp_path / f"{a}.parquet") for a, b in ((0, 1), (1, 6), (6, 11))]
    joined = join_tables(parts, tmp_path / "whole.parquet")
    pd.testing.assert_frame_equal(read_table(joined), read_table(write_predictions(table, tmp_path / "one.parquet")))
    import pyarrow.parquet as pq

    groups = pq.ParquetFile(joined).metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [4, 4, 3]
