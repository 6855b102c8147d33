"""The two sockets of a jambonz call: one for control, and one for the audio of the `listen` verb that we order."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import attrs
import structlog
import trio

from callstream_core import dialects
from callstream_core.dialects.jambonz import REPLY_RATE
from callstream_core.jambonz import words as w
from callstream_core.jambonz.parts import Auth, ReplyAudio
from callstream_core.jambonz.values import Verb
from callstream_core.jambonz.verbs import Answer, Hangup, Listen
from callstream_trio.admission import Admission, Admitted, Basic, Refusal, Request
from callstream_trio.control import Control
from callstream_trio.hub import clock

AUDIO_PATH = "/jambonz/audio"
_TICKET = "ticket"
_MAX_DIGITS = 9
# Seconds that jambonz may take to close the audio socket when the call is over.
_PATIENCE = 1.0

_log = structlog.get_logger("callstream.jambonz")

VerbsHandler = Callable[[Control], Awaitable[None]]


def _check_url(_settings: object, field: attrs.Attribute[str | None], url: str | None) -> None:
    if url is not None and (urlsplit(url).scheme not in ("ws", "wss") or not urlsplit(url).hostname):
        raise ValueError(f"{field.name} is like wss://calls.example.org, not {url!r}")


def _check_rate(_settings: object, field: attrs.Attribute[int], rate: int) -> None:
    if rate <= 0 or rate % 8000:
        raise ValueError(f"{field.name} is a multiple of 8000, not {rate}")


@attrs.frozen(kw_only=True)
class JambonzSettings:
    """How a server takes jambonz's calls."""

    verbs: VerbsHandler | None = None
    """Who takes calls by verbs alone, without audio; None orders audio for each, and runs the server's handler."""
    public_url: str | None = attrs.field(default=None, validator=_check_url)
    """Where jambonz reaches this server, such as `wss://calls.example.org`; None for where it reached it first."""
    sample_rate: int = attrs.field(default=8000, validator=_check_rate)
    """Samples per second, both ways. That of the telephone's codec is best: resampled, jambonz loses marks."""
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    """With a user name: what the audio socket has to bring besides its ticket."""
    ticket_timeout: float = 30.0
    """Seconds in which the audio socket has to come."""
    return_timeout: float = 30.0
    """Seconds in which jambonz has to come back when the control socket is lost; the audio goes on in any case."""

    def __attrs_post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")


@attrs.frozen(kw_only=True)
class Tied(Admitted):
    """An upgrade of an audio socket that a control socket has ordered."""

    control: Control


class TicketOffice:
    """Gives each control socket a ticket, and each ticket's audio socket its control socket: once, and in time.

    Where several processes share a port, a ticket begins with the `number` of the one that gave it.
    """

    def __init__(self, settings: JambonzSettings, *, is_secure: bool, number: int | None = None) -> None:
        self._settings = settings
        self._number = number
        self._scheme = "wss" if is_secure else "ws"
        # By digest: how long a look-up takes tells nothing of a ticket.
        self._waiting: dict[bytes, tuple[Control, float]] = {}

    def take_call(self, request: Request) -> Control:
        """Return the control of a call that comes in by `request`."""
        if self._settings.verbs is not None:
            return Control()
        control: Control

        def opening(_offer: w.Question) -> Sequence[Verb]:
            return self._order(control, request)

        control = Control(opening)
        return control

    def _order(self, control: Control, request: Request) -> Sequence[Verb]:
        """Return the verbs that bring the audio here. What ends it ends the call."""
        settings = self._settings
        ticket = secrets.token_urlsafe()
        if self._number is not None:
            ticket = f"{self._number}.{ticket}"
        self._waiting[_digest(ticket)] = (control, clock() + settings.ticket_timeout)
        host = (request.header(b"host") or b"").decode("latin-1")
        base = settings.public_url or f"{self._scheme}://{host}"
        auth = None
        if settings.username is not None and settings.password is not None:
            auth = Auth(username=settings.username, password=settings.password)
        rate = settings.sample_rate
        listen = Listen(
            url=f"{base.rstrip('/')}{AUDIO_PATH}?{_TICKET}={ticket}",
            mix_type="mono",
            sample_rate=rate,
            pass_dtmf=True,
            bidirectional_audio=ReplyAudio(enabled=True, streaming=True, sample_rate=rate),
            metadata={REPLY_RATE: rate},
            ws_auth=auth,
        )
        return (Answer(), listen, Hangup())

    def forget(self, control: Control) -> None:
        """Let the ticket of a control socket that is over admit nobody."""
        self._waiting = {key: found for key, found in self._waiting.items() if found[0] is not control}

    def issuer(self, request: Request) -> int | None:
        """Return which other process gave a request's ticket."""
        number, point, _ = _ticket(request).partition(".")
        is_other = point and number != str(self._number) and number.isascii() and number.isdecimal()
        return int(number[:_MAX_DIGITS]) if self._number is not None and is_other else None

    def decide(self, request: Request, admission: Admission) -> Admitted | Refusal:
        """Admit the audio of a call by its ticket, or refuse it."""
        settings = self._settings
        refusal = Refusal(status=401, text="The ticket is wrong, used or too old.")
        if settings.username is not None and not Basic(settings.username, settings.password or "").admits(request):
            return refusal
        # A ticket is known to nobody but jambonz, so that neither secrets nor origins matter.
        decision = admission.accept(request, dialects.get("jambonz"))
        if isinstance(decision, Refusal):
            return decision
        control, deadline = self._waiting.pop(_digest(_ticket(request)), (None, 0.0))
        if control is None or deadline < clock() or control.ended is not None:
            return refusal
        return Tied(response=decision.response, dialect=decision.dialect, control=control)


def has_ticket(request: Request) -> bool:
    """Tell whether a request comes with a ticket, good or bad."""
    return request.path == AUDIO_PATH and _TICKET in request.query


def _ticket(request: Request) -> str:
    return request.query[_TICKET][0]


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()


async def end_audio(control: Control) -> None:
    """See to it that the audio does not outlive its call: jambonz closes it. Without its control, a call may go on."""
    call, ended = control.call, control.ended
    if call is None and control.orders_audio and isinstance(control.first, w.SessionOffered):
        _log.warning("the audio of a jambonz call never came; is public_url right?", call=ascii(control.call_sid[:80]))
    if call is None or ended is None:
        return
    with trio.move_on_after(math.inf if ended.outcome is w.Outcome.LOST else _PATIENCE):
        await call.wait_ended()
    call.close(1001, "the phone call is over")
