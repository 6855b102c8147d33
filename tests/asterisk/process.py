"""The process of a real Asterisk: started in a directory of its own, watched, commanded, stopped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

# sockaddr_un has 108 bytes for the path of the control socket.
_MAX_SOCKET_PATH = 107


class AsteriskError(Exception):
    """Asterisk does not do what the test asked for."""


class AsteriskDied(AsteriskError):
    """The process of Asterisk has ended although nobody stopped it."""


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 5) -> None:
    """Ask again and again until `condition` holds; raise AsteriskError after `timeout`."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AsteriskError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


class AsteriskProcess:
    """Asterisk out of the directory `made` by make.sh, with all that it reads and writes in `directory`."""

    def __init__(self, made: Path, directory: Path) -> None:
        self.directory = directory.resolve()
        self.root = made.resolve() / "root"
        loader = next(self.root.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*"))
        self.libraries = loader.parent
        program = self.root / "usr" / "sbin" / "asterisk"
        configuration = self.directory / "etc" / "asterisk.conf"
        # fmt: off
        self._program = [
            str(loader), "--library-path", str(self.libraries), str(program), "-C", str(configuration),
        ]
        # fmt: on
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._running().pid

    def start(self, timeout: float = 20) -> None:
        """Start and wait until everything is loaded."""
        if self._process:
            raise AsteriskError("Asterisk is already started")
        control = self.directory / "asterisk.ctl"
        if len(os.fsencode(control)) > _MAX_SOCKET_PATH:
            raise AsteriskError(f"the path is too long for a Unix socket: {control}")
        control.unlink(missing_ok=True)

        command = [*self._program, "-f"]
        # When the tests are killed, nobody is left to stop Asterisk but the kernel. It does so already when
        # the starting thread ends, so only the thread that lasts may ask for it.
        if threading.current_thread() is threading.main_thread() and (setpriv := shutil.which("setpriv")):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with (self.directory / "log" / "console").open("wb") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,
            )
        try:
            wait_until(self._is_booted, "Asterisk is fully booted", timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 5) -> None:
        """End what `start` started, by force after `timeout`. Do nothing if there is nothing."""
        if (process := self._process) is None:
            return
        self._process = None
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            # An app that stops in the middle of a message blocks an orderly end for ever.
            process.kill()
            process.wait(timeout)

    def require_alive(self, patience: float = 0) -> None:
        """Raise AsteriskDied if the process has ended by itself, or does so within `patience`."""
        process = self._running()
        try:
            status = process.wait(patience)
        except subprocess.TimeoutExpired:
            return
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise AsteriskDied(f"Asterisk ended with {how}. It said last:\n{self._last_words()}")

    def command(self, line: str, timeout: float = 10) -> str:
        """Run a command of Asterisk's command line and return what it prints."""
        self.require_alive()
        try:
            done = subprocess.run(
                [*self._program, "-rx", line],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise AsteriskError(f"no answer within {timeout:.0f} s: {line}") from None
        if done.returncode:
            self.require_alive()
            raise AsteriskError(f"{line}: {done.stdout}{done.stderr}".strip())
        return done.stdout

    def log(self) -> str:
        """Everything that was logged since the start."""
        path = self.directory / "log" / "full"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_log(self, pattern: str, timeout: float = 5) -> re.Match[str]:
        """Wait until the log has a line with this regular expression, now or from before."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(re.finditer(pattern, self.log()))
            if not found:
                self.require_alive()
            return bool(found)

        wait_until(look, f"the log has {pattern!r}", timeout)
        return found[0]

    def has_open(self, path: Path) -> bool:
        """True while Asterisk has this file open."""
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                if descriptor.readlink() == path:
                    return True
            except FileNotFoundError:
                continue
        return False

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AsteriskError("Asterisk is not started")
        return self._process

    def _is_booted(self) -> bool:
        try:
            self.command("core waitfullybooted")
        except AsteriskDied:
            raise
        except AsteriskError:
            return False
        return True

    def _last_words(self) -> str:
        console = self.directory / "log" / "console"
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        return "\n".join([*lines, *self.log().splitlines()][-15:])
