"""The audits of `make check` say what they know, no more, and fail on what they are for."""

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audits import dependencies, secrets
from tests.audits.dependencies import Audit, read_npm_audit, read_pip_audit
from tests.audits.secrets import Finding, judge, read_known, scan, tracked

WEAK = {"name": "left", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
SOUND = {"name": "right", "version": "2.0", "vulns": []}
UNKNOWN = {"name": "odd", "skip_reason": "Dependency not found on PyPI"}


def pip_said(*rows: object) -> Audit:
    return read_pip_audit(json.dumps({"dependencies": rows}), "", total=len(rows))


def test_an_audit_that_could_ask_nobody_does_not_look_like_one() -> None:
    nothing = pip_said(UNKNOWN, UNKNOWN)
    offline = read_pip_audit("", "Traceback\nConnectionError: no route\n", total=9)
    refused = read_npm_audit('{"message": "405 Method Not Allowed"}', "", total=6)

    for audit, why in ((nothing, "not found on PyPI"), (offline, "no route"), (refused, "405")):
        assert audit.audited == 0
        assert audit.weak == ()
        [line] = audit.lines()
        assert "NOT AUDITED" in line
        assert why in line


def test_what_was_audited_is_told_beside_what_was_not() -> None:
    [line] = pip_said(SOUND, UNKNOWN).lines()

    assert "1 of 2 packages audited" in line
    assert "NOT AUDITED: 1" in line


def test_a_known_weakness_is_named_with_its_remedy() -> None:
    audit = pip_said(WEAK, SOUND)
    pages = {"vulnerabilities": {"htm": {"via": [{"title": "XSS", "url": "u"}, "preact"]}}}

    assert audit.weak == ("left 1.0 has PYSEC-1 (mended in 1.1)",)
    assert read_npm_audit(json.dumps(pages), "", total=1).weak == ("htm: XSS", "htm: preact")


def test_an_argued_weakness_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "ACCEPTED", {"PYSEC-1": "never called", "u": "no page"})

    assert pip_said(WEAK).weak == ()


class OneWeakness(http.server.BaseHTTPRequestHandler):
    """The vulnerability service of OSV, which knows one package with one weakness."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_weak = asked["package"]["name"] == "left-pad"
        found = {"id": "PYSEC-2026-1", "modified": "2026-01-01T00:00:00Z", "summary": "weak"}
        body = json.dumps({"vulns": [found | {"affected": []}]} if is_weak else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say nothing."""


@pytest.fixture
def weak_service() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneWeakness) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def test_pip_audit_itself_finds_a_planted_weakness(
    weak_service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", weak_service)
    lock = tmp_path / "requirements.lock"
    hashes = f"--hash=sha256:{'0' * 64}"
    lock.write_text(f"left-pad==1.0 \\\n    {hashes}\nright-pad==2.0 \\\n    {hashes}\n")

    audit = dependencies.python_audit(lock)

    assert audit.audited == 2
    assert [one.split(" (")[0] for one in audit.weak] == ["left-pad 1.0 has PYSEC-2026-1"]


def planted_secrets() -> dict[str, str]:
    """Put together here, so that this file holds none."""
    pem = "-----BEGIN RSA " + "PRIVATE KEY-----"
    return {
        "key.py": 'api_key = "' + "x9" + 'Qm2LwTz7vKc4RbN8"\n',
        "cloud.yaml": "aws: AKIA" + "IOSFODNN7EXAMPLQ\n",
        "notes.md": f"see {pem}\nMIIEow\n",
        "call.sh": "curl https://me:" + "hunter2hunter2@venue.example/\n",
        "sound.py": "def add(a: int, b: int) -> int:\n    return a + b\n",
    }


def test_a_planted_secret_is_found_in_what_git_holds_and_in_what_it_would_take(
    tmp_path: Path,
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    for name, text in planted_secrets().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "ignored.py").write_text(planted_secrets()["key.py"])
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    subprocess.run(["git", "add", "key.py"], cwd=tmp_path, check=True, timeout=30)

    found = scan(tracked(tmp_path), tmp_path)

    assert {one.file for one in found} == {"key.py", "cloud.yaml", "notes.md", "call.sh"}
    assert len(judge(found, [])) == len(found)
    assert not any("hunter2" in repr(one) for one in found), "only hashes are kept"


def test_an_entry_without_a_reason_or_without_a_finding_is_wrong() -> None:
    one = Finding(file="a.py", kind="Secret Keyword", sha1="1" * 40)
    argued = Finding(file="a.py", kind="Secret Keyword", sha1="1" * 40, why="made up")

    assert judge([one], [argued]) == []
    assert judge([one], [one]) == ["a.py: Secret Keyword has no reason"]
    assert judge([], [argued]) == ["a.py: Secret Keyword is found no more: strike it out"]
    assert len(judge([one], [])) == 1


def test_every_known_finding_is_argued_and_of_a_file_that_exists() -> None:
    known = read_known()

    assert [one.file for one in known if not one.why] == []
    assert [one.file for one in known if not (secrets.PROJECT / one.file).is_file()] == []
    assert len({one.key for one in known}) == len(known)
