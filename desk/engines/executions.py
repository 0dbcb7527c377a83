"""Every execution of the fill rules by its name, held against the `Decimal` ledger on the same plan."""

from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal

from desk.errors import EvaluationFailed
from desk.evaluation.cases import Case, random_case
from desk.evaluation.parity import KERNEL, NAUTILUS, PAPER, Agreement, hold_against
from desk.evaluation.plan import Plan, Replay, replay
from desk.trading.tape import Market

CASH = Decimal(100_000)

type Execution = Callable[[Market, Plan, Decimal], Replay]


def compiled(market: Market, plan: Plan, cash: Decimal) -> Replay:
    """By the compiled kernel."""
    from desk.evaluation.fast import replay_compiled  # noqa: PLC0415 - numba takes seconds to import

    return replay_compiled(market, plan, cash)


def witnessed(market: Market, plan: Plan, cash: Decimal) -> Replay:
    """By NautilusTrader."""
    from desk.engines import nautilus  # noqa: PLC0415 - takes seconds and memory to import

    return nautilus.evaluate(market, plan, cash)


def on_paper(market: Market, plan: Plan, cash: Decimal) -> Replay:
    """By the paper venue."""
    from desk.venues import paper_replay  # noqa: PLC0415 - with its store only where it is used

    return paper_replay.replay(market, plan, cash)


EXECUTIONS: Mapping[str, Execution] = {KERNEL: compiled, NAUTILUS: witnessed, PAPER: on_paper}


def compare_cases(
    count: int, *, first_seed: int = 0, engines: Collection[str] = tuple(EXECUTIONS)
) -> Iterator[Agreement]:
    """Some executions on so many generated cases: one agreement per case and execution.

    The paper venue gets cases as an exchange could have them, the others the wildest.
    """
    wild = [engine for engine in engines if engine != PAPER]
    for seed in range(first_seed, first_seed + count):
        if wild:
            yield from compare(random_case(seed), *wild, name=f"case {seed}")
        if PAPER in engines:
            tame = random_case(seed, at_the_venue=True)
            yield from compare(tame, PAPER, name=f"case {seed} at the venue")


def compare(case: Case, *engines: str, cash: Decimal = CASH, name: str = "") -> Iterator[Agreement]:
    """Some executions, by default all, on one case.

    One that breaks has mismatched in everything: the agreement says so, and the others go on.
    """
    market, plan = case.market, case.plan
    ledger = replay(market, plan, cash)
    for engine in engines or EXECUTIONS:
        try:
            done = EXECUTIONS[engine](market, plan, cash)
        except EvaluationFailed as broken:
            yield Agreement(
                engine=engine,
                cases=1,
                candles=len(plan),
                fills=len(ledger.fills),
                mismatching_fills=max(len(ledger.fills), 1),
                funding_amounts=len(ledger.funding),
                mismatching_funding=len(ledger.funding),
                first_mismatch=f"{name}: {broken}",
            )
            continue
        yield hold_against(
            engine,
            done,
            ledger,
            cash=cash,
            instrument=market.instrument,
            candles=len(plan),
            name=name,
        )
