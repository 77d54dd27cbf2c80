"""Multilingual LibriSpeech as published: `mls_<language>[_opus]/<split>/{transcripts.txt,audio/}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sift_ray.config import MlsConfig
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.tree import Tree, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import gender_of, printable, text_of
from sift_ray.schema import LANGUAGES, SPLITS

FOLDERS: Final = {"en": "english", "de": "german", "fr": "french", "it": "italian", "es": "spanish"}
_CODES: Final = {folder: code for code, folder in FOLDERS.items()}
_LICENSE: Final = "CC-BY-4.0"


def read_mls(config: MlsConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances of `mls_<language>` folders, language by language, in the files' order.

    Raises:
        CorpusError: no folder of a wanted language, no transcripts, or no usable `metainfo.txt`.
    """
    root = reading.tree(config.path, "Multilingual LibriSpeech")
    for language, folder in _language_folders(root, config.languages):
        genders = _read_genders(folder)
        there = folder.folders()
        splits = [split for split in SPLITS if split in there]
        if not splits:
            raise CorpusError(f"{folder.uri}: none of {', '.join(SPLITS)} is there; unpack the whole archive")
        for split in splits:
            yield from _read_split(config, folder, language, split, genders)


def _language_folders(root: Tree, wanted: tuple[str, ...] | None) -> Iterator[tuple[str, Tree]]:
    found: dict[str, Tree] = {}
    for name in [root.name] if _language_of(root.name) else root.folders():
        language = _language_of(name)
        folder = root if name == root.name else root.folder(name)
        if language is None or folder is None:
            continue
        if language in found:
            raise CorpusError(f"{folder.uri}: {found[language].name} holds the same clips; give the path of one")
        found[language] = folder
    for language in wanted or LANGUAGES:
        if language in found:
            yield language, found[language]
        elif wanted:
            raise CorpusError(f"{root.uri}: no folder mls_{FOLDERS[language]}[_opus] for language {language}")
    if not found:
        raise CorpusError(f"{root.uri}: no folder mls_<language>[_opus] of {', '.join(FOLDERS.values())}")


def _language_of(folder: str) -> str | None:
    name = folder.removesuffix("_opus")
    return _CODES.get(name.removeprefix("mls_")) if name.startswith("mls_") else None


def _read_genders(folder: Tree) -> dict[str, str | None]:
    """Map each speaker of `metainfo.txt` to a gender; a speaker given both is unknown."""
    genders: dict[str, str | None] = {}
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
            speaker, gender = cells[columns.index("SPEAKER")], gender_of(cells[columns.index("GENDER")])
            genders[speaker] = gender if genders.get(speaker, gender) == gender else None
    return genders


def _read_split(
    config: MlsConfig, folder: Tree, language: str, split: str, genders: dict[str, str | None]
) -> Iterator[Utterance]:
    transcripts = f"{split}/transcripts.txt"
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
            license=config.license or _LICENSE,
            where=where,
        )
        parts = utterance_id.split("_")
        if not tab or len(parts) != 3 or not all(parts):
            utterance.reject("too_few_columns", f"{where}: a line is <speaker>_<book>_<n>, a tab and the text")
        else:
            speaker, book, _ = parts
            utterance.speaker_id = printable(speaker)
            utterance.gender = genders.get(speaker)
            place_audio(utterance, folder, f"{split}/audio/{speaker}/{book}/{utterance_id}{suffix}")
        yield utterance
