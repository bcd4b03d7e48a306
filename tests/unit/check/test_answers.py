"""Answers that come back are those that would be written anew, and only for the very same objects."""

from extauthz.check import respond
from extauthz.check.answers import MAX_ANSWERS, Answers, key
from extauthz.model import Allow, Subject
from extauthz.telemetry.trail import decision_id
from tests.support.checks import parsed

ROUTE = object()


def written(subject: Subject, decision: str) -> bytes:
    headers = [("x-extauthz-subject", subject.id), ("x-extauthz-decision-id", decision)]
    return respond.allow(parsed(), headers, {"decision_id": decision, "subject": subject.id})


def kept(answers: Answers, allow: Allow, subject: Subject) -> None:
    first = decision_id()
    answers.keep(key(ROUTE, allow, subject, None, "r1"), written(subject, first), first, allow, subject)


def test_an_answer_that_comes_back_is_the_one_that_would_be_written():
    answers, allow, subject = Answers(), Allow(), Subject("user", "ann", "jwt")
    kept(answers, allow, subject)
    other = decision_id()
    assert answers.get(key(ROUTE, allow, subject, None, "r1"), other) == written(subject, other)


def test_an_equal_decision_subject_route_or_another_revision_is_not_the_same():
    answers, allow, subject = Answers(), Allow(), Subject("user", "ann", "jwt")
    kept(answers, allow, subject)
    for unknown in (
        key(ROUTE, Allow(ttl=None), subject, None, "r1"),
        key(ROUTE, allow, Subject("user", "ann", "jwt"), None, "r1"),
        key(object(), allow, subject, None, "r1"),
        key(ROUTE, allow, subject, None, "r2"),
    ):
        assert answers.get(unknown, decision_id()) is None


def test_identities_stay_while_an_answer_is_kept():
    """A new object can have an old one's id only when the old one has gone, and what is kept does not go."""
    answers, allow = Answers(), Allow()
    for number in range(MAX_ANSWERS + 100):
        subject = Subject("user", str(number), "jwt")
        known = key(ROUTE, allow, subject, None, "r1")
        assert answers.get(known, decision_id()) is None
        answers.keep(known, b"a-b-c", "-", allow, subject)


def test_an_answer_that_says_its_decision_id_another_number_of_times_is_not_kept():
    answers, allow, subject = Answers(), Allow(), Subject("user", "ann", "jwt")
    known = key(ROUTE, allow, subject, None, "r1")
    for answer in (b"", b"a-b", b"-a-b-"):
        answers.keep(known, answer, "-", allow, subject)
        assert answers.get(known, "-") is None
