"""The page shells and the static files they load. No data is ever rendered into HTML."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from serve_apps.ui.assets import HERE, Assets


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One operator page. `scripts` are classic scripts it needs before its module, with their styles."""

    path: str
    title: str
    scripts: tuple[str, ...] = ()


PAGES = (
    Page(path="/rl-ops", title="Operations"),
    Page(path="/rl-agent", title="Agent"),
    Page(path="/rl-evaluations", title="Evaluations", scripts=("uplot",)),
    Page(path="/rl-data-sources", title="Data sources"),
    Page(path="/ingestion", title="Ingestion"),
    Page(path="/insights", title="Insights", scripts=("klinecharts",)),
)


class OwnFiles(StaticFiles):
    """Our modules and styles: revalidated by ETag at each load."""

    def file_response(self, full_path: str | Path, *args: object, **kwargs: object) -> Response:  # pyright: ignore[reportIncompatibleMethodOverride]
        answer = super().file_response(full_path, *args, **kwargs)  # pyright: ignore[reportArgumentType, reportCallIssue, reportUnknownMemberType]
        answer.headers["Cache-Control"] = "no-cache"
        return answer


class VersionedFiles(StaticFiles):
    """Vendored files: their URL carries the version, so they never change."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        if answer.status_code == 200:
            answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


def mount_ui(app: FastAPI, assets: Assets, csrf_of: Callable[[Request], str]) -> None:
    """Add the pages, `/ui/*` and the redirect from `/`.

    `csrf_of` gives the token that the page sends back with every write (empty without a login).
    Without the vendored files the pages answer 503 with the command that mends it.
    """
    app.mount("/ui/app", OwnFiles(directory=HERE / "app"), name="ui-app")
    app.mount("/ui/style", OwnFiles(directory=HERE / "style"), name="ui-style")
    if not assets.problem:
        app.mount("/ui/vendor", VersionedFiles(directory=assets.folder), name="ui-vendor")
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
    def serve(request: Request) -> Response:
        if assets.problem:
            return PlainTextResponse(assets.problem + "\n", status_code=503)
        scripts = "".join(
            f'<script src="{assets.script_urls[name]}"></script>\n' for name in page.scripts
        )
        styles = "".join(
            f'<link rel="stylesheet" href="{assets.style_urls[name]}">\n'
            for name in page.scripts
            if name in assets.style_urls
        )
        text = shell.substitute(
            title=page.title,
            page=page.path.lstrip("/"),
            csrf=csrf_of(request),
            import_map=assets.import_map,
            scripts=scripts,
            styles=styles,
        )
        return HTMLResponse(text)

    return serve
