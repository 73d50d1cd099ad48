"""The rules as data: complete in five languages, raised by the code as they are written, and harmless whatever they repeat."""

from __future__ import annotations

import ast
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kpmsg.cli import edge as cli_edge
from kpmsg.documents import TYPES, compose, sentences
from kpmsg.errors import SHOWN, DraftError, Problem, shown
from kpmsg.rules import LANGUAGES, Language, breach, preferred, rules, said, version_of
from tests.schemas import rules as generated
from tests.unit.documents_full import DRAFTS, ID, TIME, copy

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "protocol" / "documents"
SEVERITIES = ("reject", "hold", "warn")
EVERYTHING = yaml.safe_load(generated.SOURCE.read_text("utf-8"))
DATA: dict[str, dict[str, Any]] = EVERYTHING["rules"]
FORMS: dict[str, dict[str, str]] = EVERYTHING["forms"]
TOLD = [(code, name) for code, rule in DATA.items() for name in rule["says"]]


def places(text: str) -> set[str]:
    """The names in braces; a format or an attribute there would let a fact act."""
    found = set()
    for _, name, form, conversion in string.Formatter().parse(text):
        assert not form, text
        assert not conversion, text
        if name is not None:
            assert re.fullmatch(r"[a-z_]+", name), text
            found.add(name)
    return found


# --- the data --------------------------------------------------------------------------------------------------------


def test_the_copy_and_the_page_are_current() -> None:
    assert generated.COPY.read_text("utf-8") == generated.text(), "run: python -m tests.schemas.rules"
    assert generated.PAGE.read_text("utf-8") == generated.page(), "run: python -m tests.schemas.rules"


def test_no_code_stands_twice() -> None:
    """YAML itself would silently take the last."""
    keys = re.findall(r"^  (\S+):$", generated.SOURCE.read_text("utf-8"), re.MULTILINE)
    assert sorted(keys) == sorted([*DATA, *FORMS])


@pytest.mark.parametrize("code", DATA)
def test_a_rule_is_complete(code: str) -> None:
    rule = DATA[code]
    assert re.fullmatch(r"[A-Z][0-9]{2}", code)
    required = {"version", "severity", "about", "ground", "documents", "tested_by", "says"}
    assert required <= set(rule) <= required | {"because", "exceptions"}
    assert type(rule["version"]) is int
    assert rule["version"] >= 1
    assert rule["severity"] in SEVERITIES
    assert rule["tested_by"] in {"sender", "receiver"}
    names = {content.name for content in TYPES.values()}
    assert rule["documents"] == ["*"] or set(rule["documents"]) <= names
    assert len(set(rule["documents"])) == len(rule["documents"]) > 0
    for exception in rule.get("exceptions", ()):
        assert set(exception) == {"severity", "when"}
        assert exception["severity"] in SEVERITIES
    for ways in rule["says"].values():
        assert set(ways) <= {"severity", *LANGUAGES}
        assert ways.get("severity", "warn") in SEVERITIES
    sentences = [rule["about"], rule["ground"], rule.get("because", "-")]
    assert not [text for text in sentences if "|" in text or "\n" in text], "it stands in a table"


@pytest.mark.parametrize("code", DATA)
def test_what_only_the_receiver_can_know_says_why(code: str) -> None:
    rule = DATA[code]
    assert ("because" in rule) is (rule["tested_by"] == "receiver")


def spoken(texts: dict[str, str]) -> None:
    """The same thing said five times: with the same facts and figures, as sentences, and none of them left in English."""
    assert set(texts) - {"severity"} == set(LANGUAGES)
    assert [language for language in LANGUAGES if texts[language] == texts["en"]] == ["en"]
    for language in LANGUAGES:
        text = texts[language]
        assert places(text) == places(texts["en"]), language
        assert text == text.strip()
        assert text[-1] in ".!?", language
        assert bool(re.search("[а-яё]", text)) is (language == "ru"), language
        figures = r"\d[\d.]*\d|\d"
        assert sorted(re.findall(figures, text)) == sorted(re.findall(figures, texts["en"])), language
        filled = text.format_map(dict.fromkeys(places(text), "x" * SHOWN))
        assert len(filled) <= 500, "it has to fit a reason of a rejection, and a line of a screen"


@pytest.mark.parametrize(("code", "name"), TOLD)
def test_every_rule_is_said_in_five_languages_with_the_same_facts(code: str, name: str) -> None:
    spoken(DATA[code]["says"][name])


@pytest.mark.parametrize("language", ["fr", "pt", "es", "ru"])
def test_what_a_rule_quotes_stands_in_the_quotation_marks_of_the_language(language: str) -> None:
    texts = [DATA[code]["says"][name][language] for code, name in TOLD]
    assert [text for text in texts if '"' in text] == []


@pytest.mark.parametrize("form", FORMS)
def test_every_fault_of_form_is_said_in_five_languages_with_the_same_facts(form: str) -> None:
    spoken(FORMS[form])


WORDS = re.findall(
    r"^\| ([a-z]+) \| (.+) \| (.+) \| (.+) \| (.+) \|$",
    generated.PAGE.read_text("utf-8").split("## Words")[1].split("\n## ")[0],
    re.MULTILINE,
)
OTHER_WORDS = {
    "fr": r"\benvois?\b|\bchargement|\bcolis\b|\bmélangé",
    "pt": r"cancel|\bpacotes?\b|\bexpediç|\bembarque|\bmistura",
    "es": r"cancel|\bpaquetes?\b|\benvíos?\b|\bembarque|\bemisión|\bemitid",
    "ru": r"\bотмен|\bупаков|\bпосыл|\bгруз[аеу]?\b|\bвес[аеуом]*\b|\bвал[ию]дац",
}
"""What the same thing is called elsewhere: a reader must not wonder whether something else is meant."""


@pytest.mark.parametrize("language", OTHER_WORDS)
def test_a_thing_has_one_name_in_each_language(language: str) -> None:
    assert len(WORDS) >= 8
    texts = [said[language] for rule in DATA.values() for said in rule["says"].values()]
    texts += [form[language] for form in FORMS.values()]
    assert [text for text in texts if re.search(OTHER_WORDS[language], text, re.IGNORECASE)] == []


def test_the_languages_are_the_same_everywhere() -> None:
    assert get_args(Language) == get_args(cli_edge.Language) == LANGUAGES


ANY = "*"
"""The variant that a document's own member names: a closed choice, which its type tests."""

# --- the code ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raised:
    """A call of `breach`: where, which code and variant it may have, with which facts and severities (None: unknown)."""

    place: str
    codes: frozenset[str]
    variants: frozenset[str]
    facts: frozenset[str] | None
    severities: frozenset[str]

    @property
    def told(self) -> list[tuple[str, str]]:
        names = {name for _, name in TOLD} if ANY in self.variants else self.variants
        return [(code, name) for code, name in product(self.codes, names) if (code, name) in TOLD]


@cache
def raised() -> tuple[Raised, ...]:
    files = sorted((ROOT / "kpmsg").rglob("*.py")) + sorted((ROOT / "services").rglob("*.py"))
    return tuple(
        call for file in files for call in _calls(str(file.relative_to(ROOT)), file.read_text("utf-8"))
    )


def _calls(name: str, source: str) -> Iterator[Raised]:
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "breach"):
            continue
        scopes: list[ast.AST] = [f for f in functions if node in ast.walk(f)] + [tree]
        spread = any(keyword.arg is None for keyword in node.keywords)
        facts = frozenset(k.arg for k in node.keywords if k.arg not in {None, "severity"})
        severity = next((k.value for k in node.keywords if k.arg == "severity"), None)
        yield Raised(
            f"{name}:{node.lineno}",
            frozenset(_texts(node.args[0], scopes)),
            frozenset(_texts(node.args[1], scopes)),
            None if spread else frozenset(str(fact) for fact in facts),
            frozenset() if severity is None else frozenset(_texts(severity, scopes)),
        )


def _texts(value: ast.expr, scopes: list[ast.AST]) -> Iterator[str]:
    """The texts that an expression may be: constants, choices among them, names that were given such values."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body, scopes)
        yield from _texts(value.orelse, scopes)
    elif isinstance(value, ast.JoinedStr):
        parts = [set(_texts(part, scopes)) for part in value.values]
        yield from ("".join(chosen) for chosen in product(*parts))
    elif isinstance(value, ast.FormattedValue):
        yield from _texts(value.value, scopes)
    elif isinstance(value, ast.Attribute):
        yield ANY
    elif isinstance(value, ast.Name):
        for scope in scopes:
            for node in ast.walk(scope):
                yield from _given(node, value.id, scopes)


def _given(node: ast.AST, name: str, scopes: list[ast.AST]) -> Iterator[str]:
    """What a statement gives to `name`: by assignment, as a loop's variable or as a parameter's default."""
    pairs: list[tuple[ast.expr, ast.expr]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        pairs = [(node.target, node.value)]
    elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.iter, ast.Tuple | ast.List):
        pairs = [(node.target, each) for each in node.iter.elts]
    for target, value in pairs:
        yield from _unpacked(target, value, name, scopes)


def _unpacked(target: ast.expr, value: ast.expr, name: str, scopes: list[ast.AST]) -> Iterator[str]:
    if isinstance(target, ast.Name) and target.id == name:
        yield from _texts(value, scopes)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.IfExp):
        yield from _unpacked(target, value.body, name, scopes)
        yield from _unpacked(target, value.orelse, name, scopes)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from _unpacked(one, its, name, scopes)


def test_the_scan_reads_what_the_code_may_say() -> None:
    source = """
WHICH = "A01"
def f(ours):
    severity = "reject" if ours else "hold"
    code, name = ("B01", "one") if ours else ("B02", "two")
    for part, fact in (("C01", 1), ("C02", 2)):
        breach(part, "x" if ours else "y", None, fact=fact, severity=severity)
    yield breach(code, f"{name}-more", None), breach(WHICH, "z", None, **{})
    return breach(unknown, "z", None), breach("D01", self.kind, None)
"""
    found = {" ".join(sorted(call.codes)): call for call in _calls("x.py", source)}
    variants = {codes: set(call.variants) for codes, call in found.items()}
    assert variants == {
        "C01 C02": {"x", "y"},
        "B01 B02": {"one-more", "two-more"},
        "A01": {"z"},
        "": {"z"},
        "D01": {ANY},
    }
    facts = {codes: call.facts for codes, call in found.items()}
    assert facts == {"C01 C02": {"fact"}, "B01 B02": set(), "A01": None, "": set(), "D01": set()}
    assert found["C01 C02"].severities == {"reject", "hold"}


def test_every_breach_in_the_code_is_a_rule_with_its_facts() -> None:
    offences = []
    for call in raised():
        codes, variants = {code for code, _ in call.told}, {name for _, name in call.told}
        if not call.codes or not call.variants:
            offences.append(f"{call.place}: the code or variant cannot be read off")
        offences += [f"{call.place}: no rule {code}" for code in call.codes - codes]
        missing = call.variants - variants - {ANY}
        offences += [f"{call.place}: {sorted(call.codes)} have no {name}" for name in missing]
        for code, name in call.told:
            due = places(DATA[code]["says"][name]["en"])
            if call.facts is not None and call.facts != due:
                offences.append(f"{call.place}: {code} {name} needs {sorted(due)}, gets {sorted(call.facts)}")
            offences += [
                f"{call.place}: {code} is never of severity {severity}"
                for severity in call.severities - generated.severities(DATA[code])
            ]
    assert not offences, "\n".join(offences)


def test_every_text_of_a_rule_is_said_somewhere() -> None:
    said_somewhere = {told for call in raised() for told in call.told}
    assert sorted(set(TOLD) - said_somewhere) == []


def test_every_fault_of_form_is_found_somewhere() -> None:
    """By the vocabulary, which knows how values are written, or by a call of `malformed`; and no demand is in English alone."""
    demands: set[str] = set()
    named: set[Any] = set()
    for file in sorted((ROOT / "kpmsg" / "documents").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in {"Written", "OneOf"} and len(node.args) > 1:
                    demands.add(f"{ast.literal_eval(node.args[1])} Found {{value}}.")
                if node.func.id == "malformed":
                    named.update(n.value for n in ast.walk(node.args[1]) if isinstance(n, ast.Constant))
    named |= {*sentences._WANTED.values(), *(form for form, _ in sentences._BOUNDS.values()), "beyond-bounds"}
    by_text = {texts["en"]: form for form, texts in FORMS.items()}
    assert demands <= set(by_text)
    assert {by_text[demand] for demand in demands} | named == set(FORMS)


# --- the pages ---------------------------------------------------------------------------------------------------------

CONTAINS = {
    "export-amendment": "export-notification",
    "technical-certificate-notice": "export-notification",
    "confirmation-correction": "import-confirmation",
}
ROW = re.compile(r"^\| ([A-Z][0-9]{2}) \| ([^|]+) \|", re.MULTILINE)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_names_rules_that_are_about_its_documents_with_their_severities(page: Path) -> None:
    for code, said_there in ROW.findall(page.read_text("utf-8")):
        assert code in DATA, code
        assert DATA[code]["documents"] == ["*"] or page.stem in DATA[code]["documents"], code
        named = set(re.findall("|".join(SEVERITIES), said_there))
        assert named, code
        assert named <= generated.severities(DATA[code]), code


@pytest.mark.parametrize("name", sorted(content.name for content in TYPES.values()))
def test_a_page_has_every_rule_that_is_about_its_documents_alone(name: str) -> None:
    """Those that the document's own class raises; what the case, the policies or the clock decide is in `rules.md`.

    A page whose document contains another one's data need not repeat that one's rules: it links to its page.
    """
    page = (PAGES / f"{name}.md").read_text("utf-8")
    if name in CONTAINS:
        assert f"({CONTAINS[name]}.md" in page
        page += (PAGES / f"{CONTAINS[name]}.md").read_text("utf-8")
    own = {code for call in raised() if call.place.startswith("kpmsg/documents/") for code in call.codes}
    due = {code for code in own if name in DATA[code]["documents"]}
    assert due <= {code for code, _ in ROW.findall(page)}


# --- what is said ------------------------------------------------------------------------------------------------------

HOSTILE = [
    "{hs}",
    "{0.__class__}",
    "{",
    "}}",
    "\u202e7102.10",
    "\x1b[2J",
    "a\nb",
    "\u2028",
    "\ud800",
    "x" * 10_000,
    "\u202e" * 10_000,
    "\U0010ffff" * 50,
    "",
]


@pytest.mark.parametrize("fact", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fact_is_repeated_harmlessly(fact: str, language: Language) -> None:
    problem = breach("F04", "other", "/data/lines/0/hs", hs=fact)
    text = said(problem, language)
    assert text.isprintable()
    assert len(text) <= len(DATA["F04"]["says"]["other"][language]) + SHOWN
    assert shown(fact) in text
    assert said(problem, "en") == problem.text


@given(st.text())
def test_what_is_shown_is_short_and_prints(text: str) -> None:
    there = shown(text)
    assert len(there) <= SHOWN
    assert there.isprintable()
    assert there == text or len(text) > SHOWN or not text.isprintable()


def test_a_long_fact_is_seen_to_be_cut() -> None:
    assert shown("x" * 40) == "x" * 40
    assert shown("x" * 41) == "x" * 37 + "..."


@pytest.mark.parametrize(("code", "name"), TOLD)
def test_every_text_can_be_said_in_every_language(code: str, name: str) -> None:
    facts: dict[str, Any] = dict.fromkeys(places(DATA[code]["says"][name]["en"]), "7")
    problem = breach(code, name, "/data", **facts)
    assert problem.severity == DATA[code]["says"][name].get("severity", DATA[code]["severity"])
    assert [language for language in LANGUAGES if said(problem, language) == problem.text] == ["en"]
    assert version_of(problem) == DATA[code]["version"]


def test_a_fault_of_form_is_said_in_every_language() -> None:
    draft = copy(DRAFTS["BW"])
    draft["data"] |= {
        "carats": 1200.5,
        "parcels": "many",
        "date_of_issue": "\u202eyesterday" + "x" * 99,
        "lines": {},
    }
    del draft["data"]["importer"]
    with pytest.raises(DraftError) as caught:
        compose(draft, source="BW", id=ID, time=TIME)
    problems = {problem.pointer: problem for problem in caught.value.problems}
    assert {said(problem, "en") for problem in problems.values()} == {p.text for p in problems.values()}
    assert said(problems["/data/importer"], "fr") == "Il manque : importer."
    assert (
        said(problems["/data/parcels"], "pt")
        == 'parcels: tem de ser um número inteiro, sem aspas. Encontrado: "many".'
    )
    assert (
        said(problems["/data/lines"], "es") == "lines: debe ser una lista entre corchetes. Encontrado: {...}."
    )
    assert said(problems["/data/carats"], "ru").endswith('например "12.50". Найдено: 1200.5.')
    shown_there = said(problems["/data/date_of_issue"], "fr")
    assert '"<202E>yesterdayxxx' in shown_there
    assert shown_there.endswith('x...".')
    assert {version_of(problem) for problem in problems.values()} == {None}


def test_a_problem_that_is_none_of_ours_is_said_as_it_is() -> None:
    for problem in (
        Problem("X99", "Something new.", None),
        Problem("F04", "Another version's text.", None, variant="unheard-of"),
        Problem("F04", "Its facts were lost.", None, variant="other"),
    ):
        assert {said(problem, language) for language in LANGUAGES} == {problem.text}
    assert version_of(Problem("X99", "", None)) is None


def test_a_rule_that_there_is_not_is_a_fault_of_ours() -> None:
    for code, name in (("X99", "other"), ("F04", "unheard-of"), ("F04", "other")):
        with pytest.raises(KeyError):
            breach(code, name, None)


# --- which language ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("FR-ch", "fr"),
        ("pt-BR, en;q=0.9", "pt"),
        ("de, nl;q=0.9", "en"),
        ("de, ru;q=0.1, en;q=0.05", "ru"),
        ("es, ru", "es"),
        ("ru, es", "ru"),
        ("*", "en"),
        ("fr;q=0", "en"),
        ("en;q=0, *", "fr"),
        ("en;q=0.1, *;q=0.5", "fr"),
        ("*;q=0, ru;q=0.001", "ru"),
        (" fr ; q=0.8 ,\ten ; Q=0.7", "fr"),
        ("fr;q=2", "en"),
        ("fr;q=1.001", "en"),
        ("fr;q=0.1234", "en"),
        ("fr;q=-1, es;q=nan, pt;q=inf, ru;q=1e9", "en"),
        ("fr;level=1", "en"),
        ("\u0444\u0440", "en"),
        ("f\u0000r", "en"),
        (",,,;;;===", "en"),
        ("fr\r\nSet-Cookie: x", "en"),
        ("fr" + "x" * 10_000, "en"),
        ("en;q=0." + "1" * 100_000, "en"),
        ("x," * 100_000 + "fr", "en"),
        ("ru;q=0.5," + "x," * 100_000, "ru"),
        ("x" * 489 + ",ru;q=0.9, fr", "ru"),
        ("x" * 495 + ",ru;q=0.9", "en"),
    ],
)
def test_the_language_that_is_preferred(header: str, language: Language) -> None:
    assert preferred(header) == language


@given(st.text())
def test_any_header_has_a_language(header: str) -> None:
    assert preferred(header) in LANGUAGES


# --- what it costs -----------------------------------------------------------------------------------------------------


def test_the_file_is_read_only_when_a_rule_is_broken() -> None:
    """Sound documents are most of them: they pay nothing for the texts about unsound ones."""
    program = """
from datetime import UTC, datetime
import kpmsg, kpmsg.case
from kpmsg.documents import breaches, compose
from kpmsg.rules import rules
from tests.unit.documents_full import DRAFTS, ID, TIME, copy
draft = copy(DRAFTS["BW"])
draft["data"]["lines"][2]["origin"] = {"kind": "mixed_list", "countries": ["BW", "ZA"]}
document, _ = compose(draft, source="BW", id=ID, time=TIME)
print(breaches(document), rules.cache_info().misses)
draft["data"]["parcels"] = 0
try:
    compose(draft, source="BW", id=ID, time=TIME)
except kpmsg.DraftError:
    print(rules.cache_info().misses)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout.split() == ["[]", "0", "1"]


def test_what_is_read_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        rules()["X99"] = rules()["F04"]  # type: ignore[index]
