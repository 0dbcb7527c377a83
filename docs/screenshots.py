"""Take the screenshots of README and docs/operations.md from a running desk: `make screenshots`.

A desk without an evaluation is asked for one first, so that its page has something to show.
"""

import argparse
import json
import shutil
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

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

SHOWN = {
    "light": ("rl-ops", "rl-evaluations", "ingestion"),
    "dark": ("rl-agent", "rl-data-sources", "insights"),
}
"""Which theme the documents show of each page."""
EVALUATED_MS = 6 * 3_600_000
PATIENCE_S = 240


def ask(base_url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Read, or with a body write, as a script does."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base_url + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def evaluate(base_url: str) -> None:
    """Have the active version evaluated over the last hours, unless some evaluation is there."""
    evaluations = "/agents/desk/evaluations"
    if ask(base_url, evaluations)["items"]:
        return
    summary = ask(base_url, "/ops/trading/summary")
    now_ms = summary["market_now_ms"] // 60_000 * 60_000
    body = {
        "pair": summary["runs"][0]["pair"] if summary["runs"] else "BTC-USDT",
        "period_start_ms": now_ms - EVALUATED_MS,
        "period_end_ms": now_ms,
    }
    job = ask(base_url, evaluations, body)
    deadline = time.monotonic() + PATIENCE_S
    while job["status"] not in {"done", "failed", "cancelled"}:
        if time.monotonic() > deadline:
            sys.stderr.write(f"the evaluation took longer than {PATIENCE_S} s\n")
            return
        time.sleep(2)
        job = ask(base_url, f"/jobs/{job['job_id']}")
    if job["status"] != "done":
        sys.stderr.write(f"the evaluation {job['status']}: {job['error']}\n")


def shoot(
    browser: Browser,
    base_url: str,
    folder: Path,
    names: tuple[str, ...],
    *,
    width: int,
    height: int,
    theme: str,
) -> None:
    """Save one PNG a page named; the first chart and the stream must be there before the shot."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        timezone_id="UTC",
        locale="en-US",
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    for name in names:
        tab = context.new_page()
        tab.goto(base_url + PAGES[name])
        tab.get_by_test_id("stream").get_by_text("live").wait_for()
        if name == "insights":
            tab.locator(".chart[data-state=ready]").wait_for()
        tab.locator("main .skeleton").first.wait_for(state="detached")
        tab.wait_for_timeout(1_500)
        tab.screenshot(path=folder / f"{name}-{theme}-{width}.png")
        tab.close()
    context.close()


def main() -> int:
    """Shoot what the documents show; with `--all` every page in both themes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--sizes", default="1280x800", help="for example 1280x800,1920x1080")
    parser.add_argument("--all", action="store_true", help="every page in both themes")
    chosen = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        sys.stderr.write("no Chromium on this machine: apt-get install chromium\n")
        return 2
    chosen.folder.mkdir(parents=True, exist_ok=True)
    try:
        ask(chosen.url, "/healthz")
    except urllib.error.URLError as away:
        sys.stderr.write(f"no desk answers at {chosen.url} ({away}): start it with `make up`\n")
        return 2
    evaluate(chosen.url)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for size in chosen.sizes.split(","):
            width, height = (int(part) for part in size.split("x"))
            for theme, shown in SHOWN.items():
                names = tuple(PAGES) if chosen.all else shown
                shoot(
                    browser,
                    chosen.url,
                    chosen.folder,
                    names,
                    width=width,
                    height=height,
                    theme=theme,
                )
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
