"""Simulated calls: many at once to an application, each measured and judged.

A caller runs entirely inside the hub: no task is woken for a frame, so that hundreds of them fit into one process.
"""

from __future__ import annotations

import trio

from callstream_core.jambonz import JambonzProfile as ControlProfile
from callstream_trio.hub import Hub
from callstream_trio.jambonz_line import JambonzLine
from callstream_trio.listening import hooked
from callstream_trio.report import CallReport, Summary
from callstream_trio.simulated import CallPlan, SimulatedCaller, SocketLine
from callstream_trio.voice import said_format

__all__ = ["CallPlan", "SimulatedCaller", "Simulation", "run_calls"]


class Simulation:
    """Many calls to one application: `callers` tells how each stands, at any time."""

    def __init__(self, url: str, plan: CallPlan, *, calls: int = 1, rate: float = 20.0, hub: Hub | None = None) -> None:
        self.callers: list[SimulatedCaller] = []
        self.calls = calls
        self._url = url
        self._plan = plan
        self._rate = rate
        self._hub = hub
        self._dialling = trio.CancelScope()

    @property
    def reports(self) -> list[CallReport]:
        """The calls that are over."""
        return [caller.report for caller in self.callers if caller.report is not None]

    async def run(self) -> Summary:
        """Make the calls, `rate` of them per second, and return what they add up to."""
        plan = self._plan
        if not isinstance(plan.profile, ControlProfile):
            await plan.voices.prepare(said_format(plan.profile))
        if self._hub is not None:
            await self._dial_all(self._hub)
        else:
            async with Hub().running() as hub:
                await self._dial_all(hub)
        return Summary.of(self.reports)

    def interrupt(self) -> None:
        """Make no more calls, and hang up on those that are."""
        self._dialling.cancel()
        for caller in self.callers:
            caller.interrupt()

    async def _dial_all(self, hub: Hub) -> None:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            with self._dialling:
                for number in range(self.calls):
                    await trio.sleep_until(start + number / self._rate)
                    caller = make_caller(hub, self._url, self._plan, number)
                    self.callers.append(caller)
                    nursery.start_soon(caller.run)


def make_caller(hub: Hub, url: str, plan: CallPlan, number: int) -> SimulatedCaller:
    """Return one of many callers, with the line that its platform has."""
    caller = SimulatedCaller(hub, plan, number)
    if isinstance(plan.profile, ControlProfile):
        caller.line = JambonzLine(hub, hooked(url, plan.profile), caller)
    else:
        caller.line = SocketLine(hub, url, caller)
    return caller


async def run_calls(
    url: str, plan: CallPlan | None = None, *, calls: int = 1, rate: float = 20.0, hub: Hub | None = None
) -> tuple[Summary, list[CallReport]]:
    """Call an application `calls` times, `rate` times per second; return the sum and each call's report."""
    simulation = Simulation(url, plan or CallPlan(), calls=calls, rate=rate, hub=hub)
    summary = await simulation.run()
    return summary, simulation.reports
