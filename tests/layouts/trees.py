"""Extracted trees as the three corpora are published."""

from __future__ import annotations

import shutil
from pathlib import Path

import soundfile as sf

from sift_ray.corpora.demo_trees import COMMON_VOICE, VCTK
from sift_ray.corpora.mls import FOLDERS

from .demo_clips import Demo, DemoClip, Expected, Layout

MLS_LANGUAGES = ("en", "de")
CV_LANGUAGES = ("en", "de")
_CV_COLUMNS = {
    5: "client_id path sentence up_votes down_votes age gender accent",
    17: "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale "
    "segment",
}
_CV_NAMES = {5: "cv-corpus-5-2020-06-22", 17: "cv-corpus-17.0-2024-03-15"}
_CV_17_GENDERS = {"male": "male_masculine", "female": "female_feminine"}


def mls_flac(demo: Demo, folder: Path, base: str) -> Layout:
    """The FLAC archives with all the files that come in them."""
    for language in MLS_LANGUAGES:
        tree = folder / f"mls_{FOLDERS[language]}"
        shutil.copytree(demo.root / tree.name, tree)
        for split in ("train", "dev", "test"):
            clips = [clip for clip in demo.of("mls", language) if clip.split == split]
            url = "http://www.archive.org/download/demo/chapter_64kb.mp3"
            segments = [f"{clip.utterance_id}\t{url}\t0.0\t{clip.duration_s}" for clip in clips]
            _write_lines(tree / split / "segments.txt", segments)
        train = [clip.utterance_id for clip in demo.of("mls", language) if clip.split == "train"]
        limited = tree / "train/limited_supervision"
        _write_lines(limited / "9hr/handles.txt", train[:2])
        _write_lines(limited / "1hr/0/handles.txt", train[:1])
    utterances = [Expected.of(clip) for clip in demo.of("mls", *MLS_LANGUAGES)]
    return Layout({"type": "mls", "name": "mls", "path": base}, tuple(utterances))


def mls_nine_hours(demo: Demo, folder: Path, base: str) -> Layout:
    """The same, but of train only the clips of the published list of nine hours."""
    layout = mls_flac(demo, folder, base)
    listed = {
        line for path in folder.glob("*/train/limited_supervision/9hr/handles.txt") for line in path.read_text().split()
    }
    kept = tuple(row for row in layout.utterances if row.split != "train" or row.utterance_id in listed)
    return Layout({**layout.corpus, "limited_supervision": "9hr"}, kept, len(layout.utterances) - len(kept))


def mls_opus(demo: Demo, folder: Path, base: str) -> Layout:
    """The Opus archive of one language, given by its own folder."""
    tree = folder / "mls_german_opus"
    for name in ("metainfo.txt", *(f"{split}/transcripts.txt" for split in ("train", "dev", "test"))):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo.root / "mls_german" / name, tree / name)
    utterances = []
    for clip in demo.of("mls", "de"):
        path = tree / clip.file.relative_to(demo.root / "mls_german").with_suffix(".opus")
        path.parent.mkdir(parents=True, exist_ok=True)
        samples, rate = sf.read(clip.file, dtype="float32")
        # (0.0 is the greatest bitrate: at the usual ones the noise in some clips is not the same wave any more)
        sf.write(path, samples, rate, format="OGG", subtype="OPUS", compression_level=0.0)
        utterances.append(Expected.of(clip, lossy=True))
    return Layout({"type": "mls", "name": "mls", "path": f"{base}/{tree.name}"}, tuple(utterances))


def common_voice_5(demo: Demo, folder: Path, base: str) -> Layout:
    """A release with `accent`, without locale and durations."""
    return _common_voice(demo, folder, base, 5)


def common_voice_15(demo: Demo, folder: Path, base: str) -> Layout:
    """A release with `accents` and times.txt, as the demo is written."""
    for language in CV_LANGUAGES:
        shutil.copytree(demo.root / COMMON_VOICE / language, folder / COMMON_VOICE / language)
    utterances = [Expected.of(clip) for clip in demo.of("common_voice", *CV_LANGUAGES)]
    return Layout({"type": "common_voice", "name": "cv", "path": f"{base}/{COMMON_VOICE}"}, tuple(utterances))


def common_voice_17(demo: Demo, folder: Path, base: str) -> Layout:
    """A release with sentence ids and domains, new words for genders, and clip_durations.tsv."""
    return _common_voice(demo, folder, base, 17)


def common_voice_17_validated(demo: Demo, folder: Path, base: str) -> Layout:
    """The same, with the validated clips that are in no split as train."""
    layout = _common_voice(demo, folder, base, 17)
    first = {language: demo.of("common_voice", language)[0] for language in CV_LANGUAGES}
    more = tuple(
        Expected.of(clip, utterance_id=f"common_voice_{language}_1", split="train", transcript="Only validated.")
        for language, clip in first.items()
    )
    return Layout({**layout.corpus, "validated": True}, layout.utterances + more)


def _common_voice(demo: Demo, folder: Path, base: str, version: int) -> Layout:
    columns = _CV_COLUMNS[version].split()
    root = folder / _CV_NAMES[version]
    utterances = []
    for language in CV_LANGUAGES:
        clips = demo.of("common_voice", language)
        (root / language / "clips").mkdir(parents=True)
        tables: dict[str, list[str]] = {name: [] for name in ("train", "dev", "test", "other", "invalidated")}
        durations = []
        for clip in clips:
            shutil.copy(clip.file, root / language / "clips")
            durations.append(f"{clip.file.name}\t{round(1000 * clip.duration_s)}")
            # an unbalanced quote, as some sentences have
            sentence = f'"{clip.transcript}' if clip is clips[0] else clip.transcript
            tables[clip.split].append(_cv_line(clip, columns, clip.file.name, sentence))
            utterances.append(Expected.of(clip, transcript=sentence))
        for number, (name, sentence) in enumerate(
            [("validated", "Only validated."), ("other", "Not yet heard."), ("invalidated", "Wrong.")], start=1
        ):
            path = f"common_voice_{language}_{number}.mp3"
            shutil.copy(clips[0].file, root / language / "clips" / path)
            tables.setdefault(name, []).append(_cv_line(clips[0], columns, path, sentence))
        tables["validated"] += tables["train"] + tables["dev"] + tables["test"]
        for name, lines in tables.items():
            _write_lines(root / language / f"{name}.tsv", ["\t".join(columns), *lines])
        if version >= 17:
            _write_lines(root / language / "clip_durations.tsv", ["clip\tduration[ms]", *durations])
    return Layout({"type": "common_voice", "name": "cv", "path": f"{base}/{root.name}"}, tuple(utterances))


def _cv_line(clip: DemoClip, columns: list[str], path: str, sentence: str) -> str:
    row = {
        **clip.row,
        "path": path,
        "sentence": sentence,
        "accent": clip.row["accents"],
        "sentence_id": "0a1b" * 16,
        "sentence_domain": "general",
    }
    if "sentence_id" in columns:
        row["gender"] = _CV_17_GENDERS.get(row["gender"], "")
    return "\t".join(row.get(column, "") for column in columns)


def vctk(demo: Demo, folder: Path, base: str) -> Layout:
    """The tree; where there is no second microphone, the first is read."""
    shutil.copytree(demo.root / VCTK, folder / VCTK)
    utterances = [Expected.of(clip, audio=second_microphone(clip)) for clip in demo.of("vctk", "en")]
    return Layout({"type": "vctk", "name": "vctk", "path": f"{base}/{VCTK}"}, tuple(utterances))


def vctk_first_microphone(demo: Demo, folder: Path, base: str) -> Layout:
    """The tree with the first microphone asked for."""
    layout = vctk(demo, folder, base)
    utterances = tuple(Expected.of(clip) for clip in demo.of("vctk", "en"))
    return Layout({**layout.corpus, "mic": "mic1"}, utterances)


def second_microphone(clip: DemoClip) -> Path:
    """Return the file of the second microphone, or the first one's where there is none."""
    second = clip.file.with_name(clip.file.name.replace("_mic1", "_mic2"))
    return second if second.exists() else clip.file


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
