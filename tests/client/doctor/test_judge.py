"""What the doctor makes of answers."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.doctor import judge
from kled_client.doctor.judge import Check, CheckOutcome, ProbeAnswer
from kled_wire.resume.direct.paths import PathReport

NOW = 1_700_000_000.0


def answer(status: int, body: object = None, **headers: str) -> ProbeAnswer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ProbeAnswer(status=status, headers=named, body=content)


def refusal(status: int, code: str) -> ProbeAnswer:
    return answer(status, {"error": {"code": code, "message": "no", "hint": None}})


@pytest.mark.parametrize(
    ("given_answer", "outcome", "words"),
    [
        (answer(200, {"version": "1", "protocol": "1.0"}), "ok", "coordinator 1, protocol 1.0"),
        (answer(200, {"version": "2", "protocol": "1.9"}), "ok", "this is kled 1"),
        (answer(200, {"version": "2", "protocol": "2.0"}), "fail", "this kled speaks"),
        (answer(302, b"", location="http://hotel.example/\x1b[2J"), "fail", "hotel.example/ [2J"),
        (answer(302, b""), "fail", "redirected to nowhere"),
        (answer(200, b"<html>", content_type="text/html; x"), "fail", "200 and a web page"),
        (answer(200, [1]), "fail", "not a coordinator's answer"),
        (answer(200, {"version": 1, "protocol": None}), "fail", "not a coordinator's answer"),
        (answer(407, b""), "fail", "requires a user name"),
        (answer(502, b"", server="nginx"), "fail", "nginx answers 502"),
        (answer(404, b"\xff" * 10), "fail", "a proxy on the path answers 404"),
    ],
)
def test_the_first_answer(given_answer: ProbeAnswer, outcome: str, words: str) -> None:
    finding = judge.judge_version(given_answer, "1")
    assert finding.outcome == outcome
    assert words in finding.found
    assert outcome == "ok" or finding.hint


@pytest.mark.parametrize(
    ("skew", "outcome", "words"),
    [
        (0, "ok", "agrees"),
        (59, "ok", "agrees"),
        (90, "warn", "90 s ahead of"),
        (-600, "warn", "10 min behind"),
        (9e5, "warn", "10 d ahead of"),
    ],
)
def test_the_clock(skew: float, outcome: str, words: str) -> None:
    finding = judge.judge_clock(answer(200, date=formatdate(NOW, usegmt=True)), NOW + skew)
    assert (finding.outcome, words in finding.found) == (outcome, True)


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}, {"date": ""}])
def test_a_clock_that_cannot_be_compared(headers: dict[str, str]) -> None:
    assert judge.judge_clock(answer(200, **headers), NOW).outcome is CheckOutcome.SKIP


def test_the_user() -> None:
    assert judge.judge_user(answer(200, {"name": "alice", "role": "member"})).found == (
        "alice, member"
    )
    assert "token_invalid" in judge.judge_user(refusal(401, "token_invalid")).found
    assert judge.judge_user(answer(200, b"<html>")).outcome is CheckOutcome.FAIL


@pytest.mark.parametrize("protocol", ["kled-stream", "websocket"])
def test_an_upgrade(protocol: str) -> None:
    passes = [
        answer(101, b"", upgrade=protocol.title()),
        refusal(404, "workspace_not_found"),
        refusal(401, "token_missing"),
    ]
    for found in passes:
        assert judge.judge_upgrade(found, protocol).outcome is CheckOutcome.OK
    stripped = judge.judge_upgrade(refusal(426, "upgrade_required"), protocol)
    assert "removes the Upgrade header" in stripped.found
    for blocked in (answer(101, b"", upgrade="h2c"), answer(400, b"<html>"), answer(200, {})):
        assert judge.judge_upgrade(blocked, protocol).outcome is CheckOutcome.WARN
    named = answer(400, b"<html>", server="squid", content_type="text/html")
    assert judge.judge_upgrade(named, protocol).found == (
        "squid refuses it with 400 and a web page"
    )


def test_which_way_streams_take() -> None:
    passes, blocked = judge.ok("passes"), judge.warn("squid refuses it")
    assert judge.judge_streams(passes, blocked, "").outcome is CheckOutcome.OK
    fallback = judge.judge_streams(blocked, passes, "the proxy 10.0.0.1:3128")
    assert fallback.outcome is CheckOutcome.WARN
    assert "squid refuses it (through the proxy 10.0.0.1:3128); WebSockets are used" in (
        fallback.found
    )
    assert judge.judge_streams(blocked, blocked, "").outcome is CheckOutcome.FAIL


def test_one_address_family_is_enough() -> None:
    reached, lost = judge.ok("1.2.3.4 answers"), judge.fail("::1 port 1: No route", "a firewall?")
    judged = judge.judge_families({"IPv6": lost, "IPv4": reached})
    assert list(judged) == ["IPv6", "IPv4"]
    assert judged["IPv4"] == reached
    assert judged["IPv6"] == judge.warn("::1 port 1: No route; IPv4 is used instead", "a firewall?")
    neither = {"IPv6": lost, "IPv4": lost}
    assert judge.judge_families(neither) == neither
    assert judge.judge_families({}) == {}


def test_which_path_is_taken() -> None:
    direct = judge.judge_path(PathReport("direct", "10.0.0.5:40022", 0.0004))
    assert direct == judge.ok("direct 10.0.0.5:40022 (0.4 ms)")
    # Not offered, or not wanted: nothing is wrong.
    off = judge.judge_path(PathReport("relay", reason="KLED_DIRECT is off"))
    assert off == judge.ok("none, the relay is used: KLED_DIRECT is off")
    reason = "direct 10.0.0.5:40022: timed out"
    blocked = judge.judge_path(PathReport("relay", reason=reason, blocked=True))
    assert (blocked.outcome, blocked.found) == (
        CheckOutcome.WARN,
        f"blocked ({reason}); the relay is used instead",
    )


def test_certificates() -> None:
    ends = judge.at(NOW + 30 * 86400)
    good = judge.judge_certificate("TLSv1.3", "Some CA", ends, judge.at(NOW), private=True)
    assert good.found == "TLSv1.3, issued by Some CA, good until 2023-12-14 (your CA file)"
    late = judge.judge_certificate(
        "TLSv1.3", "Some CA", ends, judge.at(NOW + 29 * 86400), private=False
    )
    assert late.outcome is CheckOutcome.WARN
    assert "issued by Corp" in judge.judge_untrusted("self-signed", "Corp").found
    assert judge.judge_untrusted("self-signed", "").found == "not trusted: self-signed"


def test_the_limit_of_open_files() -> None:
    assert judge.judge_open_files(256).outcome is CheckOutcome.WARN
    assert judge.judge_open_files(1024).outcome is CheckOutcome.OK


def test_the_summary_says_what_is_blocked_and_only_once() -> None:
    def checks(**findings: judge.Finding) -> list[Check]:
        return [Check(name=n.replace("_", "-"), finding=f) for n, f in findings.items()]

    well = checks(name=judge.ok("1.2.3.4"), kled_stream=judge.skip("no"))
    assert (judge.summarise(well), judge.works(well)) == ("everything works", True)
    warned = checks(kled_stream=judge.warn("refused"), streams=judge.warn("WebSockets instead"))
    assert judge.summarise(warned) == "works, but: streams: WebSockets instead"
    assert judge.works(warned)
    failed = checks(TLS=judge.fail("not trusted"), clock=judge.warn("behind"))
    assert judge.summarise(failed) == "does not work: TLS: not trusted"
    assert not judge.works(failed)


@given(
    status=st.integers(100, 999),
    body=st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(
        lambda value: json.dumps({"error": value, "name": value}).encode()
    ),
    headers=st.dictionaries(
        st.sampled_from(["date", "server", "via", "upgrade", "location", "content-type"]), st.text()
    ),
)
def test_whatever_answers_is_judged(status: int, body: bytes, headers: dict[str, str]) -> None:
    found = ProbeAnswer(status=status, headers=headers, body=body)
    for finding in (
        judge.judge_version(found, "1"),
        judge.judge_clock(found, NOW),
        judge.judge_user(found),
        judge.judge_upgrade(found, "websocket"),
    ):
        assert finding.found.isprintable()
        assert len(finding.found) < 400
