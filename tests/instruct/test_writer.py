import asyncio
import json

import pytest

from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.engine import Generation
from sift_ray.instruct.ladder import run_request
from sift_ray.instruct.prompts import judge_hash, prompt_hash
from sift_ray.instruct.requests import ACOUSTIC, COMPARISON, OPEN_ENDED, Request
from sift_ray.instruct.writer import ModelWriter, TemplateWriter
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES

ANSWER = json.dumps({"q": "How fast does this person speak?", "a": "The person speaks very slowly."})


class Named:
    """Always says the same; counts what it is asked."""

    def __init__(self, name):
        self.name = name
        self.prompts = []

    async def generate(self, prompt):
        self.prompts.append(prompt)
        return Generation(ANSWER, "stop", 100, 80, 20)

    async def close(self):
        pass


def request(task):
    facts = (Fact("speaking_rate", "very slowly"),)
    return Request(7, task, "en", "train", "vctk_en", ("u",), ("/u.wav",), "vllm", facts, ("speaking_rate",), 1, 11)


@pytest.mark.parametrize(("task", "model"), [(ACOUSTIC, "small"), (OPEN_ENDED, "large"), (COMPARISON, "pairing")])
def test_each_task_is_written_by_its_own_model_and_the_rows_say_so(task, model):
    config = InstructConfig(models={"default": "small", "open_ended": "large", "comparison": "pairing"}, retries=0)
    engines = {name: Named(name) for name in ("small", "large", "pairing")}
    row = asyncio.run(run_request(request(task), ModelWriter(engines, config), None, config))
    assert [name for name, engine in engines.items() if engine.prompts] == [model]
    assert row["model"] == model
    assert {pair["generator"] for pair in row["pairs"]} == {model}


def test_a_retry_draws_other_samples_and_a_repeat_the_same():
    config = InstructConfig(models={"default": "m"})
    engine = Named("m")
    writer = ModelWriter({"m": engine}, config)
    for attempt in (0, 1, 0):
        asyncio.run(writer.write(request(ACOUSTIC), attempt, ()))
    first, retry, again = engine.prompts
    assert first == again
    assert first.seed == 11 != retry.seed
    assert (first.temperature, first.top_p, first.max_tokens) == (0.7, 0.9, 2048)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_judges_prompt_is_in_the_hash_of_what_it_judges(language):
    plain = ModelWriter({"m": Named("m")}, InstructConfig(models={"default": "m"}))
    judged = ModelWriter({"m": Named("m")}, InstructConfig(models={"default": "m"}, judge={}))
    assert plain.prompt_hash(OPEN_ENDED, language) == prompt_hash(OPEN_ENDED, language)
    assert judged.prompt_hash(OPEN_ENDED, language) != plain.prompt_hash(OPEN_ENDED, language)
    assert judged.prompt_hash(ACOUSTIC, language) == plain.prompt_hash(ACOUSTIC, language)
    assert len({judge_hash(other) for other in LANGUAGES}) == len(LANGUAGES)


def test_templates_write_without_tokens():
    generation = asyncio.run(TemplateWriter().write(request(ACOUSTIC), 0, ()))
    assert "very slow" in generation.text
    assert (generation.prompt_tokens, generation.generated_tokens) == (0, 0)
