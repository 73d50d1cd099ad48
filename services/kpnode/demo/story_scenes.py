"""The five scenes of the story: what goes otherwise than planned between authorities, and how it is settled.

Each scene leaves nothing open, for the next one begins with empty desks. Days count from the Monday on which the story begins.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from kpmsg.case import State
from kpmsg.documents import (
    Alert,
    CertificateAnswer,
    ConfirmationRequest,
    ConfirmationStatus,
    DiscrepancyResponse,
    ExportAmendment,
    ImportConfirmation,
    IrregularityNotice,
    Withdrawal,
)
from kpnode.demo.story_desk import BrokenOffError, Desk, Draft
from kpnode.demo.story_nodes import ANTWERP, DUBAI, GABORONE
from kpnode.demo.story_play import TOWNS, Play, weight, words
from kpnode.demo.story_telling import day
from kpnode.release import ReleaseNeededError, SamePersonError
from kpnode.store import alerts

Scene = Callable[[Play], Awaitable[None]]


async def reweighed(play: Play) -> None:
    """What was found weighs less than what was notified; the two authorities settle it."""
    bw, ae = play.gaborone, play.dubai
    await play.turn(0, "09:10", GABORONE)
    number = await play.notify(ae, 211, "1204.50")
    await play.stands(ae, number, State.NOTIFIED, "us")
    await play.turn(2, "11:40", DUBAI)
    found = {"/found/carats": "1198.20"}
    draft = await ae.fill("import-confirmation", number, found)
    draft["data"]["discrepancies"][0]["disposition"] = "under_query"
    confirmed = await bw.content(await ae.submit(draft), ImportConfirmation)
    lost = draft["data"]["discrepancies"][0]["notified"]
    await play.does(
        ae,
        f"opens the parcel and finds {weight(confirmed.found.carats)}. It confirms with this difference, and asks which weight holds.",
    )
    doubts = [{"field": "carats", "notified": lost, "found": f"{confirmed.found.carats:.2f}"}]
    await ae.say("discrepancy-query", number, {"/doubts": doubts})
    await play.stands(bw, number, State.CONFIRMED_WITH_DISCREPANCY, "us")
    await play.turn(3, "08:30", GABORONE)
    answer = await ae.content(await bw.say("discrepancy-response", number), DiscrepancyResponse)
    [point] = answer.answers
    amended = await bw.say("export-amendment", number, {"/content/carats": str(point.corrected)})
    version = await ae.content(amended, ExportAmendment)
    await play.does(
        bw,
        f"had weighed wrongly. It answers “{words(point.verdict)} {point.corrected} ct; {words(answer.instruction)}”, "
        f"and amends its notification to {weight(version.content.carats)}.",
    )
    left = " No difference is left between notification and confirmation."
    row = await play.stands(ae, number, State.CONFIRMED_WITH_DISCREPANCY, "nobody", left)
    if row.case["differences"]:
        raise BrokenOffError(f"{number}: there are still differences")
    await play.agree(number, State.CONFIRMED_WITH_DISCREPANCY, bw, ae)


async def crossed(play: Play) -> None:
    """A cancellation and a confirmation pass each other on their way."""
    bw, ae = play.gaborone, play.dubai
    await play.turn(3, "14:00", GABORONE)
    number = await play.notify(ae, 212, "96.30")
    await play.stands(ae, number, State.NOTIFIED, "us")
    with play.stage.wire_down():
        await play.turn(4, "07:50", GABORONE)
        draft = await bw.fill("cancellation", number)
        cancellation = await bw.submit(draft, arrives=False)
        await play.does(bw, f"cancels {number}. But the line to Dubai is down; the letter waits.")
        await play.turn(4, "10:20", DUBAI)
        draft = await ae.fill("import-confirmation", number)
        confirmation = await ae.submit(draft, arrives=False)
        await play.does(
            ae,
            "knows nothing of that. It finds the parcel as notified and confirms it; this letter waits too.",
        )
    for desk, document_id in ((ae, cancellation), (bw, confirmation)):
        await desk.until(lambda d=desk: d.called(number), bool, "an officer should be called")  # type: ignore[misc]
        await desk.document(document_id)
    await play.turn(4, "10:35", GABORONE)
    await play.does(
        bw, "and Dubai get each other's letter: the line is back. Both letters are kept, neither wins."
    )
    for desk in (ae, bw):
        await play.reads(desk, f"an officer is called: “{(await desk.called(number))[-1]}”")
    await play.stands(bw, number, State.CROSSED_CANCELLATION, "both")
    await play.turn(4, "11:10", GABORONE)
    reason = f"Cancelled by mistake, BW 000221 was meant. Agreed on the telephone with {ae.place.officer}, {ae.place.town}."
    said = await ae.content(await bw.say("withdrawal", number, {"/reason": reason}), Withdrawal)
    await play.does(bw, f"takes its cancellation back: “{said.reason}”")
    await play.agree(number, State.CONFIRMED, bw, ae)


async def counterfeit(play: Play) -> None:
    """A paper bears a number that its issuer has never used."""
    bw, eu = play.gaborone, play.antwerp
    await play.turn(4, "11:30", GABORONE)
    genuine = await play.notify(eu, 321, "640.00")
    typed = "BW 000312"
    await play.turn(4, "12:05", ANTWERP)
    if await eu.row(typed) is not None:
        raise BrokenOffError(f"{typed} should not be known in {eu.place.town}")
    near = [row.number for row in await eu.near(typed)]
    if near != [genuine]:
        raise BrokenOffError(f"{genuine} should be offered for {typed}, and not {near}")
    await play.does(eu, f"has a paper before it, for 655.00 ct, and types its number: {typed}.")
    await play.reads(
        eu, f"nothing is known of {typed}. Similar: {', '.join(near)}. (Offered, never assumed.)"
    )
    await play.does(eu, f"looks again. The paper does say {typed}, so it asks the issuer.")
    certificate = {"number_raw": typed, "issuer": "BW", "kind": "kp"}
    query = {
        "type": "certificate-query",
        "recipient": "BW",
        "data": {"certificate": certificate, "carats": "655.00"},
    }
    begun = time.perf_counter()
    await eu.submit(query)
    answer = await eu.until(lambda: eu.last(CertificateAnswer, typed), bool, "the issuer's answer")
    milliseconds = (time.perf_counter() - begun) * 1000
    await play.does(
        bw, f"has its node answer, signed, {milliseconds:.0f} ms after the question: “{answer.finding}”."
    )
    for desk in (eu, bw):
        await desk.until(lambda d=desk: d.called(typed), bool, "an officer should be called")  # type: ignore[misc]
        await play.reads(desk, f"an officer is called: “{(await desk.called(typed))[0]}”")
    await play.stands(eu, typed, State.SUSPECTED_COUNTERFEIT, "us")
    await play.turn(4, "13:40", ANTWERP)
    report = {
        "/irregularities": ["suspected_forgery"],
        "/measure": "seized",
        "/description": "One parcel, 655.00 ct, under a certificate whose number the issuer does not know.",
    }
    notice = await bw.content(await eu.say("irregularity-notice", typed, report), IrregularityNotice)
    kinds = ", ".join(words(each) for each in notice.irregularities)
    await play.does(eu, f"secures the goods, and reports: {kinds}; {notice.measure}.")
    await play.agree(typed, State.SUSPECTED_COUNTERFEIT, bw, eu)
    await eu.say("import-confirmation", genuine)
    await play.does(
        eu, f"also confirms {genuine}, the similar number: that parcel has come, and is in order."
    )
    await play.agree(genuine, State.CONFIRMED, bw, eu)


async def stolen(play: Play) -> None:
    """A box of blank certificates is stolen; two people warn everybody; one of them turns up."""
    bw, ae = play.gaborone, play.dubai
    clerk, officer = bw.place.clerk, bw.place.officer
    today = await play.turn(4, "16:10", GABORONE)
    numbers = [{"first": "BW 000400", "last": "BW 000449"}]
    description = "A box of 50 blank certificates was stolen from the printer's van."
    data = {
        "issuer": "BW",
        "kind": "stolen",
        "numbers": numbers,
        "valid_from": today.isoformat(),
        "description": description,
    }
    draft: Draft = {"type": "alert", "recipient": "*", "data": data}
    seq = await bw.prepare(draft, clerk)
    refused = await _alone(bw, draft, seq)
    await play.does(bw, f"misses 50 blank certificates. {clerk}, a clerk, writes an alert to all partners.")
    await play.reads(bw, f"{clerk} sends it at once: refused, “{refused[0]}”.")
    await play.reads(bw, f"{clerk} releases his own draft: refused, “{refused[1]}”.")
    await play.turn(4, "16:25", GABORONE)
    ids = await bw.release(seq, officer)
    await play.does(bw, f"has {officer}, an officer, read and release it. {len(ids)} partners are warned.")
    for desk in (ae, play.antwerp):
        [held] = await desk.node.database.read(lambda c: alerts.alerts(c, active=True, limit=10))
        said = await desk.content(held.document_id, Alert)
        range_ = said.numbers[0]
        text = f"alert from {TOWNS[held.issuer]}: {range_.first} to {range_.last} are {said.kind}. Released by {said.released_by}."
        await play.reads(desk, text)
    presented, number = await play.turn(7, "10:15", DUBAI), "BW 000417"
    certificate = {"number_raw": number, "issuer": "BW", "kind": "kp"}
    arrival = {
        "certificate": certificate,
        "notification": None,
        "date_presented": presented.isoformat(),
        "place": "Dubai airport",
    }
    notice = {"type": "arrival-notice", "recipient": "BW", "data": arrival}
    found = await ae.try_out(notice)
    await play.does(ae, f"is shown certificate {number}, and types an arrival notice.")
    await play.reads(ae, f"{found.verdict}: “{found.problems[0].text}”")
    await ae.submit(notice)
    await play.does(ae, "holds the parcel and sends the notice all the same, so that the issuer knows.")
    await play.stands(ae, number, State.SUSPECTED_COUNTERFEIT, "us")
    for text in await bw.called(number):
        await play.reads(bw, f"an officer is called: “{text}”")
    await play.turn(7, "11:30", DUBAI)
    report = {
        "/irregularities": ["suspected_forgery"],
        "/measure": "detained",
        "/description": "Under a number of the stolen box. The bearer is being questioned.",
    }
    said_so = await bw.content(await ae.say("irregularity-notice", number, report), IrregularityNotice)
    await play.does(ae, f"reports: goods {said_so.measure}. “{said_so.description}”")
    await play.agree(number, State.SUSPECTED_COUNTERFEIT, bw, ae)


async def _alone(desk: Desk, draft: Draft, seq: int) -> tuple[str, str]:
    """One person tries both ways to say alone what two must say; the node's answers."""
    try:
        await desk.submit(draft)
    except ReleaseNeededError as error:
        at_once = str(error)
    else:
        raise BrokenOffError("an alert was sent by one person alone")
    try:
        await desk.release(seq, desk.place.clerk)
    except SamePersonError as error:
        return at_once, str(error)
    raise BrokenOffError("a clerk has released a draft of his own")


async def overdue(play: Play) -> None:
    """No confirmation comes. Silence is asked about, and answered; another certificate expires."""
    bw, ae, eu = play.gaborone, play.dubai, play.antwerp
    await play.turn(8, "09:00", GABORONE)
    slow = await play.notify(eu, 501, "86.40")
    never = await play.notify(ae, 502, "12.30", valid=36, aside=", valid for 36 days only")
    await play.stands(eu, slow, State.NOTIFIED, "us", _counted(play))
    await play.stands(ae, never, State.NOTIFIED, "us")
    await play.turn(24, "08:10", GABORONE)
    await play.does(bw, "has heard nothing. (The story's clock is turned on by two weeks.)")
    await play.lists(bw)
    levels = await _remind(play)
    await play.does(
        bw,
        f"finds {len(levels)} reminders that its node has drafted, level {levels[0]}. An officer sends them.",
    )
    await play.turn(24, "13:30", ANTWERP)
    expected = play.first + timedelta(days=32)
    promise = {"/standing": "under_inspection", "/decision_expected": expected.isoformat()}
    for desk, number, changes in ((eu, slow, promise), (ae, never, {})):
        reply = await bw.content(await desk.say("confirmation-status", number, changes), ConfirmationStatus)
        until = (
            ""
            if reply.decision_expected is None
            else f", decision expected by {day(reply.decision_expected)}"
        )
        await play.does(desk, f"replies about {number}: {words(reply.standing)}{until}.")
    await play.lists(bw)
    await play.turn(35, "08:05", GABORONE)
    levels = await _remind(play)
    await play.does(
        bw,
        f"sees that day pass too. Its node has drafted {len(levels)} more reminders, level {levels[0]}; they are sent.",
    )
    await play.turn(36, "11:20", ANTWERP)
    confirmed = await bw.content(await eu.say("import-confirmation", slow), ImportConfirmation)
    await play.does(eu, f"has opened the parcel: {weight(confirmed.found.carats)}, as notified. It confirms.")
    await play.agree(slow, State.CONFIRMED, bw, eu)
    for desk in play.desks:
        await play.lists(desk)
    await play.turn(45, "08:15", GABORONE)
    row = await bw.known(never)
    expiry = next(each for each in row.case["matters"] if each["kind"] == "expiry")
    await play.does(bw, f"opens {never}: “{expiry['text']}”")
    await bw.say("cancellation", never, {"/reason": "not_shipped"})
    await play.does(bw, f"asks its exporter, who never sent the parcel, and cancels {never}.")
    await play.agree(never, State.CANCELLED, bw, ae)
    await play.emptied()


def _counted(play: Play) -> str:
    """How Antwerp counts its days from today, as Gaborone knows it from Antwerp's key record."""
    today, practice = play.stage.clock().date(), play.gaborone.node.practice
    until = practice.due("EU/antwerp", "confirmation", today)
    holidays = [each for each in practice.of("EU/antwerp").calendar.holidays if today < each <= until]
    off = f", not counting {' and '.join(map(day, holidays))}, a holiday" if holidays else ""
    return f" (10 working days{off}.)"


async def _remind(play: Play) -> list[int]:
    """An officer sends the reminders that the node has prepared; their levels, as the partners have them."""
    bw, levels = play.gaborone, []
    for draft in await bw.prepared():
        for document_id in await bw.release(draft.seq, bw.place.officer):
            recipient = next(d for d in play.desks if d.node.address == draft.recipient)
            levels.append((await recipient.content(document_id, ConfirmationRequest)).level)
    if not levels or len(set(levels)) != 1:
        raise BrokenOffError(f"reminders of one level should have been prepared, not {levels}")
    return levels


SCENES: Final[Sequence[tuple[str, Scene]]] = (
    ("A parcel weighs less than was notified", reweighed),
    ("A cancellation crosses a confirmation", crossed),
    ("A number that nobody has issued", counterfeit),
    ("A box of blank certificates is stolen", stolen),
    ("The confirmation does not come", overdue),
)
