"""`extauthz agent`: what ends it, and with which code."""

import signal
import subprocess
import sys

import pytest

GOOD = """
agent:
  authority: https://127.0.0.1:1
  trust_bundle: {folder}/b.pem
  attestation: {{kind: kubernetes, token_file: {folder}/token}}
  socket: unix://{folder}/agent.sock
"""


def run(folder, text, **how):
    file = folder / "extauthz.yaml"
    file.write_text(text.format(folder=folder))
    command = [sys.executable, "-m", "extauthz", "agent", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **how)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("version: 1\n", 1, "there is no agent to run"),
        ("agent: {{authority: http://x}}\n", 1, "an https URL is expected"),
        (GOOD.replace("agent.sock", "token"), 4, "it is there, and is no socket"),
    ],
    ids=["none", "wrong", "no-socket"],
)
def test_what_cannot_start(tmp_path, text, code, words):
    (tmp_path / "token").write_text("t")
    found = run(tmp_path, text)
    assert found.returncode == code
    assert words in found.stderr
    assert "Traceback" not in found.stderr
    assert (tmp_path / "token").read_text() == "t", "nothing of others is touched"


def test_it_serves_without_an_authority_and_ends_politely(tmp_path):
    (tmp_path / "extauthz.yaml").write_text(GOOD.format(folder=tmp_path))
    command = [sys.executable, "-m", "extauthz", "agent", str(tmp_path / "extauthz.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "no identity" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "listening: " in lines[0]
    assert not (tmp_path / "agent.sock").exists()
    assert "Traceback" not in "".join(lines)
