"""Each benchmark for real, but short: that it measures, loses nothing, and shows what it promises. Never how fast."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmarks import capacity
from benchmarks.__main__ import main
from benchmarks.histogram import Histogram
from benchmarks.load import Load, Result, Round
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


@pytest.mark.parametrize("arguments", [("echo", "--wire", "plain"), ("pacing",)], ids=lambda given: given[0])
def test_a_load_shows_cost_lateness_and_its_own_noise(arguments: tuple[str, ...]) -> None:
    found = run(*arguments, "--server", "callstream")
    assert found["missing"] == {}
    assert {r["work"] for r in found["measured"]} == ({"duplex"} if "stalled" in found else {"echo", "saturated"})
    for r in [*found["measured"], *found.get("stalled", [])]:
        assert r["lost"] == 0
        assert r["frames"] > 0
        assert {"cpu", "core", "p50", "p99", "p99.99", "generator", "slip_p99"} < set(r)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command for a certificate")
def test_echo_over_tls_is_measured_or_said_not_to_be(tmp_path: Path) -> None:
    found = run("echo", "--wire", "tls", "--pace", "paced")
    if not found["measured"]:
        assert all("OpenSSL's headers" in why for why in found["missing"].values())
        return
    assert [(r["server"], r["is_tls"], r["lost"]) for r in found["measured"]] == [
        ("callstream", True, 0),
        ("c-epoll", True, 0),
    ]


def test_pauses_of_the_collector_are_measured_with_and_without_a_frozen_heap() -> None:
    frozen, usual = run("pauses")["pauses"]
    assert (frozen["habit"], usual["habit"]) == ("frozen after start", "never frozen")
    assert frozen["objects"] < usual["objects"]
    assert 0 < frozen["collect_all"] < usual["collect_all"]


def test_a_clear_reaches_the_wire() -> None:
    (r,) = run("bargein")["measured"]
    assert r["lost"] == 0
    assert r["frames"] == 10


def test_capacity_is_a_number_of_calls() -> None:
    (r,) = run("capacity", "--server", "callstream")["capacities"]
    assert r["steps"][0]["calls"] == 20
    assert r["steps"][0]["lost"] == 0


def test_a_soak_loses_nothing() -> None:
    found = run("soak")
    assert found["lost"] == 0
    assert found["frames"] == found["calls"] * 50 * found["seconds"]


def test_the_engine_and_memory_have_figures() -> None:
    assert all(times["median"] > 0 for times in run("frame")["frames"].values())
    assert run("memory")["measured"][0]["bytes_per_call"] > 0


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
    assert measured["callstream"]["early"] == measured["c-epoll"]["early"] == 0


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
    found = run("peers", "--server", "c-epoll", "--against", str(tmp_path))
    assert "root of a source tree" in found["missing"][f"callstream@{tmp_path}"]


def a_round(*, p99: float = 1.0, lost: int = 0, generator: float = 0.3, slip: float = 0.1, calls: int = 1) -> Round:
    def at(ms: float) -> Histogram:
        return Histogram({round(ms / 0.01) - 1: 1000})

    return Round(
        server="any",
        load=Load(work="duplex", calls=calls),
        cpu=10.0,
        core=0.5,
        frames=1000,
        lost=lost,
        late=0,
        early=0,
        longest_episode=0.0,
        generator=generator,
        latency=at(p99),
        slip=at(slip),
        tail=Histogram(),
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (a_round(), "carried"),
        (a_round(slip=3.0), "carried"),
        (a_round(p99=6.0), "late"),
        (a_round(p99=6.0, slip=2.0), "doubtful"),
        (a_round(lost=1), "lost"),
        (a_round(lost=1, generator=0.95), "doubtful"),
    ],
)
def test_what_the_generator_may_have_spoiled_is_not_held_against_a_server(found: Round, verdict: str) -> None:
    assert capacity.judge(found) == verdict


def searched(most: int, *, slip: float = 0.1) -> capacity.Capacity:
    def measure(_server: str, load: Load) -> Round:
        return a_round(p99=1.0 if load.calls <= most else 8.0, slip=slip, calls=load.calls)

    return capacity.search("any", measure)


def test_a_search_for_capacity_ends_near_the_truth() -> None:
    for most in (3, 165, 1000, 2500):
        found = searched(most)
        assert most * 0.9 - 4 <= found.calls <= most
        assert not found.is_bound_by_generator
        assert len(found.steps) < 24


def test_a_capacity_that_the_generator_ended_says_so() -> None:
    assert searched(1000, slip=4.0).is_bound_by_generator
    assert searched(10**6).is_bound_by_generator


def test_a_round_with_a_late_generator_is_doubtful() -> None:
    assert a_round(slip=1.5).is_doubtful
    assert a_round(generator=0.95).is_doubtful
    assert not a_round().is_doubtful


def test_a_run_that_was_cut_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def measure(server: str, load: Load) -> Round:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(f"{server} {load.calls}")
        return a_round(p99=float(len(measured)))

    monkeypatch.setattr("benchmarks.journal.measure", measure)
    file = tmp_path / "run.json"
    arguments = ["all", str(file), "--part", "bargein", "--part", "stalled", "--server", "callstream", "--rounds", "2"]
    cut = CliRunner().invoke(main, arguments)
    assert cut.exit_code == 1
    assert json.loads(file.read_text())["bargein"]["measured"][0]["p99"]["most"] == 2.0
    steps = tmp_path / "run.json.steps"
    assert len(steps.read_text().splitlines()) == 3
    monkeypatch.setattr("benchmarks.journal.measure", lambda _server, _load: a_round(p99=9.0))
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "going on after 3 steps" in done.stderr
    stalled = json.loads(file.read_text())["stalled"]["measured"]
    assert [(r["p99"]["least"], r["p99"]["most"]) for r in stalled] == [(3.0, 9.0), (9.0, 9.0), (9.0, 9.0)]
    assert not steps.exists()


def test_the_page_has_a_place_for_every_table(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    shutil.copy(Path(__file__).parents[1] / "docs" / "performance.md", tmp_path)
    file = tmp_path / "run.json"
    loads = [
        Load(work=work, calls=calls, is_tls=is_tls) for work, calls, is_tls in [("echo", 200, False), ("echo", 1, True)]
    ]
    rows = [Result(server="callstream", load=load, rounds=[a_round()]).as_json() for load in loads]
    part = {"measured": rows, "missing": {"nobody": "not installed"}}
    step = {"server": "callstream", "calls": 7, "least": 6, "most": 8, "cpu": 1.0, "generator": 0.1, "slip_p99": 0.1}
    times = dict.fromkeys(("per_second", "pause_p50", "pause_p99", "pause_max", "share", "collect_all"), 0.5)
    found = dict.fromkeys(("echo", "tls", "saturated", "sizes", "pacing"), part) | {
        "machine": {"cpu": "any"},
        "rounds": {"capacity": 3, "echo": 1},
        "capacity": {"capacities": [{**step, "is_bound_by_generator": True}], "missing": {}},
        "pauses": {"pauses": [{"habit": "frozen", "calls": 1000, "full": 1, **times}]},
        "memory": {"bytes_per_call": 2048.0},
    }
    file.write_text(json.dumps(found))
    CliRunner().invoke(main, ["report", str(file), "--docs", str(tmp_path)], catch_exceptions=False)
    page = (tmp_path / "performance.md").read_text()
    for piece in (
        "cpu any.",
        "Medians of 3 rounds.",
        "One round.",
        "nobody: not measured",
        "≥ 7 (6..8)",
        "2.0 KiB",
        "| frozen | 1000 |",
    ):
        assert piece in page
    pictures = sorted(each.name for each in (tmp_path / "images").iterdir())
    assert pictures == ["capacity.png", "cost.png", "lateness.png"]
    assert all((tmp_path / "images" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
