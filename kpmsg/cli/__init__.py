"""`kpmsg`: a command line for people and for programs that can only run a program: cron, COBOL, a shell script.

    keygen    a new private key in an encrypted file
    inspect   what a file is and says, without believing it
    verify    who signed a file, by key records
    check     what is wrong with a draft, offline
    submit    hand drafts to the node

    todo      what waits for us            draft     the next document, filled in
    show      where a certificate stands   say       the same, agreed to and sent
    drafts    what waits for release       release   sign and send it            discard   or do not
    ask       an issuer about a number     alert     partners about numbers      numbers   account for ours
    attach    files to documents           fetch     a partner's files

Exit status, the same for all of them: 0 it is done, or so; 1 refused: what was looked at must not be believed, or you did not agree; 2 cannot tell: the call
is wrong, a file cannot be read or is missing; 3 a draft breaks a rule; 4 the node did not answer or cannot take it now: run the very
same command again later; 5 the node refuses the API key or the request; 141 whoever read our output has gone.

Commands read, call and print (`cli_edge`); what there is to know is in `explanation`, `verdict`, `client` and below. Imports of those
stay inside the commands, so that `--help` answers at once. Those about files of drafts are in `cli_drafts`, those of a desk in `cli_desk`,
`cli_release`, `cli_numbers` and `cli_files`; what these have in common is in `cli_node`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from kpmsg.cli.desk import draft, say, show, todo
from kpmsg.cli.drafts import check, submit
from kpmsg.cli.edge import (
    CANNOT_TELL,
    DONE,
    REFUSED,
    File,
    Json,
    fail,
    moment,
    passphrase,
    read,
    tell,
    write,
)
from kpmsg.cli.files import attach, fetch
from kpmsg.cli.numbers import alert, ask, numbers
from kpmsg.cli.release import discard, drafts, release

app = typer.Typer(
    help="Signed documents between authorities of the Kimberley Process.",
    epilog="Exit status: 0 done; 1 refused, do not believe it; 2 cannot tell, or wrong call; 3 a draft breaks a rule; "
    "4 the node is away, run the same again later; 5 the node does not allow it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # the framed help costs half a second of imports
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        write(f"kpmsg {version('kpmsg')}\n")
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
    from kpmsg.cli.terminal import table
    from kpmsg.errors import KeyFileError
    from kpmsg.keys import SoftwareSigner
    from kpmsg.wording import readable

    signer = SoftwareSigner.generate(alg)
    try:
        signer.save(out, passphrase(passphrase_file))
    except KeyFileError as error:
        fail(f"{error.text} ({error.code})")
    except ValueError:
        fail("the passphrase is too long; is that the right file?")
    public = signer.public
    members = {"file": str(out), "alg": public.alg, "kid": public.kid, "jwk": public.jwk}
    where = f"{readable(str(out))}\nencrypted; it must not leave its owner"
    facts = [("private key", where), ("kid", public.kid), ("public key", json.dumps(public.jwk))]
    tell([table(facts)], members, as_json)


# --- files --------------------------------------------------------------------------------------------------------------


@app.command()
def inspect(file: File, as_json: Json = False) -> None:
    """Explain any file of the exchange. NOTHING IS VERIFIED.

    Documents, receipts, statuses, pages, refusals, key records, grants, frames, drafts, keys. Exit status 1: not in the agreed form.
    """
    from kpmsg.cli.terminal import explained
    from kpmsg.explanation import explain

    explanation = explain(read(file))
    tell(explained(explanation), {"file": file, **explanation.members()}, as_json)
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

    from kpmsg.cli.terminal import judged
    from kpmsg.explanation import explain
    from kpmsg.verdict import judge

    signed = read(file).rstrip(b"\r\n")
    records = [read(name).rstrip(b"\r\n") for name in record or ()]
    verdict = judge(signed, records, fingerprint=fingerprint, at=moment(at))
    if not records and verdict.code == "record-missing":
        verdict = replace(verdict, text=f"Give --record FILE, the key record of {verdict.signer}.")
    tell(judged(verdict, file, explain(signed).headline), {"file": file, **verdict.members()}, as_json)
    raise typer.Exit({"verified": DONE, "refused": REFUSED, "undecided": CANNOT_TELL}[verdict.standing])


# --- drafts -------------------------------------------------------------------------------------------------------------

app.command()(check)
app.command()(submit)

# --- at the desk --------------------------------------------------------------------------------------------------------

for command in (todo, show, draft, say, drafts, release, discard, ask, alert, numbers, attach, fetch):
    app.command()(command)
