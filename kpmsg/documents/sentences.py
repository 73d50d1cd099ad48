"""Turns what pydantic says about a refused document into problems: a code, a pointer, a sentence for a clerk.

Codes (they are part of the protocol and do not change):

========================== ==========================================================================
``document-missing``        a field that must be there is not
``document-type``           a value of the wrong JSON type: a number for a text, `null`, ...
``document-format``         a text that is not written as its field demands, or not one of the choices
``document-range``          a number or a list outside its bounds
``document-unknown-member`` a member no such document has (drafts only; received documents may have more)
``document-subject``        the envelope's subject is not what the content says (decided by the caller of this)
``document-unsupported``    a draft of a type this software does not write (likewise)
========================== ==========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kpmsg.errors import Problem, shown
from kpmsg.rules import forms, malformed

_AT_MOST = 50
_CODES = {
    "missing": "document-missing",
    "union_tag_not_found": "document-missing",
    "document-format": "document-format",
    "literal_error": "document-format",
    "union_tag_invalid": "document-format",
    "extra_forbidden": "document-unknown-member",
    "greater_than_equal": "document-range",
    "less_than_equal": "document-range",
    "too_short": "document-range",
    "too_long": "document-range",
    "int_parsing_size": "document-range",
    "two_sizes": "document-range",
}
_TEXTUAL = frozenset({"document-format", "literal_error", "union_tag_invalid"})
_WANTED = {"int_type": "whole-number", "bool_type": "yes-or-no", "tuple_type": "list"}
_BOUNDS = {
    "too_short": ("too-few", "min_length"),
    "too_long": ("too-many", "max_length"),
    "greater_than_equal": ("too-small", "ge"),
    "less_than_equal": ("too-large", "le"),
    "two_sizes": ("two-sizes", ""),
}


def problems_in(error: ValidationError, document: object) -> list[Problem]:
    """The first fifty problems pydantic found in `document` (the parsed JSON it was given)."""
    found = error.errors(include_url=False)
    said = [detail for detail in found if detail["type"] != "too_short" or not _within(detail["loc"], found)]
    return [_problem(detail, document) for detail in said[:_AT_MOST]]


def _within(location: Sequence[int | str], found: Sequence[ErrorDetails]) -> bool:
    """Whether something deeper than `location` is wrong: pydantic does not count the entries of a list that it refused."""
    depth = len(location)
    return any(len(each["loc"]) > depth and each["loc"][:depth] == location for each in found)


def _problem(detail: ErrorDetails, document: object) -> Problem:
    kind, value = detail["type"], detail["input"]
    path = _members(detail["loc"], document)
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        path = [*path, "kind"]
        value = value.get("kind") if isinstance(value, Mapping) else value
    code = _CODES.get(kind, "document-type")
    due = bool if detail.get("ctx", {}).get("expected") == "true" else str
    if code == "document-format" and not isinstance(value, due):
        code = "document-type"
    if kind == "union_tag_invalid" and value is None:
        code = "document-type"
    return _told(code, detail, value, _label(path), _pointer(path))


def _told(code: str, detail: ErrorDetails, value: object, label: str, at: str) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    if code == "document-missing":
        return malformed(code, "missing", at, label=label)
    if code == "document-unknown-member":
        return malformed(code, "unknown-member", at, label=_shown(label))
    if code == "document-range":
        form, bound = _BOUNDS.get(kind, ("beyond-bounds", ""))
        facts = {"bound": str(context[bound])} if bound else {}
        return malformed(code, form, at, label=label, **facts)
    found = _shown(value)
    if kind not in _TEXTUAL:
        return malformed(code, _WANTED.get(kind, "object"), at, label=label, value=found)
    if kind != "document-format":
        choices = context["expected" if kind == "literal_error" else "expected_tags"].replace(" or ", ", ")
        return malformed(code, "choice", at, label=label, choices=choices, value=found)
    form = _demands().get(detail["msg"], "")
    if form:
        return malformed(code, form, at, value=found)
    return Problem(code, f"{detail['msg']} Found {found}.", at)


@cache
def _demands() -> dict[str, str]:
    """Which form says a sentence of the vocabulary."""
    return {texts["en"].removesuffix(" Found {value}."): form for form, texts in forms().items()}


def _shown(value: object) -> str:
    """A value as it may be repeated, as JSON would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return shown(value)
    if not isinstance(value, str):
        return "[...]" if isinstance(value, list) else "{...}"
    return json.dumps(shown(value), ensure_ascii=False)


def _members(location: Sequence[int | str], document: object) -> list[str | int]:
    """The steps of a location that are members of the document.

    pydantic names the chosen kind of a tagged choice as a step of its own; that step is in no document.
    """
    path: list[str | int] = []
    here = document
    for step in location:
        if isinstance(here, Mapping):
            if here.get("kind") == step:
                continue
            here = here.get(str(step))
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        else:
            here = None
        path.append(step)
    return path


def _pointer(path: Sequence[int | str]) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _label(path: Sequence[int | str]) -> str:
    """How a field is called in a sentence: its name, and its position where it stands in a list."""
    if not path:
        return "document"
    if isinstance(path[-1], int):
        return f"{_label(path[:-1])} (entry {path[-1] + 1})"
    return path[-1].replace("_", " ")
