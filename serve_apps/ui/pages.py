"""The page shells and the static files they load. No data is ever rendered into HTML."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from string import Template

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from serve_apps.ui import early
from serve_apps.ui.assets import HERE, Assets, modules_of
from serve_apps.ui.kept_files import KeptFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One operator page. `scripts` are classic scripts it needs before its module, with their styles."""

    path: str
    title: str
    scripts: tuple[str, ...] = ()
    early: Callable[[Request], list[str]] = early.nothing
    """Paths of what it asks for first."""


PAGES = (
    Page(path="/rl-ops", title="Operations"),
    Page(path="/rl-agent", title="Agent"),
    Page(path="/rl-evaluations", title="Evaluations", scripts=("uplot",)),
    Page(path="/rl-data-sources", title="Data sources"),
    Page(path="/ingestion", title="Ingestion"),
    Page(path="/insights", title="Insights", scripts=("klinecharts",), early=early.first_chart),
)
REVALIDATED = "no-cache"
"""Of our modules and styles: asked for by ETag at each load."""
FOR_EVER = "public, max-age=31536000, immutable"
"""Of vendored and joined files: their URL carries the version or a digest, so they never change."""


def mount_ui(app: FastAPI, assets: Assets, csrf_of: Callable[[Request], str]) -> None:
    """Add the pages, `/ui/*` and the redirect from `/`.

    `csrf_of` gives the token that the page sends back with every write (empty without a login).
    Without the vendored files the pages answer 503 with the command that mends it.
    """
    for name in ("app", "style"):
        files = KeptFiles(HERE / name, cache_control=REVALIDATED)
        app.mount(f"/ui/{name}", files, name=f"ui-{name}")
    if not assets.problem:
        if assets.pages_folder is not None:
            joined = KeptFiles(assets.pages_folder, cache_control=FOR_EVER)
            app.mount("/ui/pages", joined, name="ui-pages")
        vendored = KeptFiles(assets.folder, cache_control=FOR_EVER)
        app.mount("/ui/vendor", vendored, name="ui-vendor")
    app.add_api_route("/", _to_first_page, include_in_schema=False)
    shell = Template((HERE / "shell.html").read_text())
    for page in PAGES:
        app.add_api_route(
            page.path, _page_endpoint(page, shell, assets, csrf_of), include_in_schema=False
        )


async def _to_first_page() -> RedirectResponse:
    return RedirectResponse(PAGES[0].path, status_code=303)


def _page_endpoint(
    page: Page, shell: Template, assets: Assets, csrf_of: Callable[[Request], str]
) -> Callable[[Request], Response]:
    modules = modules_of(page.path.lstrip("/"), assets)
    preloads = "".join(f'<link rel="modulepreload" href="{url}">\n' for url in modules)

    def serve(request: Request) -> Response:
        if assets.problem:
            return PlainTextResponse(assets.problem + "\n", status_code=503)
        asked = "".join(
            f'<link rel="preload" as="fetch" crossorigin="anonymous" href="{escape(path)}">\n'
            for path in page.early(request)
        )
        scripts = "".join(
            f'<script defer fetchpriority="high" src="{assets.script_urls[name]}"></script>\n'
            for name in page.scripts
        )
        styles = "".join(
            f'<link rel="stylesheet" href="{assets.style_urls[name]}">\n'
            for name in page.scripts
            if name in assets.style_urls
        )
        text = shell.substitute(
            title=page.title,
            page=page.path.lstrip("/"),
            module=modules[0],
            csrf=csrf_of(request),
            import_map=assets.import_map,
            scripts=asked + scripts + preloads,
            styles=styles,
        )
        return HTMLResponse(text)

    return serve
