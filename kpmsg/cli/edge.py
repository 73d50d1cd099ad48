"""Where the commands of `kpmsg` meet a person and a machine: files, streams, the clock, chance, the environment, exit statuses.

Every command reads and prints through here, so that nothing is printed that has not gone through `readable`, no file is read that
is larger than any of ours, and all of them end with the same few statuses. No command and no kind of document is known here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, TextIO, cast, get_args

import typer

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from rich.console import RenderableType

    from kpmsg.client import NodeClient
    from kpmsg.errors import ClientError, Problem

DONE, REFUSED, CANNOT_TELL, BROKEN_RULE, NODE_AWAY, NOT_ALLOWED, NO_READER = 0, 1, 2, 3, 4, 5, 141
MOST_BYTES: Final = 8 * 1024 * 1024

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")]
Language = Literal["en", "fr", "pt", "es", "ru"]
"""Those of `kpmsg.rules`, which `--help` need not import."""


# --- what a command reads ------------------------------------------------------------------------------------------------


def read(name: str, most: int = MOST_BYTES) -> bytes:
    """A file, or standard input for "-". Ends the program if it cannot be read or is larger than any file of ours."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        fail(f"cannot read {name}: {error.strerror}")
    except ValueError:
        fail("the name of a file cannot hold a zero byte")
    if len(data) > most:
        fail(f"{name}: more than {most} bytes; no file of the exchange is so large")
    return data


def passphrase(file: Path | None) -> bytes:
    """The first line of a file, or what somebody types twice."""
    if file is not None:
        lines = read(str(file)).splitlines()
        return lines[0] if lines else b""
    if not sys.stdin.isatty():
        fail("nobody is there to type a passphrase; give --passphrase-file")
    typed: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return typed.encode()


def moment(written: str | None = None) -> datetime:
    """The moment that was written, or now. Ends the program if it is none."""
    from datetime import UTC, datetime

    try:
        meant = datetime.now(UTC) if written is None else datetime.fromisoformat(written)
        if meant.tzinfo is None:
            raise ValueError("no offset")
        return meant.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter if it is in no year of UTC
        fail("write the time like 2026-03-31T14:05:09Z")


def new_id() -> UUID:
    """A fresh message id."""
    from uuid_utils.compat import uuid7

    return uuid7()


def language(asked: Language | None) -> Language:
    """What was asked for; else what a person's terminal is set to, if it is one of ours; else English, for programs."""
    if asked is None and sys.stdout.isatty():
        locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
        if locale[:2] in get_args(Language) and not locale[2:3].isalpha():
            return cast(Language, locale[:2])
    return asked or "en"


# --- what it prints ------------------------------------------------------------------------------------------------------


def fail(reason: str) -> NoReturn:
    """Say why nothing can be said, and end with status 2."""
    from kpmsg.wording import readable

    write(f"kpmsg: {readable(reason)}\n", sys.stderr)
    raise typer.Exit(CANNOT_TELL)


def tell(
    parts: Iterable[RenderableType], members: dict[str, Any], as_json: bool, stream: TextIO | None = None
) -> None:
    """To a person, on `stream`; or to a program, always on standard output."""
    if as_json:
        write(json.dumps(members) + "\n")  # pure ASCII: what could mislead a terminal is an escape here
        return
    from kpmsg.cli.terminal import page

    stream = stream or sys.stdout
    write(page(parts, stream), stream)


def write(text: str, stream: TextIO | None = None) -> None:
    """Print, and go quietly when nobody reads any more (`kpmsg inspect x | head`)."""
    stream = stream or sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # Or Python complains when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise typer.Exit(NO_READER) from None


def shown(problem: Problem) -> dict[str, Any]:
    """A problem for JSON. Variant and facts are those of the rule's text; null and empty for a matter of form."""
    from kpmsg.rules import version_of

    return {
        "code": problem.code,
        "rule_version": version_of(problem),
        "variant": problem.variant or None,
        "facts": dict(problem.facts),
        "text": problem.text,
        "pointer": problem.pointer,
        "severity": problem.severity,
    }


def keep(out: Path, content: bytes) -> None:
    """Write a new file; one that exists is never touched. Ends the program if that cannot be."""
    try:
        with open(out, "xb") as file:
            file.write(content)
    except FileExistsError:
        fail(f"{out} exists already, and is not overwritten")
    except (OSError, ValueError) as error:
        fail(f"cannot write {out}: {getattr(error, 'strerror', None) or 'no file can have this name'}")


def agreed(question: str, *, yes: bool) -> bool:
    """Whether a person at the terminal agrees, or has agreed beforehand. Ends the program if nobody is there to be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        fail("nobody is there to agree; look at it first, then give --yes")
    return typer.confirm(question, default=False, err=True)


# --- the node ------------------------------------------------------------------------------------------------------------


def connect(
    url: str, key_file: Path | None, ca: Path | None, *, insecure_plaintext: bool, tongue: str | None = None
) -> NodeClient:
    """The node at `url`, with the API key from a file or the environment. Ends the program if the call cannot be right.

    `tongue`: the language in which broken rules are told.
    """
    import ssl
    import time

    from kpmsg.client import NodeClient

    text = read(str(key_file)).decode("ascii", "replace") if key_file else os.environ.get("KPMSG_KEY", "")
    lines = text.split()
    if not lines:
        fail("no API key: give --key-file, or set KPMSG_KEY")
    try:
        tls = None if ca is None else ssl.create_default_context(cafile=ca)
        return NodeClient(
            url, lines[0], sleep=time.sleep, tls=tls, insecure_plaintext=insecure_plaintext, language=tongue
        )
    except (OSError, ValueError) as error:
        fail(f"{ca}: {error}" if isinstance(error, OSError) else str(error))


def status_of(error: ClientError) -> int:
    """The exit status that tells a program whose turn it is."""
    if error.status in {400, 409, 413, 422} and error.code != "answer-unreadable":
        return BROKEN_RULE
    away = error.status is None or error.status in {408, 429} or error.status >= 500
    return NODE_AWAY if away else NOT_ALLOWED


def problem_of(error: ClientError) -> dict[str, Any]:
    """What the node answered, for JSON."""
    parts = [shown(problem) for problem in error.problems]
    return {"code": error.code, "text": error.text, "status": error.status, "problems": parts}
