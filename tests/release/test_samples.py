from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.release.layout import shard_path, task_folder
from sift_ray.release.samples import _messages, _Part, audio_path, samples_of
from sift_ray.schema import INSTRUCTIONS, RELEASE


def pair(question: str, accepted: bool, **more: Any) -> dict[str, Any]:
    return {
        "question": question,
        "answer": f"answer to {question}",
        "accepted": accepted,
        "reason": None if accepted else "false_claim",
        "evidence": [{"key": "gender", "value": "male", "audio": 0, "position": 0}],
        "generator": "template",
        "attempt": 0,
        **more,
    }


def table(task: str, *rows: dict[str, Any]) -> pa.Table:
    base = {
        "task": task,
        "language": "en",
        "split": "train",
        "data_source": "vctk_en",
        "model": "template",
        "prompt_hash": "0",
    }
    return pa.Table.from_pylist([{**base, **row} for row in rows], schema=INSTRUCTIONS)


def row(unit_id: int, pairs: list[dict[str, Any]], *names: str) -> dict[str, Any]:
    uris = [f"/data/{name}_mic2.flac" for name in names]
    return {"unit_id": unit_id, "utterance_ids": list(names), "audio_uris": uris, "pairs": pairs}


def test_only_accepted_pairs_become_samples_and_keep_their_place() -> None:
    instructions = table(
        "open_ended",
        row(1, [pair("a", False), pair("b", True)], "p1_1"),
        row(2, [], "p1_2"),
        row(-3, [pair("c", True), pair("d", False), pair("e", True)], "p1_3"),
    )
    samples = samples_of(instructions, "open_ended")
    assert samples.schema.equals(RELEASE)
    assert samples["sample_id"].to_pylist() == [
        "0000000000000001-open_ended-1",
        "fffffffffffffffd-open_ended-0",
        "fffffffffffffffd-open_ended-2",
    ]
    assert samples["id"].to_pylist() == ["p1_1", "p1_3", "p1_3"]
    assert samples["messages"][1].as_py() == [
        {
            "role": "user",
            "content": [{"text": None, "audio_path": "vctk_en/p1_3.flac"}, {"text": "c", "audio_path": None}],
        },
        {"role": "assistant", "content": [{"text": "answer to c", "audio_path": None}]},
    ]


def test_a_slice_of_a_table_gives_the_samples_of_its_rows() -> None:
    rows = [row(i, [pair(f"q{i}", i % 2 == 0), pair(f"r{i}", True)], f"u{i}") for i in range(6)]
    whole = table("open_ended", *rows)
    alone = samples_of(table("open_ended", *rows[2:5]), "open_ended")
    assert samples_of(whole.slice(2, 3), "open_ended").equals(alone)
    chunked = pa.concat_tables([whole.slice(0, 2), whole.slice(2, 4)])
    assert samples_of(chunked, "open_ended").equals(samples_of(whole, "open_ended"))


def test_a_comparison_has_both_audios_before_the_text() -> None:
    samples = samples_of(
        table("closed_ended_comparison", row(1, [pair("q", True)], "a", "b")), "closed_ended_comparison"
    )
    assert samples["id"].to_pylist() == ["comparison_a__b"]
    user, assistant = samples["messages"][0].as_py()
    assert [p["audio_path"] for p in user["content"]] == ["vctk_en/a.flac", "vctk_en/b.flac", None]
    assert [p["text"] for p in user["content"]] == [None, None, "q"]
    assert assistant["content"] == [{"text": "answer to q", "audio_path": None}]


def test_controllable_generation_is_answered_by_the_audio() -> None:
    samples = samples_of(
        table("controllable_generation", row(1, [pair("say it", True)], "a")), "controllable_generation"
    )
    user, assistant = samples["messages"][0].as_py()
    assert user["content"] == [{"text": "say it", "audio_path": None}]
    assert assistant["content"] == [{"text": None, "audio_path": "vctk_en/a.flac"}]


def test_no_rows_give_no_samples_of_the_same_schema() -> None:
    samples = samples_of(table("open_ended"), "open_ended")
    assert samples.num_rows == 0
    assert samples.schema.equals(RELEASE)


def test_an_audio_without_an_ending_is_called_wav() -> None:
    rows = row(1, [pair("q", True)], "a")
    rows["audio_uris"] = ["s3://bucket/no.ending/file"]
    samples = samples_of(table("open_ended", rows), "open_ended")
    assert samples["messages"][0].as_py()[0]["content"][0]["audio_path"] == "vctk_en/a.wav"


def test_rows_of_another_task_are_refused() -> None:
    with pytest.raises(ValueError, match="another task"):
        samples_of(table("open_ended", row(1, [], "a")), "controllable_generation")


def test_folders_are_those_of_the_reference() -> None:
    assert (
        shard_path("test", "closed_ended_word_align", "de", 7)
        == "EvalSIFT/closed_ended/word_align/de/part-00007.parquet"
    )
    assert shard_path("dev", "open_ended", "fr", 0) == "dev/open_ended/fr/part-00000.parquet"
    assert task_folder("closed_ended_word_align_numeric") == "closed_ended/word_align_numeric"
    assert task_folder("controllable_generation") == "controllable_generation"


@pytest.mark.parametrize(
    ("uri", "ending"),
    [
        ("/data/a.flac#t=1.5,17.25", ".flac"),
        ("s3://bucket/shard-1.tar#member=deep/a.b.opus&bytes=512,100", ".opus"),
        ("/data/shard-1.tar#member=bare&bytes=512,100", ".wav"),
        ("/data/train-00000-of-00001.parquet#row=0.17", ".wav"),
    ],
)
def test_audio_in_a_shard_is_named_after_what_it_is(uri: str, ending: str) -> None:
    path = audio_path(pa.array(["vctk_en"]), pa.array(["a"]), pa.array([uri]))
    assert path.to_pylist() == [f"vctk_en/a{ending}"]


@given(st.lists(st.text("aZ9.#/é&=t\n", max_size=12), min_size=1, max_size=5))
def test_endings_of_many_files_are_those_of_each(uris: list[str]) -> None:
    sources, ids = pa.array(["s"] * len(uris)), pa.array(["a"] * len(uris))
    paths = audio_path(sources, ids, pa.array(uris)).to_pylist()
    # (beside an address with a span each goes another way than among plain files)
    apart = [
        audio_path(pa.array(["s", "s"]), pa.array(["a", "b"]), pa.array([uri, "x.wav#t=0,1"]))[0].as_py()
        for uri in uris
    ]
    assert paths == apart


@given(st.integers(0, 5), st.lists(st.sampled_from(["text", "path", None]), min_size=1, max_size=4))
def test_parts_stand_in_their_rows_in_order(rows: int, kinds: list[str | None]) -> None:
    def part(place: int, kind: str | None) -> _Part:
        values = pa.array([f"{kind} {row}.{place}" for row in range(rows)], pa.string())
        return _Part(text=values if kind == "text" else None, path=values if kind == "path" else None)

    parts = [part(place, kind) for place, kind in enumerate(kinds)]
    messages = _messages(parts, parts[:1], rows).to_pylist()

    def expected(row: int, place: int) -> dict[str, str | None]:
        value, kind = f"{kinds[place]} {row}.{place}", kinds[place]
        return {"text": value if kind == "text" else None, "audio_path": value if kind == "path" else None}

    assert messages == [
        [
            {"role": "user", "content": [expected(row, place) for place in range(len(kinds))]},
            {"role": "assistant", "content": [expected(row, 0)]},
        ]
        for row in range(rows)
    ]
