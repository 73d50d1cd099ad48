"""Scenarios about the documents that mostly the exporting authority writes."""

from __future__ import annotations

from tests.vectors.documents_form import Scenarios


def scenarios() -> Scenarios:
    return Scenarios()
