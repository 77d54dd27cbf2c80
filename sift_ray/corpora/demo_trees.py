"""Writes the demo's clips into trees laid out as MLS, Common Voice 15.0 and VCTK 0.92 are published."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from sift_ray.corpora.demo_acoustics import Recording
from sift_ray.corpora.demo_plan import Clip, Speaker
from sift_ray.corpora.mls import FOLDERS

COMMON_VOICE: Final = "cv-corpus-15.0-2023-09-08"
VCTK: Final = "VCTK-Corpus-0.92"
_CV_COLUMNS: Final = (
    "client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "variant",
    "locale", "segment",
)  # fmt: skip
_MLS_HEADER: Final = ("SPEAKER", "GENDER", "PARTITION", "MINUTES", "BOOK ID", "TITLE", "CHAPTER")


class DemoTrees:
    """Collects clips; audio is written as it comes, tables when closed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mls_lines: dict[tuple[str, str], list[str]] = {}
        self._mls_minutes: dict[tuple[str, str, str, str | None], float] = {}
        self._cv_rows: dict[tuple[str, str], list[dict[str, str]]] = {}
        self._cv_times: dict[str, list[str]] = {}
        self._vctk_speakers: dict[str, Speaker] = {}
        self._vctk_counts: dict[str, int] = {}

    def add(self, clip: Clip, recording: Recording, second: Recording | None) -> tuple[str, Path, str]:
        """Write one clip; return its utterance id, its file and the transcript as the corpus has it.

        `second` is what VCTK's second microphone hears; a male VCTK speaker lacks it, like p280.
        """
        match clip.corpus:
            case "mls":
                return self._add_mls(clip, recording)
            case "common_voice":
                return self._add_common_voice(clip, recording)
            case "vctk":
                return self._add_vctk(clip, recording, second)

    def _add_mls(self, clip: Clip, recording: Recording) -> tuple[str, Path, str]:
        speaker, book = clip.speaker.speaker_id, str(70_000 + int(clip.speaker.speaker_id) % 10_000)
        utterance_id = f"{speaker}_{book}_{clip.number:06d}"
        folder = self._root / f"mls_{FOLDERS[clip.language]}"
        path = folder / clip.split / "audio" / speaker / book / f"{utterance_id}.flac"
        _write_audio(path, recording.samples, 16_000)
        # MLS writes lower case without punctuation; apostrophes and hyphens stay
        transcript = clip.job.text.lower().translate(str.maketrans("", "", ".,;:!?¡¿"))
        self._mls_lines.setdefault((clip.language, clip.split), []).append(f"{utterance_id}\t{transcript}")
        key = (clip.language, speaker, clip.split, clip.speaker.gender)
        minutes = len(recording.samples) / 16_000 / 60
        self._mls_minutes[key] = self._mls_minutes.get(key, 0.0) + minutes
        return utterance_id, path, transcript

    def _add_common_voice(self, clip: Clip, recording: Recording) -> tuple[str, Path, str]:
        utterance_id = f"common_voice_{clip.language}_{90_000_000 + clip.number}"
        folder = self._root / COMMON_VOICE / clip.language
        path = folder / "clips" / f"{utterance_id}.mp3"
        _write_audio(path, recording.samples, 48_000)
        self._cv_rows.setdefault((clip.language, clip.split), []).append(
            {
                "client_id": clip.speaker.speaker_id,
                "path": path.name,
                "sentence": clip.job.text,
                "up_votes": "2",
                "down_votes": "0",
                "age": clip.speaker.age or "",
                "gender": clip.speaker.gender or "",
                "accents": clip.speaker.accent or "",
                "locale": clip.language,
            }
        )
        milliseconds = round(1000 * len(recording.samples) / 48_000)
        self._cv_times.setdefault(clip.language, []).append(
            f"{COMMON_VOICE}/{clip.language}/clips/{path.name} = {milliseconds}"
        )
        return utterance_id, path, clip.job.text

    def _add_vctk(self, clip: Clip, recording: Recording, second: Recording | None) -> tuple[str, Path, str]:
        speaker = clip.speaker.speaker_id
        self._vctk_speakers[speaker] = clip.speaker
        self._vctk_counts[speaker] = self._vctk_counts.get(speaker, 0) + 1
        utterance_id = f"{speaker}_{self._vctk_counts[speaker]:03d}"
        folder = self._root / VCTK / "wav48_silence_trimmed" / speaker
        path = folder / f"{utterance_id}_mic1.flac"
        _write_audio(path, recording.samples, 48_000)
        if second is not None and clip.speaker.gender == "female":
            _write_audio(folder / f"{utterance_id}_mic2.flac", second.samples, 48_000)
        text = self._root / VCTK / "txt" / speaker / f"{utterance_id}.txt"
        _write_lines(text, [clip.job.text])
        return utterance_id, path, clip.job.text

    def close(self) -> None:
        """Write the tables."""
        for (language, split), lines in self._mls_lines.items():
            _write_lines(self._root / f"mls_{FOLDERS[language]}" / split / "transcripts.txt", lines)
        for language in {language for language, _ in self._mls_lines}:
            self._write_metainfo(language)
        for language in {language for language, _ in self._cv_rows}:
            self._write_common_voice(language)
        if self._vctk_speakers:
            lines = ["ID  AGE  GENDER  ACCENTS  REGION COMMENTS "]
            for name, speaker in sorted(self._vctk_speakers.items()):
                gender = "F" if speaker.gender == "female" else "M"
                region = "Southern  England" if gender == "F" else "Fife  (mic2 files unavailable)"
                lines.append(f"{name}  {speaker.age}  {gender}    {speaker.accent}  {region}")
            _write_lines(self._root / VCTK / "speaker-info.txt", lines)

    def _write_metainfo(self, language: str) -> None:
        lines = [_MLS_HEADER]
        for (own, speaker, split, gender), minutes in sorted(self._mls_minutes.items()):
            if own == language:
                initial = "F" if gender == "female" else "M"
                book = str(70_000 + int(speaker) % 10_000)
                lines.append((speaker, initial, split, f"{minutes:.3f}", book, "Demo sentences", "Synthetic"))
        padded = ["|".join(f"{cell:^14}" for cell in line) for line in lines]
        _write_lines(self._root / f"mls_{FOLDERS[language]}" / "metainfo.txt", padded)

    def _write_common_voice(self, language: str) -> None:
        folder = self._root / COMMON_VOICE / language
        tables: dict[str, list[dict[str, str]]] = {"invalidated": [], "other": []}
        for split in ("train", "dev", "test"):
            tables[split] = self._cv_rows.get((language, split), [])
        tables["validated"] = [*tables["train"], *tables["dev"], *tables["test"]]
        for name, rows in tables.items():
            lines = ["\t".join(row.get(column, "") for column in _CV_COLUMNS) for row in rows]
            _write_lines(folder / f"{name}.tsv", ["\t".join(_CV_COLUMNS), *lines])
        _write_lines(folder / "reported.tsv", ["sentence\tsentence_id\tlocale\treason"])
        _write_lines(folder / "times.txt", self._cv_times[language])


def _write_audio(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, rate)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
