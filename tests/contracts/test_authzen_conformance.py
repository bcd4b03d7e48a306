"""AuthZEN 1.0, written from the specification and its certification scenario (openid/authzen, `certification/`).

Numbers in names and ids are the scenario's: 1.4 is the policy that it asks for, 2 Basic, 3 Batch, 6 Discovery. All of it
runs through the real HTTP application, a real worker, and OPA as a library.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support import parts
from tests.support.api import AUDIENCE, DOOR, Worker, client
from tests.support.bank import Bank, open_bank

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = [pytest.mark.opa, pytest.mark.embedded, pytest.mark.asyncio(loop_scope="module")]

POLICY = """# METADATA
# scope: package
# description: The policy of the certification scenario, section 1.4.
package certification

default decision := {"allow": false, "reasons": [{"code": "role.denied", "message": "Not by this policy."}]}

# METADATA
# entrypoint: true
decision := {"allow": true} if allowed

known if input.subject.id in {"alice", "bob"}

archived if input.resource.properties.status == "archived"

admin if input.subject.properties.role == "admin"

allowed if {
	known
	input.action.name == "read"
}

allowed if {
	input.action.name == "write"
	input.subject.id == "alice"
	not archived
}

allowed if {
	input.action.name == "write"
	admin
	archived
}

allowed if {
	input.action.name == "delete"
	input.subject.id == "alice"
	input.action.properties.soft == true
}
"""
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
READ, WRITE = {"name": "read"}, {"name": "write"}
ONE, TWO = {"type": "record", "id": "record-1"}, {"type": "record", "id": "record-2"}
ARCHIVED = {**TWO, "properties": {"status": "archived"}}
ADMIN = {**BOB, "properties": {"role": "admin"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bank(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    directory = tmp_path_factory.mktemp("authzen")
    (directory / "certification").mkdir()
    (directory / "certification" / "certification.rego").write_text(POLICY)
    opened = await open_bank(
        directory,
        routes=[],
        policy={"engine": "embedded", "path": str(directory / "certification")},
        api={
            "authzen": {
                "token": DOOR,
                "url": "https://pdp.bank.example/",
                "policy": "certification/decision",
                "detail": "message",
                "max_evaluations": 5,
                "max_body": "4KiB",
            }
        },
    )
    yield opened
    await opened.close()


class Pep:
    """A policy enforcement point with a token of its own."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self.http = http
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.http.post(path, content=content, headers={k: v for k, v in sent.items() if v})

    async def one(self, body: Any, **headers: str) -> httpx.Response:
        return await self.post("/access/v1/evaluation", body, **headers)

    async def many(self, body: Any, **headers: str) -> httpx.Response:
        return await self.post("/access/v1/evaluations", body, **headers)


@pytest_asyncio.fixture(loop_scope="module")
async def pep(bank: Bank) -> AsyncIterator[Pep]:
    async with client(Worker(bank.app)) as http:
        yield Pep(http, bank.token(aud=AUDIENCE, sub="pep-1", scope="extauthz.api"))


def question(subject: Any = ALICE, action: Any = READ, resource: Any = ONE, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "action": action, "resource": resource, **more}


def decisions(response: httpx.Response) -> list[bool]:
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"evaluations"}  # 3.3.4: no top-level decision beside an array
    assert all(isinstance(one["decision"], bool) for one in body["evaluations"])
    assert all(isinstance(one.get("context", {}), dict) for one in body["evaluations"])
    return [one["decision"] for one in body["evaluations"]]


DECIDED = {
    "1.4-1 alice read": (question(), True),
    "1.4-2 alice write": (question(action=WRITE), True),
    "1.4-3 bob read": (question(BOB), True),
    "1.4-4 bob write": (question(BOB, WRITE), False),
    "1.4-5 alice write archived": (question(ALICE, WRITE, ARCHIVED), False),
    "1.4-6 admin write archived": (question(ADMIN, WRITE, ARCHIVED), True),
    "1.4-7 soft delete": (question(action={"name": "delete", "properties": {"soft": True}}), True),
    "1.4-8 hard delete": (question(action={"name": "delete", "properties": {"soft": False}}), False),
    "2.2.3 context": (question(context={"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}), True),
    "2.2.8 additional properties": (
        question(
            {**ALICE, "properties": {"department": "Sales", "role": "manager"}},
            {"name": "read", "properties": {"method": "GET"}},
            {**ONE, "properties": {"status": "active", "owner": "bob"}},
        ),
        True,
    ),
    "2.2.9 unknown fields": (question(foo="bar", futureField={"nested": True}), True),
    "2.2.9 unknown fields of entities": (question({**ALICE, "x": 1}, {**READ, "y": []}, {**ONE, "z": {}}), True),
    "an unknown subject": (question({"type": "user", "id": "mallory"}), False),
}


@pytest.mark.parametrize(("asked", "expected"), DECIDED.values(), ids=DECIDED)
async def test_2_a_decision_is_200_whatever_it_is(pep: Pep, asked: Any, expected: bool) -> None:
    response = await pep.one(asked)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["decision"] is expected
    assert isinstance(body.get("context", {}), dict)


@pytest.mark.parametrize(("asked", "expected"), DECIDED.values(), ids=DECIDED)
async def test_3_4_2_the_batch_endpoint_takes_a_single_question_as_well(pep: Pep, asked: Any, expected: bool) -> None:
    assert (await pep.many(asked)).json()["decision"] is expected
    assert (await pep.many({**asked, "evaluations": []})).json()["decision"] is expected  # 3.4.3


async def test_2_6_asking_again_changes_nothing(pep: Pep) -> None:
    answers = [(await pep.one(question(BOB, WRITE))).json()["decision"] for _ in range(5)]
    assert answers == [False] * 5


MALFORMED = {
    "2.4.1 no subject": {"action": READ, "resource": ONE},
    "2.4.1 no action": {"subject": ALICE, "resource": ONE},
    "2.4.1 no resource": {"subject": ALICE, "action": READ},
    "2.4.2 subject without type": question({"id": "alice"}),
    "2.4.2 subject without id": question({"type": "user"}),
    "2.4.2 action without name": question(action={}),
    "2.4.2 resource without type": question(resource={"id": "record-1"}),
    "2.4.2 resource without id": question(resource={"type": "record"}),
    "2.4.4 not JSON": b'{"subject": ',
    "2.4.5 empty": b"",
    "2.4.6 subject is a string": question("alice"),
    "2.4.6 action.name is a number": question(action={"name": 123}),
    "subject is null": question(None),
    "subject is an array": question([]),
    "subject.id is empty": question({"type": "user", "id": ""}),
    "properties is no object": question({**ALICE, "properties": []}),
    "context is no object": question(context="now"),
    "a body that is no object": b"[]",
    "a member twice": b'{"subject":{"type":"user","id":"alice","id":"bob"},"action":{"name":"read"},"resource":{"type":"record","id":"record-1"}}',
    "not UTF-8": b'{"subject":"\xff"}',
    "NaN": b'{"subject":NaN}',
    "too deep": b'{"context":' + b"[" * 30 + b"]" * 30 + b"}",
    "too large": question(context={"text": "x" * 5000}),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_2_4_what_cannot_be_asked_is_400_with_a_message(pep: Pep, body: Any) -> None:
    for response in (await pep.one(body), await pep.many(body)):
        assert response.status_code == 400
        assert response.text
        assert "alice" not in response.text  # it repeats nothing of the request


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/jsonp", ""])
async def test_2_4_3_only_json(pep: Pep, content_type: str) -> None:
    assert (await pep.one(question(), content_type=content_type)).status_code == 400


async def test_content_type_may_have_parameters(pep: Pep) -> None:
    assert (await pep.one(question(), content_type="Application/JSON; charset=utf-8")).status_code == 200


@pytest.mark.parametrize("request_id", ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "any text, at all"])
async def test_2_5_1_the_request_id_comes_back(pep: Pep, request_id: str) -> None:
    for response in (
        await pep.one(question(), x_request_id=request_id),
        await pep.one(b"{", x_request_id=request_id),
        await pep.many(question(), x_request_id=request_id),
        await pep.one(question(), x_request_id=request_id, authorization=""),
    ):
        assert response.headers["x-request-id"] == request_id


async def test_2_5_2_no_request_id_is_needed(pep: Pep) -> None:
    assert (await pep.one(question())).status_code == 200


async def test_the_caller_is_authenticated_first(pep: Pep, bank: Bank) -> None:
    missing = await pep.one(b"not even JSON", authorization="")
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, 'Bearer realm="extauthz"')
    wrong = await pep.one(question(), authorization="Bearer nonsense")
    assert wrong.status_code == 401
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    assert (await pep.one(question(), authorization="Basic YTpi")).status_code == 401
    other = bank.token(aud=AUDIENCE, scope="something.else")
    unscoped = await pep.one(question(), authorization=f"Bearer {other}")
    assert unscoped.status_code == 403
    assert 'error="insufficient_scope"' in unscoped.headers["www-authenticate"]
    elsewhere = await pep.one(question(), authorization=f"Bearer {bank.token(scope='extauthz.api')}")
    assert (elsewhere.status_code, elsewhere.text.partition(":")[0]) == (401, "token.audience")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/access/v1/evaluation"), ("POST", "/.well-known/authzen-configuration")]
)
async def test_other_methods_are_refused(pep: Pep, method: str, path: str) -> None:
    response = await pep.http.request(method, path, headers=pep.headers)
    assert response.status_code == 405
    assert response.headers["allow"]


ITEMS = {
    "3.2.1 subject and action by default": (
        {"subject": ALICE, "action": READ, "evaluations": [{"resource": ONE}, {"resource": TWO}]},
        [True, True],
    ),
    "3.2.2 in order": (
        {"subject": BOB, "resource": ONE, "evaluations": [{"action": READ}, {"action": WRITE}]},
        [True, False],
    ),
    "3.2.3 properties of each": (
        {"subject": ALICE, "action": WRITE, "evaluations": [{"resource": {**ONE, "properties": {"status": "active"}}}, {"resource": ARCHIVED}]},
        [True, False],
    ),
    "3.2.4 subjects of each": (
        {"action": WRITE, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": ADMIN}]},
        [False, True],
    ),
    "3.2.5 no defaults": ({"evaluations": [question(), question(BOB, WRITE)]}, [True, False]),
    "3.2.6 context by default": (
        {"subject": ALICE, "action": READ, "context": {"time": "t"}, "evaluations": [{"resource": ONE}, {"resource": TWO, "context": {"time": "u"}}]},
        [True, True],
    ),
    "3.2.7 a required member from the default": (
        {"subject": ALICE, "action": WRITE, "resource": {"type": "record"}, "evaluations": [{"resource": {"id": "record-1", "properties": {"status": "active"}}}, {"resource": ARCHIVED}]},
        [True, False],
    ),
    "3.2.7 nothing else from the default": (
        {"subject": ADMIN, "action": WRITE, "resource": ARCHIVED, "evaluations": [{}, {"resource": {"id": "record-2"}}, {"subject": {"id": "bob"}}]},
        [True, False, False],
    ),
    "an override of a default": (
        {"subject": BOB, "action": READ, "resource": ONE, "evaluations": [{}, {"action": WRITE}, {"subject": ALICE, "action": WRITE}]},
        [True, False, True],
    ),
    "3.4.1 one that cannot be asked": (
        {"subject": ALICE, "action": READ, "evaluations": [{"resource": ONE}, {}, {"resource": "x"}, "x"]},
        [True, False, False, False],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), ITEMS.values(), ids=ITEMS)
async def test_3_a_batch_is_answered_in_its_order(pep: Pep, asked: Any, expected: list[bool]) -> None:
    assert decisions(await pep.many(asked)) == expected


async def test_3_4_1_the_item_says_what_is_wrong_with_it(pep: Pep) -> None:
    answer = await pep.many({"subject": ALICE, "action": READ, "evaluations": [{"resource": ONE}, {}]})
    first, second = answer.json()["evaluations"]
    assert "error" not in first["context"]
    assert second["context"]["error"] == {"status": 400, "message": "resource is missing"}


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        (None, [True, False, True]),
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
async def test_the_three_semantics(pep: Pep, semantic: str | None, expected: list[bool]) -> None:
    asked = {
        "resource": ONE,
        "evaluations": [
            {"subject": ALICE, "action": WRITE},
            {"subject": BOB, "action": WRITE},
            {"subject": BOB, "action": READ},
        ],
        "options": {"evaluations_semantic": semantic, "another_option": "value"} if semantic else {"other": 1},
    }
    assert decisions(await pep.many(asked)) == expected


async def test_an_error_is_a_denial_for_the_semantics(pep: Pep) -> None:
    asked = {"subject": ALICE, "action": READ, "options": {"evaluations_semantic": "deny_on_first_deny"}}
    assert decisions(await pep.many({**asked, "evaluations": [{}, {"resource": ONE}]})) == [False]
    asked["options"] = {"evaluations_semantic": "permit_on_first_permit"}
    assert decisions(await pep.many({**asked, "evaluations": [{}, {"resource": ONE}, {"resource": ONE}]})) == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"evaluations_semantic": "all"}},
        {"options": {"evaluations_semantic": 1}},
        {"options": []},
        {"evaluations": {}},
        {"evaluations": [{}] * 6},
        {"subject": "alice", "evaluations": [{"subject": ALICE}]},
        {"context": 1, "evaluations": [{}]},
    ],
)
async def test_what_is_wrong_with_the_whole_batch_is_400(pep: Pep, change: Any) -> None:
    assert (await pep.many({**question(), **change})).status_code == 400


async def test_a_denial_says_why_in_its_context(pep: Pep, bank: Bank) -> None:
    body = (await pep.one(question(BOB, WRITE))).json()
    context = body["context"]
    assert context.pop("decision_id")
    assert context == {"layer": "role", "code": "role.denied", "message": "Not by this policy."}


async def test_6_the_metadata(pep: Pep) -> None:
    response = await pep.http.get("/.well-known/authzen-configuration")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "policy_decision_point": "https://pdp.bank.example",
        "access_evaluation_endpoint": "https://pdp.bank.example/access/v1/evaluation",
        "access_evaluations_endpoint": "https://pdp.bank.example/access/v1/evaluations",
    }


async def test_a_body_beyond_every_bound_is_not_read(pep: Pep) -> None:
    assert (await pep.one(b"[" * (600 * 1024))).status_code == 413


async def test_search_is_not_there(pep: Pep) -> None:
    assert (await pep.post("/access/v1/search/subject", question())).status_code == 404
