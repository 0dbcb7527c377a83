"""Take the screenshots of the README from a running desk: `make screenshots`."""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).parent / "images"
PAGES = {
    "rl-ops": "/rl-ops",
    "rl-agent": "/rl-agent",
    "rl-evaluations": "/rl-evaluations",
    "rl-data-sources": "/rl-data-sources",
    "ingestion": "/ingestion",
    "insights": "/insights",
}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--force-color-profile=srgb",
    "--disable-background-networking",
]


def shoot(
    browser: Browser, base_url: str, folder: Path, *, width: int, height: int, theme: str
) -> None:
    """Save one PNG a page; the first chart and the stream must be there before the shot."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        timezone_id="UTC",
        locale="en-US",
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    for name, path in PAGES.items():
        tab = context.new_page()
        tab.goto(base_url + path)
        tab.get_by_test_id("stream").get_by_text("live").wait_for()
        if name == "insights":
            tab.locator(".chart[data-state=ready]").wait_for()
        tab.wait_for_timeout(1_500)
        tab.screenshot(path=folder / f"{name}-{theme}-{width}.png")
        tab.close()
    context.close()


def main() -> int:
    """Shoot every page in both themes at the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--sizes", default="1280x800", help="for example 1280x800,1920x1080")
    parser.add_argument("--themes", default="light,dark")
    chosen = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        sys.stderr.write("no Chromium on this machine: apt-get install chromium\n")
        return 2
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for size in chosen.sizes.split(","):
            width, height = (int(part) for part in size.split("x"))
            for theme in chosen.themes.split(","):
                shoot(browser, chosen.url, chosen.folder, width=width, height=height, theme=theme)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
