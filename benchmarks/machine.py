"""The machine under the figures, and processes measured on it."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

HERE = Path(__file__).parent
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class CannotMeasure(Exception):
    """Something that a benchmark needs is missing; the message says what to do."""


def describe() -> dict[str, str | int]:
    """Return what a figure depends on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
    }


def build(name: str) -> Path:
    """Compile one of the C programs, once."""
    source = HERE / "native" / f"{name}.c"
    target = HERE.parent / ".cache" / "benchmarks" / name
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotMeasure("no C compiler: install gcc or clang, for the load generator is written in C")
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", str(target), str(source)], check=True)
    return target


def free_port() -> int:
    """Return a port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@attrs.define
class Measured:
    """A running process and what it has used so far."""

    process: subprocess.Popen[bytes]

    @property
    def cpu(self) -> float:
        """Seconds of processor time, its own and the kernel's on its behalf, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def memory(self) -> int:
        """Bytes of resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE


@contextmanager
def running(
    command: Sequence[str], *, core: int, port: int, env: Mapping[str, str] | None = None
) -> Iterator[Measured]:
    """Run a server pinned to one core while the block lasts; it is ready when its port answers."""
    cores = sorted(os.sched_getaffinity(0))

    def pin() -> None:
        os.sched_setaffinity(0, {cores[core % len(cores)]})

    process = subprocess.Popen(
        command,
        preexec_fn=pin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    try:
        deadline = time.monotonic() + 15
        while True:
            if process.poll() is not None:
                output = process.stderr.read().decode()[-800:] if process.stderr else ""
                raise CannotMeasure(f"{command[0]} ended at once: {output}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise CannotMeasure(f"{command} does not listen on port {port}") from None
                time.sleep(0.05)
        yield Measured(process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]
