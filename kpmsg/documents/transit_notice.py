"""The transit notice: a sealed shipment will pass through, unopened; no confirmation is due.

KPCS Section III(d): Participants through whose territory shipments transit need not ask for a certificate, provided that the
shipment leaves as it entered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.export_notification import Containers, Transport, container_problems
from kpmsg.documents.issuing import issuing_problems
from kpmsg.documents.particulars import Certificate, carats_problem, present
from kpmsg.documents.plausible import past
from kpmsg.documents.vocabulary import Carats, Count, Date, Line, Maybe, ParticipantCode, Text
from kpmsg.errors import Problem
from kpmsg.rules import breach


class TransitNotice(Content):
    """Transit notice, version 1."""

    name: ClassVar[str] = "transit-notice"
    type: ClassVar[str] = "org.kimberley.transit-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"export"})

    certificate: Certificate
    destination: ParticipantCode
    parcels: Count
    carats: Carats
    containers: Maybe[Containers] = None
    places: Annotated[tuple[Line, ...], Field(min_length=1, max_length=10)]
    """Where it enters, is handled and leaves, in order."""
    expected_entry: Date
    expected_exit: Maybe[Date] = None
    transport: Maybe[Transport] = None
    remarks: Maybe[Text] = None

    @property
    def subject(self) -> str:
        return self.certificate.key

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *issuing_problems(self.certificate, document),
            *self._way_problems(document),
            *self._shipment_problems(),
        ]

    def _way_problems(self, document: Document) -> Iterator[Problem]:
        """Rules T05 to T07: through another Participant than the one it is bound for, in that order, and told in time."""
        if self.expected_exit is not None and self.expected_exit < self.expected_entry:
            yield breach("T05", "reversed", "/data/expected_exit")
        if self.destination == document.recipient[:2]:
            yield breach("T06", "arrives", "/data/destination", destination=self.destination)
        elif self.destination == document.source[:2]:
            yield breach("T06", "home", "/data/destination")
        if past(self.expected_entry, document):
            yield breach("T07", "late", "/data/expected_entry")

    def _shipment_problems(self) -> Iterator[Problem]:
        yield from present(carats_problem(self.carats, "/data/carats"))
        if self.parcels < 1:
            yield breach("F02", "parcels", "/data/parcels")
        if self.containers is None or not self.containers.seal_numbers:
            yield breach("T08", "unsealed", "/data/containers")
        if self.containers is not None:
            yield from container_problems(self.containers, self.parcels)
