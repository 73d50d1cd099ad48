"""Which documents of one certificate stand, and what they have done to one another.

A document stands unless its recipient has rejected it, its author has taken it back, or a later one of the same author has
taken its place. One document acts upon another only if both stand between the same two authorities, so what a third one says,
or what is said to it, changes nothing between the two. Two documents that exclude one another both stand: this module finds that
out and chooses neither. It looks at the *set* of documents only, never at the order in which they arrived, so both authorities
find the same; and it looks at each document a few times at most, however many there are.

What follows for the certificate is `kpmsg.case`; what is wrong with one document in the light of the others `kpmsg.case.objections`.
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
    TechnicalCertificateNotice,
    Withdrawal,
)
from kpmsg.documents.participants import participant_of

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
        self.by_id: Mapping[str, Filed] = {item.id: item for item in filed}
        self.items = sorted(self.by_id.values(), key=lambda item: (item.document.time, item.id))
        acts: dict[str, list[Filed]] = {}
        for item in self.items:
            target = _target(item)
            if target is not None and self._may(item, target):
                acts.setdefault(target, []).append(item)
        undone = _undone(acts)
        done = [item for each in acts.values() for item in each if not undone[item.id]] if acts else []
        self.rejections = [item for item in done if isinstance(item.data, Rejection)]
        self.rejected = frozenset(i.data.refers_to for i in self.rejections if isinstance(i.data, Rejection))
        self.withdrawn = frozenset(i.data.withdraws for i in done if isinstance(i.data, Withdrawal))

    def joined_by(self, item: Filed) -> Standing:
        """The same with one document more."""
        return Standing([*self.items, item])

    def _may(self, item: Filed, target: str) -> bool:
        """Whether a rejection or a withdrawal is one: the recipient's answer to the author, or the author's to the same recipient."""
        about = self.by_id.get(target)
        if about is None:
            return False
        if isinstance(item.data, Rejection):
            return answers(item, about) and not isinstance(about.data, Rejection)
        return _alike(item, about) and isinstance(about.data, WITHDRAWABLE)

    @cached_property
    def heard(self) -> list[Filed]:
        """Documents that are neither rejected nor withdrawn, whoever wrote them; those that reject and withdraw are not among them."""
        gone = self.rejected | self.withdrawn
        return [i for i in self.items if i.id not in gone and not isinstance(i.data, Rejection | Withdrawal)]

    @cached_property
    def effective(self) -> list[Filed]:
        """Those of them that count in the case: said by one of its two authorities to the other, each in its own role."""
        exporters, shipments = self.exporters, self._shipments
        return [item for item in self.heard if _counts(item, exporters, shipments)]

    # -- the exporting side --------------------------------------------------------------------------------------------

    @cached_property
    def owners(self) -> frozenset[str]:
        """Authorities taking part here whose letters the number bears."""
        found = {(i.document.subject or "", a) for i in self.items for a in (i.source, i.document.recipient)}
        return frozenset(a for subject, a in found if subject[:2] in participant_of(a).prefixes)

    @cached_property
    def notified(self) -> list[Filed]:
        """Every notification (technical ones too) that is one, rejected or not. Nobody disturbs a number by notifying another's.

        Technical certificates may bear their recipient's letters; others than these count only where none of the owners acts.
        """
        every = [i for i in self.items if isinstance(i.data, ExportNotification)]
        by_owner = [i for i in every if i.source in self.owners]
        if by_owner or not any(self._acts(i) for i in self.items):
            return by_owner or every
        technical = [i for i in every if isinstance(i.data, TechnicalCertificateNotice)]
        return [i for i in technical if i.document.recipient in self.owners]

    def _acts(self, item: Filed) -> bool:
        """Whether an owner of the number takes part in its case by this document, more than by a letter or a question."""
        aside = CertificateQuery | ExportNotification | Message | Rejection | Withdrawal
        owners = {item.source, item.document.recipient} & self.owners
        return bool(owners) and not isinstance(item.data, aside)

    @cached_property
    def notifications(self) -> list[Filed]:
        """Notifications that stand, cancelled or not."""
        return [i for i in self.notified if i.id not in self.rejected]

    @cached_property
    def _amendments(self) -> dict[str, list[Filed]]:
        """Amendments that stand, by the version that they replace."""
        found: dict[str, list[Filed]] = {}
        for item in self.heard:
            if isinstance(item.data, ExportAmendment):
                about = self.by_id.get(item.data.amends)
                if about is not None and _alike(item, about):
                    found.setdefault(about.id, []).append(item)
        return found

    def amendments_of(self, document_id: str) -> list[Filed]:
        """Amendments by the same author that replace this very version. More than one exclude one another."""
        return self._amendments.get(document_id, [])

    def versions(self, notification: Filed) -> list[Filed]:
        """The notification and its amendments in turn, up to the last that nobody disputes."""
        chain = [notification]
        # No document names itself or a later one: its id is the digest of bytes that hold the name. So this ends.
        while len(following := self.amendments_of(chain[-1].id)) == 1:
            chain.append(following[0])
        return chain

    def forked(self, notification: Filed) -> bool:
        """Whether one version of it has been amended twice, differently."""
        return len(self.amendments_of(self.versions(notification)[-1].id)) > 1

    @cached_property
    def _cancellations(self) -> dict[str, list[Filed]]:
        """Cancellations that stand, by the notification that they cancel; the one that says most first."""
        found: dict[str, list[Filed]] = {}
        for item in self.heard:
            if isinstance(item.data, Cancellation):
                about = self.by_id.get(item.data.cancels)
                if about is not None and _alike(item, about):
                    found.setdefault(about.id, []).append(item)
        for several in found.values():
            several.sort(key=_how_little)
        return found

    def cancellations_of(self, notification: Filed) -> list[Filed]:
        """The cancellations that stand against a notification. A second one does not contradict the first."""
        return self._cancellations.get(notification.id, [])

    def cancellation_of(self, notification: Filed) -> Filed | None:
        """The one of them that says most: that a paper is stolen is so, although it has been voided too."""
        return next(iter(self.cancellations_of(notification)), None)

    def cancellations_of_version(self, version: Filed) -> list[Filed]:
        """Those against the notification to which a version belongs."""
        root = self._roots.get(version.id)
        return [] if root is None else self.cancellations_of(root)

    @cached_property
    def active(self) -> list[Filed]:
        """Notifications that stand and are not cancelled."""
        return [i for i in self.notifications if not self.cancellations_of(i)]

    @cached_property
    def claiming(self) -> list[Filed]:
        """Notifications that hold the number. Only a cancellation as a mistake sets it free: one that is void or stolen stays so."""
        return [i for i in self.notifications if all(map(_ends_the_number, self.cancellations_of(i)[:1]))]

    @cached_property
    def waiting(self) -> list[Filed]:
        """Amendments and cancellations of something that is not here (yet)."""
        return [
            i
            for i in self.effective
            if (isinstance(i.data, ExportAmendment) and i.data.amends not in self.by_id)
            or (isinstance(i.data, Cancellation) and i.data.cancels not in self.by_id)
        ]

    @cached_property
    def _shipments(self) -> frozenset[tuple[str, str]]:
        """Between whom (exporter, importer) the number has been notified, as far as that holds."""
        counting = self.active or self.notifications or self.notified
        return frozenset((i.source, i.document.recipient) for i in counting)

    @cached_property
    def exporters(self) -> frozenset[str]:
        """Who notified the number; where nobody did, whose letters it bears. Empty if that is not known either."""
        return frozenset(exporter for exporter, _ in self._shipments) or self.owners

    def asked_for(self, amendment: Filed) -> bool:
        """Whether an amendment is the outcome of a query that the importing authority did put, or of the answer to one."""
        said = self.by_id.get(getattr(amendment.data, "outcome_of", None) or "")
        if said is not None and isinstance(said.data, DiscrepancyResponse) and _alike(said, amendment):
            said = self.by_id.get(said.data.query)
        return (
            said is not None
            and isinstance(said.data, DiscrepancyQuery)
            and said.id not in self.rejected
            and answers(amendment, said)
        )

    # -- the importing side --------------------------------------------------------------------------------------------

    @cached_property
    def confirmations(self) -> list[Confirmed]:
        """The confirmations that are current: not superseded, not corrected. Normally at most one."""
        return [confirmed for confirmed in self._confirmed if confirmed.item.id not in self.superseded]

    @cached_property
    def _confirmed(self) -> list[Confirmed]:
        found = []
        for item in self.effective:
            if isinstance(item.data, ConfirmationCorrection):
                found.append(Confirmed(item, item.data.content))
            elif isinstance(item.data, ImportConfirmation):
                found.append(Confirmed(item, item.data))
        return found

    @cached_property
    def superseded(self) -> frozenset[str]:
        """Confirmations in whose place another one of the same author stands."""
        replaced: set[str] = set()
        for confirmed in self._confirmed:
            item = confirmed.item
            before = _before(item)
            # Through what was withdrawn in between, too: taking back the middle of a chain does not bring back its beginning.
            while (about := self.by_id.get(before)) is not None and _alike(item, about):
                if before in replaced:
                    break
                replaced.add(before)
                if before not in self.withdrawn:
                    break
                before = _before(about)
        return frozenset(replaced)

    @cached_property
    def receipts_of_goods(self) -> list[Confirmed]:
        """Current confirmations of something that came; "not received" excludes nothing."""
        return [c for c in self.confirmations if c.content.outcome != "not_received"]

    @cached_property
    def _roots(self) -> dict[str, Filed]:
        """To which notification every version belongs, disputed and rejected ones too."""
        following: dict[str, list[Filed]] = {}
        for item in self.items:
            if isinstance(item.data, ExportAmendment):
                following.setdefault(item.data.amends, []).append(item)
        found = {}
        for notification in self.notifications:
            reached = [notification]
            for version in reached:  # it grows while it is walked
                found[version.id] = notification
                reached += [i for i in following.get(version.id, ()) if _alike(i, version)]
        return found

    def named(self, confirmed: Confirmed) -> Filed | None:
        """The notification of which a confirmation names a version; None if it names none that is here."""
        reference = confirmed.content.notification
        return None if reference is None else self._roots.get(reference.digest)


def content_of(version: Filed) -> ExportNotification:
    """What a notification or one of its amendments says of the shipment."""
    data = version.data
    if isinstance(data, ExportAmendment):
        return data.content
    assert isinstance(data, ExportNotification)
    return data


def _alike(item: Filed, about: Filed) -> bool:
    """Whether two documents go from the same author to the same recipient."""
    return item.source == about.source and item.document.recipient == about.document.recipient


def answers(item: Filed, asked: Filed) -> bool:
    """Whether a document goes back to the author of another from the one to whom it was said."""
    return (item.source, item.document.recipient) == (asked.document.recipient, asked.source)


def _before(item: Filed) -> str:
    """The id of the confirmation in whose place this one stands; empty if none."""
    match item.data:
        case ConfirmationCorrection(corrects=before) | ImportConfirmation(supersedes=str(before)):
            return before
    return ""


def _target(item: Filed) -> str | None:
    match item.data:
        case Rejection(refers_to=target) | Withdrawal(withdraws=target):
            return target
    return None


def _undone(acts: Mapping[str, list[Filed]]) -> Mapping[str, bool]:
    """Which rejections and withdrawals have themselves been undone by one that has not: by id.

    Each is decided after those against it. There are no rings: an id is the digest of bytes that hold the ids they speak of.
    """
    found: dict[str, bool] = {}
    stack = [item.id for each in acts.values() for item in each]
    while stack:
        against = acts.get(stack[-1], ())
        open_ = [item.id for item in against if item.id not in found]
        if open_:
            stack += open_
        else:
            found[stack.pop()] = any(not found[item.id] for item in against)
    return found


_GRAVE: Final = {"stolen": 0, "lost": 0, "replaced": 1, "notified_in_error": 3}


def _how_little(cancellation: Filed) -> int:
    return _GRAVE.get(getattr(cancellation.data, "reason", ""), 2)


def _ends_the_number(cancellation: Filed) -> bool:
    return getattr(cancellation.data, "reason", None) != "notified_in_error"


def _counts(item: Filed, exporters: frozenset[str], shipments: frozenset[tuple[str, str]]) -> bool:
    """Whether a document is part of the case, and not what a third authority says or is told (race C8 apart)."""
    if not exporters:
        return True
    source, recipient = item.source, item.document.recipient
    roles = frozenset({"export", "import"}) if item.data is None else item.data.roles
    if "export" in roles and ((source, recipient) in shipments or (not shipments and source in exporters)):
        return True
    if "import" not in roles or recipient not in exporters:
        return False
    if not shipments or (recipient, source) in shipments:
        return source not in exporters
    # Of others, only one thing matters: that the goods, or other goods under this number, have come to them.
    content = item.data.content if isinstance(item.data, ConfirmationCorrection) else item.data
    return (
        isinstance(content, ImportConfirmation)
        and content.outcome != "not_received"
        and source not in exporters
    )
