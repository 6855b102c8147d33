"""Questions for the queue level: answers come in order, and each belongs to its own."""

from __future__ import annotations

import pytest

from callstream_core.errors import LocalProtocolError
from callstream_core.inquiries import Inquiries
from callstream_core.ledger import Ledger
from callstream_core.limits import Limits
from callstream_core.timers import Timer, TimerTable


def test_each_question_has_a_deadline_of_its_own() -> None:
    timers = TimerTable()
    inquiries = Inquiries(Limits(status_timeout=0.5), timers)
    assert inquiries.take() is None
    inquiries.ask(100, 1.0)
    inquiries.ask(200, 1.4, is_wanted=True)
    assert timers.earliest == 1.5
    first = inquiries.take()
    assert first is not None
    assert (first.sent, first.is_wanted) == (100, False)
    assert timers.earliest == 1.9
    assert inquiries.give_up(1.5) == []
    assert [late.sent for late in inquiries.give_up(1.9)] == [200]
    assert not timers.is_set(Timer.STATUS)
    # Its answer may still come, and is not the next one's.
    inquiries.ask(300, 2.0)
    late = inquiries.take()
    assert late is not None
    assert (late.sent, late.is_given_up) == (200, True)
    assert len(inquiries) == 1


def test_a_clear_is_open_until_its_question_is_answered_or_given_up() -> None:
    inquiries = Inquiries(Limits(), TimerTable())
    inquiries.ask(0, 1.0)
    assert not inquiries.is_clearing
    inquiries.ask(0, 1.0, clearing=Ledger(1.0).clear(0, 0, 1.0))
    assert inquiries.is_clearing
    inquiries.take()
    assert inquiries.is_clearing
    inquiries.give_up(9.0)
    assert not inquiries.is_clearing


def test_a_platform_that_never_answers_costs_no_memory() -> None:
    inquiries = Inquiries(Limits(max_inquiries=3), TimerTable())
    for n in range(10):
        inquiries.check_room()
        inquiries.ask(n, float(n))
        inquiries.give_up(n + 0.9)
        assert len(inquiries) <= 3
    for n in range(3):
        inquiries.check_room()
        inquiries.ask(n, 99.0)
    with pytest.raises(LocalProtocolError, match="3 questions"):
        inquiries.check_room()
