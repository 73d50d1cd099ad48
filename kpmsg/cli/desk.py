"""What a clerk and an inspector do at their desk, without writing JSON: look what waits, look a certificate up, say the next thing.

    todo     what waits for us, or for partners        show     a certificate: where it stands, and what was said
    draft    the next document, filled in, to a file   say      the same, looked at, agreed to and sent

The node fills documents in from the case and says what is wrong with them; here they are changed as the clerk writes (`kpmsg.case.filling`), shown
(`kpmsg.cli.terminal_desk`) and handed over.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer

from kpmsg.cli.edge import (
    BROKEN_RULE,
    DONE,
    REFUSED,
    Json,
    agreed,
    fail,
    keep,
    language,
    moment,
    new_id,
    tell,
    write,
)
from kpmsg.cli.files import uploaded
from kpmsg.cli.node import (
    Ca,
    KeyFile,
    Number,
    Officer,
    Plaintext,
    Url,
    Wait,
    Yes,
    at_node,
    problems_in,
    taken_back,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kpmsg.case.filling import Tolerance
    from kpmsg.client import NodeClient
    from kpmsg.errors import Problem

Type = Annotated[
    str,
    typer.Argument(
        metavar="TYPE", help="E.g. import-confirmation, or as much of it as is needed: import, arrival."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="/PLACE=VALUE", help="What the document says there, e.g. /found/carats=12.40."
    ),
]
Drop = Annotated[
    list[str] | None, typer.Option("--drop", metavar="/PLACE", help="What the document does not say.")
]
Attach = Annotated[
    list[str] | None, typer.Option("--attach", metavar="FILE", help="A file that goes with it.")
]


_MOST_DRAFTS: Final = 100
"""So many are counted: nobody reads the number of more."""


def todo(
    url: Url,
    them: Annotated[bool, typer.Option("--them", help="What waits for partners, and not for us.")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what was due before today.")] = False,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only this, e.g. confirmation, query, dispute.")
    ] = None,
    partner: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only with this authority.")] = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="So many certificates.")] = 40,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """List what waits for us, the most urgent first; and how many drafts wait, if there are any."""
    from itertools import islice

    from kpmsg.case.matters import Kind
    from kpmsg.cli.terminal_desk import worklist

    if kind is not None and kind not in get_args(Kind):
        fail(f"there is no such kind; there is: {', '.join(get_args(Kind))}")
    side = "them" if them else "us"
    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        work = _fitting(node.work(side, overdue=overdue, partner=partner), side, kind, overdue=overdue)
        found = list(islice(work, most + 1))
        whole = side == "us" and kind is None and partner is None and not overdue
        drafts = sum(1 for _ in islice(node.drafts(), _MOST_DRAFTS)) if whole else 0
    rows, more = found[:most], len(found) > most
    members = {"waiting_for": side, "certificates": rows, "more": more} | (
        {"drafts": drafts} if whole else {}
    )
    tell(worklist(rows, side, moment().date(), more=more, drafts=drafts), members, as_json)


def _fitting(
    work: Iterable[dict[str, Any]], side: str, kind: str | None, *, overdue: bool
) -> Iterator[dict[str, Any]]:
    """The certificates with those of their matters that were asked for.

    The node looks at the most urgent matter of a certificate only, be it that of the other side; here every one counts.
    """
    for each in work:
        matters = [
            matter
            for matter in each.get("matters", ())
            if matter.get("waiting_for") in {side, "both"}
            and kind in {None, matter.get("kind")}
            and (not overdue or matter.get("days_overdue"))
        ]
        if matters or (each.get("locked") and kind is None):
            yield each | {"matters": matters}


def show(
    number: Number,
    url: Url,
    ids: Annotated[bool, typer.Option("--ids", help="With the id of every document.")] = False,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Show where a certificate stands, whose turn it is, and what was said about it."""
    from kpmsg.cli.terminal_desk import certificate

    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        found = node.certificate(number)
    tell(certificate(found, moment().date(), ids=ids), found, as_json)


def draft(
    kind: Type,
    number: Number,
    url: Url,
    setting: Set = None,
    drop: Drop = None,
    attach: Attach = None,
    out: Annotated[Path | None, typer.Option(help="A new file for it; else it is printed.")] = None,
    officer: Officer = None,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Fill in the next document about a certificate, to look at and to change. Nothing is sent.

    What is wrong with it as it stands is told on standard error. `kpmsg submit FILE` sends it.
    """
    from kpmsg.cli.terminal import broken
    from kpmsg.wording import plain_json

    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        written, _ = _written(node, kind, number, setting or (), drop or (), attach or (), officer)
        told = node.try_out(written)["problems"]
    text = f"{plain_json(written)}\n"
    if out is not None:
        keep(out, text.encode())
    if as_json:
        tell((), {"draft": written, "problems": told}, as_json)
        return
    if out is None:
        write(text)
    tell(broken(problems_in(told), language(None)), {}, as_json, sys.stderr)


def say(
    kind: Type,
    number: Number,
    url: Url,
    setting: Set = None,
    drop: Drop = None,
    attach: Attach = None,
    officer: Officer = None,
    wait: Wait = 5,
    yes: Yes = False,
    again: Annotated[
        bool, typer.Option("--again", help="Exactly this was said before, and shall be said once more.")
    ] = False,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Say the next thing about a certificate: filled in from its case, checked, shown, agreed to, signed and sent.

    Where two people must agree, it waits as a draft for another person, who releases it. Exit status 1: you did not agree; 3: a rule
    is broken, and nothing was said.
    """
    from kpmsg.cli.terminal_drafts import proposal

    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        written, changes = _written(node, kind, number, setting or (), drop or (), attach or (), officer)
        tried = node.try_out(written)
        problems = problems_in(tried["problems"])
        members = {"draft": written, "verdict": tried.get("verdict"), "problems": tried["problems"]}
        if tried.get("verdict") == "refused":
            tell(_unsaid(proposal(written, changes, number), problems), members, as_json, sys.stderr)
            raise typer.Exit(BROKEN_RULE)
        two = tried.get("release_needed") is True
        if not as_json:
            about = taken_back(node, written)
            tell(_proposed(proposal(written, changes, number, about), problems, two=two), {}, False)
        question = "Put it before a second person?" if two else "Sign and send it?"
        if not agreed(question, yes=yes):
            write("Nothing was said.\n", sys.stderr)
            raise typer.Exit(REFUSED)
        key = str(new_id()) if again else None
        if two:
            prepared = node.prepare(written, idempotency_key=key)
            tell(_put_before(prepared), members | {"prepared": prepared}, as_json)
        else:
            done = node.submit(json.dumps(written).encode(), idempotency_key=key, wait=wait)
            told = {"documents": list(done.documents), "replayed": done.replayed}
            tell(_spoken(done.documents, replayed=done.replayed), members | told, as_json)
    raise typer.Exit(DONE)


# -- filling in --------------------------------------------------------------------------------------------------------


def _written(
    node: NodeClient,
    kind: str,
    number: str,
    settings: Iterable[str],
    drops: Iterable[str],
    files: Iterable[str],
    officer: str | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The draft with what the clerk has written into it; and that, by places. Ends the program if it cannot be read."""
    from kpmsg.case.filling import WishError, changed, followed, type_of, wishes
    from kpmsg.case.prefill import FROM_A_CASE

    try:
        name = type_of(kind, FROM_A_CASE)
        wished = wishes(name, settings, drops)
        found = node.fill_in(name, number, officer=officer)
        changes = followed(found["draft"], wished, _tolerance(found.get("tolerance")))
        written = changed(found["draft"], changes)
        for attachment in uploaded(node, files):
            place = "/content/attachments/-" if "content" in written["data"] else "/attachments/-"
            written = changed(written, {place: attachment})
    except WishError as error:
        fail(str(error))
    except LookupError as error:
        fail(f"the draft has no place {error.args[0] if error.args else ''}")
    return written, changes


def _tolerance(told: object) -> Tolerance:
    from decimal import Decimal

    from kpmsg.case.filling import Tolerance

    members = told if isinstance(told, Mapping) else {}
    try:
        return Tolerance(
            **{name: Decimal(str(members.get(name, 0))) for name in ("carats", "carats_share", "value_share")}
        )
    except ArithmeticError:
        return Tolerance()


# -- what is told ------------------------------------------------------------------------------------------------------


def _proposed(
    parts: Iterable[RenderableType], problems: list[Problem], *, two: bool
) -> Iterable[RenderableType]:
    from rich.text import Text

    from kpmsg.cli.terminal import broken

    yield from parts
    yield from broken(problems, language(None))
    if two:
        yield Text("A second person must release this.", "yellow")


def _unsaid(parts: Iterable[RenderableType], problems: list[Problem]) -> Iterable[RenderableType]:
    from rich.text import Text

    from kpmsg.cli.terminal import broken

    yield from parts
    yield from broken(problems, language(None))
    yield Text("Nothing was said. Give what is missing with --set /PLACE=VALUE.", "red")


def _spoken(documents: Iterable[Mapping[str, Any]], *, replayed: bool) -> Iterable[RenderableType]:
    from rich.text import Text

    from kpmsg.wording import readable

    if replayed:
        yield Text(
            "Exactly this was said before; nothing was done twice (--again says it once more).", "yellow"
        )
    for document in documents:
        delivery = document.get("delivery") or {}
        partner, sentence = readable(str(document.get("partner"))), readable(str(delivery.get("sentence")))
        if delivery.get("state") == "received":
            yield Text(f"Said. {partner} has signed for it.", "green")
        else:
            yield Text(f"Said: signed, and kept here until {partner} has it. {sentence}", "green")


def _put_before(prepared: Mapping[str, Any]) -> Iterable[RenderableType]:
    from rich.text import Text

    number = prepared.get("id")
    yield Text(f"Draft {number} waits for a second person: kpmsg release {number}", "green")
