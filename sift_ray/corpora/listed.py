"""What the readers of lists share: how a row becomes an utterance, and where audio may lie that a row names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

from sift_ray.corpora.audio_uri import LONGEST_S, AudioUri, parse_audio_uri
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.storage_errors import AudioUnavailableError, raise_if_storage_failed
from sift_ray.corpora.tar_index import TarIndexes
from sift_ray.corpora.tree import Tree
from sift_ray.corpora.utterance import Utterance
from sift_ray.corpora.values import (
    age_of,
    damaged,
    gender_of,
    gender_withheld,
    is_language_code,
    known,
    language_of,
    printable,
    split_by_speaker,
    split_of,
    text_of,
)
from sift_ray.corpora.web import may_fetch
from sift_ray.schema import LANGUAGES

COLUMNS: Final = (
    *("id", "audio", "transcript", "language"),
    *("speaker_id", "gender", "age", "accent", "split", "duration", "offset", "channel"),
)
"""All that a row may tell; other columns are ignored."""

_NUMBERS: Final = ("duration", "offset", "channel")
_UNDETERMINED: Final = "und"  # ISO 639: the row does not say
# what makes a # the start of a part; every other # belongs to the file's name
_PART: Final = re.compile(r"#(member|bytes|row|column|t|channel)=[^#]*$|%23[^#]*#$")
_PART_FIELDS: Final = tuple(field.name for field in fields(AudioUri) if field.name != "file")


class ListConfig(Protocol):
    """The keys of a list's config."""

    @property
    def name(self) -> str:
        """Name of the corpus."""

    @property
    def root(self) -> str | None:
        """Folder that audio must lie under."""

    @property
    def languages(self) -> tuple[str, ...] | None:
        """Languages that are asked for."""

    @property
    def language(self) -> str | None:
        """Language of rows that do not say."""

    @property
    def split(self) -> str | None:
        """Split of rows that do not say."""

    @property
    def license(self) -> str | None:
        """License of all rows."""

    @property
    def https_hosts(self) -> tuple[str, ...]:
        """Hosts that `https://` may name."""


@dataclass(slots=True)
class ListRow:
    """One row of a list.

    Attributes:
        where: The file and the line or row, for details.
        substitute_id: The utterance's id where the row has none.
        values: Text by the column's name, of `COLUMNS`.
        reason: Why the row can't be used (a slug), or None.
        detail: The same for a person, without the place.
        audio_uri: Address of audio that lies in the list's own file; `audio` is then not asked for.
        duration_s: Seconds of that audio, from its header.
    """

    where: str
    substitute_id: str
    values: Mapping[str, str]
    reason: str | None = None
    detail: str = ""
    audio_uri: str | None = None
    duration_s: float | None = None


class Numbers(NamedTuple):
    """What a row's columns `duration`, `offset` and `channel` say; None where they are empty."""

    duration: float | None
    offset: float | None
    channel: int | None

    @property
    def part(self) -> dict[str, Any]:
        """The fields of `AudioUri` that they stand for: with an offset the clip is a span of its file."""
        end = None if self.offset is None or self.duration is None else round(self.offset + self.duration, 6)
        return {"start_s": self.offset, "end_s": end, "channel": self.channel}


def numbers_of(values: Mapping[str, str]) -> Numbers:
    """Read a row's numbers.

    Raises:
        ValueError: a number is none, or a duration is not above 0, an offset is negative, a channel is not whole.
    """
    duration, offset, channel = (_number(values, name) for name in _NUMBERS)
    if duration is not None and duration <= 0:
        raise ValueError(f"duration {values['duration']} is not above 0 seconds")
    if duration is not None and offset is not None and round(offset + duration, 6) <= offset:
        raise ValueError(f"duration {values['duration']} is too short to tell from offset {values['offset']}")
    if channel is not None and not channel.is_integer():
        raise ValueError(f"channel {values['channel']} is not whole; channels are counted from 0")
    return Numbers(duration, offset, None if channel is None else int(channel))


def _number(values: Mapping[str, str], name: str) -> float | None:
    text = values.get(name, "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < LONGEST_S:
        raise ValueError(f"{name} {text!r} is no number from 0 to {LONGEST_S:g}")
    return number


def texts_of(record: Mapping[str, Any], columns: Iterable[str] = COLUMNS) -> tuple[dict[str, str], str]:
    """Return a record's values as text by column, and what is wrong with one of them (else empty)."""
    values, problem = {}, ""
    for column in columns:
        value = record.get(column)
        if isinstance(value, str):
            values[column] = value
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            # (NaN is how tables that become JSON write an empty cell; an offset that is none is no whole file)
            if column in _NUMBERS or isinstance(value, int) or not math.isnan(value):
                values[column] = str(value)
        elif value is not None:
            problem = f"{column} is neither text nor a number"
    return values, problem


def json_records(path: str, corpus: str, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[ListRow, dict[str, Any]]]:
    """Yield (row without values yet, record) of each line of a file of JSON objects.

    The row has a reason where its line is no JSON object (`bad_json`), not UTF-8 or holds a NUL byte.
    """
    for number, line in lines:
        if not line.strip():
            continue
        row = ListRow(f"{path}:{number}", f"{corpus}#line{number}", {})
        record: Any = {}
        try:
            # (strict would give up a row for a tab in its text)
            record = json.loads(printable(line), strict=False)
        except (ValueError, RecursionError) as error:  # (ValueError: also for a number of thousands of digits)
            row.reason, row.detail = "bad_json", f"not JSON: {error}"
        if not isinstance(record, dict):
            record = {}
            row.reason, row.detail = "bad_json", "not a JSON object"
        if "\0" in line:
            row.reason, row.detail = "nul_byte", "the line holds a NUL byte; the file may be damaged there"
        elif row.reason is None and damaged(line):
            row.reason, row.detail = "not_utf8", "the line is not UTF-8"
        yield row, record


def missing_column(where: str, name: str, there: Iterable[str]) -> str:
    """Say that a list has no column `name`, and which it has."""
    hint = ", or set `language` of the corpus" if name == "language" else ""
    return f"{where}: no column {name!r}; there are {', '.join(there)}; rename one{hint}"


def list_root(config: ListConfig, folder: Tree, reading: Reading) -> Tree:
    """Return the folder that audio must lie under: the config's `root`, or the list's own folder.

    Raises:
        CorpusError: it is not there.
    """
    return folder if config.root is None else reading.tree(config.root, "audio")


def listed_utterance(
    config: ListConfig, row: ListRow, root: Tree, reading: Reading, tars: TarIndexes | None = None
) -> Utterance | None:
    """Return the utterance of a row, rejected where it can't be used.

    None stands for a row in a language that the config leaves out, which is counted. `tars` as in `listed_audio`.
    """
    values = {name: printable(value).strip() for name, value in row.values.items()}
    with_nul = "\0" in "".join(values.values())
    if with_nul:
        values = {name: value.replace("\0", "\ufffd") for name, value in values.items()}
    said = values.get("language", "").lower()
    language = language_of(said) or said or config.language or _UNDETERMINED
    if row.reason is None and is_language_code(language) and language not in (config.languages or LANGUAGES):
        why = "is not asked for" if language in LANGUAGES else f"is none of {', '.join(LANGUAGES)}"
        reading.skip(config.name, f"language {language} {why}")
        return None
    speaker_id = known(values.get("speaker_id"))
    utterance_id = values.get("id") or row.substitute_id
    split = split_of(values["split"]) if values.get("split") else config.split
    utterance = Utterance(
        utterance_id=utterance_id,
        corpus=config.name,
        data_source=f"{config.name}_{language}",
        language=language,
        split=split or split_by_speaker(speaker_id or _recording_of(values), utterance_id),
        speaker_id=speaker_id,
        gender=gender_of(values.get("gender")),
        gender_withheld=gender_withheld(values.get("gender")),
        age=age_of(values.get("age")),
        accent=text_of(known(values.get("accent"))),
        transcript=text_of(row.values.get("transcript")),
        license=config.license,
        where=row.where,
    )
    if with_nul:
        utterance.reject("nul_byte", f"{row.where}: the row holds a NUL byte; the file may be damaged there")
    elif (problem := _problem(row, values, language)) is not None:
        utterance.reject(problem[0], f"{row.where}: {problem[1]}")
    try:
        numbers = numbers_of(values)
    except ValueError as error:
        utterance.reject("bad_number", f"{row.where}: {error}")
        numbers = Numbers(None, None, None)
    utterance.duration_s = numbers.duration
    if row.audio_uri is None:
        audio = row.values.get("audio", "").strip()
        listed_audio(utterance, root, audio, config.https_hosts, tars, **numbers.part)
    else:
        _embedded_audio(utterance, row.audio_uri, row.duration_s, numbers)
    return utterance


def _recording_of(values: Mapping[str, str]) -> str | None:
    """Return the file that a span is of: spans of unknown speakers are of one voice, and stay in one split."""
    file, _, part = values.get("audio", "").partition("#t=")
    return f"recording:{file}" if part or values.get("offset") else None


def _problem(row: ListRow, values: Mapping[str, str], language: str) -> tuple[str, str] | None:
    if row.reason is not None:
        return row.reason, row.detail
    if not values.get("id"):
        return "empty_id", "the column id is empty"
    if language not in LANGUAGES:
        said = values.get("language")
        named = f"language {said!r} is none" if said else "no language is named, nor set by the config: it is one"
        return "unknown_language", f"{named} of {', '.join(LANGUAGES)}"
    if values.get("split") and split_of(values["split"]) is None:
        return "unknown_split", f"split {values['split']!r} is none of train, dev, test"
    return None


def _embedded_audio(utterance: Utterance, audio_uri: str, header_s: float | None, numbers: Numbers) -> None:
    uri = parse_audio_uri(audio_uri)
    utterance.audio_uri = str(
        replace(uri, **{name: value for name, value in numbers.part.items() if value is not None})
    )
    if header_s is None or numbers.duration is not None:
        return
    left = header_s - (numbers.offset or 0.0)
    if left > 0:
        utterance.duration_s = left
    else:
        utterance.reject("empty_audio", f"{utterance.where}: the audio ends at {header_s:.3f} s, before its offset")


def listed_audio(
    utterance: Utterance,
    root: Tree,
    audio: str,
    https_hosts: tuple[str, ...],
    tars: TarIndexes | None = None,
    **part: Any,
) -> None:
    """Set the address of audio as a row names it, or reject the row.

    Args:
        utterance: Changed in place.
        root: The folder that it must lie under.
        audio: A path, absolute or relative to the root, or a URL; it may carry a part (`#t=1.5,3`, `#member=…`). A
            `#` with anything else behind it belongs to the file's name.
        https_hosts: Hosts that `https://` may name.
        tars: Finds members of tars that are named without the place of their bytes; None: such rows are rejected.
        **part: Fields of `AudioUri` that the row tells beside the path (start_s, end_s, channel); None is not told.
    """
    where = utterance.where
    if not audio:
        utterance.reject("missing_audio", f"{where}: no audio is named")
        return
    if damaged(audio):
        utterance.reject("not_utf8", f"{where}: the audio's name is not UTF-8")
        return
    try:
        address = _address(audio, {name: value for name, value in part.items() if value is not None})
    except ValueError as error:
        utterance.reject("bad_address", f"{where}: {error}")
        return
    if address.scheme in ("http", "https"):
        if not may_fetch(address.file, https_hosts):
            utterance.reject(
                "web_refused",
                f"{where}: {address.file}: audio on the web is read over https from hosts that the config "
                "names (https_hosts), and from no others",
            )
        elif address.member is not None or address.bytes is not None or address.row is not None:
            utterance.reject("web_refused", f"{where}: {audio}: shards are not read over the web; copy them first")
        else:
            utterance.audio_uri = str(address)
    elif address.scheme not in ("", "s3"):
        utterance.reject("path_outside_root", f"{where}: {audio}: nothing is read from {address.scheme}://")
    elif address.scheme == "s3" and not root.uri.startswith("s3://"):
        utterance.reject(
            "path_outside_root",
            f"{where}: {audio}: audio must lie under {root.uri}; set `root` to its place in the bucket",
        )
    else:
        place_audio(utterance, root, address.file, **{name: getattr(address, name) for name in _PART_FIELDS})
        if address.member is not None and address.bytes is None and utterance.reject_reason is None:
            _find_member(utterance, root, address, tars)


def _find_member(utterance: Utterance, root: Tree, address: AudioUri, tars: TarIndexes | None) -> None:
    """Add to the utterance's address where its member lies in the tar, or reject it."""
    assert address.member is not None
    assert utterance.audio_uri is not None
    where = utterance.where
    if tars is None:
        how = f"say where its bytes are: #member={address.member}&bytes=<start>,<size>"
        utterance.reject("missing_audio", f"{where}: {address}: members of tars are not looked for here; {how}")
        return
    try:
        place = tars.member(root, address.file, address.member)
    except AudioUnavailableError as error:
        raise_if_storage_failed(where, error)
        utterance.reject(error.reason, f"{where}: {error.detail}")
        return
    if place is None:
        utterance.reject("missing_audio", f"{where}: {address.file} has no member {address.member!r}")
    else:
        utterance.audio_uri = str(replace(parse_audio_uri(utterance.audio_uri), bytes=place))


def _address(audio: str, part: dict[str, Any]) -> AudioUri:
    """Return the address that a row's text and its columns tell together.

    Raises:
        ValueError: the text's part can't be read, or the columns tell what it tells.
    """
    address = parse_audio_uri(audio) if _PART.search(audio) else AudioUri(audio)
    spans = {"start_s", "end_s"} & part.keys() and (address.start_s, address.end_s) != (None, None)
    if spans or ("channel" in part and address.channel is not None):
        raise ValueError(f"{audio}: the row's columns tell a span or channel too; tell it once")
    return replace(address, **part) if part else address
