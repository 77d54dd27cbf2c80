"""Lists that users make: manifests, NeMo, Lhotse, Kaldi; and tars."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from .demo_clips import Demo, DemoClip, Expected, Layout
from .hub import embedded, write_shard

_GAP_S = 0.25


def _some(demo: Demo) -> list[DemoClip]:
    """Clips of every format that the demo has: FLAC at 16 and 48 kHz, and MP3."""
    return [*demo.of("mls", "it", "fr")[:8], *demo.of("common_voice", "es")[:3], *demo.of("vctk", "en")]


def _rows(demo: Demo, folder: Path) -> list[dict[str, str]]:
    """Copy clips into the folder; return a row for each."""
    rows = []
    for clip in _some(demo):
        target = folder / "clips" / clip.language / clip.file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip.file, target)
        rows.append(
            {
                "id": clip.utterance_id,
                "audio": str(target.relative_to(folder)),
                "transcript": clip.transcript,
                "language": clip.language,
                "speaker_id": clip.speaker_id,
                "gender": clip.gender,
                "split": clip.split,
            }
        )
    return rows


def _manifest(demo: Demo, base: str, name: str) -> Layout:
    section = {"type": "manifest", "name": "list", "path": f"{base}/{name}"}
    return Layout(section, tuple(Expected.of(clip) for clip in _some(demo)))


def manifest_tsv(demo: Demo, folder: Path, base: str) -> Layout:
    """Relative paths, nothing quoted."""
    return _table(demo, folder, base, "list.tsv", delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)


def manifest_csv(demo: Demo, folder: Path, base: str) -> Layout:
    """Relative paths, fields quoted."""
    return _table(demo, folder, base, "list.csv", quoting=csv.QUOTE_ALL)


def _table(demo: Demo, folder: Path, base: str, name: str, **dialect: Any) -> Layout:
    rows = _rows(demo, folder)
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **dialect)
        writer.writeheader()
        writer.writerows(rows)
    return _manifest(demo, base, name)


def manifest_jsonl(demo: Demo, folder: Path, base: str) -> Layout:
    """Absolute addresses."""
    rows = [{**row, "audio": f"{base}/{row['audio']}"} for row in _rows(demo, folder)]
    _write_jsonl(folder / "list.jsonl", rows)
    return _manifest(demo, base, "list.jsonl")


def manifest_parquet(demo: Demo, folder: Path, base: str) -> Layout:
    """Paths in a Parquet column."""
    write_shard(folder / "list.parquet", _rows(demo, folder))
    return _manifest(demo, base, "list.parquet")


def manifest_parquet_embedded(demo: Demo, folder: Path, base: str) -> Layout:
    """The audio itself in a Parquet column."""
    rows = [{**row, "audio": embedded(folder / row["audio"])} for row in _rows(demo, folder)]
    shutil.rmtree(folder / "clips")
    write_shard(folder / "list.parquet", rows)
    return _manifest(demo, base, "list.parquet")


@dataclass(frozen=True)
class Span:
    """Where a clip lies in a long recording, in samples of its rate."""

    clip: DemoClip
    file: str
    rate: int
    start: int
    length: int

    @property
    def start_s(self) -> float:
        return self.start / self.rate

    @property
    def duration_s(self) -> float:
        return self.length / self.rate

    @property
    def name(self) -> str:
        """The file's stem, and start and end in milliseconds."""
        start, end = (round(1000 * time) for time in (self.start_s, self.start_s + self.duration_s))
        return f"{Path(self.file).stem}-{start:08d}-{end:08d}"


def _recording(clips: Sequence[DemoClip], folder: Path, name: str) -> list[Span]:
    """Write clips one after the other, gaps between them, as one recording."""
    spans: list[Span] = []
    pieces: list[Any] = []
    place = 0
    for clip in clips:
        samples, rate = sf.read(clip.file, dtype="float32")
        gap = round(_GAP_S * rate)
        spans.append(Span(clip, name, rate, place + gap, len(samples)))
        pieces += [np.zeros(gap, np.float32), samples]
        place += gap + len(samples)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    subtype = "FLOAT" if name.endswith(".wav") else None  # what an MP3 decodes to is not of 16 bits
    sf.write(folder / name, np.concatenate(pieces), spans[0].rate, subtype=subtype)
    return spans


def manifest_spans(demo: Demo, folder: Path, base: str) -> Layout:
    """Seconds of a long recording."""
    spans = _recording(demo.of("mls", "de"), folder, "long/german.flac")
    lines = [
        f"{span.clip.utterance_id}\t{span.file}#t={span.start_s!r},{span.start_s + span.duration_s!r}\t"
        f"{span.clip.transcript}\tde\n"
        for span in spans
    ]
    (folder / "spans.tsv").write_text("id\taudio\ttranscript\tlanguage\n" + "".join(lines), encoding="utf-8")
    utterances = tuple(Expected.of(span.clip, split=None) for span in spans)
    return Layout({"type": "manifest", "name": "spans", "path": f"{base}/spans.tsv"}, utterances)


def nemo(demo: Demo, folder: Path, base: str) -> Layout:
    """Offsets into long recordings, by relative and absolute paths; ids come from the file and the span."""
    spans = _recording(demo.of("mls", "de"), folder, "long/german.flac")
    spans += _recording(demo.of("mls", "it"), folder, "long/italian.flac")
    spans += _recording(demo.of("common_voice", "es"), folder, "long/spanish.mp3")
    lines = [
        {
            "audio_filepath": span.file if span.clip.language == "de" else f"{base}/{span.file}",
            "offset": span.start_s,
            "duration": span.duration_s,
            "text": span.clip.transcript,
            "lang": span.clip.language,
        }
        for span in spans
    ]
    _write_jsonl(folder / "manifest.json", lines)
    utterances = tuple(
        Expected.of(span.clip, utterance_id=span.name, split=None, lossy=span.file.endswith(".mp3")) for span in spans
    )
    return Layout({"type": "nemo", "name": "nemo", "path": f"{base}/manifest.json"}, utterances)


def lhotse_cuts(demo: Demo, folder: Path, base: str) -> Layout:
    """Cuts, one a supervision, in packed JSON lines."""
    recordings, supervisions, utterances = _lhotse(demo, folder, base)
    from lhotse import CutSet

    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions).trim_to_supervisions(
        keep_overlapping=False
    )
    cuts = CutSet.from_cuts(cut.with_id(cut.supervisions[0].id) for cut in cuts)
    cuts.to_file(folder / "cuts.jsonl.gz")
    return Layout({"type": "lhotse", "name": "cuts", "path": f"{base}/cuts.jsonl.gz", "root": base}, utterances)


def lhotse_supervisions(demo: Demo, folder: Path, base: str) -> Layout:
    """Supervisions and the recordings that they are of."""
    recordings, supervisions, utterances = _lhotse(demo, folder, base)
    recordings.to_file(folder / "recordings.jsonl.gz")
    supervisions.to_file(folder / "supervisions.jsonl.gz")
    section = {
        "type": "lhotse",
        "name": "supervisions",
        "path": f"{base}/supervisions.jsonl.gz",
        "recordings": f"{base}/recordings.jsonl.gz",
    }
    return Layout(section, utterances)


def _lhotse(demo: Demo, folder: Path, base: str) -> tuple[Any, Any, tuple[Expected, ...]]:
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    recordings, supervisions, utterances = [], [], []
    for language in ("de", "it"):
        spans = _recording(demo.of("mls", language), folder, f"long/{language}.flac")
        own = Recording.from_file(folder / spans[0].file, recording_id=f"long-{language}")
        # one by a path relative to the list, one by its address
        recordings.append(own.with_path_prefix(base) if language == "it" else own)
        source = recordings[-1].sources[0]
        source.source = spans[0].file if language == "de" else f"{base}/{spans[0].file}"
        source.type = "url" if source.source.startswith("s3://") else "file"
        for span in spans:
            supervisions.append(
                SupervisionSegment(
                    id=span.clip.utterance_id,
                    recording_id=own.id,
                    start=span.start_s,
                    duration=span.duration_s,
                    text=span.clip.transcript,
                    language=language,
                    speaker=span.clip.speaker_id,
                    gender=span.clip.gender,
                )
            )
            utterances.append(Expected.of(span.clip, split=None))
    return (
        RecordingSet.from_recordings(recordings),
        SupervisionSet.from_segments(supervisions),
        tuple(utterances),
    )


def kaldi(demo: Demo, folder: Path, base: str) -> Layout:
    """Segments of two recordings, one piped out of FLAC as Kaldi's recipes do, one by its address."""
    mls, cv = demo.of("mls", "de"), demo.of("common_voice", "de")
    spans = [*_recording(mls, folder, "long/books.flac"), *_recording(cv, folder, "long/clips.wav")]
    names = {"long/books.flac": "books", "long/clips.wav": "clips"}
    files = {
        "wav.scp": ["books flac -c -d -s long/books.flac |", f"clips {base}/long/clips.wav"],
        "text": [f"{span.clip.utterance_id} {span.clip.transcript}" for span in spans],
        "utt2spk": [f"{span.clip.utterance_id} {span.clip.speaker_id}" for span in spans],
        "spk2gender": sorted({f"{span.clip.speaker_id} {span.clip.gender[0]}" for span in spans}),
        "segments": [
            f"{span.clip.utterance_id} {names[span.file]} {span.start_s!r} {span.start_s + span.duration_s!r}"
            for span in spans
        ],
    }
    _write_kaldi(folder, files)
    utterances = tuple(Expected.of(span.clip, split=None) for span in spans)
    return Layout({"type": "kaldi", "name": "kaldi", "path": base, "language": "de"}, utterances)


def kaldi_whole(demo: Demo, folder: Path, base: str) -> Layout:
    """A recording an utterance, in a language of its own; the audio lies beside the data folder."""
    rows = _rows(demo, folder)
    files = {
        "wav.scp": [f"{row['id']} {base}/{row['audio']}" for row in rows],
        "text": [f"{row['id']} {row['transcript']}" for row in rows],
        "utt2spk": [f"{row['id']} {row['speaker_id']}" for row in rows],
        "utt2lang": [f"{row['id']} {row['language']}" for row in rows],
    }
    _write_kaldi(folder / "data", files)
    section = {"type": "kaldi", "name": "kaldi", "path": f"{base}/data", "root": base, "split": "dev"}
    return Layout(section, tuple(Expected.of(clip, split="dev") for clip in _some(demo)))


def _write_kaldi(folder: Path, files: dict[str, list[str]]) -> None:
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


def webdataset(demo: Demo, folder: Path, base: str) -> Layout:
    """Shards named by split; a sample is its audio and a JSON file."""
    clips = [*demo.of("mls", "it"), *demo.of("common_voice", "es"), *demo.of("vctk", "en")]
    for split in ("train", "dev", "test"):
        write_tar(folder / f"{split}-000000.tar", [clip for clip in clips if clip.split == split])
    return Layout({"type": "webdataset", "name": "shards", "path": base}, tuple(Expected.of(clip) for clip in clips))


def webdataset_texts(demo: Demo, folder: Path, base: str) -> Layout:
    """Shards in folders; a sample is its audio and its text, in the language that the config says."""
    clips = demo.of("common_voice", "de")
    for split in ("train", "dev", "test"):
        samples = {
            clip.utterance_id: {clip.file.suffix: clip.file.read_bytes(), ".txt": f"{clip.transcript}\n".encode()}
            for clip in clips
            if clip.split == split
        }
        write_samples(folder / split / "000000.tar", samples)
    section = {"type": "webdataset", "name": "shards", "path": base, "language": "de"}
    return Layout(section, tuple(Expected.of(clip) for clip in clips))


def write_tar(path: Path, clips: Sequence[DemoClip]) -> None:
    """Write clips as the samples of one shard, each with a JSON file."""
    samples = {}
    for clip in clips:
        sidecar = {
            "text": clip.transcript,
            "language": clip.language,
            "speaker_id": clip.speaker_id,
            "gender": clip.gender,
        }
        content = json.dumps(sidecar, ensure_ascii=False).encode("utf-8")
        samples[clip.utterance_id] = {clip.file.suffix: clip.file.read_bytes(), ".json": content}
    write_samples(path, samples)


def write_samples(path: Path, samples: Mapping[str, Mapping[str, bytes]]) -> None:
    """Write a shard: for each stem its files, suffix → content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for stem, files in samples.items():
            for suffix, content in files.items():
                member = tarfile.TarInfo(f"{stem}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
