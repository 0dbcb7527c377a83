"""Reads the controls off a page: every button, link, switch, input and select, by where it stands and its name."""

import re

from playwright.sync_api import Page, expect

READ = """() => {
  const areaOf = (element) => {
    const dialog = element.closest('dialog');
    if (dialog) return `dialog ${dialog.querySelector('h2').innerText}`;
    const drawer = element.closest('aside');
    if (drawer) return `drawer ${drawer.getAttribute('aria-label')}`;
    if (element.closest('header.top')) return 'frame';
    if (element.closest('[role="tablist"]')) return 'tabs';
    if (element.closest('dl.tiles')) return 'tiles';
    return element.closest('section[aria-label]')?.getAttribute('aria-label') ?? 'page';
  };
  const nameOf = (element) => {
    if (element.matches('th > .sort')) return 'sort';
    if (element.matches('tr')) return 'row';
    if (element.matches('rect')) return 'cell with a hole';
    const label = element.labels?.[0];
    const text = element.getAttribute('aria-label') || (label && [...label.childNodes].filter((node) => node.nodeName !== 'SELECT').map((node) => node.textContent).join(' ')) || element.innerText || element.name;
    return text.trim().replace(/\\s+/g, ' ');
  };
  const found = document.querySelectorAll('button, a[href], input:not([type="hidden"]), select, textarea, tr.pick, rect.part, rect.missing');
  const open = document.querySelector('dialog[open]');
  return [...found].filter((element) => element.checkVisibility() && (!open || open.contains(element))).map((element) => [areaOf(element), nameOf(element), Boolean(element.closest('tbody')) && !element.matches('tr')]);
}"""
CHANGING = (
    (re.compile(r"(BTC|ETH|PAXG)-USDT"), "PAIR"),
    (re.compile(r"^tr[0-9a-z.]{6,}$"), "TRACE"),
    (re.compile(r"^(▲|▼)?\s*PAIR$"), "PAIR"),
    (re.compile(r"bingx_candles PAIR 1m|(\w+) PAIR(?= on)|telegram telegram:calls"), "SOURCE"),
    (re.compile(r"\b(default|careful)\b"), "SET"),
    (re.compile(r"\b(first try|older)\b"), "VERSION"),
    (re.compile(r"\bDATA_GAP_\w+"), "SETTING"),
    (re.compile(r"\bev-\w+"), "VERSION"),
    (
        re.compile(r"^(this version|hold|trend rule|previous version|cost.*?) [\d,]+\.\d+, .*$"),
        "CURVE",
    ),
    (re.compile(r" \d+$"), ""),
    (re.compile(r"^! \d+ alerts?$"), "alerts"),
    (re.compile(r"known: .*"), "known"),
)


def _named(name: str) -> str:
    for pattern, steady in CHANGING:
        name = pattern.sub(steady, name)
    return name.strip()


def controls(page: Page, path: str) -> set[str]:
    """Every visible control as `page | area | name`; the same in all rows of a list is one.

    With a dialog open only what is in it: the rest cannot be reached. The frame is of all pages.
    """
    found: set[str] = set()
    for area, name, in_row in page.evaluate(READ):
        where = "every page" if area == "frame" else path
        if name == "sort" or _named(name) == "TRACE":
            where, area = "every page", "a list"  # noqa: PLW2901 - one component, wherever it is used
        found.add(f"{where} | {_named(area)} | {_named(name)}{' of a row' if in_row else ''}")
    return found


def with_dialogs(page: Page, path: str, within: str = "body") -> set[str]:
    """The controls in sight, and those of every dialog that a button in sight opens."""
    found = controls(page, path)
    openers = page.locator(f"{within} button:visible", has_text="…")
    tried: set[str] = set()
    for at, text in enumerate(openers.all_inner_texts()):
        opener = openers.nth(at)
        area = opener.locator("xpath=ancestor::*[self::section or self::aside][1]")
        place = f"{area.get_attribute('aria-label') if area.count() else ''} {text}"
        if place in tried:
            continue
        tried.add(place)
        opener.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        found |= controls(page, path)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    return found
