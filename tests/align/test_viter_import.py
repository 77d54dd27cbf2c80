from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from sift_ray.align import foreign_model, viter_checks
from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.protocol import AlignError, AlignmentJob, TrainingClip, UtteranceAlignment, WordSpan
from sift_ray.align.seed_speech import seed_speech
from sift_ray.align.signal import pad
from sift_ray.align.transcripts import SpokenWord, prepare
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.align.viter_engine import ViterModel
from sift_ray.align.viter_files import TokenDictionary
from sift_ray.align.viter_import import import_model
from sift_ray.align.viter_training import train_model
from sift_ray.schema import SAMPLE_RATE
from tests.align.conftest import Trained, TrueClip
from tests.align.kaldi_model import FEATURES, STATES, mfcc, spliced, write_mfa_model
from tests.align.test_inventory import ARPA_STRESSED

States = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
MFA_NAMES = {"aɪ": "aj", "aʊ": "aw", "ɔø": "ɔʏ", "r": "ʁ", "ɾ": "ʁ", "ɜ": "ɐ", "ɑː": "aː", "t": "tʰ", "n": "n̪"}


def _samples(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples[:, 0], rate, SAMPLE_RATE), np.float32)


def _spans(folder: Path, language: str, clips: list[TrainingClip]) -> list[list[WordSpan]]:
    jobs = [AlignmentJob(clip.waveform, clip.transcript) for clip in clips]
    outcomes = ViterAligner({language: folder}, min_score=0.0).align(language, jobs)
    assert all(isinstance(outcome, UtteranceAlignment) for outcome in outcomes), outcomes
    return [outcome.words for outcome in outcomes if isinstance(outcome, UtteranceAlignment)]


def _starts(spans: list[list[WordSpan]]) -> NDArray[np.float64]:
    return np.array([word.start_s for word in chain.from_iterable(spans)], np.float64)


def _onsets(clips: list[TrueClip]) -> NDArray[np.float64]:
    return np.array([onset for true in clips for onset in true.onsets_s])


@pytest.fixture(scope="module")
def german_states(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[States, States]:
    """Gaussians of the states of each phone, as the trained model lays the phones over its clips and more speech.

    First those of `mfcc`, then those of `spliced`.
    """
    clips = [true.clip for true in trained.clips]
    clips += seed_speech("de", [clip.transcript for clip in clips], 120.0, 5)
    dictionary = tmp_path_factory.mktemp("states") / "dict.txt"
    dictionary.touch()
    model = ViterModel(trained.folder / "model.viter", dictionary)
    durations = [clip.waveform.size / SAMPLE_RATE for clip in clips]
    texts = prepare(Lexicon("de"), Inventory(model.phones), [clip.transcript for clip in clips], durations)
    tokens = TokenDictionary()
    lines = [tokens.line(w.pronunciations for w in text if isinstance(w, SpokenWord)) for text in texts]
    tokens.write(dictionary)
    waveforms = [pad(clip.waveform) for clip in clips]
    frames: dict[str, list[list[NDArray[np.float64]]]] = {}
    for waveform, raw in zip(waveforms, model.align(waveforms, lines), strict=True):
        assert raw is not None
        cepstra = mfcc(waveform)
        features = np.hstack([cepstra, spliced(cepstra)])
        for interval in raw.intervals:
            own = features[round(100 * interval.start_s) : round(100 * interval.end_s)]
            frames.setdefault(interval.phone, []).append(np.array_split(own, STATES))
    every = np.vstack([part for parts in frames.values() for part in chain.from_iterable(parts)])
    states = {
        phone: _gaussians([np.vstack(state) for state in zip(*parts, strict=True)], every)
        for phone, parts in frames.items()
    }
    states |= {"spn": _gaussians([every] * STATES, every)}
    half = every.shape[1] // 2
    first, second = slice(None, half), slice(half, None)
    return tuple({phone: (m[:, part], v[:, part]) for phone, (m, v) in states.items()} for part in (first, second))


def _gaussians(
    states: list[NDArray[np.float64]], every: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = np.array([[len(state)] for state in states])
    means = np.stack([state.sum(axis=0) for state in states]) + 2 * every.mean(axis=0)
    spread = np.stack([state.var(axis=0) if len(state) else every.var(axis=0) for state in states])
    return means / (count + 2), (count * spread + 10 * every.var(axis=0)) / (count + 10)


@pytest.fixture(scope="module")
def mfa_zip(german_states: tuple[States, States], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mfa") / "german_like.zip"
    write_mfa_model(path, {MFA_NAMES.get(phone, phone): place for phone, place in german_states[0].items()})
    return path


def test_an_mfa_model_places_words_where_they_are_spoken(trained: Trained, mfa_zip: Path, tmp_path: Path) -> None:
    clips = [true.clip for true in trained.clips]
    report = import_model("de", mfa_zip, iter(clips), tmp_path / "de", dictionary=None)
    errors = np.abs(_starts(_spans(tmp_path / "de", "de", clips)) - _onsets(trained.clips))
    assert np.median(errors) <= 0.02
    assert np.mean(errors <= 0.05) >= 0.85
    assert np.mean(errors <= 0.15) >= 0.95
    assert (report.kind, report.source, report.speaker_adapted) == ("mfa", "german_like.zip", False)
    assert (report.clips, report.unaligned) == (len(clips), 0)
    assert {"aɪ": "aj", "ɔø": "ɔʏ", "r": "ʁ", "n": "n̪"}.items() <= report.standing_in.items()
    assert report.silence.drop_db >= viter_checks.LEAST_SILENCE_DROP_DB
    assert report.median_score >= 0.9
    told = json.loads((tmp_path / "de" / "report.json").read_text(encoding="utf-8"))
    assert (told["words"], told["median_score"]) == (len(errors), report.median_score)
    assert {file.name for file in (tmp_path / "de").iterdir()} == {
        "model.viter", "phones.npz", "model.json", "dict.txt", "report.json"
    }  # fmt: skip
    assert "und\tʊ n̪ tʰ\n" in (tmp_path / "de" / "dict.txt").read_text(encoding="utf-8")


def test_an_adapted_model_adapts_to_each_clip_alone(
    trained: Trained, german_states: tuple[States, States], tmp_path: Path
) -> None:
    clips = [true.clip for true in trained.clips]
    write_mfa_model(tmp_path / "adapted.zip", german_states[1], adapted=True)
    report = import_model("de", tmp_path / "adapted.zip", clips, tmp_path / "de", dictionary=None)
    assert report.speaker_adapted
    together = _spans(tmp_path / "de", "de", clips)
    errors = np.abs(_starts(together) - _onsets(trained.clips))
    assert np.median(errors) <= 0.02
    assert np.mean(errors <= 0.15) >= 0.95
    assert [_spans(tmp_path / "de", "de", [clip])[0] for clip in clips[:3]] == together[:3]


def test_a_wrong_transcript_scores_less_with_an_imported_model(trained: Trained, mfa_zip: Path, tmp_path: Path) -> None:
    clips = [true.clip for true in trained.clips]
    import_model("de", mfa_zip, clips, tmp_path / "de", dictionary=None)
    aligner = ViterAligner({"de": tmp_path / "de"}, min_score=0.0)
    own = aligner.align("de", [AlignmentJob(c.waveform, c.transcript) for c in clips])
    others = aligner.align(
        "de", [AlignmentJob(c.waveform, d.transcript) for c, d in zip(clips, clips[1:] + clips[:1], strict=True)]
    )
    right = [outcome.score for outcome in own if isinstance(outcome, UtteranceAlignment)]
    wrong = [outcome.score for outcome in others if isinstance(outcome, UtteranceAlignment)]
    assert len(right) == len(clips)
    assert np.mean([r > w for r in right for w in wrong]) >= 0.95


def test_a_viter_model_aligns_after_import_as_before(trained: Trained, tmp_path: Path) -> None:
    clips = [true.clip for true in trained.clips]
    dictionary = trained.folder / "dict.txt"
    import_model("de", trained.folder / "model.viter", clips, tmp_path / "de", dictionary=dictionary)
    before, after = (_starts(_spans(folder, "de", clips)) for folder in (trained.folder, tmp_path / "de"))
    assert np.mean(np.abs(before - after) <= 0.02) >= 0.95
    assert (tmp_path / "de" / "dictionary.txt").read_bytes() == dictionary.read_bytes()
    assert (tmp_path / "de" / "model.viter").read_bytes() == (trained.folder / "model.viter").read_bytes()


def test_the_same_import_gives_the_same_files_in_place_of_the_old(trained: Trained, tmp_path: Path) -> None:
    clips = [true.clip for true in trained.clips][:6]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old.txt").touch()
        import_model("de", trained.folder / "model.viter", iter(clips), tmp_path / name, dictionary=None)
    assert not (tmp_path / "a" / "old.txt").exists()
    for file in ("model.json", "phones.npz", "dict.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.fixture(scope="module")
def english_clips(demo_clips: dict[str, list[TrueClip]]) -> list[TrueClip]:
    return demo_clips["en"]


@pytest.fixture(scope="module")
def arpa_dictionary(english_clips: list[TrueClip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    inventory, lexicon = Inventory(ARPA_STRESSED), Lexicon("en")
    lines = {}
    for entry in chain.from_iterable(lexicon.lookup_many([true.clip.transcript for true in english_clips])):
        for phones in entry.pronunciations:
            told = inventory.translate(phones)
            assert told is not None, entry
            lines[f"{entry.word.upper()}  {' '.join(told)}\n"] = None
    path = tmp_path_factory.mktemp("arpa") / "cmu.dict"
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def arpa_model(english_clips: list[TrueClip], arpa_dictionary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arpa") / "en"
    train_model("en", [true.clip for true in english_clips], folder, dictionary=arpa_dictionary)
    return folder / "model.viter"


def test_words_that_an_arpabet_dictionary_lacks_are_told_in_arpabet(
    english_clips: list[TrueClip], arpa_model: Path, arpa_dictionary: Path, tmp_path: Path
) -> None:
    clips = [true.clip for true in english_clips]
    listed = arpa_dictionary.read_text(encoding="utf-8").splitlines(keepends=True)
    lacking = set(sorted({line.split()[0].lower() for line in listed})[::3])
    shorter = tmp_path / "short.dict"
    shorter.write_text("".join(line for line in listed if line.split()[0].lower() not in lacking), encoding="utf-8")
    report = import_model("en", arpa_model, clips, tmp_path / "en", dictionary=shorter)
    assert report.kind == "viter"
    assert set(report.out_of_dictionary_words) == lacking
    assert 0.2 * report.words < report.out_of_dictionary < 0.5 * report.words
    assert report.unpronounceable == {}
    assert {"ɪ": "IH1", "t": "T", "ə": "AH0", "ɹ": "R"}.items() <= report.standing_in.items()

    spans = _spans(tmp_path / "en", "en", clips)
    for clip, words in zip(clips, spans, strict=True):
        assert [word.word for word in words] == Lexicon("en").words(clip.transcript)
        assert all(phone in ARPA_STRESSED for word in words for phone in word.phones)
    errors = np.abs(_starts(spans) - _onsets(english_clips))
    assert np.median(errors) <= 0.02
    assert np.mean(errors <= 0.15) >= 0.9


def test_without_any_dictionary_arpabet_comes_from_the_table(
    english_clips: list[TrueClip], arpa_model: Path, tmp_path: Path
) -> None:
    clips = [true.clip for true in english_clips]
    report = import_model("en", arpa_model, clips, tmp_path / "en", dictionary=None)
    assert report.out_of_dictionary == report.words
    errors = np.abs(_starts(_spans(tmp_path / "en", "en", clips)) - _onsets(english_clips))
    assert np.median(errors) <= 0.02
    assert np.mean(errors <= 0.15) >= 0.9


def test_phones_of_no_known_alphabet_need_a_dictionary(
    trained: Trained, german_states: tuple[States, States], tmp_path: Path
) -> None:
    names = {phone: f"p{n:02}" for n, phone in enumerate(sorted(set(german_states[0]) - {"sil", "spn"}))}
    write_mfa_model(tmp_path / "odd.zip", {names.get(phone, phone): s for phone, s in german_states[0].items()})
    clips = [true.clip for true in trained.clips]
    with pytest.raises(
        AlignError, match=r"odd\.zip: (\d+) of \1 words.*p00 p01 .*stands for a .*dictionary in the mod"
    ):
        import_model("de", tmp_path / "odd.zip", clips, tmp_path / "m", dictionary=None)
    assert not (tmp_path / "m").exists()
    lines = []
    for line in (trained.folder / "dict.txt").read_text(encoding="utf-8").splitlines():
        word, phones = line.split("\t")
        lines.append(f"{word}\t{' '.join(names[phone] for phone in phones.split())}\n")
    (tmp_path / "odd.dict").write_text("".join(lines), encoding="utf-8")
    report = import_model("de", tmp_path / "odd.zip", clips, tmp_path / "m", dictionary=tmp_path / "odd.dict")
    assert report.out_of_dictionary == 0
    errors = np.abs(_starts(_spans(tmp_path / "m", "de", clips)) - _onsets(trained.clips))
    assert np.median(errors) <= 0.02


def test_silence_that_is_speech_fails_the_import(
    trained: Trained, german_states: tuple[States, States], tmp_path: Path
) -> None:
    swapped = german_states[0] | {"sil": german_states[0]["a"], "a": german_states[0]["sil"]}
    write_mfa_model(tmp_path / "swapped.zip", swapped)
    with pytest.raises(AlignError, match=r"swapped\.zip: .*silence"):
        import_model(
            "de", tmp_path / "swapped.zip", [true.clip for true in trained.clips], tmp_path / "m", dictionary=None
        )
    assert [file.name for file in tmp_path.iterdir()] == ["swapped.zip"]


def _rewritten(change: Callable[[str, bytes], bytes | None]) -> Callable[[Path, Path], None]:
    def rewrite(source: Path, target: Path) -> None:
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
            for name in old.namelist():
                content = change(name, old.read(name))
                if content is not None:
                    new.writestr(name, content)

    return rewrite


def _with_meta(changes: Mapping[str, object]) -> Callable[[Path, Path], None]:
    return _rewritten(
        lambda name, content: (
            json.dumps(json.loads(content) | changes).encode() if name.endswith("meta.json") else content
        )
    )


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda source, target: target.write_bytes(b"nothing of the kind"), "not an acoustic model"),
        (lambda source, target: target.write_bytes(b""), "not an acoustic model"),
        (lambda source, target: target.write_bytes(source.read_bytes()[:-1000]), "not an acoustic model"),
        (lambda source, target: target.write_bytes(b"VITR\x01\x00\x00\x00" + bytes(200)), "viter can't use"),
        (lambda source, target: None, "can't be read"),
        (_rewritten(lambda name, content: None if name.endswith("tree") else content), "no tree inside"),
        (_rewritten(lambda name, content: None if name.endswith(".json") else content), "no meta.json"),
        (_rewritten(lambda name, content: content[:500] if name.endswith(".mdl") else content), "final.mdl"),
        (_rewritten(lambda name, content: b"\0B" + bytes(99) if name.endswith("tree") else content), "tree"),
        (_rewritten(lambda name, content: b"{" if name.endswith(".json") else content), "damaged"),
        (_with_meta({"features": FEATURES | {"use_pitch": True}}), "pitch"),
        (_with_meta({"features": FEATURES | {"uses_deltas": False}}), "viter can't use"),
        (_rewritten(lambda name, content: content.replace(b"sil\t", b"SIL\t")), "no phone 'sil'"),
    ],
)
def test_a_damaged_or_foreign_file_is_an_error_that_names_it(
    damage: Callable[[Path, Path], None], told: str, mfa_zip: Path, trained: Trained, tmp_path: Path
) -> None:
    source = tmp_path / "broken.zip"
    damage(mfa_zip, source)
    with pytest.raises(AlignError, match=rf"broken\.zip: .*{told}") as caught:
        import_model("de", source, [true.clip for true in trained.clips], tmp_path / "m", dictionary=None)
    if told not in ("pitch", "no phone 'sil'"):
        assert "a .viter file" in str(caught.value)
    assert not [file for file in tmp_path.iterdir() if file != source]


def test_a_model_that_asks_for_more_memory_than_its_size_allows_is_refused(
    mfa_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_model, "_MEMORY", 1 << 20)
    monkeypatch.setattr(foreign_model, "_MEMORY_PER_BYTE", 0)
    with pytest.raises(AlignError, match=r"german_like\.zip: .*asks for more than the 0\.0 GiB of memory"):
        foreign_model.convert(mfa_zip, tmp_path / "m.viter", tmp_path)


def test_what_a_mac_leaves_in_a_zip_is_not_the_model(mfa_zip: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(mfa_zip) as old, zipfile.ZipFile(tmp_path / "m.zip", "w") as new:
        new.writestr("__MACOSX/._meta.json", b"\0\5")
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert foreign_model.convert(tmp_path / "m.zip", tmp_path / "m.viter", tmp_path).kind == "mfa"


def test_clips_that_are_of_no_use_are_counted_and_too_few_are_an_error(
    trained: Trained, mfa_zip: Path, tmp_path: Path
) -> None:
    good = [true.clip for true in trained.clips]
    bad = [
        TrainingClip("a", None, np.zeros(16000, np.float32), "😀"),
        TrainingClip("b", None, np.full(16000, np.nan, np.float32), "ja"),
        TrainingClip("c", None, good[0].waveform, "Привет, как дела"),
    ]
    report = import_model("de", mfa_zip, [*bad, *good], tmp_path / "m", dictionary=None)
    assert report.left_out == {"no_words": 1, "unusable_audio": 1, "other_script": 1}
    assert report.clips == len(good)
    assert report.unpronounceable == {"привет": 1, "как": 1, "дела": 1}
    with pytest.raises(AlignError, match=r"0 usable clips.*no_words"):
        import_model("de", mfa_zip, bad, tmp_path / "n", dictionary=None)
