"""Reading a sweep's file: every problem names the file, the field's path and the remedy."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from desk.errors import BadInput
from desk.learning.sweep_space import PARAMETERS, Grid, ends
from desk.learning.sweeps import (
    ADAPTER,
    EvaluationSweep,
    GridSearch,
    Pbt,
    RandomSearch,
    TrainingSweep,
    json_schema,
)

MOST_BYTES = 262_144


def schema_text() -> str:
    """The schema as it is committed."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def parse_sweep(
    text: str, file: str, *, algorithms: Sequence[str]
) -> TrainingSweep | EvaluationSweep:
    """Read a sweep's file. `algorithms` are those that the engine can train.

    Raises `BadInput` that names the file and, one a line, the path of each field that is wrong, what
    it was and the remedy.
    """
    data = _read(text, file)
    try:
        sweep = ADAPTER.validate_python(data)
    except ValidationError as wrong:
        _refuse(file, [_sentence(one, data) for one in wrong.errors(include_url=False)])
    if isinstance(sweep, TrainingSweep):
        problems = [*_of_parameters(sweep, algorithms), *_of_search(sweep)]
        if problems:
            _refuse(file, problems)
    return sweep


# --- what the models cannot say ------------------------------------------------------------------


def _of_parameters(sweep: TrainingSweep, algorithms: Sequence[str]) -> list[str]:
    problems: list[str] = []
    given = [(f"fixed.{name}", name, (value,)) for name, value in sweep.fixed.items()]
    given += [(f"space.{name}", name, ends(domain)) for name, domain in sweep.space.items()]
    for path, name, values in given:
        parameter = PARAMETERS.get(name)
        if parameter is None:
            problems.append(f"{path}: is no parameter: {_instead(name, PARAMETERS)}")
            continue
        problems += [f"{path}: {text}" for value in values if (text := parameter.problem(value))]
        if name in sweep.fixed and name in sweep.space and path.startswith("fixed"):
            problems.append(f"{path}: is varied by space.{name} as well: keep one of them")
    problems += [
        f"{path}: was {value!r}, which the engine cannot train: choose from {', '.join(algorithms)}"
        for path, value in _algorithms_of(sweep)
        if value not in algorithms
    ]
    if "algorithm" in sweep.fixed:
        problems.append("fixed.algorithm: has a key of its own: write `algorithm:` at the top")
    return problems


def _algorithms_of(sweep: TrainingSweep) -> list[tuple[str, object]]:
    varied = sweep.space.get("algorithm")
    if varied is None:
        return [("algorithm", sweep.algorithm)]
    return [("space.algorithm", value) for value in ends(varied)]


def _of_search(sweep: TrainingSweep) -> list[str]:
    is_grid, problems = isinstance(sweep.search, GridSearch), list[str]()
    if not sweep.space and sweep.budget.trials > 1:
        problems.append("space: was empty: name a parameter to vary, or give budget.trials: 1")
    for name, domain in sweep.space.items():
        if is_grid and not isinstance(domain, Grid):
            problems.append(f"space.{name}.kind: was {domain.kind}: a grid search takes kind: grid")
        if not is_grid and isinstance(domain, Grid):
            problems.append(
                f"space.{name}.kind: was grid: write kind: choice, or search: {{kind: grid}}"
            )
    if is_grid and not problems:
        count = len(sweep.points())
        if count > sweep.budget.trials:
            problems.append(
                f"budget.trials: was {sweep.budget.trials} for a grid of {count} points: raise it, "
                "or leave values out"
            )
    if isinstance(sweep.scheduler, Pbt):
        problems += _of_population(sweep)
    return problems


def _of_population(sweep: TrainingSweep) -> list[str]:
    problems: list[str] = []
    if not isinstance(sweep.search, RandomSearch):
        problems.append("search.kind: a population begins with random members: write kind: random")
    if sweep.budget.trials < 2:
        problems.append("budget.trials: was 1: a population has at least 2 members")
    mutable = [name for name, parameter in PARAMETERS.items() if parameter.is_mutable]
    problems += [
        f"space.{name}: cannot change in the middle of a training, as scheduler pbt does: choose "
        f"from {', '.join(mutable)}"
        for name in sweep.space
        if name in PARAMETERS and name not in mutable
    ]
    return problems


# --- reading, and saying what is wrong -------------------------------------------------------------


class _NoDuplicates(yaml.SafeLoader):
    """YAML takes the last of two equal keys; here the file is refused."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in cast("list[tuple[yaml.ScalarNode, yaml.Node]]", node.value):
        word = str(key.value)
        if word in seen:
            raise yaml.constructor.ConstructorError(
                problem=f"{word} was given twice: keep one of them", problem_mark=key.start_mark
            )
        seen.add(word)
    return loader.construct_mapping(node, deep=True)


_NoDuplicates.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _read(text: str, file: str) -> dict[str, Any]:
    if len(text) > MOST_BYTES:
        _refuse(file, [f"had {len(text)} characters: a sweep has at most {MOST_BYTES}"])
    try:
        data = yaml.load(text, _NoDuplicates)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark
        at = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        _refuse(file, [f"{at}{wrong.problem or 'is no YAML'}: correct it there"])
    except (yaml.YAMLError, RecursionError) as wrong:
        _refuse(file, [f"is no YAML ({wrong}): correct it"])
    if not isinstance(data, dict):
        _refuse(file, ["was no mapping: begin with `name:`, as the files in tune_configs do"])
    return cast("dict[str, Any]", data)


def _refuse(file: str, problems: Sequence[str]) -> NoReturn:
    unique = list(dict.fromkeys(problems))
    raise BadInput(file, unique[0] if len(unique) == 1 else "\n  " + "\n  ".join(unique))


def _sentence(error: ErrorDetails, data: Mapping[str, Any]) -> str:
    """`budget.trials: was 0, expected …`: the path as the author wrote it, without pydantic's tags."""
    path, here = list[str](), cast("object", data)
    for part in error["loc"]:
        if _is_tag(here, part):
            continue
        path.append(str(part))
        here = _below(here, part)
    where = ".".join(path)
    match error["type"]:
        case "missing":
            return f"{where}: is missing: add it"
        case "extra_forbidden":
            return f"{where}: is no key of this part: correct its spelling or leave it out"
        case "union_tag_not_found":
            text = "add `kind:`, one of"
        case "union_tag_invalid":
            text = f"kind was {error['input'].get('kind')!r}, choose from"
        case "value_error":
            reason = error["msg"].removeprefix("Value error, ")
            return f"{where or 'the whole'}: {reason}"
        case _:
            return f"{where}: was {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
    kinds = error.get("ctx", {}).get("expected_tags") or "the kinds in the schema (`--schema`)"
    return f"{where}{': ' if where else ''}{text} {kinds}"


def _is_tag(here: object, part: str | int) -> bool:
    """Whether pydantic names the kind of a part where its author wrote none."""
    if not isinstance(here, Mapping):
        return False
    found = cast("Mapping[object, object]", here)
    return part not in found and part == found.get("kind")


def _below(here: object, part: str | int) -> object:
    if isinstance(here, Mapping):
        return cast("Mapping[object, object]", here).get(part)
    if isinstance(here, list) and isinstance(part, int):
        found = cast("list[object]", here)
        return found[part] if part < len(found) else None
    return None


def _instead(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
