"""From TOML and options to settings; for an unknown key the nearest known one is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import nearest


def validate(section: type[BaseModel], content: Mapping[str, Any], source: str) -> Any:
    """Check plain data and turn it into settings.

    Args:
        section: one of the classes here.
        content: what was read.
        source: where from, for the message.

    Raises:
        ConfigurationError: an unknown key (the nearest known one is named) or a value out of range.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_explain(section, item) for item in _innermost(error.errors()))
        raise ConfigurationError(f"{source}: {problems}") from error


UNION_MEMBERS = ("str", "float", "constrained-float", "NoiseSettings")
"""Kinds of value that pydantic puts into the path of a complaint, besides those with brackets in them."""


def _innermost(problems: Sequence[Any]) -> list[dict[str, Any]]:
    """Keep, of the complaints about one key that may be a text or a table, those that go furthest into it."""
    deepest: dict[tuple, list[dict[str, Any]]] = {}
    for problem in problems:
        where = tuple(part for part in problem["loc"] if part not in UNION_MEMBERS and "[" not in str(part))
        group = deepest.setdefault(where[:2] if where[:1] == ("backend",) else where[:1], [])
        if group and len(where) > len(group[0]["loc"]):
            group.clear()
        if not group or len(where) == len(group[0]["loc"]):
            group.append({**problem, "loc": where})
    return [problem for group in deepest.values() for problem in group]


def _explain(section: type[BaseModel], problem: Mapping[str, Any]) -> str:
    where = [str(part) for part in problem["loc"]]
    if problem["type"] in SHAPES:
        return f"{'.'.join(where)} = {problem['input']!r}: {SHAPES[problem['type']].format(where[-1])}"
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{'.'.join(where)} = {problem['input']!r}: {message[0].lower()}{message[1:]}"
    known = _fields_at(section, where[:-1])
    return f"unknown key {'.'.join(where)!r}{nearest(where[-1], known)}; known here: {', '.join(known)}"


SHAPES = {
    "model_type": "this is a table of settings; write [train.{0}] in a job file, {0}.key=value after --set",
    "tuple_type": "this is a list; for tables write [[{0}]] with two brackets, once for each",
    "dict_type": "this is a table of settings; write [{0}] with its keys below",
}
"""What to write where a key has the wrong shape, by pydantic's name of the problem."""


def _fields_at(section: type[BaseModel], where: list[str]) -> list[str]:
    for part in where:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if nested:
            section = nested[0]
    return list(section.model_fields)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables with the second laid over the first."""
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both_tables else value
    return merged


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `--set section.key=value` options into a nested table; values are read as TOML, else as plain text.

    Raises:
        ConfigurationError: an option has no `=` or no key.
    """
    table: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"--set {assignment!r}: write section.key=value, e.g. --set training.clip=0.5")
        nested: Any = _parse_value(text.strip())
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        table = merge(table, nested)
    return table


def _parse_value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
