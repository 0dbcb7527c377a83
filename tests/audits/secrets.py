"""`python -m tests.audits.secrets`: no secret may stand in what git holds.

Every tracked file goes through all detectors of detect-secrets. What looks like one and is none
stands in `known_secrets.json` with the reason; an entry without a reason fails, as does one that is
found no more. An entry whose hash is `*` stands for every finding of its kind in its file: hashes in
recorded examples are others with every recording. `--write` takes up what is new, for a person to
give reasons.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

PROJECT = Path(__file__).parents[2]
KNOWN = Path(__file__).with_name("known_secrets.json")
ANY = "*"
PICTURES = (".png", ".ico", ".woff2")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One text that looks like a secret. Only its hash is kept: the list must not repeat it."""

    file: str
    kind: str
    sha1: str
    why: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same finding; lines move, so that their numbers do not count."""
        return (self.file, self.kind, self.sha1)


def tracked(root: Path = PROJECT) -> list[str]:
    """Files that git holds or would take, pictures left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        timeout=60,
    )
    names = listed.stdout.decode().split("\0")
    skipped = (*PICTURES, KNOWN.name)
    return [name for name in names if name and not name.endswith(skipped)]


def scan(files: Sequence[str], root: Path = PROJECT) -> list[Finding]:
    """Findings of all files, sorted; on every core, for each line costs a few dozen expressions."""
    parts = [files[start::64] for start in range(64)]
    with ProcessPoolExecutor() as pool:
        found = pool.map(partial(_scan_some, root=root), [part for part in parts if part])
        return sorted({finding for part in found for finding in part})


def judge(found: Iterable[Finding], known: Sequence[Finding]) -> list[str]:
    """What is wrong: new findings, entries without a reason, and entries that are found no more."""
    argued, seen = {one.key: one for one in known}, {one.key: one for one in _named(found, known)}
    wrong = [
        f"{one.file}: a new {one.kind}: take it out of git's reach, or argue it in {KNOWN.name}"
        for key, one in seen.items()
        if key not in argued
    ]
    wrong += [f"{one.file}: {one.kind} has no reason" for one in argued.values() if not one.why]
    wrong += [
        f"{one.file}: {one.kind} is found no more: strike it out"
        for key, one in argued.items()
        if key not in seen
    ]
    return wrong


def _named(found: Iterable[Finding], known: Iterable[Finding]) -> list[Finding]:
    """The findings, those that an entry stands for as a whole under its name."""
    whole = {(one.file, one.kind) for one in known if one.sha1 == ANY}
    named = (replace(one, sha1=ANY) if (one.file, one.kind) in whole else one for one in found)
    return sorted(set(named))


def read_known(path: Path = KNOWN) -> list[Finding]:
    """The argued findings."""
    return [Finding(**row) for row in json.loads(path.read_text())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.audits.secrets")
    parser.add_argument("--write", action="store_true", help="take up what is new, without reasons")
    found, known = scan(tracked()), read_known()
    if parser.parse_args(arguments).write:
        reasons = {one.key: one.why for one in known}
        named = _named(found, known)
        rows = [asdict(replace(one, why=reasons.get(one.key, ""))) for one in named]
        KNOWN.write_text(json.dumps(rows, indent=1) + "\n")
        return 0
    wrong = judge(found, known)
    for line in wrong:
        sys.stdout.write(f"{line}\n")
    return int(bool(wrong))


def _scan_some(files: Sequence[str], *, root: Path) -> list[Finding]:
    secrets = SecretsCollection(root=str(root))
    with default_settings():
        for name in files:
            if (root / name).is_file():
                secrets.scan_file(name)
    return [Finding(file=name, kind=one.type, sha1=one.secret_hash) for name, one in secrets]


if __name__ == "__main__":
    sys.exit(main())
