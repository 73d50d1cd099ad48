"""The commands about drafts that wait at the node: `drafts` lists them, `release` signs and sends them, `discard` closes one.

Whether one person may release what another has written is decided by the node. Here what is going to be said is shown first, and released
only as it was shown: a draft that changes in between is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kpmsg.cli.edge import BROKEN_RULE, DONE, REFUSED, Json, agreed, fail, language, tell, write
from kpmsg.cli.node import Ca, KeyFile, Plaintext, Url, Wait, Yes, at_node, problems_in, refused, taken_back

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kpmsg.client import NodeClient
    from kpmsg.errors import ClientError

_MOST = 500
"""So many the node releases at once."""


def drafts(
    url: Url,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="So many.")] = 40,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """List the drafts that wait for somebody to release them, newest first."""
    from itertools import islice

    from kpmsg.cli.terminal_drafts import drafts as shown

    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        found = list(islice(node.drafts(), most))
    tell(shown(found), {"drafts": found}, as_json)


def release(
    url: Url,
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="ID", min=1, help="Numbers of drafts.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that you may release and that break no rule.")
    ] = False,
    wait: Wait = 5,
    yes: Yes = False,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Sign and send drafts: all that are named, or none. They are shown first.

    Exit status 1: you did not agree; 3: a rule is broken; 5: where two people must agree, nobody releases what he has written in.
    """
    if bool(numbers) is everything:
        fail("name the drafts by their numbers, or give --all")
    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        wanted = list(dict.fromkeys(numbers or ())) or [each["id"] for each in node.drafts()][:_MOST]
        found = [node.draft(number) for number in wanted]
        spoilt = [each for each in found if each.get("verdict") == "refused"]
        if everything:
            found = [each for each in found if each not in spoilt]
        if not as_json:
            read = found if everything else spoilt or found
            tell(_read_out([(each, taken_back(node, each["draft"])) for each in read], spoilt), {}, False)
        if spoilt and not everything:
            _broken(spoilt, as_json=as_json)
        if not found:
            tell(_nothing(), {"documents": [], "drafts": []}, as_json)
            raise typer.Exit(DONE)
        if not agreed(f"Sign and send {'it' if len(found) == 1 else f'all {len(found)}'}?", yes=yes):
            write("Nothing was released.\n", sys.stderr)
            raise typer.Exit(REFUSED)
        done, own = _released(node, found, wait=wait, without_own=everything, as_json=as_json)
    left = {"not_released": {"own": own, "broken": [each["id"] for each in spoilt]}}
    tell(_said(done, own), done | left, as_json)


def discard(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, help="Number of the draft.")],
    because: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with the draft.")],
    url: Url,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Close a draft that shall not be said."""
    from rich.text import Text

    with at_node(url, key_file, ca, plaintext=insecure_plaintext, as_json=as_json) as node:
        closed = node.discard(number, because)
    tell([Text(f"Draft {number} is discarded.")], closed, as_json)


def _released(
    node: NodeClient, found: Sequence[dict[str, Any]], *, wait: int, without_own: bool, as_json: bool
) -> tuple[dict[str, Any], list[int]]:
    """What was released, and the numbers of the drafts that were left because whoever calls has written in them."""
    from kpmsg.errors import ClientError

    try:
        return node.release(found, wait=wait), []
    except ClientError as error:
        own = _own(error, len(found)) if without_own else set()
        if not own:
            raise
        rest = [each for place, each in enumerate(found) if place not in own]
        if not rest:
            refused(error, as_json=as_json)
        return node.release(rest, wait=wait), [found[place]["id"] for place in sorted(own)]


def _own(error: ClientError, count: int) -> set[int]:
    """The places of the drafts that another person must release."""
    if error.code != "same-person":
        return set()
    matches = [re.fullmatch(r"/drafts/([0-9]{1,3})", problem.pointer or "") for problem in error.problems]
    return {int(match[1]) for match in matches if match is not None and int(match[1]) < count}


def _broken(spoilt: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    from rich.text import Text

    members = {
        "drafts": [{"id": each.get("id"), "problems": each.get("problems", [])} for each in spoilt],
        "documents": [],
    }
    tell([Text("Nothing was released: a rule is broken.", "red")], members, as_json, sys.stderr)
    raise typer.Exit(BROKEN_RULE)


def _read_out(
    found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]], spoilt: Sequence[Mapping[str, Any]]
) -> Iterable[RenderableType]:
    """Drafts, each with the document that it takes back; and those of `spoilt` that are not among them."""
    from rich.text import Text

    from kpmsg.cli.terminal import broken
    from kpmsg.cli.terminal_drafts import draft_line

    for each, about in found:
        yield from draft_line(each, about)
        yield from broken(problems_in(each.get("problems", ())), language(None))
    shown = [each.get("id") for each, _ in found]
    left = [str(each.get("id")) for each in spoilt if each.get("id") not in shown]
    if left:
        yield Text(f"Left, because they break a rule: {', '.join(left)}", "yellow")


def _nothing() -> Iterable[RenderableType]:
    from rich.text import Text

    yield Text("There is nothing to release.")


def _said(done: Mapping[str, Any], own: Sequence[int]) -> Iterable[RenderableType]:
    from rich.text import Text

    from kpmsg.cli.terminal import table
    from kpmsg.essence import type_in_words
    from kpmsg.wording import readable

    rows = []
    for document in done.get("documents", ()):
        delivery = document.get("delivery") or {}
        about = f" about {document['certificate']}" if document.get("certificate") else ""
        what = f"{type_in_words(document.get('type'))} to {readable(str(document.get('partner')))}{readable(about)}"
        rows.append((readable(str(delivery.get("state"))), what))
    yield Text(f"Released: {len(rows)} document{'' if len(rows) == 1 else 's'}.", "green")
    yield table(rows)
    if own:
        numbers = ", ".join(map(str, own))
        yield Text(
            f"Left, because you have written in them: {numbers}. Another person must release them.", "yellow"
        )
