"""How often Ray may restart and try again, and how long it may wait: what the config says, and never without end."""

import os
from typing import Any

import pytest
import ray
import ray.data

from sift_ray.config import Config, RayConfig
from sift_ray.config_file import parse_config
from sift_ray.pipeline import session
from sift_ray.pipeline.session import RaySession, actor_limits, task_limits
from sift_ray.pipeline.wave_flow import lasting

WAITS = ("RAY_task_actor_unavailable_retry_delay_base_ms", "RAY_task_actor_unavailable_retry_max_delay_ms")


def of(**values: Any) -> Config:
    return Config(output="out", corpora=({"type": "demo", "path": "demo"},), ray=RayConfig(**values))


def test_actors_and_tasks_have_the_limits_of_the_config() -> None:
    config = RayConfig(max_actor_restarts=5, max_task_retries=7)
    assert actor_limits(config)() == {"max_restarts": 5, "max_task_retries": 7 + 4}  # (four to reach one that is lost)
    assert task_limits(config)() == {"max_retries": 7}


def test_by_default_there_are_few() -> None:
    assert actor_limits(RayConfig())() == {"max_restarts": 3, "max_task_retries": 6}
    assert task_limits(RayConfig())() == {"max_retries": 2}


def test_none_are_none() -> None:
    config = RayConfig(max_actor_restarts=0, max_task_retries=0)
    assert actor_limits(config)() == {"max_restarts": 0, "max_task_retries": 0}
    assert task_limits(config)() == {"max_retries": 0}
    assert lasting(config, range(1000)).max_actor_restarts == 0


def test_endless_ones_are_refused() -> None:
    for name in ("max_actor_restarts", "max_task_retries"):
        with pytest.raises(ValueError, match=name):
            RayConfig(**{name: -1})


@pytest.mark.parametrize(
    ("allowed", "waves", "restarts"), [(3, 0, 3), (3, 1, 3), (3, 10, 30), (3, 33, 99), (3, 34, 100), (150, 40, 150)]
)
def test_actors_that_last_for_many_waves_may_be_restarted_for_each_to_a_bound(
    allowed: int, waves: int, restarts: int
) -> None:
    config = RayConfig(max_actor_restarts=allowed, max_task_retries=1, no_progress_timeout_s=90)
    limits = lasting(config, range(waves))
    assert limits == config.model_copy(update={"max_actor_restarts": restarts})
    assert actor_limits(limits)()["max_restarts"] == restarts


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ray is started with, and the variables that it and its workers find then."""
    calls: list[dict[str, Any]] = []
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", variables)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append({**options, "environment": dict(os.environ)}))
    return calls


@pytest.mark.parametrize("address", [None, "127.0.0.1:6379"])
def test_a_lost_actor_is_waited_for_in_steps_of_seconds(started: list[dict[str, Any]], address: str | None) -> None:
    session._connect(of(address=address))
    (call,) = started
    assert call.get("address") == address
    assert [call["environment"][name] for name in WAITS] == ["3000", "30000"]


def test_what_the_user_has_set_stays(started: list[dict[str, Any]]) -> None:
    os.environ[WAITS[0]] = "500"
    session._connect(of())
    assert [started[0]["environment"][name] for name in WAITS] == ["500", "30000"]


@pytest.mark.parametrize("seconds", [60, 86_400])
def test_an_execution_waits_for_gpus_as_long_as_the_config_says(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    context = ray.data.DataContext.get_current().copy()
    monkeypatch.setattr(ray.data.DataContext, "get_current", lambda: context)
    session._limit(RayConfig(no_progress_timeout_s=seconds))
    assert context.execution_no_progress_timeout_s == seconds


def test_by_default_it_waits_for_hours() -> None:
    assert RayConfig().no_progress_timeout_s == 6 * 3600


@pytest.mark.parametrize(
    ("address", "cores", "expected"),
    [
        (None, [2], (0.5, 2)),  # however many logical CPUs it has
        (None, [16], (0.5, 16)),
        ("auto", [2], (0.5, None)),
        ("auto", [2, 1], (0.5, None)),
        ("auto", [2, 2], (1.0, None)),
        ("auto", [0, 32], (1.0, None)),
        ("auto", [0], (1.0, None)),  # an autoscaler will bring nodes
    ],
)
def test_busy_tasks_are_as_many_as_cores(
    monkeypatch: pytest.MonkeyPatch, address: str | None, cores: list[int], expected: tuple[float, int | None]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(RaySession, "cores", lambda *_: cores)
    ray_section = "" if address is None else f", ray: {{address: {address}}}"
    corpora = "corpora: [{type: demo, name: d, path: /nowhere}]"
    config = parse_config(f"{{output: /nowhere, {corpora}{ray_section}}}", "job.yaml", check_paths=False)
    assert RaySession(config).busy_tasks(0.5) == expected
