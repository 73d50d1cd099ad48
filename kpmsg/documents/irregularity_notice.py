"""The irregularity notice: the importing authority tells the exporting one of a failure, and of the measure it took.

KPCS Annex II 22 and 23; the law of some importers sets a month for it. It is about the shipment, not about a message.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kpmsg.documents.envelope import Content, Role
from kpmsg.documents.particulars import Attachment, Certificate, Reference
from kpmsg.documents.vocabulary import Date, Maybe, Text

Irregularity = Literal[
    "seal_broken",
    "container_opened",
    "no_certificate",
    "expired",
    "weight",
    "value",
    "parcels",
    "not_rough_diamonds",
    "suspected_forgery",
    "wrong_consignee",
    "other",
]
Measure = Literal["none", "detained", "released", "returned", "seized"]


class IrregularityNotice(Content):
    """Irregularity notice, version 1."""

    name: ClassVar[str] = "irregularity-notice"
    type: ClassVar[str] = "org.kimberley.irregularity-notice.v1"
    roles: ClassVar[frozenset[Role]] = frozenset({"import"})

    certificate: Certificate
    notification: Reference | None
    irregularities: Annotated[tuple[Irregularity, ...], Field(min_length=1, max_length=11)]
    measure: Measure
    date_found: Date
    description: Text
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=50)] = ()

    @property
    def subject(self) -> str:
        return self.certificate.key
