"""Lhotse's manifests in JSON lines: cuts, or supervisions with the recordings that they are of.

A supervision is an utterance, as in Lhotse's own `trim_to_supervisions`; a cut without one is an utterance without
text. Lines are unpacked here one by one and made into Lhotse's objects by the library, because its own lazy reader
ends at the first damaged line. No audio is loaded through it, so that no command of a manifest is ever run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from sift_ray.config import LhotseConfig
from sift_ray.corpora.listed import ListRow, json_records, list_root, listed_utterance, texts_of
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tree import Tree, open_file, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import language_of
from sift_ray.schema import SAMPLE_RATE

_SAME_S: Final = 0.002  # times this near are one, as in Lhotse's own validation
_WORDLESS_S: Final = 0.1  # with more than this of a supervision cut off, a word may be missing
_SAVE: Final = "write its audio to files with CutSet.save_audios"
# Lhotse checks nothing beforehand: what it raises depends on where it stumbles
_LHOTSE_RAISES: Final = (AssertionError, AttributeError, LookupError, TypeError, ValueError)


class _UnusableError(Exception):
    """A line, or a part of it, can't be used: a reason, and a detail without the place."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class _Source(NamedTuple):
    type: str
    channels: tuple[int, ...]
    place: str


class _Recording(NamedTuple):
    duration_s: float
    sources: tuple[_Source, ...]
    problem: tuple[str, str] | None = None  # reason and detail


class _Piece(NamedTuple):
    """What is asked for of a recording, in its seconds; the span may reach beyond the bounds."""

    recording: _Recording
    channel: object
    span: tuple[float, float]
    bounds: tuple[float, float]


def read_lhotse(config: LhotseConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances of a manifest in its order; rows in a language that the config leaves out are skipped.

    The id is the supervision's, but the cut's where there is none or where its only one spans all of it. Of a
    supervision that reaches beyond its cut, the part in the cut is taken, and its text dropped as it says more.

    Raises:
        CorpusError: Lhotse is not installed; a manifest can't be read or holds something else; supervisions are
            given without their recordings, or cuts with.
    """
    lhotse = _library(config.path)
    folder, name = _manifest(config.path, reading)
    root = list_root(config, folder, reading)
    recordings: _Recordings | None = None
    kind = ""
    for line, record in json_records(config.path, config.name, text_lines(folder, name)):
        if not kind and line.reason is None:
            kind = _kind(record)
            _check_kind(kind, line.where, config)
            if kind == "supervision":
                recordings = _Recordings(lhotse, str(config.recordings), reading)
        for row in _rows(lhotse, line, record, kind, recordings):
            utterance = listed_utterance(config, row, root, reading)
            if utterance is not None:
                yield utterance


def _rows(
    lhotse: Any, line: ListRow, record: dict[str, Any], kind: str, recordings: _Recordings | None
) -> list[ListRow]:
    """Return the rows of a line: one with a reason where it can't be used."""
    line.values, _ = texts_of(record, ("id",))
    if line.reason is not None:
        return [line]
    try:
        if not kind or _kind(record) != kind:
            raise _UnusableError("bad_json", f"the line is no {kind or 'cut or supervision'}")
        if recordings is None:
            return _of_cut(lhotse, line, record)
        return [_of_supervision(lhotse, line, record, recordings)]
    except _UnusableError as error:
        return [replace(line, reason=error.reason, detail=error.detail)]


def _library(path: str) -> Any:
    try:
        import lhotse
    except ImportError as error:
        raise CorpusError(
            f"{path}: Lhotse manifests are read with the lhotse library: pip install 'sift-ray[lhotse]' ({error})"
        ) from error
    return lhotse


def _manifest(path: str, reading: Reading) -> tuple[Tree, str]:
    if not path.lower().endswith((".jsonl", ".jsonl.gz")):
        raise CorpusError(
            f"{path}: Lhotse manifests are read as .jsonl or .jsonl.gz; convert others: lhotse copy OLD NEW.jsonl.gz"
        )
    return open_file(path, reading.connection)


def _kind(record: Mapping[str, Any]) -> str:
    if "sources" in record:
        return "recording"
    if "num_features" in record:
        return ""
    return "cut" if "type" in record else "supervision" if "recording_id" in record else ""


def _check_kind(kind: str, where: str, config: LhotseConfig) -> None:
    if kind == "recording":
        raise CorpusError(
            f"{where}: this manifest holds recordings: name it as `recordings`, and the supervisions as `path`"
        )
    if kind == "supervision" and config.recordings is None:
        raise CorpusError(f"{where}: supervisions name no audio: give the recordings' manifest as `recordings`")
    if kind == "cut" and config.recordings is not None:
        raise CorpusError(f"{where}: cuts carry their recordings: leave `recordings` out of the config")


class _Recordings:
    """The recordings that supervisions are of, by id.

    They are held in memory, because supervisions may name them in any order: some hundred bytes each. A manifest of
    their own is for recordings that hold many utterances; cuts carry theirs, and are streamed.
    """

    def __init__(self, lhotse: Any, path: str, reading: Reading) -> None:
        self._by_id: dict[str, _Recording] = {}
        self._unreadable: list[str] = []
        folder, name = _manifest(path, reading)
        for line, record in json_records(path, "", text_lines(folder, name)):
            recording_id = record.get("id")
            if not isinstance(recording_id, str) or not recording_id:
                self._unreadable.append(line.where)
                continue
            try:
                if line.reason is not None:
                    raise _UnusableError(line.reason, line.detail)
                recording = _recording(lhotse, record)
            except _UnusableError as error:
                recording = _unusable(error.reason, f"{line.where}: {error.detail}")
            if self._by_id.setdefault(recording_id, recording) != recording:
                detail = f"{line.where}: recording {recording_id!r} is there a second time, and differs"
                self._by_id[recording_id] = _unusable("ambiguous_recording", detail)

    def get(self, recording_id: object) -> _Recording:
        """Return a recording; one that is not there has that as its problem."""
        if isinstance(recording_id, str) and recording_id in self._by_id:
            return self._by_id[recording_id]
        lost = len(self._unreadable)
        detail = f" ({lost} of its lines can't be read, the first is {self._unreadable[0]})" if lost else ""
        return _unusable("missing_recording", f"recording {recording_id!r} is not in `recordings`{detail}")


def _unusable(reason: str, detail: str) -> _Recording:
    return _Recording(0.0, (), (reason, detail))


def _recording(lhotse: Any, record: Any) -> _Recording:
    """Return what matters of a recording.

    Raises:
        _UnusableError: Lhotse can't read it.
    """
    try:
        # taken out before Lhotse sees them: it would look for the code that they name
        transforms = record.pop("transforms", None) or ()
        changing = [str(transform["name"]) for transform in transforms if not _keeps_sound(transform)]
        recording = lhotse.Recording.from_dict(record)
        sources = tuple(_source(source) for source in recording.sources)
    except _LHOTSE_RAISES as error:
        raise _UnusableError("bad_json", f"Lhotse can't read the recording: {error!r}") from error
    problem = None
    if changing:
        problem = ("unsupported_cut", f"the recording is changed as it is loaded: {', '.join(changing)}; {_SAVE}")
    return _Recording(_seconds(recording.duration, "the recording's duration"), sources, problem)


def _keeps_sound(transform: Mapping[str, Any]) -> bool:
    """Whether a transform changes nothing here, where all audio is resampled to one rate."""
    return bool(transform["name"] == "Resample" and transform["kwargs"]["target_sampling_rate"] >= SAMPLE_RATE)


def _source(source: Any) -> _Source:
    # (of audio that stands in the manifest itself nothing is kept)
    place = source.source if _is_read(source.type) else ""
    if not isinstance(place, str):
        raise TypeError(f"the source is no path or URL: {place!r}")
    return _Source(sys.intern(source.type), tuple(source.channels), place)


def _is_read(source_type: str) -> bool:
    return source_type in ("file", "url")


def _unpacked(item_type: Any, record: Any) -> Any:
    """Return Lhotse's object of a record, which is used up.

    Raises:
        _UnusableError: Lhotse can't make one.
    """
    try:
        return item_type.from_dict(record)
    except _LHOTSE_RAISES as error:
        raise _UnusableError("bad_json", f"Lhotse can't read the line as {item_type.__name__}: {error!r}") from error


def _of_cut(lhotse: Any, line: ListRow, record: dict[str, Any]) -> list[ListRow]:
    """Return a row for each supervision of a cut, or one for the cut itself.

    Raises:
        _UnusableError: it can't be read, or is no single piece of a recording.
    """
    cut_type = record.get("type")
    if cut_type not in ("MonoCut", "Cut"):  # (its name before 0.8)
        raise _UnusableError(
            "unsupported_cut",
            f"a {cut_type} is not one piece of one channel; {_SAVE}, or write its parts as mono cuts",
        )
    raw_recording = record.pop("recording", None)
    cut = _unpacked(lhotse.MonoCut, record)
    if raw_recording is None:
        raise _UnusableError("unsupported_cut", "the cut has no recording, and so no audio")
    recording = _recording(lhotse, raw_recording)
    start, end = _span(cut, 0.0)
    whole = _Piece(recording, cut.channel, (start, end), (max(start, 0.0), min(end, recording.duration_s)))
    if not cut.supervisions:
        return [_row(line, cut.id, None, cut.custom or {}, whole)]
    rows = []
    for place, supervision in enumerate(cut.supervisions, 1):
        piece = whole._replace(span=_span(supervision, start))
        only = len(cut.supervisions) == 1
        own_id = cut.id if only and math.dist(piece.span, whole.span) <= _SAME_S else supervision.id
        named = line if only else replace(line, substitute_id=f"{line.substitute_id}.{place}")
        rows.append(_row(named, own_id, supervision, {**(cut.custom or {}), **(supervision.custom or {})}, piece))
    return rows


def _of_supervision(lhotse: Any, line: ListRow, record: dict[str, Any], recordings: _Recordings) -> ListRow:
    """Return the row of a supervision; raises as `_of_cut` does."""
    supervision = _unpacked(lhotse.SupervisionSegment, record)
    recording = recordings.get(supervision.recording_id)
    channel = supervision.channel
    if isinstance(channel, list) and len(channel) == 1:
        channel = channel[0]
    piece = _Piece(recording, channel, _span(supervision, 0.0), (0.0, recording.duration_s))
    return _row(line, supervision.id, supervision, supervision.custom or {}, piece)


def _span(item: Any, offset: float) -> tuple[float, float]:
    start = offset + _seconds(item.start, f"the start of {type(item).__name__}")
    return start, start + _seconds(item.duration, f"the duration of {type(item).__name__}")


def _seconds(value: object, what: str) -> float:
    # (a whole number may be too large for a float)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise _UnusableError("bad_json", f"{what} is no number of seconds: {str(value)[:40]}")
    return float(value)


def _row(line: ListRow, own_id: object, supervision: Any, custom: Mapping[str, Any], piece: _Piece) -> ListRow:
    """Return the row of one utterance; what can't be had of its recording is its reason."""
    fields = {
        "id": own_id,
        "transcript": getattr(supervision, "text", None),
        "language": getattr(supervision, "language", None),
        "speaker_id": getattr(supervision, "speaker", None),
        "gender": getattr(supervision, "gender", None),
        "age": custom.get("age"),
        "accent": custom.get("accent", custom.get("accents")),
        "split": custom.get("split"),
    }
    values, problem = texts_of(fields)
    if values.get("language"):
        values["language"] = language_of(values["language"]) or values["language"]
    row = replace(line, values=values)
    if problem:
        row.reason, row.detail = "bad_json", problem
        return row
    try:
        values.update(_audio(piece))
    except _UnusableError as error:
        row.reason, row.detail = error.reason, error.detail
    else:
        if max(piece.bounds[0] - piece.span[0], piece.span[1] - piece.bounds[1]) > _WORDLESS_S:
            values.pop("transcript", None)
    return row


def _audio(piece: _Piece) -> dict[str, str]:
    """Return the columns `audio`, `duration`, `offset` and `channel` of a list's row.

    Raises:
        _UnusableError: there is no audio that can be read.
    """
    recording = piece.recording
    if recording.problem is not None:
        raise _UnusableError(*recording.problem)
    start, end = max(piece.span[0], piece.bounds[0]), min(piece.span[1], piece.bounds[1])
    if end <= start:
        raise _UnusableError(
            "bad_segment",
            f"seconds {piece.span[0]:g} to {piece.span[1]:g} hold nothing of the {piece.bounds[0]:g} to "
            f"{piece.bounds[1]:g} that are there",
        )
    if isinstance(piece.channel, list):
        raise _UnusableError("unsupported_cut", f"channels {piece.channel} at once; write a supervision for each")
    source = next((source for source in recording.sources if piece.channel in source.channels), None)
    if source is None:
        raise _UnusableError("missing_channel", f"no source of the recording holds channel {piece.channel!r}")
    if not _is_read(source.type):
        why = "commands are never run" if source.type == "command" else "it is no file"
        raise _UnusableError("unsupported_source", f"audio of type {source.type!r} is not read, as {why}; {_SAVE}")
    values = {"audio": source.place, "duration": str(round(end - start, 6))}  # (differences end in …0000001)
    if start > _SAME_S or recording.duration_s - end > _SAME_S:
        values["offset"] = str(round(start, 6))
    if len(source.channels) > 1:
        values["channel"] = str(source.channels.index(piece.channel))
    return values
