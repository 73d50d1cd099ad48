"""What any file of the exchange is and says, in plain words, without a key: for support staff and the curious.

`explain` takes bytes and always returns an `Explanation`. **It verifies nothing.** Everything in it is what the file says about itself,
and whoever made the file may have written anything; `kpmsg.verdict` is for belief. All text that it returns is safe to print.

It knows the kinds of files; their forms are read by the modules that own them, and the words are those of `kpmsg.wording`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from kpmsg import documents, frames, jws, strictjson
from kpmsg.errors import KpmsgError, MalformedError, Problem, RefusedError
from kpmsg.keyrecord import MAX_SIGNATURES, KeyRecord
from kpmsg.keys import PublicKey
from kpmsg.wording import Fact, readable, told, who

MOST_BYTES: Final = 8 * 1024 * 1024
"""No file of ours is larger: a frame may have half of it, a list of drafts all."""

NOTHING: Final = "none of ours"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a file says about itself. `content` is its JSON as it is (the one member that is not made safe to print)."""

    kind: str  #: document, receipt, refusal, status, page, key record, grant, request, possession, frame, ... or NOTHING
    headline: str
    facts: tuple[Fact, ...] = ()  #: label and value; a label may be indented
    headers: tuple[jws.Header, ...] = ()  #: by which keys it claims to be signed
    trouble: tuple[Problem, ...] = ()  #: what is wrong with it, as far as that can be seen without a key
    id: str | None = None  #: SHA-256 of a document's payload
    content: Any = None
    parts: tuple[Explanation, ...] = ()  #: the lines of a frame

    @property
    def sound(self) -> bool:
        """Whether it has the agreed form, its parts too; broken rules of content do not count."""
        return (
            self.kind != NOTHING
            and not any(_of_form(p) for p in self.trouble)
            and all(p.sound for p in self.parts)
        )

    def members(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verified": False,
            "kind": self.kind,
            "headline": self.headline,
            "id": self.id,
            "claims_signatures": [{"alg": h.alg, "kid": h.kid, "typ": h.typ} for h in self.headers],
            "trouble": [{"code": p.code, "text": p.text, "pointer": p.pointer} for p in self.trouble],
            "content": self.content,
        } | ({"parts": [part.members() for part in self.parts]} if self.kind == "frame" else {})


def explain(data: bytes) -> Explanation:
    """What `data` is. Never raises: what is none of our files is explained as such, with the reason."""
    if len(data) > MOST_BYTES:
        return _nothing("json-size", f"more than {MOST_BYTES} bytes; no file of the exchange is so large")
    data = data.rstrip(b"\r\n")
    if data.startswith(b"-----BEGIN "):
        return _pem(data)
    if b"\n" in data and data.startswith(b'{"frame":'):
        return _frame(data)
    if data.startswith((b'{"payload":', b'{"signatures":')):
        return _signed(data)
    try:
        value = strictjson.loads(data, max_bytes=MOST_BYTES)
    except MalformedError as error:
        return _nothing(error.code, error.text)
    return _frame(data) if isinstance(value, dict) and "frame" in value else _plain(value, data)


# -- kinds of files ------------------------------------------------------------------------------------------------------


def _signed(data: bytes) -> Explanation:
    try:
        parsed = jws.peek(data, max_signatures=MAX_SIGNATURES)
    except MalformedError as error:
        return Explanation(
            "signed", "Something signed that is not in the agreed form.", trouble=(_problem(error),)
        )
    headers, payload = parsed.unverified_headers, parsed.unverified_payload
    types = sorted({header.typ for header in headers})
    typ = types[0]
    kind = typ.removeprefix("kp-").removesuffix("+jws").replace("-", " ")
    try:
        content = strictjson.loads(payload)
        if not isinstance(content, dict):
            raise MalformedError("document-type", "the payload is not an object", "")
    except MalformedError as error:
        return Explanation(
            kind, f"A {kind} whose payload cannot be read.", headers=headers, trouble=(_problem(error),)
        )
    try:
        if typ == jws.DOCUMENT:
            headline, facts, trouble = _document(content, payload)
        elif typ == jws.KEY_RECORD:
            headline, facts, trouble = *_key_record(content), []
        else:
            headline, facts, trouble = _statement(typ, content, payload), told(content), []
    except RefusedError as error:
        headline, facts, trouble = (
            f"A {kind} that is not in the agreed form.",
            told(content),
            [_problem(error)],
        )
    if len(types) > 1:
        trouble.append(
            Problem("sig-typ", "its signatures are for different kinds of statement", "/signatures")
        )
    identity = hashlib.sha256(payload).hexdigest() if typ == jws.DOCUMENT else None
    return Explanation(kind, readable(headline), tuple(facts), headers, tuple(trouble), identity, content)


def _document(content: dict[str, Any], payload: bytes) -> tuple[str, list[Fact], list[Problem]]:
    document = documents.parse(payload)
    name = document.name.replace("-", " ").capitalize()
    headline = f"{_mark(document.testing)}{name}: {who(document.source)} writes to {who(document.recipient)}"
    if document.certificate_key:
        headline += f" about certificate {document.certificate_key}"
    facts = [("written", f"{content['time']}"), ("message id", document.id), *told(content.get("data", {}))]
    trouble = documents.breaches(document)
    if not document.supported:
        trouble = [
            Problem(
                "S07", f"documents of type {document.type} are not known to this version", "/type", "hold"
            )
        ]
    return f"{headline}.", facts, trouble


def _key_record(content: dict[str, Any]) -> tuple[str, list[Fact]]:
    try:
        record = KeyRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        pointer = "".join(f"/{step}" for step in first["loc"])
        raise MalformedError("record-field", f"key record: {first['msg']}", pointer) from None
    facts = [("authority", readable(record.authority.name)), ("roles", ", ".join(record.authority.roles))]
    facts += [
        ("fingerprint", f"{record.fingerprint}\ncompare it with what came by another way (telephone, paper)")
    ]
    facts += [
        ("issued", str(content["issued"])),
        ("version before", record.previous or "none, this is the first"),
    ]
    for key in record.identity.keys:
        facts.append(("identity key", f"{key.kid} ({key.alg})"))
    facts.append(("", f"{record.identity.threshold} of {len(record.identity.keys)} must sign a record"))
    for entry, said in zip(record.keys, content["keys"], strict=True):
        until = f" to {said['valid_until']}" if entry.valid_until else ""
        since = f" since {said['since']}" if entry.since else ""
        span = f"{entry.status}{since}, valid from {said['valid_from']}{until}"
        facts.append((f"{entry.use} key", f"{entry.key.kid} ({entry.key.alg})\n{span}"))
    facts += told({name: content.get(name, {}) for name in ("endpoints", "certificates")})
    headline = f"{_mark(record.testing)}Key record of {who(record.address)}, version {record.version}."
    return headline, facts


def _mark(testing: bool | None) -> str:
    return "TEST, NOT REAL. " if testing else ""


def _statement(typ: str, content: dict[str, Any], payload: bytes) -> str:
    """One sentence for what a machine said to another. Raises MalformedError if it is not in its form."""
    if typ == jws.GRANT:
        return f"Grant: {who(content.get('issuer'))} lets {who(content.get('holder'))} deliver to it."
    if typ == jws.POSSESSION:
        use, address = content.get("use"), who(content.get("address"))
        return f"Proof of possession: the holder of a key wants it registered as {use} key of {address}."
    sender, recipient = map(who, frames.addresses(payload))
    say = f"{sender} says to {recipient}"
    match typ:
        case jws.RECEIPT:
            receipt = frames.Receipt.read(payload)
            count = len(receipt.ids)
            new = f"{count} more of your documents are" if count != 1 else "one more of your documents is"
            what = f"Receipt: {say}: {new} safe with me; my register of them now has {receipt.size}."
        case jws.REFUSAL:
            refusal = frames.Refusal.read(payload)
            what = f"Refusal: {say}: I could not accept what you sent ({refusal.code}: {refusal.text})."
        case jws.STATUS:
            status = frames.Status.read(payload)
            agrees = "agrees" if status.agrees else "does NOT agree"
            what = f"Status: {say}: my register of your documents has {status.size} entries, and at "
            what += f"{status.asked} it {agrees} with what you asked about."
        case jws.PAGE:
            page = frames.Page.read(payload)
            last = page.first + len(page.ids) - 1
            what = f"Page: {say}: entries {page.first} to {last} of my register of your documents, which has {page.size}."
        case _:
            what = f"Proof of a request: {sender} sends something to {recipient} over HTTPS."
    return what


def _frame(data: bytes) -> Explanation:
    try:
        frame = frames.decode(data)
    except MalformedError as error:
        text = "A frame between two nodes that is not in the agreed form."
        return Explanation("frame", text, trouble=(_problem(error),))
    count = len(frame.lines)
    inside = f"{count} signed line{'' if count == 1 else 's'}" if count else "no signed line"
    headline = f'Frame "{frame.name}" from {who(frame.sender)} to {who(frame.recipient)}, with {inside}.'
    header = strictjson.loads(data.split(b"\n", 1)[0], max_bytes=frames.MAX_HEADER_BYTES)
    asked = {} if frame.request is None else frame.request.members()
    parts = tuple(explain(line) for line in frame.lines)
    return Explanation("frame", headline, tuple(told(asked)), content=header, parts=parts)


def _pem(data: bytes) -> Explanation:
    label = readable(data[11:60].decode("ascii", "replace").partition("-----")[0])
    if label == "ENCRYPTED PRIVATE KEY":
        return Explanation(
            "private key", "A private key, encrypted with a passphrase. It must not leave its owner."
        )
    if label.endswith("PRIVATE KEY"):
        danger = Problem(
            "key-file-unencrypted", "whoever has this file can sign in its owner's name: make a new key", None
        )
        return Explanation("private key", "A private key that is NOT ENCRYPTED.", trouble=(danger,))
    return Explanation("PEM", f"A PEM file ({label}); it belongs to the transport, not to the documents.")


def _plain(value: Any, data: bytes) -> Explanation:
    """JSON that nobody has signed."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(one, dict) and "recipient" in one for one in value)
    ):
        text = f"{len(value)} drafts in a list, unsigned; `kpmsg check` says what is wrong with them, if anything."
        return Explanation("drafts", text, content=value)
    if not isinstance(value, dict):
        return _nothing("json-syntax", "JSON, but no object")
    if "kty" in value:
        try:
            key = PublicKey.from_jwk(value)
        except RefusedError as error:
            return Explanation("key", "A key (JWK) that cannot be registered.", trouble=(_problem(error),))
        return Explanation(
            "key", "A public key (JWK).", (("thumbprint", key.kid), ("algorithm", key.alg)), content=value
        )
    if "specversion" in value:
        try:
            headline, facts, trouble = _document(value, data)
        except RefusedError as error:
            headline, facts, trouble = (
                "A document that is not in the agreed form.",
                told(value),
                [_problem(error)],
            )
        identity = hashlib.sha256(data).hexdigest()
        return Explanation(
            "payload", f"Without any signature: {headline}", tuple(facts), (), tuple(trouble), identity, value
        )
    if "recipient" in value and "data" in value:
        text = (
            f"A draft of a document ({readable(str(value.get('type')))}), unsigned; `kpmsg check` says more."
        )
        return Explanation("draft", text, tuple(told(value)), content=value)
    return _nothing("json-members", "JSON, but with other members than any file of the exchange")


def _nothing(code: str, text: str) -> Explanation:
    return Explanation(
        NOTHING, "This is none of the files of the exchange.", trouble=(Problem(code, readable(text), None),)
    )


def _problem(error: KpmsgError) -> Problem:
    return Problem(
        error.code, readable(error.text), None if error.pointer is None else readable(error.pointer)
    )


def _of_form(problem: Problem) -> bool:
    return problem.code.startswith(("json-", "jws-", "frame-", "document-", "record-", "key-", "sig-"))
