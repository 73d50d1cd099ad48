"""The commands about drafts: `check` tells what is wrong with them, `submit` hands them to the node.

Both read a file that holds one draft or a list of them. What is wrong is decided by `kpmsg.documents` and by the node.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kpmsg.cli.edge import (
    BROKEN_RULE,
    DONE,
    MOST_BYTES,
    NODE_AWAY,
    File,
    Json,
    Language,
    connect,
    fail,
    language,
    moment,
    new_id,
    problem_of,
    read,
    shown,
    status_of,
    tell,
)
from kpmsg.cli.node import Ca, KeyFile, Plaintext, Url, refused

if TYPE_CHECKING:
    from kpmsg.client import NodeClient
    from kpmsg.errors import Problem
    from kpmsg.policy import Practice


def check(
    file: File,
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="ADDRESS", help="Who will send it, e.g. BW; else your node is asked."),
    ] = None,
    by_node: Annotated[
        bool, typer.Option("--node", help="Have your node try it, which knows what was exchanged before.")
    ] = False,
    record: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A newest key record, of either side: its policy is applied too."),
    ] = None,
    tongue: Annotated[
        Language | None,
        typer.Option("--language", help="Of what is said of broken rules; else the terminal's own."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(envvar="KPMSG_URL", help="The node, e.g. https://node.example:8443.")
    ] = None,
    key_file: KeyFile = None,
    ca: Ca = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a draft, or each of a list.

    With --from it needs no node: told from the drafts and from the published policies alone. What was exchanged before, and what your
    partners publish, only the node knows: with --node it tries the drafts, and signs and sends nothing.

    Exit status 3: a rule is broken.
    """
    from dataclasses import replace

    from kpmsg.cli.terminal import checked
    from kpmsg.errors import ClientError
    from kpmsg.rules import said

    if by_node and (sender is not None or record):
        fail("the node knows whose it is and what is published: give --node without --from and --record")
    if sender is None and url is None:
        fail("who will send it? give --from, e.g. --from BW; or name your node by --url or KPMSG_URL")
    drafts, spoken = _drafts(file), language(tongue)
    several = isinstance(drafts, list)
    members: dict[str, Any] = {"file": file, "language": spoken, "drafts": len(drafts) if several else 1}
    found: list[Problem] = []
    if sender is None:
        assert url is not None
        with connect(url, key_file, ca, insecure_plaintext=insecure_plaintext, tongue=spoken) as node:
            try:
                if by_node:
                    found, members["tried"] = _tried(node, drafts)
                else:
                    sender = node.authority()
            except ClientError as error:
                refused(error, as_json=as_json)
    if sender is not None:
        found = _looked_at(drafts, sender, _practice(sender, record or ()))
        found = [replace(problem, text=said(problem, spoken)) for problem in found]
    members["problems"] = [shown(problem) for problem in found]
    tell(checked(file, _names(drafts), found, spoken), members, as_json)
    raise typer.Exit(BROKEN_RULE if any(problem.severity == "reject" for problem in found) else DONE)


def _looked_at(drafts: Any, sender: str, practice: Practice) -> list[Problem]:
    """What can be told without a node. Pointers begin with the draft's place if there are several."""
    from kpmsg import documents
    from kpmsg.errors import DraftError
    from kpmsg.policy.screening import screen

    several, now = isinstance(drafts, list), moment()
    testing = practice.testing(sender) is True
    found: list[Problem] = []
    for index, draft in enumerate(drafts if several else [drafts]):
        try:
            document, _ = documents.compose(
                documents.completed(draft), source=sender, id=new_id(), time=now, testing=testing
            )
            problems: Sequence[Problem] = [
                *documents.breaches(document),
                *screen(document, practice, received=None),
            ]
        except DraftError as error:
            problems = error.problems
        found += [problem.within(f"/{index}" if several else "") for problem in problems]
    return found


def _tried(node: NodeClient, drafts: Any) -> tuple[list[Problem], list[dict[str, Any]]]:
    """What the node has found, with the same pointers; and of each draft what would come of it. ClientError if it cannot say."""
    from kpmsg.client.asking import problem_in
    from kpmsg.errors import ClientError

    several = isinstance(drafts, list)
    try:
        # Written anew with what was read leniently (`_drafts`): the node says of the field that it may be no number.
        tried = node.try_out_all(json.dumps(drafts).encode(), len(drafts) if several else 1)
    except ClientError as error:
        if error.code != "document-invalid" or not error.problems:
            raise
        return list(error.problems), []
    problems = [
        problem_in(one).within(f"/{index}" if several else "")
        for index, each in enumerate(tried)
        for one in each["problems"]
    ]
    members = [{name: each.get(name) for name in ("verdict", "release_needed")} for each in tried]
    return problems, members


def _names(drafts: Any) -> list[str]:
    """Of each draft, the number of its certificate as it is written there; empty where there is none."""
    names = []
    for draft in drafts if isinstance(drafts, list) else [drafts]:
        place = draft
        for member in ("data", "certificate", "number_raw"):
            place = place.get(member) if isinstance(place, dict) else None
        names.append(place if isinstance(place, str) else "")
    return names


def _names_in(body: bytes) -> list[str]:
    """The same for a file that was refused, whatever it holds."""
    try:
        return _names(json.loads(body))
    except (ValueError, RecursionError):
        return []


def _practice(sender: str, records: Sequence[str]) -> Practice:
    """What the given key records publish. They are not compared with anything: whoever gives a forged one is told nonsense."""
    from kpmsg.errors import RefusedError
    from kpmsg.keyrecord import open_record
    from kpmsg.policy import Practice

    practice, tested = Practice(sender), False
    for name in records:
        try:
            opened = open_record(read(name).rstrip(b"\r\n")).record
        except RefusedError as error:
            fail(f"{name}: {error.text} ({error.code})")
        opened.publish(practice)
        tested = tested or opened.testing is True
    if practice.testing(sender) is None:  # whoever gives no record of his own tests if his partners do
        practice.publish(sender, None, testing=tested)
    return practice


def _drafts(file: str) -> Any:
    """The JSON in a file of drafts. Ends the program if it is none."""
    from kpmsg import strictjson
    from kpmsg.errors import MalformedError

    raw = read(file)
    try:
        return strictjson.loads(raw, max_bytes=MOST_BYTES)
    except MalformedError as error:
        if error.code != "json-number":
            fail(f"{file}: {error.text} ({error.code})")
        try:  # never accepted, but a number where a text is due is better told by the field
            return json.loads(raw)
        except ValueError:
            fail(f"{file}: {error.text} ({error.code})")


def submit(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Each holds a draft or a list of them; - for standard input."),
    ],
    url: Url,
    key_file: KeyFile = None,
    wait: Annotated[int, typer.Option(min=0, max=60, help="Seconds to wait for the partner's receipt.")] = 0,
    ca: Ca = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="For a single file; to say exactly the same once more.")
    ] = None,
    insecure_plaintext: Plaintext = False,
    as_json: Json = False,
) -> None:
    """Hand drafts to the node, which signs and delivers them.

    Each file is taken whole or not at all.

    To run this again does no harm: the idempotency key is made from the file's bytes, so the node does each file once, and tells where
    its documents are now. A file after one that was refused is still sent; after the node went away, none is.
    """
    from kpmsg.cli.terminal import not_taken, taken
    from kpmsg.errors import ClientError

    if idempotency_key is not None and len(files) > 1:
        fail("--idempotency-key is for a single file: each file is a submission of its own")
    bodies = [(file, read(file)) for file in files]  # before anything is sent
    status = DONE
    with connect(url, key_file, ca, insecure_plaintext=insecure_plaintext) as node:
        for file, body in bodies:
            try:
                done = node.submit(body, idempotency_key=idempotency_key, wait=wait)
            except ClientError as error:
                outcome = status_of(error)
                status = max(status, outcome)
                told = not_taken(file, error, later=outcome == NODE_AWAY, names=_names_in(body))
                tell(told, {"file": file, "problem": problem_of(error)}, as_json, sys.stderr)
                if outcome != BROKEN_RULE:
                    break  # the next would fare no better
            except ValueError as error:
                fail(str(error))
            else:
                members = {"file": file, "replayed": done.replayed, "documents": list(done.documents)}
                tell(taken(file, done), members, as_json)
    raise typer.Exit(status)
