"""`python -m tests.audits.dependencies`: known weaknesses of every package that is pinned.

Asks pip-audit about `requirements.lock` and npm about `serve_apps/ui/package-lock.json`. Only a known
weakness is a failure (exit status 1). What could not be asked about is told, and is no pass: a mirror
without vulnerability data says nothing of a package, neither good nor bad.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_apps.ui.vendor import npm_commands

PROJECT = Path(__file__).parents[2]
LOCK = PROJECT / "requirements.lock"
UI = PROJECT / "serve_apps" / "ui"
PATIENCE_S = 180
ACCEPTED: Mapping[str, str] = {}
"""Weakness → why it does not touch us. An entry goes when the package does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What one of the tools said."""

    of: str
    total: int
    audited: int
    weak: tuple[str, ...] = ()
    why_not: str = ""
    """Why the rest was not audited."""

    def lines(self) -> list[str]:
        """For a person: the weaknesses first, then how much this audit is worth."""
        told = [f"{self.of}: KNOWN WEAKNESS: {one}" for one in self.weak]
        if self.audited == 0:
            return [
                *told,
                f"{self.of}: NOT AUDITED, nothing is known of its {self.total} packages:"
                f" {self.why_not or 'no data'}",
            ]
        left = self.total - self.audited
        rest = f"; NOT AUDITED: {left} ({self.why_not})" if left else ""
        return [*told, f"{self.of}: {self.audited} of {self.total} packages audited{rest}"]


def read_pip_audit(said: str, complaint: str, *, total: int) -> Audit:
    """What pip-audit's JSON holds; `complaint` is what it wrote besides."""
    of = "requirements.lock"
    try:
        rows: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Audit(of=of, total=total, audited=0, why_not=_last_line(complaint))
    skipped = [str(row["skip_reason"]) for row in rows if "skip_reason" in row]
    weak = [
        f"{row['name']} {row['version']} has {vulnerability['id']}"
        f" (mended in {', '.join(vulnerability.get('fix_versions') or ['no version'])})"
        for row in rows
        for vulnerability in row.get("vulns", ())
        if not {vulnerability["id"], *vulnerability.get("aliases", ())} & set(ACCEPTED)
    ]
    return Audit(
        of=of,
        total=max(total, len(rows)),
        audited=len(rows) - len(skipped),
        weak=tuple(weak),
        why_not=skipped[0] if skipped else "",
    )


def read_npm_audit(said: str, complaint: str, *, total: int) -> Audit:
    """What npm's JSON holds: with `vulnerabilities` it is an audit, without them an excuse."""
    of = "serve_apps/ui/package-lock.json"
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError:
        answer = {}
    if "vulnerabilities" not in answer:
        why_not = str(answer.get("message") or _last_line(complaint))
        return Audit(of=of, total=total, audited=0, why_not=why_not)
    weak = [
        f"{name}: {cause.get('title', cause)}" if isinstance(cause, dict) else f"{name}: {cause}"
        for name, row in answer["vulnerabilities"].items()
        for cause in row.get("via", ())
        if not (isinstance(cause, dict) and str(cause.get("url")) in ACCEPTED)
    ]
    return Audit(of=of, total=total, audited=total, weak=tuple(weak))


def python_audit(lock: Path = LOCK) -> Audit:
    """Ask pip-audit about a lock with hashes; it installs nothing."""
    total = sum("==" in line and not line.startswith("#") for line in lock.read_text().splitlines())
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), "--disable-pip"]
    command += ["--require-hashes", "-f", "json", "--progress-spinner", "off", "--timeout", "10"]
    said, complaint = _run(command, PROJECT)
    return read_pip_audit(said, complaint, total=total)


def npm_audit(folder: Path = UI) -> Audit:
    """Ask npm about the pages' lock, beside the tree: it writes nothing into it."""
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    said, complaint = "", "no npm was found"
    with tempfile.TemporaryDirectory(prefix="raydesk-audit-") as scratch:
        for name in ("package.json", "package-lock.json"):
            Path(scratch, name).write_text((folder / name).read_text())
        for command in npm_commands():
            said, complaint = _run([*command, "audit", "--package-lock-only", "--json"], scratch)
            break
    return read_npm_audit(said, complaint, total=len([name for name in locked if name]))


def main() -> int:
    """Print what each audit is worth; 1 for a known weakness, else 0."""
    with ThreadPoolExecutor() as pool:
        audits = [one.result() for one in (pool.submit(python_audit), pool.submit(npm_audit))]
    for audit in audits:
        for line in audit.lines():
            sys.stdout.write(f"{line}\n")
    return int(any(audit.weak for audit in audits))


def _run(command: Sequence[str], folder: Path | str) -> tuple[str, str]:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"{command[0]} gave no answer in {PATIENCE_S} s"
    except OSError as absent:
        return "", str(absent)
    return done.stdout, done.stderr


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


if __name__ == "__main__":
    sys.exit(main())
