"""The validation rules as data: what each is called, how grave it is, and how it is said in five languages.

A rule's *condition* is code, beside the documents that it is about; everything that people read, translate, cite or look up
is in `protocol/rules.yaml`, of which `rules.json` here is a copy that Python reads without a YAML parser (a test keeps them
equal). A rule's code never changes its meaning; when its condition or severity does, its version counts up.

No clock, no state: `breach` makes the problem, `said` words it again in another language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from kpmsg.errors import Problem, Severity

Language = Literal["en", "fr", "pt", "es", "ru"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
"""Those of the Kimberley Process' own meetings."""

_RANGE = re.compile(r"\A\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,32})?\s*(?:;\s*[qQ]=([01](?:\.[0-9]{0,3})?))?\s*\Z")


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a rule may say; a rule whose breach has several shapes has several. `severity`: if not the rule's own."""

    severity: Severity
    texts: Mapping[Language, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `documents`: short names of the types it is about; `ground`: the KPCS paragraph or why we have it."""

    code: str
    version: int
    severity: Severity
    about: str
    ground: str
    documents: tuple[str, ...]
    variants: Mapping[str, Said]


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its code, in the order of the file."""
    data: dict[str, Any] = json.loads(files("kpmsg").joinpath("rules.json").read_text("utf-8"))
    found = {}
    for code, rule in data["rules"].items():
        variants = {
            name: Said(said.get("severity", rule["severity"]), {lang: said[lang] for lang in LANGUAGES})
            for name, said in rule["says"].items()
        }
        found[code] = Rule(
            code, rule["version"], rule["severity"], rule["about"], rule["ground"], tuple(rule["documents"]), variants
        )
    return found


def breach(code: str, variant: str, pointer: str | None, /, *, severity: Severity | None = None, **facts: object) -> Problem:
    """The problem of a document that breaks rule `code` in the way `variant` at `pointer`; `facts` fill the places in its text.

    `severity` overrides the rule's own, where the condition decides it. KeyError for a rule or variant that there is not.
    """
    said = rules()[code].variants[variant]
    given = tuple((name, str(value)) for name, value in facts.items())
    return Problem(code, said.texts["en"].format_map(dict(given)), pointer, severity or said.severity, variant, given)


def said(problem: Problem, language: Language) -> str:
    """The problem's text in `language`; its own text if it is not one of our rules."""
    rule = rules().get(problem.code)
    if rule is None or problem.variant not in rule.variants:
        return problem.text
    return rule.variants[problem.variant].texts[language].format_map(dict(problem.facts))


def preferred(accept_language: str) -> Language:
    """The language that suits an Accept-Language header best (RFC 9110, 12.5.4); English if none does."""
    best: tuple[float, Language] = (0.0, "en")
    for part in accept_language[:500].split(","):
        match = _RANGE.match(part)
        if match is None:
            continue
        name, weight = match[1].lower(), float(match[2] or 1)
        for language in LANGUAGES:
            if name in (language, "*") and weight > best[0]:
                best = (weight, language)
    return best[1]
