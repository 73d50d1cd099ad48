"""Scenarios about the documents that mostly the importing authority writes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.vectors.documents_form import Broken, Json, Scenarios, altered

EXPORTER, IMPORTER = "BW", "AE"
CERTIFICATE = {"number_raw": "BW 000023", "issuer": "BW", "kind": "kp"}
NOTIFICATION = {"id": "019cb2f6-5e00-7c21-9d3a-5b0e7f1c2a44", "digest": "4d" * 32}
"""Begun on 3 March 2026, as its id tells."""
FILE = {"name": "seal.jpg", "media_type": "image/jpeg", "sha256": "a7" * 32, "size": 482_113}
EARLY = "2026-03-01T09:00:00Z"
FAR = "ffffffff-ffff-7fff-bfff-ffffffffffff"
"""The last id that there can be: made in the year 10889, which many calendars do not reach."""

_NOTICES = ("arrival-notice", "discrepancy-query", "irregularity-notice", "return-notice")
_WITH_FILES = (
    "import-confirmation",
    "discrepancy-query",
    "irregularity-notice",
    "certificate-query",
    "message",
)

DATA: dict[str, Json] = {
    "import-confirmation": {
        "certificate": CERTIFICATE,
        "notification": NOTIFICATION,
        "outcome": "confirmed",
        "found": {
            "parcels": 3,
            "carats": "2754.70",
            "lines": [{"hs": "7102.31", "carats": "310.56"}, {"hs": "7102.10", "carats": "2444.14"}],
        },
        "exporter": {"name": "Makgadikgadi Diamond Sales", "address": "Gaborone", "country": "BW"},
        "importer": {"name": "Liwa Diamonds Trading", "address": "Dubai", "country": "AE"},
        "country_of_destination": "AE",
        "date_of_arrival": "2026-03-18",
        "date_of_receipt": "2026-03-19",
        "date_of_verification": "2026-03-20",
        "seals_intact": "yes",
        "inspection": "full",
        "confirmed_by": {"authority": "AE", "officer": "Officer 917", "role": "importing_authority"},
    },
    "arrival-notice": {
        "certificate": CERTIFICATE,
        "notification": NOTIFICATION,
        "date_presented": "2026-03-20",
        "place": "Dubai, receiving office",
        "decision_expected": "2026-03-24",
    },
    "confirmation-status": {
        "certificate": CERTIFICATE,
        "request": "c2" * 32,
        "standing": "detained",
        "decision_expected": "2026-04-10",
    },
    "discrepancy-query": {
        "certificate": CERTIFICATE,
        "notification": NOTIFICATION,
        "doubts": [
            {"field": "carats", "notified": "2754.70", "certificate": "2754.70", "found": "2719.02"},
            {"field": "seals", "found": "BWS-3"},
        ],
        "question": "Was container 2 sealed anew?",
        "reply_by": "2026-03-27",
    },
    "irregularity-notice": {
        "certificate": CERTIFICATE,
        "notification": NOTIFICATION,
        "irregularities": ["seal_broken", "weight"],
        "measure": "detained",
        "date_found": "2026-03-20",
        "description": "Container 2: the seal is broken and 35.68 ct are missing.",
    },
    "return-notice": {
        "certificate": CERTIFICATE,
        "notification": NOTIFICATION,
        "under": "original_certificate",
        "date_of_return": "2026-03-20",
        "transport": {"departure": "2026-03-21"},
        "reason": "The importer refused the goods.",
    },
    "certificate-query": {
        "certificate": {"number_raw": "BW 987654", "issuer": "BW", "kind": "kp"},
        "date_of_issue": "2026-03-01",
        "carats": "812.40",
    },
    "message": {"certificate": CERTIFICATE, "text": "Thank you for the photographs."},
}
DATA["confirmation-correction"] = {
    "certificate": CERTIFICATE,
    "corrects": "7b" * 32,
    "content": deepcopy(DATA["import-confirmation"]),
    "reason": "clerical_error",
}


def draft(name: str, *changes: tuple[str, Any]) -> Json:
    """The sound draft of a type with the changes; pointers begin in its `data`."""
    sound = {"type": name, "recipient": EXPORTER, "data": DATA[name]}
    return altered(sound, *((f"/data{pointer}", value) for pointer, value in changes))


def scenarios() -> Scenarios:
    made = Scenarios()
    for name in DATA:
        made.sound(f"{name}-sound", "a document as it should be", IMPORTER, draft(name))
    _confirmations(made)
    _answers_and_queries(made)
    _notices(made)
    _returns(made)
    _shared(made)
    return made


def _reject(code: str, pointer: str) -> Broken:
    return code, "reject", f"/data{pointer}"


def _warn(code: str, pointer: str) -> Broken:
    return code, "warn", f"/data{pointer}"


def _confirmations(made: Scenarios) -> None:
    name = "import-confirmation"
    despite, known = ("/outcome", "arrived_despite_cancellation"), ("/knows_cancellation", "ca" * 32)
    made.sound(f"{name}-despite-cancellation", "and which", IMPORTER, draft(name, despite, known))
    made.broken(
        f"{name}-despite-which",
        "arrived despite a cancellation that is not named",
        IMPORTER,
        draft(name, despite),
        _reject("I15", "/knows_cancellation"),
    )
    for case, description, changes, problem in (
        ("cancelled", "confirmed as if not cancelled", [known], _warn("I16", "/outcome")),
        ("to-come", "verified two days from now", [("/date_of_verification", "2026-03-22")],
         _warn("I17", "/date_of_verification")),
        ("order", "verified before received", [("/date_of_verification", "2026-03-18")],
         _warn("I17", "/date_of_verification")),
        ("authority", "made by another authority", [("/confirmed_by/authority", "IN")],
         _warn("I18", "/confirmed_by/authority")),
        ("seals-unsaid", "nothing said about the seals", [("/seals_intact", ...)], _warn("I22", "/seals_intact")),
        ("inspection-unsaid", "nothing said about the inspection", [("/inspection", ...)], _warn("I22", "/inspection")),
        ("scripts", "a name with a Cyrillic letter in a Latin word", [("/exporter/name", "D\u0435bswana")],
         _warn("F14", "/exporter/name")),
        ("seals", "a plain confirmation of broken seals", [("/seals_intact", "no")], _warn("I19", "/seals_intact")),
    ):  # fmt: skip
        made.sound(f"{name}-{case}", description, IMPORTER, draft(name, *changes), problem)

    name = "confirmation-correction"
    inner = "/content/certificate"
    for case, description, change, problem in (
        ("other-number", "content about another number", (f"{inner}/number_raw", "BW 000024"),
         _reject("I11", f"{inner}/number_raw")),
        ("other-kind", "content about another kind of certificate", (f"{inner}/kind", "technical"),
         _reject("I11", f"{inner}/kind")),
        ("supersedes", "content that supersedes", ("/content/supersedes", "7b" * 32),
         _reject("I12", "/content/supersedes")),
        ("content", "content that breaks a rule of the import confirmation", ("/content/found/carats", "2754.69"),
         _reject("F05", "/content/found/carats")),
        ("despite-which", "content that arrived despite a cancellation not named",
         ("/content/outcome", "arrived_despite_cancellation"), _reject("I15", "/content/knows_cancellation")),
    ):  # fmt: skip
        made.broken(f"{name}-{case}", description, IMPORTER, draft(name, change), problem)
    made.broken(
        f"{name}-other-issuer",
        "content about another issuer's certificate",
        IMPORTER,
        draft(name, (f"{inner}/issuer", "ZA")),
        _reject("I11", f"{inner}/issuer"),
        _warn("C20", f"{inner}/issuer"),
        _warn("C20", f"{inner}/number_raw"),
    )
    made.sound(
        f"{name}-same-key",
        "the number spelled otherwise is the same number",
        IMPORTER,
        draft(name, (f"{inner}/number_raw", "bw-000023")),
    )
    for case, description, change, problem in (
        ("unexplained", "another reason, not explained", ("/reason", "other"), _warn("I13", "/explanation")),
        ("which-query", "the outcome of a query not named", ("/reason", "outcome_of_query"), _warn("I14", "/outcome_of")),
        ("no-outcome", "a query named with another reason", ("/outcome_of", "9c" * 32), _warn("I14", "/reason")),
    ):  # fmt: skip
        made.sound(f"{name}-{case}", description, IMPORTER, draft(name, change), problem)


def _answers_and_queries(made: Scenarios) -> None:
    name = "confirmation-status"
    confirmed, which = ("/standing", "already_confirmed"), ("/confirmation", "7b" * 32)
    undated = ("/decision_expected", ...)
    made.sound(f"{name}-confirmed", "and by which document", IMPORTER, draft(name, confirmed, which, undated))
    made.broken(
        f"{name}-which", "confirmed, but not by which document", IMPORTER, draft(name, confirmed, undated),
        _reject("Q20", "/confirmation"),
    )  # fmt: skip
    for standing in ("not_arrived", "under_inspection", "detained", "unknown_certificate"):
        made.broken(
            f"{name}-{standing.replace('_', '-')}-confirmed",
            "a confirmation named by a standing that has none",
            IMPORTER,
            draft(name, ("/standing", standing), which, undated),
            _reject("Q20", "/confirmation"),
        )
    made.sound(
        f"{name}-undue", "a decision expected of what has not arrived", IMPORTER,
        draft(name, ("/standing", "not_arrived")), _warn("Q21", "/decision_expected"),
    )  # fmt: skip
    made.sound(
        f"{name}-past", "a decision expected two days ago", IMPORTER,
        draft(name, ("/decision_expected", "2026-03-18")), _warn("Q21", "/decision_expected"),
    )  # fmt: skip

    name = "discrepancy-query"
    made.broken(
        f"{name}-twice", "carats asked about twice", IMPORTER,
        draft(name, ("/doubts/1", {"field": "carats", "notified": "310.56", "found": "300.00"})),
        _reject("Q22", "/doubts/1/field"),
    )  # fmt: skip
    for case, description, changes, problem in (
        ("equal", "nothing differs", [("/doubts/0/found", "2754.70")], _warn("Q23", "/doubts/0/found")),
        ("alone", "nothing to compare with", [("/doubts/0/notified", ...), ("/doubts/0/certificate", ...)],
         _warn("Q24", "/doubts/0")),
        ("unnotified", "what was notified, without a notification", [("/notification", None)],
         _warn("Q24", "/doubts/0/notified")),
        ("amount", "a weight with its unit", [("/doubts/0/found", "2719.02 ct")], _warn("Q25", "/doubts/0/found")),
        ("parcels", "parcels in words", [("/doubts/1", {"field": "parcels", "notified": "3", "found": "two"})],
         _warn("Q25", "/doubts/1/found")),
        ("past", "an answer wanted two days ago", [("/reply_by", "2026-03-18")], _warn("Q26", "/reply_by")),
    ):  # fmt: skip
        made.sound(f"{name}-{case}", description, IMPORTER, draft(name, *changes), problem)

    name = "certificate-query"
    elsewhere = {"number_raw": "ZA 987654", "issuer": "ZA", "kind": "kp"}
    made.broken(
        f"{name}-issuer", "somebody else's number", IMPORTER, draft(name, ("/certificate", elsewhere)),
        _reject("Q30", "/certificate/issuer"),
    )  # fmt: skip
    made.sound(
        f"{name}-bare", "nothing shown but the number", IMPORTER,
        draft(name, ("/date_of_issue", ...), ("/carats", ...)), _warn("Q31", ""),
    )  # fmt: skip
    made.sound(
        f"{name}-to-come", "issued the day after tomorrow", IMPORTER,
        draft(name, ("/date_of_issue", "2026-03-22")), _warn("Q32", "/date_of_issue"),
    )  # fmt: skip
    made.sound(
        f"{name}-weightless", "a suspect paper may say anything", IMPORTER,
        draft(name, ("/carats", "0.00"), ("/parcels", 0)),
    )  # fmt: skip

    name = "message"
    bare: Json = {"type": name, "recipient": EXPORTER, "data": {"text": "Good morning."}}
    made.sound(
        f"{name}-reply",
        "about nothing but a document",
        IMPORTER,
        altered(bare, ("/data/in_reply_to", "9c" * 32)),
    )
    made.sound(f"{name}-untitled", "about nothing at all", IMPORTER, bare, _warn("N05", "/title"))
    made.sound(
        f"{name}-subject", "a certificate in the envelope alone", IMPORTER,
        altered(bare, ("/data/title", "Good morning"), ("/subject", "BW000023")), ("N04", "warn", "/subject"),
    )  # fmt: skip


def _notices(made: Scenarios) -> None:
    name = "arrival-notice"
    made.sound(
        f"{name}-to-come", "presented the day after tomorrow", IMPORTER,
        draft(name, ("/date_presented", "2026-03-22")), _warn("N01", "/date_presented"),
    )  # fmt: skip
    made.sound(
        f"{name}-tomorrow", "tomorrow may have begun where it was written", IMPORTER,
        draft(name, ("/date_presented", "2026-03-21")),
    )  # fmt: skip
    made.sound(
        f"{name}-decision", "decided before presented", IMPORTER,
        draft(name, ("/decision_expected", "2026-03-19")), _warn("N02", "/decision_expected"),
    )  # fmt: skip

    name = "irregularity-notice"
    for case, kinds, changes, problems in (
        ("twice", ["weight", "weight"], [], [_warn("M01", "/irregularities/1")]),
        ("to-come", ["weight"], [("/date_found", "2026-03-22")], [_warn("M02", "/date_found")]),
        ("forged", ["suspected_forgery"], [("/measure", "none")], [_warn("M03", "/measure")]),
        ("released", ["no_certificate"], [("/measure", "released")], [_warn("M03", "/measure")]),
        ("missing-expired", ["no_certificate", "expired"], [], [_warn("M04", "/irregularities")]),
        ("missing-unnotified", ["no_certificate"], [("/notification", None)], [_warn("M04", "/notification")]),
        ("all", ["seal_broken", "container_opened", "expired", "weight", "value", "parcels", "not_rough_diamonds",
                 "suspected_forgery", "wrong_consignee", "other"], [], []),
    ):  # fmt: skip
        changed = draft(name, ("/irregularities", kinds), *changes)
        made.sound(f"{name}-{case}", "kinds, measure and day", IMPORTER, changed, *problems)


def _returns(made: Scenarios) -> None:
    name = "return-notice"
    new: tuple[str, Any] = ("/under", "new_certificate")
    technical: tuple[str, Any] = ("/under", "technical_certificate")
    at = "/returned_under"
    made.sound(f"{name}-new", "under a new certificate", IMPORTER, draft(name, new, (at, "AE 000107")))
    made.sound(
        f"{name}-technical",
        "under a technical one, of any series",
        IMPORTER,
        draft(name, technical, (at, "TC 7")),
    )
    for case, description, changes, code in (
        ("new-unnumbered", "a new certificate without a number", [new], "M11"),
        ("technical-unnumbered", "a technical certificate without a number", [technical], "M11"),
        ("same", "the new certificate has the old number", [new, (at, "BW-000023")], "M12"),
        ("original-numbered", "the original certificate, and another", [(at, "AE 000107")], "M13"),
    ):
        made.broken(f"{name}-{case}", description, IMPORTER, draft(name, *changes), _reject(code, at))
    for case, description, more, problem in (
        ("departed", "gone before it was returned", [("/transport/departure", "2026-03-19")],
         _warn("M14", "/transport/departure")),
        ("foreign", "a new certificate of somebody else", [new, (at, "IN 000107")], _warn("M15", at)),
        ("no-parcels", "no parcel is returned", [("/parcels", 0)], _warn("M16", "/parcels")),
        ("no-carats", "no carat is returned", [("/carats", "0.00")], _warn("M16", "/carats")),
    ):  # fmt: skip
        made.sound(f"{name}-{case}", description, IMPORTER, draft(name, *more), problem)


def _shared(made: Scenarios) -> None:
    """The rules that several types have: N03, C20, F15, S09."""
    for name in _NOTICES:
        changes: list[tuple[str, Any]] = []
        problems: list[Broken] = [("N03", "warn", "/time")]
        if name == "arrival-notice":
            changes = [("/date_presented", "2026-03-01")]
        if name == "irregularity-notice":
            changes = [("/date_found", "2026-03-01")]
        made.sound(
            f"{name}-early", "before its notification", IMPORTER, draft(name, *changes), *problems, time=EARLY
        )
    for name, code in (("arrival-notice", "N03"), ("import-confirmation", "T02")):
        made.sound(
            f"{name}-far", "its notification has the last id that there can be", IMPORTER,
            draft(name, ("/notification/id", FAR)), (code, "warn", "/time"),
        )  # fmt: skip
    for name in (*_NOTICES, "import-confirmation", "confirmation-status"):
        made.sound(
            f"{name}-recipient", "written to somebody who did not issue the certificate", IMPORTER,
            draft(name, ("/certificate", {"number_raw": "ZA 23", "issuer": "ZA", "kind": "kp"})),
            _warn("C20", "/certificate/issuer"),
        )  # fmt: skip
        made.sound(
            f"{name}-technical-certificate", "technical certificates have series of their own", IMPORTER,
            draft(name, ("/certificate", {"number_raw": "ZA 23", "issuer": "ZA", "kind": "technical"})),
        )  # fmt: skip
    for name in (*_NOTICES, "import-confirmation", "confirmation-status", "certificate-query", "message"):
        made.sound(
            f"{name}-prefix", "the number has not its issuer's letters", IMPORTER,
            draft(name, ("/certificate/number_raw", "ZA 000023")), _warn("C20", "/certificate/number_raw"),
        )  # fmt: skip
    for name in _WITH_FILES:
        again = FILE | {"name": "again.jpg"}
        other = FILE | {"sha256": "b8" * 32}
        made.sound(
            f"{name}-files", "a file attached twice, and two files of one name", IMPORTER,
            draft(name, ("/attachments", [FILE, again, other])),
            _warn("F15", "/attachments/1"), _warn("F15", "/attachments/2/name"),
        )  # fmt: skip
        large = FILE | {"size": 10 * 2**20 + 1}
        page = FILE | {"media_type": "text/html"}
        many = [FILE | {"name": f"{n}.jpg", "sha256": f"{n:064x}", "size": 10 * 2**20} for n in range(6)]
        for case, description, files, at in (
            ("large-file", "a file larger than any that is exchanged", [large], "/attachments/0/size"),
            ("page", "a file that a browser would run", [page], "/attachments/0/media_type"),
            ("many-files", "files that are too large together", many, "/attachments"),
        ):
            changed = draft(name, ("/attachments", files))
            made.broken(f"{name}-{case}", description, IMPORTER, changed, _reject("S09", at))
