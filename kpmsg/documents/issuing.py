"""Whose certificate it is: what an exporting authority may only say of its own Participant's certificates.

It decides rule A14 for the documents in which an exporting authority speaks of a certificate it notified, or did not need
to. A notification itself is asked by rule C01. Whether the number was ever issued is not known here.
"""

from __future__ import annotations

from kpmsg.documents.envelope import Document
from kpmsg.documents.participants import participant_of
from kpmsg.documents.particulars import Certificate
from kpmsg.errors import Problem, Severity
from kpmsg.rules import breach


def issuing_problems(certificate: Certificate, document: Document) -> list[Problem]:
    """Rule A14. A technical certificate may have been issued by somebody else; there it only warns."""
    sender = participant_of(document.source)
    severity: Severity = "warn" if certificate.kind == "technical" else "reject"
    if certificate.issuer != sender.code:
        facts = {"sender": sender.code, "issuer": certificate.issuer}
        return [breach("A14", "issuer", "/data/certificate/issuer", severity=severity, **facts)]
    if certificate.key[:2] not in sender.prefixes:
        facts = {"issuer": sender.code, "letters": letters_of(sender.code), "found": certificate.key[:2]}
        return [breach("A14", "letters", "/data/certificate/number_raw", severity=severity, **facts)]
    return []


def letters_of(issuer: str) -> str:
    """The letters with which the issuer's certificate numbers begin, as a sentence names them."""
    return " / ".join(sorted(participant_of(issuer).prefixes))
