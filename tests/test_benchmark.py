"""The benchmark's arithmetic and its references; no figure is judged."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.imaging.beasf import beasf


def load() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "benchmark.py"
    spec = importlib.util.spec_from_file_location("benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


benchmark = load()


def row(ours: tuple[float, ...], reference: tuple[float, ...], goal: object = None) -> Any:
    return benchmark.Row("name", "this", "that", "ms", ours, reference, goal)


def test_ratio_is_of_medians_and_pairs_are_taken_one_by_one() -> None:
    measured = row((1.0, 2.0, 9.0), (4.0, 4.0, 2.0))
    assert measured.ratio == 2.0 / 4.0
    assert measured.pairs == (0.25, 4.5)


@pytest.mark.parametrize(
    ("ours", "goal", "verdict"),
    [
        (2.0, benchmark.Goal(1.0), "met"),  # ratio 1: the bound itself is within
        (2.1, benchmark.Goal(1.0), "missed"),
        (1.8, benchmark.Goal(0.9, at_least=True), "met"),
        (1.7, benchmark.Goal(0.9, at_least=True), "missed"),
        (1.7, benchmark.Goal(1.0, of="ours"), "missed"),  # the ratio is 0.85, but seconds count
        (0.9, benchmark.Goal(1.0, of="ours"), "met"),
        (9.0, None, ""),
    ],
)
def test_a_goal_is_met_or_missed(ours: float, goal: object, verdict: str) -> None:
    assert row((ours,), (2.0,), goal).verdict == verdict


def test_the_two_run_in_turn_and_the_warm_up_is_thrown_away() -> None:
    calls: list[str] = []

    def of(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    both = benchmark.in_turn(lambda: of("A"), lambda: of("B"), repeats=2, warm_up=1)
    assert "".join(calls) == "ABABAB"
    assert both == ((3.0, 5.0), (4.0, 6.0))


def test_the_table_has_a_line_a_row_and_as_many_cells_as_columns() -> None:
    lines = benchmark.markdown([row((0.001,), (0.002,)), row((3.0,), (2.0,), benchmark.Goal(1.15))]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(benchmark.COLUMNS) + 1}
    assert "| 1.00 ms | 2.00 ms | 0.500 |" in lines[2]
    assert lines[3].endswith("| 1.500 | 1.500 to 1.500 (1) | ≤ 1.15 | missed |")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 3.0), st.floats(0.5, 2.0))
def test_the_loops_give_what_ours_gives(seed: int, skew: float, gamma: float) -> None:
    drawn = np.random.default_rng(seed).random((24, 20)) ** skew
    image = np.rint(drawn * 255).astype(np.uint8)
    np.testing.assert_array_equal(benchmark.beasf_in_loops(image, gamma), beasf(image, gamma))


def test_a_run_prints_one_table_and_exits_with_0_though_a_goal_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    missed = row((9.0,), (1.0,), benchmark.Goal(1.0))
    asked: list[int] = []

    def run(repeats: int) -> list[object]:
        asked.append(repeats)
        return [missed]

    monkeypatch.setattr(benchmark, "BENCHMARKS", {"enhance": (run, 24), "lime": (run, 3)})
    done = CliRunner().invoke(benchmark.main, [])
    assert done.exit_code == 0
    assert asked == [24, 3]
    assert done.stdout.count("| measured |") == 1 and done.stdout.count("missed |") == 2
    assert f"python {sys.version.split()[0]}" in done.stdout
    told = json.loads(CliRunner().invoke(benchmark.main, ["lime", "--repeats", "1", "--json"]).stdout)
    assert asked[2:] == [1]
    assert told["rows"][0] == {**dataclasses.asdict(missed), "ours": [9.0], "reference": [1.0]} | {
        "ratio": 9.0, "pairs_min": 9.0, "pairs_max": 9.0, "verdict": "missed",
    }  # fmt: skip


def test_an_unknown_name_is_refused() -> None:
    done = CliRunner().invoke(benchmark.main, ["speed"])
    assert done.exit_code == 2
    assert "enhance" in done.stderr


def test_decoding_alone_gives_the_very_films_of_the_pipeline(tmp_path: Path) -> None:
    prepared = benchmark.shards(tmp_path, side=32, films=10)
    ours = [batch["image"].numpy() for batch in benchmark.batches_of(prepared, 4).plain()]
    bare = [batch["image"].numpy() for batch in benchmark.decode_only(prepared, 4)]
    levels = [batch["image"].numpy() for batch in benchmark.decode_only(prepared, 4, floats=False)]
    assert [len(part) for part in bare] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(bare), np.concatenate(ours))
    assert levels[0].dtype == np.uint8
    np.testing.assert_array_equal(np.concatenate(levels).astype(np.float32) / np.float32(255), np.concatenate(ours))


def test_throughput_counts_every_film(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.0])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(ticks))
    dataset = [{"image": np.zeros((4, 2, 2, 3))}, {"image": np.zeros((2, 2, 2, 3))}]
    assert benchmark.films_per_second(lambda: dataset)() == 3.0


def test_a_segmentation_step_is_measured() -> None:
    cost = benchmark.mask_step_cost("fcdensenet103", 32, 3, blocks=(1,), bottleneck=1, growth=4, stem=4)
    assert 0.05 < cost.peak < 500
    assert cost.seconds > 0
    assert len(cost.losses) == 3 and all(loss > 0 for loss in cost.losses)


def test_steps_that_compute_again_lose_what_plain_steps_lose() -> None:
    knobs: dict[str, Any] = {"blocks": (1, 1), "stem": 4}
    kept, again = (benchmark.step_cost(32, 2, how, **knobs) for how in (False, True))
    np.testing.assert_allclose(again.losses, kept.losses, rtol=1e-4)
    assert kept.losses[0] != kept.losses[1]
    assert 0.05 < kept.peak <= again.peak  # one process here: its peak never falls


def test_recomputation_is_compared_a_process_each_and_judged_at_full_size_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    class Pool:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, function: Any, *arguments: Any) -> Any:
            assert function is benchmark.step_cost
            asked.append(arguments)
            cost = benchmark.StepCost(3.5, 2.0, [0.7]) if arguments[2] else benchmark.StepCost(7.0, 1.0, [0.7])
            return type("Future", (), {"result": lambda self: cost})()

    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", Pool)
    memory, seconds = benchmark.recompute(2)
    assert [arguments[2] for arguments in asked] == [True, False, True, False]
    assert (memory.ours, memory.reference, memory.ratio, memory.verdict) == ((3.5, 3.5), (7.0, 7.0), 0.5, "")
    assert (seconds.ratio, seconds.unit) == (2.0, "s")
    monkeypatch.setattr(benchmark, "BENCHMARKS", {"recompute": (benchmark.recompute, 1)})
    done = CliRunner().invoke(benchmark.main, ["recompute", "--full"])
    assert "resnet101 at 1500 px" in done.stdout
    assert "| 3.50 GB | 7.00 GB | 0.500 | 0.500 to 0.500 (1) | ≤ 4 GB | met |" in done.stdout


def test_memory_is_compared_with_the_shortest_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(benchmark.__file__).parent))
    import benchmark_data

    def measure() -> list[benchmark_data.Cost]:
        peaks = {1_000: 1.0, 10_000: 1.5, 100_000: 4.0}
        return [benchmark_data.Cost(n, 0.5, 0.6, 0.7, 0.8, peak, 9.0, 2 * peak, 80.0) for n, peak in peaks.items()]

    monkeypatch.setattr(benchmark_data, "measure", measure)
    rows = benchmark.memory(1)
    assert [(row.ours, row.reference) for row in rows] == [
        ((1.5,), (1.0,)), ((4.0,), (1.0,)), ((3.0,), (2.0,)), ((8.0,), (2.0,)),
    ]  # fmt: skip
    lines = benchmark_data.markdown(measure()).splitlines()
    cells = [cell.strip() for cell in lines[4].split("|")[1:-1]]
    # (4.0 - 1.5) GB over 90,000 rows more
    assert cells == ["100,000", "500", "100", "100", "100", "4000", "27778", "9.0 s", "8000", "80/s"]
