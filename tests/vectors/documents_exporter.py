"""Scenarios about what mostly an exporting authority writes: amendments, cancellations, requests, answers, alerts."""

from __future__ import annotations

from typing import Any

from tests.vectors.documents_form import Json, Scenarios, altered

NOTIFICATION, CONFIRMATION, QUERY = "4a" * 32, "c0" * 32, "7e" * 32
CERTIFICATE: Json = {"number_raw": "BW 012345", "issuer": "BW", "kind": "kp"}
SEALED: Json = {"count": 1, "seal_numbers": ["BWS-1"]}


def scenarios() -> Scenarios:
    v = Scenarios()
    _notifications(v)
    _amendments(v)
    _cancellations(v)
    _requests(v)
    _responses(v)
    _technical(v)
    _answers(v)
    _alerts(v)
    _transits(v)
    _withdrawals(v)
    return v


def _draft(name: str, /, **data: Any) -> Json:
    return {"type": name, "recipient": "AE", "data": data}


def _shipment(**changes: Any) -> Json:
    party = {"name": "Okavango Diamond Company", "address": "Plot 74538, Gaborone", "country": "BW"}
    buyer = {"name": "Dubai Rough Trading DMCC", "address": "Jumeirah Lakes Towers, Dubai", "country": "AE"}
    line = {"hs": "7102.31", "carats": "1200.50", "value_usd": "240100.00"}
    shipment = {
        "certificate": CERTIFICATE,
        "issuing_authority": "Ministry of Minerals, Gaborone",
        "date_of_issue": "2026-03-01",
        "date_of_expiry": "2026-04-30",
        "exporter": party,
        "importer": buyer,
        "destination": {"participant": "AE"},
        "provenance": "BW",
        "parcels": 1,
        "lines": [line | {"origin": {"kind": "single", "country": "BW"}}],
        "carats": "1200.50",
        "value_usd": "240100.00",
        "date_of_sealing": "2026-03-19",
        "confirmation": {"requested": True},
    }
    return shipment | changes


def _notifications(v: Scenarios) -> None:
    name = "export-notification"
    sound = _draft(name, **_shipment())
    v.sound(f"{name}-sound", "nothing is wrong", "BW", sound)
    file = {"name": "scan.pdf", "media_type": "application/pdf", "sha256": "f1" * 32, "size": 10}
    parted: list[Json] = [
        {
            "hs": "7102.31",
            "carats": carats,
            "value_usd": "120050.00",
            "origin": {"kind": "single", "country": "BW"},
        }
        for carats in ("600.00", "600.50")
    ]
    parted[0]["parcels"] = 2
    for case, description, changes, code, at in (
        ("itself", "a certificate that replaces itself", [("/data/replaces", "bw-012345")], "C08", "/replaces"),
        ("more-parcels", "a line of more parcels than there are, another of none that is said",
         [("/data/lines", parted)], "F06", "/parcels"),
        ("more-seals", "two seals on one parcel", [("/data/containers", {"seal_numbers": ["1", "2"]})],
         "F13", "/containers/seal_numbers"),
        ("same-seal", "a seal that is named twice",
         [("/data/parcels", 2), ("/data/containers", {"count": 2, "seal_numbers": ["1", "1"]})],
         "F13", "/containers/seal_numbers/1"),
        ("scripts", "a name with a Cyrillic letter in a Latin word",
         [("/data/importer/name", "Dubai R\u043eugh Trading")], "F14", "/importer/name"),
        ("two-scripts", "names of two scripts, word by word", [("/data/importer/name", "\u0410\u041e Almaz 5-\u0439")], "", ""),
        ("same-file", "a file that is attached twice", [("/data/attachments", [file, file])], "F15", "/attachments/1"),
        ("sealing-to-come", "sealed two days from now", [("/data/date_of_sealing", "2026-03-22")],
         "T01", "/date_of_sealing"),
        ("old-issue", "issued 31 days ago", [("/data/date_of_issue", "2026-02-17")], "T04", "/date_of_issue"),
        ("issued-a-month-ago", "issued 30 days ago", [("/data/date_of_issue", "2026-02-18")], "", ""),
    ):  # fmt: skip
        said = [(code, "warn", f"/data{at}")] if code else []
        v.sound(f"{name}-{case}", description, "BW", altered(sound, *changes), *said)
    many = [file | {"name": f"{n}.pdf", "sha256": f"{n:064x}", "size": 10 * 2**20} for n in range(6)]
    for case, description, files, at in (
        (
            "large-file",
            "a file larger than any that is exchanged",
            [file | {"size": 10 * 2**20 + 1}],
            "/0/size",
        ),
        ("page", "a file that a browser would run", [file | {"media_type": "text/html"}], "/0/media_type"),
        ("many-files", "files that are too large together", many, ""),
    ):
        changed = altered(sound, ("/data/attachments", files))
        v.broken(f"{name}-{case}", description, "BW", changed, ("S09", "reject", f"/data/attachments{at}"))


def _amendments(v: Scenarios) -> None:
    name = "export-amendment"
    sound = _draft(
        name,
        certificate=CERTIFICATE,
        amends=NOTIFICATION,
        content=_shipment(date_of_sealing="2026-03-02"),
        changed=["/carats", "/lines/0/carats"],
        reason="reweighed",
        knows_confirmation=None,
    )
    outcome = ("/data/reason", "outcome_of_query")

    def broken(
        what: str,
        description: str,
        change: tuple[str, Any],
        *problems: tuple[str, str],
        severity: str = "reject",
    ) -> None:
        said = [(code, severity, pointer) for code, pointer in problems]
        write = v.broken if severity == "reject" else v.sound
        write(f"{name}-{what}", description, "BW", altered(sound, change), *said)

    v.sound(f"{name}-sound", "late by nature: T01 is not asked of an amendment", "BW", sound)
    linked = altered(sound, outcome, ("/data/outcome_of", QUERY), ("/data/knows_confirmation", CONFIRMATION))
    v.sound(f"{name}-outcome-of-query", "the outcome of a query, after a confirmation", "BW", linked)
    respelt = altered(sound, ("/data/content/certificate/number_raw", "bw-012.345"))
    v.sound(f"{name}-respelt", "the same number, spelt otherwise", "BW", respelt)
    left_out = altered(sound, ("/data/changed", ["", "/batch_number", "/transport"]))
    v.sound(f"{name}-left-out", "what was left out is pointed at where it would be", "BW", left_out)
    content = "/data/content"
    number = f"{content}/certificate/number_raw"
    broken("other-number", "content about another number", (number, "BW 012346"), ("A11", number))
    issuer = f"{content}/certificate/issuer"
    broken("other-issuer", "content of another issuer", (issuer, "ZA"), ("A11", issuer), ("C01", issuer))
    kind = f"{content}/certificate/kind"
    broken("other-kind", "content about a technical certificate", (kind, "technical"), ("A11", kind))
    broken(
        "sums",
        "rules of a notification hold inside",
        (f"{content}/carats", "1200.51"),
        ("F05", f"{content}/carats"),
    )
    bound_for = f"{content}/destination/participant"
    elsewhere = altered(sound, (bound_for, "ZA"))
    v.broken(
        f"{name}-other-destination",
        "no amendment sends a shipment to another Participant",
        "BW",
        elsewhere,
        ("S03", "reject", bound_for),
        ("F11", "warn", f"{content}/importer/country"),
    )
    broken("no-query", "the outcome of a query that is not named", outcome, ("A13", "/data/outcome_of"))
    known = "/data/knows_confirmation"
    broken("same-twice", "one id for two documents", (known, NOTIFICATION), ("A15", known))
    itself = ("/data/outcome_of", NOTIFICATION)
    broken("amends-the-query", "one id for two documents", itself, ("A15", "/data/outcome_of"))
    for what, pointer in (("envelope", "/data/carats"), ("nowhere", "/lines/1"), ("unknown", "/colour")):
        changed = ("/data/changed", [pointer])
        broken(
            f"changed-{what}",
            "no such place in the content",
            changed,
            ("A12", "/data/changed/0"),
            severity="warn",
        )
    twice = ("/data/changed", ["/carats", "/carats"])
    broken("changed-twice", "one place named twice", twice, ("A12", "/data/changed/1"), severity="warn")
    other = ("/data/reason", "other")
    broken(
        "unexplained",
        "another reason, and nothing said",
        other,
        ("A16", "/data/explanation"),
        severity="warn",
    )


def _foreign(v: Scenarios, sound: Json, *warnings: tuple[str, str, str]) -> None:
    """Rule A14, for a type that an exporting authority writes about its own certificates."""
    name = sound["type"]
    issuer, number = "/data/certificate/issuer", "/data/certificate/number_raw"
    foreign = altered(sound, (issuer, "ZA"), (number, "ZA 000017"))
    v.broken(f"{name}-foreign", "another's certificate", "BW", foreign, ("A14", "reject", issuer), *warnings)
    mistyped = altered(sound, (number, "WB 012345"))
    v.broken(f"{name}-letters", "another's letters", "BW", mistyped, ("A14", "reject", number), *warnings)
    technical = altered(foreign, ("/data/certificate/kind", "technical"))
    text = "technical certificates may be another's"
    v.sound(f"{name}-foreign-technical", text, "BW", technical, ("A14", "warn", issuer), *warnings)


def _cancellations(v: Scenarios) -> None:
    name = "cancellation"
    sound = _draft(
        name,
        certificate=CERTIFICATE,
        cancels=NOTIFICATION,
        reason="replaced",
        replaced_by="BW 012399",
        knows_confirmation=None,
    )
    successor, known = "/data/replaced_by", "/data/knows_confirmation"
    v.sound(f"{name}-sound", "replaced by another certificate", "BW", sound)
    stolen = altered(sound, ("/data/reason", "stolen"))
    v.sound(f"{name}-stolen", "a stolen one has a successor too", "BW", stolen)
    _foreign(v, altered(sound, ("/data/reason", "void"), (successor, ...)))
    v.broken(
        f"{name}-no-successor",
        "replaced by what?",
        "BW",
        altered(sound, (successor, ...)),
        ("A17", "reject", successor),
    )
    itself = altered(sound, (successor, "BW-012345"))
    v.broken(
        f"{name}-itself", "replaced by itself, spelt otherwise", "BW", itself, ("A17", "reject", successor)
    )
    other = altered(sound, (successor, "ZA 000017"))
    v.sound(f"{name}-foreign-successor", "a successor of another's", "BW", other, ("A17", "warn", successor))
    same = altered(sound, (known, NOTIFICATION))
    v.broken(f"{name}-same-twice", "one id for two documents", "BW", same, ("A15", "reject", known))


def _requests(v: Scenarios) -> None:
    name = "confirmation-request"
    sound = _draft(
        name,
        certificate=CERTIFICATE,
        notification={"id": "019cb000-0000-7000-8000-000000000001", "digest": NOTIFICATION},
        level=2,
        due="2026-03-13",
        days_overdue=7,
    )
    v.sound(f"{name}-sound", "a week overdue", "BW", sound)
    _foreign(v, sound)

    def doubtful(
        what: str, description: str, problem: tuple[str, str], *changes: tuple[str, Any], **when: str
    ) -> None:
        code, pointer = problem
        v.sound(
            f"{name}-{what}", description, "BW", altered(sound, *changes), (code, "warn", pointer), **when
        )

    days, due, level = "/data/days_overdue", "/data/due", "/data/level"
    doubtful("miscounted", "days that do not add up", ("Q01", days), (days, 17))
    doubtful("since-when", "overdue since when?", ("Q01", due), (due, ...))
    doubtful("early", "a reminder before its time", ("Q02", level), (due, "2026-04-01"), (days, 0))
    doubtful("nobody-to-call", "the focal point has nobody to call", ("Q03", "/data/contact"), (level, 3))
    before = "2026-03-01T09:00:00Z"
    doubtful(
        "before", "written before the notification", ("N03", "/time"), (days, ...), (level, 1), time=before
    )


def _responses(v: Scenarios) -> None:
    name = "discrepancy-response"
    answers = [
        {"field": "carats", "verdict": "correct_to", "corrected": "1200.05"},
        {"field": "seals", "verdict": "original_stands"},
    ]
    sound = _draft(
        name, certificate=CERTIFICATE, query=QUERY, answers=answers, instruction="endorse_correction"
    )
    first, second, instruction = "/data/answers/0", "/data/answers/1", "/data/instruction"

    def broken(what: str, description: str, code: str, pointer: str, *changes: tuple[str, Any]) -> None:
        v.broken(f"{name}-{what}", description, "BW", altered(sound, *changes), (code, "reject", pointer))

    v.sound(f"{name}-sound", "a correction to be endorsed", "BW", sound)
    others = [{"field": "other", "verdict": "original_stands"}] * 2
    v.sound(
        f"{name}-others",
        '"other" as often as needed',
        "BW",
        altered(sound, (instruction, "hold"), ("/data/answers", others)),
    )
    _foreign(v, sound)
    broken("twice", "one field, two answers", "Q04", f"{second}/field", (f"{second}/field", "carats"))
    missing = [(f"{first}/corrected", ...)]
    broken("no-value", "corrected to what?", "Q05", f"{first}/corrected", *missing)
    kept = f"{second}/corrected"
    broken("contradiction", "the original stands, and is another", "Q05", kept, (kept, "BWS-2"))
    stands = [(f"{first}/verdict", "original_stands"), (f"{first}/corrected", ...)]
    broken("nothing-to-endorse", "a correction without one", "Q06", instruction, *stands)
    open_ = altered(sound, (f"{second}/verdict", "investigating"))
    v.sound(f"{name}-open", "released while it is looked into", "BW", open_, ("Q06", "warn", instruction))
    early = altered(sound, (f"{second}/verdict", "investigating"), (kept, "BWS-2"), (instruction, "hold"))
    v.sound(f"{name}-early", "a value before its time", "BW", early, ("Q05", "warn", kept))
    file = {"name": "scale.pdf", "media_type": "application/pdf", "sha256": QUERY, "size": 800}
    twice = altered(sound, ("/data/attachments", [file, file]))
    v.sound(f"{name}-file-twice", "a file twice", "BW", twice, ("F15", "warn", "/data/attachments/1"))


def _technical(v: Scenarios) -> None:
    name = "technical-certificate-notice"
    certificate = {"number_raw": "BW TC 0017", "issuer": "BW", "kind": "technical"}
    sound = _draft(name, **_shipment(certificate=certificate), purpose="return", references=["AE 00031"])
    kind, references = "/data/certificate/kind", "/data/references"
    v.sound(f"{name}-sound", "goods go back", "BW", sound)
    research = altered(sound, ("/data/purpose", "research"), (references, ...))
    v.sound(f"{name}-research", "stones for a laboratory had no certificate", "BW", research)
    letters = altered(sound, ("/data/certificate/number_raw", "KP 0017"))
    number = "/data/certificate/number_raw"
    v.sound(f"{name}-letters", "another's letters are only warned of", "BW", letters, ("C01", "warn", number))
    v.broken(f"{name}-kind", "goods in trade", "BW", altered(sound, (kind, "kp")), ("C11", "reject", kind))
    parcels = altered(sound, ("/data/parcels", 0))
    v.broken(
        f"{name}-parcels",
        "rules of a notification hold too",
        "BW",
        parcels,
        ("F02", "reject", "/data/parcels"),
    )
    none = altered(sound, (references, []))
    v.sound(
        f"{name}-unreferenced",
        "goods that came without a certificate",
        "BW",
        none,
        ("C12", "warn", references),
    )
    repeated = altered(sound, (references, ["AE 00031", "ae-00031", "BW/TC/0017"]))
    twice = [("C13", "warn", f"{references}/{n}") for n in (1, 2)]
    v.sound(f"{name}-repeated", "twice the same, and its own number", "BW", repeated, *twice)


def _answers(v: Scenarios) -> None:
    name = "certificate-answer"
    sound = _draft(name, certificate=CERTIFICATE, query=QUERY, finding="differs", differing=["carats"])
    finding, differing, successor = "/data/finding", "/data/differing", "/data/replaced_by"
    issuer, number = "/data/certificate/issuer", "/data/certificate/number_raw"
    v.sound(f"{name}-sound", "the weight differs", "BW", sound)
    unknown = altered(sound, (finding, "unknown"), (differing, ...))
    v.sound(f"{name}-unknown", "never issued", "BW", unknown)
    v.sound(
        f"{name}-unknown-letters",
        "none of ours, by its letters",
        "BW",
        altered(unknown, (number, "WB 012345")),
    )
    foreign = altered(unknown, (issuer, "ZA"), (number, "ZA 000017"))
    v.broken(f"{name}-foreign", "an answer in another's name", "BW", foreign, ("Q13", "reject", issuer))
    v.broken(
        f"{name}-what", "what differs?", "BW", altered(sound, (differing, [])), ("Q11", "reject", differing)
    )
    matches = altered(sound, (finding, "matches"))
    v.broken(f"{name}-contradiction", "it matches, and differs", "BW", matches, ("Q11", "reject", differing))
    revealing = altered(sound, (finding, "stolen"))
    v.broken(f"{name}-revealing", "more than the finding says", "BW", revealing, ("Q11", "reject", differing))
    twice = altered(sound, (differing, ["carats", "parcels", "carats"]))
    v.sound(f"{name}-twice", "a fact twice", "BW", twice, ("Q11", "warn", f"{differing}/2"))
    replaced = altered(unknown, (finding, "replaced"))
    v.sound(f"{name}-no-successor", "replaced by what?", "BW", replaced, ("Q12", "warn", successor))
    v.sound(f"{name}-replaced", "replaced", "BW", altered(replaced, (successor, "BW 012399")))
    itself = altered(replaced, (successor, "bw 012345"))
    v.broken(f"{name}-itself", "replaced by itself", "BW", itself, ("Q12", "reject", successor))
    uncalled = altered(unknown, (successor, "BW 012399"))
    v.sound(f"{name}-uncalled", "unknown, and replaced", "BW", uncalled, ("Q12", "warn", successor))


def _alerts(v: Scenarios) -> None:
    name = "alert"
    sound = _draft(
        name,
        issuer="BW",
        kind="stolen",
        numbers=[{"first": "BW 012340", "last": "BW-012349"}, {"first": "BW 99"}, {"first": "BW 9"}],
        valid_from="2026-03-20",
        description="Blank certificates were stolen.",
        released_by="K. Moeti",
    )
    numbers, first, last = "/data/numbers", "/data/numbers/0/first", "/data/numbers/0/last"

    def ranged(first_number: str, last_number: str) -> Json:
        return altered(sound, (numbers, [{"first": first_number, "last": last_number}]))

    v.sound(f"{name}-sound", "a range and single numbers", "BW", sound)
    v.sound(
        f"{name}-hong-kong",
        "a Participant with two sets of letters",
        "CN/hk",
        altered(sound, ("/data/issuer", "CN"), (numbers, [{"first": "HK 0017"}, {"first": "CN 0017"}])),
    )
    v.sound(
        f"{name}-subject", "filed with one of its numbers", "BW", altered(sound, ("/subject", "BW012345"))
    )
    other = altered(sound, ("/subject", "BW012350"))
    v.sound(f"{name}-other-subject", "filed with another number", "BW", other, ("L07", "warn", "/subject"))
    theirs = altered(ranged("ZA 000017", "ZA 000018"), ("/data/issuer", "ZA"))
    v.broken(f"{name}-foreign", "another's numbers", "BW", theirs, ("L01", "reject", "/data/issuer"))
    v.broken(
        f"{name}-letters",
        "another's letters",
        "BW",
        ranged("ZA 000017", "ZA 000018"),
        ("L02", "reject", first),
    )
    for what, begin, end in (
        ("digits", "BW 012340", "BW 12349"),
        ("letters", "BW A 012340", "BW B 012349"),
        ("none", "BW A", "BW B"),
    ):
        series = ("L03", "reject", last)
        v.broken(f"{name}-series-{what}", "a range across two series", "BW", ranged(begin, end), series)
    backwards = ranged("BW 012349", "BW 012340")
    v.broken(f"{name}-backwards", "the last before the first", "BW", backwards, ("L03", "reject", last))
    single = ranged("BW 012349", "BW 012349")
    v.sound(f"{name}-range-of-one", "a range of one number", "BW", single)
    v.sound(
        f"{name}-many",
        "a million numbers",
        "BW",
        ranged("BW 0000001", "BW 1000000"),
        ("L04", "warn", numbers),
    )
    too_many = ranged("BW 0000000", "BW 1000000")
    v.broken(f"{name}-too-many", "a million and one", "BW", too_many, ("L04", "reject", numbers))
    again = altered(sound, (f"{numbers}/1/first", "BW012349"))
    v.sound(f"{name}-again", "a number in two entries", "BW", again, ("L05", "warn", f"{numbers}/1"))
    year, ahead = "/data/valid_from", altered(sound, ("/data/valid_from", "2026-03-22"))
    v.sound(f"{name}-ahead", "not valid yet", "BW", ahead, ("L06", "warn", year))
    v.sound(
        f"{name}-a-year", "366 days ahead", "BW", altered(sound, (year, "2027-03-21")), ("L06", "warn", year)
    )
    beyond = altered(sound, (year, "2027-03-22"))
    v.broken(f"{name}-beyond-a-year", "367 days ahead", "BW", beyond, ("L06", "reject", year))


def _transits(v: Scenarios) -> None:
    name = "transit-notice"
    sound = _draft(
        name,
        certificate=CERTIFICATE,
        destination="ZA",
        parcels=1,
        carats="1200.50",
        containers=SEALED,
        places=["Dubai International Airport"],
        expected_entry="2026-03-21",
        expected_exit="2026-03-22",
    )
    destination, entry, exit_ = "/data/destination", "/data/expected_entry", "/data/expected_exit"
    v.sound(f"{name}-sound", "through Dubai", "BW", sound)
    v.sound(f"{name}-same-day", "in and out on one day", "BW", altered(sound, (exit_, "2026-03-21")))
    _foreign(v, sound)
    nothing = altered(sound, ("/data/parcels", 0), ("/data/containers", {"seal_numbers": ["BWS-1"]}))
    v.broken(
        f"{name}-parcels",
        "no parcel",
        "BW",
        nothing,
        ("F02", "reject", "/data/parcels"),
        ("F13", "warn", "/data/containers/seal_numbers"),
    )
    weightless = altered(sound, ("/data/carats", "0.00"))
    v.broken(f"{name}-carats", "no weight", "BW", weightless, ("F02", "reject", "/data/carats"))
    reversed_ = altered(sound, (exit_, "2026-03-20"))
    v.broken(f"{name}-reversed", "out before it is in", "BW", reversed_, ("T05", "reject", exit_))
    arrives = altered(sound, (destination, "AE"))
    v.broken(f"{name}-arrives", "bound for the recipient", "BW", arrives, ("T06", "reject", destination))
    home = altered(sound, (destination, "BW"))
    v.sound(f"{name}-home", "bound for home", "BW", home, ("T06", "warn", destination))
    v.sound(
        f"{name}-late", "told afterwards", "BW", altered(sound, (entry, "2026-03-18")), ("T07", "warn", entry)
    )
    unsealed = altered(sound, ("/data/containers", ...))
    v.sound(f"{name}-unsealed", "no seals to look at", "BW", unsealed, ("T08", "warn", "/data/containers"))
    count = altered(sound, ("/data/containers/count", 2))
    at = "/data/containers"
    mismatched = [("F13", "warn", f"{at}/count"), ("F13", "warn", f"{at}/seal_numbers")]
    v.sound(f"{name}-containers", "two containers, one seal, one parcel", "BW", count, *mismatched)


def _withdrawals(v: Scenarios) -> None:
    sound = _draft("withdrawal", withdraws=NOTIFICATION, reason="\u7b14\u8bef")
    v.sound("withdrawal-sound", "a reason in two letters of Chinese", "BW", sound)
    v.sound("withdrawal-subject", "about a certificate", "BW", altered(sound, ("/subject", "BW012345")))
    empty = altered(sound, ("/data/reason", "-"))
    v.sound(
        "withdrawal-no-reason", "a reason that says nothing", "BW", empty, ("W01", "warn", "/data/reason")
    )
