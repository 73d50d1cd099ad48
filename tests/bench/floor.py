"""The honest floor: the same trip, made by a bare script with none of our code.

What a competent engineer would write in an afternoon, and no worse: uvloop, uvicorn and FastAPI with a pydantic model
in front, Ed25519 signatures over a JWS signing input, a writer thread that puts everything waiting into one commit,
aio-pika with publisher confirms behind, one persistent AMQP message a document and one a receipt. What it leaves
out is what our node exists for: repair after loss, key records, strict JSON, duplicates, back-off, several partners.

    sender     POST /documents: validate, sign, commit, publish; receipt: verify, commit, ack, answer the request
    recipient  document: verify, validate, commit with its register entry, publish a signed receipt, ack
"""

import asyncio
import json
import signal
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import aio_pika
import uvicorn
import uvloop
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage, AbstractQueue
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StringConstraints
from uuid_utils import uuid7

from kpnode.throwaway import Broker, free_ports
from tests.bench.drafts import RECIPIENT, SENDER, body, bulk_body
from tests.bench.floor_store import GroupCommit, open_store
from tests.bench.load import Request
from tests.bench.processes import Processes, port_open
from tests.bench.subject import Database, Endpoint

QUEUE = "in"
PREFETCH = 256

Amount = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,11})\.[0-9]{2}$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class Certificate(BaseModel):
    number_raw: str
    issuer: Country
    kind: Literal["kp", "technical"]


class Party(BaseModel):
    name: str
    address: str
    country: Country
    licence_number: str | None = None


class SingleOrigin(BaseModel):
    kind: Literal["single"]
    country: Country


class MixedList(BaseModel):
    kind: Literal["mixed_list"]
    countries: list[Country]


class Line(BaseModel):
    hs: str
    carats: Amount
    value_usd: Amount
    parcels: int
    origin: Annotated[SingleOrigin | MixedList, Field(discriminator="kind")]


class Destination(BaseModel):
    participant: Country
    place_of_entry: str


class Containers(BaseModel):
    count: int
    seal_numbers: list[str]


class Confirmation(BaseModel):
    requested: bool
    reply_by: date


class Notification(BaseModel):
    certificate: Certificate
    issuing_authority: str
    date_of_issue: date
    date_of_expiry: date
    exporter: Party
    importer: Party
    destination: Destination
    provenance: Country
    parcels: int
    containers: Containers
    lines: list[Line]
    carats: Amount
    value_usd: Amount
    confirmation: Confirmation


class Draft(BaseModel):
    type: str
    recipient: Country
    data: Notification


class Envelope(Draft):
    specversion: str = "1.0"
    id: str
    source: Country
    subject: str
    time: datetime


class Receipt(BaseModel):
    document: str
    position: int
    head: str
    at: datetime


class Wire:
    """Signing and opening of one JWS a message, by hand: two base64url encodings and one signature."""

    def __init__(self, own: Ed25519PrivateKey, partner: Ed25519PublicKey, typ: str, partner_typ: str) -> None:
        self._sign, self._verify = own.sign, partner.verify
        self._header = _b64(json.dumps({"alg": "Ed25519", "typ": typ}).encode())
        self._partner_header = _b64(json.dumps({"alg": "Ed25519", "typ": partner_typ}).encode())

    def seal(self, payload: bytes) -> bytes:
        encoded = _b64(payload)
        signature = _b64(self._sign(self._header + b"." + encoded))
        return b'{"payload":"%b","signatures":[{"protected":"%b","signature":"%b"}]}' % (
            encoded,
            self._header,
            signature,
        )

    def open(self, raw: bytes) -> bytes:
        """The payload of the partner's JWS; InvalidSignature or ValueError if it is anything else."""
        jws = json.loads(raw)
        (signed,) = jws["signatures"]
        protected, encoded = signed["protected"].encode(), jws["payload"].encode()
        if protected != self._partner_header:
            raise ValueError("not the protected header agreed on")
        self._verify(_unb64(signed["signature"].encode()), protected + b"." + encoded)
        return _unb64(encoded)


def _b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _unb64(data: bytes) -> bytes:
    return urlsafe_b64decode(data + b"=" * (-len(data) % 4))


async def _declare(url: str) -> tuple[AbstractExchange, AbstractQueue]:
    """Connect, with confirms, and make the vhost's one exchange and one quorum queue if they are missing."""
    connection = await aio_pika.connect(url, timeout=10)
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    await channel.set_qos(prefetch_count=PREFETCH)
    exchange = await channel.declare_exchange(QUEUE, aio_pika.ExchangeType.DIRECT, durable=True)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(exchange, QUEUE)
    return exchange, queue


async def _publish(exchange: AbstractExchange, raw: bytes) -> None:
    message = aio_pika.Message(raw, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await exchange.publish(message, QUEUE, mandatory=True)


def sender_app(settings: Mapping[str, str]) -> FastAPI:
    """The sender's process: HTTP in front, the recipient's vhost behind."""
    waiting: dict[str, asyncio.Future[int]] = {}
    parts: dict[str, Any] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        own, partner = _keys(settings)
        parts["wire"] = Wire(own, partner, "document", "receipt")
        parts["store"] = GroupCommit(open_store(settings["database"]).sender)
        parts["out"], _ = await _declare(settings["partner_amqp"])
        _, queue = await _declare(settings["own_amqp"])
        await queue.consume(received)
        yield
        parts["store"].close()

    app = FastAPI(lifespan=lifespan)

    async def received(message: AbstractIncomingMessage) -> None:
        raw = message.body
        receipt = Receipt.model_validate_json(parts["wire"].open(raw))
        await parts["store"].add(("receipt", receipt.document, receipt.position, raw))
        await message.ack()
        if (answer := waiting.pop(receipt.document, None)) is not None:
            answer.set_result(receipt.position)

    async def trip(draft: Draft) -> tuple[str, int]:
        envelope = Envelope(
            type=draft.type,
            recipient=draft.recipient,
            data=draft.data,
            id=str(uuid7()),
            source=SENDER,
            subject=draft.data.certificate.number_raw,
            time=datetime.now(UTC),
        )
        payload = envelope.model_dump_json().encode()
        document = sha256(payload).hexdigest()
        raw = parts["wire"].seal(payload)
        await parts["store"].add(("document", document, envelope.subject, raw))
        answer = waiting[document] = asyncio.get_running_loop().create_future()
        await _publish(parts["out"], raw)
        return document, await answer

    @app.post("/documents")
    async def submit(draft: Draft) -> JSONResponse:
        document, position = await trip(draft)
        return JSONResponse({"id": document, "position": position}, status_code=201)

    @app.post("/documents/bulk")
    async def submit_many(drafts: list[Draft]) -> JSONResponse:
        done = await asyncio.gather(*map(trip, drafts))
        return JSONResponse([{"id": document, "position": at} for document, at in done], status_code=201)

    return app


async def recipient(settings: Mapping[str, str]) -> None:
    """The recipient's process: consumes until SIGTERM or SIGINT."""
    own, partner = _keys(settings)
    wire = Wire(own, partner, "receipt", "document")
    store = GroupCommit(open_store(settings["database"]).recipient)
    out, _ = await _declare(settings["partner_amqp"])
    _, queue = await _declare(settings["own_amqp"])

    async def received(message: AbstractIncomingMessage) -> None:
        raw = message.body
        payload = wire.open(raw)
        envelope = Envelope.model_validate_json(payload)
        if (envelope.source, envelope.recipient) != (SENDER, RECIPIENT):
            raise ValueError("not from the partner to us")
        document = sha256(payload).hexdigest()
        position, head = await store.add((document, envelope.subject, raw))
        receipt = Receipt(document=document, position=position, head=head, at=datetime.now(UTC))
        await _publish(out, wire.seal(receipt.model_dump_json().encode()))
        await message.ack()

    await queue.consume(received)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await asyncio.to_thread(Path(settings["ready"]).touch)
    await stop.wait()
    store.close()


def _keys(settings: Mapping[str, str]) -> tuple[Ed25519PrivateKey, Ed25519PublicKey]:
    return (
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(settings["own_key"])),
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(settings["partner_key"])),
    )


class Floor:
    """The two processes above as a `Subject`."""

    name = "floor"

    def __init__(self, profile: Path | None = None) -> None:
        self._processes = Processes(self.name, profile)

    def start(self, workdir: Path, broker: Broker, database: Database) -> Endpoint:
        vhosts = ("floor-sender", "floor-recipient")
        definitions = workdir / "definitions.json"
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        definitions.write_text(
            json.dumps(
                {
                    "vhosts": [{"name": vhost} for vhost in vhosts],
                    "permissions": [{"user": "guest", "vhost": vhost, **rights} for vhost in vhosts],
                }
            )
        )
        broker.ctl("import_definitions", str(definitions))
        keys = [Ed25519PrivateKey.generate() for _ in vhosts]
        [port] = free_ports(1)
        consuming = workdir / "recipient.ready"
        for role, own, other in (("recipient", 1, 0), ("sender", 0, 1)):
            settings = {
                "role": role,
                "port": str(port),
                "ready": str(consuming),
                "own_amqp": broker.url(vhost=vhosts[own]),
                "partner_amqp": broker.url(vhost=vhosts[other]),
                "own_key": keys[own].private_bytes_raw().hex(),
                "partner_key": keys[other].public_key().public_bytes_raw().hex(),
                "database": database.create(f"floor_{role}"),
            }
            file = workdir / f"{role}.json"
            file.write_text(json.dumps(settings))
            ready = consuming.exists if role == "recipient" else port_open(port)
            self._processes.start(role, ["-m", "tests.bench.floor", str(file)], ready)
        return Endpoint(f"http://127.0.0.1:{port}")

    def stop(self) -> None:
        self._processes.stop()

    def processes(self) -> Mapping[str, int]:
        return self._processes.ids()

    def single(self, n: int, series: str) -> Request:
        return Request("POST", "/documents", {"Content-Type": "application/json"}, body(n, series))

    def bulk(self, n: int, size: int, series: str) -> Request:
        return Request(
            "POST", "/documents/bulk", {"Content-Type": "application/json"}, bulk_body(n, size, series)
        )

    def settled(self, status: int, body: bytes) -> int:
        return body.count(b'"position"') if status == 201 else 0


def main(settings_file: Path) -> None:
    settings = json.loads(settings_file.read_text())
    if settings["role"] == "sender":
        uvicorn.run(
            sender_app(settings),
            host="127.0.0.1",
            port=int(settings["port"]),
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=3,
        )
    else:
        uvloop.run(recipient(settings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
