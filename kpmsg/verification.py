"""The gate: bytes from outside go in, a :class:`Verified` comes out, or a refusal.

Nothing else in any of our programs can make a ``Verified``, and everything that stores, shows or counts a document takes
nothing else. (:func:`open_document` makes it of what comes in; of what our own hand has just signed, which need not be
verified, :func:`seal_document` does.) It says: these bytes were signed by that authority, with a key it had published for
documents, for this recipient, and are in the form of the protocol. It does not say that the document is *right*: business rules, the state of
the certificate and who is in good standing are looked at later, by those who can answer with a signed rejection.

No I/O, no clock, no state. The same function opens what a partner sends (``sender`` = the partner's records) and what we
take back after a loss (``sender`` = our own records), for both are only as good as their signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Final, NoReturn

from kpmsg import jws
from kpmsg.documents import Document, parse
from kpmsg.errors import MisaddressedError, RefusedError
from kpmsg.keyrecord import KeyRecord, Use, key_for
from kpmsg.keys import PublicKey, Signer

_USE_FOR: Final[dict[str, Use]] = {
    jws.RECEIPT: "node",
    jws.STATUS: "node",
    jws.PAGE: "node",
    jws.REFUSAL: "node",
    jws.GRANT: "node",
    jws.REQUEST: "transport",
}
_MADE_HERE: Final = object()
_ELSEWHERE: Final = (
    "a Verified comes from open_document or seal_document in kpmsg.verification and from nowhere else"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A document whose signatures, keys, form and addresses have been checked, or that we have just signed ourselves.

    Made by :func:`open_document` and :func:`seal_document` only.
    """

    raw: bytes = field(repr=False)  #: the JWS exactly as it came; what is kept and passed on
    payload: bytes = field(repr=False)  #: the signed bytes
    id: str  #: lower-case hex SHA-256 of the payload
    document: Document = field(repr=False)
    kids: tuple[str, ...]
    token: InitVar[object]  # handed over, never kept: an instance cannot be used to make another

    def __post_init__(self, token: object) -> None:
        if token is not _MADE_HERE:
            raise TypeError(_ELSEWHERE)

    def __reduce__(self) -> NoReturn:
        # Copying and pickling would go round the constructor.
        raise TypeError(_ELSEWHERE)


def open_document(
    raw: bytes, *, sender: Sequence[KeyRecord], source: str, recipient: str, now: datetime | None
) -> Verified:
    """Return the document in ``raw``, if ``source`` signed it for ``recipient``; else raise :class:`RefusedError`.

    ``sender`` is every version of the source's key record that we hold, newest last. ``now`` is when the keys have to be
    in use. ``None`` stands for the document's own time, and fits only what is known to be old: our own documents
    coming back to us (take-back), or a partner's after our own loss; a compromised key is refused even then.

    Steps, in the order in which they cost and protect (rule numbers of ``protocol/documents.md``):

    1. The JWS has the one agreed form (D1): :class:`MalformedError` ``json-*``, ``jws-*``.
    2. Every signature is a document's, by a key of the source for documents, in its time, and holds (D2, D3):
       :class:`SignatureError`, :class:`UntrustedKeyError`. Until here no byte of the payload has been interpreted.
    3. The payload is strict JSON in the form of a document (D4): :class:`MalformedError` ``json-*``, ``document-*``.
    4. It is from ``source``, whose record gives it the role to write such documents, and for ``recipient``; and it is a
       test if the record says that all is (D5): :class:`MisaddressedError`.
    """
    if not sender or sender[-1].address != source:
        raise MisaddressedError("address-source", "no key record of the source is at hand")
    if now is None:
        # Whoever can sign with a key can also write a time, which is why this is for old documents only. The form
        # has to be read before the signature here, by the same strict parser.
        now = parse(jws.peek(raw).unverified_payload).time
    at = now

    def key_of(kid: str) -> PublicKey:
        return key_for(sender, kid, "document", at)

    signed = jws.verify(raw, typ=jws.DOCUMENT, key_of=key_of)
    document = parse(signed.payload)
    if document.source != source:
        raise MisaddressedError(
            "address-source", f"signed by {source}, but says it is from another", "/source"
        )
    if document.recipient != recipient:
        raise MisaddressedError("address-recipient", f"is not addressed to {recipient}", "/recipient")
    if document.testing != sender[-1].testing:
        marked, known = ("a test", "real") if document.testing else ("real", "a test")
        raise MisaddressedError(
            "address-testing",
            f"the document says that it is {marked}, but {source} is {known} by its key record",
            "/testing",
        )
    if not may_write(document, sender):
        raise MisaddressedError(
            "address-role", f"{source} does not write such documents by its record", "/type"
        )
    return Verified(
        raw=raw,
        payload=signed.payload,
        id=hashlib.sha256(signed.payload).hexdigest(),
        document=document,
        kids=signed.kids,
        token=_MADE_HERE,
    )


def may_write(document: Document, author: Sequence[KeyRecord]) -> bool:
    """Whether any version of the author's record gives it a role in which documents of this type are written."""
    if document.data is None:
        return True
    roles = {role for record in author for role in record.authority.roles}
    return not document.data.roles.isdisjoint(roles)


def open_documents(
    lines: Iterable[bytes], *, sender: Sequence[KeyRecord], source: str, recipient: str, now: datetime | None
) -> list[Verified | RefusedError]:
    """Open each line for itself, in order: a poisonous line becomes its own refusal and spoils no other.

    Pure computation of some 0.2 ms a line; a server calls it off its event loop.
    """
    opened: list[Verified | RefusedError] = []
    for raw in lines:
        try:
            opened.append(open_document(raw, sender=sender, source=source, recipient=recipient, now=now))
        except RefusedError as refusal:
            opened.append(refusal.with_traceback(None))
    return opened


def open_statement(raw: bytes, typ: str, sender: Sequence[KeyRecord], now: datetime) -> bytes:
    """Return the payload of a receipt, status, page, refusal, grant or request that ``sender`` signed.

    Raises :class:`RefusedError` as step 1 and 2 above, with the key use that belongs to ``typ`` (node keys; transport keys
    for requests): a document key cannot sign a receipt, nor a node key a document.
    """
    use = _USE_FOR[typ]
    return jws.verify(raw, typ=typ, key_of=lambda kid: key_for(sender, kid, use, now)).payload


def seal_document(document: Document, payload: bytes, signers: Sequence[Signer]) -> Verified:
    """Sign what `kpmsg.documents.compose` made, with every one of ``signers``. The author need not verify his own hand."""
    return Verified(
        raw=jws.sign(payload, jws.DOCUMENT, signers),
        payload=payload,
        id=hashlib.sha256(payload).hexdigest(),
        document=document,
        kids=tuple(signer.public.kid for signer in signers),
        token=_MADE_HERE,
    )
