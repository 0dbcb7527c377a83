"""What imports cannot show: calls that would make a pure package impure, hosts and paths in files."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = ["desk/market", "desk/trading", "desk/learning", "desk/evaluation"]
PURE_FILES = ["desk/runs.py", "desk/ids.py", "desk/clock.py", "desk/errors.py"]
IMPURE_CALLS = re.compile(
    r"datetime\.now|date\.today|utcnow|uuid4|secrets\.|np\.random\.(?!Generator|default_rng)|(?<![\w.])open\("
)


def pure_sources() -> list[Path]:
    folders = [path for folder in PURE for path in sorted((ROOT / folder).rglob("*.py"))]
    return folders + [ROOT / name for name in PURE_FILES]


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("path", pure_sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_reads_no_clock_no_randomness_and_no_file(path: Path) -> None:
    code = "\n".join(ast.unparse(node) for node in ast.parse(path.read_text()).body)

    found = IMPURE_CALLS.findall(code)

    assert found == []


def test_no_module_is_named_after_nothing() -> None:
    meaningless = {"utils", "helpers", "common", "base", "manager", "types", "core"}

    named = [path for path in tracked() if path.suffix == ".py" and path.stem in meaningless]

    assert named == []


def test_no_lock_or_setting_names_a_registry_host() -> None:
    hosts = re.compile(
        r'"resolved": *"http|index-url *=|--(extra-)?index-url|pypi\.org|registry\.npmjs'
    )
    locks = [
        path
        for path in tracked()
        if re.search(
            r"(\.lock|package-lock\.json|\.npmrc|pyproject\.toml|requirements.*)$", path.name
        )
    ]

    naming = [path for path in locks if hosts.search(path.read_text())]

    assert locks
    assert naming == []
    assert not (ROOT / "uv.lock").exists()


def test_nothing_but_the_drills_calls_the_simulators_control_plane() -> None:
    product = [
        path
        for path in tracked()
        if path.parts[len(ROOT.parts)] in {"desk", "actors", "serve_apps"}
    ]

    calling = [
        path for path in product if path.suffix in {".py", ".js"} and "/_sim/" in path.read_text()
    ]

    assert calling == [ROOT / "desk" / "drills" / "exchange.py"]


def test_no_third_party_javascript_is_committed() -> None:
    scripts = [path for path in tracked() if path.suffix in {".js", ".mjs"}]

    minified = [path for path in scripts if ".min." in path.name or path.stat().st_size > 60_000]

    assert minified == []
