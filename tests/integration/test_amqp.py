"""Every way a frame can end on a real RabbitMQ behind mutual TLS, and everything an inbox must survive."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime

import pytest

from kpmsg.frames import MAX_FRAME_BYTES
from kpnode.pki import CertificateAuthority, client_context
from kpnode.throwaway import free_ports
from kpnode.transports import Link, Outcome
from kpnode.transports.addresses import BrokerAddress
from kpnode.transports.amqp import AmqpLink, Mailbox
from kpnode.transports.amqp_inbox import AmqpInbox
from tests.mutual_tls import (
    OWN,
    PARTNERS,
    PASSWORD,
    Authority,
    authority_with_broker,
    needs_broker,
    until,
)

pytestmark = needs_broker


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with authority_with_broker() as running:
        yield running


@pytest.fixture
async def link(authority: Authority) -> AsyncIterator[AmqpLink]:
    """BW's way to AE."""
    opened = authority.link("BW")
    yield opened
    await opened.close()


class Node:
    """AE's own node, as far as an inbox can tell: remembers what it received, and fails on request."""

    def __init__(self, authority: Authority) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.batches: list[int] = []
        self.posted: list[tuple[str, tuple[bytes, ...]]] = []
        self.poison: bytes | None = None
        self.waiting = False
        self.commit_seconds = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.inbox = AmqpInbox(
            [authority.loopback], self.receive, self.post, pause=(0.01, 0.2), idle_seconds=0.5
        )

    async def receive(self, partner: str, frames: Sequence[bytes]) -> list[bytes]:
        self.waiting = True
        await asyncio.sleep(self.commit_seconds)
        await self.gate.wait()
        if self.poison in frames:
            raise RuntimeError("a defect in our own code")
        self.batches.append(len(frames))
        self.received += [(partner, frame) for frame in frames]
        return [b"receipt for " + frame for frame in frames]

    def post(self, partner: str, replies: Sequence[bytes]) -> None:
        self.posted.append((partner, tuple(replies)))

    def frames(self, partner: str = "BW") -> list[bytes]:
        return [frame for sender, frame in self.received if sender == partner]


@pytest.fixture
async def node(authority: Authority) -> AsyncIterator[Node]:
    await empty(authority)  # of what a test before sent without waiting for it
    running = Node(authority)
    yield running
    await running.inbox.close()


async def outcome_of(link: Link, frame: bytes = b"frame") -> Outcome:
    try:
        return (await link.send(frame)).outcome
    finally:
        await link.close()


async def connected(node: Node, partner: str = "BW") -> None:
    await until(lambda: node.inbox.states[partner].connected)


async def empty(authority: Authority, queue: str = "kp.in", vhost: str = "kp.BW") -> None:
    await authority.by_operator("DELETE", f"queues/{{vhost}}/{queue}/contents", vhost=vhost)


# --- the good case -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partner", PARTNERS)
async def test_a_frame_arrives_with_its_partner_proved_by_the_virtual_host(
    authority: Authority, node: Node, partner: str
) -> None:
    for each in PARTNERS:
        node.inbox.add(each)
    assert await outcome_of(authority.link(partner), b"one frame") is Outcome.ACCEPTED
    await until(lambda: node.posted == [(partner, (b"receipt for one frame",))])
    assert node.received == [(partner, b"one frame")]


async def test_what_is_there_becomes_few_batches_in_order(node: Node, link: AmqpLink) -> None:
    frames = [b"%03d" % number for number in range(200)]
    for sent in await asyncio.gather(*(link.send(frame) for frame in frames)):
        assert sent.outcome is Outcome.ACCEPTED
    node.commit_seconds = 0.02
    node.inbox.add("BW")
    await until(lambda: len(node.received) == len(frames))
    assert node.frames() == frames
    assert len(node.batches) < len(frames) / 4


async def test_nothing_is_acknowledged_before_receive_returned(
    authority: Authority, node: Node, link: AmqpLink
) -> None:
    for number in range(3):
        await link.send(b"%d" % number)
    node.gate.clear()
    node.inbox.add("BW")
    await connected(node)
    await until(lambda: node.waiting)
    _, task = node.inbox._consumers["BW"]
    task.cancel()  # the process dies in the middle of its transaction
    after_restart = Node(authority)
    after_restart.inbox.add("BW")
    await until(lambda: sorted(after_restart.frames()) == [b"0", b"1", b"2"])
    await after_restart.inbox.close()
    later_still = Node(authority)
    later_still.inbox.add("BW")
    await connected(later_still)
    await asyncio.sleep(0.2)
    assert later_still.received == []
    await later_still.inbox.close()


async def depth(authority: Authority, queue: str) -> int | None:
    """How many messages are ready in a queue of kp.BW."""
    mailbox = await Mailbox.open(authority.loopback, "kp.BW", "test")
    try:
        return await mailbox.depth(queue)
    finally:
        await mailbox.close()


async def test_a_frame_of_the_greatest_size_passes_and_one_byte_more_is_not_even_sent(
    node: Node, link: AmqpLink
) -> None:
    node.inbox.add("BW")
    assert (await link.send(b"x" * MAX_FRAME_BYTES)).outcome is Outcome.ACCEPTED
    assert (await link.send(b"x" * (MAX_FRAME_BYTES + 1))).outcome is Outcome.FORBIDDEN
    await until(lambda: [len(frame) for frame in node.frames()] == [MAX_FRAME_BYTES])


async def test_our_own_node_may_also_log_in_by_certificate(authority: Authority, link: AmqpLink) -> None:
    node = Node(authority)
    node.inbox._brokers = (authority.seen_by(OWN),)
    async with authority.management() as management:
        user = {"password_hash": "", "tags": ""}
        await management._call("PUT", f"users/{OWN}", json=user)
        try:
            node.inbox.add("BW")
            await link.send(b"frame")
            await until(lambda: node.frames() == [b"frame"])
        finally:
            await node.inbox.close()
            await management._call("PUT", f"users/{OWN}", json={"password": PASSWORD, "tags": ""})


async def test_partners_come_and_go_while_the_inbox_runs(
    authority: Authority, node: Node, link: AmqpLink
) -> None:
    node.inbox.add("EU/antwerp")
    node.inbox.add("BW")
    node.inbox.add("BW")
    await connected(node)
    await node.inbox.remove("BW")
    assert set(node.inbox.states) == {"EU/antwerp"}
    await link.send(b"waits")
    assert node.received == []
    node.inbox.add("BW")
    await until(lambda: node.frames() == [b"waits"])


# --- each outcome --------------------------------------------------------------------------------------------------


async def test_S91_unroutable_when_the_binding_is_gone_and_the_link_lives_on(
    authority: Authority, link: AmqpLink
) -> None:
    async with authority.management() as management:
        await authority.by_operator("DELETE", "bindings/{vhost}/e/kp.in/q/kp.in/~")
        assert any("leads nowhere" in fault for fault in await management.faults(OWN, "BW"))
        sent = await link.send(b"frame")
        assert sent.outcome is Outcome.UNROUTABLE
        assert sent.outcome.actor == "partner"
        await management.apply(OWN, "BW")
        assert await management.faults(OWN, "BW") == []
        assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
    await empty(authority)


async def test_unroutable_when_the_exchange_is_gone(authority: Authority, link: AmqpLink) -> None:
    async with authority.management() as management:
        await authority.by_operator("DELETE", "exchanges/{vhost}/kp.in")
        assert (await link.send(b"frame")).outcome is Outcome.UNROUTABLE
        await management.apply(OWN, "BW")
        assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
    await empty(authority)


async def test_S92_full_queue_is_refused_and_other_partners_do_not_notice(
    authority: Authority, link: AmqpLink
) -> None:
    async with authority.management() as management:
        # The real cap is 256 MiB; a policy can only lower it.
        policy = {"pattern": r"^kp\.in$", "definition": {"max-length": 2}, "apply-to": "queues"}
        await management._call("PUT", "policies/kp.BW/small", json=policy)
        try:
            outcomes = [(await link.send(b"frame")).outcome for _ in range(10)]
            assert outcomes[0] is Outcome.ACCEPTED
            assert outcomes[-1] is Outcome.FULL
            assert set(outcomes) == {Outcome.ACCEPTED, Outcome.FULL}
            assert await outcome_of(authority.link("EU/antwerp")) is Outcome.ACCEPTED
        finally:
            await management._call("DELETE", "policies/kp.BW/small")
    await empty(authority)
    await empty(authority, vhost="kp.EU.antwerp")
    await until(lambda: accepted(link))
    await empty(authority)


async def accepted(link: AmqpLink) -> bool:
    return (await link.send(b"frame")).outcome is Outcome.ACCEPTED


async def test_forbidden_when_the_right_to_write_is_taken_away(authority: Authority) -> None:
    async with authority.management() as management:
        nothing = {"configure": "^$", "write": "^$", "read": "^$"}
        await management._call("PUT", "permissions/kp.BW/BW", json=nothing)
        try:
            sent = await authority.link("BW").send(b"frame")
            assert sent.outcome is Outcome.FORBIDDEN
            assert "ACCESS_REFUSED" in sent.detail
            assert any("write" in fault for fault in await management.faults(OWN, "BW"))
        finally:
            await management.apply(OWN, "BW")


@pytest.mark.parametrize(
    ("claimed", "reason"), [("EU/antwerp", "access to vhost"), ("FR", "not found"), (OWN, "not found")]
)
async def test_forbidden_in_the_virtual_host_of_another_or_of_nobody(
    authority: Authority, claimed: str, reason: str
) -> None:
    link = AmqpLink(claimed, OWN, authority.seen_by("BW"))
    sent = await link.send(b"frame")
    await link.close()
    assert sent.outcome is Outcome.FORBIDDEN
    assert reason in sent.detail


async def test_auth_when_the_certificate_is_good_but_there_is_no_such_user(authority: Authority) -> None:
    assert await outcome_of(authority.link("ZA")) is Outcome.AUTH


async def test_S87_revoking_a_partner_closes_its_live_connection(authority: Authority) -> None:
    async with authority.management() as management:
        await management.apply(OWN, "ZA")
        assert await management.faults(OWN, "ZA") == []
        link = authority.link("ZA")
        assert (await link.send(b"before")).outcome is Outcome.ACCEPTED
        await management.revoke("ZA")
        await management.revoke("ZA")
        channel = link._channel
        assert channel is not None
        await until(lambda: channel.is_closed, 5)
        assert (await link.send(b"after")).outcome is Outcome.AUTH
        assert await management.depths("ZA") is not None
        await management.apply(OWN, "ZA")
        assert (await link.send(b"admitted again")).outcome is Outcome.ACCEPTED
        await link.close()
        await management.remove("ZA")
        await management.remove("ZA")


async def test_S96_certificate_of_another_ca_with_the_same_name_is_refused(authority: Authority) -> None:
    impostor = CertificateAuthority.create(OWN, datetime.now(UTC))
    genuine = authority.ca
    authority.ca = impostor
    try:
        forged = authority.certificate("BW")
    finally:
        authority.ca = genuine
    link = AmqpLink("BW", OWN, authority.seen_by("BW", certificate=forged))
    sent = await link.send(b"frame")
    assert sent.outcome is Outcome.TLS
    assert sent.outcome.actor == "us"


async def test_S96_broker_of_another_ca_is_not_spoken_to(authority: Authority) -> None:
    elsewhere = CertificateAuthority.create(OWN, datetime.now(UTC))
    context = client_context(trusted=elsewhere.certificate)
    link = AmqpLink("BW", OWN, BrokerAddress("localhost", authority.broker.tls_port, context))
    sent = await link.send(b"frame")
    assert sent.outcome is Outcome.TLS
    assert "We do not accept" in sent.detail


async def test_S96_broker_under_a_name_not_in_its_certificate_is_not_spoken_to(authority: Authority) -> None:
    address = BrokerAddress("127.0.0.2", authority.broker.tls_port, authority.context("BW"))
    assert await outcome_of(AmqpLink("BW", OWN, address)) in {Outcome.TLS, Outcome.UNREACHABLE}


async def test_S97_no_client_certificate(authority: Authority) -> None:
    context = client_context(trusted=authority.ca.certificate)
    link = AmqpLink("BW", OWN, BrokerAddress("localhost", authority.broker.tls_port, context))
    assert await outcome_of(link) is Outcome.TLS


async def test_S97_no_client_certificate_over_tls_1_2(authority: Authority) -> None:
    context = client_context(trusted=authority.ca.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    link = AmqpLink("BW", OWN, BrokerAddress("localhost", authority.broker.tls_port, context))
    assert await outcome_of(link) is Outcome.TLS


@pytest.mark.parametrize("host", ["localhost", "no-such-host.invalid"])
async def test_unreachable_when_nobody_listens_or_the_name_is_unknown(
    authority: Authority, host: str
) -> None:
    link = AmqpLink("BW", OWN, BrokerAddress(host, free_ports(1)[0], authority.context("BW")))
    assert await outcome_of(link) is Outcome.UNREACHABLE


async def test_S93_connections_beyond_the_limit_are_refused_and_others_unaffected(
    authority: Authority,
) -> None:
    links = [authority.link("BW") for _ in range(8)]
    try:
        outcomes = [(await link.send(b"frame")).outcome for link in links]
        assert outcomes == [Outcome.ACCEPTED] * 4 + [Outcome.FULL] * 4
        assert await outcome_of(authority.link("EU/antwerp")) is Outcome.ACCEPTED
    finally:
        await asyncio.gather(*(link.close() for link in links))
    await empty(authority)
    await empty(authority, vhost="kp.EU.antwerp")


async def test_plain_amqp_to_another_host_is_a_mistake_that_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="TLS"):
        BrokerAddress("broker.example", login=("user", "password"))
    assert "password" not in repr(BrokerAddress("localhost", login=("user", "password")))


# --- cancellation --------------------------------------------------------------------------------------------------


async def test_a_real_cancellation_goes_through_and_the_link_can_be_used_again(
    authority: Authority, link: AmqpLink
) -> None:
    sending = asyncio.create_task(link.send(b"frame"))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
    await empty(authority)


# --- what the inbox survives ---------------------------------------------------------------------------------------


async def test_S98_bytes_put_there_by_the_brokers_operator_reach_receive_as_they_are(
    authority: Authority, node: Node
) -> None:
    node.inbox.add("BW")
    await connected(node)
    for payload in ("not a frame", "", "not a frame"):
        body = {
            "routing_key": "kp.in",
            "payload": payload,
            "payload_encoding": "string",
            "properties": {"user_id": "admin"},
        }
        await authority.by_operator("POST", "exchanges/{vhost}/kp.in/publish", json=body)
    await until(lambda: node.frames() == [b"not a frame", b"", b"not a frame"])


async def test_S99_a_frame_that_can_never_be_received_ends_as_a_dead_letter_and_spoils_no_other(
    authority: Authority, node: Node, link: AmqpLink
) -> None:
    node.poison = b"poison"
    for frame in (b"first", b"poison", b"second"):
        await link.send(frame)
    node.inbox.add("BW")
    await until(lambda: sorted(node.frames()) == [b"first", b"second"])
    await until(lambda: node.inbox.states["BW"].dead == 1, 60)
    assert await depth(authority, "kp.in") == 0
    assert sorted(node.frames()) == [b"first", b"second"]
    await empty(authority, "kp.dead")


async def test_a_passing_outage_of_receive_loses_nothing(node: Node, link: AmqpLink) -> None:
    node.poison = b"frame"
    for _ in range(3):
        await link.send(b"frame")
    node.inbox.add("BW")
    await connected(node)
    await asyncio.sleep(0.2)
    node.poison = None
    await until(lambda: node.frames() == [b"frame"] * 3)


async def test_a_wiped_virtual_host_is_named_and_resumed_when_it_is_back(
    authority: Authority, node: Node, link: AmqpLink
) -> None:
    node.inbox.add("BW")
    await connected(node)
    assert (await link.send(b"before")).outcome is Outcome.ACCEPTED
    await until(lambda: node.frames() == [b"before"])
    async with authority.management() as management:
        await management._call("DELETE", "vhosts/kp.BW")
        await until(lambda: not node.inbox.states["BW"].connected)
        await until(lambda: "not found" in detail(node))
        assert (await link.send(b"meanwhile")).outcome in {Outcome.FORBIDDEN, Outcome.UNKNOWN}
        assert await management.faults(OWN, "BW") == ["The virtual host kp.BW does not exist."]
        await management.apply(OWN, "BW")
    await connected(node)
    await until(lambda: accepted(link))
    await until(lambda: node.frames()[-1:] == [b"frame"])


def detail(node: Node) -> str:
    error = node.inbox.states["BW"].error
    return error.detail if error else ""


async def test_a_deleted_queue_is_noticed(authority: Authority, node: Node, link: AmqpLink) -> None:
    node.inbox.add("BW")
    await connected(node)
    async with authority.management() as management:
        await authority.by_operator("DELETE", "queues/{vhost}/kp.in")
        await until(lambda: not node.inbox.states["BW"].connected)
        assert (await link.send(b"frame")).outcome is Outcome.UNROUTABLE
        await management.apply(OWN, "BW")
    await connected(node)
    assert (await link.send(b"frame")).outcome is Outcome.ACCEPTED
    await until(lambda: node.frames() == [b"frame"])


async def test_a_frozen_broker_is_unknown_within_the_deadline_and_unreachable_after(
    authority: Authority, node: Node
) -> None:
    node.inbox.add("BW")
    await connected(node)
    link = authority.link("BW", publish_seconds=1, connect_seconds=1)
    await until(lambda: accepted(link))  # on a busy machine even a broker that is well may take longer
    loop = asyncio.get_running_loop()
    authority.broker.freeze()
    try:
        started = loop.time()
        assert (await link.send(b"during")).outcome is Outcome.UNKNOWN
        assert (await link.send(b"during")).outcome is Outcome.UNREACHABLE
        assert loop.time() - started < 15, "long before a heartbeat would have told"
    finally:
        authority.broker.thaw()
    await until(lambda: accepted(link))
    await until(lambda: b"during" in node.frames())  # it had arrived after all: that is what UNKNOWN means
    await link.close()


@pytest.mark.slow
async def test_S94_a_lost_heartbeat_is_noticed_within_20_seconds_by_link_and_inbox(
    authority: Authority,
) -> None:
    node = Node(authority)
    node.inbox._idle_seconds = 15
    node.inbox.add("BW")
    await connected(node)
    link = authority.link("BW", publish_seconds=60)
    assert (await link.send(b"before")).outcome is Outcome.ACCEPTED
    authority.broker.freeze()
    try:
        async with asyncio.timeout(21):
            # No deadline of ours is this short: aiormq gives up and cancels the publisher, without anybody's order.
            assert (await link.send(b"during")).outcome is Outcome.UNKNOWN
        await until(lambda: not node.inbox.states["BW"].connected, 3)
    finally:
        authority.broker.thaw()
    await connected(node)
    await link.close()
    await node.inbox.close()


async def test_a_memory_alarm_is_unknown_and_consuming_goes_on(authority: Authority, node: Node) -> None:
    """S95."""
    link = authority.link("BW", publish_seconds=1, connect_seconds=1)
    assert (await link.send(b"before")).outcome is Outcome.ACCEPTED
    authority.broker.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        node.inbox.add("BW")
        await until(lambda: b"before" in node.frames())
        assert (await link.send(b"during")).outcome is Outcome.UNKNOWN
    finally:
        authority.broker.ctl("set_vm_memory_high_watermark", "0.4")
    await until(lambda: accepted(link))
    await link.close()


async def test_a_broker_killed_and_started_again_is_used_again_by_both_sides(
    authority: Authority, node: Node, link: AmqpLink
) -> None:
    node.inbox.add("BW")
    await connected(node)
    assert (await link.send(b"before")).outcome is Outcome.ACCEPTED
    await until(lambda: node.frames() == [b"before"])
    authority.broker.kill()
    assert (await link.send(b"during")).outcome in {Outcome.UNKNOWN, Outcome.UNREACHABLE}
    assert (await link.send(b"during")).outcome is Outcome.UNREACHABLE
    await until(lambda: not node.inbox.states["BW"].connected)
    await asyncio.to_thread(authority.broker.start)
    await asyncio.to_thread(authority.broker.wait_ready)
    await connected(node)
    await until(lambda: accepted(link))
    await until(lambda: b"frame" in node.frames())
