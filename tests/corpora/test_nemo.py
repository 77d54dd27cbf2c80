from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sift_ray.config import NemoConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus

Tone = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write_tone: Tone) -> Path:
    """A folder with one clip of four seconds."""
    write_tone(tmp_path / "set/audio/call 1.wav", seconds=4.0)
    return tmp_path.resolve() / "set"


def read(folder: Path, *records: dict[str, Any] | str, **options: Any) -> list[Utterance]:
    path = folder / "manifest.json"
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(read_corpus(NemoConfig(type="nemo", name="mine", path=str(path), **{"language": "de"} | options)))


def test_all_that_a_line_may_tell(folder: Path) -> None:
    record = {
        "audio_filepath": "audio/call 1.wav",
        "duration": 1.5,
        "offset": 2,
        "text": "Grüß  Gott",
        "lang": "de-AT",
        "speaker": 7,
        "gender": "f",
        "age": 41,
        "accent": "Wien",
        "split": "validation",
        "id": "mine-1",
        "pred_text": "ignored",
        "score": [0.5],
    }
    expected = Utterance(
        utterance_id="mine-1",
        corpus="mine",
        data_source="mine_de",
        language="de",
        split="dev",
        speaker_id="7",
        gender="female",
        age="forties",
        accent="Wien",
        transcript="Grüß Gott",
        audio_uri=f"{folder}/audio/call 1.wav#t=2,3.5",
        duration_s=1.5,
        license="CC0-1.0",
    )
    assert read(folder, record, license="CC0-1.0", language=None) == [expected]
    others = {"lang": "source_lang", "speaker": "speaker_id", "id": "utt_id"}
    assert read(folder, {others.get(key, key): value for key, value in record.items()}, license="CC0-1.0") == [expected]


def test_segments_of_one_file_have_ids_of_their_own(folder: Path) -> None:
    name = "audio/call 1.wav"
    rows = read(
        folder,
        {"audio_filepath": name, "duration": 0.75, "offset": 0, "text": "a"},
        {"audio_filepath": name, "duration": 0.75, "offset": 0.75, "text": "b"},
        {"audio_filepath": f"{folder}/{name}", "duration": "0.5", "offset": "1.5004", "text": "c"},
        {"audio_filepath": name, "offset": 2.5, "duration": None, "text": "d"},
        {"audio_filepath": name, "duration": 4.0, "text": "e"},
        {"audio_filepath": name, "text": "f"},
        {"audio_filepath": name, "duration": 3.9, "text": None},
        {"audio_filepath": name, "duration": 3.9, "text": "-"},
        {"audio_filepath": name},
    )
    file = f"{folder}/{name}"
    assert [(row.utterance_id, row.audio_uri, row.duration_s, row.transcript, row.reject_reason) for row in rows] == [
        ("call 1-00000000-00000750", f"{file}#t=0,0.75", 0.75, "a", None),
        ("call 1-00000750-00001500", f"{file}#t=0.75,1.5", 0.75, "b", None),
        ("call 1-00001500-00002000", f"{file}#t=1.5004,2.0004", 0.5, "c", None),
        ("call 1-00002500", f"{file}#t=2.5", 1.5, "d", None),
        ("call 1", file, 4.0, "e", None),
        ("call 1", file, 4.0, "f", None),
        ("call 1", file, 3.9, None, None),
        ("call 1", file, 3.9, None, None),
        ("call 1", file, 4.0, None, None),
    ]


def test_the_text_of_a_translation_is_no_transcript(folder: Path) -> None:
    record = {"audio_filepath": "audio/call 1.wav", "source_lang": "de", "text": "Good day"}
    same, other = read(folder, record | {"target_lang": "de-DE"}, record | {"target_lang": "en"})
    assert (same.language, same.transcript) == ("de", "Good day")
    assert (other.language, other.transcript, other.reject_reason) == ("de", None, None)


@pytest.mark.parametrize("key", ["duration", "offset"])
@pytest.mark.parametrize("value", ["-1", "NaN", "Infinity", '"long"', '"1,5"', "1e999", "1" + "0" * 400])
def test_a_bad_number_costs_its_row(folder: Path, key: str, value: str) -> None:
    good = {"audio_filepath": "audio/call 1.wav", "duration": 1.0, "offset": 0.5, "lang": "de"}
    bad, fine = read(folder, json.dumps(good | {key: "VALUE"}).replace('"VALUE"', value), good)
    assert (bad.utterance_id, bad.reject_reason) == ("mine#line1", "bad_number")
    assert f"manifest.json:1: {key} " in (bad.reject_detail or "")
    assert fine.reject_reason is None


def test_no_duration_at_all_is_none(folder: Path) -> None:
    (row,) = read(folder, {"audio_filepath": "audio/call 1.wav", "duration": 0, "text": "x"})
    assert (row.reject_reason, row.duration_s) == ("bad_number", None)


def test_each_bad_line_is_a_reject_and_the_others_are_read(folder: Path) -> None:
    name = "audio/call 1.wav"
    rows = read(
        folder,
        "{not json",
        '["audio_filepath"]',
        {"audio_filepath": [name, name], "text": "x"},
        f'{{"audio_filepath": "{name}", "duration": 1{"0" * 5000}}}',  # more digits than Python reads
        {"duration": 1.0, "text": "x"},
        {"audio_filepath": "../call.wav", "text": "x"},
        {"audio_filepath": "audio/absent.wav", "text": "x"},
        {"audio_filepath": name, "text": "nul\0", "id": "n"},
        f'{{"audio_filepath": "{name}", "text": "nul\0"}}',
        {"audio_filepath": name, "text": "x", "lang": "Polnisch"},
        {"audio_filepath": name, "text": "x", "id": "a/b"},
        {"audio_filepath": name, "offset": 9.0, "text": "x"},
        "",
        f'{{"audio_filepath": "{name}", "text": "tab\there"}}',
    )
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [
        ("mine#line1", "bad_json"),
        ("mine#line2", "bad_json"),
        ("mine#line3", "bad_json"),
        ("mine#line4", "bad_json"),
        ("mine#line5", "missing_audio"),
        ("call", "path_outside_root"),
        ("absent", "missing_audio"),
        ("n", "nul_byte"),
        ("call 1", "nul_byte"),
        ("call 1", "unknown_language"),
        ("a/b", "unsafe_id"),
        ("call 1-00009000", "empty_audio"),
        ("call 1", None),
    ]
    assert rows[-1].transcript == "tab here"


def test_a_language_must_be_known(folder: Path) -> None:
    record = {"audio_filepath": "audio/call 1.wav", "text": "x"}
    assert read(folder, record, language="fr")[0].language == "fr"
    (row,) = read(folder, record, language=None)
    assert (row.language, row.reject_reason) == ("und", "unknown_language")


def test_languages_that_the_config_leaves_out_are_counted(folder: Path) -> None:
    record = {"audio_filepath": "audio/call 1.wav", "text": "x"}
    path = folder / "manifest.json"
    path.write_text("\n".join(json.dumps(record | {"lang": lang}) for lang in ("de", "en-US", "en")))
    reading = Reading()
    rows = list(read_corpus(NemoConfig(type="nemo", name="mine", path=str(path), languages=("de",)), reading))
    assert [row.language for row in rows] == ["de"]
    assert reading.skipped == {("mine", "language en is not asked for"): 2}


def test_the_root_bounds_audio(folder: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    record = {"audio_filepath": "call 1.wav", "text": "x"}
    absolute = {"audio_filepath": f"{folder}/audio/call 1.wav", "text": "x"}
    rows = read(lists, record, absolute)
    assert [row.reject_reason for row in rows] == ["missing_audio", "path_outside_root"]
    rows = read(lists, record, absolute, root=str(folder / "audio"))
    assert [(row.audio_uri, row.reject_reason) for row in rows] == [(absolute["audio_filepath"], None)] * 2


def test_audio_in_a_tar(folder: Path) -> None:
    with tarfile.open(folder / "x.tar", "w") as tar:
        tar.add(folder / "audio/call 1.wav", "c.wav")
    (row,) = read(folder, {"audio_filepath": "x.tar#member=c.wav", "offset": 1, "duration": 1, "id": "c", "text": "x"})
    assert (row.duration_s, row.reject_reason) == (1.0, None)
    assert "#member=c.wav&bytes=" in (row.audio_uri or "")
    assert (row.audio_uri or "").endswith("&t=1,2")


def test_packed_and_missing_manifests(folder: Path) -> None:
    path = folder / "manifest.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"audio_filepath": "audio/call 1.wav", "lang": "it"}).encode()))
    (row,) = read_corpus(NemoConfig(type="nemo", name="mine", path=str(path)))
    assert (row.language, row.duration_s, row.reject_reason) == ("it", 4.0, None)
    with pytest.raises(CorpusError, match="this is a folder; give the file"):
        list(read_corpus(NemoConfig(type="nemo", name="mine", path=str(folder))))


def test_ids_of_files_of_one_name_may_be_their_paths(tmp_path: Path, write_tone: Callable[..., Path]) -> None:
    for speaker in ("spk1", "spk2"):
        write_tone(tmp_path / "wavs" / speaker / "000.wav")
    lines = [f'{{"audio_filepath": "wavs/{speaker}/000.wav", "text": "x"}}' for speaker in ("spk1", "spk2")]
    (tmp_path / "m.json").write_text("\n".join(lines))
    config = {"type": "nemo", "name": "mine", "path": str(tmp_path / "m.json"), "language": "en"}
    assert [row.utterance_id for row in read_corpus(NemoConfig.model_validate(config))] == ["000", "000"]
    named = read_corpus(NemoConfig.model_validate({**config, "ids": "path"}))
    assert [row.utterance_id for row in named] == ["wavs_spk1_000", "wavs_spk2_000"]
