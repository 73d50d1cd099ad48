"""`kpnode`: one command line for whoever sets a node up, runs it, and is called when something waits.

Commands parse, call, and print; what they do is in `setup`, `operator`, `assembly`, `checks` and `doctor`. Imports of those stay inside the
commands, so that `--help` answers at once. Exit status: 0 done, 1 it could not be done (the reason on standard error), 2 the settings
or the call are wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kpnode.cli_partners import apikey, partner
from kpnode.terminal import Json, fail, guarded, note, print_findings, print_json, settings_of
from kpnode.terminal import run as finish

if TYPE_CHECKING:
    from kpnode.settings import Settings


app = typer.Typer(
    name="kpnode",
    help="One authority's node of the exchange of Kimberley Process documents.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(partner, name="partner")
app.add_typer(apikey, name="apikey")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"kpnode {version('kpmsg')}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of settings; else KPNODE_CONFIG, else kpnode.toml here.", show_default=False
        ),
    ] = None,
) -> None:
    context.obj = config
    os.umask(0o077)  # whatever a command writes is for the node's user


# --- setting up --------------------------------------------------------------------------------------------------------


@app.command()
def init(
    context: typer.Context,
    algorithm: Annotated[
        Literal["Ed25519", "ES256"], typer.Option(help="Ed25519, or ES256 where policy asks for it.")
    ] = "Ed25519",
    renew_certificates: Annotated[
        bool,
        typer.Option(
            "--renew-certificates", help="Issue the broker's certificates anew, over the same keys."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make keys, certificates, database and the first key record; what exists is never overwritten."""
    from kpnode import setup
    from kpnode.home import Home

    settings = settings_of(context)
    done = finish(setup.initialise(settings, algorithm=algorithm, renew_certificates=renew_certificates))
    record = done.record.record
    home = Home(settings.home)
    told = {"address": record.address, "fingerprint": record.fingerprint, "version": record.version}
    told |= {"made": done.made, "record": str(home.record(record.version))}
    if as_json:
        print_json(told)
        return
    print(f"{record.authority.name} ({record.address}), home {settings.home}")
    print(f"made: {', '.join(done.made) or 'nothing, all of it was there'}")
    print(f"\nfingerprint  {record.fingerprint}\n")
    print("Next:")
    print(f"  1. Keep {home.key('identity')} somewhere safe and offline; only new key records need it.")
    print(
        f"  2. Send {home.record(record.version)} to each partner, and the fingerprint by another way (telephone, paper)."
    )
    print("  3. kpnode partner add THEIR-RECORD --fingerprint THEIRS; send them the grant that it makes.")
    print("  4. kpnode partner accept THEIR-GRANT")
    print("  5. kpnode apikey add NAME --scope documents:write --scope documents:read")
    print("  6. kpnode check; kpnode run; kpnode doctor")


@app.command()
def record(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Write the record to this file instead of standard output.")
    ] = None,
    new_version: Annotated[
        bool,
        typer.Option("--new-version", help="Publish what settings and keys say now; needs the identity key."),
    ] = False,
    rotate: Annotated[
        list[str] | None,
        typer.Option(metavar="document|node|transport", help="With --new-version: make this key anew first."),
    ] = None,
    compromised: Annotated[
        bool,
        typer.Option(
            "--compromised",
            help="With --rotate: the old key may be in wrong hands. Nothing signed with it is believed any more.",
        ),
    ] = False,
    identity: Annotated[
        Path | None,
        typer.Option(help="The identity key, if it is not in the home. Its passphrase: see next option."),
    ] = None,
    identity_passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File with the identity key's passphrase, if it is not that of the settings."),
    ] = None,
) -> None:
    """Print our key record, or publish its next version."""
    from kpnode import setup

    settings = settings_of(context)
    if compromised and not rotate:
        fail("--compromised says it of the key that --rotate replaces: say which", 2)
    if new_version or rotate:
        _publish(settings, rotate or [], identity, identity_passphrase_file, compromised=compromised)
    records = guarded(lambda: setup.load_records(settings))
    if not records:
        fail("there is no key record yet; run `kpnode init`")
    newest = records[-1]
    if out is not None:
        out.write_bytes(newest.raw + b"\n")
    elif not new_version:
        print(newest.raw.decode())
    print(f"version {newest.record.version}, fingerprint {newest.record.fingerprint}", file=sys.stderr)


def _publish(
    settings: Settings,
    rotate: list[str],
    identity: Path | None,
    passphrase_file: Path | None,
    *,
    compromised: bool,
) -> None:
    from datetime import UTC, datetime

    from kpmsg.keys import SoftwareSigner
    from kpnode import setup
    from kpnode.control import operate
    from kpnode.home import Home

    def prepare() -> bytes:
        passphrase = passphrase_file.read_bytes().strip() if passphrase_file else setup.secret(settings)
        file = identity or Home(settings.home).key("identity")
        if identity is None and not file.exists():
            fail(f"the identity key is not in {file}: give --identity FILE")
        signer = SoftwareSigner.load(file, passphrase)
        records = setup.load_records(settings)
        for use in rotate:
            if use not in setup.USES:
                fail(f"there is no {use!r} key; uses are {', '.join(setup.USES)}", 2)
            setup.rotate_key(settings, use, records)
        keys, gone = setup.load_keys(settings), "compromised" if compromised else "retired"
        return setup.next_record(settings, records[-1], signer, keys, datetime.now(UTC), gone=gone)

    done = finish(operate(settings, "record-publish", record=guarded(prepare).decode()))
    note(
        f"version {done['version']} is published; send {done['file']} to every partner (`kpnode partner update` there)"
    )
    if done["restart"]:
        note("restart the node: it still signs with a key that this version retires")
    if "transport" in rotate:
        note(
            "`kpnode init --renew-certificates`, and ask every partner for a new grant: the old ones are for the old key"
        )


@app.command()
def check(context: typer.Context, as_json: Json = False) -> None:
    """Name everything that is wrong with settings, files, keys, certificates and database, at once."""
    from kpnode import checks
    from kpnode.settings import SettingsError, load

    try:
        settings = load(context.obj)
    except SettingsError as error:
        wrong = [
            checks.Finding("settings", "fail", problem, "Correct the setting.") for problem in error.problems
        ]
        print_findings(wrong, as_json=as_json, failure=2)
    else:
        print_findings(finish(checks.check(settings)), as_json=as_json)


# --- running -----------------------------------------------------------------------------------------------------------


@app.command()
def run(context: typer.Context) -> None:
    """Run the node until SIGTERM or SIGINT."""
    from kpnode.service import serve

    settings = settings_of(context)
    guarded(lambda: serve(settings))


@app.command()
def doctor(
    context: typer.Context,
    only: Annotated[
        str | None, typer.Option("--partner", help="Look at this partner only.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to wait for a partner's signed answer.")] = 15.0,
    as_json: Json = False,
) -> None:
    """Look at everything between our clock and the partner's signed answer, and say what to do about it."""
    from kpnode import doctor as examination

    settings = settings_of(context)
    print_findings(finish(examination.examine(settings, only=only, seconds=seconds)), as_json=as_json)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def demo(context: typer.Context) -> None:
    """Two authorities exchange real documents on this machine (`kpnode demo --help`)."""
    from importlib import import_module

    try:
        play = import_module("kpnode.demo")
    except ModuleNotFoundError as error:
        if error.name != "kpnode.demo":
            raise
        fail("this installation has no demonstration")
    sys.exit(play.main(context.args))
