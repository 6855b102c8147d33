"""`callstream serve`: take calls."""

from __future__ import annotations

import os
import shlex
import signal
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any

import click
import structlog
import trio
from rich.console import Console

from callstream_trio import apps
from callstream_trio.admission import Auth, Basic, HeaderToken, QueryToken
from callstream_trio.call import Call
from callstream_trio.cli.common import Mistake, make_console, raise_file_limit, set_up_logs
from callstream_trio.cli.paste import asterisk_lines, jambonz_lines, sinch_lines, url_of, yeastar_lines
from callstream_trio.collector import spare_calls
from callstream_trio.hub import clock
from callstream_trio.server import Handler, Server
from callstream_trio.settings import LOG_LEVELS, BadSettings, Settings, load_settings
from callstream_trio.tls import server_context
from callstream_trio.workers import Hints, Workers, WorkersSettings, obey_parent

_log = structlog.get_logger("callstream")

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("app", required=False, metavar="[echo|bridge|play FILE|record DIR|tone|MODULE:HANDLER]")
@click.argument("argument", required=False, metavar="")
@click.option("--bind", multiple=True, metavar="HOST:PORT", help="Where to listen; repeatable. [127.0.0.1:8787]")
@click.option(
    "--auth",
    multiple=True,
    metavar="KIND:…",
    help="A secret that admits calls: query:NAME=SECRET, header:NAME=SECRET or basic:USER:PASSWORD; repeatable.",
)
@click.option("--tls-cert", type=_FILE, help="Take calls over TLS, with this certificate (PEM).")
@click.option("--tls-key", type=_FILE, help="Its key (PEM).")
@click.option("--config", type=_FILE, help="A file with settings (TOML); flags and CALLSTREAM_… override it.")
@click.option("--max-calls", metavar="N", help="Calls at once. [4000]")
@click.option("--send-ahead", metavar="SECONDS", help="Audio sent ahead of playout, or 'unlimited'. [1]")
@click.option("--yeastar-rate", type=click.Choice(["8000", "16000"]), help="Sample rate of a Yeastar PBX. [8000]")
@click.option("--jambonz-url", metavar="URL", help="Where jambonz reaches this server. [as it says itself]")
@click.option("--workers", metavar="N", help="Processes that take calls. [1]")
@click.option("--metrics-bind", metavar="HOST:PORT", help="Where to tell the metrics of all of them.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="[info]")
@click.option("--json-logs", is_flag=True, default=None, help="Log one JSON object per line.")
def serve(app: str | None, argument: str | None, config: Path | None, **flags: Any) -> None:
    """Take calls, and echo them, bridge them in pairs, play to them, record them, or hand them to your own code.

    Without arguments, calls are echoed, and the lines for the telephone system's configuration are shown.
    SIGTERM or Ctrl+C lets running calls end; a second one quits at once. With more than one worker, SIGHUP starts new
    ones, which read the configuration again, and then lets the old ones go.
    """
    hints = Hints.found()
    settings = read_settings(app, argument, config, flags)
    handler = make_handler(settings.app)
    tls = make_tls(settings)
    set_up_logs(settings.log_level, json=settings.json_logs)
    raise_file_limit()
    if hints is None and (settings.workers > 1 or settings.metrics_bind):
        trio.run(_serve_by_workers, settings)
    else:
        trio.run(_serve, settings, handler, tls, hints)


def read_settings(app: str | None, argument: str | None, config: Path | None, flags: dict[str, Any]) -> Settings:
    """Return the settings that count."""
    if app is not None:
        flags["app"] = shlex.join([app] if argument is None else [app, argument])
    # Nothing given is not the same as an empty list.
    given = {key: None if value == () else value for key, value in flags.items()}
    file = config or (Path(os.environ["CALLSTREAM_CONFIG"]) if os.environ.get("CALLSTREAM_CONFIG") else None)
    try:
        return load_settings(given, os.environ, file)
    except BadSettings as error:
        raise Mistake(str(error)) from None


def make_handler(app: str) -> Handler:
    """Return the handler that the settings name."""
    try:
        name, *arguments = shlex.split(app)
    except ValueError:
        raise Mistake(f"{app!r} is no application; a quote is missing") from None
    if name in ("play", "record") and len(arguments) != 1:
        raise Mistake(f"say what to {name}: callstream serve {name} {'FILE' if name == 'play' else 'DIR'}")
    if name not in ("play", "record") and arguments:
        raise Mistake(f"{name} takes nothing behind it; leave {shlex.join(arguments)} out")
    if name == "play":
        path = Path(arguments[0])
        if not path.is_file():
            raise Mistake(f"there is no file {path}; name a WAV, FLAC or OGG file")
        return apps.play(path)
    if name == "record":
        directory = Path(arguments[0])
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Mistake(f"{directory} cannot be used for recordings: {error.strerror}; name a directory") from None
        return apps.record(directory)
    if name in ("echo", "tone"):
        return apps.echo if name == "echo" else apps.tone
    if name == "bridge":
        return apps.bridge()
    if ":" not in name:
        choices = "echo, bridge, tone, play FILE, record DIR or MODULE:HANDLER"
        raise Mistake(f"there is no application {name!r}; use {choices}")
    try:
        return apps.load(name)
    except ValueError as error:
        raise Mistake(str(error)) from None


def make_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context, if calls come over TLS."""
    if settings.tls_cert is None:
        return None
    for path in (settings.tls_cert, settings.tls_key):
        if path is not None and not os.access(path, os.R_OK):
            raise Mistake(f"{path} cannot be read; name a PEM file that this user may read")
    try:
        return server_context(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        raise Mistake(
            f"{settings.tls_cert} is not usable as a certificate: {error.reason or error}; "
            "use PEM files, and give the key with --tls-key"
        ) from None


async def _serve_by_workers(settings: Settings) -> None:
    """Run the same command as several processes."""
    drain_timeout = settings.drain_timeout + 5
    workers = Workers(
        [sys.executable, "-m", "callstream_trio", *sys.argv[1:]],
        settings.bind,
        WorkersSettings(count=settings.workers, drain_timeout=drain_timeout),
    )

    def announce() -> None:
        addresses = [
            (host.strip("[]"), int(port)) for host, _, port in (bind.rpartition(":") for bind in workers.binds)
        ]
        _announce(settings, addresses)
        metrics = [f"{host}:{port}" for host, port in workers.metrics_addresses]
        _log.info("workers start", count=settings.workers, metrics=metrics)

    try:
        await workers.run(settings.metrics_bind, announce)
    except (OSError, ValueError) as error:
        raise Mistake(_why_not_listening(settings, error)) from None
    _log.info("stopped")


async def _serve(settings: Settings, handler: Handler, tls: ssl.SSLContext | None, hints: Hints | None) -> None:
    server = Server(_logged(handler), settings=settings.server, tls=tls, neighbours=hints.neighbours if hints else None)
    stop = trio.Event()
    mistake: Mistake | None = None
    is_orphan = False

    def orphan() -> None:
        nonlocal is_orphan
        is_orphan = True
        stop.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stop)
        try:
            async with server.listening(hints.binds if hints else settings.bind, shares_port=hints is not None):
                if hints:
                    nursery.start_soon(obey_parent, hints, lambda: server.metrics.encode(), orphan)
                else:
                    _announce(settings, server.addresses)
                spare_calls()
                await stop.wait()
                if server.calls:
                    _log.info("stopping; running calls may end", calls=len(server.calls))
        except (OSError, ValueError) as error:
            mistake = Mistake(_why_not_listening(settings, error))
        nursery.cancel_scope.cancel()
    if hints and is_orphan:
        hints.neighbours.leave()
    if mistake is not None:
        raise mistake
    _log.info("stopped", **{how.replace(" ", "_"): count for how, count in sorted(server.endings.items()) if count})


def _why_not_listening(settings: Settings, error: Exception) -> str:
    if isinstance(error, ValueError):
        return str(error)
    binds = ", ".join(settings.bind)
    why = getattr(error, "strerror", None) or error
    return f"cannot listen on {binds}: {why}; choose another address with --bind HOST:PORT"


async def _watch_signals(stop: trio.Event, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            break
    # The second one ends the process as if we were not there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop.set()


def _logged(handler: Handler) -> Handler:
    async def handle(call: Call) -> None:
        info = call.info
        log = _log.bind(call=info.call_id[:80])
        log.info("call", dialect=info.dialect, codec=f"{info.caller_format.encoding}/{info.caller_format.rate}")
        start = clock()
        try:
            await handler(call)
        finally:
            stats = call.stats
            ended = call.ended
            log.info(
                "call over",
                seconds=round(clock() - start, 1),
                reason=ended.reason[:80] if ended else "the application is done",
                heard=stats.messages_received,
                said=stats.messages_sent,
                **({"tolerated": stats.tolerated} if stats.tolerated else {}),
            )

    return handle


# The first screen


def _announce(settings: Settings, addresses: list[tuple[str, int]]) -> None:
    console = make_console(stderr=True)
    if settings.json_logs:
        _log.info("listening", app=settings.app, addresses=[f"{host}:{port}" for host, port in addresses])
        return
    auths = settings.server.admission.auth
    address = addresses[0]
    section, dial = asterisk_lines(settings, address, auths, shows_secrets=console.is_terminal)
    urls = [url_of(each, is_secure=settings.is_secure) for each in addresses]
    console.print()
    console.print(f"  [bold]callstream[/]  {settings.app}  [cyan]{'  '.join(urls)}[/]")
    console.print()
    shows_secrets = console.is_terminal
    _print_platform(console, "Asterisk", "20.16, 22.6, 23.0 or newer")
    _print_lines(console, "websocket_client.conf", section)
    _print_lines(console, "extensions.conf", dial)
    _print_hint(
        console, auths, HeaderToken, "Asterisk cannot send headers: add --auth query:… or --auth basic:… for it."
    )
    _print_platform(console, "Sinch", "voice streams")
    answer = sinch_lines(settings, address, auths, shows_secrets=shows_secrets)
    _print_lines(console, "the answer to the incoming call event (SVAML)", answer)
    _print_hint(console, auths, HeaderToken | Basic, "Sinch can only send a query: add --auth query:… for it.")
    _print_platform(console, "jambonz", "0.9.0 or newer")
    _print_lines(console, "Applications", jambonz_lines(settings, address, auths, shows_secrets=shows_secrets))
    _print_hint(console, auths, HeaderToken, "jambonz cannot send headers: add --auth basic:… for it.")
    _print_platform(console, "Yeastar P-Series", "listening only: 83.20.0.74, 84.20.0.74 or newer")
    entries = yeastar_lines(settings, address, auths, shows_secrets=shows_secrets)
    _print_lines(console, "Integrations, WebSocket Audio Streaming", entries)
    hint = "A Yeastar PBX sends its secret in a header: add --auth header:… for it."
    _print_hint(console, auths, QueryToken, hint)
    console.print("  [bold]Without a telephone system[/]")
    uri = section[2].removeprefix("uri = ").replace("\\;", ";")
    _print_lines(console, None, [f"callstream call {shlex.quote(uri) if '?' in uri else uri}"])
    console.print("  [dim]Ctrl+C lets running calls end; twice quits at once.[/]")
    console.print()


def _print_platform(console: Console, name: str, remark: str) -> None:
    console.print(f"  [bold]{name}[/]  {remark}")


def _print_hint(console: Console, auths: Sequence[Auth], unusable: type[Auth] | UnionType, hint: str) -> None:
    """Tell that none of the secrets is of a kind that a platform can send."""
    if auths and all(isinstance(auth, unusable) for auth in auths):
        console.print(f"    [yellow]{hint}[/]")
        console.print()


def _print_lines(console: Console, title: str | None, lines: list[str]) -> None:
    if title:
        console.print(f"    [dim]; {title}[/]")
    for line in lines:
        # Never wrapped or cut: it is there to be pasted.
        console.print(f"    {line}", style="green", markup=False, highlight=False, soft_wrap=True)
    console.print()
