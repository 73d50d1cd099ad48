"""The commands about certificate numbers: `ask` an issuer about one, `alert` partners to some, account for our own with `numbers`.

What an issuer's answer means for the parcel on the table is said in plain words; what it rests on (KPCS Section II(d)) is decided by
the issuer's node.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from kpmsg.cli.edge import (
    BROKEN_RULE,
    DONE,
    NODE_AWAY,
    REFUSED,
    Json,
    agreed,
    fail,
    language,
    moment,
    new_id,
    tell,
    write,
)
from kpmsg.cli.node import Ca, KeyFile, Number, Plaintext, Url, Yes, at_node, problems_in

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kpmsg.client import NodeClient
    from kpmsg.client.desk import Reply

EVERYBODY: Final = "everybody"
_ADVICE: Final[Mapping[str, str]] = {
    "matches": "{who} issued this number, and all that you have shown agrees.",
    "differs": "{who} issued this number, but not with what you have shown: {differing}. Do not accept it as it is; ask.",
    "unknown": "{who} NEVER ISSUED THIS NUMBER. Treat it as a counterfeit: secure the goods, and report.",
    "void": "{who} says that this certificate is void. Do not accept it.",
    "replaced": "{who} says that this certificate was replaced by {replaced_by}. Do not accept it.",
    "lost": "{who} has reported this certificate as lost. Do not accept it.",
    "stolen": "{who} has reported this certificate as STOLEN. Secure the goods, and report.",
    "not_this_office": "{who} has not issued this number, but another office of the same Participant may have. Ask there.",
    "issued_to_another": "{who} issued this number for a shipment to somebody else. Do not accept it.",
}


def ask(
    number: Number,
    to: Annotated[str, typer.Option(metavar="ADDRESS", help="The issuer, e.g. BW.")],
    url: Url,
    carats: Annotated[str | None, typer.Option(help="What the paper says, e.g. 149.50.")] = None,
    parcels: Annotated[str | None, typer.Option(help="What the paper says.")] = None,
    issued: Annotated[
        str | None, typer.Option(metavar="DATE", help="The date of issue, e.g. 2026-03-02.")
    ] = None,
    exporter: Annotated[str | None, typer.Option(help="The exporter's name on the paper.")] = None,
    because: Annotated[str | None, typer.Option(metavar="TEXT", help="Why you ask.")] = None,
    technical: Annotated[bool, typer.Option("--technical", help="It is a technical certificate.")] = False,
    wait: Annotated[int, typer.Option(min=0, max=600, help="Seconds to wait for the answer.")] = 30,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Ask the issuer whether it issued this number, and whether what you show of it agrees. It answers by itself.

    Exit status 0: all agrees; 1: do not accept it; 3: the question breaks a rule; 4: there is no answer yet, run the same again later.
    """
    from kpmsg.case.filling import WishError, wishes

    shown = {
        "carats": carats,
        "parcels": parcels,
        "date_of_issue": issued,
        "exporter": exporter,
        "reason": because,
    }
    given = [f"/{name}={value}" for name, value in shown.items() if value is not None]
    try:
        facts = {place[1:]: value for place, value in wishes("certificate-query", given).items()}
    except WishError as error:
        fail(str(error))
    kind = "technical" if technical else "kp"
    certificate = {"number_raw": number.strip(), "issuer": to[:2], "kind": kind}
    draft = {"type": "certificate-query", "recipient": to, "data": {"certificate": certificate} | facts}
    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        _must_be_sound(node, draft, as_json=as_json)
        reply = _answered(node, draft, number, wait)
    finding = reply.data.get("finding") if reply is not None else None
    members = {"draft": draft, "answer": None if reply is None else reply.document}
    tell(_plainly(reply, to, bare=not facts.keys() - {"reason"}), members, as_json)
    if reply is None:
        raise typer.Exit(NODE_AWAY)
    raise typer.Exit(DONE if finding == "matches" else REFUSED)


def _answered(node: NodeClient, draft: Mapping[str, Any], number: str, wait: int) -> Reply | None:
    """The answer to our question. One of today that waits for its answer is not asked again; one that was answered is asked anew."""
    body = json.dumps(draft).encode()
    done = node.submit(body, idempotency_key=f"ask-{moment():%Y%m%d}-{_digest(body)}")
    if done.replayed and node.reply_to(done.ids[0], number) is not None:
        done = node.submit(body, idempotency_key=str(new_id()))
    return node.reply_to(done.ids[0], number, wait=wait)


def _digest(body: bytes) -> str:
    from hashlib import sha256

    return sha256(body).hexdigest()


def _plainly(reply: Reply | None, to: str, *, bare: bool) -> Iterable[RenderableType]:
    from rich.text import Text

    from kpmsg.essence import spoken
    from kpmsg.wording import readable, who

    name = who(to)
    if reply is None:
        yield Text(f"{name} has not answered yet. Run the same command again later.", "yellow")
        return
    finding = str(reply.data.get("finding"))
    if finding not in _ADVICE:
        yield Text(f"{name} could not answer:", "yellow")
        for reason in reply.data.get("reasons", ()):
            yield Text(f"  {readable(str(reason.get('text')))} ({readable(str(reason.get('code')))})")
        return
    differing = ", ".join(spoken(str(each)) for each in reply.data.get("differing", ()))
    replaced_by = readable(str(reply.data.get("replaced_by")))
    advice = "{who} issued this number. Nothing else was shown, or compared." if bare else _ADVICE["matches"]
    text = (advice if finding == "matches" else _ADVICE[finding]).format(
        who=name, differing=differing, replaced_by=replaced_by
    )
    yield Text(text, "green" if finding == "matches" else "bold red")
    if reply.data.get("remarks"):
        yield Text(f"They add: {readable(str(reply.data['remarks']))}")


def alert(
    because: Annotated[str, typer.Option(metavar="TEXT", help="What has happened.")],
    url: Url,
    kind: Annotated[
        Literal["lost", "stolen", "forged", "void", "used_twice"] | None,
        typer.Option(help="What is wrong with them."),
    ] = None,
    numbers: Annotated[
        list[str] | None,
        typer.Option(metavar="RANGE", help='"BW 000100-BW 000199", or a single number; may be repeated.'),
    ] = None,
    withdraw: Annotated[
        str | None,
        typer.Option(
            metavar="DOCUMENT", help="End this alert of ours instead, at everybody whom it has told."
        ),
    ] = None,
    to: Annotated[str, typer.Option(metavar="ADDRESS", help="One partner, or everybody.")] = EVERYBODY,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Valid from then on; else from today.")
    ] = None,
    contact: Annotated[str | None, typer.Option(help="Whom to call who meets one of them.")] = None,
    yes: Yes = False,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Prepare an alert about numbers of our own, or the end of one. A second person releases it: kpmsg release."""
    from rich.text import Text

    from kpmsg.cli.terminal_drafts import proposal

    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        about: Mapping[str, Any] | None = None
        if withdraw is not None:
            if kind or numbers or since or contact:
                fail("--withdraw ends an alert as it is: give only --because beside it")
            about = node.document(withdraw)
            draft = _end(about, because, to)
        elif kind is None or not numbers:
            fail("give --kind and --numbers, or --withdraw with the alert that is to end")
        else:
            draft = _alert(kind, numbers, because, to, since, contact)
        _must_be_sound(node, draft, as_json=as_json)
        if not as_json:
            tell(proposal(draft, {}, "", about), {}, False)
        if not agreed("Put it before a second person?", yes=yes):
            write("Nothing was prepared.\n", sys.stderr)
            raise typer.Exit(REFUSED)
        prepared = node.prepare(draft)
    said = Text(f"Draft {prepared['id']} waits for a second person: kpmsg release {prepared['id']}", "green")
    tell([said], prepared, as_json)


def _end(alert: Mapping[str, Any], because: str, to: str) -> dict[str, Any]:
    """The withdrawal of an alert, under the certificate that it was filed under, if any."""
    everybody, partner = to in {EVERYBODY, "*"}, alert.get("partner")
    if alert.get("type") != "org.kimberley.alert.v1":
        fail("this is no alert: name one of ours by the id of its document")
    if not everybody and to != partner:
        fail(f"this alert went to {partner}: withdraw it there, or at everybody whom it has told")
    subject = (alert.get("document") or {}).get("subject")
    data = {"withdraws": alert.get("id"), "reason": because}
    draft = {"type": "withdrawal", "recipient": "*" if everybody else to, "data": data}
    return draft if subject is None else draft | {"subject": subject}


def _alert(
    kind: str, numbers: Sequence[str], because: str, to: str, since: str | None, contact: str | None
) -> dict[str, Any]:
    from kpmsg.case.filling import WishError, number_range
    from kpmsg.documents import certificate_key
    from kpmsg.documents.participants import participants

    try:
        ranges = [number_range(each) for each in numbers]
    except WishError as error:
        fail(str(error))
    letters = certificate_key(ranges[0]["first"])[:2]
    issuer = next((code for code, each in participants().items() if letters in each.prefixes), letters)
    data = {
        "issuer": issuer,
        "kind": kind,
        "numbers": ranges,
        "valid_from": since or moment().date().isoformat(),
        "description": because,
    } | ({} if contact is None else {"contact": contact})
    return {"type": "alert", "recipient": "*" if to in {EVERYBODY, "*"} else to, "data": data}


def numbers(
    url: Url,
    series: Annotated[
        str | None,
        typer.Argument(metavar="SERIES", help="E.g. BW/6: letters, and how many digits follow; else all."),
    ] = None,
    void: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER", help="Record first that this blank is spoilt: it was not used, and will not be."
        ),
    ] = None,
    because: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; it is kept with what is recorded.")
    ] = None,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Account for our own certificate numbers: used, voided, issued, lost, never used.

    With --void a spoilt blank is recorded. It stays with us: a certificate that was notified is cancelled instead (kpmsg say cancellation).
    """
    from kpmsg.cli.terminal_desk import account

    if series is not None and "/" not in series:
        fail("write a series as its letters, a stroke, and how many digits follow: BW/6")
    if because is not None and not void:
        fail("--because says why a number is void; give it with --void NUMBER")
    note = {} if because is None else {"note": because}
    facts = [{"number": number, "status": "void"} | note for number in void or ()]
    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        if facts:
            node.record_numbers(facts)
        found = node.numbers(series)
    tell(account(found), found, as_json)


def _must_be_sound(node: NodeClient, draft: Mapping[str, Any], *, as_json: bool) -> None:
    """Say what is wrong with a draft before anything is done; ends the program if a rule is broken."""
    from rich.text import Text

    from kpmsg.cli.terminal import broken

    tried = node.try_out(draft)
    problems = problems_in(tried["problems"])
    refused = tried.get("verdict") == "refused"
    if problems and (refused or not as_json):
        parts: list[RenderableType] = [*broken(problems, language(None))]
        parts += [Text("Nothing was said.", "red")] if refused else []
        tell(parts, {"draft": dict(draft), "problems": tried["problems"]}, as_json, sys.stderr)
    if refused:
        raise typer.Exit(BROKEN_RULE)
