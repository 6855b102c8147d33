"""Plans for simulated jambonz callers that are short, and what comes of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from callstream_core.jambonz import JambonzProfile
from callstream_trio import CallPlan, run_calls
from callstream_trio.report import CallReport
from callstream_trio.script import parse_script
from tests.trio.stub_app import App, answering

ANSWER = {"verb": "answer"}
PROFILE = JambonzProfile(clip_duration=0.02, character_duration=0.001, ack_timeout=0.3)
HANGUP = {"verb": "hangup"}
PAUSE = {"verb": "pause", "length": 60}


def plan(duration: float = 0.3, **more: Any) -> CallPlan:
    return CallPlan(platform="jambonz", **{"profile": PROFILE, "duration": duration, "margin": 3.0, **more})


def scripted(*steps: dict[str, Any], call: dict[str, Any] | None = None, **more: Any) -> CallPlan:
    script = parse_script({"step": list(steps), **({"call": call} if call else {})})
    return plan(script=script, profile=attrs.evolve(PROFILE, **script.profile), **more)


async def one(url: str, how: CallPlan) -> CallReport:
    with trio.fail_after(20):
        _, [report] = await run_calls(url, how)
    return report


async def against(behave: Callable[[App], Awaitable[None]], how: CallPlan | None = None) -> CallReport:
    async with answering(behave) as url:
        return await one(url, how or plan())
