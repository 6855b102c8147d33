"""Several processes behind one address: a parent that starts them, replaces them, and adds up their metrics.

Each worker is the same command once more, with a Trio run of its own; the system spreads new connections over all that
listen (`SO_REUSEPORT`), and they hand over what belongs to another one (`neighbours`). Parent and worker talk over a
socket: the worker says `ready`, the parent asks for `metrics`. A worker whose parent is gone lets its calls end, and
goes too.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import h11
import structlog
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from callstream_trio.admission import Refusal, render
from callstream_trio.listen import accept_one, open_listeners
from callstream_trio.neighbours import Neighbours
from callstream_trio.wait import prepare, read_head, send_all

__all__ = ["Hints", "Workers", "WorkersSettings", "obey_parent"]

_log = structlog.get_logger("callstream.workers")

_ENVIRON = "_CALLSTREAM_WORKER"
_READY, _ASK = b"ready\n", b"metrics\n"
_MAX_PAGE = 1024 * 1024
# The system takes 107 bytes, the number of a worker among them.
_MAX_PATH = 96


@attrs.frozen(kw_only=True)
class WorkersSettings:
    """What a parent needs to know."""

    count: int
    """How many processes take calls."""
    start_timeout: float = 15.0
    """Seconds that a worker may take until it listens."""
    first_pause: float = 0.1
    """Seconds until a crashed worker is started again; twice as many each time, up to `longest_pause`."""
    longest_pause: float = 10.0
    answer_timeout: float = 1.0
    """Seconds that a worker may take to tell its metrics."""
    drain_timeout: float = 15.0
    """Seconds that workers may take to stop; then they are killed."""


@attrs.frozen
class Hints:
    """What a worker is told by its parent: the socket between them, where to listen, and where the others are."""

    fd: int
    binds: tuple[str, ...]
    directory: Path
    number: int
    """It was the how manyth to be started; no two have the same."""

    @classmethod
    def found(cls) -> Hints | None:
        """Return what this process was told, or None: it is no worker."""
        text = os.environ.pop(_ENVIRON, None)
        if text is None:
            return None
        fd, binds, directory, number = json.loads(text)
        return cls(fd, tuple(binds), Path(directory), number)

    @property
    def environ(self) -> dict[str, str]:
        """The environment that tells it."""
        told = json.dumps([self.fd, self.binds, str(self.directory), self.number])
        return {**os.environ, _ENVIRON: told}

    @property
    def neighbours(self) -> Neighbours:
        """The other workers."""
        return Neighbours(self.directory, self.number)


async def obey_parent(hints: Hints, page: Callable[[], bytes], stop: Callable[[], None]) -> None:
    """As a worker that listens by now: say so, answer questions, and stop when the parent is gone."""
    with socket.socket(fileno=hints.fd) as sock:
        sock.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        try:
            await stream.send_all(_READY)
            while await stream.receive_some(64):
                text = page()
                await stream.send_all(len(text).to_bytes(4) + text)
        except trio.BrokenResourceError:
            pass
        stop()


@attrs.define(eq=False)
class _Worker:
    """One process, as its parent knows it."""

    slot: int
    hints: Hints
    process: trio.Process
    stream: trio.SocketStream
    started: float
    is_spare: bool = False
    """It is to replace one that still serves: if it fails, nothing is lost."""
    is_leaving: bool = False
    is_ready: bool = False
    asking: trio.Lock = attrs.field(factory=trio.Lock)

    def leave(self) -> None:
        """Let its calls end, and then itself."""
        self.is_leaving = True
        self.process.send_signal(signal.SIGTERM)

    async def wait_ready(self) -> None:
        """Wait until it listens; `BrokenResourceError` where it ends before."""
        if await self.stream.receive_some(len(_READY)) != _READY:
            raise trio.BrokenResourceError
        self.is_ready = True

    async def metrics(self) -> str:
        """Ask for its page."""
        async with self.asking:
            await self.stream.send_all(_ASK)
            size = int.from_bytes(await self._receive(4))
            return (await self._receive(min(size, _MAX_PAGE))).decode()

    async def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await self.stream.receive_some(size - len(data))
            if not more:
                raise trio.BrokenResourceError
            data += more
        return data


class Workers:
    """Keeps `count` processes running, each started with `command`."""

    def __init__(self, command: Sequence[str], binds: Sequence[str], settings: WorkersSettings) -> None:
        self.settings = settings
        self.binds: tuple[str, ...] = ()
        """Where they listen, with the ports that were found for 0."""
        self.metrics_addresses: list[tuple[str, int]] = []
        self.restarts = 0
        self._command = command
        self._asked_binds = binds
        self._workers: set[_Worker] = set()
        self._directory = Path()
        self._numbers = count(1)
        self._pauses: dict[int, float] = {}
        self._is_stopping = False
        self._emptied = trio.Event()
        self._reloading = trio.Lock()

    @property
    def pids(self) -> list[int]:
        """The processes that take calls now, in order of their places."""
        return [worker.process.pid for worker in sorted(self._serving, key=lambda worker: worker.slot)]

    @property
    def _serving(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.is_ready and not worker.is_leaving]

    async def run(self, metrics_bind: str, announce: Callable[[], Awaitable[None] | None]) -> None:
        """Run until SIGTERM or SIGINT, and until the last worker is gone. A second signal kills them.

        Raises:
            OSError: if an address cannot be used.
            ValueError: if one cannot be read.
        """
        with ExitStack() as held:
            self._directory = Path(held.enter_context(TemporaryDirectory(prefix="callstream-")))
            if len(os.fsencode(self._directory)) > _MAX_PATH:
                raise ValueError(f"{self._directory} is too long a path for sockets; set TMPDIR to a shorter one")
            for bind in self._asked_binds:
                # Bound and never listening: the address stays ours while workers come and go.
                for placeholder in await open_listeners(bind, shares_port=True, listens=False):
                    held.enter_context(placeholder)
                    host, port = placeholder.getsockname()[:2]
                    self.binds += (f"[{host}]:{port}" if ":" in host else f"{host}:{port}",)
            doors = await open_listeners(metrics_bind) if metrics_bind else []
            for door in doors:
                held.enter_context(door)
                self.metrics_addresses.append(door.getsockname()[:2])
            async with trio.open_nursery() as nursery:
                with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                    pages = [trio.CancelScope() for _ in doors]
                    for slot in range(self.settings.count):
                        nursery.start_soon(self._fill, slot, nursery)
                    for door, scope in zip(doors, pages, strict=True):
                        nursery.start_soon(self._answer, door, scope)
                    announce()
                    async for number in signals:
                        if number == signal.SIGHUP and not self._is_stopping:
                            nursery.start_soon(self._reload, nursery)
                        elif number != signal.SIGHUP and self._is_stopping:
                            self._kill()
                        elif number != signal.SIGHUP:
                            nursery.start_soon(self._stop, nursery)

    # Starting and ending

    async def _start(self, slot: int, nursery: trio.Nursery, *, is_spare: bool = False) -> bool:
        """Start a worker and wait until it listens; tell whether it does."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            hints = Hints(theirs.fileno(), self.binds, self._directory, next(self._numbers))
            # A group of its own: Ctrl+C is for the parent, which tells its workers.
            process = await trio.lowlevel.open_process(
                self._command, env=hints.environ, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0
            )
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        worker = _Worker(slot, hints, process, stream, trio.current_time(), is_spare=is_spare)
        self._workers.add(worker)
        nursery.start_soon(self._watch, worker, nursery)
        with trio.move_on_after(self.settings.start_timeout):
            try:
                await worker.wait_ready()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        if not worker.is_ready:
            _log.error("a worker does not listen in time; it is killed", pid=process.pid)
            process.kill()
        if self._is_stopping:
            worker.leave()
        return worker.is_ready

    async def _fill(self, slot: int, nursery: trio.Nursery) -> None:
        if await self._start(slot, nursery):
            _log.info("worker listens", slot=slot)

    async def _watch(self, worker: _Worker, nursery: trio.Nursery) -> None:
        """Wait for a worker's end, and put another one into its place unless it was told to go."""
        await worker.process.wait()
        worker.hints.neighbours.forget()
        self._workers.discard(worker)
        await worker.stream.aclose()
        if not self._workers:
            self._emptied.set()
        if worker.is_leaving or self._is_stopping or (worker.is_spare and not worker.is_ready):
            return
        settings = self.settings
        has_lasted = trio.current_time() - worker.started > settings.longest_pause
        pause = settings.first_pause if has_lasted else self._pauses.get(worker.slot, settings.first_pause)
        self._pauses[worker.slot] = min(2 * pause, settings.longest_pause)
        self.restarts += 1
        _log.error(
            "worker ended; it is replaced", pid=worker.process.pid, status=worker.process.returncode, after=pause
        )
        await trio.sleep(pause)
        if not self._is_stopping and all(other.slot != worker.slot for other in self._serving):
            await self._fill(worker.slot, nursery)

    async def _reload(self, nursery: trio.Nursery) -> None:
        """Put a new worker beside each old one; when it listens, let the old one go, and keep it where it does not."""
        async with self._reloading:
            for old in self._serving:
                if self._is_stopping:
                    return
                if await self._start(old.slot, nursery, is_spare=True):
                    old.leave()
                else:
                    _log.error("a new worker does not start; the old one stays", pid=old.process.pid)
            _log.info("reloaded", workers=len(self._serving))

    async def _stop(self, nursery: trio.Nursery) -> None:
        self._is_stopping = True
        _log.info("stopping; running calls may end", workers=len(self._workers))
        for worker in list(self._workers):
            worker.leave()
        with trio.move_on_after(self.settings.drain_timeout):
            if self._workers:
                await self._emptied.wait()
        self._kill()
        nursery.cancel_scope.cancel()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.process.kill()

    # Metrics

    async def _answer(self, door: socket.socket, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                sock, _ = await accept_one(door)
                with sock, trio.move_on_after(5):
                    prepare(sock)
                    try:
                        head = await read_head(h11.SERVER, sock, None, max_size=16 * 1024)
                        if head is not None and isinstance(head[0], h11.Request):
                            await send_all(sock, render(await self._page(head[0].target)))
                    except (OSError, h11.RemoteProtocolError):
                        continue

    async def _page(self, target: bytes) -> Refusal:
        path = target.partition(b"?")[0]
        if path == b"/metrics":
            text = await self.metrics()
            return Refusal(status=200, text=text, content_type=b"text/plain; version=0.0.4; charset=utf-8")
        if path == b"/healthz":
            return Refusal(status=200, text="ok")
        if path == b"/readyz":
            is_ready = len(self._serving) > 0 and not self._is_stopping
            return Refusal(status=200, text="ready") if is_ready else Refusal(status=503, text="not ready")
        return Refusal(status=404, text="There are /metrics, /healthz and /readyz.")

    async def metrics(self) -> str:
        """Return all workers' metrics, added up; one that does not answer is left out and counted."""
        pages: list[str] = []

        async def ask(worker: _Worker) -> None:
            with trio.move_on_after(self.settings.answer_timeout):
                try:
                    pages.append(await worker.metrics())
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return

        asked = [worker for worker in self._workers if worker.is_ready]
        async with trio.open_nursery() as nursery:
            for worker in asked:
                nursery.start_soon(ask, worker)
        own = [
            GaugeMetricFamily("callstream_workers", "Processes that take calls", value=len(self._serving)),
            GaugeMetricFamily("callstream_workers_silent", "Processes missing here", value=len(asked) - len(pages)),
            CounterMetricFamily("callstream_worker_restarts", "Processes that ended unasked", value=self.restarts),
        ]
        registry = CollectorRegistry()
        registry.register(_Sum([*own, *add_up(pages)]))
        return generate_latest(registry).decode()


class _Sum(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def add_up(pages: Iterable[str]) -> list[Metric]:
    """Return the metrics of several pages as one."""
    families: dict[str, Metric] = {}
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                key = family.name, sample.name, tuple(sorted(sample.labels.items()))
                sums[key] = sums.get(key, 0.0) + sample.value
    for (family_name, name, labels), value in sums.items():
        families[family_name].add_sample(name, dict(labels), value)
    return list(families.values())
