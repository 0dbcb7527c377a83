"""Each page's modules joined by esbuild: a browser asks for a handful of files instead of thirty.

`python -m serve_apps.ui.bundle` joins them, after `serve_apps.ui.vendor` has installed the bundler.
What is joined says which sources it was made of. Where these have changed since, as while somebody
works on them, the pages load their modules one by one.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from desk.errors import SettingsError
from serve_apps.ui import vendor

APP = Path(__file__).parent / "app"
WITHIN_S = 60
TARGET = "es2022"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Joined files, all in one folder. Their names change with what is in them."""

    sources_sha256: str
    pages: dict[str, list[str]]
    """Page → the files it begins with, its own first."""
    sha256: dict[str, str]
    """File → digest."""


def bundle_folder(vendored: Path) -> Path:
    """Where the joined files lie: beside the vendored ones."""
    return vendored.with_name("ui-pages")


def load(folder: Path) -> Bundle | None:
    """What was joined of the sources as they are now, every file verified; None: nothing was.

    Raises `SettingsError`, naming the command that mends it, for a file that is not as it was joined.
    """
    try:
        found = Bundle(**json.loads((folder / "manifest.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    if found.sources_sha256 != sources_sha256():
        return None
    for name, sha256 in found.sha256.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise SettingsError(f"{path} is not as it was joined: run `{vendor.MEND}`")
    return found


def sources_sha256() -> str:
    """Digest of our modules and of the third-party ones that they are joined with."""
    digest = hashlib.sha256(vendor.LOCK.read_bytes())
    for path in sorted(APP.rglob("*.js")):
        digest.update(f"\0{path.relative_to(APP).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def build(tools: Path, folder: Path) -> Bundle:
    """Join every page's modules with the bundler in `tools`, and publish by rename.

    Raises `SettingsError` when there is no bundler, or with what it refuses.
    """
    bundlers = sorted(tools.glob("node_modules/@esbuild/*/bin/esbuild"))
    if not bundlers:
        raise SettingsError(f"there is no bundler for this machine in {tools}: run `{vendor.MEND}`")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        made = _joined(bundlers[0], tools, fresh)
        (fresh / "manifest.json").write_text(json.dumps(asdict(made), indent=1))
        fresh.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return made


def _joined(bundler: Path, tools: Path, folder: Path) -> Bundle:
    pages = sorted(path.name for path in APP.glob("*.js"))
    with tempfile.TemporaryDirectory(prefix="raydesk-pages-") as scratch:
        # Beside the third-party modules: the bundler looks for them in the folders above.
        sources, told = Path(scratch) / "app", Path(scratch) / "told.json"
        shutil.copytree(APP, sources)
        (Path(scratch) / "node_modules").symlink_to(tools / "node_modules")
        options = ["--bundle", "--splitting", "--format=esm", f"--target={TARGET}"]
        # Names stay as they are written: an error that an operator reports can be found.
        options += ["--minify-whitespace", "--minify-syntax", "--log-level=error"]
        options += ["--entry-names=[name]-[hash]", f"--outdir={folder}", f"--metafile={told}"]
        done = subprocess.run(
            [bundler, *pages, *options],
            cwd=sources,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            raise SettingsError(f"the pages could not be joined: {done.stderr.strip()}")
        outputs: dict[str, dict[str, Any]] = json.loads(told.read_text())["outputs"]
    return Bundle(
        sources_sha256=sources_sha256(),
        pages={
            Path(output["entryPoint"]).stem: [
                Path(name).name for name in _begun_with(path, outputs)
            ]
            for path, output in outputs.items()
            if output.get("entryPoint") in pages
        },
        sha256={
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.glob("*.js"))
        },
    )


def _begun_with(path: str, outputs: dict[str, dict[str, Any]]) -> list[str]:
    """A file and all that it imports before it runs; what it imports later comes later."""
    found, waiting = dict[str, None](), [path]
    while waiting:
        here = waiting.pop(0)
        if here not in found:
            found[here] = None
            imports = outputs[here]["imports"]
            waiting += [one["path"] for one in imports if one["kind"] == "import-statement"]
    return list(found)


def main() -> int:
    """Join the pages of the sources as they are now, where that was not done yet."""
    vendored = vendor.vendor_folder(vendor.named_folder())
    folder = bundle_folder(vendored)
    try:
        is_there = load(folder) is not None
    except SettingsError:
        is_there = False
    if not is_there:
        build(vendor.tools_folder(vendored), folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SettingsError as refused:
        sys.stderr.write(f"{refused}\n")
        sys.exit(2)
