"""`kpnode`: one command line for whoever sets a node up, runs it, and is called when something waits.

Commands parse, call, and print; what they do is in `setup`, `operator`, `assembly`, `checks` and `doctor`. Imports of those stay inside the
commands, so that `--help` answers at once. Exit status: 0 done, 1 it could not be done (the reason on standard error), 2 the settings
or the call are wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from kpnode.settings import Settings

T = TypeVar("T")

app = typer.Typer(
    name="kpnode",
    help="One authority's node of the exchange of Kimberley Process documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
partner = typer.Typer(help="Whom we exchange with.", no_args_is_help=True)
apikey = typer.Typer(help="Which programs of our own may call the API.", no_args_is_help=True)
app.add_typer(partner, name="partner")
app.add_typer(apikey, name="apikey")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Address = Annotated[str, typer.Argument(help="The partner's address, e.g. AE or EU/antwerp.")]


@app.callback()
def _main(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file of settings; else KPNODE_CONFIG, else kpnode.toml here.", show_default=False),
    ] = None,
) -> None:
    context.obj = config
    os.umask(0o077)  # whatever a command writes is for the node's user


# --- setting up --------------------------------------------------------------------------------------------------------


@app.command()
def init(
    context: typer.Context,
    algorithm: Annotated[str, typer.Option(help="Ed25519, or ES256 where policy asks for it.")] = "Ed25519",
    renew_certificates: Annotated[
        bool, typer.Option("--renew-certificates", help="Issue the broker's certificates anew, over the same keys.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make keys, certificates, database and the first key record; what exists is never overwritten."""
    from kpnode import setup

    if algorithm not in ("Ed25519", "ES256"):
        _fail("the algorithm is Ed25519 or ES256", 2)
    settings = _settings(context)
    done = _run(setup.initialise(settings, algorithm=algorithm, renew_certificates=renew_certificates))
    record = done.record.record
    home = setup.Home(settings.home)
    told = {"address": record.address, "fingerprint": record.fingerprint, "version": record.version}
    told |= {"made": done.made, "record": str(home.record(record.version))}
    if as_json:
        _print_json(told)
        return
    print(f"{record.authority.name} ({record.address}), home {settings.home}")
    print(f"made: {', '.join(done.made) or 'nothing, all of it was there'}")
    print(f"\nfingerprint  {record.fingerprint}\n")
    print("Next:")
    print(f"  1. Keep {home.key('identity')} somewhere safe and offline; only new key records need it.")
    print(f"  2. Send {home.record(record.version)} to each partner, and the fingerprint by another way (telephone, paper).")
    print("  3. kpnode partner add THEIR-RECORD --fingerprint THEIRS; send them the grant that it makes.")
    print("  4. kpnode partner accept THEIR-GRANT")
    print("  5. kpnode apikey add NAME --scope documents:write --scope documents:read")
    print("  6. kpnode check; kpnode run; kpnode doctor")


@app.command()
def record(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="Write the record to this file instead of standard output.")] = None,
    new_version: Annotated[
        bool, typer.Option("--new-version", help="Publish what settings and keys say now; needs the identity key.")
    ] = False,
    rotate: Annotated[
        list[str] | None, typer.Option(help="With --new-version: make a new document, node or transport key first.")
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(help="The identity key, if it is not in the home. Its passphrase: see next option.")
    ] = None,
    identity_passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the identity key's passphrase, if it is not that of the settings.")
    ] = None,
) -> None:
    """Print our key record, or publish its next version."""
    from kpnode import setup

    settings = _settings(context)
    if new_version or rotate:
        _publish(settings, rotate or [], identity, identity_passphrase_file)
    records = _guarded(lambda: setup.load_records(settings))
    if not records:
        _fail("there is no key record yet; run `kpnode init`")
    newest = records[-1]
    if out is not None:
        out.write_bytes(newest.raw + b"\n")
    elif not new_version:
        print(newest.raw.decode())
    print(f"version {newest.record.version}, fingerprint {newest.record.fingerprint}", file=sys.stderr)


def _publish(settings: Settings, rotate: list[str], identity: Path | None, passphrase_file: Path | None) -> None:
    from datetime import UTC, datetime

    from kpmsg.keys import SoftwareSigner
    from kpnode import setup
    from kpnode.control import operate

    def prepare() -> bytes:
        passphrase = passphrase_file.read_bytes().strip() if passphrase_file else setup.secret(settings)
        signer = SoftwareSigner.load(identity or setup.Home(settings.home).key("identity"), passphrase)
        records = setup.load_records(settings)
        for use in rotate:
            if use not in setup.USES:
                _fail(f"there is no {use!r} key; uses are {', '.join(setup.USES)}", 2)
            setup.rotate_key(settings, use, records)  # type: ignore[arg-type]
        return setup.next_record(settings, records[-1], signer, setup.load_keys(settings), datetime.now(UTC))

    done = _run(operate(settings, "record-publish", record=_guarded(prepare).decode()))
    _note(f"version {done['version']} is published; send {done['file']} to every partner (`kpnode partner update` there)")
    if done["restart"]:
        _note("restart the node: it still signs with a key that this version retires")
    if "transport" in rotate:
        _note("`kpnode init --renew-certificates`, and ask every partner for a new grant: the old ones are for the old key")


@app.command()
def check(context: typer.Context, as_json: Json = False) -> None:
    """Name everything that is wrong with settings, files, keys, certificates and database, at once."""
    from kpnode import checks
    from kpnode.settings import SettingsError, load

    try:
        settings = load(context.obj)
    except SettingsError as error:
        found = [checks.Finding("settings", "fail", problem, "Correct the setting.") for problem in error.problems]
    else:
        found = asyncio.run(checks.check(settings))
    _print_findings(found, as_json=as_json)


# --- running -----------------------------------------------------------------------------------------------------------


@app.command()
def run(context: typer.Context) -> None:
    """Run the node until SIGTERM or SIGINT."""
    from kpnode.service import serve

    settings = _settings(context)
    _guarded(lambda: serve(settings))


@app.command()
def doctor(
    context: typer.Context,
    only: Annotated[str | None, typer.Option("--partner", help="Look at this partner only.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(help="How long to wait for a partner's signed answer.")] = 15.0,
    as_json: Json = False,
) -> None:
    """Look at everything between our clock and the partner's signed answer, and say what to do about it."""
    from kpnode import doctor as examination

    settings = _settings(context)
    _print_findings(_run(examination.examine(settings, only=only, seconds=seconds)), as_json=as_json)


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
        _fail("this installation has no demonstration")
    sys.exit(play.main(context.args))


# --- partners ----------------------------------------------------------------------------------------------------------


@partner.command("add")
def partner_add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The partner's key record.")],
    fingerprint: Annotated[str, typer.Option(help="Its fingerprint, as it came by another way: telephone, paper.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the grant; else in the home.")] = None,
    as_json: Json = False,
) -> None:
    """Let a partner in, give it its place on our broker, and make the grant to send it."""
    done = _operate(context, "partner-add", record=_text(file), fingerprint=fingerprint)
    _introduced(done, out, as_json=as_json)


@partner.command("update")
def partner_update(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The next version of the partner's key record.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the new grant; else in the home.")] = None,
    as_json: Json = False,
) -> None:
    """Take in the next version of a partner's key record, signed by the identity that we know."""
    _introduced(_operate(context, "partner-update", record=_text(file)), out, as_json=as_json)


@partner.command("grant")
def partner_grant(
    context: typer.Context,
    address: Address,
    out: Annotated[Path | None, typer.Option(help="Where to write it; else in the home.")] = None,
    as_json: Json = False,
) -> None:
    """Make a new grant for a partner: its certificate runs out, or our endpoints have changed."""
    _introduced(_operate(context, "partner-grant", address=address), out, as_json=as_json)


@partner.command("accept")
def partner_accept(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The grant that the partner made for us.")],
    transport: Annotated[str | None, typer.Option(help="amqp or https, if the grant offers both.")] = None,
    as_json: Json = False,
) -> None:
    """Store how to reach a partner, from the grant that it sent us."""
    done = _operate(context, "partner-accept", grant=_text(file), transport=transport)
    _print_json(done) if as_json else print(f"{done['address']} is reached over {done['transport']} at {done['to']}")


@partner.command("list")
def partner_list(context: typer.Context, as_json: Json = False) -> None:
    """Every partner, and what waits for it."""
    found = _operate(context, "partner-list")
    if as_json:
        _print_json(found)
        return
    rows = []
    for each in found:
        link = each["link"]
        waits = "node not running" if link is None else str(link["waiting"])
        state = f"paused: {each['paused_because']}" if each["paused_at"] else _trouble(link)
        rows.append([each["address"], each["name"], each["transport"], f"v{each['version']}", waits, state])
    _print_table(["address", "name", "transport", "record", "waiting", "state"], rows)


@partner.command("show")
def partner_show(context: typer.Context, address: Address, as_json: Json = False) -> None:
    """Everything that is known of one partner."""
    found = [each for each in _operate(context, "partner-list") if each["address"] == address]
    if not found:
        _fail(f"{address} is no partner of ours")
    if as_json:
        _print_json(found[0])
        return
    _print_table(["", ""], [[name, _words(value)] for name, value in found[0].items()])


@partner.command("pause")
def partner_pause(
    context: typer.Context,
    address: Address,
    because: Annotated[str, typer.Option(help="Why; it is shown to everybody who asks why documents wait.")],
) -> None:
    """Hold documents back. Receipts and answers go on."""
    _operate(context, "partner-pause", address=address, because=because)
    print(f"documents to {address} wait")


@partner.command("resume")
def partner_resume(context: typer.Context, address: Address) -> None:
    """Let documents go again."""
    _operate(context, "partner-pause", address=address, because=None)
    print(f"documents to {address} go")


@partner.command("override")
def partner_override(
    context: typer.Context,
    address: Address,
    because: Annotated[str, typer.Option(help="Why; it is recorded as an incident.")],
) -> None:
    """Send to a partner that has not answered since the node started."""
    _operate(context, "partner-override", address=address, because=because)
    print(f"documents to {address} go without its answer")


@partner.command("remove")
def partner_remove(context: typer.Context, address: Address, as_json: Json = False) -> None:
    """Stop exchanging with a partner, and shut it out of our broker at once. What was exchanged stays."""
    done = _operate(context, "partner-remove", address=address)
    if as_json:
        _print_json(done)
        return
    print(f"{address} is removed")
    for note in done["notes"]:
        _note(note)


# --- API keys ----------------------------------------------------------------------------------------------------------


@apikey.command("add")
def apikey_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The system that will use it; several keys may bear one name.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; repeat for more than one.")],
    days: Annotated[int | None, typer.Option(min=1, help="For how many days; else until it is revoked.")] = None,
    as_json: Json = False,
) -> None:
    """Make an API key. It is shown once; only its hash is stored."""
    done = _operate(context, "apikey-add", name=name, scopes=scope, days=days)
    _print_json(done) if as_json else print(done["key"])


@apikey.command("list")
def apikey_list(context: typer.Context, as_json: Json = False) -> None:
    """Every key there ever was, without its secret."""
    found = _operate(context, "apikey-list")
    if as_json:
        _print_json(found)
        return
    names = ["id", "name", "scopes", "created_at", "expires", "revoked_at"]
    _print_table(names, [[_words(each[name]) for name in names] for each in found])


@apikey.command("revoke")
def apikey_revoke(
    context: typer.Context, key: Annotated[str, typer.Argument(help="The key's id, or the whole key.")]
) -> None:
    """Make a key worthless."""
    print(f"{_operate(context, 'apikey-revoke', key=key)['id']} is revoked")


# --- inside ------------------------------------------------------------------------------------------------------------


def _settings(context: typer.Context) -> Settings:
    from kpnode.settings import SettingsError, load

    try:
        return load(context.obj)
    except SettingsError as error:
        _fail("\n        ".join(error.problems), 2)


def _operate(context: typer.Context, verb: str, **arguments: Any) -> Any:
    from kpnode.control import operate

    return _run(operate(_settings(context), verb, **arguments))


def _run(work: Coroutine[Any, Any, T]) -> T:
    done: T = _guarded(lambda: asyncio.run(work))
    return done


def _guarded(work: Any) -> Any:
    """Do it; a reason that an operator can mend is said in one line, and a fault of ours keeps its traceback."""
    from kpnode.operator import in_words

    try:
        return work()
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            _fail(f"{error.filename or 'system'}: {error.strerror}")
        said = in_words(error)
        if said is None:
            raise
        _fail(said)


def _introduced(done: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    if out is not None and done["grant"] is not None:
        out.write_text(done["grant"] + "\n")
        done["grant_file"] = str(out)
    if as_json:
        _print_json(done)
        return
    if "name" in done:
        print(f"{done['address']} ({done['name']}), key record version {done['version']}, {done['fingerprint']}")
    if done["grant"] is not None:
        print(f"send them this grant: {done['grant_file']}")
    for note in done.get("notes", []):
        _note(note)


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except (OSError, ValueError):
        _fail(f"{file} cannot be read")


def _trouble(link: dict[str, Any] | None) -> str:
    if link is None:
        return ""
    if link["trouble"] is not None:
        return str(link["trouble"]["detail"])
    return "answers" if link["answered"] else "has not answered yet"


def _print_findings(found: list[Any], *, as_json: bool) -> None:
    """And end: status 1 if anything failed."""
    failed = any(finding.result == "fail" for finding in found)
    if as_json:
        _print_json([finding.told for finding in found])
    else:
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        rows = [
            [f"[{colours[f.result]}]{f.result}[/]", _plain(f.name), _plain(f.text), _plain(f.remedy or "")] for f in found
        ]
        _print_table(["", "check", "found", "what to do"], rows, markup=True)
    raise typer.Exit(1 if failed else 0)


def _print_table(names: list[str], rows: list[list[str]], *, markup: bool = False) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*names, box=None, pad_edge=False, show_header=any(names))
    for row in rows:
        table.add_row(*(row if markup else map(_plain, row)))
    # Not a terminal: a line of its own for each row, however long, so that `grep` finds it whole.
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items() if each is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _fail(text: str, status: int = 1) -> NoReturn:
    print(f"kpnode: {text}", file=sys.stderr)
    raise typer.Exit(status)
