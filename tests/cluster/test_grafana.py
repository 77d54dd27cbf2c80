"""The dashboard, against the series that the job and Ray make."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from sift_ray.pipeline.metrics import SERIES, Series

from .kuberay_schema import CLUSTER

SOURCE = "${datasource}"
RAYS_LABELS = {"SessionName", "instance", "State", "Source", "Location", "GpuIndex"}
SELECTOR = re.compile(r"\b(ray_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!=|!~|=)\s*"')


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CLUSTER / "grafana/sift-ray.json").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for panel in panels:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


def series_of(name: str) -> Series | None:
    return next((series for series in SERIES if name in series.scraped), None)


def labels(series: Series, name: str) -> set[str]:
    return {*series.labels, *(["le"] if name.endswith("_bucket") else [])}


def test_every_series_of_a_panel_is_made_with_the_labels_that_it_is_asked_for(panels: list[dict[str, Any]]) -> None:
    for title, expression, legend in expressions(panels):
        found = SELECTOR.findall(expression)
        assert found, title
        shared: set[str] | None = None
        for name, matchers in found:
            series = series_of(name)
            asked = set(MATCHER.findall(matchers))
            assert "SessionName" in asked, (title, name)
            if series is None:
                assert not name.startswith("ray_sift_ray"), f"{title}: nothing makes {name}"
                assert asked <= RAYS_LABELS
                continue
            there = labels(series, name)
            assert asked <= there | {"SessionName"}, (title, name)
            shared = there if shared is None else shared & there
        grouped = {label.strip() for group in GROUPING.findall(expression) for label in group.split(",")}
        assert grouped <= (RAYS_LABELS if shared is None else shared), title
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= grouped, title


def test_every_series_that_is_made_is_in_a_panel(panels: list[dict[str, Any]]) -> None:
    shown = {name for _, expression, _ in expressions(panels) for name, _ in SELECTOR.findall(expression)}
    assert [series.name for series in SERIES if not shown & set(series.scraped)] == []


def test_rays_own_series_are_those_of_rays_own_dashboards(panels: list[dict[str, Any]]) -> None:
    folder = Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards"
    rays = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*_panels.py"))
    names = {name for _, expression, _ in expressions(panels) for name, _ in SELECTOR.findall(expression)}
    others = {name for name in names if series_of(name) is None}
    assert {"ray_node_cpu_utilization", "ray_node_gpus_utilization", "ray_actors"} <= others
    assert {name for name in others if not re.search(rf"\b{name}\b", rays)} == set()


def test_expressions_are_closed(panels: list[dict[str, Any]]) -> None:
    for title, expression, _ in expressions(panels):
        stack = []
        for sign in re.sub(r'"[^"]*"', '""', expression):
            if sign in "([{":
                stack.append(sign)
            elif sign in ")]}":
                assert stack, title
                assert stack.pop() + sign in ("()", "[]", "{}"), title
        assert stack == [], title


def test_counters_are_read_by_rate_and_gauges_are_not(panels: list[dict[str, Any]]) -> None:
    for title, expression, _ in expressions(panels):
        for name in (name for name, _ in SELECTOR.findall(expression)):
            counts = name.endswith(("_total", "_bucket")) and name.startswith("ray_sift_ray")
            changed = re.search(rf"(rate|increase|max_over_time)\({name}\b", expression) is not None
            assert counts == changed, title


def test_data_comes_from_the_source_that_the_viewer_chose(
    dashboard: dict[str, Any], panels: list[dict[str, Any]]
) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    sources = [panel["datasource"] for panel in panels]
    sources += [target["datasource"] for panel in panels for target in panel["targets"]]
    sources.append(variables["session"]["datasource"])
    assert {json.dumps(source, sort_keys=True) for source in sources} == {
        json.dumps({"type": "prometheus", "uid": SOURCE}, sort_keys=True)
    }


def test_no_host_is_named(dashboard: dict[str, Any]) -> None:
    text = json.dumps(dashboard)
    assert re.findall(r"https?:|//|localhost|\b\d+\.\d+\.\d+\.\d+\b|:\d{4,5}\b", text) == []


def test_panels_have_places_of_their_own_and_say_what_they_show(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
    assert dashboard["schemaVersion"] >= 38  # Grafana 10
    assert dashboard["id"] is None
