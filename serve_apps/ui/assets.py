"""What the pages load: our modules, the vendored packages, the import map and its CSP hash."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from desk.errors import SettingsError
from serve_apps.ui import bundle, vendor

HERE = Path(__file__).parent
_IMPORT = re.compile(r"^(?:import|export)\b[^;]*?\bfrom '([^']+)'", re.MULTILINE)
IMPORTED = {
    "preact": ("preact", "dist/preact.mjs"),
    "preact/hooks": ("preact", "hooks/dist/hooks.mjs"),
    "htm": ("htm", "dist/htm.module.js"),
    "@preact/signals": ("@preact/signals", "dist/signals.module.js"),
    "@preact/signals-core": ("@preact/signals-core", "dist/signals-core.module.js"),
}
"""Bare module name → the vendored file behind it."""
ALWAYS = ("preact", "preact/hooks", "@preact/signals", "@preact/signals-core", "htm")
"""What the vendored modules import of each other."""
SCRIPTS = {
    "klinecharts": ("klinecharts", "dist/umd/klinecharts.min.js"),
    "uplot": ("uplot", "dist/uPlot.iife.min.js"),
}
"""Classic scripts, each of which defines a global: `klinecharts`, `uPlot`."""
STYLES = {"uplot": ("uplot", "dist/uPlot.min.css")}
"""The style sheets that some of them need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """The pages' files, verified once at start. `problem` is set when they are unusable."""

    folder: Path
    import_map: str
    script_urls: dict[str, str]
    style_urls: dict[str, str] = field(default_factory=dict[str, str])
    problem: str = ""
    pages: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Page → URLs of the files that its modules were joined to, its own first; empty: they were not."""
    pages_folder: Path | None = None
    """Where these lie."""

    @property
    def import_map_hash(self) -> str:
        """The CSP source of the inline import map, over its exact bytes."""
        digest = hashlib.sha256(self.import_map.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    @property
    def content_security_policy(self) -> str:
        """The policy of every page: nothing from elsewhere, nothing inline but the import map."""
        return "; ".join(
            (
                "default-src 'none'",
                f"script-src 'self' {self.import_map_hash}",
                "style-src 'self'",
                "img-src 'self' data: blob:",
                "connect-src 'self'",
                "font-src 'self'",
                "form-action 'self'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            )
        )


def load_assets(override: Path | None = None) -> Assets:
    """Check the vendored files and build the import map; a defect is reported in `problem`."""
    folder = vendor.vendor_folder(override)
    joined = bundle.bundle_folder(folder)
    try:
        files, pages = vendor.check(folder), bundle.load(joined)
    except SettingsError as missing:
        return Assets(folder=folder, import_map="{}", script_urls={}, problem=str(missing))
    roots = {file.package: f"/ui/vendor/{file.package}@{file.version}" for file in files}
    imports = {name: f"{roots[package]}/{path}" for name, (package, path) in IMPORTED.items()}
    scripts = {name: f"{roots[package]}/{path}" for name, (package, path) in SCRIPTS.items()}
    styles = {name: f"{roots[package]}/{path}" for name, (package, path) in STYLES.items()}
    import_map = json.dumps({"imports": imports}, separators=(",", ":"))
    return Assets(
        folder=folder,
        import_map=import_map,
        script_urls=scripts,
        style_urls=styles,
        pages={name: [f"/ui/pages/{file}" for file in files] for name, files in pages.pages.items()}
        if pages
        else {},
        pages_folder=joined if pages else None,
    )


def modules_of(page: str, assets: Assets) -> list[str]:
    """URLs of all that a page begins with, itself first, so that one trip fetches them all.

    The joined files where there are any, every module that it imports otherwise.
    """
    if page in assets.pages:
        return assets.pages[page]
    imports: dict[str, str] = json.loads(assets.import_map).get("imports", {})
    root = HERE / "app"
    found: dict[str, None] = {}
    waiting = [root / f"{page}.js"]
    while waiting:
        module = waiting.pop(0)
        url = f"/ui/app/{module.relative_to(root).as_posix()}"
        if url in found:
            continue
        found[url] = None
        names: list[str] = _IMPORT.findall(module.read_text())
        for name in names:
            if name.startswith("."):
                waiting.append((module.parent / name).resolve())
            else:
                found[imports.get(name, name)] = None
    others = [imports[name] for name in ALWAYS if name in imports]
    return list(dict.fromkeys([*found, *others]))
