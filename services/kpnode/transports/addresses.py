"""Where a broker is, and how both sides prove who they are before anything is said."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from kpnode.transports.loopback import is_loopback


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and how we prove who we are.

    Without `login` the proof is our client certificate in `tls` (SASL EXTERNAL). Without `tls` there is no proof of the
    other side either, so that is accepted on loopback only. ValueError otherwise.
    """

    host: str
    port: int = 5671
    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.tls is None and not is_loopback(self.host):
            raise ValueError(
                f"a broker at {self.host} must be spoken to over TLS; only loopback may do without"
            )
        if self.tls is None and self.login is None:
            raise ValueError("a broker without TLS needs a user name and a password")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
