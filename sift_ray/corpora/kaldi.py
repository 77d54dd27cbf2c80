"""Kaldi's data folders: `wav.scp`, `text`, `utt2spk`, `segments`, and what else is known of their utterances.

Kaldi keeps these files sorted by id in the C locale, so that they are gone through side by side, a line of each at a
time. Commands in `wav.scp` are never run: where one only decodes or copies a file, that file is read itself.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from sift_ray.config import KaldiConfig
from sift_ray.corpora.listed import ListRow, list_root, listed_utterance
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tree import Tree, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import agreed_gender, damaged, language_of

_BLANKS: Final = " \t\v\f\r"  # what separates fields; other languages' spaces are text
_GAP: Final = re.compile(f"[{_BLANKS}]+")
_BY_UTTERANCE: Final[tuple[str, ...]] = ("text", "utt2spk", "utt2lang", "utt2dur")
_MOST_OVERSHOOT_S: Final = 0.5  # Kaldi's extract-segments cuts a segment that ends by no more behind its recording
_SHELL_SIGN: Final = re.compile(r"[\\'\"();<>|&]")
_ARCHIVE: Final = re.compile(r".+:\d+")
# options with which flac writes the file's own samples to its output as WAV
_FLAC_OPTION: Final = re.compile(
    "-[cdsfFw]+|--(stdout|decode|silent|totally-silent|force|decode-through-errors|warnings-as-errors)"
)


class _UnusableError(Exception):
    """An utterance can't be used: a reason, and a detail without the place."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class _Entry(NamedTuple):
    """A line: its first word, the rest, and where it stands."""

    key: str
    value: str
    where: str


class _Recordings(NamedTuple):
    """What is known of recordings by id; None where a file says two things of one."""

    audio: Mapping[str, str | None]
    durations: Mapping[str, str | None]


def read_kaldi(config: KaldiConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances in the order of their ids; those in a language that the config leaves out are skipped.

    There is one for each line of `segments`, or without it of `wav.scp`. An id that `text` or `utt2spk` names, but
    not that file, is a rejected row. Texts are taken as they are, upper case too.

    Raises:
        CorpusError: there is no `wav.scp`; no language is told; a file is not sorted or can't be read.
    """
    folder = reading.tree(config.path, "a Kaldi corpus")
    root = list_root(config, folder, reading)
    there = set(folder.files())
    if "wav.scp" not in there:
        raise CorpusError(f"{folder.uri}: no file wav.scp; give the data folder that holds it, like data/train")
    if "utt2lang" not in there and config.language is None:
        raise CorpusError(f"{folder.uri}: no file utt2lang; set `language` of the corpus")
    # Speakers and, beside segments, recordings come in an order of their own: they are held in memory, being far
    # fewer than utterances.
    genders = _genders(folder) if "spk2gender" in there else {}
    recordings = None
    driving, beside = "wav.scp", (*_BY_UTTERANCE, "reco2dur")
    if "segments" in there:
        driving, beside = "segments", _BY_UTTERANCE
        durations = _values(folder, "reco2dur") if "reco2dur" in there else {}
        recordings = _Recordings(_values(folder, "wav.scp"), durations)
    last = ""
    for entries in _joined(folder, [driving, *(name for name in beside if name in there)]):
        named = next((entries[name] for name in (driving, "text", "utt2spk") if name in entries), None)
        if named is None:
            continue  # a language or a duration makes no utterance
        row = ListRow(named.where, "", _about(entries, genders))
        try:
            row.values = {**row.values, **_audio(entries, driving, recordings, last)}
        except _UnusableError as error:
            row.reason, row.detail = error.reason, error.detail
        if damaged(named.key):
            row.reason, row.detail = "not_utf8", "the id is not UTF-8"
        last = named.key
        utterance = listed_utterance(config, row, root, reading)
        if utterance is not None:
            yield utterance


def _entries(folder: Tree, name: str) -> Iterator[_Entry]:
    for number, line in text_lines(folder, name):
        key, *value = _GAP.split(line.strip(_BLANKS), maxsplit=1)
        if key:
            yield _Entry(key, value[0] if value else "", f"{folder.uri}/{name}:{number}")


def _sorted_entries(folder: Tree, name: str) -> Iterator[tuple[bytes, _Entry]]:
    """Yield a file's entries with what they are sorted by.

    Raises:
        CorpusError: they are not sorted.
    """
    last = b""
    for entry in _entries(folder, name):
        order = entry.key.encode("utf-8", "surrogateescape")
        if order < last:
            raise CorpusError(
                f"{entry.where}: {entry.key!r} comes after {last.decode(errors='replace')!r}: the file is not sorted "
                f"in the C locale; run Kaldi's utils/fix_data_dir.sh {folder.uri}"
            )
        last = order
        yield order, entry


def _joined(folder: Tree, names: list[str]) -> Iterator[dict[str, _Entry]]:
    """Yield what sorted files say of one id after the other, by the file's name.

    An id that one of them holds again comes again, with what is left of it in the others.
    """
    streams = {name: _sorted_entries(folder, name) for name in names}
    heads = {name: head for name, stream in streams.items() if (head := next(stream, None)) is not None}
    while heads:
        first = min(order for order, _ in heads.values())
        here = {name: entry for name, (order, entry) in heads.items() if order == first}
        yield here
        for name in here:
            head = next(streams[name], None)
            if head is None:
                del heads[name]
            else:
                heads[name] = head


def _values(folder: Tree, name: str) -> dict[str, str | None]:
    """Read a whole file; an id of which it says two things has None."""
    values: dict[str, str | None] = {}
    for entry in _entries(folder, name):
        if values.setdefault(entry.key, entry.value) != entry.value:
            values[entry.key] = None
    return values


def _genders(folder: Tree) -> dict[str, str]:
    words: dict[str, str] = {}
    for entry in _entries(folder, "spk2gender"):
        word = entry.value.replace("\0", "\ufffd")  # (damage here is no reason to reject all that a speaker says)
        words[entry.key] = agreed_gender(words.get(entry.key, word), word)
    return words


def _about(entries: Mapping[str, _Entry], genders: Mapping[str, str]) -> dict[str, str]:
    """Return all that is told of an utterance but its audio, by the columns of a list."""
    told = {name: entry.value for name, entry in entries.items()}
    speaker = told.get("utt2spk", "")
    language = told.get("utt2lang", "")
    return {
        "id": next(iter(entries.values())).key,
        "transcript": told.get("text", ""),
        "language": language_of(language) or language,
        "speaker_id": speaker,
        "gender": genders.get(speaker, ""),
    }


def _audio(entries: Mapping[str, _Entry], driving: str, recordings: _Recordings | None, last: str) -> dict[str, str]:
    """Return the columns `audio`, `duration`, `offset` and `channel` of a list's row.

    Raises:
        _UnusableError: there is none that can be read.
    """
    if driving not in entries:
        entry = next(iter(entries.values()))
        if entry.key == last:
            raise _UnusableError("duplicate_id", "an earlier line has the same id")
        raise _UnusableError("missing_audio", f"no line of {driving} has the id {entry.key!r}")
    told = entries[driving].value
    if recordings is not None:
        return _segment(told, recordings, entries)
    durations = (entries[name].value for name in ("utt2dur", "reco2dur") if name in entries)
    return {"audio": _file(told), **_duration(next(durations, None))}


def _segment(told: str, recordings: _Recordings, entries: Mapping[str, _Entry]) -> dict[str, str]:
    """Read `<recording> <start> <end> [<channel>]`; an end of -1 is the recording's end."""
    fields = _GAP.split(told)
    start, end = (_number(field) for field in fields[1:3]) if len(fields) in (3, 4) else (None, None)
    to_the_end = end == -1
    channel = fields[3:]
    channel_told = all(text.isascii() and text.isdigit() for text in channel)
    if start is None or end is None or start < 0 or not (to_the_end or end > start) or not channel_told:
        raise _UnusableError("bad_segment", f"this is no <recording> <start> <end> with an end after the start: {told}")
    recording = fields[0]
    if recording not in recordings.audio:
        raise _UnusableError("missing_audio", f"wav.scp has no recording {recording!r}")
    audio = recordings.audio[recording]
    if audio is None:
        raise _UnusableError("ambiguous_recording", f"wav.scp names different audio for recording {recording!r}")
    values = {"audio": _file(audio)}
    if channel:
        values["channel"] = channel[0]
    length = _number(recordings.durations.get(recording))
    if length is not None:
        if start >= length or end > length + _MOST_OVERSHOOT_S:
            raise _UnusableError("bad_segment", f"reco2dur says that {recording} is {length:g} s long: {told}")
        end = length if to_the_end else min(end, length)
    if start > 0 or not to_the_end:
        values["offset"] = str(start)
    if end > 0:
        values["duration"] = str(round(end - start, 6))  # (differences end in …0000001)
    elif "utt2dur" in entries:
        values.update(_duration(entries["utt2dur"].value))
    return values


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _duration(text: str | None) -> dict[str, str]:
    # what is no duration is left to the audio's header, which knows better
    return {"duration": text} if text is not None and (_number(text) or 0.0) > 0 else {}


@lru_cache(maxsize=64)  # (segments of one recording come one after the other)
def _file(entry: str) -> str:
    """Return the audio file of a `wav.scp` entry.

    Raises:
        _UnusableError: it is a place in an archive, or a command that does more than to decode or copy one file.
    """
    if entry.endswith("|"):
        return _piped_file(entry[:-1])
    if entry == "-" or _ARCHIVE.fullmatch(entry):
        raise _UnusableError(
            "unsupported_source", f"{entry}: archives are not read; write each recording to a file, with wav-copy"
        )
    return entry


def _piped_file(command: str) -> str:
    words = command.split()
    if _SHELL_SIGN.search(command):  # (taking it apart as a shell does is slow)
        lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = ""
        try:
            words = list(lexer)
        except ValueError:  # a quote without its end
            del words[1:]
    program = PurePosixPath(words[0]).name if words else ""
    options = [word for word in words[1:] if word.startswith("-")]
    files = [word for word in words[1:] if not word.startswith("-")]
    if len(files) == 1 and ((program == "cat" and not options) or (program == "flac" and _only_decodes(options))):
        return files[0]
    raise _UnusableError(
        "piped_command",
        f"{program!r}: commands are never run; write their audio to files and name these in wav.scp",
    )


def _only_decodes(options: list[str]) -> bool:
    decodes = any(option == "--decode" or re.fullmatch("-[a-zA-Z]*d[a-zA-Z]*", option) for option in options)
    return decodes and all(_FLAC_OPTION.fullmatch(option) for option in options)
