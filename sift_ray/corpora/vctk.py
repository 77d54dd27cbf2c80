"""VCTK 0.92 as published: `wav48_silence_trimmed/<spk>/<spk>_<utt>_mic<n>.flac`, `txt/`, `speaker-info.txt`.

Its holes: p315 has no text, p280 and a part of p362 no second microphone, s5 may be missing in the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from sift_ray.config import VctkConfig
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.tree import OutsideRootError, Tree, read_many, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import age_of, gender_of, gender_withheld, split_by_speaker, text_of

LICENSE: Final = "CC-BY-4.0"
_AUDIO: Final = "wav48_silence_trimmed"
_CLIP: Final = re.compile(r"(?P<id>[A-Za-z0-9]+_\d+)_(?P<mic>mic[12])\.flac")
_COMMENT: Final = re.compile(r"\(.*?(\)|$)")
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
    gender_withheld: bool = False
    age: str | None = None
    accent: str | None = None


def read_vctk(config: VctkConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield one utterance for each text read, from the config's microphone or else the other one.

    Splits are by a hash of the speaker (90/5/5): VCTK publishes none. A folder without the corpus's audio folder but
    with Parquet below is read as the hub's.

    Raises:
        CorpusError: no audio folder or no `speaker-info.txt`; or `languages` names none of VCTK's (English).
    """
    root = reading.tree(config.path, "VCTK")
    if config.languages is not None and "en" not in config.languages:
        raise CorpusError(f"{root.uri}: VCTK is English; its languages can't be {', '.join(config.languages)}")
    folders = root.folders(_AUDIO)
    if not folders:
        if shards := root.walk((".parquet",)):
            from sift_ray.corpora.vctk_hub import read_vctk_hub

            yield from read_vctk_hub(config, reading, root, shards)
            return
        raise CorpusError(
            f"{root.uri}/{_AUDIO}: no folder of a speaker is there; give the folder of VCTK 0.92 that holds {_AUDIO} "
            "(older releases, with wav48, are not read), or hub Parquet"
        )
    speakers = _read_speakers(root)
    for speaker in folders:
        yield from _read_speaker(config, reading, root, speaker, speakers.get(speaker, _Speaker()))


def accent_of(text: str | None) -> str | None:
    """Return the accent that the corpus's word stands for ("NorthernIrish"); unknown is None."""
    return _ACCENTS.get(text or "", text or None)


def _read_speakers(root: Tree) -> dict[str, _Speaker]:
    """Read `ID AGE GENDER ACCENTS REGION COMMENTS`, apart by any number of spaces; a region may be absent."""
    speakers: dict[str, _Speaker] = {}
    header = False
    path = f"{root.uri}/speaker-info.txt"
    for number, line in text_lines(root, "speaker-info.txt"):
        cells = _COMMENT.sub("", line).split()
        if number == 1:
            header = cells[:4] == ["ID", "AGE", "GENDER", "ACCENTS"]
            if not header:
                raise CorpusError(f"{path}:1: the header is not ID AGE GENDER ACCENTS …; is this VCTK 0.92?")
        elif cells:
            age, gender, accent = [*cells[1:4], "", "", ""][:3]
            speakers[cells[0]] = _Speaker(gender_of(gender), gender_withheld(gender), age_of(age), accent_of(accent))
    if not header:
        raise CorpusError(f"{path}: the file is empty; fetch it again")
    return speakers


def _read_speaker(
    config: VctkConfig, reading: Reading, root: Tree, speaker_id: str, speaker: _Speaker
) -> Iterator[Utterance]:
    clips: dict[str, dict[str, str]] = {}
    for name in root.files(f"{_AUDIO}/{speaker_id}"):
        match = _CLIP.fullmatch(name)
        if match:
            clips.setdefault(match["id"], {})[match["mic"]] = name
    texts = read_many(root, (f"txt/{speaker_id}/{name}.txt" for name in clips), reading.threads)
    for (utterance_id, mics), text in zip(clips.items(), texts, strict=True):
        name = mics.get(config.mic) or next(iter(mics.values()))
        utterance = Utterance(
            utterance_id=utterance_id,
            corpus=config.name,
            data_source="vctk_en",
            language="en",
            split=split_by_speaker(speaker_id, utterance_id),
            speaker_id=speaker_id,
            gender=speaker.gender,
            gender_withheld=speaker.gender_withheld,
            age=speaker.age,
            accent=speaker.accent,
            license=config.license or LICENSE,
            where=f"{root.uri}/txt/{speaker_id}/{utterance_id}.txt:1",
        )
        if isinstance(text, OutsideRootError):
            utterance.reject("path_outside_root", f"{utterance.where}: {text}")
        elif isinstance(text, OSError):
            utterance.reject("unreadable_text", f"{utterance.where}: {text}")
        elif text is not None:
            utterance.transcript = text_of(text.decode("utf-8-sig", errors="surrogateescape"))
        place_audio(utterance, root, f"{_AUDIO}/{speaker_id}/{name}")
        yield utterance
