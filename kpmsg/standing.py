"""Which documents of one certificate stand, and what they have done to one another.

A document stands unless its recipient has rejected it, its author has taken it back, or a later one of the same author has
taken its place. Two documents that exclude one another both stand: this module finds that out and chooses neither. It looks
at the *set* of documents only, never at the order in which they arrived, so both authorities find the same.

What follows for the certificate is `kpmsg.case`; what is wrong with one document in the light of the others `kpmsg.objections`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from kpmsg.documents import (
    Alert,
    ArrivalNotice,
    Cancellation,
    CertificateAnswer,
    CertificateQuery,
    ConfirmationCorrection,
    Content,
    DiscrepancyQuery,
    DiscrepancyResponse,
    Document,
    ExportAmendment,
    ExportNotification,
    ImportConfirmation,
    IrregularityNotice,
    Message,
    Rejection,
    ReturnNotice,
    Withdrawal,
)

WITHDRAWABLE: Final = (
    Alert,
    ArrivalNotice,
    Cancellation,
    CertificateAnswer,
    CertificateQuery,
    ConfirmationCorrection,
    DiscrepancyQuery,
    DiscrepancyResponse,
    ImportConfirmation,
    IrregularityNotice,
    Message,
    Rejection,
    ReturnNotice,
)
"""What a withdrawal may take back. A notification is cancelled, with a reason that the Scheme's practice knows; an amendment amended."""

INTERIM: Final = frozenset({"detained", "partial", "not_received"})
"""Outcomes of a confirmation after which another one is still to come."""


@dataclass(frozen=True, slots=True)
class Filed:
    """One admitted document with its id."""

    id: str
    document: Document

    @property
    def data(self) -> Content | None:
        return self.document.data

    @property
    def source(self) -> str:
        return self.document.source


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A confirmation that nothing has taken the place of: the document (perhaps a correction) and what it says."""

    item: Filed
    content: ImportConfirmation


class Standing:
    """The documents of one certificate, looked at together. Everything is in the order (time, id), which both sides share."""

    def __init__(self, filed: Iterable[Filed]) -> None:
        self.items = sorted(filed, key=lambda item: (item.document.time, item.id))
        self.by_id: Mapping[str, Filed] = {item.id: item for item in self.items}
        rejections = [i for i in self.items if isinstance(i.data, Rejection) and self._may_reject(i, i.data)]
        withdrawals = [
            i for i in self.items if isinstance(i.data, Withdrawal) and self._may_withdraw(i, i.data)
        ]
        taken_back = {i.data.withdraws for i in withdrawals if isinstance(i.data, Withdrawal)}
        self.rejections = [i for i in rejections if i.id not in taken_back]
        self.rejected = frozenset(i.data.refers_to for i in self.rejections if isinstance(i.data, Rejection))
        self.withdrawn = frozenset(
            i.data.withdraws
            for i in withdrawals
            if isinstance(i.data, Withdrawal) and i.id not in self.rejected
        )

    def _may_reject(self, item: Filed, data: Rejection) -> bool:
        about = self.by_id.get(data.refers_to)
        return about is None or (
            about.document.recipient == item.source and not isinstance(about.data, Rejection)
        )

    def _may_withdraw(self, item: Filed, data: Withdrawal) -> bool:
        about = self.by_id.get(data.withdraws)
        return about is None or (about.source == item.source and isinstance(about.data, WITHDRAWABLE))

    @cached_property
    def effective(self) -> list[Filed]:
        """Documents that are neither rejected nor withdrawn; those that reject and withdraw are not among them."""
        gone = self.rejected | self.withdrawn
        return [i for i in self.items if i.id not in gone and not isinstance(i.data, Rejection | Withdrawal)]

    # -- the exporting side --------------------------------------------------------------------------------------------

    @cached_property
    def notifications(self) -> list[Filed]:
        """Notifications (technical ones too) that stand, cancelled or not."""
        return [i for i in self.effective if isinstance(i.data, ExportNotification)]

    @cached_property
    def _amendments(self) -> dict[str, list[Filed]]:
        found: dict[str, list[Filed]] = {}
        for item in self.effective:
            if isinstance(item.data, ExportAmendment):
                found.setdefault(item.data.amends, []).append(item)
        return found

    def amendments_of(self, document_id: str) -> list[Filed]:
        """Amendments by the same author that replace this very version. More than one exclude one another."""
        about = self.by_id.get(document_id)
        return [
            i for i in self._amendments.get(document_id, []) if about is not None and i.source == about.source
        ]

    def versions(self, notification: Filed) -> list[Filed]:
        """The notification and its amendments in turn, up to the last that nobody disputes."""
        chain = [notification]
        while len(following := self.amendments_of(chain[-1].id)) == 1:
            chain.append(following[0])
        return chain

    def forked(self, notification: Filed) -> bool:
        """Whether one version of it has been amended twice, differently."""
        return len(self.amendments_of(self.versions(notification)[-1].id)) > 1

    def cancellation_of(self, notification: Filed) -> Filed | None:
        """The cancellation that stands against a notification; the first, if its author wrote several."""
        for item in self.effective:
            if (
                isinstance(item.data, Cancellation)
                and item.data.cancels == notification.id
                and item.source == notification.source
            ):
                return item
        return None

    @cached_property
    def active(self) -> list[Filed]:
        """Notifications that stand and are not cancelled."""
        return [i for i in self.notifications if self.cancellation_of(i) is None]

    @cached_property
    def waiting(self) -> list[Filed]:
        """Amendments and cancellations of something that is not here (yet)."""
        return [
            i
            for i in self.effective
            if (isinstance(i.data, ExportAmendment) and i.data.amends not in self.by_id)
            or (isinstance(i.data, Cancellation) and i.data.cancels not in self.by_id)
        ]

    # -- the importing side --------------------------------------------------------------------------------------------

    @cached_property
    def confirmations(self) -> list[Confirmed]:
        """The confirmations that are current: not superseded, not corrected. Normally at most one."""
        found = []
        replaced = set()
        for item in self.effective:
            match item.data:
                case ConfirmationCorrection():
                    found.append(Confirmed(item, item.data.content))
                    before = item.data.corrects
                case ImportConfirmation():
                    found.append(Confirmed(item, item.data))
                    before = item.data.supersedes or ""
                case _:
                    continue
            # Through what was withdrawn in between, too: taking back the middle of a chain does not bring back its beginning.
            while (about := self.by_id.get(before)) is not None and about.source == item.source:
                if before in replaced:
                    break
                replaced.add(before)
                if before not in self.withdrawn:
                    break
                before = getattr(about.data, "corrects", None) or getattr(about.data, "supersedes", None) or ""
        return [confirmed for confirmed in found if confirmed.item.id not in replaced]

    @cached_property
    def receipts_of_goods(self) -> list[Confirmed]:
        """Current confirmations of something that came; "not received" excludes nothing."""
        return [c for c in self.confirmations if c.content.outcome != "not_received"]


def content_of(version: Filed) -> ExportNotification:
    """What a notification or one of its amendments says of the shipment."""
    data = version.data
    if isinstance(data, ExportAmendment):
        return data.content
    assert isinstance(data, ExportNotification)
    return data
