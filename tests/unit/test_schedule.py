"""`kpmsg.schedule`: when something is sent, asked and tried again. Every time is a number that the test chose."""

from __future__ import annotations

import pytest

from kpmsg import schedule
from kpmsg.schedule import Phase, Schedule

IDS = [f"{n:064x}" for n in range(3000)]


def fresh(*ids: str, jitter: float = 1.0) -> Schedule:
    """A schedule with `ids` queued; the first exchange is complete at 0. `jitter` 1.0 makes pauses exact."""
    made = Schedule(lambda: jitter)
    made.add(ids)
    made.asking(0.0, afresh=True)
    made.settled(0.0)
    return made


def sent(made: Schedule, now: float) -> list[str]:
    ids = made.due(now)
    made.accepted(ids)
    return ids


def fail(made: Schedule, now: float, *, reachable: bool = True, maybe: bool = False) -> list[str]:
    ids = made.due(now)
    made.failed(ids, now, reachable=reachable, maybe=maybe, problem="down")
    return ids


def test_documents_leave_in_order_of_creation() -> None:
    assert fresh(*IDS[:3]).due(0.0) == IDS[:3]


def test_a_frame_has_its_limit() -> None:
    made = fresh(*IDS[:300])
    assert sent(made, 0.0) == IDS[: schedule.BATCH]


def test_the_window_bounds_what_is_under_way() -> None:
    made = fresh(*IDS)
    now, count = 0.0, 0
    while ids := sent(made, now):
        now, count = now + 0.1, count + len(ids)
    assert count == schedule.WINDOW == made.handed_over
    made.remove(IDS[:10])
    assert len(made.due(now + 1.0)) == 10


def test_an_id_is_taken_once() -> None:
    made = fresh(IDS[0])
    made.add([IDS[0]])
    assert made.due(0.0) == [IDS[0]]
    assert made.due(1.0) == []


def test_what_was_released_goes_before_the_others() -> None:
    made = fresh(*IDS[:2])
    made.add(IDS[5:7], again=True)
    assert made.due(0.0) == [*IDS[5:7], *IDS[:2]]


def test_received_documents_are_gone() -> None:
    made = fresh(*IDS[:2])
    sent(made, 0.0)
    made.remove([IDS[0]])
    assert IDS[0] not in made
    assert len(made) == made.handed_over == 1
    assert made.delivery(IDS[0]) is None


def test_withheld_documents_never_leave() -> None:
    made = fresh(*IDS[:2])
    made.remove([IDS[0]])
    assert made.due(0.0) == [IDS[1]]


def test_a_broker_that_took_a_document_proves_nothing() -> None:
    made = fresh(IDS[0])
    sent(made, 0.0)
    delivery = made.delivery(IDS[0])
    assert delivery is not None
    assert (delivery.phase, delivery.attempts) == (Phase.HANDED_OVER, 1)


@pytest.mark.parametrize(("reachable", "cap"), [(True, 60.0), (False, 900.0)])
def test_back_off_doubles_from_one_second_up_to_its_cap(reachable: bool, cap: float) -> None:
    made, now, pauses = fresh(IDS[0]), 0.0, []
    for _ in range(14):
        assert fail(made, now, reachable=reachable) == [IDS[0]]
        assert made.due(made.next_attempt - 0.001) == []
        pauses.append(made.next_attempt - now)
        now = made.next_attempt
    assert pauses == [min(cap, 2.0**n) for n in range(14)]
    assert made.failures == 14


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 0.5), (0.5, 0.75)])
def test_jitter_takes_up_to_half_of_a_pause(jitter: float, pause: float) -> None:
    made = fresh(IDS[0], jitter=jitter)
    fail(made, 0.0)
    assert made.next_attempt == pause


def test_back_off_ends_when_the_partner_is_heard() -> None:
    made = fresh(IDS[0])
    for _ in range(8):
        fail(made, made.next_attempt, reachable=False)
    now = made.next_attempt - 100.0
    made.heard(now)
    assert made.failures == 0
    assert made.due(now) == [IDS[0]]


def test_a_success_ends_the_count_of_failures() -> None:
    made = fresh(IDS[0])
    fail(made, 0.0)
    sent(made, made.next_attempt)
    assert made.failures == 0


def test_an_unknown_end_is_asked_about_before_it_is_sent_again() -> None:
    made = fresh(IDS[0])
    fail(made, 0.0, maybe=True)
    assert made.due(2.0) == []
    assert not made.ask_due(4.9)
    assert made.ask_due(5.0)
    made.asking(5.0, afresh=True)
    made.settled(5.1)
    assert made.due(5.1) == [IDS[0]]


def test_a_missing_receipt_is_asked_about_after_five_seconds() -> None:
    made = fresh(IDS[0])
    sent(made, 1.0)
    assert made.next_event(1.0, sending=True) == 1.0 + schedule.RECEIPT_WITHIN
    assert made.ask_due(6.0)


def test_what_an_answer_does_not_cover_is_sent_again_at_once_the_first_time() -> None:
    made = fresh(IDS[0])
    sent(made, 1.0)
    made.asking(6.0, afresh=True)
    made.settled(6.5)
    assert made.due(6.5) == [IDS[0]]


def test_an_outage_says_nothing_against_a_document() -> None:
    made = fresh(IDS[0])
    now = 0.0
    for _ in range(6):  # nobody there; then they are, and what was put into their queue is lost once
        fail(made, now, reachable=False)
        now = made.next_attempt
    made.heard(now)
    assert sent(made, now) == [IDS[0]]
    made.asking(now + 1.0, afresh=True)
    made.settled(now + 1.0)
    assert made.due(now + 1.0) == [IDS[0]]


def test_the_second_time_and_later_it_waits() -> None:
    made = fresh(IDS[0])
    now, waits = 0.0, []
    for _ in range(8):
        assert sent(made, now) == [IDS[0]]
        made.asking(now + 1.0, afresh=True)
        made.settled(now + 1.0)
        again = now + 1.0
        while not made.due(again):
            again += 0.5
        made.failed([IDS[0]], again, reachable=True, maybe=False, problem="put back")
        made.heard(again)
        waits.append(again - now - 1.0)
        now = again
    assert waits[0] == 0.0
    assert waits[1:] == sorted(waits[1:])
    assert max(waits) == schedule.CAP_CONNECTED


def test_an_answer_says_nothing_about_what_left_after_the_question() -> None:
    made = fresh(IDS[0])
    made.asking(1.0, afresh=True)
    sent(made, 1.5)
    made.settled(2.0)
    assert made.due(3.0) == []
    assert made.handed_over == 1


def test_further_steps_of_an_exchange_keep_to_its_beginning() -> None:
    made = fresh(IDS[0])
    made.asking(1.0, afresh=True)
    sent(made, 1.5)
    made.asking(2.0, afresh=False)
    made.settled(3.0)
    assert made.due(4.0) == []


def test_what_is_still_being_handed_over_is_not_lost() -> None:
    made = fresh(IDS[0])
    assert made.due(0.0) == [IDS[0]]
    made.asking(1.0, afresh=True)
    made.settled(2.0)
    assert made.due(2.0) == []


def test_a_slow_partner_is_not_asked_faster_than_it_can_answer() -> None:
    made, now, waits = Schedule(lambda: 0.0), 0.0, []
    for _ in range(5):
        made.asking(now, afresh=True)
        again = made.next_event(now, sending=False)
        waits.append(again - now)
        now = again
    assert waits == [10.0, 20.0, 40.0, 60.0, 60.0]
    made.settled(now)
    made.asking(now, afresh=True)
    assert made.next_event(now, sending=False) == now + 10.0


def test_a_question_without_an_answer_is_asked_again() -> None:
    made = Schedule(lambda: 0.0)
    assert made.ask_due(0.0)
    made.asking(0.0, afresh=True)
    assert not made.ask_due(9.9)
    assert made.ask_due(schedule.ANSWER_WITHIN)


@pytest.mark.parametrize(("jitter", "after"), [(0.0, 15.0), (0.5, 30.0), (1.0, 45.0)])
def test_a_busy_partner_is_asked_every_thirty_seconds_more_or_less(jitter: float, after: float) -> None:
    made = fresh(IDS[0], jitter=jitter)
    sent(made, 0.0)
    made.remove([IDS[0]])
    made.asking(1.0, afresh=True)
    made.settled(1.0)
    assert made.next_event(1.0, sending=True) == 1.0 + after


def test_an_idle_partner_is_asked_every_five_minutes() -> None:
    made = fresh()
    made.asking(1.0, afresh=True)
    made.accepted([])  # the question itself, and answers to the partner's, are no traffic
    made.settled(1.0)
    assert made.next_event(1.0, sending=True) == 1.0 + schedule.ASK_IDLE


def test_a_question_can_be_wanted_at_once() -> None:
    made = fresh()
    made.ask_now(7.0)
    assert made.ask_due(7.0)


def test_questions_wait_for_back_off_as_well() -> None:
    made = fresh(IDS[0])
    for _ in range(10):
        fail(made, made.next_attempt, reachable=False)
    made.ask_now(made.next_attempt - 50.0)
    assert not made.ask_due(made.next_attempt - 1.0)
    assert made.ask_due(made.next_attempt)


def test_what_a_partner_refused_waits_fifteen_minutes() -> None:
    made = fresh(*IDS[:2])
    sent(made, 0.0)
    made.refused(IDS[0], 1.0, "sig-invalid: no")
    delivery = made.delivery(IDS[0])
    assert delivery is not None
    assert delivery.problem == "sig-invalid: no"
    assert made.due(900.0) == []
    assert made.due(901.0) == [IDS[0]]


def test_what_was_refused_before_it_left_again_waits_too() -> None:
    made = fresh(IDS[0])
    made.refused(IDS[0], 0.0, "no")
    assert made.due(1.0) == []


def test_a_refusal_of_something_else_is_nothing() -> None:
    made = fresh()
    made.refused(IDS[0], 0.0, "no")
    assert len(made) == 0


def test_an_operator_can_end_every_wait() -> None:
    made = fresh(*IDS[:2])
    sent(made, 0.0)
    made.refused(IDS[0], 1.0, "no")
    made.failed([IDS[1]], 1.0, reachable=False, maybe=False, problem="down")
    made.retry_now(1.5)
    assert made.ask_due(1.5)
    assert sorted(made.due(1.5)) == IDS[:2]


def test_nothing_but_questions_is_planned_while_sending_is_not_allowed() -> None:
    made = fresh(IDS[0])
    assert made.next_event(0.0, sending=True) == 0.0
    assert made.next_event(0.0, sending=False) == 45.0
