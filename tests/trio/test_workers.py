"""Several processes behind one address: started, replaced, told to go, and counted. By pid, and bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trustme

from callstream_core.jambonz import happenings as h
from callstream_trio.workers import add_up
from tests.trio.phone import phoning
from tests.trio.wire import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


@attrs.define
class Parent:
    process: subprocess.Popen[str]
    url: str
    metrics_url: str

    @property
    def children(self) -> set[int]:
        # A child belongs to the thread that started it.
        files = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(pid) for file in files for pid in file.read_text().split()}

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"{self.metrics_url}/metrics", timeout=3) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def until(self, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 8
        while not is_true():
            assert time.monotonic() < deadline, self.children
            assert self.process.poll() is None
            time.sleep(0.05)

    def is_whole(self, count: int = 2) -> bool:
        return self.metric("callstream_workers ") == count and len(self.children) == count


@contextmanager
def parent(*arguments: str, count: int = 2) -> Iterator[Parent]:
    command = [sys.executable, "-W", "error", "-m", "callstream_trio", "serve", "--json-logs"]
    command += arguments or ["--workers", "2", "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        try:
            listening = json.loads(process.stderr.readline())
            start = json.loads(process.stderr.readline())
            # What is logged from now on is little, and fits the pipe.
            found = Parent(process, f"http://{listening['addresses'][0]}", f"http://{start['metrics'][0]}")
            found.until(lambda: found.is_whole(count))
            yield found
        finally:
            children = found.children if process.poll() is None else set()
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(8) == 0
            finally:
                process.kill()
            assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]


@pytest.fixture(scope="module")
def found() -> Iterator[Parent]:
    with parent() as running:
        yield running


def test_calls_are_spread_and_their_metrics_added_up(found: Parent) -> None:
    refused = 'callstream_calls_ended_total{how="refused 404"}'
    before = found.metric(refused)
    for _ in range(20):
        with pytest.raises(urllib.error.HTTPError, match="404") as error:
            urllib.request.urlopen(f"{found.url}/nowhere", timeout=3)
        error.value.close()
    assert found.metric(refused) == before + 20
    assert found.metric("callstream_workers_silent") == 0
    with urllib.request.urlopen(f"{found.metrics_url}/readyz", timeout=3) as page:
        assert page.read() == b"ready\n"
    with pytest.raises(urllib.error.HTTPError, match="404") as error:
        urllib.request.urlopen(f"{found.metrics_url}/elsewhere", timeout=3)
    error.value.close()


def test_a_crashed_worker_is_replaced_and_the_other_not_harmed(found: Parent) -> None:
    before = found.metric("callstream_worker_restarts_total")
    victim, other = sorted(found.children)
    os.kill(victim, signal.SIGKILL)
    found.until(lambda: victim not in found.children and found.is_whole())
    assert other in found.children
    assert found.metric("callstream_worker_restarts_total") == before + 1


def test_a_reload_puts_new_workers_first_and_then_lets_the_old_ones_go(found: Parent) -> None:
    before = found.metric("callstream_worker_restarts_total")
    old = found.children
    found.process.send_signal(signal.SIGHUP)
    found.until(lambda: not old & found.children and found.is_whole())
    assert found.metric("callstream_worker_restarts_total") == before


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_both_sockets_of_a_call_find_each_other_in_three_workers(is_secure: bool, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    settings = """
        workers = 3
        bind = ["127.0.0.1:0"]
        metrics_bind = "127.0.0.1:0"
        auth = ["basic:jambonz:secret"]
        drain_timeout = 1
    """
    (tmp_path / "callstream.toml").write_text(settings + (f'tls_cert = "{tmp_path}/cert.pem"' if is_secure else ""))
    with parent("--config", str(tmp_path / "callstream.toml"), count=3) as found:
        address = found.url.partition("//")[2]
        trio.run(_call_often, f"{'wss' if is_secure else 'ws'}://jambonz:secret@{address}/jambonz")
        found.until(lambda: found.metric("callstream_calls ") == found.metric("callstream_relays ") == 0)
        assert found.metric('callstream_calls_ended_total{how="ended by platform"}') == 30
        assert found.metric('callstream_calls_ended_total{how="control ended"}') == 30
        assert found.metric("callstream_calls_ended_total") == 60
        assert found.metric("callstream_tolerated_total") == 0
        assert found.metric("callstream_hub_dropped_total") == 0


async def _call_often(url: str) -> None:
    async def call() -> None:
        async with phoning(url) as phone:
            caller = await phone.connected()
            caller.say_audio(b"\1\2" * 3200)
            with trio.fail_after(10):
                await caller.wait_heard(3200)
            # It comes back, wherever that is.
            phone.vanish()
            await until(lambda: phone.sockets == 2)
            caller.say_audio(b"\1\2" * 3200)
            with trio.fail_after(10):
                await caller.wait_heard(6400)
            phone.happen(h.CallerHungUp())
            await phone.wait_over()

    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)


def test_workers_go_when_their_parent_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-m", "callstream_trio", "serve", "--workers", "1", "--metrics-bind", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--bind", "127.0.0.1:0", "--json-logs"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        try:
            json.loads(process.stderr.readline())
            metrics = json.loads(process.stderr.readline())["metrics"][0]
            found = Parent(process, "", f"http://{metrics}")
            found.until(lambda: found.is_whole(1))
            (child,) = found.children
        finally:
            process.kill()
            process.wait()
        deadline = time.monotonic() + 5
        while os.path.exists(f"/proc/{child}/fd/0") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{child}/fd/0")
    assert os.listdir(tmp_path) == []


def test_a_directory_too_long_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory := tmp_path / ("x" * 90)).mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    command = [sys.executable, "-m", "callstream_trio", "serve", "--workers", "2", "--bind", "127.0.0.1:0"]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=10, check=False)
    assert ended.returncode != 0
    assert "set TMPDIR" in ended.stderr
    assert os.listdir(directory) == []


def test_pages_are_added_up_by_name_and_labels() -> None:
    page = '# HELP calls Calls\n# TYPE calls gauge\ncalls{how="a"} 2.0\ncalls{how="b"} 1.0\n'
    (family,) = add_up([page, page, page.replace('how="b"', 'how="c"')])
    assert {sample.labels["how"]: sample.value for sample in family.samples} == {"a": 6.0, "b": 2.0, "c": 1.0}
    assert (family.name, family.type, family.documentation) == ("calls", "gauge", "Calls")
