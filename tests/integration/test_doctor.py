"""`kpnode check` and `kpnode doctor`: what is wrong is found, and it is said who has to do what."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kpnode import doctor
from kpnode.assembly import build, introduce
from kpnode.checks import Finding, check
from kpnode.doctor import examine
from kpnode.pki import CertificateAuthority, new_private_key, write_private
from kpnode.settings import Broker, Public, Settings
from tests.integration.test_assembly import Land, started


def failed(found: Sequence[Finding], result: str = "fail") -> list[str]:
    return [finding.name for finding in found if finding.result == result]


@pytest.fixture
async def pair(tmp_path: Path) -> tuple[Settings, Settings]:
    """BW and AE over HTTPS on loopback, partners, not running."""
    bw, ae = (Land(a, tmp_path / a).settings() for a in ("BW", "AE"))
    await introduce(bw, ae)
    return bw, ae


# --- check ---------------------------------------------------------------------------------------------------------------


async def test_a_fresh_node_has_nothing_wrong(pair: tuple[Settings, Settings]) -> None:
    found = await check(pair[0])
    assert failed(found) == []
    assert failed(found, "warn") == ["identity key"]
    assert all(finding.remedy for finding in found if finding.result != "ok")


async def test_before_init(tmp_path: Path) -> None:
    [found] = await check(Land("BW", tmp_path / "BW").settings())
    assert (found.result, found.remedy) == ("fail", "kpnode init")


async def test_everything_is_named_at_once(pair: tuple[Settings, Settings]) -> None:
    settings = pair[0].model_copy(update={"public": Public()})
    home = settings.home
    home.chmod(0o755)
    (home / "keys" / "document.key").unlink()
    (home / "ca" / "ca.pem").write_text("damaged")
    for file in home.glob("kpnode.db*"):
        file.unlink()
    found = await check(settings)
    assert failed(found) == ["permissions", "keys", "certificate", "endpoints", "database"]


async def test_certificates_that_expire(tmp_path: Path) -> None:
    broker = Broker(host="localhost")
    bw = Land("BW", tmp_path / "BW").settings(None, broker)
    ae = Land("AE", tmp_path / "AE").settings(None, broker)
    await introduce(bw, ae)
    now = datetime.now(UTC)
    assert "certificate" not in failed(await check(bw, now))
    assert failed(await check(bw, now + timedelta(days=710)), "warn") == [
        "identity key",
        "certificate",
        "certificate",
        "AE: grant",
    ]
    assert failed(await check(bw, now + timedelta(days=740))) == ["certificate", "certificate", "AE: grant"]
    moved = bw.model_copy(update={"broker": Broker(host="rabbitmq.elsewhere")})
    assert any("not for rabbitmq.elsewhere" in finding.text for finding in await check(moved))


async def test_a_clock_that_is_behind(pair: tuple[Settings, Settings]) -> None:
    assert "clock" in failed(await check(pair[0], datetime.now(UTC) - timedelta(days=400)))


async def test_a_policy_that_is_not_published_yet_or_contradicts_itself(
    pair: tuple[Settings, Settings],
) -> None:
    rule = {"days": 90, "valid_from": "2020-01-01"}
    changed = {**dict(pair[0]), "policy": {"validity_days": [rule]}}
    (found,) = [each for each in await check(Settings(**changed)) if each.name == "policy"]
    assert (found.result, "not what our key record tells" in found.text) == ("warn", True)
    assert "record --new-version" in (found.remedy or "")
    changed["local"] = {"delays": [rule, rule | {"days": 3}]}
    texts = [each.text for each in await check(Settings(**changed)) if each.name == "policy"]
    assert len(texts) == 2
    assert "local.delays: two entries begin on 2020-01-01" in texts[0]


# --- doctor ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "asked", "named"),
    [
        (["ZA"], [], ["since the start: ZA"]),
        ([], ["AE"], ["answer once more: AE"]),
        (["ZA"], ["AE"], ["since the start: ZA", "answer once more: AE"]),
        ([], [], []),
    ],
)
def test_answers_that_are_held_are_told_with_whom_they_wait_for(
    waits: list[str], asked: list[str], named: list[str]
) -> None:
    held = doctor._held({"answers_held": {"answers": 1, "for": waits, "asked": asked}})
    assert len(held) == max(1, len(named))
    assert all(text in finding.text for text, finding in zip(named, held, strict=False))
    assert ("put back" in (held[0].remedy or "")) is (not named)


async def test_there_and_back_with_the_node_running_and_without(pair: tuple[Settings, Settings]) -> None:
    bw, ae = pair
    async with started(ae):
        at_rest = await examine(bw)
        assert failed(at_rest) == []
        assert "node" in failed(at_rest, "warn")
        assert "AE: there and back" in failed(at_rest, "ok")
        async with started(bw):
            running = await examine(bw, only="AE")
            assert failed(running) == []
            assert {"node", "API", "AE: clock", "AE: there and back"} <= set(failed(running, "ok"))
    assert failed(await examine(bw)) == ["AE: TCP"]
    assert failed(await examine(bw, only="ZA")) == ["partners"]


async def test_looking_at_a_node_at_rest_sends_no_documents(pair: tuple[Settings, Settings]) -> None:
    from tests.exchange import submit, trade

    bw, ae = pair
    async with started(bw) as (one,):
        await submit(one.node, trade().notification(1))
    async with started(ae) as (other,):
        assert "AE: there and back" in failed(await examine(bw), "ok")
        assert other.node.counts["documents", "admitted"] == 0


async def test_a_partner_that_does_not_know_us(pair: tuple[Settings, Settings]) -> None:
    bw, ae = pair
    async with started(ae) as (other,):
        await other.operator.remove_partner("BW")
        found = await examine(bw)
        assert failed(found) == ["AE: handing over"]


async def test_without_a_grant(tmp_path: Path) -> None:
    bw = Land("BW", tmp_path / "BW").settings()
    ae = (
        Land("AE", tmp_path / "AE")
        .settings()
        .model_copy(update={"public": Public(), "exchange_https": False})
    )
    await introduce(bw, ae)
    found = await examine(bw, seconds=0.5)
    assert "AE: grant" in failed(found, "warn")
    assert failed(found) == ["AE: there and back"]
    assert "No grant of AE" in found[-1].text


async def test_a_broker_that_is_down(tmp_path: Path) -> None:
    from kpnode.throwaway import free_ports

    broker = Broker(host="localhost", port=free_ports(1)[0])
    bw, ae = (Land(a, tmp_path / a).settings(None, broker) for a in ("BW", "AE"))
    await introduce(bw, ae)
    async with asyncio.timeout(30):
        found = await examine(bw, seconds=1)
    assert failed(found) == ["AE: our broker", "AE: TCP"]


async def test_names_and_certificates_of_a_partner(tmp_path: Path) -> None:
    assert (await doctor._resolves("AE", "nobody.invalid", 5671)).result == "fail"
    ca, other = (CertificateAuthority.create("AE", datetime.now(UTC)) for _ in range(2))
    key = new_private_key()
    write_private(tmp_path / "key", key)
    (tmp_path / "cert").write_bytes(ca.server_certificate(key, ["localhost"], datetime.now(UTC)))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    try:
        for trusted, host, result in (
            (ca, "localhost", "ok"),
            (other, "localhost", "fail"),
            (ca, "127.0.0.1", "fail"),
        ):
            context = ssl.create_default_context(cadata=trusted.certificate.decode())
            found = await doctor._connects("AE", host, port, context)
            assert (found[-1].name, found[-1].result) == ("AE: TLS", result)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("version", "result"),
    [
        ("4.1.15", "ok"),
        ("4.3.9", "ok"),
        ("4.4.0", "ok"),
        ("5.0.0", "ok"),
        ("4.1.14", "warn"),
        ("3.10.8", "warn"),
        ("3.12.99", "warn"),
        ("", "warn"),
    ],
)
def test_which_brokers_are_sound(version: str, result: str) -> None:
    assert doctor._version(version, plain=False).result == result


async def test_a_node_at_rest_is_left_as_it_was(pair: tuple[Settings, Settings]) -> None:
    bw, _ = pair
    await examine(bw, seconds=0.2)
    assembly = build(bw)
    await assembly.start()
    try:
        assert not assembly.node.peers["AE"].paused
    finally:
        await assembly.stop()
