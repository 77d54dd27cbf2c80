from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from lhotse import CutSet, MonoCut, MultiCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource
from numpy.typing import NDArray

from sift_ray.config import LhotseConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.audio_uri import parse_audio_uri
from sift_ray.corpora.lhotse_manifest import read_lhotse
from sift_ray.corpora.values import language_of

RATE = 16_000


@pytest.fixture
def noise(tmp_path: Path) -> Callable[..., NDArray[np.int16]]:
    """Write noise as 16 bit under the test's folder; return its samples, [frames, channels]."""

    def write(name: str, seconds: float, channels: int = 1) -> NDArray[np.int16]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(3).integers(-9000, 9000, (round(seconds * RATE), channels)).astype(np.int16)
        sf.write(path, samples, RATE, subtype="PCM_16")
        return samples

    return write


Noise = Callable[..., NDArray[np.int16]]


def recording(name: str, seconds: float, *sources: AudioSource, recording_id: str = "rec") -> Recording:
    return Recording(
        id=recording_id,
        sources=list(sources) or [AudioSource("file", [0], name)],
        sampling_rate=RATE,
        num_samples=round(seconds * RATE),
        duration=seconds,
    )


def supervision(start: float, duration: float, own_id: str = "sup", **fields: Any) -> SupervisionSegment:
    return SupervisionSegment(own_id, "rec", start, duration, **{"text": "hello", "language": "English", **fields})


def cut(
    of: Recording | None, start: float, duration: float, *supervisions: SupervisionSegment, **fields: Any
) -> MonoCut:
    return MonoCut(
        **{"id": "cut", "channel": 0, **fields},
        start=start,
        duration=duration,
        supervisions=list(supervisions),
        recording=of,
    )


def read(
    path: Path, items: Iterable[Any] | str = (), reading: Reading | None = None, **options: Any
) -> list[Utterance]:
    """Write cuts through Lhotse (or text as it is), and read the manifest."""
    if isinstance(items, str):
        path.write_bytes(items.encode("utf-8", "surrogateescape"))
    elif items := list(items):
        CutSet.from_cuts(items).to_file(path)
    return list(read_corpus(LhotseConfig(type="lhotse", name="mine", path=str(path), **options), reading))


def samples_at(address: str | None) -> NDArray[np.int16]:
    """Read what an address names: [frames, channels]."""
    assert address is not None
    uri = parse_audio_uri(address)
    end = None if uri.end_s is None else round(uri.end_s * RATE)
    samples, _ = sf.read(uri.file, dtype="int16", always_2d=True)
    samples = samples[round((uri.start_s or 0.0) * RATE) : end]
    return samples if uri.channel is None else samples[:, [uri.channel]]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_a_cut_in_full(tmp_path: Path, noise: Noise, name: str) -> None:
    noise("clips/a.wav", 1.5)
    said = supervision(
        0.0,
        1.5,
        text="Hello,  world",
        language="English",
        speaker="ann",
        gender="Female",
        custom={"age": 35, "accents": "Wien", "split": "validation", "dnsmos": [1, 2]},
    )
    whole = cut(Recording.from_file(tmp_path / "clips" / "a.wav"), 0.0, 1.5, said)
    assert read(tmp_path / name, [whole], license="CC0-1.0") == [
        Utterance(
            utterance_id="cut",
            corpus="mine",
            data_source="mine_en",
            language="en",
            split="dev",
            speaker_id="ann",
            gender="female",
            age="thirties",
            accent="Wien",
            transcript="Hello, world",
            audio_uri=str(tmp_path / "clips" / "a.wav"),
            duration_s=1.5,
            license="CC0-1.0",
        )
    ]


def test_supervisions_are_spans_within_their_cut(tmp_path: Path, noise: Noise) -> None:
    samples = noise("a.flac", 6.0)
    rec = recording("a.flac", 6.0)
    cuts = [
        cut(rec, 1.0, 4.0, supervision(0.5, 1.0, "s1"), supervision(2.0, 1.25, "s2"), id="several"),
        cut(rec, 1.0, 2.0, supervision(0.0, 2.0, "s3"), id="same"),
        cut(rec, 1.0, 2.0, supervision(0.25, 1.0, "s4"), id="shorter"),
        cut(rec, 2.5, 1.0, id="unsaid"),
        cut(rec, 1.0, 2.0, supervision(-0.5, 1.0, "s5"), supervision(1.5, 0.55, "s6"), supervision(1.5, 2, "s7")),
        cut(rec, 0.0, 5.9995, supervision(0.0, 6.0, "s8"), id="nearly"),
        cut(rec, 5.5, 0.55, supervision(0.1, 0.45, "s9"), id="beyond"),
    ]
    rows = read(tmp_path / "cuts.jsonl.gz", cuts, language="en", split="train")
    spans = {
        "s1": (1.5, 2.5),
        "s2": (3.0, 4.25),
        "same": (1.0, 3.0),
        "s4": (1.25, 2.25),
        "unsaid": (2.5, 3.5),
        "s5": (1.0, 1.5),
        "s6": (2.5, 3.0),
        "s7": (2.5, 3.0),
        "nearly": (0.0, 6.0),
        "s9": (5.6, 6.0),
    }
    assert [row.utterance_id for row in rows] == list(spans)
    assert [row.reject_reason for row in rows] == [None] * len(spans)
    for row, (start, end) in zip(rows, spans.values(), strict=True):
        np.testing.assert_array_equal(samples_at(row.audio_uri), samples[round(start * RATE) : round(end * RATE)])
        assert row.duration_s == pytest.approx(end - start, abs=0.001)
    # a text of which a part may be unheard is none
    assert {row.utterance_id for row in rows if row.transcript is None} == {"unsaid", "s5", "s7"}
    assert "#" not in (rows[8].audio_uri or "")


def test_spans_are_those_of_lhotses_own_trimming(tmp_path: Path, noise: Noise) -> None:
    noise("a.wav", 5.0)
    rng = np.random.default_rng(11)
    starts, durations = rng.uniform(0, 3, 20).round(3), rng.uniform(0.1, 1, 20).round(3)
    said = [supervision(*place, f"s{n}") for n, place in enumerate(zip(starts, durations, strict=True))]
    whole = cut(recording(str(tmp_path / "a.wav"), 5.0), 0.5, 4.25, *said)
    rows = read(tmp_path / "cuts.jsonl", [whole])
    trimmed = CutSet.from_cuts([whole]).trim_to_supervisions(keep_overlapping=False)
    for row, piece in zip(rows, trimmed, strict=True):
        assert row.utterance_id == piece.id
        audio = piece.load_audio()[0] * 32768
        mine = samples_at(row.audio_uri)[:, 0]
        assert abs(len(audio) - len(mine)) <= 1  # half a sample is rounded either way
        length = min(len(audio), len(mine))
        np.testing.assert_array_equal(mine[:length], np.round(audio[:length]))


def test_channels_are_places_in_the_source_that_holds_them(tmp_path: Path, noise: Noise) -> None:
    mono, stereo = noise("mono.wav", 1.0), noise("stereo.wav", 1.0, channels=2)
    rec = recording("", 1.0, AudioSource("file", [0], "mono.wav"), AudioSource("file", [4, 7], "stereo.wav"))
    cuts = [cut(rec, 0.0, 1.0, id=f"c{channel}", channel=channel) for channel in (0, 4, 7, 9)]
    cuts.append(cut(rec, 0.25, 0.5, id="part", channel=7))
    rows = read(tmp_path / "cuts.jsonl", cuts, language="fr")
    assert [row.reject_reason for row in rows] == [None, None, None, "missing_channel", None]
    expected = [mono, stereo[:, :1], stereo[:, 1:], None, stereo[4_000:12_000, 1:]]
    for row, samples in zip(rows, expected, strict=True):
        if samples is not None:
            np.testing.assert_array_equal(samples_at(row.audio_uri), samples)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_supervisions_with_their_recordings(tmp_path: Path, noise: Noise, suffix: str) -> None:
    samples = noise("a.wav", 3.0)
    noise("b.wav", 1.0, channels=2)
    recordings = [
        recording("a.wav", 3.0),
        recording("b.wav", 1.0, AudioSource("file", [0, 1], "b.wav"), recording_id="two"),
        recording("b.wav", 1.0, recording_id="faster").perturb_speed(1.1),
        recording("", 1.0, AudioSource("command", [0], "touch ran"), recording_id="piped"),
    ]
    segments = [
        supervision(0.5, 1.25, "s1", speaker=7, gender="M"),
        supervision(2.0, 1.05, "s2"),
        supervision(0.0, 3.0, "s3"),
        supervision(3.0, 1.0, "s4"),
        SupervisionSegment("s5", "two", 0.0, 1.0, channel=[1], language="de"),
        SupervisionSegment("s6", "two", 0.0, 1.0, channel=[0, 1], language="de"),
        SupervisionSegment("s7", "faster_sp1.1", 0.0, 0.5, language="de"),
        SupervisionSegment("s8", "piped", 0.0, 0.5, language="de"),
        SupervisionSegment("s9", "absent", 0.0, 0.5, language="de"),
    ]
    RecordingSet.from_recordings(recordings).to_file(tmp_path / f"recordings{suffix}")
    SupervisionSet.from_segments(segments).to_file(tmp_path / f"supervisions{suffix}")
    rows = read(tmp_path / f"supervisions{suffix}", recordings=str(tmp_path / f"recordings{suffix}"))
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [
        ("s1", None),
        ("s2", None),
        ("s3", None),
        ("s4", "bad_segment"),
        ("s5", None),
        ("s6", "unsupported_cut"),
        ("s7", "unsupported_cut"),
        ("s8", "unsupported_source"),
        ("s9", "missing_recording"),
    ]
    np.testing.assert_array_equal(samples_at(rows[0].audio_uri), samples[8_000:28_000])
    np.testing.assert_array_equal(samples_at(rows[1].audio_uri), samples[32_000:])
    assert rows[2].audio_uri == str(tmp_path / "a.wav")
    assert parse_audio_uri(rows[4].audio_uri or "").channel == 1
    assert (rows[0].speaker_id, rows[0].gender, rows[0].duration_s) == ("7", "male", 1.25)
    assert not any(row.gender_withheld for row in rows)  # (of the others nothing is told)
    assert f"supervisions{suffix}:8: audio of type 'command' is not read, as commands are never run" in (
        rows[7].reject_detail or ""
    )
    assert "Speed" in (rows[6].reject_detail or "")


def test_damaged_recordings_cost_their_own_supervisions(tmp_path: Path, noise: Noise) -> None:
    noise("a.wav", 1.0)
    noise("b.wav", 1.0)
    good = json.dumps(recording("a.wav", 1.0).to_dict())
    lines = [
        good,
        good,
        '{"id": "torn", "sour',
        json.dumps({"id": "odd", "sources": 5}),
        json.dumps(recording("a.wav", 1.0, recording_id="two").to_dict()),
        json.dumps(recording("b.wav", 1.0, recording_id="two").to_dict()),
    ]
    (tmp_path / "recordings.jsonl").write_text("\n".join(lines))
    names = ("rec", "torn", "odd", "two")
    segments = [SupervisionSegment(f"s{n}", name, 0.0, 1.0, language="es") for n, name in enumerate(names)]
    SupervisionSet.from_segments(segments).to_file(tmp_path / "supervisions.jsonl")
    rows = read(tmp_path / "supervisions.jsonl", recordings=str(tmp_path / "recordings.jsonl"))
    reasons = [None, "missing_recording", "bad_json", "ambiguous_recording"]
    assert [row.reject_reason for row in rows] == reasons
    assert "recordings.jsonl:3" in (rows[1].reject_detail or "")
    assert "recordings.jsonl:4" in (rows[2].reject_detail or "")
    assert "recordings.jsonl:6" in (rows[3].reject_detail or "")


def test_each_bad_cut_is_a_reject_and_the_others_are_read(tmp_path: Path, noise: Noise) -> None:
    root = tmp_path / "clips"
    noise("clips/a.wav", 2.0)
    noise("secret.wav", 2.0)
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    (root / "empty.wav").write_bytes(b"")

    def line(own_id: str, source: str = "a.wav", source_type: str = "file", **fields: Any) -> str:
        rec = recording("", 2.0, AudioSource(source_type, [0], source))
        said = supervision(0.0, 2.0)
        return json.dumps({**cut(rec, 0.0, 2.0, said, id=own_id).to_dict(), **fields})

    def saying(own_id: str, **fields: Any) -> str:
        return line(own_id, supervisions=[{**supervision(0.0, 2.0).to_dict(), **fields}])

    good = cut(recording("a.wav", 2.0), 0.0, 2.0, supervision(0.0, 2.0))
    transformed = cut(recording("a.wav", 2.0).perturb_speed(1.1), 0.0, 1.0)
    stereo = recording("", 2.0, AudioSource("file", [0, 1], "a.wav"))
    multi = MultiCut("c28", start=0.0, duration=2.0, channel=[0, 1], recording=stereo)
    cases: list[tuple[str, str | None]] = [
        ('{"id": "torn", "type": "Mono', "bad_json"),
        ("[1, 2]", "bad_json"),
        ("null", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ('{"id": "nothing"}', "bad_json"),
        (line("c6", colour="blue"), "bad_json"),
        (line("c7", start="soon"), "bad_json"),
        (line("c8", duration=float("nan")), "bad_json"),
        (line("c9", duration=10**400), "bad_json"),
        (line("c10", supervisions=[{"id": "s"}]), "bad_json"),
        (saying("c11", text=["a"]), "bad_json"),
        (line("c12", recording={"id": "r", "sources": [{"type": "file", "channels": None, "source": 3}]}), "bad_json"),
        (line("c13", source_type="command", source=f"touch {tmp_path}/ran"), "unsupported_source"),
        (line("c14", source_type="memory", source="UklGRg=="), "unsupported_source"),
        (line("c15", source_type="shar", source=""), "unsupported_source"),
        (line("c16", source_type="url", source="https://example.org/a.wav"), "web_refused"),
        (line("c17", source_type="url", source="gs://bucket/a.wav"), "path_outside_root"),
        (line("c18", source="../secret.wav"), "path_outside_root"),
        (line("c19", source=str(tmp_path / "secret.wav")), "path_outside_root"),
        (line("c20", source="link.wav"), "path_outside_root"),
        (line("c21", source="absent.wav"), "missing_audio"),
        (line("c22", source="empty.wav"), "empty_audio"),
        (line("c23", source="nul\0.wav"), "nul_byte"),
        (json.dumps(good.append(good).to_dict()), "unsupported_cut"),
        (json.dumps(good.pad(5.0).to_dict()), "unsupported_cut"),
        (json.dumps(multi.to_dict()), "unsupported_cut"),
        (json.dumps(transformed.to_dict()), "unsupported_cut"),
        (json.dumps(cut(None, 0.0, 1.0).to_dict()), "unsupported_cut"),
        (line("c29", start=5.0, supervisions=[]), "bad_segment"),
        (line("c30", duration=0.0, supervisions=[]), "bad_segment"),
        (line(""), "empty_id"),
        (line("c/32"), "unsafe_id"),
        (saying("c33", language="Klingon"), "unknown_language"),
        (saying("c34", language=None), "unknown_language"),
        (saying("c35", custom={"split": "holdout"}), "unknown_split"),
        (saying("c36", text="Привет, мир"), "transcript_script"),
        (saying("c37", text="nul \0 byte"), "nul_byte"),
        (saying("c38", text="\udcff").replace("\\udcff", "\udcff"), "not_utf8"),
        (line("c39") + "\0", "nul_byte"),
        (json.dumps(supervision(0, 1).to_dict()), "bad_json"),
        (json.dumps(recording("a.wav", 2.0).to_dict()), "bad_json"),
        ("", None),
        (line("c42") + "\r", None),
    ]
    text = "\ufeff" + "\n".join(content for content, _ in cases)
    rows = read(tmp_path / "cuts.jsonl", text, root=str(root))
    expected = [(number, reason) for number, (content, reason) in enumerate(cases, 1) if content]
    assert [row.reject_reason for row in rows] == [reason for _, reason in expected]
    for row, (number, reason) in zip(rows, expected, strict=True):
        assert reason is None or f"cuts.jsonl:{number}: " in (row.reject_detail or "")
        assert row.utterance_id
    assert rows[0].utterance_id == "mine#line1"
    assert rows[6].utterance_id == "c7"
    assert not (tmp_path / "ran").exists()


def test_audio_that_lhotse_would_only_resample_is_read(tmp_path: Path, noise: Noise) -> None:
    noise("a.wav", 2.0)
    rec = recording("a.wav", 2.0)
    cuts = [cut(rec.resample(rate), 0.0, 2.0, id=str(rate)) for rate in (8_000, 22_050)]
    rows = read(tmp_path / "cuts.jsonl", cuts, language="en")
    assert [row.reject_reason for row in rows] == ["unsupported_cut", None]  # 8 kHz hold less than we measure


def test_addresses_in_buckets_and_on_the_web(tmp_path: Path) -> None:
    rec = recording("", 2.0, AudioSource("url", [0], "https://example.org/a.flac"))
    rows = read(tmp_path / "c.jsonl", [cut(rec, 0.5, 1, id="web")], language="en", https_hosts=("example.org",))
    assert rows[0].audio_uri == "https://example.org/a.flac#t=0.5,1.5"
    rec = recording("", 2.0, AudioSource("url", [0], "s3://bucket/clips/a.flac"))
    assert read(tmp_path / "c.jsonl", [cut(rec, 0.5, 1)], language="en")[0].reject_reason == "path_outside_root"


def test_old_lhotse_called_mono_cuts_cuts(tmp_path: Path, noise: Noise) -> None:
    noise("a.wav", 2.0)
    old = {**cut(recording("a.wav", 2.0), 0.0, 2.0).to_dict(), "type": "Cut"}
    assert read(tmp_path / "c.jsonl", json.dumps(old), language="en")[0].reject_reason is None


def test_languages_that_the_config_leaves_out_are_skipped(tmp_path: Path, noise: Noise) -> None:
    noise("a.wav", 2.0)
    names = ("english", "de_DE", "FR", "Polish", None)
    said = [supervision(0, 1, f"s{n}", language=name) for n, name in enumerate(names)]
    reading = Reading()
    cuts = [cut(recording("a.wav", 2.0), 0.0, 2.0, *said)]
    rows = read(tmp_path / "c.jsonl", cuts, reading, language="it", languages=("de", "it"))
    assert [(row.utterance_id, row.data_source, row.reject_reason) for row in rows] == [
        ("s1", "mine_de", None),
        ("s3", "mine_polish", "unknown_language"),
        ("s4", "mine_it", None),
    ]
    assert sum(reading.skipped.values()) == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *[("English", "en"), ("en-US", "en"), ("eng", "en"), ("English-Nigeria", "en"), (" German ", "de")],
        *[("de_DE", "de"), ("fre", "fr"), ("french", "fr"), ("ITA", "it"), ("es_419", "es"), ("spanish", "es")],
        *[("", None), ("enx", None), ("Mandarin", None), ("entish", None)],
    ],
)
def test_names_of_languages(name: str, code: str | None) -> None:
    assert language_of(name) == code


def test_whole_file_problems(tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    noise("a.wav", 2.0)
    rec = recording("a.wav", 2.0)
    (tmp_path / "rec.jsonl").write_text(json.dumps(rec.to_dict()))
    (tmp_path / "sup.jsonl").write_text("torn {\n" + json.dumps(supervision(0, 1).to_dict()))
    (tmp_path / "cut.jsonl").write_text(json.dumps(cut(rec, 0, 2).to_dict()))
    (tmp_path / "cuts.json").write_text("[]")
    with pytest.raises(CorpusError, match=r"rec\.jsonl:1: this manifest holds recordings"):
        read(tmp_path / "rec.jsonl")
    with pytest.raises(CorpusError, match=r"sup\.jsonl:2: supervisions name no audio: .*`recordings`"):
        read(tmp_path / "sup.jsonl")
    with pytest.raises(CorpusError, match=r"cut\.jsonl:1: cuts carry their recordings"):
        read(tmp_path / "cut.jsonl", recordings=str(tmp_path / "rec.jsonl"))
    with pytest.raises(CorpusError, match=r"cuts\.json: .*lhotse copy"):
        read(tmp_path / "cuts.json")
    for name in ("lhotse", "torch"):  # (which Lhotse needs)
        with monkeypatch.context() as patch:
            for module in [module for module in sys.modules if module.partition(".")[0] == "lhotse"]:
                patch.delitem(sys.modules, module)
            patch.setitem(sys.modules, name, None)
            with pytest.raises(CorpusError, match=rf"cut\.jsonl: .*sift-ray\[lhotse\].*{name}"):
                read(tmp_path / "cut.jsonl")


def test_a_truncated_or_corrupt_gzip_is_an_error_naming_the_file(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d\n" % number**9 for number in range(50_000)))
    for content in (packed[: len(packed) // 2], packed[:1000] + b"\xff" * 1000 + packed[2000:], b"no gzip"):
        (tmp_path / "cuts.jsonl.gz").write_bytes(content)
        with pytest.raises(CorpusError, match=r"cuts\.jsonl\.gz: .*incomplete"):
            read(tmp_path / "cuts.jsonl.gz")


def test_reading_streams(tmp_path: Path) -> None:
    line = json.dumps(cut(recording("a.wav", 2.0), 0, 2).to_dict()) + "\n"
    packed = gzip.compress(line.encode() * 20_000)
    (tmp_path / "cuts.jsonl.gz").write_bytes(packed[:-100])
    rows = read_lhotse(LhotseConfig(type="lhotse", name="m", path=str(tmp_path / "cuts.jsonl.gz")), Reading())
    seen = [next(rows).utterance_id for _ in range(15_000)]
    assert len(seen) == 15_000  # the end, which is missing, was not looked at yet
    with pytest.raises(CorpusError):
        list(rows)
