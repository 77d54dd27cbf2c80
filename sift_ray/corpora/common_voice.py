"""Common Voice 5 to 2x as published: `cv-corpus-<version>/<lang>/{clips/, train.tsv, dev.tsv, test.tsv, …}`.

Read are train, dev and test, and on demand what `validated.tsv` has beyond them. `other.tsv` and `invalidated.tsv`
are never read. Columns over the releases: `client_id path sentence up_votes down_votes age gender locale segment` in
all, `accent` to 7 and `accents` from 8, `variant` from 13, `sentence_id` and `sentence_domain` from 17.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sift_ray.config import CommonVoiceConfig
from sift_ray.corpora.durations import DurationTable
from sift_ray.corpora.name_set import NameSet
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.tree import Tree, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import age_of, gender_of, gender_withheld, printable, text_of
from sift_ray.schema import LANGUAGES, SPLITS

LICENSE: Final = "CC0-1.0"
_COLUMNS: Final = (
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age", "gender",
    "accent", "accents", "variant", "locale", "segment",
)  # fmt: skip
_VALIDATED: Final = "validated.tsv"
_DURATIONS: Final = "clip_durations.tsv"  # from 16.1
_MILLISECONDS: Final = re.compile(r"[0-9]{1,9}")
_TIMES: Final = "times.txt"  # 14 to 16
# lines are `cv-corpus-15.0-2023-09-08/de/clips/common_voice_de_1.mp3` = 4320, with the backticks or without; or a
# name, a tab and the number
_TIMES_LINE: Final = re.compile(r"([^/\s`]+)`?\s*[=\t]\s*([0-9]{1,9})\s*$")


def read_common_voice(config: CommonVoiceConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances of train, dev and test, language by language, in the files' order.

    With `validated`, the clips of `validated.tsv` that are in none of the three follow as train. A folder without
    tables but with Parquet below is read as the hub's.

    Raises:
        CorpusError: no folder of a wanted language, no split's table, or a table without a needed column.
    """
    root = reading.tree(config.path, "Common Voice")
    folders = _language_folders(root)
    if not any(_has_tables(folder) for folder in folders.values()) and (shards := root.walk((".parquet",))):
        from sift_ray.corpora.common_voice_hub import read_common_voice_hub

        yield from read_common_voice_hub(config, reading, root, shards)
        return
    for wanted in config.languages or ():
        if wanted not in folders:
            raise CorpusError(f"{root.uri}: no folder {wanted} for language {wanted}")
    if not set(LANGUAGES) & set(folders):
        raise CorpusError(f"{root.uri}: no folder of a language ({', '.join(LANGUAGES)}) is there")
    for language, folder in folders.items():
        if (why := passed_over(language, config)) is not None:
            reading.skip(config.name, f"{why} (its folder)")
        else:
            yield from _read_language(config, language, folder)


def passed_over(language: str, config: CommonVoiceConfig) -> str | None:
    """Say why utterances of a language are not read, or None where they are."""
    if language not in LANGUAGES:
        return f"language {printable(language)} is none of the five"
    return f"language {language} is not asked for" if language not in (config.languages or LANGUAGES) else None


def _language_folders(root: Tree) -> dict[str, Tree]:
    """Map each language to its folder, in the schema's order and then the others'."""
    found: dict[str, Tree] = {}
    for release in _releases(root):
        for name in release.folders():
            folder = release.folder(name) if name in LANGUAGES or _has_tables(release, f"{name}/") else None
            if folder is None:
                continue
            if name in found:
                raise CorpusError(f"{folder.uri}: {found[name].uri} is of the same language; give the path of one")
            found[name] = folder
    if _has_tables(root):
        found[root.name] = root
    order = [*LANGUAGES, *sorted(set(found) - set(LANGUAGES))]
    return {language: found[language] for language in order if language in found}


def _releases(folder: Tree) -> Iterator[Tree]:
    """Yield the folder itself and the releases below it: archives unpack to `cv-corpus-<version>/<lang>`."""
    yield folder
    for name in folder.folders():
        if "cv-corpus-" in name and (release := folder.folder(name)) is not None:
            yield from _releases(release)


def _has_tables(folder: Tree, path: str = "") -> bool:
    return any(folder.has(f"{path}{table}") for table in (*(f"{split}.tsv" for split in SPLITS), _VALIDATED))


def _read_language(config: CommonVoiceConfig, language: str, folder: Tree) -> Iterator[Utterance]:
    there = folder.files()
    splits = [split for split in SPLITS if f"{split}.tsv" in there]
    if config.validated and _VALIDATED not in there:
        raise CorpusError(f"{folder.uri}: no {_VALIDATED}, which `validated` asks for; unpack all of it")
    if not splits and not config.validated:
        raise CorpusError(
            f"{folder.uri}: none of {', '.join(f'{split}.tsv' for split in SPLITS)} is there; unpack all of it "
            "(a delta release has none: set `validated` to read its validated.tsv)"
        )
    durations = DurationTable.from_pairs(_durations(folder))
    in_splits = NameSet()
    for split in splits:
        for utterance in _read_table(config, language, split, folder, f"{split}.tsv", durations):
            if config.validated:
                in_splits.add(utterance.utterance_id)
            yield utterance
    if config.validated:
        for utterance in _read_table(config, language, "train", folder, _VALIDATED, durations):
            if utterance.utterance_id not in in_splits:
                yield utterance


def _read_table(
    config: CommonVoiceConfig, language: str, split: str, folder: Tree, table: str, durations: DurationTable
) -> Iterator[Utterance]:
    columns: list[str] = []
    for number, line in text_lines(folder, table):
        where = f"{folder.uri}/{table}:{number}"
        cells = line.split("\t")  # quotes are plain characters here and often unbalanced
        if not columns:
            columns = [cell.strip() for cell in cells]
            _check_columns(columns, where)
        elif line:
            row = dict(zip(columns, cells, strict=False))
            clip = row.get("path", "").strip()
            file = clip.rpartition("/")[2]  # (pathlib would take a third of the time that a row takes)
            stem = file.rpartition(".")[0]
            utterance = Utterance(
                utterance_id=printable(stem or file) or f"{config.name}#{language}/{table}/line{number}",
                corpus=config.name,
                data_source=f"common_voice_{language}",
                language=language,
                split=split,
                license=config.license or LICENSE,
                where=where,
            )
            if "\0" in line:
                utterance.utterance_id = utterance.utterance_id.replace("\0", "\ufffd")
                utterance.reject("nul_byte", f"{where}: the line holds a NUL byte; the file may be damaged there")
            elif not file:
                utterance.reject("too_few_columns", f"{where}: the column path names no file")
            elif len(cells) != len(columns):
                few = "too_few_columns" if len(cells) < len(columns) else "too_many_columns"
                utterance.reject(few, f"{where}: {len(cells)} columns, the header has {len(columns)}")
            else:
                describe(utterance, row)
                suffix = "" if stem else ".mp3"  # releases before 5.0 name clips without theirs
                under = "" if clip.startswith(("/", "clips/")) else "clips/"
                place_audio(utterance, folder, f"{under}{clip}{suffix}")
                utterance.duration_s = durations.get(f"{file}{suffix}")
            yield utterance
    if not columns:
        raise CorpusError(f"{folder.uri}/{table}: the file is empty, without even a header; unpack it again")


def _check_columns(columns: list[str], where: str) -> None:
    there = f"there are {printable(', '.join(columns))}"
    for name in ("client_id", "path", "sentence"):
        if name not in columns:
            raise CorpusError(f"{where}: no column {name!r} in the header; {there}")
    # a table cut down may lack these; with a column that no release has beside it, one was renamed, and what all its
    # speakers said of themselves would be lost
    strange = [column for column in columns if column not in _COLUMNS]
    for names in (("age",), ("gender",), ("accents", "accent")):
        if strange and not set(names) & set(columns):
            raise CorpusError(
                f"{where}: no column {names[0]!r} in the header, but {printable(strange[0])!r}, which no release has; "
                f"{there}; name it as the release does"
            )


def describe(utterance: Utterance, row: Mapping[str, Any]) -> None:
    """Take the text and what is known of the speaker from a row's cells; cells may be missing or None."""

    def cell(name: str) -> str:
        value = row.get(name)
        return "" if value is None else str(value)

    utterance.speaker_id = printable(cell("client_id").strip()) or None
    utterance.gender = gender_of(cell("gender"))
    utterance.gender_withheld = gender_withheld(cell("gender"))
    utterance.age = age_of(cell("age"))
    utterance.accent = text_of(printable(cell("accents") or cell("accent")))
    utterance.transcript = text_of(cell("sentence"))


def _durations(folder: Tree) -> Iterator[tuple[str, float]]:
    """Yield (clip, seconds) of the release's table; nothing where it has none.

    Some `times.txt` of 15.0 name the clips of another release: clips that are not found there have their headers
    read, as have the empty ones, of 0 ms.
    """
    if folder.has(_DURATIONS):
        lines = text_lines(folder, _DURATIONS)
        number, header = next(lines, (1, ""))
        columns = [cell.strip() for cell in header.split("\t")]
        for needed in ("clip", "duration[ms]"):
            if needed not in columns:
                raise CorpusError(
                    f"{folder.uri}/{_DURATIONS}:{number}: no column {needed!r} in the header; there are "
                    f"{printable(', '.join(columns))}"
                )
        clip, milliseconds = columns.index("clip"), columns.index("duration[ms]")
        for _, line in lines:
            cells = line.split("\t")
            if len(cells) == len(columns) and _MILLISECONDS.fullmatch(cells[milliseconds]):
                yield cells[clip], int(cells[milliseconds]) / 1000
    elif folder.has(_TIMES):
        for _, line in text_lines(folder, _TIMES):
            if match := _TIMES_LINE.search(line):
                yield match[1], int(match[2]) / 1000
