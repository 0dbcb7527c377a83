"""The pages' modules joined: of these sources, whole, or not used."""

import shutil
from pathlib import Path

import pytest

from desk.errors import SettingsError
from serve_apps.ui import bundle, vendor
from serve_apps.ui.pages import PAGES

TOOLS = vendor.tools_folder(vendor.vendor_folder())


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change."""
    copy = tmp_path / "app"
    shutil.copytree(bundle.APP, copy)
    monkeypatch.setattr(bundle, "APP", copy)
    return copy


def test_every_page_is_joined_and_found_again(tmp_path: Path) -> None:
    made = bundle.build(TOOLS, tmp_path / "pages")

    assert bundle.load(tmp_path / "pages") == made
    assert set(made.pages) == {page.path.lstrip("/") for page in PAGES}
    assert {name for names in made.pages.values() for name in names} <= set(made.sha256)
    assert not list(tmp_path.glob("pages-*"))


def test_what_was_joined_of_other_sources_is_not_used_until_it_is_joined_anew(
    tmp_path: Path, sources: Path
) -> None:
    folder = tmp_path / "pages"
    before = bundle.build(TOOLS, folder)
    with (sources / "lib" / "times.js").open("a") as file:
        file.write("export const added = 1;\n")

    assert bundle.load(folder) is None
    after = bundle.build(TOOLS, folder)
    assert bundle.load(folder) == after
    assert after.sources_sha256 != before.sources_sha256


def test_a_file_that_was_changed_or_lost_names_itself_and_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    first, second = list(bundle.build(TOOLS, folder).sha256)[:2]
    (folder / second).unlink()
    with pytest.raises(SettingsError, match=f"{second}.*make setup"):
        bundle.load(folder)

    (folder / first).write_text("steal()")
    with pytest.raises(SettingsError, match=f"{first}.*make setup"):
        bundle.load(folder)


def test_what_the_bundler_refuses_leaves_what_was_there(tmp_path: Path, sources: Path) -> None:
    folder = tmp_path / "pages"
    bundle.build(TOOLS, folder)
    kept = sorted(path.name for path in folder.iterdir())
    (sources / "lib" / "times.js").write_text("export const = 1;\n")

    with pytest.raises(SettingsError, match=r"times\.js"):
        bundle.build(TOOLS, folder)

    assert sorted(path.name for path in folder.iterdir()) == kept
    assert not list(tmp_path.glob("pages-*"))


def test_without_a_bundler_the_command_that_mends_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="make setup"):
        bundle.build(tmp_path, tmp_path / "pages")


def test_a_manifest_that_is_none_is_as_if_nothing_was_joined(tmp_path: Path) -> None:
    assert bundle.load(tmp_path) is None
    (tmp_path / "manifest.json").write_text('{"pages": 1}')
    assert bundle.load(tmp_path) is None
