"""Multilingual LibriSpeech as published: `mls_<language>[_opus]/<split>/{transcripts.txt,audio/}`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sift_ray.config import MlsConfig
from sift_ray.corpora.files import attach_audio, check_text, local_root, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import gender_of, printable, text_of
from sift_ray.schema import LANGUAGES, SPLITS

FOLDERS: Final = {"en": "english", "de": "german", "fr": "french", "it": "italian", "es": "spanish"}
_CODES: Final = {folder: code for code, folder in FOLDERS.items()}
_LICENSE: Final = "CC-BY-4.0"


def read_mls(config: MlsConfig) -> Iterator[Utterance]:
    """Yield the utterances of `mls_<language>` folders, language by language, in the files' order.

    Raises:
        CorpusError: no folder of a wanted language, no transcripts, or no usable `metainfo.txt`.
    """
    root = local_root(config.path, "Multilingual LibriSpeech")
    for language, folder in _language_folders(root, config.languages):
        genders = _read_genders(folder / "metainfo.txt")
        splits = [split for split in SPLITS if (folder / split).is_dir()]
        if not splits:
            raise CorpusError(f"{folder}: none of {', '.join(SPLITS)} is there; unpack the whole archive")
        for split in splits:
            yield from _read_split(config, folder, language, split, genders)


def _language_folders(root: Path, wanted: tuple[str, ...] | None) -> Iterator[tuple[str, Path]]:
    found: dict[str, Path] = {}
    for folder in [root, *sorted(root.iterdir())]:
        name = folder.name.removesuffix("_opus")
        language = _CODES.get(name.removeprefix("mls_")) if name.startswith("mls_") else None
        if language is None or not folder.is_dir():
            continue
        if language in found:
            raise CorpusError(f"{folder}: {found[language].name} holds the same clips; give the path of one")
        found[language] = folder
        if folder == root:
            break
    for language in wanted or LANGUAGES:
        if language in found:
            yield language, found[language].resolve()
        elif wanted:
            raise CorpusError(f"{root}: no folder mls_{FOLDERS[language]}[_opus] for language {language}")
    if not found:
        raise CorpusError(f"{root}: no folder mls_<language>[_opus] of {', '.join(FOLDERS.values())}")


def _read_genders(path: Path) -> dict[str, str | None]:
    """Map each speaker of `metainfo.txt` to a gender; a speaker given both is unknown."""
    genders: dict[str, str | None] = {}
    columns: list[str] = []
    for _, line in text_lines(path):
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
    config: MlsConfig, folder: Path, language: str, split: str, genders: dict[str, str | None]
) -> Iterator[Utterance]:
    transcripts = folder / split / "transcripts.txt"
    # published archives hold one kind; the suffix is that of the folder
    suffix = ".opus" if folder.name.endswith("_opus") else ".flac"
    for number, line in text_lines(transcripts):
        if not line.strip():
            continue
        where = f"{transcripts}:{number}"
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
        )
        parts = utterance_id.split("_")
        if not tab or len(parts) != 3 or not all(parts):
            utterance.reject("too_few_columns", f"{where}: a line is <speaker>_<book>_<n>, a tab and the text")
            check_text(utterance, where)
        else:
            speaker, book, _ = parts
            utterance.speaker_id = printable(speaker)
            utterance.gender = genders.get(speaker)
            check_text(utterance, where)
            audio = folder / split / "audio" / speaker / book / f"{utterance_id}{suffix}"
            attach_audio(utterance, folder, audio, where, None)
        yield utterance
