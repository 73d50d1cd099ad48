"""Frames over HTTPS, straight from node to node (T10 to T12 of protocol/transport.md): for authorities without a broker.

    POST {base}/exchange/{sender's address, percent-encoded}
    Content-Type: application/kp-frame
    Kp-Request: JWS (kp-request+jws, a transport key of the sender) over {"from","to","sha256","at"}

The body is frames separated by an empty line (no frame contains one), and so is the answer. The sender is proved by the
signature in `Kp-Request`, which binds the body to sender, recipient and time; the recipient by its TLS certificate. A
replay within the fifteen minutes of freshness does what any repeated frame does: nothing.

No redirects, no compression, nothing over 16 MiB. This module refuses to know what a frame says.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

import httpx

from kpmsg import jws, strictjson
from kpmsg.errors import MalformedError, MisaddressedError, SignatureError
from kpmsg.frames import MAX_FRAME_BYTES
from kpmsg.keyrecord import KeyRecord
from kpmsg.keys import Signer
from kpmsg.verification import open_statement
from kpnode.transports import Outcome, Sent
from kpnode.transports.causes import tls_fault
from kpnode.transports.loopback import is_loopback

HEADER: Final = "Kp-Request"
CONTENT_TYPE: Final = "application/kp-frame"
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
MAX_HEADER_BYTES: Final = 8 * 1024
MAX_FRAMES: Final = 1024  # in a request; an answer may have twice as many, since each frame may be answered
FRESH: Final = timedelta(minutes=15)
CONNECT_SECONDS: Final = 5.0
EXCHANGE_SECONDS: Final = 30.0
_SEPARATOR: Final = b"\n\n"


def join(frames: Sequence[bytes]) -> bytes:
    """The body that carries `frames`."""
    return _SEPARATOR.join(frames)


def split(body: bytes, most: int = MAX_FRAMES) -> list[bytes]:
    """The frames in a body. Raises MalformedError `frame-size`; whether each is a frame, `kpmsg.frames` decides."""
    if len(body) > MAX_BODY_BYTES:
        raise MalformedError("frame-size", f"a body has at most {MAX_BODY_BYTES} bytes")
    if body.count(_SEPARATOR) >= most:
        raise MalformedError("frame-size", f"a body has at most {most} frames")
    frames = [frame for frame in body.split(_SEPARATOR) if frame]
    if any(len(frame) > MAX_FRAME_BYTES for frame in frames):
        raise MalformedError("frame-size", f"a frame has at most {MAX_FRAME_BYTES} bytes")
    return frames


# --- out -----------------------------------------------------------------------------------------------------------


class HttpsLink:
    """The way out to one partner's node. The replies of the exchange come back in `Sent.replies`."""

    def __init__(
        self,
        own: str,
        partner: str,
        base: str,
        signer: Signer,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        exchange_seconds: float = EXCHANGE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`base`: URL from the partner's key record; https, or http on loopback. `signer`: a transport key of ours.

        `tls`: whom to trust; by default the public authorities. Raises ValueError for a base that will not do.
        """
        url = httpx.URL(base)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
            raise ValueError(f"{base} is not https; plain http is for loopback only")
        if url.userinfo or url.query or url.fragment:
            raise ValueError("a partner's base URL has no user, no query and no fragment")
        self._own = own
        self._partner = partner
        self._where = url.netloc.decode("ascii")
        self._url = f"{base.rstrip('/')}/exchange/{quote(own, safe='')}"
        self._signer = signer
        self._clock = clock
        self._exchange_seconds = exchange_seconds
        self._tls = tls
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def send(self, frame: bytes) -> Sent:
        if len(frame) > MAX_FRAME_BYTES:
            return Sent(
                Outcome.FORBIDDEN, f"A frame of {len(frame)} bytes is over the limit; it was not sent."
            )
        if self._client is None:
            self._client = self._connect()
        proof = sign_request(frame, self._own, self._partner, self._signer, self._clock())
        headers = {HEADER: proof, "Content-Type": CONTENT_TYPE}
        try:
            async with (
                asyncio.timeout(self._exchange_seconds),
                self._client.stream("POST", self._url, content=frame, headers=headers) as response,
            ):
                return await self._read(response)
        except Exception as error:  # noqa: BLE001 - an unforeseen error is an UNKNOWN, never a dead relay
            return self._why(error)

    def _connect(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self._trusted(),
            timeout=httpx.Timeout(self._exchange_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=4),
            trust_env=False,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "kpnode"},
            transport=self._transport,
        )

    def _trusted(self) -> ssl.SSLContext | bool:
        if self._tls is None and self._url.startswith("http:"):
            # No TLS will be spoken. Reading all public authorities takes longer than an exchange, and a megabyte for each partner.
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return True if self._tls is None else self._tls

    async def _read(self, response: httpx.Response) -> Sent:
        if response.status_code != httpx.codes.OK:
            return self._refused(response.status_code)
        if response.headers.get("content-encoding", "identity") != "identity":
            return Sent(Outcome.UNKNOWN, f"{self._where} sent a compressed answer, which is not read.")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return Sent(
                    Outcome.UNKNOWN, f"The answer of {self._where} is over the limit and was not read."
                )
        try:
            replies = tuple(split(bytes(body), 2 * MAX_FRAMES))
        except MalformedError as error:
            return Sent(Outcome.UNKNOWN, f"The answer of {self._where} cannot be read: {error.text}.")
        return Sent(Outcome.ACCEPTED, Outcome.ACCEPTED.text, replies)

    def _refused(self, status: int) -> Sent:
        where = f"{self._where} answered {status}"
        match status:
            case 401:
                return Sent(Outcome.AUTH, f"{where}: it does not accept our signature, or does not know us.")
            case 404 | 405 | 410:
                return Sent(Outcome.UNROUTABLE, f"{where}: there is no exchange for us at this address.")
            case 429 | 503 | 507:
                return Sent(Outcome.FULL, f"{where}: it takes nothing at the moment.")
            case 502 | 504:
                return Sent(
                    Outcome.UNREACHABLE, f"{where}: something in front of the partner's node cannot reach it."
                )
        if 300 <= status < 400:
            return Sent(Outcome.UNROUTABLE, f"{where}: it wants to redirect us, which is never followed.")
        if 400 <= status < 500:
            return Sent(Outcome.FORBIDDEN, f"{where}: it refuses our request.")
        return Sent(Outcome.UNKNOWN, f"{where}: an error on the partner's side.")

    def _why(self, error: BaseException) -> Sent:
        if fault := tls_fault(error, self._where):
            return fault
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
                return Sent(Outcome.UNREACHABLE, f"No connection to {self._where}: {type(error).__name__}.")
            case TimeoutError() | httpx.TimeoutException():
                return Sent(Outcome.UNKNOWN, f"{self._where} did not answer in time.")
        return Sent(Outcome.UNKNOWN, f"The exchange with {self._where} broke off: {type(error).__name__}.")

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def sign_request(body: bytes, own: str, partner: str, signer: Signer, now: datetime) -> str:
    """The value of the `Kp-Request` header for `body`."""
    claim = {
        "from": own,
        "to": partner,
        "sha256": sha256(body).hexdigest(),
        "at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return jws.sign(strictjson.dumps(claim), jws.REQUEST, [signer]).decode("ascii")


# --- in ------------------------------------------------------------------------------------------------------------


def authenticate(
    header: str | None, *, sender: str, own: str, records: Mapping[str, Sequence[KeyRecord]], now: datetime
) -> str:
    """The SHA-256 of the body that the partner `sender` is proved to have signed for us; nothing of it is read before.

    `sender`: the address in the path, percent-decoded. `records`: each partner's key records, newest last. Raises
    RefusedError, in the order of T11: MalformedError (no header, or one that cannot be it), MisaddressedError `address-unknown`;
    whatever the JWS, its key and its signature are refused for; MalformedError (the form of its payload); MisaddressedError
    `address-from`, `address-to`; SignatureError `sig-stale`. To the caller all of them are
    the same 401, a stranger's too: nobody may find out here who our partners are.
    """
    if header is None or len(header) > MAX_HEADER_BYTES or not header.isascii():
        raise MalformedError("jws-form", f"the header {HEADER} is missing or cannot be one")
    known = records.get(sender)
    if not known:
        raise MisaddressedError("address-unknown", "this node has no such partner")
    payload = open_statement(header.encode("ascii"), jws.REQUEST, known, now)
    claim = strictjson.loads(payload, max_bytes=1024, max_depth=1)
    if not isinstance(claim, dict):
        raise MalformedError("frame-shape", "a request's statement must be a JSON object", "")
    if _text(claim, "from") != sender:
        raise MisaddressedError("address-from", "signed for another sender", "/from")
    if _text(claim, "to") != own:
        raise MisaddressedError("address-to", "signed for another recipient", "/to")
    if abs(now - _time(claim)) > FRESH:
        raise SignatureError(
            "sig-stale", "signed too long ago, or in the future; one of the clocks is wrong", "/at"
        )
    return _text(claim, "sha256")


def check_body(body: bytes, digest: str) -> None:
    """Raise SignatureError `sig-body` unless these are the bytes that the request was signed for."""
    if sha256(body).hexdigest() != digest:
        raise SignatureError("sig-body", "signed for another body", "/sha256")


def _text(claim: Mapping[str, Any], name: str) -> str:
    value = claim.get(name)
    if not isinstance(value, str):
        raise MalformedError("frame-member", f"{name!r} must be a text", f"/{name}")
    return value


def _time(claim: Mapping[str, Any]) -> datetime:
    try:
        return datetime.strptime(_text(claim, "at"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise MalformedError("frame-member", "'at' must be a UTC time to the second", "/at") from None
