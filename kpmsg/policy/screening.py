"""The rules that a document cannot be judged by alone: they need somebody's policy, or the hour of its receipt.

`screen` runs twice with the same code: at the author's node before anything is signed (there `received` is None), and at the recipient's
when it has come. Whatever refuses a document (`reject`) therefore rests on what is printed or *published*, so that the author
could have tested it; the one exception, a document dated a day ahead (S06), is a matter of clocks. What only the recipient knows,
its local policy, makes a document wait for an officer at the most. Status and embargoes are those of the date of issue.

Not decided here: what a document breaks by itself (its class does), what it means beside the others of its
certificate (`kpmsg.case`). Neither clock nor network. Rules P9 and P10 of protocol/policy.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from kpmsg.documents.confirmation_correction import ConfirmationCorrection
from kpmsg.documents.envelope import Document
from kpmsg.documents.export_amendment import ExportAmendment
from kpmsg.documents.export_notification import ExportNotification
from kpmsg.documents.import_confirmation import ImportConfirmation
from kpmsg.documents.participants import participants
from kpmsg.documents.particulars import MixedList, MixedUndisclosed, ShipmentLine, SingleOrigin
from kpmsg.documents.rejection import Rejection
from kpmsg.errors import Problem
from kpmsg.policy import DEFAULT, Embargo, Policy, Practice
from kpmsg.policy.calendar import ONE_DAY, in_force
from kpmsg.rules import breach

AHEAD: Final = timedelta(minutes=5)
"""By so much the clocks of two authorities may disagree (K8)."""
FAR_AHEAD: Final = timedelta(hours=24)
OLD: Final = timedelta(days=30)


def screen(document: Document, practice: Practice, *, received: datetime | None) -> list[Problem]:
    """Every rule of policy and of time that `document` breaks; empty is well.

    `received`: the aware time at which it reached the node of `practice.me`; None at its author, before it is signed.
    Pointers lead into the document; of amendments and corrections, into /data/content.
    """
    data = document.data
    if data is None or isinstance(data, Rejection):  # an answer is never answered
        return []
    problems = [*_testing_problems(document, practice)]
    problems += [] if received is None else _delay_problems(document, practice, received)
    match data:
        case ExportNotification():
            problems += _shipment_problems(document, data, practice, received, "/data")
        case ExportAmendment():
            problems += _shipment_problems(document, data.content, practice, received, "/data/content")
        case ImportConfirmation():
            problems += _confirmer_problems(document, data, practice, "/data")
        case ConfirmationCorrection():
            problems += _confirmer_problems(document, data.content, practice, "/data/content")
        case _:
            pass
    return problems


def arrived_out_of_time(notification: ExportNotification, arrived: date, pointer: str) -> Problem | None:
    """C07 for goods: presented on a day after the certificate's last one; T02: before its first, wherever on earth that was.

    To be asked where both documents are known. `pointer` names the date of arrival in the document that tells of it. Never a
    reason to drop it: the parcel is there.
    """
    issue, expiry = notification.date_of_issue, notification.date_of_expiry
    if arrived < issue - ONE_DAY:
        return breach("T02", "before-issue", pointer, issue=issue, arrived=arrived)
    return breach("C07", "arrival", pointer, expiry=expiry, arrived=arrived) if arrived > expiry else None


def notified_late(document: Document, arrived: date) -> Problem | None:
    """T01 for a notification whose goods had been presented before it was written: it cannot have told anybody of their coming."""
    if document.time.date() <= arrived + ONE_DAY:
        return None
    return breach("T01", "arrived", "/time", arrived=arrived)


def expired(date_of_expiry: date, at: datetime) -> bool:
    """Whether a certificate has expired at an instant: it is valid until 24:00 GMT of its last day."""
    return at >= datetime.combine(date_of_expiry + ONE_DAY, time(), UTC)


# --- test and real ---------------------------------------------------------------------------------------------------------


def _testing_problems(document: Document, practice: Practice) -> Iterator[Problem]:
    """S08. That its author's own key record says the same has been seen when it was opened."""
    testing = practice.testing(document.recipient)
    if testing is not None and bool(document.testing) != testing:
        yield breach("S08", "test" if document.testing else "real", "/testing", recipient=document.recipient)


# --- time ----------------------------------------------------------------------------------------------------------------


def _delay_problems(document: Document, practice: Practice, received: datetime) -> Iterator[Problem]:
    ahead = document.time - received
    how = "future" if ahead > FAR_AHEAD else "ahead" if ahead > AHEAD else "old" if -ahead > OLD else None
    if how is not None:
        written, came = (f"{each.astimezone(UTC):%Y-%m-%d %H:%M}" for each in (document.time, received))
        yield breach("S06", how, "/time", written=written, received=came)
    day = received.astimezone(UTC).date()
    delay = (
        (in_force(practice.local.delays, day) if practice.me == document.recipient else None)
        or in_force(practice.of(document.recipient).delays, day)
        or DEFAULT.delays[0]
    )
    if -ahead > timedelta(days=delay.days):
        yield breach("T03", "late", "/time", days=(-ahead).days, most=delay.days)


# --- shipments -------------------------------------------------------------------------------------------------------------


def _shipment_problems(
    document: Document, content: ExportNotification, practice: Practice, received: datetime | None, at: str
) -> Iterator[Problem]:
    yield from _standing_problems(document, content.date_of_issue, practice)
    yield from _number_problems(document, content, practice, at)
    validity = (
        in_force(practice.of(document.source).validity_days, content.date_of_issue)
        or DEFAULT.validity_days[0]
    )
    days = (content.date_of_expiry - content.date_of_issue).days
    if days > validity.days:
        yield breach("C06", "long", f"{at}/date_of_expiry", days=days, most=validity.days)
    if expired(content.date_of_expiry, received or document.time):
        yield breach("C07", "notification", f"{at}/date_of_expiry", expiry=content.date_of_expiry)
    laws = [practice.of(document.source), practice.of(document.recipient), practice.local]
    embargoes = [each for law in laws for each in law.embargoes if each.holds(content.date_of_issue)]
    regimes = {
        code
        for law in laws
        for each in law.regimes
        if each.holds(content.date_of_issue)
        for code in each.origins
    }
    priced = [law for law in laws if law.price_bands]
    single = _single_origin_from(document, content.date_of_issue, practice)
    if not (embargoes or regimes or priced or single is not None):
        return
    for n, line in enumerate(content.lines):
        place = f"{at}/lines/{n}"
        yield from _embargo_problems(line, embargoes, f"{place}/origin")
        needy = sorted(regimes.intersection(_mined_in(line)))
        if needy and content.special_regime is None and line.origin.zone is None:
            yield breach("P03", "missing", f"{at}/special_regime", origin=needy[0])
        if single is not None and not isinstance(line.origin, SingleOrigin) and line.carats >= single:
            yield breach(
                "F10",
                "mixed",
                f"{place}/origin",
                carats=line.carats,
                least=single,
                importer=document.recipient,
            )
        yield from _price_problems(line, content.date_of_issue, priced, f"{place}/value_usd")


def _standing_problems(document: Document, day: date, practice: Practice) -> Iterator[Problem]:
    """P01, P02, P04. A Participant is judged by what its partner has published of it, never by what it says of itself."""
    sender, destination = document.source[:2], document.recipient[:2]
    if sender == destination:  # within one Participant (CN) there is nothing to judge
        by_recipient = by_sender = None
    else:
        by_recipient = practice.standing(sender, day, by=practice.of(document.recipient))
        by_sender = practice.standing(destination, day, by=practice.of(document.source))
    for code, told, pointer, whose in (
        (sender, by_recipient, "/source", "sender"),
        (destination, by_sender, "/recipient", "destination"),
    ):
        if told is None and code not in participants():
            yield breach("P01", whose, pointer, participant=code)
        elif told is not None and told.standing == "withdrawn":
            yield breach("P01", f"{whose}-left", pointer, participant=code, day=day)
    if by_recipient is not None and by_recipient.standing == "suspended":
        yield breach("P02", "published", "/source", participant=sender, day=day, by=document.recipient)
    if sender == destination:
        return
    if practice.me == document.recipient:
        locally = practice.standing(sender, day, by=practice.local)
        if locally is not None and locally.standing != "participant":
            yield breach("P02", "local", "/source", participant=sender, day=day)
    if practice.me == document.source:
        for mine in (by_sender, practice.standing(destination, day, by=practice.local)):
            if mine is not None and mine.standing != "participant":
                yield breach("P04", "blocked", "/recipient", participant=destination, day=day)
                return


def _number_problems(
    document: Document, content: ExportNotification, practice: Practice, at: str
) -> Iterator[Problem]:
    certificate = content.certificate
    issuer = document.source if certificate.issuer == document.source[:2] else certificate.issuer
    series = practice.series(issuer, content.date_of_issue, certificate.kind)
    pointer = f"{at}/certificate/number_raw"
    numbers = [(each, number) for each in series if (number := each.number(certificate.key)) is not None]
    if series and not numbers:
        forms = ", ".join(sorted({each.form for each in series}))
        yield breach("C02", "form", pointer, number=certificate.key, forms=forms)
    elif numbers and not any(each.allots(number) for each, number in numbers):
        yield breach("C03", "range", pointer, number=certificate.key)


def _mined_in(line: ShipmentLine) -> tuple[str, ...]:
    match line.origin:
        case SingleOrigin(country=country):
            return (country,)
        case MixedList(countries=countries):
            return countries
        case MixedUndisclosed():
            return ()


def _embargo_problems(line: ShipmentLine, embargoes: list[Embargo], pointer: str) -> Iterator[Problem]:
    """F09. An embargo on a zone also holds what comes from that country and does not say from which zone."""
    if embargoes and isinstance(line.origin, MixedUndisclosed):
        # Or an embargo would be evaded by saying nothing.
        yield breach("F09", "undisclosed", pointer, origin=min(embargoes[0].origins))
        return
    zone = line.origin.zone
    told: set[str] = set()
    for embargo in embargoes:
        for origin in _mined_in(line):
            if origin not in embargo.origins or origin in told:
                continue
            if embargo.zone is not None and zone is None:
                yield breach("F09", "zone", pointer, origin=origin, zone=embargo.zone)
            elif embargo.zone is None or (zone or "").casefold() == embargo.zone.casefold():
                yield breach("F09", "embargo", pointer, origin=origin)
            else:
                continue
            told.add(origin)


def _single_origin_from(document: Document, day: date, practice: Practice) -> Decimal | None:
    """The weight from which on the law at the destination wants a single origin; the strictest that is known."""
    laws: list[Policy] = [practice.of(document.recipient)]
    if practice.me == document.recipient:
        laws.append(practice.local)
    found = [demand.from_carats for law in laws if (demand := in_force(law.single_origin, day)) is not None]
    return min(found, default=None)


def _price_problems(line: ShipmentLine, day: date, laws: list[Policy], pointer: str) -> Iterator[Problem]:
    """F12, told once: a band for the line's own HS code goes before one for all codes."""
    price = line.value_usd / line.carats if line.carats else None
    for law in laws:
        band = in_force((each for each in law.price_bands if each.hs == line.hs), day)
        band = band or in_force((each for each in law.price_bands if each.hs is None), day)
        if price is not None and band is not None and not band.least <= price <= band.most:
            yield breach("F12", "band", pointer, price=f"{price:.2f}", least=band.least, most=band.most)
            return


# --- confirmations -----------------------------------------------------------------------------------------------------------


def _confirmer_problems(
    document: Document, content: ImportConfirmation, practice: Practice, at: str
) -> Iterator[Problem]:
    day = content.date_of_receipt or document.time.date()
    confirmer = in_force(practice.of(document.source).confirmers, day)
    if confirmer is not None and confirmer.role == "importing_authority" != content.confirmed_by.role:
        yield breach("I10", "importer", f"{at}/confirmed_by/role", authority=document.source)
