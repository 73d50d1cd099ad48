"""`kpmsg`: a command line for people and for programs that can only run a program: cron, COBOL, a shell script.

    keygen    a new private key in an encrypted file
    inspect   what a file is and says, without believing it
    verify    who signed a file, by key records
    check     what is wrong with a draft, offline
    submit    hand drafts to the node

Exit status, the same for all of them: 0 it is done, or so; 1 refused: what was looked at must not be believed; 2 cannot tell: the call
is wrong, a file cannot be read or is missing; 3 a draft breaks a rule; 4 the node did not answer or cannot take it now: run the very
same command again later; 5 the node refuses the API key or the request; 141 whoever read our output has gone.

Commands read, call and print; what there is to know is in `explanation`, `verdict`, `client` and below. Imports of those stay inside the
commands, so that `--help` answers at once. Nothing is printed that has not gone through `readable`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from kpmsg.client import NodeClient
    from kpmsg.errors import ClientError, Problem

DONE, REFUSED, CANNOT_TELL, BROKEN_RULE, NODE_AWAY, NOT_ALLOWED, NO_READER = 0, 1, 2, 3, 4, 5, 141
MOST_BYTES = 8 * 1024 * 1024

app = typer.Typer(
    help="Signed documents between authorities of the Kimberley Process.",
    epilog="Exit status: 0 done; 1 refused, do not believe it; 2 cannot tell, or wrong call; 3 a draft breaks a rule; "
    "4 the node is away, run the same again later; 5 the node does not allow it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # the framed help costs half a second of imports
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        _write(f"kpmsg {version('kpmsg')}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(
                errors="backslashreplace"
            )  # a terminal that knows no Arabic shows escapes, and no traceback


# --- keys ---------------------------------------------------------------------------------------------------------------


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(help="The key file to write; one that exists is never touched.")],
    alg: Annotated[
        Literal["Ed25519", "ES256"], typer.Option(help="ES256 where policy or a hardware module asks for it.")
    ] = "Ed25519",
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Its first line is the passphrase; asked for if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a private key in an encrypted file, and print its public half."""
    from kpmsg.errors import KeyFileError
    from kpmsg.keys import SoftwareSigner
    from kpmsg.terminal import table
    from kpmsg.wording import readable

    signer = SoftwareSigner.generate(alg)
    try:
        signer.save(out, _passphrase(passphrase_file))
    except KeyFileError as error:
        _fail(f"{error.text} ({error.code})")
    except ValueError:
        _fail("the passphrase is too long; is that the right file?")
    public = signer.public
    members = {"file": str(out), "alg": public.alg, "kid": public.kid, "jwk": public.jwk}
    where = f"{readable(str(out))}\nencrypted; it must not leave its owner"
    facts = [("private key", where), ("kid", public.kid), ("public key", json.dumps(public.jwk))]
    _tell([table(facts)], members, as_json)


def _passphrase(file: Path | None) -> bytes:
    if file is not None:
        lines = _read(str(file)).splitlines()
        return lines[0] if lines else b""
    if not sys.stdin.isatty():
        _fail("nobody is there to type a passphrase; give --passphrase-file")
    typed: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return typed.encode()


# --- files --------------------------------------------------------------------------------------------------------------


@app.command()
def inspect(file: File, as_json: Json = False) -> None:
    """Explain any file of the exchange. NOTHING IS VERIFIED.

    Documents, receipts, statuses, pages, refusals, key records, grants, frames, drafts, keys. Exit status 1: not in the agreed form.
    """
    from kpmsg.explanation import explain
    from kpmsg.terminal import explained

    explanation = explain(_read(file))
    _tell(explained(explanation), {"file": file, **explanation.members()}, as_json)
    raise typer.Exit(DONE if explanation.sound else REFUSED)


@app.command()
def verify(
    file: File,
    record: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A key record of the signer; give every version that there is."),
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="The signer's fingerprint, as you got it by telephone or on paper.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Judge the keys as of then, e.g. 2026-03-31T14:05:09Z; else as of now."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say who signed a file, by key records.

    A document, a receipt, status, page or refusal, a grant, or a key record itself.

    Exit status: 0 verified, 1 refused, 2 cannot tell. A key record is believed as far as its fingerprint was compared, and no further.
    """
    from dataclasses import replace

    from kpmsg.explanation import explain
    from kpmsg.terminal import judged
    from kpmsg.verdict import judge

    signed = _read(file).rstrip(b"\r\n")
    records = [_read(name).rstrip(b"\r\n") for name in record or ()]
    verdict = judge(signed, records, fingerprint=fingerprint, at=_moment(at))
    if not records and verdict.code == "record-missing":
        verdict = replace(verdict, text=f"Give --record FILE, the key record of {verdict.signer}.")
    _tell(judged(verdict, file, explain(signed).headline), {"file": file, **verdict.members()}, as_json)
    raise typer.Exit({"verified": DONE, "refused": REFUSED, "undecided": CANNOT_TELL}[verdict.standing])


def _moment(text: str | None) -> datetime:
    from datetime import UTC, datetime

    try:
        moment = datetime.now(UTC) if text is None else datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        _fail("write the time like 2026-03-31T14:05:09Z")
    return moment.astimezone(UTC)


# --- drafts -------------------------------------------------------------------------------------------------------------


@app.command()
def check(
    file: File,
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help="Who will send it, e.g. BW or EU/antwerp.")
    ],
    as_json: Json = False,
) -> None:
    """Say what is wrong with a draft, or each of a list, offline.

    Exit status 3: a rule is broken.
    """
    from uuid_utils.compat import uuid7

    from kpmsg import documents, strictjson
    from kpmsg.errors import DraftError, MalformedError
    from kpmsg.terminal import checked

    raw, moment = _read(file), _moment(None)
    try:
        drafts = strictjson.loads(raw, max_bytes=MOST_BYTES)
    except MalformedError as error:
        if error.code != "json-number":
            _fail(f"{file}: {error.text} ({error.code})")
        try:  # never accepted, but a number where a text is due is better told by the field
            drafts = json.loads(raw)
        except ValueError:
            _fail(f"{file}: {error.text} ({error.code})")
    several = isinstance(drafts, list)
    found: list[Problem] = []
    for index, draft in enumerate(drafts if several else [drafts]):
        try:
            document, _ = documents.compose(draft, source=sender, id=uuid7(), time=moment)
            problems: Sequence[Problem] = documents.breaches(document)
        except DraftError as error:
            problems = error.problems
        found += [_placed(problem, f"/{index}" if several else "") for problem in problems]
    count = len(drafts) if several else 1
    members = {"file": file, "drafts": count, "problems": [_shown(problem) for problem in found]}
    _tell(checked(file, count, found), members, as_json)
    raise typer.Exit(BROKEN_RULE if any(problem.severity == "reject" for problem in found) else DONE)


@app.command()
def submit(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Each holds a draft or a list of them; - for standard input."),
    ],
    url: Annotated[str, typer.Option(envvar="KPMSG_URL", help="The node, e.g. https://node.example:8443.")],
    key_file: Annotated[
        Path | None, typer.Option(help="Its first line is the API key; else KPMSG_KEY is.")
    ] = None,
    wait: Annotated[int, typer.Option(min=0, max=60, help="Seconds to wait for the partner's receipt.")] = 0,
    ca: Annotated[
        Path | None, typer.Option(help="PEM file of the authority that certifies the node.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="For a single file; to say exactly the same once more.")
    ] = None,
    insecure_plaintext: Annotated[
        bool, typer.Option("--insecure-plaintext", help="Send the API key over http to another machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hand drafts to the node, which signs and delivers them.

    Each file is taken whole or not at all.

    To run this again does no harm: the idempotency key is made from the file's bytes, so the node does each file once, and tells where
    its documents are now. A file after one that was refused is still sent; after the node went away, none is.
    """
    import time

    from kpmsg.errors import ClientError
    from kpmsg.terminal import not_taken, taken

    if idempotency_key is not None and len(files) > 1:
        _fail("--idempotency-key is for a single file: each file is a submission of its own")
    bodies = [(file, _read(file)) for file in files]  # before anything is sent
    status = DONE
    with _node(url, key_file, ca, insecure_plaintext, time) as node:
        for file, body in bodies:
            try:
                done = node.submit(body, idempotency_key=idempotency_key, wait=wait)
            except ClientError as error:
                outcome = _status_of(error)
                status = max(status, outcome)
                _tell(
                    not_taken(file, error, later=outcome == NODE_AWAY),
                    _problem_of(file, error),
                    as_json,
                    sys.stderr,
                )
                if outcome != BROKEN_RULE:
                    break  # the next would fare no better
            except ValueError as error:
                _fail(str(error))
            else:
                members = {"file": file, "replayed": done.replayed, "documents": list(done.documents)}
                _tell(taken(file, done), members, as_json)
    raise typer.Exit(status)


def _node(
    url: str, key_file: Path | None, ca: Path | None, insecure_plaintext: bool, time: Any
) -> NodeClient:
    import ssl

    from kpmsg.client import NodeClient

    text = _read(str(key_file)).decode("ascii", "replace") if key_file else os.environ.get("KPMSG_KEY", "")
    lines = text.split()
    if not lines:
        _fail("no API key: give --key-file, or set KPMSG_KEY")
    try:
        tls = None if ca is None else ssl.create_default_context(cafile=ca)
        return NodeClient(url, lines[0], sleep=time.sleep, tls=tls, insecure_plaintext=insecure_plaintext)
    except (OSError, ValueError) as error:
        _fail(f"{ca}: {error}" if isinstance(error, OSError) else str(error))


def _status_of(error: ClientError) -> int:
    if error.status in {400, 409, 413, 422} and error.code != "answer-unreadable":
        return BROKEN_RULE
    return (
        NODE_AWAY
        if error.status is None or error.status in {408, 429} or error.status >= 500
        else NOT_ALLOWED
    )


def _problem_of(file: str, error: ClientError) -> dict[str, Any]:
    parts = [_shown(problem) for problem in error.problems]
    return {
        "file": file,
        "problem": {"code": error.code, "text": error.text, "status": error.status, "problems": parts},
    }


# --- reading and printing -----------------------------------------------------------------------------------------------


def _read(name: str) -> bytes:
    """A file, or standard input for "-". Ends the program if it cannot be read or is larger than any file of ours."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MOST_BYTES + 1)
    except OSError as error:
        _fail(f"cannot read {name}: {error.strerror}")
    except ValueError:
        _fail("the name of a file cannot hold a zero byte")
    if len(data) > MOST_BYTES:
        _fail(f"{name}: more than {MOST_BYTES} bytes; no file of the exchange is so large")
    return data


def _fail(reason: str) -> NoReturn:
    from kpmsg.wording import readable

    _write(f"kpmsg: {readable(reason)}\n", sys.stderr)
    raise typer.Exit(CANNOT_TELL)


def _placed(problem: Problem, at: str) -> Problem:
    from dataclasses import replace

    return replace(problem, pointer=f"{at}{problem.pointer or ''}")


def _shown(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "text": problem.text,
        "pointer": problem.pointer,
        "severity": problem.severity,
    }


def _tell(
    parts: Iterable[RenderableType], members: dict[str, Any], as_json: bool, stream: TextIO | None = None
) -> None:
    """To a person, or to a program (always on standard output)."""
    _print_json(members) if as_json else _print(parts, stream)


def _print_json(value: Any) -> None:
    _write(json.dumps(value) + "\n")  # pure ASCII: what could mislead a terminal is an escape here


def _print(parts: Iterable[RenderableType], stream: TextIO | None = None) -> None:
    from kpmsg.terminal import page

    stream = stream or sys.stdout
    _write(page(parts, stream), stream)


def _write(text: str, stream: TextIO | None = None) -> None:
    """Print, and go quietly when nobody reads any more (`kpmsg inspect x | head`)."""
    stream = stream or sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), stream.fileno()
        )  # or Python complains when it flushes at the end
        raise typer.Exit(NO_READER) from None
