"""The SDK against real nodes: an authority's program and its cron job, over HTTP, to a partner and back."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import kpmsg
from kpmsg import ClientError, NodeClient, SignatureError, UntrustedKeyError, open_document
from kpnode.api import build_app
from kpnode.sample import confirmation
from kpnode.store.callers import Scope, create_caller
from kpnode.throwaway import free_ports
from tests.exchange import Site, Stage, stage, trade, until

NOW = datetime(2026, 11, 2, tzinfo=UTC)


@dataclass
class Desk:
    """One authority's side: where its node answers, and the key of its own system."""

    site: Site
    url: str
    key: str

    async def client(self, call: Any) -> Any:
        """What `call` returns, given a client; off the loop on which the nodes run."""

        def work() -> Any:
            with NodeClient(self.url, self.key, sleep=no_sleep) as client:
                return call(client)

        return await asyncio.to_thread(work)

    async def program(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run `kpmsg` as cron would; returns its exit status and what it printed."""
        environment = {"KPMSG_URL": self.url, "KPMSG_KEY": self.key, "PATH": "", "COLUMNS": "80"}
        code = "from kpmsg.cli import app; app()"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *arguments, env=environment, stdin=-1, stdout=-1, stderr=-1
        )
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


def no_sleep(seconds: float) -> None:
    raise AssertionError(f"nothing here should have to be repeated ({seconds})")


@asynccontextmanager
async def served(play: Stage, address: str) -> AsyncIterator[Desk]:
    """The API of one running node on a port of its own."""
    site = play.sites[address]
    assert site.database is not None
    scopes = (Scope.WRITE_DOCUMENTS, Scope.READ_DOCUMENTS, Scope.READ_PARTNERS, Scope.WRITE_NUMBERS)
    key = await site.database.write(lambda c: create_caller(c, "registry", scopes, "2026-01-01T00:00:00Z"))
    [port] = free_ports(1)
    app = build_app(site.running)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    try:
        await until(lambda: server.started)
        yield Desk(site, f"http://127.0.0.1:{port}", key)
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def exchange(folder: Path) -> AsyncIterator[tuple[Desk, Desk]]:
    databases = [(address, f"sqlite:///{folder / address}.db") for address in ("BW", "AE")]
    async with stage(*databases) as play, served(play, "BW") as exporter, served(play, "AE") as importer:
        yield exporter, importer


async def test_a_shipment_from_program_to_program(tmp_path: Path) -> None:
    async with exchange(tmp_path) as (exporter, importer):
        drafts = [trade().notification(n) for n in range(3)]
        done = await exporter.client(lambda c: c.submit(drafts, wait=20))
        assert (done.received, done.replayed, len(done.ids)) == (True, False, 3)
        again = await exporter.client(lambda c: c.submit(drafts))
        assert (again.ids, again.replayed) == (done.ids, True)

        # The importing authority's program reads what came, verifies it for itself, and confirms.
        raw = await importer.client(lambda c: c.signed(done.ids[0]))
        record = exporter.site.record.record
        verified = open_document(raw, sender=[record], source="BW", recipient="AE", now=datetime.now(UTC))
        assert verified.id == done.ids[0]
        answer = confirmation(verified.document, verified.id)
        confirmed = await importer.client(lambda c: c.submit(answer, wait=20))
        assert confirmed.received

        number = drafts[0]["data"]["certificate"]["number_raw"]
        certificate = await exporter.client(lambda c: c.certificate(number.lower()))
        assert certificate["state"] == "confirmed"
        listed = await exporter.client(lambda c: [one["id"] for one in c.documents(partner="AE")])
        assert sorted(listed) == sorted([*done.ids, *confirmed.ids])
        queue = await exporter.client(lambda c: c.queue("AE"))
        assert (queue["waiting"], queue["received"]) == (0, 3)
        assert [one["partner"] for one in await exporter.client(lambda c: c.queues())] == ["AE"]
        events = await exporter.client(lambda c: list(c.events()))
        assert {event["document"] for event in events} >= {*done.ids, *confirmed.ids}
        assert await exporter.client(lambda c: list(c.events(events[-1]["id"]))) == []
        assert (await exporter.client(lambda c: c.document(done.ids[0])))["delivery"]["state"] == "received"


async def test_what_the_node_refuses_is_told_with_places(tmp_path: Path) -> None:
    async with exchange(tmp_path) as (exporter, _):
        draft = trade().notification(0)
        draft["data"]["carats"] = 12.5
        with pytest.raises(ClientError) as raised:
            await exporter.client(lambda c: c.submit([trade().notification(1), draft]))
        assert (raised.value.code, raised.value.status) == ("document-invalid", 422)
        assert "/1/data/carats" in [problem.pointer for problem in raised.value.problems]
        for call, code in (
            (lambda c: c.document("00" * 32), "not-found"),
            (lambda c: c.certificate("BW 999999"), "not-found"),
            (lambda c: c.queue("EU/antwerp"), "not-found"),
            (lambda c: c.submit(b"{"), "json-invalid"),
            (lambda c: c.submit(trade(importer="CA").notification(0)), "partner-unknown"),
        ):
            with pytest.raises(ClientError) as raised:
                await exporter.client(call)
            assert raised.value.code == code
        exporter.key = f"kp_{'00' * 8}_{'00' * 32}"
        with pytest.raises(ClientError, match="key-unusable"):
            await exporter.client(lambda c: c.queues())


async def test_a_cron_job_sends_files_and_an_auditor_verifies_them(tmp_path: Path) -> None:
    drafts, bad, record = tmp_path / "drafts.json", tmp_path / "bad.json", tmp_path / "bw.json"
    drafts.write_text(json.dumps([trade().notification(n) for n in range(2)]))
    bad.write_text('{"type": "export-notification", "recipient": "AE", "data": {}}')
    async with exchange(tmp_path) as (exporter, importer):
        record.write_bytes(exporter.site.record.raw)
        status, out, _ = await exporter.program("submit", str(drafts), "--wait", "20")
        assert (status, out.count("received")) == (0, 2)
        status, out, err = await exporter.program("submit", str(bad), str(drafts), "--json")
        first, second = map(json.loads, out.splitlines())
        assert (status, err, first["problem"]["code"], second["replayed"]) == (
            3,
            "",
            "document-invalid",
            True,
        )
        ids = [document["id"] for document in second["documents"]]

        document, receipt = tmp_path / "document", tmp_path / "receipt"
        document.write_bytes(await importer.client(lambda c: c.signed(ids[0])))
        receipt.write_bytes(await exporter.client(lambda c: c.receipt(ids[0])))
        checked = ["verify", str(document), "--record", str(record)]
        status, out, _ = await importer.program(
            *checked, "--fingerprint", exporter.site.record.record.fingerprint
        )
        assert (status, ids[0] in out) == (0, True)
        assert (await importer.program("verify", str(receipt), "--record", str(record)))[
            0
        ] == 2  # AE signed it
        status, out, _ = await importer.program("inspect", str(receipt))
        assert (status, "AE (United Arab Emirates) says to BW (Botswana)" in out) == (0, True)
    status, _, err = await exporter.program("submit", str(drafts))
    assert (status, "Run the same command again later" in " ".join(err.split())) == (4, True)


async def test_the_example_in_the_package_runs_as_it_stands(tmp_path: Path) -> None:
    assert kpmsg.__doc__ is not None
    example = re.search(r"else::\n\n((?:    .*\n|\n)+)", kpmsg.__doc__)
    assert example is not None
    source = textwrap.dedent(example[1])
    async with exchange(tmp_path) as (exporter, _):
        source = source.replace("http://127.0.0.1:8080", exporter.url).replace("kp_...", exporter.key)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stdout=-1, stderr=-1)
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert re.fullmatch(r"[0-9a-f]{64} The partner has signed a receipt for it\.\n", out.decode())


async def test_a_stranger_with_a_good_signature_is_not_believed(tmp_path: Path) -> None:
    async with exchange(tmp_path) as (exporter, importer):
        done = await exporter.client(lambda c: c.submit(trade().notification(0)))
        raw = await exporter.client(lambda c: c.signed(done.ids[0]))
        record = importer.site.record.record
        with pytest.raises(UntrustedKeyError):
            open_document(raw, sender=[record], source="AE", recipient="BW", now=NOW)
        flipped = raw[:-20] + (b"A" if raw[-20:-19] != b"A" else b"B") + raw[-19:]
        sender = exporter.site.record.record
        with pytest.raises(SignatureError):
            open_document(flipped, sender=[sender], source="BW", recipient="AE", now=datetime.now(UTC))


async def test_a_program_asks_what_waits_and_accounts_for_its_numbers(tmp_path: Path) -> None:
    async with exchange(tmp_path) as (exporter, importer):
        await exporter.client(lambda c: c.submit([trade().notification(n) for n in range(3)], wait=20))
        work = await importer.client(lambda c: list(c.work("us", kind="confirmation")))
        assert [row["number"] for row in work] == ["BW 000001", "BW 000002", "BW 000003"]
        assert await importer.client(lambda c: list(c.work("them"))) == []
        summary = await exporter.client(lambda c: c.work_summary())
        assert (summary["us"]["waiting"]["text"], summary["them"]["waiting"]["text"]) == ("0", "3")
        begun = await exporter.client(lambda c: list(c.certificates(starts_with="BW 00000")))
        assert [row["key"] for row in begun] == ["BW000001", "BW000002", "BW000003"]

        facts = [{"number": "BW 000004", "status": "void", "note": "Spoilt in the printer."}]
        [recorded] = await exporter.client(lambda c: c.record_numbers(facts))
        assert (recorded["key"], recorded["by"]) == ("BW000004", "registry")
        told = await exporter.client(lambda c: c.numbers())
        assert told["strange"]["numbers"] == ["BW000001", "BW000002", "BW000003", "BW000004"]
        with pytest.raises(ClientError, match="may have been meant: BW 000002") as error:
            await exporter.client(lambda c: c.certificate("BW 00002"))
        assert error.value.code == "not-found"
