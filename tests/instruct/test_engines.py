import asyncio

import pytest

from sift_ray.config_instruct import InstructConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.instruct import engines as module
from sift_ray.instruct.engine import EngineStartError
from sift_ray.instruct.engines import model_revisions, models_for, start_engines

from .chat_server import serving

MODELS = {"default": "a", "open_ended": "b"}
SHARED = {"gpu_memory_utilization": 0.4}


class Fake:
    def __init__(self, name):
        self.name = name
        self.closed = False

    async def close(self):
        self.closed = True


@pytest.fixture
def started(monkeypatch):
    """Engines in the place of vLLM's, in the order of their start; one named `broken` does not start."""
    engines = []

    class Vllm:
        @staticmethod
        async def start(name, config, *where):
            if name == "broken":
                raise EngineStartError("broken")
            engines.append(Fake(name))
            engines[-1].where = where
            return engines[-1]

    monkeypatch.setattr(module, "VllmEngine", Vllm)
    return engines


def test_a_judge_is_started_beside_the_models_that_it_judges():
    judge = {"model": "c", "tasks": ["open_ended"]}
    config = InstructConfig(models=MODELS, judge=judge, vllm=SHARED)
    assert models_for("a", config) == ("a",)
    assert models_for("b", config) == ("b", "c")
    everyone = InstructConfig(models=MODELS, judge={"tasks": ["open_ended", "comparison"]})  # by their own writers
    assert models_for("a", everyone) == ("a",)
    assert models_for("b", everyone) == ("b",)
    by_a = InstructConfig(models=MODELS, judge={"model": "a"}, vllm=SHARED)
    assert models_for("a", by_a) == ("a",)
    assert models_for("b", by_a) == ("b", "a")
    assert models_for("a", InstructConfig(models=MODELS)) == ("a",)


def test_engines_come_by_their_models(started):
    config = InstructConfig(models=MODELS, judge={"model": "c"}, vllm=SHARED)
    engines = asyncio.run(start_engines("b", config))
    assert {name: engine.name for name, engine in engines.items()} == {"b": "b", "c": "c"}
    assert not any(engine.closed for engine in started)


def test_weights_are_fetched_as_the_driver_found_them(started, tmp_path):
    storage = StorageConfig(endpoint_url="http://store:1")
    config = InstructConfig(models=MODELS, judge={"model": "c"}, vllm=SHARED, model_cache=str(tmp_path))
    asyncio.run(start_engines("b", config, storage, {"a": "1", "b": "2", "c": ""}))
    assert [engine.where for engine in started] == [(tmp_path, storage, "2"), (tmp_path, storage, None)]


def test_what_started_is_closed_where_another_does_not(started):
    config = InstructConfig(models=MODELS, judge={"model": "broken"}, vllm=SHARED)
    with pytest.raises(EngineStartError):
        asyncio.run(start_engines("b", config))
    assert [(engine.name, engine.closed) for engine in started] == [("b", True)]


def test_two_models_of_one_server():
    pytest.importorskip("openai")
    with serving("b", "c") as server:
        config = InstructConfig(
            engine="openai",
            models=MODELS,
            judge={"model": "c"},
            openai={"base_url": server.url, "retries": 0},
            sampling={"max_tokens": 77},
        )

        async def start_and_close():
            engines = await start_engines("b", config)
            for engine in engines.values():
                await engine.close()
            return set(engines)

        assert asyncio.run(start_and_close()) == {"b", "c"}
        assert {asked["model"] for asked in server.asked} == {"b", "c"}
        # there is room for what will be asked for
        assert {asked["max_tokens"] for asked in server.asked} == {77}


def test_templates_have_no_engine():
    with pytest.raises(ValueError, match="no models to start"):
        asyncio.run(start_engines("a", InstructConfig(engine="template")))


def test_revisions_of_all_models_and_judges(tmp_path):
    folders = []
    for name in ("one", "two"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "config.json").write_text(name)
    models, judge = {"default": str(folders[0])}, {"model": str(folders[1])}
    revisions = model_revisions(InstructConfig(models=models, judge=judge, vllm=SHARED))
    assert set(revisions) == {str(folder) for folder in folders}
    assert len(set(revisions.values())) == 2
    assert all(revisions.values())
    assert model_revisions(InstructConfig(engine="template")) == {}
    # a server's models are its own affair, whatever lies here under their names
    served = InstructConfig(engine="openai", models={"default": "/no/such/folder"}, judge=judge)
    assert model_revisions(served) == {"/no/such/folder": "", str(folders[1]): ""}
