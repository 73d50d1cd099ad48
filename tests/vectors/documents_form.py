"""The one form of the scenarios in ``protocol/vectors/documents``: a draft, and every rule that it breaks by itself.

``documents_exporter.py`` and ``documents_importer.py`` each fill a :class:`Scenarios`; ``generate.py`` writes what is in
them. It knows nothing of vectors about bytes, and no document type.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]
Broken = tuple[str, str, str]
"""A rule that is broken: its code, its severity, and the pointer to the place."""

WRITTEN_AT = "2026-03-20T09:00:00Z"


class Scenarios:
    """Collects files by their path below ``protocol/vectors``, without ``.json``."""

    def __init__(self) -> None:
        self.files: dict[str, Json] = {}

    def sound(
        self, name: str, description: str, author: str, draft: Json, *warnings: Broken, time: str = WRITTEN_AT
    ) -> None:
        """A draft that may be signed. `name` begins with the short name of its type; `warnings` are shown and stop nobody."""
        assert all(severity != "reject" for _, severity, _ in warnings), name
        self._add(name, description, author, draft, {"kind": "accepted"}, warnings, time)

    def broken(
        self, name: str, description: str, author: str, draft: Json, *problems: Broken, time: str = WRITTEN_AT
    ) -> None:
        """A draft that nobody may sign: `problems` are all that it breaks, the first of severity reject giving the code."""
        code = next(code for code, severity, _ in problems if severity == "reject")
        self._add(name, description, author, draft, {"kind": "draft", "code": code}, problems, time)

    def _add(
        self,
        name: str,
        description: str,
        author: str,
        draft: Json,
        expect: Json,
        problems: tuple[Broken, ...],
        time: str,
    ) -> None:
        assert name.startswith(draft["type"]), name
        path = f"documents/{name}"
        assert path not in self.files, name
        said = [
            {"code": code, "severity": severity, "pointer": pointer} for code, severity, pointer in problems
        ]
        self.files[path] = {
            "description": description,
            "rule": draft["type"],
            "act": "draft",
            "input": {"text": json.dumps(draft, ensure_ascii=True)},
            "source": author,
            "time": time,
            "expect": expect | {"problems": said},
        }


def altered(draft: Json, *changes: tuple[str, Any]) -> Json:
    """A copy of the draft with the member at each pointer set to its value; `...` takes it away."""
    changed: Json = json.loads(json.dumps(draft))  # deepcopy would keep what two members share shared
    for pointer, value in changes:
        place: Any = changed
        *steps, last = [int(step) if step.isdigit() else step for step in pointer.split("/")[1:]]
        for step in steps:
            place = place[step]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return changed
