"""The way of an operator: from two empty directories to two nodes that exchange, by the command line alone."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from kpmsg.keyrecord import open_record
from kpnode.store.callers import Scope
from kpnode.store.database import Database
from kpnode.throwaway import Broker
from tests.exchange import trade
from tests.mutual_tls import needs_broker
from tests.nodes import Site, acquaint, on_one_broker, over_https, with_own_broker


@contextmanager
def running(*sites: Site) -> Iterator[None]:
    try:
        for site in sites:
            site.start()
        yield
    finally:
        for site in sites:
            site.stop()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Site, Site]:
    """BW and AE over HTTPS, acquainted, not running."""
    one, other = over_https(tmp_path)
    acquaint(one, other)
    return one, other


# --- init ----------------------------------------------------------------------------------------------------------------


def test_init_makes_everything_once_and_for_the_nodes_user_alone(tmp_path: Path) -> None:
    site, _ = over_https(tmp_path)
    first = site.json("init")
    assert "identity key" in first["made"]
    assert "database" in first["made"]
    before = {path: path.read_bytes() for path in site.home.rglob("*.key")}
    assert len(before) == 5
    again = site.json("init")
    assert again["made"] == []
    assert again["fingerprint"] == first["fingerprint"]
    assert {path: path.read_bytes() for path in site.home.rglob("*.key")} == before
    for path in [site.home, *site.home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_init_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    site, _ = over_https(tmp_path)
    site.cli("init")
    for lost in ("ca/ca.pem", "kpnode.db", "kpnode.db-wal", "kpnode.db-shm"):
        (site.home / lost).unlink(missing_ok=True)
    assert site.json("init")["made"] == ["certificate authority", "database"]
    assert not [finding for finding in site.json("check") if finding["result"] == "fail"]


def test_init_without_the_identity_key_is_content(tmp_path: Path) -> None:
    site, _ = over_https(tmp_path)
    site.cli("init")
    (site.home / "keys" / "identity.key").rename(tmp_path / "safe.key")
    assert site.json("init")["made"] == []
    newer = site.cli("record", "--new-version", status=1)
    assert "give --identity" in newer
    again = site.cli("record", "--new-version", "--identity", str(tmp_path / "safe.key"), status=1)
    assert "nothing has changed since version 1" in again
    site.file.write_text(site.file.read_text().replace("Botswana", "Botswana, Gaborone"))
    site.cli("record", "--new-version", "--identity", str(tmp_path / "safe.key"))
    assert (site.home / "records" / "2.jws").exists()


def test_a_wrong_passphrase_and_another_address_are_said(tmp_path: Path) -> None:
    site, _ = over_https(tmp_path)
    site.cli("init")
    right = site.file.read_text()
    site.file.write_text(right.replace("correct horse", "wrong horse"))
    assert "passphrase" in site.cli("init", status=1)
    assert "passphrase" in site.cli("run", status=1)
    site.file.write_text(right.replace('"BW"', '"ZA"'))
    assert "belongs to BW" in site.cli("init", status=1)


def test_es256_by_option(tmp_path: Path) -> None:
    site, _ = over_https(tmp_path)
    site.cli("init", "--algorithm", "ES256")
    record = open_record((site.home / "records" / "1.jws").read_bytes().strip()).record
    assert {entry.key.alg for entry in record.keys} == {"ES256"} == {key.alg for key in record.identity.keys}


def test_wrong_settings_are_all_named_and_the_status_is_2(tmp_path: Path) -> None:
    site, _ = over_https(tmp_path)
    site.file.write_text('address = "bw"\nnmae = "x"\n')
    said = site.cli("init", status=2)
    assert all(word in said for word in ("address", "nmae", "home", "passphrase"))
    assert {finding["result"] for finding in site.json("check", status=2)} == {"fail"}


def test_version_and_the_scopes_in_the_help(tmp_path: Path) -> None:
    site, _ = over_https(tmp_path)
    assert site.cli("--version").startswith("kpnode ")
    told = site.cli("apikey", "add", "--help")
    assert all(scope in told for scope in Scope)


def test_certificates_are_not_renewed_under_a_running_node(tmp_path: Path) -> None:
    tables = '[broker]\nhost = "broker.example"\n'
    site = Site.lay_out(tmp_path, "BW", tables)
    site.cli("init")
    certificate = site.home / "broker" / "server.pem"
    before = certificate.read_bytes()
    database = Database(site.settings.database_url)
    asyncio.run(database.start())
    try:
        assert "stop the node first" in site.cli("init", "--renew-certificates", status=1)
        assert certificate.read_bytes() == before
    finally:
        asyncio.run(database.close())
    site.cli("init", "--renew-certificates")
    assert certificate.read_bytes() != before


def test_nothing_is_cut_at_eighty_columns(pair: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = pair
    monkeypatch.setenv("COLUMNS", "80")
    one.cli("apikey", "add", "customs", "--scope", "documents:read", "--scope", "partners:operate")
    [key] = one.json("apikey", "list")
    listed = one.cli("apikey", "list")
    assert key["id"] in listed
    checked = one.cli("check")
    assert one.json("init")["fingerprint"] in checked
    assert max(map(len, (listed + checked).splitlines())) <= 80


# --- partners --------------------------------------------------------------------------------------------------------------


def test_a_wrong_fingerprint_lets_nobody_in(tmp_path: Path) -> None:
    one, other = over_https(tmp_path)
    one.cli("init")
    right = other.json("init")["fingerprint"]
    record = str(other.home / "records" / "1.jws")
    for wrong in (right[:-1], right[:-1] + ("0" if right[-1] != "0" else "1"), "", right + "0"):
        assert "fingerprint" in one.cli("partner", "add", record, "--fingerprint", wrong, status=1)
    assert one.json("partner", "list") == []
    one.cli("partner", "add", record, "--fingerprint", f" {right.upper().replace('-', ': ')} ")
    assert [each["address"] for each in one.json("partner", "list")] == ["AE"]


def test_a_key_that_somebody_else_has_is_refused(tmp_path: Path, pair: tuple[Site, Site]) -> None:
    one, other = pair
    (tmp_path / "elsewhere" / "ZA" / "keys").mkdir(parents=True)
    thief = Site.lay_out(tmp_path / "elsewhere", "ZA")
    for key in (other.home / "keys").glob("*.key"):
        (thief.home / "keys" / key.name).write_bytes(key.read_bytes())
    fingerprint = thief.json("init")["fingerprint"]
    record = str(thief.home / "records" / "1.jws")
    assert "key-foreign" in one.cli("partner", "add", record, "--fingerprint", fingerprint, status=1)
    assert [each["address"] for each in one.json("partner", "list")] == ["AE"]


def test_grants_are_for_one_holder_and_by_one_issuer(tmp_path: Path, pair: tuple[Site, Site]) -> None:
    one, other = pair
    own = tmp_path / "BW-to-AE.json"
    assert "ours, for AE" in one.cli("partner", "accept", str(own), status=1)
    assert "partner add" in one.cli("partner", "accept", str(tmp_path / "AE.jws"), status=1)
    grant = json.loads((tmp_path / "AE-to-BW.json").read_text())
    grant["signatures"][0]["signature"] = "A" * 86
    (tmp_path / "forged.json").write_text(json.dumps(grant, separators=(",", ":")))
    assert "sig-invalid" in one.cli("partner", "accept", str(tmp_path / "forged.json"), status=1)
    assert "offers https" in one.cli(
        "partner", "accept", str(tmp_path / "AE-to-BW.json"), "--transport", "amqp", status=1
    )
    assert one.json("partner", "list")[0]["transport"] == "https"
    assert other.json("partner", "list")[0]["reach"] == {"url": f"http://127.0.0.1:{one.port}"}


def test_the_next_record_of_a_partner(tmp_path: Path, pair: tuple[Site, Site]) -> None:
    one, other = pair
    other.file.write_text(other.file.read_text().replace("United Arab Emirates", "UAE"))
    other.cli("record", "--new-version", "--rotate", "document")
    second = str(other.home / "records" / "2.jws")
    fingerprint = other.json("init")["fingerprint"]
    assert "partner update" in one.cli("partner", "add", second, "--fingerprint", fingerprint, status=1)
    one.cli("partner", "update", second)
    shown = one.json("partner", "show", "AE")
    assert (shown["version"], shown["name"], shown["transport"]) == (2, "UAE", "https")
    assert "version 2 of AE already" in one.cli("partner", "update", second, status=1)
    for _ in range(2):
        other.cli("record", "--new-version", "--rotate", "node")
    fourth = str(other.home / "records" / "4.jws")
    assert "take in version 3 first" in one.cli("partner", "update", fourth, status=1)
    newest = open_record(Path(second).read_bytes().strip()).record
    assert sorted(entry.status for entry in newest.keys) == ["active", "active", "active", "retired"]
    assert not [finding for finding in other.json("check") if finding["result"] == "fail"]


def test_a_key_in_wrong_hands(pair: tuple[Site, Site]) -> None:
    one, _ = pair
    assert "say which" in one.cli("record", "--new-version", "--compromised", status=2)
    one.cli("record", "--new-version", "--rotate", "document", "--compromised")
    newest = open_record((one.home / "records" / "2.jws").read_bytes().strip()).record
    assert sorted(entry.status for entry in newest.keys) == ["active", "active", "active", "compromised"]


def test_api_keys(pair: tuple[Site, Site]) -> None:
    one, _ = pair
    key = one.cli("apikey", "add", "customs", "--scope", "documents:read").strip()
    assert "scopes are" in one.cli("apikey", "add", "x", "--scope", "everything", status=1)
    [listed] = one.json("apikey", "list")
    assert (listed["name"], listed["scopes"], listed["revoked_at"]) == ("customs", ["documents:read"], None)
    assert listed["person"] == "customs"
    scope = ("--scope", "documents:release")
    made = one.json("apikey", "add", "signing", *scope, "--person", "K. Moeti")
    assert made["person"] == one.json("apikey", "list")[1]["person"] == "K. Moeti"
    assert "is not 'node'" in one.cli("apikey", "add", "signing", *scope, "--person", "Node", status=1)
    assert key.split("_")[2] not in json.dumps(listed)
    one.cli("apikey", "revoke", key)
    assert one.json("apikey", "list")[0]["revoked_at"] is not None
    assert "revoked before" in one.cli("apikey", "revoke", listed["id"], status=1)


# --- running ---------------------------------------------------------------------------------------------------------------


@pytest.mark.system
def test_two_nodes_over_https(pair: tuple[Site, Site]) -> None:
    one, other = pair
    with running(one, other):
        done = one.submit(trade().notification(1))
        assert done["delivery"]["state"] == "received"
        assert "another process" in other.cli("init", status=1)
        # Decisions while it runs: the node itself carries them out, at once.
        one.cli("partner", "pause", "AE", "--because", "stocktaking")
        assert one.json("partner", "list")[0]["paused_because"] == "stocktaking"
        one.cli("partner", "resume", "AE")
        done = one.submit(trade().notification(2), "k2")
        assert done["delivery"]["state"] == "received"
        one.cli("apikey", "revoke", one.key)
        until = time.monotonic() + 10
        while httpx.get(
            f"http://127.0.0.1:{one.port}/v1/documents", headers={"Authorization": f"Bearer {one.key}"}
        ).is_success:
            assert time.monotonic() < until
            time.sleep(0.3)
        assert stat.S_IMODE((one.home / "control.sock").stat().st_mode) == 0o600
        assert one.stop() == 0
    assert not (one.home / "control.sock").exists()
    assert not [line for line in one.log.read_text().splitlines() if json.loads(line)["level"] == "error"]


@pytest.mark.system
def test_a_removed_partner_is_refused_at_once_and_comes_back_where_it_was(pair: tuple[Site, Site]) -> None:
    one, other = pair
    with running(one, other):
        one.submit(trade().notification(1))
        fingerprint = one.json("partner", "show", "AE")["fingerprint"]
        one.cli("partner", "remove", "AE")
        one.cli(
            "partner", "remove", "AE"
        )  # if the broker was away, its access has to be withdrawn by a second try
        one.cli("partner", "remove", "ZA", status=1)
        assert one.json("partner", "list") == []
        probe = other.json("doctor", "--seconds", "2", status=1)
        assert [finding["name"] for finding in probe if finding["result"] == "fail"][-1] == "BW: handing over"
        record = str(other.home / "records" / "1.jws")
        one.cli("partner", "add", record, "--fingerprint", fingerprint)
        assert one.submit(trade().notification(2), "k2")["delivery"]["state"] == "received"


@pytest.mark.system
@needs_broker
def test_two_nodes_on_one_throw_away_broker(tmp_path: Path, broker: Broker) -> None:
    one, other = on_one_broker(tmp_path, broker)
    acquaint(one, other)
    with running(one, other):
        done = one.submit(trade().notification(1))
        assert done["delivery"]["state"] == "received"
        ready = httpx.get(f"http://127.0.0.1:{one.port}/readyz").json()
        assert ready["checks"] == {"database": True, "broker": True}


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.two_brokers
@needs_broker
def test_two_brokers_and_mutual_tls(tmp_path: Path) -> None:
    with ExitStack() as stack:
        sites = []
        for address in ("BW", "AE"):
            site, broker = with_own_broker(tmp_path, address)
            stack.callback(broker.close)
            site.cli("init")
            broker.start()
            sites.append((site, broker))
        for _, broker in sites:
            broker.wait_ready()
        (one, own_broker), (other, _) = sites
        acquaint(one, other)
        with running(one, other):
            assert one.submit(trade().notification(1))["delivery"]["state"] == "received"
            found = one.json("doctor")
            assert not [finding for finding in found if finding["result"] == "fail"], found
            named = {finding["name"] for finding in found if finding["result"] == "ok"}
            assert {
                "AE: TLS",
                "AE: handing over",
                "AE: there and back",
                "AE: rights",
                "AE: our broker",
            } <= named
            # Withdrawn while it runs: the broker closes BW's connections, and BW is told who has to act.
            other.cli("partner", "remove", "BW")
            failed = [f for f in one.json("doctor", "--seconds", "2", status=1) if f["result"] == "fail"]
            assert [f["name"] for f in failed] == ["AE: handing over"], failed
            assert "does not know us" in failed[0]["text"]
            # The broker is down when the node starts: it starts, says so, and goes on trying.
            one.stop()
            own_broker.kill()
            one.start()
            assert httpx.get(f"http://127.0.0.1:{one.port}/readyz").json()["checks"]["broker"] is False
            assert "inbox.lost" in one.log.read_text()


def test_a_port_that_is_taken_is_said(pair: tuple[Site, Site]) -> None:
    one, _ = pair
    with socket.create_server(("127.0.0.1", one.port)):
        assert f"port {one.port} is taken" in one.cli("run", status=1)
    one.cli("partner", "list")  # nothing was left behind
