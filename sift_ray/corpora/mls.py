"""Multilingual LibriSpeech: `mls_<language>[_opus]/<split>/{transcripts.txt,segments.txt,audio/}`, or hub Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sift_ray.config import MlsConfig
from sift_ray.corpora.durations import DurationTable
from sift_ray.corpora.mls_hub import LICENSE, is_english_variant, read_hub, shards_in, skip_shards
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.tree import Tree, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import agreed_gender, gender_of, gender_withheld, printable, text_of
from sift_ray.schema import LANGUAGES, SPLITS

FOLDERS: Final = {"en": "english", "de": "german", "fr": "french", "it": "italian", "es": "spanish"}
_LANGUAGES: Final = {name: code for code, name in FOLDERS.items()}
_OTHERS: Final = ("dutch", "polish", "portuguese")


def read_mls(config: MlsConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances language by language, in the files' order; other languages are counted as skipped.

    A language's folder is `mls_<language>` or `mls_<language>_opus`, with a tree as published or with shards, or
    `<language>` with shards.

    Raises:
        CorpusError: no folder of a wanted language or two of one, no transcripts, no usable `metainfo.txt`, or no
            list of the limited supervision asked for.
    """
    root = reading.tree(config.path, "Multilingual LibriSpeech")
    for language, folder in _wanted_folders(config, reading, root):
        if _is_hub(folder):
            genders = _read_genders(folder) if folder.has("metainfo.txt") else {}
            yield from read_hub(config, reading, folder, language, genders)
        else:
            yield from _read_tree(config, reading, folder, language)


def _wanted_folders(config: MlsConfig, reading: Reading, root: Tree) -> list[tuple[str, Tree]]:
    found: dict[str, Tree] = {}
    for name, folder in _language_folders(root):
        language = _LANGUAGES.get(name)
        if language is None and folder is root:
            raise CorpusError(f"{root.uri}: {name.capitalize()} is none of the languages {', '.join(LANGUAGES)}")
        if language is None:
            _skip_folder(config, reading, folder, f"{name.capitalize()} is none of the five languages")
        elif config.languages and language not in config.languages:
            _skip_folder(config, reading, folder, f"language {language} is not asked for")
        elif language in found:
            raise CorpusError(f"{folder.uri}: {found[language].name} holds the same clips; give the path of one")
        else:
            found[language] = folder
    names = ", ".join(FOLDERS.values())
    for language in config.languages or ():
        if language not in found:
            raise CorpusError(f"{root.uri}: no folder mls_{FOLDERS[language]}[_opus] for language {language}")
    if not found:
        raise CorpusError(
            f"{root.uri}: no folder mls_<language>[_opus] of {names}; no folder <language> with Parquet shards; and no "
            "shards with a column book_id, which would be English"
        )
    return [(language, found[language]) for language in config.languages or LANGUAGES if language in found]


def _language_folders(root: Tree) -> list[tuple[str, Tree]]:
    """Return English names of languages with their folders; the root may be one itself."""
    if name := _language_name(root.name):
        return [(name, root)]
    folders: list[tuple[str, Tree]] = []
    for path in root.folders():
        # shards lie in folders that bear just the language's name, as others may too
        name = _language_name(path) or (path if _is_language(path) else None)
        folder = root.folder(path) if name else None
        if name and folder and (name != path or shards_in(folder)):
            folders.append((name, folder))
    if not folders and shards_in(root):
        if _is_language(root.name):
            folders.append((root.name, root))
        elif is_english_variant(root):
            folders.append(("english", root))
    return folders


def _language_name(folder: str) -> str | None:
    name = folder.removesuffix("_opus").removeprefix("mls_")
    return name if folder.startswith("mls_") and _is_language(name) else None


def _is_language(name: str) -> bool:
    return name in _LANGUAGES or name in _OTHERS


def _is_hub(folder: Tree) -> bool:
    return not any(folder.has(f"{split}/transcripts.txt") for split in SPLITS) and bool(shards_in(folder))


def _skip_folder(config: MlsConfig, reading: Reading, folder: Tree, why: str) -> None:
    if _is_hub(folder):
        skip_shards(config, reading, folder, shards_in(folder), f"{folder.name}: {why}")
    else:
        # its clips are not counted: English alone has 10 million lines
        reading.skip(config.name, f"folder {folder.name}, as a whole: {why}")


def _read_tree(config: MlsConfig, reading: Reading, folder: Tree, language: str) -> Iterator[Utterance]:
    genders = _read_genders(folder)
    there = folder.folders()
    splits = [split for split in SPLITS if split in there]
    if not splits:
        raise CorpusError(f"{folder.uri}: none of {', '.join(SPLITS)} is there; unpack the whole archive")
    for split in splits:
        listed = _listed_ids(config, folder) if split == "train" and config.limited_supervision else None
        for utterance in _read_split(config, folder, language, split, genders):
            if listed is None or utterance.reject_reason or utterance.utterance_id in listed:
                yield utterance
            else:
                why = f"{folder.name}: clips of train that the list {config.limited_supervision} leaves out"
                reading.skip(config.name, why)


def _read_genders(folder: Tree) -> dict[str, str]:
    """Map each speaker of `metainfo.txt` to the word for a gender; to none where both are given."""
    genders: dict[str, str] = {}
    columns: list[str] = []
    path = f"{folder.uri}/metainfo.txt"
    for _, line in text_lines(folder, "metainfo.txt"):
        cells = [cell.strip() for cell in line.split("|")]
        if not columns:
            columns = [cell.upper() for cell in cells]
            for needed in ("SPEAKER", "GENDER"):
                if needed not in columns:
                    raise CorpusError(f"{path}:1: no column {needed} in the header; fetch the file again")
        elif len(cells) > max(columns.index("SPEAKER"), columns.index("GENDER")):
            speaker, word = cells[columns.index("SPEAKER")], cells[columns.index("GENDER")]
            genders[speaker] = agreed_gender(genders.get(speaker, word), word)
    return genders


def _listed_ids(config: MlsConfig, folder: Tree) -> set[str]:
    """Return the ids of the limited supervision: a few thousand, in one list or several."""
    below = f"train/limited_supervision/{config.limited_supervision}"
    lists = [path for path in folder.walk(("handles.txt",), below) if path.endswith("/handles.txt")]
    ids = {line.strip() for path in lists for _, line in text_lines(folder, path) if line.strip()}
    if not ids:
        raise CorpusError(
            f"{folder.uri}/{below}: no ids in a handles.txt; unpack the whole archive, or leave out limited_supervision"
        )
    return ids


def _read_durations(folder: Tree, split: str) -> DurationTable:
    path = f"{split}/segments.txt"
    return DurationTable.from_pairs(_segments(folder, path) if folder.has(path) else ())


def _segments(folder: Tree, path: str) -> Iterator[tuple[str, float]]:
    """Yield (id, seconds) of lines of id, address of the chapter, begin and end, apart by tabs or spaces."""
    for _, line in text_lines(folder, path):
        cells = line.split()
        try:
            if len(cells) >= 4:
                yield cells[0], float(cells[-1]) - float(cells[-2])
        except ValueError:
            continue  # a damaged line: the clip's header will tell


def _read_split(
    config: MlsConfig, folder: Tree, language: str, split: str, genders: dict[str, str]
) -> Iterator[Utterance]:
    transcripts = f"{split}/transcripts.txt"
    durations = _read_durations(folder, split)
    # published archives hold one kind; the suffix is that of the folder
    suffix = ".opus" if folder.name.endswith("_opus") else ".flac"
    for number, line in text_lines(folder, transcripts):
        if not line.strip():
            continue
        where = f"{folder.uri}/{transcripts}:{number}"
        utterance_id, tab, text = line.partition("\t")
        utterance_id = utterance_id.strip()
        utterance = Utterance(
            utterance_id=printable(utterance_id) or f"{config.name}#{language}/{split}/line{number}",
            corpus=config.name,
            data_source=f"multilingual_librispeech_{language}",
            language=language,
            split=split,
            transcript=text_of(text),
            license=config.license or LICENSE,
            where=where,
        )
        parts = utterance_id.split("_")
        if not tab or len(parts) != 3 or not all(parts):
            utterance.reject("too_few_columns", f"{where}: a line is <speaker>_<book>_<n>, a tab and the text")
        else:
            speaker, book, _ = parts
            utterance.speaker_id = printable(speaker)
            utterance.gender = gender_of(genders.get(speaker))
            utterance.gender_withheld = gender_withheld(genders.get(speaker))
            utterance.duration_s = durations.get(utterance_id)
            place_audio(utterance, folder, f"{split}/audio/{speaker}/{book}/{utterance_id}{suffix}")
            if ".." in parts or "." in parts:
                utterance.reject("unsafe_id", f"{where}: id {utterance_id!r} names another folder")
        yield utterance
