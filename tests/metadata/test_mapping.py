"""The facts of a table, made column by column, against the same rules written row by row."""

from __future__ import annotations

import bisect
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.config import BinConfig
from sift_ray.metadata.accents import display_accent
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.categories import ATTRIBUTES, CONTENT_KEYS, TIME_KEYS, VALUES, WORD_ATTRIBUTES
from sift_ray.metadata.mapping import fact_lists
from sift_ray.metadata.record import Fact, facts_of
from sift_ray.metadata.rulers import Rulers
from sift_ray.schema import AGES, ANNOTATIONS, DOUBTED_TRANSCRIPT, FACT, MEASURES, conform

Row = dict[str, Any]

MEASURED = {attribute.column: MEASURES[attribute.column] for attribute in ATTRIBUTES.values()}
ENCODED = ("corpus", "language", "gender", "age", "accent", "transcript", "phonemes", "alignment_reason", "status")


def measured(column: str) -> st.SearchStrategy[float | None]:
    """Numbers of a column: unknown, on the ends of its range, within it and outside."""
    low, high = MEASURED[column].low, MEASURED[column].high
    odd = st.sampled_from([None, math.nan, math.inf, -math.inf, low, high, low - 1, high + 1])
    return odd | st.floats(low, high, width=32)


SECONDS = st.none() | st.sampled_from([math.nan, math.inf, 0.0, 59.999]) | st.floats(0, 60, width=32)
WORDS = st.lists(
    st.fixed_dictionaries(
        {
            "word": st.sampled_from(["one", "zwei", "l'été", "three"]),
            **{a.word_column: measured(a.column) for a in ATTRIBUTES.values() if a.word_column is not None},
            "start_s": SECONDS,
            "end_s": SECONDS,
        }
    ),
    max_size=4,
).map(lambda words: [{**word, "position": place} for place, word in enumerate(words, 1)])

ROWS = st.fixed_dictionaries(
    {
        "corpus": st.sampled_from(["large", "small", "never measured"]),
        "language": st.sampled_from(["en", "de", "pl"]),
        "gender": st.sampled_from(["female", "male", "neither", "", None]),
        "age": st.sampled_from([*AGES[:2], AGES[-1], "young", "", None]),
        "accent": st.sampled_from(["Scottish English", "Scottish English, from Leith", "I came here at 3", "", None]),
        "transcript": st.sampled_from(["one two", "où ça", "", None]),
        "phonemes": st.sampled_from(["w ʌ n", "", None]),
        "alignment_reason": st.sampled_from([*sorted(DOUBTED_TRANSCRIPT)[:2], "no_model", None]),
        "words": st.none() | WORDS,
        **{column: measured(column) for column in MEASURED},
    }
)
TABLES = st.lists(ROWS, max_size=6)


def table_of(rows: list[Row]) -> pa.Table:
    filled = [
        {"unit_id": place, "utterance_id": f"u{place}", "data_source": "s", "split": "train", "status": "ok", **row}
        for place, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(filled, schema=ANNOTATIONS)


@pytest.fixture(scope="module")
def rulers() -> Rulers:
    """Of two corpora, one of them too small for rulers of its own; rates differ by language."""
    random = np.random.default_rng(0)
    count = 300
    rows = table_of(
        [
            {
                "corpus": "large" if place % 20 else "small",
                "language": ["en", "de"][place % 2],
                "gender": ["female", "male", None][place % 3],
                **{name: random.uniform(measure.low, measure.high) for name, measure in MEASURED.items()},
            }
            for place in range(count)
        ]
    )
    return build_rulers(lambda: [rows], BinConfig(min_count=30, by_language=("speaking_rate",)))


def judged(rulers: Rulers, key: str, value: float | None, row: Row) -> list[tuple[str, int]]:
    """The label and ordinal of one number, if it has one."""
    measure = MEASURED[ATTRIBUTES[key].column]
    ruler = rulers.ruler(key, row["corpus"], row["gender"], row["language"])
    if ruler is None or value is None or not measure.low <= np.float32(value) <= measure.high:
        return []
    place = bisect.bisect_left(ruler.edges[1:-1], np.float32(value))
    return [(ATTRIBUTES[key].labels[place], place)]


def rounded(seconds: float | None) -> list[str]:
    """A time as it is written, if it is one: the nearest hundredth, the even one of two."""
    if seconds is None or not math.isfinite(seconds):
        return []
    return [f"{round(100 * float(np.float32(seconds))) / 100:.2f}"]


def expected(rulers: Rulers, row: Row, *, times: bool = False) -> list[Row]:
    """The facts of one row, one after another."""
    made: list[tuple[str, str, int | None, int]] = []
    for key, attribute in ATTRIBUTES.items():
        made += [(key, *known, 0) for known in judged(rulers, key, row[attribute.column], row)]
    for key in CONTENT_KEYS:
        value = row["age" if key == "age_category" else key]
        if key == "accent":
            value = display_accent(value)
        if key in ("transcript", "phonemes") and row["alignment_reason"] in DOUBTED_TRANSCRIPT:
            continue
        if value and value in VALUES.get(key, [value]):
            made.append((key, value, AGES.index(value) if key == "age_category" else None, 0))
    for word in row["words"] or []:
        made.append(("word", word["word"], None, word["position"]))
        for key in WORD_ATTRIBUTES:
            column = ATTRIBUTES[key].word_column
            assert column is not None
            made += [(key, *known, word["position"]) for known in judged(rulers, key, word[column], row)]
        for key in TIME_KEYS if times else ():
            made += [(key, seconds, None, word["position"]) for seconds in rounded(word[key])]
    return [
        {"key": key, "value": value, "ordinal": ordinal, "audio": 0, "position": position}
        for key, value, ordinal, position in made
    ]


@settings(max_examples=100, deadline=None)
@given(rows=TABLES)
def test_facts_are_those_of_the_plain_rules(rulers: Rulers, rows: list[Row]) -> None:
    table = table_of(rows)
    made = fact_lists(table, rulers)
    made.validate(full=True)
    assert made.type == pa.list_(FACT)
    assert made.null_count == 0
    wanted = [expected(rulers, row) for row in rows]
    assert made.to_pylist() == wanted
    # the reader for prompts and verifier says the same
    read = facts_of(table, rulers)
    assert read == [[Fact.from_row(fact) for fact in facts] for facts in wanted]
    assert [[fact.to_row() for fact in facts] for facts in read] == wanted


@settings(max_examples=100, deadline=None)
@given(rows=TABLES)
def test_words_come_with_their_times_where_asked_for(rulers: Rulers, rows: list[Row]) -> None:
    table = table_of(rows)
    made = fact_lists(table, rulers, times=True)
    made.validate(full=True)
    wanted = [expected(rulers, row, times=True) for row in rows]
    assert made.to_pylist() == wanted
    assert facts_of(table, rulers, times=True) == [[Fact.from_row(fact) for fact in facts] for facts in wanted]


def test_a_word_without_times_has_none(rulers: Rulers) -> None:
    words = [
        {"word": "one", "position": 1, "start_s": 0.125, "end_s": None},
        {"word": "two", "position": 2, "start_s": math.nan, "end_s": 12.3456},
    ]
    table = table_of([{"corpus": "large", "language": "pl", "words": words}])
    assert facts_of(table, rulers, times=True) == [
        [
            Fact("word", "one", 0, 1),
            Fact("start_s", "0.12", 0, 1),
            Fact("word", "two", 0, 2),
            Fact("end_s", "12.35", 0, 2),
        ]
    ]
    assert {fact.key for fact in facts_of(table, rulers)[0]} == {"word"}


@settings(max_examples=40, deadline=None)
@given(rows=TABLES, data=st.data())
def test_neither_order_nor_shards_matter(rulers: Rulers, rows: list[Row], data: st.DataObject) -> None:
    table = table_of(rows)
    made = fact_lists(table, rulers)
    order = pa.array(data.draw(st.permutations(range(len(rows)))), pa.int64())
    assert fact_lists(table.take(order), rulers).equals(made.take(order))
    cut = data.draw(st.integers(0, len(rows)))
    parts = [fact_lists(part, rulers) for part in (table.slice(0, cut), table.slice(cut))]
    assert pa.concat_arrays(parts).equals(made)


@settings(max_examples=40, deadline=None)
@given(rows=TABLES, cut=st.integers(0, 6))
def test_the_layout_of_the_table_does_not_matter(rulers: Rulers, rows: list[Row], cut: int) -> None:
    table = table_of(rows)
    made = fact_lists(table, rulers)
    chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut), table.slice(0, 0)])
    assert fact_lists(chunked, rulers).equals(made)
    assert fact_lists(pa.concat_tables([table, table]).combine_chunks().slice(len(rows)), rulers).equals(made)
    for plain in (table, chunked):
        columns = [plain[name].dictionary_encode() if name in ENCODED else plain[name] for name in plain.column_names]
        assert fact_lists(pa.table(columns, names=plain.column_names), rulers).equals(made)


@pytest.mark.parametrize("table", [ANNOTATIONS.empty_table(), table_of([])])
def test_no_rows_have_no_facts(rulers: Rulers, table: pa.Table) -> None:
    made = fact_lists(table, rulers)
    assert (len(made), made.type) == (0, pa.list_(FACT))
    assert facts_of(table, rulers) == []


def test_nothing_known_is_an_empty_list(rulers: Rulers) -> None:
    made = fact_lists(table_of([{"corpus": "large", "language": "pl"}] * 2), rulers)
    assert made.to_pylist() == [[], []]


@pytest.mark.parametrize(
    ("transcript", "known"), [("...", False), ("?!", False), (" – ", False), ("7", True), ("É?", True)]
)
def test_a_transcript_without_a_word_is_not_known(rulers: Rulers, transcript: str, known: bool) -> None:
    (facts,) = facts_of(table_of([{"corpus": "large", "language": "en", "transcript": transcript}]), rulers)
    assert [fact.value for fact in facts if fact.key == "transcript"] == [transcript] * known


def test_a_table_of_facts_reads_back_from_parquet(rulers: Rulers, tmp_path: Any) -> None:
    import pyarrow.parquet as pq

    row = {"corpus": "large", "language": "en", "gender": "male", "age": "teens", "snr_db": 30.0}
    schema = pa.schema([pa.field("facts", pa.list_(FACT), nullable=False)])
    table = conform(pa.table({"facts": fact_lists(table_of([row]), rulers)}), schema)
    pq.write_table(table, tmp_path / "facts.parquet")
    assert pq.read_table(tmp_path / "facts.parquet").equals(table)
    assert {f["key"]: f["ordinal"] for f in table.to_pylist()[0]["facts"]} == {
        "noise_level": expected(rulers, {**dict.fromkeys(ANNOTATIONS.names), **row})[0]["ordinal"],
        "age_category": 0,
        "gender": None,
        "language": None,
    }
