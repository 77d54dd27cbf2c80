"""A file of predictions that a run goes on with: what it was made with stands beside it, and it has one writer."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

from sift_ray.evaluate.predictions import Prediction, PredictionError, read_predictions, write_prediction

_LONGEST_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class Header:
    """What a run was made with.

    Attributes:
        decisive: what predictions depend on: a file that was made with anything else can't be gone on with.
        told: what is good to know beside it.
    """

    decisive: Mapping[str, Any]
    told: Mapping[str, Any]


class PredictionFile:
    """The predictions at `path`, with `<path>.meta.json` and, where rows failed, `<path>.rejects.jsonl` beside it.

    Opened, it holds what a run before has left, less a last line that was cut short, and is locked against others.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.meta = path.with_name(f"{path.name}.meta.json")
        self.rejects = path.with_name(f"{path.name}.rejects.jsonl")
        self.done: set[str] = set()
        self._header = header
        self._file: TextIO | None = None
        self._rejected: TextIO | None = None

    def __enter__(self) -> Self:
        """Open it, and write the header of a file that is new.

        Raises:
            PredictionError: another run writes it, it can't be read or written, or it was made with something else.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise PredictionError(
                f"{self.path}: another run is writing it; wait for it, or give another --out"
            ) from None
        except OSError as error:
            self._close()
            raise PredictionError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        try:
            _mend(self.path)
            self.done = set(read_predictions(self.path))
            if self.done:
                self._check_header()
            self._write_header()
            self.rejects.unlink(missing_ok=True)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def write(self, prediction: Prediction, **more: Any) -> None:
        """Append a prediction; see `predictions.write_prediction`."""
        assert self._file is not None
        write_prediction(self._file, prediction, **more)
        self.done.add(prediction.sample_id)

    def reject(self, **row: Any) -> None:
        """Append a row that has no prediction to the file of rejects, which is begun anew by each run."""
        if self._rejected is None:
            self._rejected = self.rejects.open("w", encoding="utf-8")
        self._rejected.write(f"{json.dumps(row, ensure_ascii=False)}\n")
        self._rejected.flush()

    def _check_header(self) -> None:
        try:
            before = json.loads(self.meta.read_text(encoding="utf-8"))["decisive"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PredictionError(
                f"{self.path}: {self.meta.name}, which says what it was made with, can't be read "
                f"({type(error).__name__}: {error}); give another --out, or delete the file to begin anew"
            ) from error
        # (compared as they are written: a tuple comes back as a list)
        now = json.loads(json.dumps(self._header.decisive))
        if before == now:
            return
        changed = [
            f"{key}: {_shown(before, key)} there, {_shown(now, key)} now"
            for key in dict.fromkeys((*before, *now))
            if before.get(key) != now.get(key)
        ]
        raise PredictionError(
            f"{self.path}: its {len(self.done)} predictions were made with something else ({'; '.join(changed)}); give "
            "another --out, ask for the same again, or delete the file to begin anew"
        )

    def _write_header(self) -> None:
        text = json.dumps({"decisive": self._header.decisive, "told": self._header.told}, indent=1, ensure_ascii=False)
        half = self.meta.with_name(f"{self.meta.name}.tmp")
        half.write_text(f"{text}\n", encoding="utf-8")
        half.replace(self.meta)

    def _close(self) -> None:
        for file in (self._file, self._rejected):
            if file is not None:
                file.close()
        self._file = self._rejected = None


def _shown(header: Mapping[str, Any], key: str) -> str:
    text = json.dumps(header.get(key), ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _mend(path: Path) -> None:
    """Take away a last line that was cut short, and end one that lacks nothing but its end."""
    with path.open("r+b") as file:
        content_end = file.seek(0, 2)
        # (read from the end, a piece at a time: a file of predictions may be large)
        tail, start = b"", content_end
        while start and b"\n" not in tail:
            step = min(start, 1 << 16)
            start -= step
            file.seek(start)
            tail = file.read(step) + tail
        last = tail[tail.rfind(b"\n") + 1 :]
        if not last:
            return
        try:
            whole = isinstance(json.loads(last), dict)
        except ValueError:
            whole = False
        if whole:
            file.seek(content_end)
            file.write(b"\n")
        else:
            file.truncate(content_end - len(last))
