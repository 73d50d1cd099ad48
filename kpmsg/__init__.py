"""The library and SDK of the exchange between authorities of the Kimberley Process.

There are two reasons to import it.

**A program that has a node** hands it drafts and asks it what became of them. The node keeps the keys, signs, delivers and
repeats; the program needs an API key and nothing else::

    import time

    from kpmsg import ClientError, NodeClient

    URL, API_KEY = "http://127.0.0.1:8080", "kp_..."  # the operator gives out keys: kpnode apikey add

    draft = {
        "type": "export-notification",
        "recipient": "AE",
        "data": {
            "certificate": {"number_raw": "BW 012345", "issuer": "BW", "kind": "kp"},
            "issuing_authority": "Diamond Office, Gaborone",
            "date_of_issue": "2026-03-02",
            "date_of_expiry": "2026-05-01",
            "exporter": {"name": "Tsodilo Rough Trading", "address": "Plot 64288, Gaborone", "country": "BW"},
            "importer": {"name": "Liwa Diamonds DMCC", "address": "Cluster C, Dubai", "country": "AE"},
            "destination": {"participant": "AE"},
            "provenance": "BW",
            "parcels": 1,
            "lines": [
                {
                    "hs": "7102.31",
                    "carats": "149.50",
                    "value_usd": "29962.50",
                    "origin": {"kind": "single", "country": "BW"},
                }
            ],
            "carats": "149.50",
            "value_usd": "29962.50",
            "confirmation": {"requested": True},
        },
    }

    with NodeClient(URL, API_KEY, sleep=time.sleep) as node:
        try:
            submitted = node.submit(draft, wait=10)
        except ClientError as error:
            for problem in error.problems or [error]:
                print(problem.pointer, problem.text)
            raise SystemExit(1)
        for document in submitted.documents:
            print(document["id"], document["delivery"]["sentence"])

Amounts are texts with two decimals, never floats. The same content submitted again is the same submission: a program
that is not sure whether it has submitted something just does it again.

**A program that has somebody's files** verifies them: `open_record` and `same_fingerprint` settle whose keys they are,
`open_document` returns a `Verified` or raises a `RefusedError`. Nothing else makes a `Verified` of what
somebody else signed (`seal_document`, in the same module, makes one of what the node has just signed itself); a function that
takes one need not ask where it came from. `parse` and `compose` read and write documents, and say nothing about who wrote them.

Every exception is in the tree of `kpmsg.errors`. Time, randomness, files and configuration are arguments everywhere;
only the command line, in `kpmsg.cli.edge`, looks around by itself. What is listed in `__all__` keeps its meaning within a
major version; modules not reachable from here may change with any release.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpmsg.client import NodeClient, Submitted
    from kpmsg.documents import Document, compose, parse
    from kpmsg.errors import (
        ClientError,
        DraftError,
        KeyFileError,
        KpmsgError,
        MalformedError,
        MisaddressedError,
        Problem,
        RefusedError,
        SignatureError,
        UntrustedKeyError,
    )
    from kpmsg.keyrecord import KeyRecord, VerifiedRecord, open_next, open_record
    from kpmsg.keys import same_fingerprint
    from kpmsg.verification import Verified, open_document

__all__ = [
    "ClientError",
    "Document",
    "DraftError",
    "KeyFileError",
    "KeyRecord",
    "KpmsgError",
    "MalformedError",
    "MisaddressedError",
    "NodeClient",
    "Problem",
    "RefusedError",
    "SignatureError",
    "Submitted",
    "UntrustedKeyError",
    "Verified",
    "VerifiedRecord",
    "compose",
    "open_document",
    "open_next",
    "open_record",
    "parse",
    "same_fingerprint",
]

_HOMES = {
    "client": ("NodeClient", "Submitted"),
    "documents": ("Document", "compose", "parse"),
    "errors": (
        "ClientError",
        "DraftError",
        "KeyFileError",
        "KpmsgError",
        "MalformedError",
        "MisaddressedError",
        "Problem",
        "RefusedError",
        "SignatureError",
        "UntrustedKeyError",
    ),
    "keyrecord": ("KeyRecord", "VerifiedRecord", "open_next", "open_record"),
    "keys": ("same_fingerprint",),
    "verification": ("Verified", "open_document"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        # Only when asked for: the command line must answer at once, and a verifier needs no HTTP.
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
