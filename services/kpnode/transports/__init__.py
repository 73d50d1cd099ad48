"""The seam between a node and its wires: one frame goes out, some frames come in, and every end has a name.

A transport carries frames (`kpmsg.frames`) and proves which partner they came from. It decides nothing else: it
refuses to know what a frame says, whether it was believed, or when to try again. Whatever it reports about a frame
that went out is for an operator's eyes; only a receipt signed by the partner makes a document count as received
(protocol/registers.md), so an ACCEPTED that was a lie costs time and never a document.

Three transports live behind this seam: `amqp` (the partner's RabbitMQ), `https` (the partner's node) and `memory`
(tests). A new one implements `Link` for what goes out, and calls a `Receive` and then a `Post` for what comes in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol

Fault = Literal["none", "ours", "partner", "network"]
Actor = Literal["nobody", "us", "partner"]


class Outcome(StrEnum):
    """How one attempt to hand a frame over ended.

    `fault` says on whose side the cause most probably lies, `actor` who has to do something about it ("nobody": it is
    tried again, and time is expected to cure it), `text` the same for a person on duty.
    """

    ACCEPTED = "accepted"
    UNROUTABLE = "unroutable"
    FORBIDDEN = "forbidden"
    FULL = "full"
    AUTH = "auth"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"

    @property
    def fault(self) -> Fault:
        return _MEANING[self][0]

    @property
    def actor(self) -> Actor:
        return _MEANING[self][1]

    @property
    def text(self) -> str:
        return _MEANING[self][2]


_MEANING: Final[dict[Outcome, tuple[Fault, Actor, str]]] = {
    Outcome.ACCEPTED: ("none", "nobody", "Handed over; waiting for the partner's receipt."),
    Outcome.UNROUTABLE: ("partner", "partner", "The partner's side has no place to put our messages."),
    Outcome.FORBIDDEN: ("partner", "partner", "The partner's side knows us but does not let us deliver."),
    Outcome.FULL: (
        "partner",
        "partner",
        "The partner's mailbox for us has reached its limit and is not being emptied.",
    ),
    Outcome.AUTH: ("partner", "partner", "The partner's side does not know us, or has withdrawn our access."),
    Outcome.TLS: ("ours", "us", "No secure connection: one side does not accept the other's certificate."),
    Outcome.UNREACHABLE: ("network", "nobody", "The partner cannot be reached at the moment."),
    Outcome.UNKNOWN: ("network", "nobody", "No answer in time; the message may or may not have arrived."),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """The end of one attempt: its class, a sentence for an operator, and reply frames if the wire brought some.

    `detail` never holds bytes of a frame, a secret or trade data: it ends up on screens and in logs.
    """

    outcome: Outcome
    detail: str
    replies: tuple[bytes, ...] = ()


class Link(Protocol):
    """The way out to one partner."""

    async def send(self, frame: bytes) -> Sent:
        """Try once to hand `frame` over, within the link's own deadline.

        Never raises, except `CancelledError` when the caller's task is really being cancelled. UNKNOWN is an honest
        answer: after it the frame may be with the partner or not.
        """
        ...

    async def close(self) -> None:
        """Give up whatever the link holds open; a later `send` opens it again."""
        ...


Receive = Callable[[str, Sequence[bytes]], Awaitable[list[bytes]]]
"""(partner proven by the transport, frames in order of arrival) -> reply frames.

Returns only after everything it decided is committed; the transport acknowledges then and not before. If it raises,
nothing was acknowledged and the same frames come again.
"""

Post = Callable[[str, Sequence[bytes]], None]
"""(partner, reply frames): hand them to whatever sends to that partner. Must not wait."""
