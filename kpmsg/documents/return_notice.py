"""The return notice: the goods go back to the issuing Participant, and under which certificate.

National practice of importers that return goods instead of seizing them; KPCS Section V(f).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from kpmsg.documents.envelope import Content, Document, Role
from kpmsg.documents.export_notification import Transport
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import Certificate, Reference
from kpmsg.documents.plausible import certificate_problems, early_problems
from kpmsg.documents.vocabulary import Carats, CertificateNumber, Count, Date, Maybe, Text, certificate_key
from kpmsg.errors import Problem
from kpmsg.rules import breach


class ReturnNotice(Content):
    """Return notice, version 1."""

    name: ClassVar[str] = "return-notice"
    type: ClassVar[str] = "org.kimberley.return-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    under: Literal["original_certificate", "technical_certificate", "new_certificate"]
    returned_under: Maybe[CertificateNumber] = None
    """The number of the technical or new certificate that travels with the goods."""
    date_of_return: Date
    """When the goods leave, or left, the importing authority's custody."""
    parcels: Maybe[Count] = None
    carats: Maybe[Carats] = None
    """How much is returned; both absent if it is the whole shipment."""
    transport: Maybe[Transport] = None
    reason: Text

    @property
    def subject(self) -> str:
        return self.certificate.key

    def claim(self, key: str) -> str:
        """A shipment is returned once."""
        return f"{self.name}:{key}"

    def breaches(self, document: Document) -> list[Problem]:
        return [
            *certificate_problems(self.certificate, document),
            *early_problems(self.notification, document),
            *self._number_problems(document),
            *self._goods_problems(),
        ]

    def _number_problems(self, document: Document) -> list[Problem]:
        at = "/data/returned_under"
        if self.under == "original_certificate":
            return [] if self.returned_under is None else [breach("M13", "original", at)]
        if self.returned_under is None:
            return [breach("M11", "number", at)]
        key = certificate_key(self.returned_under)
        if key == self.certificate.key:
            return [breach("M12", "same", at)]
        sender, prefix = participant_of(document.source), key[:2]
        if self.under == "new_certificate" and prefix not in sender.prefixes:
            allowed = " / ".join(sorted(sender.prefixes))
            return [breach("M15", "foreign", at, sender=sender.code, allowed=allowed, prefix=prefix)]
        return []

    def _goods_problems(self) -> list[Problem]:
        problems: list[Problem] = []
        departure = None if self.transport is None else self.transport.departure
        if departure is not None and departure < self.date_of_return:
            at = "/data/transport/departure"
            problems.append(breach("M14", "departed", at, departure=departure, returned=self.date_of_return))
        if self.parcels == 0:
            problems.append(breach("M16", "parcels", "/data/parcels"))
        if self.carats is not None and not self.carats:
            problems.append(breach("M16", "carats", "/data/carats"))
        return problems
