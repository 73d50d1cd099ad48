"""Broken rules are told in the caller's language; codes, places and severities are the same in all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kpmsg.rules import LANGUAGES, rules
from tests.api import Office, office
from tests.exchange import trade


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as there:
        yield there


def spoilt() -> dict[str, Any]:
    draft = trade().notification(1)
    draft["data"] |= {"parcels": 0}
    draft["data"]["lines"][0]["hs"] = "7102.39"
    return draft


async def refused(desk: Office, drafts: Any, *languages: str) -> httpx.Response:
    headers = [(b"Idempotency-Key", b"one")]
    headers += [(b"Accept-Language", language.encode("latin-1")) for language in languages]
    async with await desk.client() as client:
        answer = await client.post("/v1/documents", json=drafts, headers=headers)
    assert answer.status_code == 422
    return answer


@pytest.mark.parametrize("language", LANGUAGES)
async def test_broken_rules_are_told_in_the_language_of_the_caller(desk: Office, language: str) -> None:
    answer = await refused(desk, spoilt(), language)
    errors = {error["code"]: error for error in answer.json()["errors"]}
    assert answer.headers["content-language"] == language
    assert errors["F02"]["detail"] == rules()["F02"].variants["parcels"].texts[language]  # type: ignore[index]
    assert errors["F04"]["pointer"] == "/data/lines/0/hs"
    assert "7102.39" in errors["F04"]["detail"]
    told = {(code, error["severity"], error["rule_version"]) for code, error in errors.items()}
    assert told >= {("F02", "reject", 1), ("F04", "reject", 1), ("F06", "warn", 1)}
    assert answer.json()["detail"].startswith(answer.json()["errors"][0]["detail"])


async def test_whoever_asks_for_nothing_is_answered_in_english(desk: Office) -> None:
    for languages in ((), ("de",), ("",), ("\u00e9" * 400,), ("en;q=0.5, fr;q=0.1",)):
        answer = await refused(desk, spoilt(), *languages)
        assert answer.headers["content-language"] == "en"
        assert "at least one parcel" in answer.text


async def test_several_headers_are_one_list(desk: Office) -> None:
    answer = await refused(desk, spoilt(), "de, en;q=0.3", "pt-BR;q=0.8")
    assert answer.headers["content-language"] == "pt"


async def test_an_array_is_told_in_the_language_too_with_the_place_in_it(desk: Office) -> None:
    answer = await refused(desk, [spoilt()], "ru")
    (found,) = [error for error in answer.json()["errors"] if error["code"] == "F02"]
    assert found["pointer"] == "/0/data/parcels"
    assert found["detail"] == rules()["F02"].variants["parcels"].texts["ru"]
