"""The machine under the figures, and processes measured on it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path

import attrs

HERE = Path(__file__).parent
_PAGE = os.sysconf("SC_PAGE_SIZE")


class CannotMeasure(Exception):
    """Something that a benchmark needs is missing; the message says what to do."""


_LIBRARIES = ("trio", "wsproto", "trio-websocket", "websockets", "aiohttp", "picows", "uvloop", "fastapi", "uvicorn")


def _version_of(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


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
        **{name: version for name in _LIBRARIES if (version := _version_of(name))},
        "load_before": f"{os.getloadavg()[0]:.2f}",
    }


def build(name: str, *, is_tls: bool = False) -> Path:
    """Compile one of the C programs, once."""
    sources = [HERE / "native" / f"{name}.c", HERE / "native" / "wire.h"]
    target = _made(f"{name}-tls" if is_tls else name)
    if target.exists() and target.stat().st_mtime >= max(source.stat().st_mtime for source in sources):
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotMeasure("no C compiler: install gcc or clang, for the load generator is written in C")
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    flags = ("-DWITH_TLS", "-lssl", "-lcrypto") if is_tls else ()
    done = subprocess.run([compiler, "-O2", "-o", str(fresh), str(sources[0]), *flags], stderr=subprocess.PIPE)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()[:200]
        needs = "TLS needs OpenSSL's headers (libssl-dev, openssl-devel)" if is_tls else "the compiler failed"
        raise CannotMeasure(f"{needs}: {why}")
    fresh.rename(target)
    return target


def certificate() -> Path:
    """Return a PEM file with a key and a certificate of its own, made once."""
    pem = _made("certificate.pem")
    if not pem.exists():
        if shutil.which("openssl") is None:
            raise CannotMeasure("TLS needs a certificate: install the openssl command, which makes one")
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650"
        done = subprocess.run(
            [*command.split(), "-subj", "/CN=localhost", "-keyout", "-"], capture_output=True, check=True
        )
        pem.write_bytes(done.stdout)
    return pem


def _made(name: str) -> Path:
    directory = HERE.parent / ".cache" / "benchmarks"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / name


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
        # Linux numbers the clock of another process so; it counts nanoseconds, where /proc counts hundredths.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    @property
    def memory(self) -> int:
        """Bytes of resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE


def settle_on(core: int) -> None:
    """Before a program starts: give it a core, -1 for the last one, and as many sockets as there may be."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def running(
    command: Sequence[str], *, core: int, port: int, env: Mapping[str, str] | None = None
) -> Iterator[Measured]:
    """Run a server pinned to one core while the block lasts; it is ready when its port answers."""
    # A file and not a pipe: nobody reads while the server is measured, and a full pipe would hold it up.
    said = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        command,
        preexec_fn=partial(settle_on, core),
        stdout=subprocess.DEVNULL,
        stderr=said,
        env={**os.environ, **(env or {})},
    )
    try:
        deadline = time.monotonic() + 15
        while True:
            if process.poll() is not None:
                said.seek(0)
                raise CannotMeasure(f"{command[0]} ended at once: {said.read().decode(errors='replace')[-800:]}")
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
        said.close()


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]
