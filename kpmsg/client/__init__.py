"""An authority's own program talks to its node: submit drafts, follow documents, fetch files, read certificates, queues and events.

`NodeClient` is synchronous and small. How a request is repeated and what a failure is called is decided in `kpmsg.client.asking`; what
people ask for at a desk (work lists, prepared drafts, numbers) is in `kpmsg.client.desk`, the rest here. It refuses to know documents
(the node checks drafts, and `kpmsg.documents` does so offline), configuration, and time: who waits between attempts is an
argument, `sleep`, in a program simply `time.sleep`.

A submission goes out under an idempotency key, by default the digest of its body. So it is repeated here, and may be repeated by whoever
calls, as often as it takes: the node does it once. The other side of that default: exactly the same content is the
same submission for ever. To say the same thing once more on purpose, bring a key of your own.

Every failure is a `kpmsg.errors.ClientError`: with the node's own code, sentence, pointer and HTTP status if it answered with a
problem (RFC 9457), else with one of

=====================  ============================================================================================
``node-unreachable``   no answer after all attempts; a submission *may* have arrived: send it again, unchanged
``node-unavailable``   an answer that says "later" without saying why, as proxies in front of a node give them
``answer-unreadable``  an answer that no node gives: is the URL right?
``file-fetching``      a file is still on its way from the partner: ask again later
``file-differs``       what came is not the file with that digest: something between us and the node has changed it
=====================  ============================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from kpmsg import strictjson
from kpmsg.client.asking import LONGEST_WAIT, Json, differs, list_in, object_in, unreadable
from kpmsg.client.desk import Desk
from kpmsg.errors import ClientError

_IDEMPOTENCY_KEY: Final = re.compile(r"\A[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?\Z")


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of one submission: its documents as the node shows them, in the order of the drafts.

    They are durable at the node and will be sent until the partner has signed for them. `replayed`: the same submission
    had come before, and this is where its documents are now.
    """

    documents: tuple[Json, ...]
    replayed: bool

    @property
    def ids(self) -> tuple[str, ...]:
        """The document ids."""
        return tuple(document["id"] for document in self.documents)

    @property
    def received(self) -> bool:
        """Whether the partners' signed receipts cover all of it."""
        return all(document["delivery"]["state"] == "received" for document in self.documents)


class NodeClient(Desk):
    """One node's API, with one API key. A context manager; may be used by several threads.

    `url` is the node's address without a path, `api_key` the text ``kp_...`` that the operator gave out. `tls`: an SSL context for a
    private certificate authority (`ssl.create_default_context(cafile=...)`). The key is sent in clear over plain http, which is
    refused except to this very machine, unless `insecure_plaintext` says that the network in between is our own. `language`: in which one
    broken rules are told, if the node knows it. `transport` is httpx's seam, for tests. Proxy settings and `.netrc` of the environment are not looked at, and redirects not followed.

    Raises ValueError for arguments that can never work; no message repeats the key.
    """

    # -- documents -------------------------------------------------------------------------------------------------------

    def submit(
        self,
        drafts: Mapping[str, Any] | Sequence[Mapping[str, Any]] | bytes,
        *,
        idempotency_key: str | None = None,
        wait: int = 0,
    ) -> Submitted:
        """Hand over one draft, or several that are taken all or none; return when the node has made them durable.

        `drafts` may be JSON text as it is (bytes). `wait`: come back only when the partners have signed receipts, or after
        so many seconds (the node allows 60), whichever is first; nothing depends on it. Raises ClientError; with
        ``document-invalid`` it has every broken rule in `problems`, with pointers into the draft (or the list).
        """
        body = drafts if isinstance(drafts, bytes) else strictjson.dumps(drafts)
        key = idempotency_key_of(body) if idempotency_key is None else idempotency_key
        if not _IDEMPOTENCY_KEY.match(key):
            raise ValueError("an idempotency key has 1 to 128 printable ASCII characters")
        headers = {"idempotency-key": key, "content-type": "application/json"}
        if wait > 0:
            headers["prefer"] = f"wait={wait}"
        response = self._ask("POST", "/v1/documents", content=body, headers=headers, wait=wait)
        answer = object_in(response)
        shown = list_in(response, answer, "documents") if "documents" in answer else [answer]
        if not all(isinstance(one.get("id"), str) and "state" in one.get("delivery", ()) for one in shown):
            raise unreadable(response)
        return Submitted(tuple(shown), response.headers.get("idempotency-replayed") == "true")

    def document(self, document_id: str) -> Json:
        """One document, with where it is."""
        return object_in(self._ask("GET", f"/v1/documents/{quote(document_id, safe='')}"))

    def signed(self, document_id: str) -> bytes:
        """The document exactly as it was signed: what `kpmsg verify` and any auditor can check."""
        return self._ask("GET", f"/v1/documents/{quote(document_id, safe='')}/signed", accept="*/*").content

    def receipt(self, document_id: str) -> bytes:
        """The signed receipt that covers the document. ClientError ``not-found`` while there is none."""
        return self._ask("GET", f"/v1/documents/{quote(document_id, safe='')}/receipt", accept="*/*").content

    def documents(
        self,
        *,
        partner: str | None = None,
        direction: str | None = None,
        type: str | None = None,  # noqa: A002 - the API's name
        certificate: str | None = None,
        delivery: str | None = None,
    ) -> Iterator[Json]:
        """Every document that fits, newest first; pages are fetched as they are needed.

        `direction` is ``in`` or ``out``, `delivery` ``waiting``, ``received`` or ``withheld``.
        """
        asked = {
            "partner": partner,
            "direction": direction,
            "type": type,
            "certificate": certificate,
            "delivery": delivery,
        }
        return self._pages("/v1/documents", "documents", asked)

    # -- files -----------------------------------------------------------------------------------------------------------

    def upload(self, content: bytes, media_type: str) -> Json:
        """Hand over a file before a document names it; returns its ``digest`` and ``size``, as a document has to say them.

        The same file again is the same file. `media_type` is one of `kpmsg.attachments.MEDIA_TYPES`, and the file has at most
        `kpmsg.attachments.MAX_FILE` bytes (protocol/attachments.md, G1). Raises ClientError.
        """
        headers = {"content-type": media_type}
        response = self._ask("POST", "/v1/files", content=content, headers=headers)
        answer = object_in(response)
        if answer.get("digest") != sha256(content).hexdigest():
            raise differs(response)
        return answer

    def files(self, document_id: str) -> list[Json]:
        """The files that a document names, each with its ``state`` at the node."""
        response = self._ask("GET", f"/v1/documents/{quote(document_id, safe='')}/files")
        return list_in(response, object_in(response), "files")

    def file(self, document_id: str, digest: str, *, wait: int = 0) -> bytes:
        """A file that a document names, compared with its digest. The node fetches it from the partner if it has to.

        `wait`: seconds to wait for that. Raises ClientError: ``file-fetching`` if it has not come by then,
        ``file-unavailable`` if the partner cannot give it, ``file-differs``.
        """
        path = f"/v1/documents/{quote(document_id, safe='')}/files/{quote(digest, safe='')}"
        while True:
            now = min(wait, LONGEST_WAIT)
            headers = {"prefer": f"wait={now}"} if now > 0 else {}
            response = self._ask("GET", path, headers=headers, accept="*/*", wait=now)
            if response.status_code == HTTPStatus.OK:
                break
            wait -= LONGEST_WAIT
            if wait <= 0:
                state = object_in(response)
                text = f"{state.get('held')} of {state.get('size')} bytes have come from the partner"
                raise ClientError("file-fetching", text, status=response.status_code)
        if sha256(response.content).hexdigest() != digest.lower():
            raise differs(response)
        return response.content

    # -- everything else -------------------------------------------------------------------------------------------------

    def authority(self) -> str:
        """The address of the authority whose node it is."""
        response = self._ask("GET", "/")
        found = object_in(response).get("authority")
        if not isinstance(found, str):
            raise unreadable(response)
        return found

    def queue(self, partner: str) -> Json:
        """What waits for a partner (``AE``, ``EU/antwerp``), why, when it is tried again and who must act."""
        return object_in(self._ask("GET", f"/v1/partners/{quote(partner, safe='/')}/queue"))

    def queues(self) -> list[Json]:
        """The same for every partner."""
        response = self._ask("GET", "/v1/queues")
        return list_in(response, object_in(response), "queues")

    def events(self, after: int = 0) -> Iterator[Json]:
        """Everything that happened after event number `after`, oldest first, up to now.

        Keep the ``id`` of the last one that you have dealt with, and go on from there next time.
        """
        while True:
            response = self._ask("GET", "/v1/events", params={"after": str(after), "limit": "200"})
            page = object_in(response)
            found = list_in(response, page, "events")
            if not found:
                return
            yield from found
            following = page.get("next")
            if not isinstance(following, int) or following <= after:
                raise unreadable(response)
            after = following


def idempotency_key_of(body: bytes) -> str:
    """The key under which a body is submitted if its sender brings none: the same for the same bytes, for ever."""
    return f"sha256-{sha256(body).hexdigest()}"
