"""The files behind the pages: from memory, by ETag, compressed, and all named in the shell at once."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serve_apps.ui.assets import HERE, Assets, load_assets, modules_of
from serve_apps.ui.kept_files import KeptFiles
from serve_apps.ui.pages import FOR_EVER, PAGES, mount_ui

ASSETS = load_assets()
APART = replace(ASSETS, pages={}, pages_folder=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "long.js").write_text("// a comment\n" * 100)
    (tmp_path / "short.css").write_text("a {}")
    return tmp_path


def client_of(folder: Path) -> TestClient:
    app = FastAPI()
    app.mount("/files", KeptFiles(folder, cache_control="no-cache"))
    return TestClient(app)


def shells(assets: Assets) -> TestClient:
    app = FastAPI()
    mount_ui(app, assets, lambda request: "")
    return TestClient(app)


@pytest.fixture(scope="module")
def pages() -> TestClient:
    return shells(ASSETS)


@pytest.fixture(scope="module")
def modules() -> TestClient:
    """As while somebody works on them."""
    return shells(APART)


def test_a_file_has_its_type_is_compressed_and_not_sent_again(folder: Path) -> None:
    with client_of(folder) as client:
        answer = client.get("/files/lib/long.js", headers={"Accept-Encoding": "gzip"})
        plain = client.get("/files/lib/long.js", headers={"Accept-Encoding": "identity"})
        again = client.get("/files/lib/long.js", headers={"If-None-Match": answer.headers["etag"]})
        short = client.get("/files/short.css", headers={"Accept-Encoding": "gzip"})

    assert answer.headers["content-type"].startswith("text/javascript")
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == (
        "gzip",
        "Accept-Encoding",
    )
    assert answer.text == plain.text == "// a comment\n" * 100
    assert "content-encoding" not in plain.headers
    assert (again.status_code, again.content) == (304, b"")
    assert (short.text, "content-encoding" in short.headers) == ("a {}", False)


def test_a_changed_file_is_read_again_and_a_lost_one_is_not_found(folder: Path) -> None:
    with client_of(folder) as client:
        before = client.get("/files/short.css")
        (folder / "short.css").write_text("b { color: red }")
        after = client.get("/files/short.css", headers={"If-None-Match": before.headers["etag"]})
        (folder / "short.css").unlink()
        gone = client.get("/files/short.css")

    assert (after.status_code, after.text) == (200, "b { color: red }")
    assert gone.status_code == 404


@pytest.mark.parametrize(
    "path", ["/files/../secret", "/files/%2e%2e/secret", "/files/", "/files/lib"]
)
def test_nothing_beside_the_folder_is_served(folder: Path, path: str) -> None:
    (folder.parent / "secret").write_text("x")
    with client_of(folder) as client:
        assert client.get(path).status_code == 404
        assert client.post("/files/short.css").status_code == 405


PATHS = [page.path for page in PAGES]


def asked_by(pages: TestClient, page: str) -> tuple[list[str], str]:
    """What a shell asks for at once, and the module that it runs."""
    text = pages.get(page).text
    (module,) = re.findall(r'<script type="module" src="([^"]+)"', text)
    return re.findall(r'rel="modulepreload" href="([^"]+)"', text), module


@pytest.mark.parametrize("page", PATHS)
def test_every_module_of_a_page_is_asked_for_at_once_and_there(
    modules: TestClient, page: str
) -> None:
    named, module = asked_by(modules, page)

    assert named == modules_of(page.lstrip("/"), APART)
    assert module == named[0] == f"/ui/app{page}.js"
    assert {modules.get(url).status_code for url in named} == {200}
    asked = set(re.findall(r"from '(\.[^']+)'", (HERE / f"app{page}.js").read_text()))
    assert {f"/ui/app/{name[2:]}" for name in asked} <= set(named)


@pytest.mark.parametrize("page", PATHS)
def test_a_page_whose_modules_are_joined_asks_for_few_files_that_never_change(
    pages: TestClient, page: str
) -> None:
    named, module = asked_by(pages, page)
    answers = [pages.get(url) for url in named]

    assert module == named[0]
    assert re.fullmatch(rf"/ui/pages{page}-[A-Z0-9]{{8}}\.js", module)
    assert len(named) < len(modules_of(page.lstrip("/"), APART)) / 2
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["cache-control"] for answer in answers} == {FOR_EVER}
    imported = {name for answer in answers for name in re.findall(r'"\./([^"]+\.js)"', answer.text)}
    assert {pages.get(f"/ui/pages/{name}").status_code for name in imported} == {200}


def test_the_shell_asks_for_the_first_chart_as_the_page_does(pages: TestClient) -> None:
    def early(query: str) -> list[str]:
        text = pages.get(f"/insights{query}").text
        return re.findall(r'as="fetch" crossorigin="anonymous" href="([^"]+)"', text)

    first = "/market-data/candles?pair=BTC-USDT&amp;interval=5m&amp;limit=1500"
    assert early("") == ["/market-data/pairs"]
    assert early("?pair=BTC-USDT&interval=5m")[0] == first
    assert early("?pair=BTC-USDT&bars=5000")[0].endswith("interval=1m&amp;limit=5000")
    assert early('?pair="><script>') == early("?pair=BTC-USDT&at=1") == ["/market-data/pairs"]
