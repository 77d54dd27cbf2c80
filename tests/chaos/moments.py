"""Moments in the life of a build, told from the files in its output alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

Paths = frozenset[str]
Moment = Callable[[Paths, Paths], bool]
"""Takes the paths under the output now, and as they were when the command was started; says whether it is now."""

STAGES: Final = ("plan", "annotate", "bin", "instruct", "release")
_FOLDERS: Final = {"plan": "utterances", "annotate": "annotations", "instruct": "instructions"}
_MARKS: Final = {"plan": "plan.json", "bin": "bins.json"}
_MANIFEST: Final = "_MANIFEST.json"
_VERSION: Final = re.compile(r"release/v-[^/]+/.+")
_CARD: Final = re.compile(r"release/v-[^/]+/README\.md")  # is put when all files of the version are there
_PART: Final = re.compile(r"(.+/wave=\d+)/[^/]+\.parquet")


def before_mark(stage: str) -> Moment:
    """Return the moment at which a stage has written something that no manifest or mark vouches for yet."""
    match stage:
        case "annotate" | "instruct":
            return lambda now, then: bool(_open_waves(now, now - then, _FOLDERS[stage]))
        case "plan":
            return lambda now, then: bool(_under(now - then, "utterances")) and "plan.json" not in now
        case "bin":
            return lambda now, _: (
                "plan.json" in now
                and _finished(now, "annotations") == _finished(now, "utterances")
                and "bins.json" not in now
            )
        case _:
            return lambda now, then: _any(_VERSION, now - then) and not _any(_CARD, now)


def after_mark(stage: str) -> Moment:
    """Return the moment at which this run has just put a manifest of a stage (or its mark, where it has no waves)."""
    if stage in _MARKS:
        return lambda now, then: _MARKS[stage] in now - then
    if stage == "release":
        return lambda now, then: _any(_CARD, now - then)
    folder = _FOLDERS[stage]

    def reached(now: Paths, then: Paths) -> bool:
        return bool(_finished(now - then, folder))

    return reached


def any_time(now: Paths, then: Paths) -> bool:
    """The moment that is always now."""
    del now, then
    return True


def _any(pattern: re.Pattern[str], paths: Paths) -> bool:
    return any(pattern.fullmatch(path) for path in paths)


def _under(paths: Paths, folder: str) -> list[str]:
    return [path for path in paths if path.startswith(f"{folder}/")]


def _finished(paths: Paths, folder: str) -> set[str]:
    """Return the numbers of a stage's waves that have a manifest."""
    return {path.split("/")[1] for path in _under(paths, folder) if path.endswith(f"/{_MANIFEST}")}


def _open_waves(now: Paths, fresh: Paths, folder: str) -> set[str]:
    """Return a stage's waves that have a file of this run and no manifest."""
    waves = {match[1] for path in _under(fresh, folder) if (match := _PART.fullmatch(path))}
    return {wave for wave in waves if f"{wave}/{_MANIFEST}" not in now}
