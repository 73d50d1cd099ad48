"""The validation rules as data: what each is called, how grave it is, and how it is said in five languages.

A rule's *condition* is code, beside the documents that it is about; everything that people read, translate, cite or look up
is in `protocol/rules.yaml`, of which `rules.json` here is a copy that Python reads without a YAML parser (a test keeps them
equal). A rule's code never changes its meaning; when its condition or severity does, its version counts up.

No clock, no state: `breach` makes the problem, `said` words it again in another language. The file is read when the first
rule is broken; a sound document does not need it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from kpmsg.errors import Problem, Severity, shown

Language = Literal["en", "fr", "pt", "es", "ru"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
"""Those of the Kimberley Process' own meetings."""

Tester = Literal["sender", "receiver"]

_LONGEST_HEADER: Final = 500
_RANGE = re.compile(
    r"\A[ \t]*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,32})?[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?\Z"
)


@dataclass(frozen=True, slots=True)
class Said:
    """One way in which a rule is broken, and what is said of it. `severity` is the rule's, unless this way has its own."""

    severity: Severity
    texts: Mapping[Language, str]


@dataclass(frozen=True, slots=True)
class Circumstance:
    """Another severity, and when the condition takes it."""

    severity: Severity
    when: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    `about`: what it demands; `ground`: the KPCS paragraph or why we have it; `documents`: short names of the types it is about,
    or `*`; `tested_by`: who can tell, and where that is the receiver alone, `because` says why nobody else can.
    """

    code: str
    version: int
    severity: Severity
    about: str
    ground: str
    documents: tuple[str, ...]
    tested_by: Tester
    because: str | None
    exceptions: tuple[Circumstance, ...]
    variants: Mapping[str, Said]


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(files("kpmsg").joinpath("rules.json").read_text("utf-8"))
    return data


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its code, in the order of the file."""
    return MappingProxyType({code: _rule(code, rule) for code, rule in _data()["rules"].items()})


@cache
def forms() -> Mapping[str, Mapping[Language, str]]:
    """What is said of documents that are not in the agreed form, which is no rule: texts by name."""
    return MappingProxyType(_data()["forms"])


def _rule(code: str, rule: dict[str, Any]) -> Rule:
    variants = {
        name: Said(said.get("severity", rule["severity"]), {lang: said[lang] for lang in LANGUAGES})
        for name, said in rule["says"].items()
    }
    return Rule(
        code=code,
        version=rule["version"],
        severity=rule["severity"],
        about=rule["about"],
        ground=rule["ground"],
        documents=tuple(rule["documents"]),
        tested_by=rule.get("tested_by", "sender"),
        because=rule.get("because"),
        exceptions=tuple(Circumstance(**one) for one in rule.get("exceptions", ())),
        variants=MappingProxyType(variants),
    )


def breach(
    code: str, variant: str, pointer: str | None, /, *, severity: Severity | None = None, **facts: object
) -> Problem:
    """The problem of a document that breaks rule `code` in the way `variant` at `pointer`; `facts` fill the places in its text.

    A fact may be what somebody else wrote: no more than forty harmless characters of it are kept. `severity` overrides the
    rule's own, where the condition decides it. KeyError for a rule or variant that there is not, and for a missing fact.
    """
    said = rules()[code].variants[variant]
    given = tuple((name, shown(value)) for name, value in facts.items())
    return Problem(
        code,
        said.texts["en"].format_map(dict(given)),
        pointer,
        severity or said.severity,
        variant,
        given,
    )


def malformed(code: str, form: str, pointer: str | None, /, **facts: str) -> Problem:
    """The problem of a document that has not the agreed form; `form` names what is said of it.

    `facts` are repeated as they are: whoever calls this has made them harmless (`shown`). KeyError as for `breach`.
    """
    return Problem(code, forms()[form]["en"].format_map(facts), pointer, "reject", form, tuple(facts.items()))


def said(problem: Problem, language: Language) -> str:
    """The problem's text in `language`; its own text if neither `breach` nor `malformed` has made it."""
    rule = rules().get(problem.code)
    ways = forms() if rule is None else {name: way.texts for name, way in rule.variants.items()}
    if problem.variant not in ways:
        return problem.text
    try:
        return ways[problem.variant][language].format_map(dict(problem.facts))
    except KeyError:  # made by another version
        return problem.text


def version_of(problem: Problem) -> int | None:
    """The version of the rule that the problem names; None if it is a matter of form and no rule."""
    rule = rules().get(problem.code)
    return None if rule is None else rule.version


def preferred(accept_language: str) -> Language:
    """The language that suits an Accept-Language header best (RFC 9110, 12.5.4); English if none does.

    Regions are not looked at: `pt-BR` is Portuguese. Among equals the first wins. What is not such a header is ignored.
    """
    wanted: dict[str, float] = {}
    parts = accept_language[:_LONGEST_HEADER].split(",")
    for part in parts if len(accept_language) <= _LONGEST_HEADER else parts[:-1]:  # the last one may be cut
        match = _RANGE.match(part)
        if match is not None:
            wanted.setdefault(match[1].lower(), float(match[2] or 1))
    others = wanted.pop("*", 0.0)
    weights = {language: wanted.get(language, others) for language in LANGUAGES}
    order = [language for name in wanted for language in LANGUAGES if language == name] + list(LANGUAGES)
    best = max(order, key=weights.__getitem__)  # the first of equals
    return best if weights[best] > 0 else "en"
