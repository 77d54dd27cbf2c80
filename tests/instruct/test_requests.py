import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.config import InstructConfig
from sift_ray.config_instruct import UNANSWERABLE_TASKS, WORD_TIMES
from sift_ray.instruct.requests import (
    COMPARISON,
    CONTROLLABLE,
    WORD_ALIGN,
    Request,
    plan_requests,
)
from sift_ray.instruct.unanswerable import TOPICS, askable_topics
from sift_ray.metadata.categories import ATTRIBUTES, labels_of
from sift_ray.schema import AGES, ANNOTATIONS, REQUESTS, TASKS


class FloorRulers:
    """Stands in for rulers: a value's whole part is its ordinal."""

    def ordinals(self, attribute, values, corpus, gender, language):
        labels = len(ATTRIBUTES[attribute].labels)
        numbers = [-1 if v is None else min(int(v), labels - 1) for v in values.to_pylist()]
        return np.array(numbers, dtype=np.int8)


def annotations(count, *, seed=0, **columns):
    random = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        row = {
            "unit_id": 1_000 + 17 * index,
            "utterance_id": f"u{index}",
            "corpus": "c",
            "data_source": "c_en",
            "language": ["en", "de"][index % 2],
            "split": ["train", "train", "test"][index % 3],
            "gender": ["female", "male", None][index % 3],
            "transcript": "one two three",
            "audio_uri": f"/a/u{index}.wav",
            "status": "ok",
            "words": [
                {"word": word, "position": p, "pitch_mean_hz": float(p), "intensity_db": None}
                for p, word in enumerate(["one", "two", "three"], 1)
            ],
        }
        row |= {a.column: float(random.integers(0, 5)) for a in ATTRIBUTES.values()}
        rows.append(row | columns)
    return pa.Table.from_pylist(rows, schema=ANNOTATIONS)


def plan(table, **config):
    made = plan_requests(table, FloorRulers(), InstructConfig(**config))
    assert made.schema.equals(REQUESTS)
    return [Request.from_row(row) for row in made.to_pylist()]


def test_every_task_is_asked_once_of_a_unit():
    requests = plan(annotations(60))
    assert {r.task for r in requests} == set(TASKS) - {WORD_TIMES}  # which is only done where the config names it
    assert len({(r.unit_id, r.task) for r in requests}) == len(requests)
    assert all(0 <= r.seed < 2**31 for r in requests)
    assert all(r.focus == () for r in requests if r.task != CONTROLLABLE)


def test_the_order_of_rows_does_not_matter():
    table = annotations(40)
    shuffled = table.take(np.random.default_rng(1).permutation(40))
    assert plan(table) == plan(shuffled)


def test_a_row_survives_the_table():
    for request in plan(annotations(5)):
        assert Request.from_row(request.to_row()) == request


def test_an_ordinal_stands_beside_every_ordered_label():
    made = plan_requests(annotations(12, age="forties"), FloorRulers(), InstructConfig())
    facts = [fact for row in made.to_pylist() for fact in row["facts"]]
    for fact in facts:
        ordered = AGES if fact["key"] == "age_category" else labels_of(fact["key"])
        if fact["key"] in ("gender", "language") or not ordered:
            assert fact["ordinal"] is None
        else:
            assert ordered[fact["ordinal"]] == fact["value"]
    assert {f["key"] for f in facts if f["ordinal"] is not None} == {*ATTRIBUTES, "age_category"}
    # of words, and of the second audio, too
    assert {f["ordinal"] for f in facts if f["position"] and f["key"] == "average_pitch"} == {1, 2, 3}
    assert any(f["audio"] == 1 and f["ordinal"] is not None for f in facts)


def test_rejected_units_and_units_without_audio_are_not_asked():
    assert plan(annotations(10, status="rejected")) == []
    assert plan(annotations(10, audio_uri=None)) == []


def test_what_is_unknown_is_not_asked():
    requests = plan(annotations(12, transcript=None, words=None, **{a.column: None for a in ATTRIBUTES.values()}))
    assert {r.task for r in requests} <= {
        "closed_ended_acoustic_level",  # the language is known
        "closed_ended_content_level",
        "closed_ended_comparison",
        "open_ended",
    }
    assert all(f.key in ("gender", "language") for r in requests for f in r.facts)


def test_one_fact_a_request():
    requests = plan(annotations(60), facts_per_request=1)
    requests = [r for r in requests if not r.unknown]
    assert all(len(r.focus) == 1 for r in requests)
    assert all(any(f.key == r.focus[0] for f in r.facts) for r in requests)
    keys = {r.focus[0] for r in requests}
    assert len(keys) > 6


def test_words_need_a_measure_on_two_of_them():
    requests = [r for r in plan(annotations(6), facts_per_request=1) if r.task == WORD_ALIGN]
    assert {r.focus for r in requests} == {("average_pitch",)}
    one_word = [{"word": "one", "position": 1, "pitch_mean_hz": 1.0}]
    assert not [r for r in plan(annotations(6, words=one_word)) if r.task == WORD_ALIGN]


def test_controllable_generation_knows_what_it_asks_and_the_text():
    requests = [r for r in plan(annotations(40)) if r.task == CONTROLLABLE]
    assert requests
    for request in requests:
        assert {f.key for f in request.facts} == {*request.focus, "transcript"}
    assert len({len(r.focus) for r in requests}) > 2


def test_shares():
    task = "closed_ended_acoustic_level"
    table = annotations(400)
    requests = [
        r for r in plan(table, tasks={task: {"fraction": 0.5, "engine_share": 0.25, "pairs": 3}}) if r.task == task
    ]
    assert 160 < len(requests) < 240
    assert 0.15 < sum(r.engine == "vllm" for r in requests) / len(requests) < 0.35
    assert {r.pairs_wanted for r in requests} == {3}
    assert {r.engine for r in plan(table, engine="template")} == {"template"}
    assert all(r.task != task for r in plan(table, tasks={task: {"fraction": 0.0}}))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(1, 4), st.floats(0, 1), st.integers(0, 5))
def test_comparisons_are_bounded(count, uses, fraction, seed):
    table = annotations(count, seed=seed)
    requests = [
        r for r in plan(table, comparison_uses=uses, tasks={COMPARISON: {"fraction": fraction}}) if r.task == COMPARISON
    ]
    used = [u for r in requests for u in r.utterance_ids]
    assert all(used.count(u) <= uses for u in used)
    assert len({frozenset(r.utterance_ids) for r in requests}) == len(requests)
    where = {row["utterance_id"]: (row["split"], row["language"]) for row in table.to_pylist()}
    for request in requests:
        assert len(request.utterance_ids) == len(request.audio_uris) == 2
        assert {where[u] for u in request.utterance_ids} == {(request.split, request.language)}
        first, second = ({f.key: f.value for f in request.facts if f.audio == a} for a in (0, 1))
        assert any(first[key] != second[key] for key in first.keys() & second.keys())


def test_only_clips_of_one_data_source_are_compared():
    table = annotations(60)
    sources = [f"c{index // 6 % 2}_en" for index in range(60)]
    table = table.set_column(table.schema.get_field_index("data_source"), "data_source", pa.array(sources))
    of = dict(zip(table["utterance_id"].to_pylist(), sources, strict=True))
    compared = [r for r in plan(table) if r.task == COMPARISON]
    assert {r.data_source for r in compared} == set(sources)
    assert all({of[name] for name in r.utterance_ids} == {r.data_source} for r in compared)


def test_twins_are_not_compared():
    same = {a.column: 1.0 for a in ATTRIBUTES.values()} | {"gender": "female"}
    assert not [r for r in plan(annotations(10, **same)) if r.task == COMPARISON]


@pytest.mark.parametrize("facts_per_request", [None, 1])
def test_a_comparison_focuses_on_a_difference(facts_per_request):
    for request in plan(annotations(40), facts_per_request=facts_per_request):
        if request.task == COMPARISON:
            for key in request.focus:
                assert request.fact(key, 0) != request.fact(key, 1)


def unanswerable(share, **columns):
    tasks = {task: {"unanswerable": share, "pairs": 4} for task in UNANSWERABLE_TASKS}
    return plan(annotations(90, **columns), tasks=tasks)


def test_a_share_of_requests_is_about_what_nobody_can_tell():
    requests = unanswerable(0.2, transcript="so oder so")
    asked = [r for r in requests if r.unknown]
    assert {r.task for r in asked} == set(UNANSWERABLE_TASKS)
    of_such_tasks = [r for r in requests if r.task in UNANSWERABLE_TASKS]
    assert 0.1 < len(asked) / len(of_such_tasks) < 0.3
    assert not [r for r in unanswerable(0.0) if r.unknown]
    assert any(r.unknown for r in plan(annotations(90)))  # by default too


def test_unanswerable_requests_ask_for_their_topics_alone():
    requests = [r for r in unanswerable(1.0, transcript="so oder so") if r.task in UNANSWERABLE_TASKS]
    assert requests
    for request in requests:
        askable = askable_topics(request.language, "so oder so")
        assert len(request.unknown) == request.pairs_wanted == 4
        assert set(request.unknown) <= set(askable)
        assert [topic for topic in TOPICS if topic in request.unknown] == list(request.unknown)
        assert request.focus == ()
        assert Request.from_row(request.to_row()) == request
    # every topic has its turn
    assert {topic for r in requests for topic in r.unknown} == set(askable_topics("en", "so oder so"))
    assert unanswerable(1.0, transcript="so oder so") == unanswerable(1.0, transcript="so oder so")


def test_nobody_is_asked_what_the_words_may_tell():
    for request in unanswerable(1.0, transcript="ich heiße Anna, my name is Anna"):
        assert "name" not in request.unknown


def test_without_words_nothing_is_said_to_be_untold():
    requests = unanswerable(1.0, transcript=None, words=None)
    assert not [r for r in requests if r.unknown]
    # what is known is asked instead
    assert requests == unanswerable(0.0, transcript=None, words=None)
    assert {r.task for r in requests} >= set(UNANSWERABLE_TASKS)
