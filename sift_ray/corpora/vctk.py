"""VCTK 0.92 as published: `wav48_silence_trimmed/<spk>/<spk>_<utt>_mic<n>.flac`, `txt/`, `speaker-info.txt`.

Its holes: p315 has no text, p280 and a part of p362 no second microphone, s5 may be missing in the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sift_ray.config import VctkConfig
from sift_ray.corpora.files import attach_audio, check_text, confine, local_root, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import age_of, gender_of, split_by_speaker, text_of

_AUDIO: Final = "wav48_silence_trimmed"
_CLIP: Final = re.compile(r"(?P<id>[A-Za-z0-9]+_\d+)_(?P<mic>mic[12])\.flac")
_COMMENT: Final = re.compile(r"\(.*?(\)|$)")
_LICENSE: Final = "CC-BY-4.0"
# accents that the table writes as one word or as two
_ACCENTS: Final = {
    "NorthernIrish": "Northern Irish",
    "SouthAfrican": "South African",
    "NewZealand": "New Zealand",
    "NewZealandEnglish": "New Zealand",
    "AustralianEnglish": "Australian",
    "Unknown": None,
}


class _Speaker(NamedTuple):
    gender: str | None = None
    age: str | None = None
    accent: str | None = None


def read_vctk(config: VctkConfig) -> Iterator[Utterance]:
    """Yield one utterance for each text read, from the config's microphone or else the other one.

    Splits are by a hash of the speaker (90/5/5): VCTK publishes none.

    Raises:
        CorpusError: no audio folder or no `speaker-info.txt`; or `languages` names none of VCTK's (English).
    """
    root = local_root(config.path, "VCTK")
    if config.languages is not None and "en" not in config.languages:
        raise CorpusError(f"{root}: VCTK is English; its languages can't be {', '.join(config.languages)}")
    audio = root / _AUDIO
    if not audio.is_dir():
        raise CorpusError(f"{audio}: no such folder; give the folder that holds {_AUDIO}")
    speakers = _read_speakers(root / "speaker-info.txt")
    for folder in sorted(audio.iterdir()):
        if folder.is_dir():
            yield from _read_speaker(config, root, folder, speakers.get(folder.name, _Speaker()))


def _read_speakers(path: Path) -> dict[str, _Speaker]:
    """Read `ID AGE GENDER ACCENTS REGION COMMENTS`, apart by any number of spaces; a region may be absent."""
    speakers: dict[str, _Speaker] = {}
    header = False
    for number, line in text_lines(path):
        cells = _COMMENT.sub("", line).split()
        if number == 1:
            header = cells[:4] == ["ID", "AGE", "GENDER", "ACCENTS"]
            if not header:
                raise CorpusError(f"{path}:1: the header is not ID AGE GENDER ACCENTS …; is this VCTK 0.92?")
        elif cells:
            age, gender, accent = [*cells[1:4], "", "", ""][:3]
            speakers[cells[0]] = _Speaker(gender_of(gender), age_of(age), _ACCENTS.get(accent, accent or None))
    if not header:
        raise CorpusError(f"{path}: the file is empty; fetch it again")
    return speakers


def _read_speaker(config: VctkConfig, root: Path, folder: Path, speaker: _Speaker) -> Iterator[Utterance]:
    clips: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _CLIP.fullmatch(path.name)
        if match:
            clips.setdefault(match["id"], {})[match["mic"]] = path
    for utterance_id, mics in clips.items():
        path = mics.get(config.mic) or next(iter(mics.values()))
        utterance = Utterance(
            utterance_id=utterance_id,
            corpus=config.name,
            data_source="vctk_en",
            language="en",
            split=split_by_speaker(folder.name, utterance_id),
            speaker_id=folder.name,
            gender=speaker.gender,
            age=speaker.age,
            accent=speaker.accent,
            license=config.license or _LICENSE,
        )
        text_path = root / "txt" / folder.name / f"{utterance_id}.txt"
        if text_path.is_file():
            if confine(root, text_path) is None:
                utterance.reject("path_outside_root", f"{text_path} leaves the corpus root {root}")
            else:
                utterance.transcript = text_of(" ".join(line for _, line in text_lines(text_path)))
                check_text(utterance, f"{text_path}:1")
        attach_audio(utterance, root, path, str(path), None)
        yield utterance
