"""The benchmark of exports and their server: its rows, and that it compares the same work; no figure is judged."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Return the modules benchmark and benchmark_serve."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("benchmark", "benchmark_serve"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("benchmark"), importlib.import_module("benchmark_serve")


def test_a_row_for_each_engine_and_batch_and_two_for_the_server(
    modules: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, measured = modules
    engines = {
        ("Keras", 1): ((0.07,), (0.08,)),
        ("ONNX Runtime", 16): ((0.8,), (0.7,)),
        ("OpenVINO", 1): ((2.0,), (1.0,)),
    }
    served = {"throughput": ((9.0,), (10.0,)), "latency": ((0.02,), (0.07,))}
    asked: list[int] = []

    def measure(repeats: int) -> Any:
        asked.append(repeats)
        return engines, served

    monkeypatch.setattr(measured, "measure", measure)
    rows = benchmark.serve(4)
    assert asked == [4]
    assert {row.name: row.verdict for row in rows} == {
        "serve_keras_1": "met",
        "serve_onnx_runtime_16": "missed",
        "serve_openvino_1": "",
        "serve_throughput": "met",
        "serve_latency": "missed",  # 20 ms are added, 10 are allowed, whatever the graph itself takes
    }
    assert "serve" in benchmark.BENCHMARKS
    assert len(benchmark.markdown(rows).splitlines()) == 2 + len(rows)


def test_a_process_that_dies_is_named(modules: tuple[Any, Any]) -> None:
    with pytest.raises(RuntimeError, match="_exit ended without a result"):
        modules[1].in_own_process(__import__("os")._exit, 3)


@pytest.mark.parity
def test_engines_agree_and_the_server_answers(modules: tuple[Any, Any]) -> None:
    _, measured = modules
    for name in ("tf2onnx", "onnxruntime", "openvino"):
        pytest.importorskip(name)
    knobs = {"blocks": (1, 1, 1, 1), "growth": 4, "stem": 4}
    engines, served = measured.measure(1, side=32, batches=(1, 2), film_side=64, **knobs)
    assert {name for name, _ in engines} == {"Keras", "ONNX Runtime", "OpenVINO"}
    assert {batch for _, batch in engines} == {1, 2}
    assert all(seconds > 0 for pairs in engines.values() for side in pairs for seconds in side)
    assert served["throughput"][0][0] > 0 and served["latency"][1][0] > 0
