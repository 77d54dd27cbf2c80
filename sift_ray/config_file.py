"""Read a job's YAML file: every problem is told at once, with the file, the line, the key, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sift_ray.config import Config


class ConfigError(ValueError):
    """The config can't be used; the message names the file, the line and the key."""


def load_config(path: Path, overrides: Sequence[str] = (), *, check_paths: bool = True) -> Config:
    """Read the YAML at `path`, apply `overrides` (`a.b=c`, value in YAML), and check the whole.

    Without `check_paths` the files that it names need not be there: `status` is asked from other machines too.

    Raises:
        ConfigError: naming file, line and key, and what was expected there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: no config can be read there") from error
    return parse_config(text, str(path), overrides, check_paths=check_paths)


def parse_config(text: str, source: str, overrides: Sequence[str] = (), *, check_paths: bool = True) -> Config:
    """Check the YAML `text`; `source` names it in errors. See `load_config`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: a config is a mapping of sections (output, corpora, …)")
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        raise ConfigError(f"{source}: aliases (*name) are not read; write the value out")
    lines = _lines(node)
    _refuse_repeated_keys(node, source)
    overridden = {}
    for override in overrides:
        key, value = _parse_override(override)
        _assign(data, key, value, override)
        overridden[tuple(key)] = override
    try:
        # JSON, because only there does pydantic's strict mode (which takes no "7" for 7) read lists as tuples
        text_of = json.dumps(data, default=str)
        return Config.model_validate_json(text_of, strict=True, context={"check_paths": check_paths})
    except ValidationError as error:
        problems = [_describe(problem, lines, overridden, source) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def _lines(node: yaml.Node | None, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], int]:
    """Map every key path of the document to its line, from 1."""
    if node is None:
        return {}
    lines = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            lines.update(_lines(value, here))
            lines[here] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines.update(_lines(value, (*path, index)))
    return lines


def _refuse_repeated_keys(node: yaml.Node | None, source: str) -> None:
    """YAML lets a later key win in silence; here it is an error."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ConfigError(
                    f"{source}:{line}: {key.value}: given twice, first on line {seen[key.value]}; keep one"
                )
            seen[key.value] = line
            _refuse_repeated_keys(value, source)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(value, source)


def _parse_override(override: str) -> tuple[list[str], Any]:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: write it as section.key=value")
    try:
        return key.strip().split("."), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {error}") from error


def _assign(data: dict[str, Any], key: list[str], value: Any, override: str) -> None:
    target: Any = data
    for index, part in enumerate(key):
        last = index == len(key) - 1
        if isinstance(target, list):
            if not part.isdecimal() or int(part) >= len(target):
                raise ConfigError(f"--set {override}: {'.'.join(key[:index])} is a list of {len(target)}")
            if last:
                target[int(part)] = value
            else:
                target = target[int(part)]
        elif isinstance(target, dict):
            if last:
                target[part] = value
            else:
                if target.get(part) is None:
                    target[part] = {}
                target = target[part]
        else:
            raise ConfigError(f"--set {override}: {'.'.join(key[:index])} is a value and has no keys")


_UNION_TAGS = {"mls", "common_voice", "vctk", "manifest", "demo"}


def _describe(
    problem: Mapping[str, Any],
    lines: Mapping[tuple[str | int, ...], int],
    overridden: Mapping[tuple[str, ...], str],
    source: str,
) -> str:
    """Turn one pydantic error into `file:line: key: what is wrong`."""
    location = tuple(
        part
        for index, part in enumerate(problem["loc"])
        # pydantic puts the union's tag into the path of a corpus
        if not (index == 2 and problem["loc"][0] == "corpora" and part in _UNION_TAGS)
    )
    key = ".".join(str(part) for part in location) or "config"
    for path, override in overridden.items():
        if tuple(str(part) for part in location[: len(path)]) == path:
            return f"--set {override}: {key}: {_reason(problem)}"
    known = location
    while known and known not in lines:
        known = known[:-1]
    line = lines.get(known, 1)
    return f"{source}:{line}: {key}: {_reason(problem)}"


def _reason(problem: Mapping[str, Any]) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key; look for a typing error, or remove it"
        case "missing":
            return "missing; it must be given"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "union_tag_invalid" | "union_tag_not_found":
            return f"type must be one of {', '.join(sorted(_UNION_TAGS))}"
        case _:
            given = repr(problem.get("input"))
            return f"{problem['msg']}, but it is {given[:60]}"
