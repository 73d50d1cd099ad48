"""From an exception, however often it was wrapped on its way, to the few words an operator needs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from kpnode.transports import Outcome, Sent


def causes(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it was raised from, and so on inwards."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def plain(error: BaseException) -> str:
    """A few words of the innermost cause that has any; never more than a line."""
    words = ""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
        elif not words:
            words = " ".join(str(part) for part in cause.args if isinstance(part, str | int)).strip()
    return (words or type(error).__name__).rstrip(".")[:200]


def tls_fault(error: BaseException, where: str) -> Sent | None:
    """What TLS had against the connection to `where`, if TLS it was."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Sent(Outcome.TLS, f"We do not accept the certificate of {where}: {cause.verify_message}.")
        if isinstance(cause, ssl.SSLError):
            return Sent(Outcome.TLS, f"No secure connection to {where}: {cause.reason or plain(cause)}.")
    return None
