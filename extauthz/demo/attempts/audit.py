"""The audit trail: every zone's records are whole, and a transfer's story is told from them across all zones."""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.audit.reconstruct import reconstruct
from extauthz.audit.reconstruct_gather import gather
from extauthz.audit.reconstruct_text import document
from extauthz.audit.search import Archive
from extauthz.demo.attempts.scenario import allowed
from extauthz.demo.lab import Answer
from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, STORAGE

if TYPE_CHECKING:
    from extauthz.demo.lab import Lab

_ZONES: Final = tuple(f"{zone.name}.extauthz" for zone in (EDGE, ORCHESTRATION, MODEL, STORAGE))
_PARTS: Final = (*_ZONES, "authority")
_PATIENCE: Final = 10.0
_POLL: Final = 0.2
_CREATED: Final = 201


async def verified(lab: Lab) -> Answer:
    """As an operator of each part would."""
    for part in _PARTS:
        key = "{scratch}/" + part + ".jwk"
        await _must(lab, part, "audit", "key", "{audit}/audit.key", "--out", key)
        said = json.loads(await _must(lab, part, "audit", "verify", "{audit}", "--key", key, "--json"))
        if not said["sound"] or said["problems"]:
            return Answer(500, body={"part": part, "problems": said["problems"]})
    return Answer(200)


async def story(lab: Lab) -> Answer:
    """One transfer, then its story as the records of all zones and of the authority tell it."""
    answer = await lab.edge(await lab.sign_in(), lab.transfer())
    if answer.status != _CREATED:
        return answer
    clock = asyncio.get_running_loop()
    deadline = clock.time() + _PATIENCE
    while True:
        told = await _told(lab, str(answer.body["decision_id"]))
        if told.get("whole") or clock.time() > deadline:
            return replace(answer, body={**answer.body, "story": told})
        await asyncio.sleep(_POLL)


def _whole(answer: Answer) -> str:
    told = answer.body["story"]
    return "" if told.get("whole") else f"the story is not whole: {json.dumps(told)[:600]}"


async def _told(lab: Lab, decision: str) -> dict[str, object]:
    """The records of each part's trail come together, as at an auditor's."""
    with tempfile.TemporaryDirectory() as folder:
        directories = []
        for part in _PARTS:
            directory = Path(folder) / part
            directory.mkdir()
            lines = await _must(lab, part, "audit", "export", "-d", "{audit}", "--since", "1h", "--format", "jsonl")
            for line in lines.splitlines():
                if line.startswith("{"):
                    writer = json.loads(line)["writer"]
                    with (directory / f"{writer}-000001.jsonl").open("a") as file:
                        file.write(line + "\n")
            directories.append(directory)
        with Archive(directories) as archive:
            archive.refresh()
            evidence, remarks = gather(archive, decision)
        found = reconstruct(evidence, decision, remarks)
    return {"whole": False} if found is None else {"whole": found.whole, **document(found)}


async def _must(lab: Lab, part: str, *words: str) -> str:
    code, said = await lab.platform.operate(part, *words)
    return said if code == 0 else json.dumps({"sound": False, "problems": [said[:400]]})


SCENARIOS: Final = (
    allowed("audit-verify", "every part's audit trail is whole and signed", verified),
    allowed("audit-reconstruct", "a transfer's story, from all zones' records", story, _whole, status=_CREATED),
)
