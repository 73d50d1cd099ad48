"""`kpnode partner ...` and `kpnode apikey ...`: whom we exchange with, and who may call us. The verbs are `kpnode.operator`'s."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kpnode.terminal import Json, fail, in_one_line, minutes, note, operate, print_json, print_table, text_of

partner = typer.Typer(help="Whom we exchange with.", no_args_is_help=True, rich_markup_mode=None)
apikey = typer.Typer(
    help="Which programs of our own may call the API.", no_args_is_help=True, rich_markup_mode=None
)
Address = Annotated[str, typer.Argument(help="The partner's address, e.g. AE or EU/antwerp.")]


@partner.command("add")
def partner_add(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The partner's key record.")],
    fingerprint: Annotated[
        str, typer.Option(help="Its fingerprint, as it came by another way: telephone, paper.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write the grant; else in the home.")] = None,
    as_json: Json = False,
) -> None:
    """Let a partner in, give it its place on our broker, and make the grant to send it."""
    done = operate(context, "partner-add", record=text_of(file), fingerprint=fingerprint)
    _introduced(done, out, as_json=as_json)


@partner.command("update")
def partner_update(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The next version of the partner's key record.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the new grant; else in the home.")] = None,
    as_json: Json = False,
) -> None:
    """Take in the next version of a partner's key record, signed by the identity that we know."""
    _introduced(operate(context, "partner-update", record=text_of(file)), out, as_json=as_json)


@partner.command("grant")
def partner_grant(
    context: typer.Context,
    address: Address,
    out: Annotated[Path | None, typer.Option(help="Where to write it; else in the home.")] = None,
    as_json: Json = False,
) -> None:
    """Make a new grant for a partner: its certificate runs out, or our endpoints have changed."""
    _introduced(operate(context, "partner-grant", address=address), out, as_json=as_json)


@partner.command("accept")
def partner_accept(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The grant that the partner made for us.")],
    transport: Annotated[str | None, typer.Option(help="amqp or https, if the grant offers both.")] = None,
    as_json: Json = False,
) -> None:
    """Store how to reach a partner, from the grant that it sent us."""
    done = operate(context, "partner-accept", grant=text_of(file), transport=transport)
    print_json(done) if as_json else print(
        f"{done['address']} is reached over {done['transport']} at {done['to']}"
    )


@partner.command("list")
def partner_list(context: typer.Context, as_json: Json = False) -> None:
    """Every partner, and what waits for it."""
    found = operate(context, "partner-list")
    if as_json:
        print_json(found)
        return
    rows = []
    for each in found:
        link = each["link"]
        waits = "node not running" if link is None else str(link["waiting"])
        state = f"paused: {each['paused_because']}" if each["paused_at"] else _trouble(link)
        rows.append([each["address"], each["name"], each["transport"], f"v{each['version']}", waits, state])
    print_table(["address", "name", "transport", "record", "waiting", "state"], rows)


@partner.command("show")
def partner_show(context: typer.Context, address: Address, as_json: Json = False) -> None:
    """Everything that is known of one partner."""
    found = [each for each in operate(context, "partner-list") if each["address"] == address]
    if not found:
        fail(f"{address} is no partner of ours; `kpnode partner list` shows who is")
    if as_json:
        print_json(found[0])
        return
    print_table(["", ""], [[name, said] for name, said in _described(found[0]) if said])


@partner.command("pause")
def partner_pause(
    context: typer.Context,
    address: Address,
    because: Annotated[str, typer.Option(help="Why; it is shown to everybody who asks why documents wait.")],
) -> None:
    """Hold documents back. Receipts and answers go on."""
    operate(context, "partner-pause", address=address, because=because)
    print(f"documents to {address} wait")


@partner.command("resume")
def partner_resume(context: typer.Context, address: Address) -> None:
    """Let documents go again."""
    operate(context, "partner-pause", address=address, because=None)
    print(f"documents to {address} go")


@partner.command("override")
def partner_override(
    context: typer.Context,
    address: Address,
    because: Annotated[str, typer.Option(help="Why; it is recorded as an incident.")],
) -> None:
    """Send to a partner that has not answered since the node started."""
    operate(context, "partner-override", address=address, because=because)
    print(f"documents to {address} go without its answer")


@partner.command("remove")
def partner_remove(context: typer.Context, address: Address, as_json: Json = False) -> None:
    """Stop exchanging with a partner, and shut it out of our broker at once. What was exchanged stays."""
    done = operate(context, "partner-remove", address=address)
    if as_json:
        print_json(done)
        return
    print(f"{address} is removed")
    for left in done["notes"]:
        note(left)


@apikey.command("add")
def apikey_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The system that will use it; several keys may bear one name.")],
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="SCOPE",
            help="What it may do; repeat for more than one: documents:write, documents:read, documents:release, "
            "numbers:write, partners:read, partners:operate, incidents:write, metrics:read.",
        ),
    ],
    days: Annotated[
        int | None, typer.Option(min=1, help="For how many days; else until it is revoked.")
    ] = None,
    person: Annotated[
        str | None,
        typer.Option(
            help="Who holds the key, if NAME does not say it. Nobody releases their own drafts with a second key.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key. It is shown once; only its hash is stored."""
    done = operate(context, "apikey-add", name=name, scopes=scope, days=days, person=person)
    print_json(done) if as_json else print(done["key"])


@apikey.command("list")
def apikey_list(context: typer.Context, as_json: Json = False) -> None:
    """Every key there ever was, without its secret."""
    found = operate(context, "apikey-list")
    if as_json:
        print_json(found)
        return
    print_table(
        ["id", "name", "person", "scopes", "made", "until"],
        [
            [
                each["id"],
                each["name"],
                each["person"],
                "\n".join(each["scopes"]),
                minutes(each["created_at"]),
                _until(each),
            ]
            for each in found
        ],
    )


@apikey.command("revoke")
def apikey_revoke(
    context: typer.Context, key: Annotated[str, typer.Argument(help="The key's id, or the whole key.")]
) -> None:
    """Make a key worthless."""
    print(f"{operate(context, 'apikey-revoke', key=key)['id']} is revoked")


def _introduced(done: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    if out is not None and done["grant"] is not None:
        out.write_text(done["grant"] + "\n")
        done["grant_file"] = str(out)
    if as_json:
        print_json(done)
        return
    if "name" in done:
        print(
            f"{done['address']} ({done['name']}), key record version {done['version']}, {done['fingerprint']}"
        )
    if done["grant"] is not None:
        print(f"send them this grant: {done['grant_file']}")
    for left in done.get("notes", []):
        note(left)


def _until(key: dict[str, Any]) -> str:
    return f"revoked\n{minutes(key['revoked_at'])}" if key["revoked_at"] else minutes(key["expires"])


def _trouble(link: dict[str, Any] | None) -> str:
    if link is None:
        return ""
    if link["trouble"] is not None:
        return str(link["trouble"]["detail"])
    return "answered since our start" if link["answered"] else "has not answered since our start"


def _described(found: dict[str, Any]) -> list[tuple[str, str]]:
    """One partner in words; what is not known is empty."""
    link = found["link"] or {}
    way = {"amqp": "AMQP", "https": "HTTPS"}.get(found["transport"])
    reach = found["reach"]
    to = reach.get("url") or f"{reach.get('host')}:{reach.get('port')}"
    paused = f"since {minutes(found['paused_at'])}: {found['paused_because']}" if found["paused_at"] else ""
    return [
        ("address", found["address"]),
        ("name", found["name"]),
        ("contact", found["contact"] or ""),
        ("roles", in_one_line(found["roles"])),
        ("partner since", minutes(found["added_at"])),
        ("key record", f"version {found['version']}"),
        ("fingerprint", found["fingerprint"]),
        ("reached", f"over {way} at {to}" if way else "not yet: no grant of theirs has been accepted"),
        ("paused", paused),
        ("waiting", f"{link['waiting']}, of which {link['handed_over']} handed over" if link else ""),
        ("last heard", minutes(link.get("heard_at"))),
        ("state", _trouble(found["link"]) or "our node is not running"),
    ]
