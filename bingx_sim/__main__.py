"""Run the simulator: `python -m bingx_sim`."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence

from aiohttp import web

from bingx_sim.app import Wire
from bingx_sim.control import Control
from bingx_sim.errors import BadOption
from bingx_sim.options import Options, parse
from bingx_sim.simulator import Simulator

TICK_S = 0.25
SAVE_EVERY_S = 2.0


async def serve(options: Options) -> None:
    """Listen on both ports and carry the market forward until a signal ends it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    simulator = Simulator(options.plan)
    simulator.faults.add_all(options.faults)
    wire, url = await _listen(Wire(simulator).application(), options.host, options.port)
    try:
        plane, control_url = await _listen(
            Control(simulator).application(), options.host, options.control_port
        )
    except BadOption:
        await wire.cleanup()
        raise
    line = json.dumps({"url": url, "control_url": control_url, "pid": os.getpid()})
    if options.ready_file is not None:
        draft = options.ready_file.with_name(options.ready_file.name + ".draft")
        draft.write_text(line + "\n")
        draft.replace(options.ready_file)
    print(line, flush=True)
    await _run_until(stop, simulator)
    simulator.faults.remove(None)
    await wire.cleanup()
    await plane.cleanup()
    simulator.catch_up()
    simulator.save()


async def _listen(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as problem:
        await runner.cleanup()
        raise BadOption(
            f"cannot listen on {host}:{port}: {os.strerror(problem.errno or 0)}"
        ) from None
    return runner, f"http://{host}:{runner.addresses[0][1]}"


async def _run_until(stop: asyncio.Event, simulator: Simulator) -> None:
    save_at_s = time.monotonic() + SAVE_EVERY_S
    while not stop.is_set():
        simulator.catch_up()
        began_s = time.monotonic()
        if began_s >= save_at_s:
            simulator.save()
            # a large state is saved less often: saving takes at most a fiftieth of the time
            took_s = time.monotonic() - began_s
            save_at_s = time.monotonic() + max(SAVE_EVERY_S, 50 * took_s)
        try:
            await asyncio.wait_for(stop.wait(), TICK_S)
        except TimeoutError:
            continue


def main(argv: Sequence[str]) -> int:
    """Return the exit status: 2 for a start option that cannot be used."""
    try:
        asyncio.run(serve(parse(argv)))
    except BadOption as problem:
        print(f"bingx_sim: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
