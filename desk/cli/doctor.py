"""`desk doctor`: whether this machine, its settings and the exchange are fit for a desk."""

import json
import os
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from actors.run_file import RunFile
from desk.cli import machine_checks as machine
from desk.cli.exchange_probe import probe
from desk.cli.findings import Finding, fail, ok
from desk.cli.output import Json, show
from desk.errors import SettingsError
from desk.settings import Settings, load_settings
from desk.store.durable import publish
from desk.venues.connect import bingx_config
from desk.wallclock import wall_ms

REPORT = ("run", "doctor.json")
PROBED_WITH = ("ccxt", "aiohttp", "raydesk")


def doctor(
    *,
    exchange: Annotated[
        str | None,
        typer.Option(
            help="Probe this host instead: vst, live or a URL; with the keys that are set."
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the exchange.")] = False,
    as_json: Json = False,
) -> None:
    """Look at settings, versions, disk, memory, store, ports, clock and exchange. 1: something fails."""
    findings = machine.settings(os.environ)
    findings += [machine.python(), machine.packages(), machine.memory()]
    if all(finding.verdict == "ok" for finding in findings if finding.check == "settings"):
        chosen = load_settings()
        findings += [
            machine.disk(chosen.home),
            machine.files(chosen),
            machine.store(chosen),
            machine.api_port(chosen),
            machine.exposure(chosen),
            *([] if offline else _exchange(chosen, exchange)),
        ]
        _keep(chosen, findings)
    failed = [finding for finding in findings if finding.verdict == "fail"]
    rows = [asdict(finding) for finding in findings]
    answer = {"ok": not failed, "at_wall_ms": wall_ms(), "checks": rows}
    show(answer, [_table(findings), _verdict(findings)], as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _exchange(chosen: Settings, asked: str | None) -> list[Finding]:
    """Probe the named host, or that of the settings; the simulator only while a desk runs it."""
    settings = chosen.model_copy(update={"bingx_base_url": asked}) if asked else chosen
    running = RunFile.read(chosen.home)
    if settings.uses_simulator and running is None:
        return [ok("exchange", "the bundled simulator; `desk up` starts it")]
    try:
        config = bingx_config(settings, running.venue_url if running else None)
    except SettingsError as wrong:
        return [fail("exchange", str(wrong), "name vst, live or a URL")]
    if not config.base_url.startswith(("http://", "https://")):
        return [fail("exchange", f"{config.base_url} is no host", "name vst, live or a URL")]
    return probe(config, chosen.market_data_pairs)


def _keep(chosen: Settings, findings: list[Finding]) -> None:
    """Leave the report where the next one, and whoever looks into a run, can read it."""
    path = chosen.home.joinpath(*REPORT)
    report = {
        "at_wall_ms": wall_ms(),
        "software": {name: version(name) for name in PROBED_WITH},
        "checks": [asdict(finding) for finding in findings],
    }
    if any(finding.check == "disk" and finding.verdict == "fail" for finding in findings):
        return  # nowhere to write: the finding says so
    publish(path, json.dumps(report, indent=1).encode())


def _verdict(findings: list[Finding]) -> str:
    counts = [
        f"{sum(finding.verdict == verdict for finding in findings)} {verdict}"
        for verdict in ("ok", "warn", "fail")
    ]
    return ", ".join(counts)


def _table(findings: list[Finding]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for name in ("check", "verdict", "found", "what to do"):
        table.add_column(name, overflow="fold")
    colour = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for finding in findings:
        verdict = f"[{colour[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.check, verdict, Text(finding.found), Text(finding.remedy))
    return table
