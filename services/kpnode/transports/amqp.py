"""Frames over RabbitMQ: out to the partner's broker, in from our own (T7 to T9). The only door to aio_pika.

`AmqpLink` publishes to `kp.in` in our virtual host on the partner's broker. `Mailbox` reads `kp.in` in one partner's
virtual host on our own broker; `kpnode.transports.amqp_inbox` keeps one open per partner. The virtual host *is* the
proof of the sender: only that partner's certificate may write into it.

Both use plain connections, never aio_pika's robust ones: those hide exactly what an operator must see. Every way a
publish can end is one `Outcome`; what those ways look like from Python was found by trying each on a real broker, and
tests/integration/test_amqp.py keeps it so.

This module refuses to know what a frame says and when to send it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from typing import Any, Final, NamedTuple

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractExchange, ConnectionParameter
from aio_pika.connection import Connection
from aiormq import exceptions as refused
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage

from kpmsg.frames import MAX_FRAME_BYTES
from kpnode.broker import INBOX, vhost_of
from kpnode.transports import Outcome, Sent
from kpnode.transports.addresses import BrokerAddress
from kpnode.transports.causes import causes, plain, tls_fault

CONTENT_TYPE: Final = "application/kp-frame"
CONNECT_SECONDS: Final = 5.0
PUBLISH_SECONDS: Final = 10.0
# aiormq gives a silent peer up after 3 * (heartbeat + 1) seconds, looking every other second: 17 s at most.
HEARTBEAT_SECONDS: Final = 4
# Unacknowledged frames we hold per partner. Times MAX_FRAME_BYTES it is what a hostile partner can make us hold.
PREFETCH: Final = 32
BATCH_BYTES: Final = 8 * 1024 * 1024
CLOSE_SECONDS: Final = 3.0


class _Connection(Connection):
    """A plain connection whose TLS farewell to a frozen peer does not take asyncio's 30 seconds."""

    PARAMETERS = (
        *Connection.PARAMETERS,
        ConnectionParameter(name="ssl_shutdown_timeout", parser=float, is_kwarg=True),
    )


async def _connect(address: BrokerAddress, vhost: str, name: str) -> Connection:
    user, password = address.login or ("", "")
    more: dict[str, Any] = {"heartbeat": HEARTBEAT_SECONDS}
    if address.login is None:
        more["auth"] = "external"
    if address.tls is not None:
        more["ssl_shutdown_timeout"] = 2.0
    return await aio_pika.connect(
        host=address.host,
        port=address.port,
        login=user,
        password=password,
        virtualhost=vhost,
        ssl=address.tls is not None,
        ssl_context=address.tls,
        timeout=CONNECT_SECONDS,
        # Who we are is in the certificate; which Python we run is nobody's business.
        client_properties={
            "connection_name": name,
            "product": "kpnode",
            "platform": "",
            "version": "",
            "information": "",
        },
        connection_class=_Connection,
        **more,
    )


async def _farewell(connection: Connection) -> None:
    """Close without ever waiting long or raising: the peer may be frozen, gone, or under a memory alarm."""
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(connection.close(), CLOSE_SECONDS)


def is_bare_cancellation(error: BaseException) -> bool:
    """aiormq cancels whoever waits on a connection that lost its heartbeat; that is news about the peer, not an order."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


class AmqpLink:
    """The way out to one partner's broker: opened at the first frame, closed and opened anew after any error.

    Several frames may be under way at once; each gets its own answer.
    """

    def __init__(
        self,
        own: str,
        partner: str,
        broker: BrokerAddress,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        publish_seconds: float = PUBLISH_SECONDS,
    ) -> None:
        self._partner = partner
        self._broker = broker
        self._vhost = vhost_of(own)
        self._name = f"{own} to {partner}"
        self._connect_seconds = connect_seconds
        self._publish_seconds = publish_seconds
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    async def send(self, frame: bytes) -> Sent:
        if len(frame) > MAX_FRAME_BYTES:
            return Sent(
                Outcome.FORBIDDEN, f"A frame of {len(frame)} bytes is over the limit; it was not sent."
            )
        for is_second_try in (False, True):
            try:
                exchange = await self._open()
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not is_bare_cancellation(error):
                    raise
                return why_not_connected(error, self._broker)
            try:
                async with asyncio.timeout(self._publish_seconds):
                    await exchange.publish(_message(frame), routing_key=INBOX, mandatory=True)
            except refused.ChannelInvalidStateError as error:
                # The connection died while nobody looked, so this frame never left: worth one more try at once.
                self._drop(exchange)
                if is_second_try:
                    return why_not_published(error, self._broker)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not is_bare_cancellation(error):
                    raise
                sent = why_not_published(error, self._broker)
                if sent.outcome not in (Outcome.UNROUTABLE, Outcome.FULL) or isinstance(
                    error, refused.ChannelClosed
                ):
                    self._drop(exchange)
                return sent
            else:
                return Sent(Outcome.ACCEPTED, Outcome.ACCEPTED.text)
        raise AssertionError("unreachable")

    async def _open(self) -> AbstractExchange:
        async with self._opening:
            if self._exchange is not None and self._channel is not None and not self._channel.is_closed:
                return self._exchange
            self._drop(self._exchange)
            async with asyncio.timeout(self._connect_seconds):
                connection = await _connect(self._broker, self._vhost, self._name)
                try:
                    # Without on_return_raises an unroutable frame looks like a success.
                    channel = connection.channel(publisher_confirms=True, on_return_raises=True)
                    await channel.initialize()
                    exchange = await channel.get_exchange(INBOX, ensure=False)
                except BaseException:
                    self._bid_farewell(connection)
                    raise
            self._connection, self._channel, self._exchange = connection, channel, exchange
            return exchange

    def _drop(self, exchange: AbstractExchange | None) -> None:
        """Forget the connection `exchange` belongs to, unless somebody has replaced it already."""
        if exchange is not self._exchange or self._connection is None:
            return
        self._bid_farewell(self._connection)
        self._connection = self._channel = self._exchange = None

    def _bid_farewell(self, connection: Connection) -> None:
        task = asyncio.create_task(_farewell(connection))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def close(self) -> None:
        self._drop(self._exchange)
        await asyncio.gather(*self._farewells, return_exceptions=True)


def _message(frame: bytes) -> aio_pika.Message:
    return aio_pika.Message(frame, content_type=CONTENT_TYPE, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)


# --- in from our own broker ----------------------------------------------------------------------------------------


class Arrival(NamedTuple):
    """One frame that waits for its acknowledgement; `tag` numbers the arrivals of a mailbox from 1."""

    tag: int
    frame: bytes


class Lost(Exception):
    """The connection, the channel or the consumer ended under us. What was taken and not acknowledged comes again."""


class Mailbox:
    """`kp.in` of one virtual host on our own broker, open, as a list one can take from."""

    def __init__(self, connection: Connection, channel: RawChannel) -> None:
        self._connection = connection
        self._channel = channel  # aiormq's own: one task less per frame than through aio_pika
        self._arrived: asyncio.Queue[Arrival | Lost] = asyncio.Queue()
        self._end: Lost | None = None
        self._taken = 0

    @classmethod
    async def open(cls, broker: BrokerAddress, vhost: str, name: str) -> Mailbox:
        """Raises whatever the library raises; `why_lost` turns it into words."""
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await _connect(broker, vhost, name)
            try:
                channel = connection.channel(publisher_confirms=False)
                await channel.initialize()
                await channel.set_qos(prefetch_count=PREFETCH)
                raw = await channel.get_underlay_channel()
                mailbox = cls(connection, raw)
                connection.close_callbacks.add(mailbox._on_close)
                channel.close_callbacks.add(mailbox._on_close)
                raw.on_consumer_cancel_callbacks.add(mailbox._on_cancel)
                await raw.basic_consume(INBOX, mailbox._on_delivery)
            except BaseException:
                await _farewell(connection)
                raise
        return mailbox

    async def _on_delivery(self, message: DeliveredMessage) -> None:
        self._arrived.put_nowait(Arrival(message.delivery_tag or 0, message.body))

    def _on_close(self, _sender: object, error: BaseException | None) -> None:
        self._arrived.put_nowait(Lost(plain(error) if error else "closed"))

    def _on_cancel(self, _frame: object) -> None:
        self._arrived.put_nowait(Lost("the queue was deleted"))

    def interrupt(self) -> None:
        """Make a `take` that waits, or the next one, end as if the connection were lost."""
        self._arrived.put_nowait(Lost("stopped"))

    async def take(self, seconds: float) -> list[Arrival]:
        """The frames that are here, in order of arrival and not too many at once; none after `seconds` of silence."""
        if self._end is not None:
            raise self._end
        batch: list[Arrival] = []
        size = 0
        try:
            async with asyncio.timeout(seconds):
                arrived = await self._arrived.get()
        except TimeoutError:
            return batch
        while not isinstance(arrived, Lost):
            if arrived.tag != self._taken + 1:
                # An acknowledgement covers all tags below it, so a gap would acknowledge what nobody has read.
                raise Lost(f"delivery {arrived.tag} came after {self._taken}")
            self._taken = arrived.tag
            batch.append(arrived)
            size += len(arrived.frame)
            if len(batch) == PREFETCH or size >= BATCH_BYTES or self._arrived.empty():
                return batch
            arrived = self._arrived.get_nowait()
        self._end = arrived
        if not batch:
            raise self._end
        return batch

    async def acknowledge(self, batch: Sequence[Arrival]) -> None:
        """Everything up to the end of `batch` is done with; what was given back earlier is not touched by this."""
        await self._say(self._channel.basic_ack(batch[-1].tag, multiple=True, wait=False))

    async def give_back(self, arrival: Arrival) -> None:
        """Back to the queue, which counts how often that happens and moves the frame to `kp.dead` in the end."""
        await self._say(self._channel.basic_nack(arrival.tag, requeue=True, wait=False))

    async def _say(self, word: Awaitable[None]) -> None:
        try:
            # aiormq's writer stands still when the broker does, and nothing else would ever wake us.
            async with asyncio.timeout(PUBLISH_SECONDS):
                await word
        except (OSError, RuntimeError, refused.AMQPError) as error:
            raise Lost(plain(error)) from error

    async def depth(self, queue: str) -> int | None:
        """How many messages wait in `queue`; None if there is no such queue. Raises Lost."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                # On a channel of its own, since asking for a missing queue closes the channel.
                channel = self._connection.channel(publisher_confirms=False)
                await channel.initialize()
                try:
                    declared = await channel.declare_queue(queue, passive=True)
                except refused.ChannelNotFoundEntity:
                    return None
                await channel.close()
                return declared.declaration_result.message_count
        except (OSError, RuntimeError, refused.AMQPError) as error:
            raise Lost(plain(error)) from error
        except asyncio.CancelledError as error:
            if is_bare_cancellation(error):
                raise Lost("no heartbeat") from error
            raise

    async def close(self) -> None:
        await _farewell(self._connection)


def why_lost(error: BaseException, broker: BrokerAddress) -> Sent:
    """Class and sentence for a mailbox that could not be opened or did not stay open. All of it is ours to mend."""
    match error:
        case refused.ChannelNotFoundEntity() | refused.ChannelAccessRefused():
            return Sent(Outcome.FORBIDDEN, f"Our broker at {broker} does not let us read: {plain(error)}.")
        case Lost():
            return Sent(Outcome.UNREACHABLE, f"Our broker at {broker} ended the connection: {plain(error)}.")
    return why_not_connected(error, broker)


# --- what went wrong, in the words of the seam ---------------------------------------------------------------------


def _words_of_the_broker(error: BaseException) -> str:
    """What the broker said when it closed the connection, or "".

    aiormq turns a refusal of the virtual host into "invalid frame" and drops the broker's sentence; it survives only
    in the frames of the traceback. Losing it would hide "no such vhost" behind "too many connections".
    """
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame.f_locals.get("frame")
        if isinstance(frame, aiormq.spec.Connection.Close):
            return str(frame.reply_text)
        trace = trace.tb_next
    return ""


def why_not_connected(error: BaseException, broker: BrokerAddress) -> Sent:
    """Class and sentence for an attempt that ended before anything was handed over."""
    chain = list(causes(error))
    if any(
        isinstance(cause, refused.AuthenticationError | refused.ProbableAuthenticationError)
        for cause in chain
    ):
        return Sent(
            Outcome.AUTH, f"The broker at {broker} does not know us: no such user, or access withdrawn."
        )
    if fault := tls_fault(error, f"the broker at {broker}"):
        return fault
    for cause in chain:
        match cause:
            case refused.InvalidFrameError() | refused.ConnectionNotAllowed():
                said = _words_of_the_broker(cause) or str(cause)
                if "limit" in said:
                    return Sent(
                        Outcome.FULL, f"The broker at {broker} takes no more connections from us: {said}."
                    )
                return Sent(
                    Outcome.FORBIDDEN,
                    f"The broker at {broker} does not let us into our virtual host: {said}.",
                )
            case TimeoutError() | asyncio.CancelledError():
                return Sent(Outcome.UNREACHABLE, f"The broker at {broker} did not answer in time.")
            case ConnectionRefusedError():
                return Sent(Outcome.UNREACHABLE, f"Nothing listens at {broker}.")
            case ConnectionResetError() | asyncio.IncompleteReadError() if broker.tls is not None:
                # RabbitMQ resets a client whose certificate it does not like; the reason is in its log only.
                return Sent(
                    Outcome.TLS,
                    f"The broker at {broker} hung up on us; it probably does not accept our certificate.",
                )
    return Sent(Outcome.UNREACHABLE, f"No connection to the broker at {broker}: {plain(error)}.")


def why_not_published(error: BaseException, broker: BrokerAddress) -> Sent:
    """Class and sentence for a frame that was, or may have been, written to the wire."""
    match error:
        case refused.PublishError():
            return Sent(
                Outcome.UNROUTABLE, f"The broker at {broker} has no queue for our frames (no binding)."
            )
        case refused.DeliveryError():
            return Sent(Outcome.FULL, f"The broker at {broker} refuses more frames: our queue there is full.")
        case refused.ChannelAccessRefused():
            return Sent(Outcome.FORBIDDEN, f"The broker at {broker} does not let us publish: {plain(error)}.")
        case refused.ChannelNotFoundEntity():
            return Sent(Outcome.UNROUTABLE, f"The broker at {broker} has no exchange for us: {plain(error)}.")
        case refused.ChannelPreconditionFailed():
            return Sent(Outcome.FORBIDDEN, f"The broker at {broker} refuses this frame: {plain(error)}.")
        case TimeoutError() | asyncio.CancelledError():
            return Sent(Outcome.UNKNOWN, f"The broker at {broker} did not confirm in time.")
    return Sent(Outcome.UNKNOWN, f"The connection to {broker} broke before the confirm: {plain(error)}.")
