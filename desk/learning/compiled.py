"""How the rules of trading and learning are compiled; see `desk.market.compiled`."""

from functools import partial

from desk.market.compiled import compiled as compiled_of

compiled = partial(compiled_of, of=("learning", "trading"))
