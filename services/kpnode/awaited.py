"""Callers who wait for receipts: one future for each caller and document, and none left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


class Awaited:
    """What is waited for, by document id."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def come(self, document_id: str) -> None:
        """A receipt covers this document."""
        for future in self._waiting.pop(document_id, ()):
            if not future.done():
                future.set_result(None)

    async def wait(self, ids: Sequence[str], seconds: float) -> bool:
        """Whether all of them came within `seconds`."""
        if not ids:
            return True
        mine = {document_id: asyncio.get_running_loop().create_future() for document_id in ids}
        for document_id, future in mine.items():
            self._waiting.setdefault(document_id, []).append(future)
        try:
            _, pending = await asyncio.wait(mine.values(), timeout=seconds)
        finally:  # also if the caller has gone away
            for document_id, future in mine.items():
                if not future.done() and (waiting := self._waiting.get(document_id)) is not None:
                    waiting.remove(future)
                    if not waiting:
                        del self._waiting[document_id]
        return not pending
