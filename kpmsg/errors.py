"""Every exception of the library, split by whose fault it is.

::

    KpmsgError                     has .code, .text, .pointer, .kind
    ├── RefusedError               somebody sent what must not be believed; nothing of ours has changed
    │   ├── MalformedError         json-*  jws-*  frame-*  document-*  record-*   not the agreed form
    │   ├── SignatureError         sig-*      a signature does not hold, or was made for another purpose
    │   ├── UntrustedKeyError      key-*      the key may not be used, or may not be registered
    │   └── MisaddressedError      address-*  sound and signed, but from or for somebody else
    ├── DraftError                 our own caller's document breaks a rule; .problems says where and which
    ├── KeyFileError               key-file-*  a private key file is missing, unreadable or locked (operator)
    └── ClientError                the node answered with a problem, or did not answer (the SDK's caller)

A program decides by the class, an officer reads ``text``, a log and a test keep ``code``. Codes are part of the
protocol: they are never renamed. Texts may be improved at any time and are never matched. No text repeats more
than a few characters of hostile input, and none contains trade data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, Self

Severity = Literal["reject", "hold", "warn"]
SHOWN: Final = 40
"""Characters of what somebody else wrote that a text may repeat."""


def shown(value: object) -> str:
    """`value` as a text may repeat it: at most forty characters, none of which acts on a screen or in a log."""
    text = "".join(c if c.isprintable() else f"<{ord(c):04X}>" for c in str(value)[: SHOWN + 1])
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


class KpmsgError(Exception):
    """Root of the tree. ``str()`` is ``code: text``.

    ``pointer`` is an RFC 6901 JSON pointer to the member at fault (``""`` is the whole document), or ``None``
    where no single place is to blame.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, code: str, text: str, pointer: str | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.pointer = pointer


class RefusedError(KpmsgError):
    """The sender's fault. The bytes belong in quarantine, and a known sender is owed a refusal."""

    kind = "refused"


class MalformedError(RefusedError):
    """The bytes are not in the agreed form; nobody's signature has been looked at, or it did not matter."""

    kind = "malformed"


class SignatureError(RefusedError):
    """A signature does not hold over these bytes, or was made for another kind of statement."""

    kind = "signature"


class UntrustedKeyError(RefusedError):
    """The key is unknown, out of its time, for another use, compromised, or not fit to be registered."""

    kind = "untrusted-key"


class MisaddressedError(RefusedError):
    """Truly signed by somebody, but not from whom, or not for whom, it was handed to us."""

    kind = "misaddressed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule, with the place and a sentence that a clerk understands.

    `text` is English. `variant` and `facts` say the same to `kpmsg.rules.said`, which knows other languages; they are empty
    for what is no rule but a matter of form.
    """

    code: str
    text: str
    pointer: str | None
    severity: Severity = "reject"
    variant: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def within(self, place: str) -> Self:
        """The same problem of a document that is itself a part of something, at the JSON pointer `place`."""
        return replace(self, pointer=f"{place}{self.pointer or ''}")


class DraftError(KpmsgError):
    """The caller's own draft breaks one or more rules; nothing has been signed.

    ``code``, ``text`` and ``pointer`` are those of the first problem, ``problems`` has them all.
    """

    kind = "draft"

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("a DraftError needs at least one problem")
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(first.code, first.text + more, first.pointer)
        self.problems: tuple[Problem, ...] = tuple(problems)


class KeyFileError(KpmsgError):
    """A private key file cannot be used as it is; the operator has to act."""

    kind = "key-file"


class ClientError(KpmsgError):
    """The node refused a request (``status`` is its HTTP status) or could not be reached (``status`` is ``None``).

    ``problems`` are the parts of the node's answer, where it has several: every broken rule, with its place. ``near``: numbers of
    certificates that are there and may have been meant by one that is not.
    """

    kind = "client"

    def __init__(
        self,
        code: str,
        text: str,
        pointer: str | None = None,
        *,
        status: int | None = None,
        problems: Sequence[Problem] = (),
        near: Sequence[str] = (),
    ) -> None:
        super().__init__(code, text, pointer)
        self.status = status
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.near: tuple[str, ...] = tuple(near)
