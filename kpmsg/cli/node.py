"""What the commands that talk to a node have in common: how they are told where it is, and how they end when it refuses.

The node's refusals are told in one way, with what may have been meant if a number is not known, and end the program with the status that
tells whose turn it is. What the commands are about is not known here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from kpmsg.cli.edge import CANNOT_TELL, NODE_AWAY, connect, fail, language, problem_of, status_of, tell

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kpmsg.client import NodeClient
    from kpmsg.errors import ClientError, Problem

Url = Annotated[str, typer.Option(envvar="KPMSG_URL", help="The node, e.g. https://node.example:8443.")]
KeyFile = Annotated[Path | None, typer.Option(help="Its first line is the API key; else KPMSG_KEY is.")]
Ca = Annotated[
    Path | None,
    typer.Option(envvar="KPMSG_CA", help="PEM file of the authority that certifies the node."),
]
Plaintext = Annotated[
    bool, typer.Option("--insecure-plaintext", help="Send the API key over http to another machine.")
]
Officer = Annotated[
    str | None, typer.Option(envvar="KPMSG_OFFICER", help="Your name, for documents that name a person.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Wait = Annotated[int, typer.Option(min=0, max=60, help="Seconds to wait for the partner's receipt.")]
Number = Annotated[str, typer.Argument(metavar="NUMBER", help="Certificate number, however it is written.")]


@contextmanager
def at_node(
    url: str, key_file: Path | None, ca: Path | None, *, plaintext: bool, as_json: bool
) -> Iterator[NodeClient]:
    """The node, while something is asked of it. Ends the program if the call is wrong, or the node refuses."""
    from kpmsg.errors import ClientError

    readable_call()
    with connect(url, key_file, ca, insecure_plaintext=plaintext, tongue=language(None)) as node:
        try:
            yield node
        except ClientError as error:
            refused(error, as_json=as_json)


def readable_call() -> None:
    """Ends the program if what was written on the command line is no text: nothing could be made of it but a mess."""
    try:
        "".join(sys.argv).encode()
    except UnicodeEncodeError:
        fail("what you have written is not UTF-8; what does your terminal send?")


def refused(error: ClientError, *, as_json: bool) -> NoReturn:
    """Say why the node has not done it, and end with the status for that."""
    outcome = CANNOT_TELL if error.code == "not-found" else status_of(error)
    tell(_why(error, later=outcome == NODE_AWAY), {"problem": problem_of(error)}, as_json, sys.stderr)
    raise typer.Exit(outcome)


def _why(error: ClientError, *, later: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    from kpmsg.cli.terminal import broken
    from kpmsg.wording import readable

    again = " Run the same command again later." if later else ""
    yield Text(f"{readable(error.text).rstrip('.')} ({readable(error.code)}).{again}", "red")
    if error.code == "scope-missing":
        yield Text("Somebody whose key has it can do this; the operator knows who.")
    if error.near:
        yield Text("Compare the paper with it letter by letter before you take one for the other.")
    if error.code == "document-invalid":
        yield from broken(places(error.problems), language(None))


def places(problems: Sequence[Problem]) -> list[Problem]:
    """The same with places as people write them after --set: into what the document says, not into its envelope."""
    from dataclasses import replace

    return [
        replace(problem, pointer=problem.pointer.removeprefix("/data"))
        if problem.pointer is not None and problem.pointer.startswith("/data/")
        else problem
        for problem in problems
    ]


def problems_in(found: Any) -> list[Problem]:
    """The problems of a draft, as the node has told them."""
    from kpmsg.client.asking import problem_in

    return places([problem_in(one) for one in found])


def taken_back(node: NodeClient, draft: Mapping[str, Any]) -> dict[str, Any] | None:
    """The document that a draft would take back, if it is a withdrawal of one that is there."""
    from kpmsg.errors import ClientError

    data = draft.get("data")
    about = data.get("withdraws") if isinstance(data, dict) else None
    try:
        return node.document(about) if isinstance(about, str) else None
    except ClientError:
        return None
