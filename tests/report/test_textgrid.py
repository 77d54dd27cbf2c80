import logging
import wave
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import parselmouth
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from parselmouth.praat import call
from praatio.textgrid import openTextgrid

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.report.textgrid import Choice, export_textgrids, safe_name, text_grid
from sift_ray.schema import ANNOTATIONS
from sift_ray.storage import LocalRoot, StorageError, put_json, stable_id

from .finished_waves import write_wave

Span = tuple[float, float, str]
ALL = Choice()


def word(
    label: str,
    start_s: float | None,
    end_s: float | None,
    phones: Sequence[str] = (),
    starts: Sequence[float] | None = None,
    score: float | None = None,
) -> dict[str, Any]:
    times = {"start_s": start_s, "end_s": end_s, "phone_starts_s": None if starts is None else list(starts)}
    return {"word": label, "position": 1, "phones": list(phones), "score": score, **times}


def saved(words: Sequence[Mapping[str, Any]], duration_s: float, folder: Path) -> Path:
    path = folder / "a.TextGrid"
    text_grid(words, duration_s).save(str(path), format="long_textgrid", includeBlankSpaces=True)
    return path


def by_praat(path: Path) -> dict[str, list[Span]]:
    """What Praat itself finds in a TextGrid: tier → all its intervals."""
    grid = parselmouth.read(str(path))
    tiers: dict[str, list[Span]] = {}
    for tier in range(1, call(grid, "Get number of tiers") + 1):
        intervals = range(1, call(grid, "Get number of intervals", tier) + 1)
        tiers[call(grid, "Get tier name", tier)] = [
            (
                call(grid, "Get start time of interval", tier, number),
                call(grid, "Get end time of interval", tier, number),
                call(grid, "Get label of interval", tier, number),
            )
            for number in intervals
        ]
    return tiers


def by_praatio(path: Path) -> dict[str, list[Span]]:
    grid = openTextgrid(str(path), includeEmptyIntervals=True)
    return {tier.name: [tuple(entry) for entry in tier.entries] for tier in grid.tiers}


def labelled(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if span[2]]


def test_tiers_hold_words_phones_and_scores_with_silence_between(tmp_path: Path) -> None:
    words = [
        word("l'été", 0.1, 0.5, ["l", "e", "t", "e"], [0.1, 0.2, 0.3, 0.4], 0.987),
        word("Weiß", 0.7, 1.0, ["v", "s"], [0.7, 0.9], 0.5),
    ]
    tiers = by_praat(saved(words, 1.25, tmp_path))
    assert list(tiers) == ["words", "phones", "word scores"]
    assert tiers["words"] == [
        (0.0, 0.1, ""), (0.1, 0.5, "l'été"), (0.5, 0.7, ""), (0.7, 1.0, "Weiß"), (1.0, 1.25, "")
    ]  # fmt: skip
    assert labelled(tiers["phones"]) == [
        (0.1, 0.2, "l"), (0.2, 0.3, "e"), (0.3, 0.4, "t"), (0.4, 0.5, "e"), (0.7, 0.9, "v"), (0.9, 1.0, "s")
    ]  # fmt: skip
    assert [label for _, _, label in labelled(tiers["word scores"])] == ["0.99", "0.50"]
    assert by_praatio(tmp_path / "a.TextGrid") == tiers


def test_tiers_that_the_aligner_gave_nothing_for_are_left_out(tmp_path: Path) -> None:
    assert list(by_praat(saved([word("a", 0.1, 0.2, ["a"])], 1.0, tmp_path))) == ["words"]


def test_a_word_without_times_or_length_has_no_place(tmp_path: Path) -> None:
    words = [word("a", 0.1, 0.4), word("…", None, None), word("b", 0.4, 0.4), word("c", 0.4, 0.9)]
    assert labelled(by_praat(saved(words, 1.0, tmp_path))["words"]) == [(0.1, 0.4, "a"), (0.4, 0.9, "c")]


def test_no_words_are_one_empty_interval(tmp_path: Path) -> None:
    assert by_praat(saved([], 1.5, tmp_path)) == {"words": [(0.0, 1.5, "")]}


def test_float32_times_neither_overlap_nor_exceed_the_clip(tmp_path: Path) -> None:
    middle, end = (float(np.float32(time_s)) for time_s in (0.7001, 1.2346))
    words = [word("a", 0.1, middle + 1e-6), word("b", middle, end)]
    found = labelled(by_praat(saved(words, 1.234562, tmp_path))["words"])
    assert found == [(0.1, 0.7001, "a"), (0.7001, 1.234562, "b")]


# of a file that is no TextGrid to praatio's reader, such as "item [", no word can be: it holds no space
LABELS = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from("\"'“”é\u0301ßẞ!"), min_size=1)


@st.composite
def monotone(draw: st.DrawFn) -> tuple[list[dict[str, Any]], float]:
    """Words in their order, each 1 ms or longer, times as float32 has them, up to the clip's end."""
    steps_ms = draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000)), max_size=12))
    words, now = [], 0.0
    for gap_ms, length_ms in steps_ms:
        start = now + gap_ms / 1000
        now = start + length_ms / 1000
        first, last = (float(np.float32(time_s)) for time_s in (start, now))
        count = draw(st.integers(0, min(length_ms, 4)))
        phones = draw(st.lists(LABELS, min_size=count, max_size=count))
        starts = [float(np.float32(start + index * length_ms / 1000 / count)) for index in range(count)]
        words.append(word(draw(LABELS), first, last, phones, starts or None, draw(st.none() | st.floats(0, 1))))
    return words, now + draw(st.integers(16, 16_000)) / 16_000


@given(monotone())
@settings(max_examples=60, deadline=None)
def test_any_monotone_spans_read_back_with_their_labels(
    tmp_path_factory: pytest.TempPathFactory, clip: tuple[list[dict[str, Any]], float]
) -> None:
    words, duration_s = clip
    path = saved(words, duration_s, tmp_path_factory.mktemp("grids"))
    praat, praatio = by_praat(path), by_praatio(path)
    expected = {
        "words": [(w["start_s"], w["end_s"], w["word"]) for w in words],
        "phones": [
            (start, end, phone)
            for w in words
            if (starts := w["phone_starts_s"])
            for start, end, phone in zip(starts, [*starts[1:], w["end_s"]], w["phones"], strict=True)
        ],
        "word scores": [(w["start_s"], w["end_s"], f"{w['score']:.2f}") for w in words if w["score"] is not None],
    }
    assert set(praat) == set(praatio) == {"words"} | {name for name, spans in expected.items() if spans}
    for name, tier in praat.items():
        for found in (tier, praatio[name]):
            assert [label for *_, label in labelled(found)] == [label for *_, label in expected[name]]
            times = np.array([span[:2] for span in labelled(found)]).reshape(-1, 2)
            asked = np.array([span[:2] for span in expected[name]]).reshape(-1, 2)
            np.testing.assert_allclose(times, asked, atol=1e-4)
        # no time is in no interval, and none in two
        bounds = [(start, end) for start, end, _ in tier]
        assert bounds[0][0] == 0
        assert bounds[-1][1] == pytest.approx(duration_s, abs=1e-12)
        assert all(left[1] == right[0] for left, right in pairwise(bounds))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=4, unique=True))
def test_names_stay_apart_and_lead_nowhere(names: list[str]) -> None:
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert Path(name).name == name
        assert not name.startswith(".")
        assert len(f"{name}.TextGrid".encode()) <= 255
        assert not set(name) & set("/\\\0\n:*?\"'<>| ")


def test_names_that_are_safe_stay_readable() -> None:
    assert safe_name("4800_10003_000000.flac-Übung_ñ") == "4800_10003_000000.flac-Übung_ñ"
    assert safe_name("../a b%") == "%2E.%2Fa%20b%25"
    long = [safe_name("é" * 500 + end) for end in "ab"]
    assert long[0] != long[1]


def a_row(utterance_id: str, **changed: Any) -> dict[str, Any]:
    number = changed.pop("number", stable_id(utterance_id))
    return {
        "unit_id": number,
        "utterance_id": utterance_id,
        "corpus": "demo",
        "data_source": "demo_de",
        "language": "de",
        "split": "train",
        "duration_s": 1.0,
        "status": "ok",
        "audio_uri": f"/nowhere/{number}.wav",
        "words": [word(utterance_id, 0.1, 0.5)],
        **changed,
    }


def job(tmp_path: Path, waves: Sequence[Sequence[Mapping[str, Any]] | None]) -> Config:
    """A job whose annotate stage made `waves` so far (None: not finished)."""
    root = LocalRoot(tmp_path / "out")
    put_json(root, "plan.json", {"waves": len(waves)})
    for number, rows in enumerate(waves):
        if rows is None:
            continue
        write_wave(root, "annotations", number, rows, ANNOTATIONS)
    text = f"output: {root.uri}\ncorpora: [{{type: manifest, name: demo, path: {tmp_path}/clips.tsv}}]\n"
    return parse_config(text, "job.yaml", check_paths=False)


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_aligned_utterance_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        a_row("a", language="fr"),
        a_row("b"),
        a_row("c", words=None, alignment_reason="no_path"),
        a_row("d", words=None, status="rejected", reject_stage="decode", reject_reason="silent"),
    ]
    caplog.set_level(logging.INFO)
    written = export_textgrids(job(tmp_path, [rows[:1], rows[1:]]), tmp_path / "grids", ALL, audio=False)
    assert written == 2
    assert names_in(tmp_path / "grids") == {"demo/fr/a.TextGrid", "demo/de/b.TextGrid"}
    assert labelled(by_praat(tmp_path / "grids/demo/fr/a.TextGrid")["words"]) == [(0.1, 0.5, "a")]
    assert "2 utterances have no word spans" in caplog.text


def test_ids_that_look_like_paths_stay_in_the_folder(tmp_path: Path) -> None:
    ids = ["../../../gone", "/etc/passwd", "a/b", "a_b", "..", "a\nb", "a" * 400]
    same = [a_row("a/b", corpus="other", number=1), a_row("a/b", language="fr", number=2)]
    config = job(tmp_path, [[*map(a_row, ids), *same]])
    assert export_textgrids(config, tmp_path / "in/grids", ALL, audio=False) == len(ids) + 2
    found = names_in(tmp_path / "in")
    assert len(found) == len(ids) + 2
    assert all(name.startswith("grids/") and name.count("/") == 3 for name in found)
    assert {"grids/demo/de/a%2Fb.TextGrid", "grids/other/de/a%2Fb.TextGrid", "grids/demo/fr/a%2Fb.TextGrid"} < found


def test_chosen_ids_are_written_or_said_why_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unheard = {"status": "rejected", "reject_stage": "decode", "reject_reason": "silent", "reject_detail": "-90 dB"}
    rows = [
        a_row("a"),
        a_row("b"),
        a_row("c", words=None, alignment_reason="low_confidence", alignment_detail="score 0.1"),
        a_row("d", words=None, **unheard),
    ]
    choice = Choice(frozenset({"b", "c", "d"}))
    assert export_textgrids(job(tmp_path, [rows]), tmp_path / "grids", choice, audio=False) == 1
    assert names_in(tmp_path / "grids") == {"demo/de/b.TextGrid"}
    assert "c: has no word spans: low_confidence: score 0.1" in caplog.text
    assert "d: has no word spans: silent: -90 dB" in caplog.text


def test_unknown_ids_are_named_before_anything_is_written(tmp_path: Path) -> None:
    config = job(tmp_path, [[a_row("a")], [a_row("b", language="fr")]])
    with pytest.raises(StorageError, match=r"no such utterance is annotated: 'x', 'y'$"):
        export_textgrids(config, tmp_path / "grids", Choice(frozenset("axy")), audio=False)
    with pytest.raises(StorageError, match=r"no such utterance is annotated in de: 'b'$"):
        export_textgrids(config, tmp_path / "grids", Choice(frozenset("ab"), frozenset({"de"})), audio=False)
    assert not (tmp_path / "grids").exists()


def test_languages_are_chosen_and_unknown_ones_named(tmp_path: Path) -> None:
    config = job(tmp_path, [[a_row("a"), a_row("b", language="fr")]])
    assert export_textgrids(config, tmp_path / "grids", Choice(languages=frozenset({"fr"})), audio=False) == 1
    assert names_in(tmp_path / "grids") == {"demo/fr/b.TextGrid"}
    with pytest.raises(StorageError, match="no utterance of language 'xx' is annotated"):
        export_textgrids(config, tmp_path / "grids", Choice(languages=frozenset({"xx"})), audio=False)


def test_a_limit_spreads_over_the_waves_and_is_the_same_each_time(tmp_path: Path) -> None:
    rows = [[a_row(f"{number}-{row}", number=100 * number + row) for row in range(50)] for number in range(6)]
    config = job(tmp_path, rows)
    for folder in ("one", "two"):
        assert export_textgrids(config, tmp_path / folder, Choice(limit=30), audio=False) == 30
    found = names_in(tmp_path / "one")
    assert found == names_in(tmp_path / "two")
    assert {Path(name).name.split("-")[0] for name in found} == set("012345")
    # more are the same and others
    assert export_textgrids(config, tmp_path / "one", Choice(limit=60), audio=False) == 60
    assert len(names_in(tmp_path / "one")) == 60


def test_unfinished_waves_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert export_textgrids(job(tmp_path, [None, [a_row("a")]]), tmp_path / "grids", ALL, audio=False) == 1
    assert "1 of 2 waves are annotated so far" in caplog.text


@pytest.mark.parametrize("waves", [[], [None]])
def test_nothing_annotated_says_what_comes_first(tmp_path: Path, waves: list[None]) -> None:
    with pytest.raises(StorageError, match="run `sift-ray annotate` first"):
        export_textgrids(job(tmp_path, waves), tmp_path / "grids", ALL, audio=False)


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "grids").touch()
    with pytest.raises(StorageError, match="grids: not a folder"):
        export_textgrids(job(tmp_path, [[a_row("a")]]), tmp_path / "grids", ALL, audio=False)


def test_audio_lies_beside_and_what_can_not_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tone = (0.3 * np.sin(np.arange(44_100) * 0.05)).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", tone, 44_100)
    rows = [a_row("a", audio_uri=f"{tmp_path}/long.wav#t=0.2,0.9", duration_s=0.7), a_row("b")]
    assert export_textgrids(job(tmp_path, [rows]), tmp_path / "grids", ALL, audio=True) == 2
    assert names_in(tmp_path / "grids/demo/de") == {"a.TextGrid", "a.wav", "b.TextGrid"}
    with wave.open(str(tmp_path / "grids/demo/de/a.wav")) as clip:
        assert (clip.getframerate(), clip.getsampwidth(), clip.getnchannels()) == (16_000, 2, 1)
        assert clip.getnframes() == 11_200
    assert "b: its audio can't be written: missing_audio" in caplog.text
