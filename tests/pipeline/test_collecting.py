"""No stage brings its rows together on the driver, whose memory would grow with them."""

import textwrap
from pathlib import Path

import pytest

import sift_ray

from .collecting import CONSUMING, STREAM, Collected, Sources, collected

PACKAGE = Path(sift_ray.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(FILES)


def test_datasets_are_followed_from_where_they_are_made(sources: Sources) -> None:
    assert sources.functions >= {"read_waves", "write_waves", "answers"}
    assert sources.fields == {"work"}


def test_no_stage_collects(sources: Sources) -> None:
    """All that reaches the driver is a row a file, as `write_waves` tells it."""
    stages = [file for file in FILES if file.is_relative_to(PACKAGE / "pipeline")]
    found = {file.name: collected(file.read_text(encoding="utf-8"), sources) for file in stages}
    streamed = {name: [one.method for one in places] for name, places in found.items() if places}
    assert streamed == {"wave_run.py": [STREAM]}, {name: places for name, places in found.items() if places}


def lines(text: str, sources: Sources) -> list[Collected]:
    return collected(textwrap.dedent(text), sources)


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("def f(rows: ray.data.Dataset): return rows.take(5)", "take"),
        ("def f(rows: ray.data.Dataset, n): return rows.map_batches(g).take(limit=n)", "take"),
        ("def f(rows: 'ray.data.Dataset | None'): return rows.count()", "count"),
        ("def f(rows: Dataset, order): return rows.take(pa.array(order))", "take"),
        ("def f(many: list[ray.data.Dataset]): return [one.unique('x') for one in many]", "unique"),
        ("def f(*many: ray.data.Dataset):\n  for place, one in enumerate(many): one.sum('x')", "sum"),
        (
            "def f(rows: ray.data.Dataset):\n  other = rows.map(g)\n  both = other.union(rows)\n  both.schema()",
            "schema",
        ),
        ("def f(rows: ray.data.Dataset):\n  taker = rows.take\n  return taker(5)", "take"),
        ("def f(rows: ray.data.Dataset):\n  def g(): return rows.count()\n  return g", "count"),
        ("def f(rows: ray.data.Dataset): return list(rows.iter_batches())", STREAM),
        ("def f(flow, pieces): return flow.work(pieces, None).take(1)", "take"),
        ("def f(work: Callable[[ray.data.Dataset], ray.data.Dataset]): return work(None).stats()", "stats"),
        ("def f(waves): return read_waves(waves, None, None).min('wave')", "min"),
        ("def f(waves): return wave_flow.read_waves(waves, None, None).min('wave')", "min"),
        ("rows = ray.data.range(5)\nprint(rows.count())", "count"),
        ("def f():\n  while (rows := ray.data.from_items([1])).count(): pass", "count"),
        ("def f(anything): return anything.take_all()", "take_all"),
        ("def f(anything): return anything.to_pandas()", "to_pandas"),
        ("def f(anything): return anything.materialize()", "materialize"),
        ("def f(anything): return anything.to_arrow_refs()", "to_arrow_refs"),
        ("def f(anything): return getattr(anything, 'take')(5)", "take"),
        ("def f(anything): return operator.methodcaller('count')(anything)", "count"),
    ],
)
def test_what_collects_is_found(text: str, method: str, sources: Sources) -> None:
    assert [found.method for found in lines(text, sources)] == [method]


@pytest.mark.parametrize(
    "text",
    [
        "def f(rows: pa.Table, order): return rows.take(pa.array(order))",
        "def f(rows: pa.Table, order): return rows.take(order).schema",
        "def f(rows): return pc.take(rows, [1]), rows.column('x').unique(), 'a/b'.count('/'), sum(rows)",
        "def f(rows: ray.data.Dataset): return rows.map_batches(g).union(rows).repartition(5)",
        "class A:\n  def a(self): return self.b.take(1)\n  def c(self, rows: ray.data.Dataset): self.d = rows.map(g)",
        "def f(rows: ray.data.Dataset, table): return table.take([1]), rows.map(g)",
        "def f(rows: ray.data.Dataset):\n  return rows.map_batches(lambda rows: rows.take([1]))",
        "def f(rows: ray.data.Dataset):\n  def g(rows: pa.Table): return rows.take([1])\n  return rows.map_batches(g)",
        "def f(rows: ray.data.Dataset): return rows\ndef g(rows: pa.Table): return rows.take([1])",
        "def f(): return ray.data.DataContext.get_current().stats",
        "def f(): return ray.data.ActorPoolStrategy(size=1).min",
        "def f(rows: ray.data.Dataset): rows.write_parquet('out')",
    ],
)
def test_what_does_not_is_left_alone(text: str, sources: Sources) -> None:
    assert lines(text, sources) == []


def test_batches_of_a_stream_are_no_dataset(sources: Sources) -> None:
    text = "def f(rows: ray.data.Dataset):\n  for batch in rows.iter_batches(): batch.take([1])"
    assert [found.method for found in lines(text, sources)] == [STREAM]


def test_ways_to_the_driver_are_known_by_rays_own_names() -> None:
    assert {"take", "take_all", "to_pandas", "materialize", "count", "iter_rows", "unique", "aggregate"} <= CONSUMING
