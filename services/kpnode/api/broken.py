"""How a caller is told of broken rules: in which language, and with which members.

The wording is the rules' own (`kpmsg.rules`); nothing is judged here.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from kpmsg import rules
from kpmsg.errors import Problem


def language_of(request: Request) -> rules.Language:
    """The language that the caller prefers among those of the rules; English if it says nothing."""
    return rules.preferred(",".join(request.headers.getlist("accept-language")))


def told(problem: Problem, language: rules.Language) -> dict[str, Any]:
    """A broken rule as a part of an answer. `rule_version` is left out where it is a matter of form, and no rule."""
    version = rules.version_of(problem)
    return {
        "code": problem.code,
        **({} if version is None else {"rule_version": version}),
        "pointer": problem.pointer or "",
        "detail": rules.said(problem, language),
        "severity": problem.severity,
    }
