"""Each benchmark for real, but short: that it measures, loses nothing, and shows what it promises. Never how fast."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmarks.__main__ import main
from benchmarks.histogram import Histogram
from benchmarks.servers import names
from click.testing import CliRunner

import callstream_trio

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler for the load generator"
    ),
]


def run(command: str, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, [command, "--quick", "--json", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


@pytest.mark.parametrize("command", ["echo", "pacing"])
def test_a_load_shows_cost_lateness_and_its_own_noise(command: str) -> None:
    found = run(command, "--server", "callstream")
    assert found["missing"] == {}
    for r in [*found["measured"], *found.get("stalled", [])]:
        assert r["lost"] == 0
        assert r["frames"] > 0
        assert {"cpu", "core", "p50", "p99", "p99.99", "generator", "slip_p99"} < set(r)


def test_a_clear_reaches_the_wire() -> None:
    (r,) = run("bargein")["measured"]
    assert r["lost"] == 0
    assert r["frames"] >= 20


def test_capacity_is_a_number_of_calls() -> None:
    (r,) = run("capacity", "--server", "callstream")["capacities"]
    assert r["steps"][0]["lost"] == 0


def test_a_soak_loses_nothing() -> None:
    found = run("soak")
    assert found["lost"] == 0
    assert found["frames"] == found["calls"] * 50 * found["seconds"]


def test_the_engine_and_memory_have_figures() -> None:
    assert all(times["median"] > 0 for times in run("frame")["frames"].values())
    assert run("memory")["bytes_per_call"] > 0


def test_every_peer_is_measured_or_said_to_be_missing(tmp_path: Path) -> None:
    chosen = ["callstream", "c-epoll", "websockets", "nobody"]
    options = [part for name in chosen for part in ("--server", name)]
    found = run("peers", *options, "--csv", str(tmp_path / "peers.csv"), "--hdr", str(tmp_path / "hdr"))
    measured = {r["server"]: r for r in found["measured"]}
    assert {*measured, *found["missing"]} == set(chosen)
    assert all(name in found["missing"]["nobody"] for name in names())
    assert measured["callstream"]["lost"] == measured["c-epoll"]["lost"] == 0
    with (tmp_path / "peers.csv").open() as file:
        assert {row["server"] for row in csv.DictReader(file)} == set(measured)
    assert len(list((tmp_path / "hdr").iterdir())) == len(measured)


def test_percentiles_are_of_all_durations() -> None:
    durations = Histogram({0: 98, 9: 1, 99: 1})
    assert durations.percentiles() == {"p50": 0.01, "p90": 0.01, "p99": 0.1, "p99.9": 1.0, "p99.99": 1.0, "max": 1.0}
    assert "Total count    =          100" in durations.hdr()


def test_another_source_tree_takes_turns_with_this_one(tmp_path: Path) -> None:
    shutil.copytree(Path(callstream_trio.__file__).parents[1], tmp_path / "src")
    package = tmp_path / "src" / "callstream_trio" / "__init__.py"
    package.write_text(f"{package.read_text()}\nopen({str(tmp_path / 'used')!r}, 'w')\n")
    found = run("peers", "--against", str(tmp_path))
    assert [r["server"] for r in found["measured"]] == ["callstream", f"callstream@{tmp_path}"]
    assert (tmp_path / "used").exists()


def test_a_directory_without_a_source_tree_is_said_to_be_none(tmp_path: Path) -> None:
    found = run("peers", "--against", str(tmp_path))
    assert "root of a source tree" in found["missing"][f"callstream@{tmp_path}"]
