"""WebDataset: tar shards in which the files of a sample stand one after the other and share a stem.

`a.flac`, and beside it `a.json` (an object) or `a.txt` (the transcript). The stem is the name up to the first dot of
its last part; other files of a sample are ignored.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any, BinaryIO, Final

from sift_ray.config import WebDatasetConfig
from sift_ray.corpora.header import HeaderError, header_duration
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.shard_parts import FilePart
from sift_ray.corpora.storage_errors import AudioUnavailableError, explained, raise_if_storage_failed
from sift_ray.corpora.tar_index import TarError, TarMember, open_shard, tar_members
from sift_ray.corpora.tree import OutsideRootError, Tree, open_path
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import (
    age_of,
    damaged,
    gender_of,
    gender_withheld,
    known,
    printable,
    split_by_speaker,
    split_of,
    text_of,
)
from sift_ray.schema import LANGUAGES

_LOG: Final = logging.getLogger(__name__)
_AUDIO: Final = frozenset(("flac", "wav", "mp3", "ogg", "opus", "m4a", "aac", "aif", "aiff", "oga", "webm"))
_SIDECARS: Final = frozenset(("json", "txt"))
_SHARDS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MOST_SIDECAR: Final = 1 << 20
_MOST_SIDECARS: Final = 16
_HEADER_READ: Final = 1 << 16
_UNDETERMINED: Final = "und"  # ISO 639: the sample does not say
_LANGUAGE_CODE: Final = re.compile(r"[a-z]{2,3}")
# the fields of a sample but for its duration, and what its JSON may call them; the first that is not empty counts
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "utterance_id"),
    "transcript": ("transcript", "text", "sentence"),
    "language": ("language", "lang", "locale"),
    "speaker_id": ("speaker_id", "speaker", "client_id"),
    "gender": ("gender",),
    "age": ("age",),
    "accent": ("accent",),
    "split": ("split",),
}


@dataclass(slots=True)
class _Sample:
    """The members of one stem.

    Attributes:
        stem: What their names share, with the folder.
        audio: The first member that is audio, and its extension.
        audios: How many there are.
        sidecars: Extension → content of JSON and text; None where it is too large.
        cut: What is wrong, where the shard ends within the sample.
    """

    stem: str
    audio: TarMember | None = None
    extension: str = ""
    audios: int = 0
    sidecars: dict[str, bytes | None] = field(default_factory=dict)
    cut: str | None = None

    def sidecar(self, kind: str, default: bytes) -> bytes | None:
        """Return what stands beside the audio as `json` or `txt`, or the default; None if it is too large.

        Where a name holds more dots, the sidecar named as the audio goes before the one named as the stem.
        """
        beside = f"{self.extension.rpartition('.')[0]}.{kind}".lstrip(".")
        return self.sidecars.get(beside if beside in self.sidecars else kind, default)


def read_webdataset(config: WebDatasetConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield one utterance for each sample, shard by shard in the order of their names.

    A shard that can't be read, or from some place on can't, yields one rejected row for what is lost.

    Raises:
        CorpusError: there is no shard, or the store failed.
    """
    folder, name = open_path(config.path, reading.connection, "a folder of tar shards")
    shards = [name] if name else folder.walk(_SHARDS)
    if not shards:
        raise CorpusError(f"{folder.uri}: no .tar in it or below; give the folder that holds the shards")
    for path in shards:
        yield from _Shard(config, reading, folder, path).utterances()


class _Shard:
    def __init__(self, config: WebDatasetConfig, reading: Reading, tree: Tree, path: str) -> None:
        self._config, self._reading = config, reading
        self._tree, self._path = tree, path
        self._where = f"{tree.uri}/{path}"
        self._split = config.split or _split_of_name(tree.name, path)

    def utterances(self) -> Iterator[Utterance]:
        """Yield the utterances, and a rejected row where the shard can't be read."""
        try:
            with open_shard(self._tree, self._path, self._reading.threads) as file:
                for sample in self._samples(file):
                    utterance = self._utterance(sample, file)
                    if utterance is not None:
                        yield utterance
        except OutsideRootError as error:
            yield self._unreadable("path_outside_root", f"{self._where}: {error}; put the file itself there")
        except AudioUnavailableError as error:
            raise_if_storage_failed(self._where, error)
            self._warn(error)
            yield self._unreadable(error.reason, error.detail)

    def _samples(self, file: BinaryIO) -> Iterator[_Sample]:
        """Yield the samples; the one that the shard's end cuts off is marked."""
        sample: _Sample | None = None
        end: TarError | None = None
        try:
            for member in tar_members(file, self._where):
                stem, extension = _parts(member.name)
                if not member.regular or not stem:
                    self._skip("links, devices and files without a stem or an extension, in tars")
                    continue
                if sample is not None and stem != sample.stem:
                    yield sample
                    sample = None
                sample = sample or _Sample(stem)
                self._take(sample, member, extension, file)
        except TarError as error:
            end = error
        cut_stem = _parts(end.member)[0] if end is not None and end.member is not None else ""
        if cut_stem and (sample is None or cut_stem != sample.stem):
            if sample is not None:
                yield sample
            sample = _Sample(cut_stem)
        if sample is not None:
            # (audio alone at the end of what could be read may have had its text behind it)
            if end is not None and (cut_stem or not sample.sidecars):
                sample.cut = end.detail
            yield sample
        if end is not None and not cut_stem:
            raise end
        if end is not None:
            self._warn(end)

    def _take(self, sample: _Sample, member: TarMember, extension: str, file: BinaryIO) -> None:
        kind = extension.rpartition(".")[2]
        if kind in _AUDIO:
            sample.audios += 1
            if sample.audio is None:
                sample.audio, sample.extension = member, extension
        elif kind in _SIDECARS and len(sample.sidecars) < _MOST_SIDECARS:
            content = None
            if member.size <= _MOST_SIDECAR:
                with explained(self._where):
                    file.seek(member.start)
                    content = file.read(member.size)
            sample.sidecars[extension] = content

    def _utterance(self, sample: _Sample, file: BinaryIO) -> Utterance | None:
        """Return a sample's utterance; None for one that was never asked for."""
        if not (sample.audios or sample.sidecars or sample.cut):
            self._skip("files of tars that are neither audio nor its text")
            return None
        json_content, text_content = sample.sidecar("json", b"{}"), sample.sidecar("txt", b"")
        values, duration, problem = _values(json_content)
        said = values.get("language", "")
        language = re.split("[-_]", said.lower())[0] if said else self._config.language or ""
        if problem is None and self._passed_over(language):
            return None
        utterance_id, speaker_id = values.get("id") or self._name_of(sample), known(values.get("speaker_id"))
        split = split_of(values["split"]) if "split" in values else self._split
        text = values.get("transcript") or (text_content or b"").decode("utf-8-sig", "surrogateescape")
        utterance = Utterance(
            utterance_id=utterance_id,
            corpus=self._config.name,
            data_source=f"{self._config.name}_{language or _UNDETERMINED}",
            language=language or _UNDETERMINED,
            split=split or split_by_speaker(speaker_id, utterance_id),
            speaker_id=speaker_id,
            gender=gender_of(values.get("gender")),
            gender_withheld=gender_withheld(values.get("gender")),
            age=age_of(values.get("age")),
            accent=text_of(known(values.get("accent"))),
            transcript=text_of(text),
            duration_s=duration,
            license=self._config.license,
            where=f"{self._where}: {printable(sample.stem)}",
        )
        where = utterance.where
        if sample.cut is not None:
            utterance.reject("truncated_shard", sample.cut)
        if problem is not None:
            utterance.reject(problem[0], f"{where}: {problem[1]}")
        if text_content is None:
            utterance.reject("bad_txt", f"{where}: its .txt has more than {_MOST_SIDECAR:,} bytes")
        if language not in LANGUAGES:
            hint = "" if said else "; no JSON says it, and neither does `language` in the config"
            utterance.reject("unknown_language", f"{where}: language {said!r} is none of {', '.join(LANGUAGES)}{hint}")
        if split is None and "split" in values:
            utterance.reject("unknown_split", f"{where}: split {values['split']!r} is none of train, dev, test")
        self._place(utterance, sample, file)
        return utterance

    def _passed_over(self, language: str) -> bool:
        if language in LANGUAGES:
            if language in (self._config.languages or LANGUAGES):
                return False
            self._skip(f"language {language} is not asked for")
            return True
        if _LANGUAGE_CODE.fullmatch(language):
            self._skip(f"language {language} is none of the five")
            return True
        return False

    def _place(self, utterance: Utterance, sample: _Sample, file: BinaryIO) -> None:
        """Set the address and the duration, or reject."""
        where, audio = utterance.where, sample.audio
        if audio is None:
            utterance.reject(
                "missing_audio", f"{where}: no audio stands beside its text; a sample's files are adjacent"
            )
        elif sample.audios > 1:
            utterance.reject(
                "ambiguous_sample",
                f"{where}: {sample.audios} audio files share this stem, {printable(audio.name)} is the first; a stem "
                "ends at the first dot",
            )
        elif damaged(audio.name):
            utterance.reject("not_utf8", f"{where}: the audio's name is not UTF-8")
        else:
            place_audio(utterance, self._tree, self._path, member=audio.name, bytes=(audio.start, audio.size))
            if not audio.size:
                utterance.reject("empty_audio", f"{where}: {audio.name}: no bytes")
            elif utterance.reject_reason is None and utterance.duration_s is None and self._reading.read_headers:
                self._read_header(utterance, audio, file)

    def _read_header(self, utterance: Utterance, audio: TarMember, file: BinaryIO) -> None:
        part = FilePart(file, audio.start, audio.size)
        name = f"{self._where}: {audio.name}"
        unreadable: HeaderError | AudioUnavailableError | None = None
        try:
            utterance.duration_s = header_duration(BufferedReader(part, _HEADER_READ), name)
        except HeaderError as error:
            unreadable = error
        try:
            part.check(name)
        except AudioUnavailableError as error:
            raise_if_storage_failed(self._where, error)
            unreadable = error
        if unreadable is not None:
            utterance.duration_s = None
            utterance.reject(unreadable.reason, unreadable.detail)

    def _unreadable(self, reason: str, detail: str) -> Utterance:
        utterance_id = printable(f"{self._config.name}#{self._path.replace('/', '_')}")
        language = self._config.language or _UNDETERMINED
        utterance = Utterance(
            utterance_id=utterance_id,
            corpus=self._config.name,
            data_source=f"{self._config.name}_{language}",
            language=language,
            split=self._split or split_by_speaker(None, utterance_id),
            license=self._config.license,
            where=self._where,
        )
        utterance.reject(reason, detail)
        return utterance

    def _name_of(self, sample: _Sample) -> str:
        """Return the id of a sample that has none of its own."""
        stem = printable(sample.stem)
        if self._config.ids == "name":
            return stem.rpartition("/")[2]
        return f"{self._path.removesuffix('.tar')}/{stem}".replace("/", "_")

    def _warn(self, error: AudioUnavailableError) -> None:
        _LOG.warning("%s (the shard's samples from there on are lost)", error.detail)

    def _skip(self, why: str) -> None:
        self._reading.skip(self._config.name, why)


def _parts(name: str) -> tuple[str, str]:
    """Return (stem with the folder, extension in lower case) of a member's name; both empty for one without."""
    base = name.rpartition("/")[2]
    stem, _, extension = base.partition(".")
    return (name[: -len(extension) - 1], extension.lower()) if stem and extension else ("", "")


def _values(content: bytes | None) -> tuple[dict[str, str], float | None, tuple[str, str] | None]:
    """Return (field → text, seconds, (reason, detail) of what is wrong) of a sample's JSON; None is too large a one."""
    if content is None:
        return {}, None, ("bad_json", f"its .json has more than {_MOST_SIDECAR:,} bytes")
    text = content.decode("utf-8-sig", "surrogateescape")
    try:
        record = json.loads(printable(text))
    except (ValueError, RecursionError) as error:
        return {}, None, ("bad_json", f"its .json is no JSON: {error}")
    if not isinstance(record, dict):
        return {}, None, ("bad_json", "its .json is no object")
    problem = ("not_utf8", "its .json is not UTF-8") if damaged(text) else None
    values = {}
    for name, keys in _KEYS.items():
        key = next((key for key in keys if record.get(key) not in (None, "")), keys[0])
        value = record.get(key)
        if isinstance(value, float) and math.isnan(value):
            continue  # how tables that become JSON write an empty cell
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            # (a lone surrogate may stand in JSON as an escape; that of a text is found by the text's check)
            values[name] = str(value) if name == "transcript" else printable(str(value).strip())
        elif value is not None:
            problem = problem or ("bad_json", f"its .json: {key} is neither text nor a number")
    return values, _seconds(record.get("duration")), problem


def _seconds(value: Any) -> float | None:
    """Return a number of seconds, None for anything that can be none: then the audio's header tells."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _split_of_name(root: str, path: str) -> str | None:
    """Return the split that a shard's name or a folder's tells, the nearest first; None where none does.

    A word of the name is enough, but for the corpus's own folder, which must be named as a split is.
    """
    for part in reversed(path.split("/")):
        for word in re.split("[^a-z]+", part.lower()):
            if (split := split_of(word)) is not None:
                return split
    return split_of(root)
