"""What instructions are written from and checked by: each file of it is among what their stage is made from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import sift_ray
from sift_ray.config_instruct import UNANSWERABLE_TASKS
from sift_ray.instruct import prompts
from sift_ray.instruct.templates import templates_hash
from sift_ray.instruct.unanswerable import unanswerable_hash
from sift_ray.instruct.verify.small_words import small_words_hash
from sift_ray.pipeline.instruct import data_file_hashes
from sift_ray.schema import LANGUAGES, TASKS

PACKAGE = Path(sift_ray.__file__).parent
FILES = sorted(
    file.relative_to(PACKAGE).as_posix()
    for folder in ("instruct", "metadata")
    for file in (PACKAGE / folder).rglob("*")
    if file.is_file() and file.suffix not in (".py", ".pyc")
)


def named_by(file: str) -> set[str]:
    """Return the names of the hashes that a file has a part in."""
    if file == "metadata/accents.yaml":
        return {"accents"}
    kind, language = Path(file).parent.name, Path(file).stem
    if kind != "prompts":
        return {f"{kind}.{language}"}
    name, _, language = language.partition(".")
    tasks = {"frame": TASKS, "unanswerable": UNANSWERABLE_TASKS}.get(name, (name,))
    return {f"prompts.{task}.{language}" for task in tasks}


def hashes_now() -> dict[str, str]:
    for kept in (prompts._source, prompts.prompt_hash, templates_hash, unanswerable_hash, small_words_hash):
        kept.cache_clear()
    return data_file_hashes()


@pytest.fixture(scope="module")
def before() -> Iterator[dict[str, str]]:
    yield hashes_now()
    hashes_now()


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_changed_changes_the_hashes_under_its_name(
    file: str, before: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, changed = Path.read_text, PACKAGE / file
    monkeypatch.setattr(
        Path, "read_text", lambda path, *given, **named: read(path, *given, **named) + "\n" * (path == changed)
    )
    after = hashes_now()
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == named_by(file)


def test_every_hash_is_of_some_file() -> None:
    assert set().union(*map(named_by, FILES)) == data_file_hashes().keys()
    assert len(FILES) == 1 + len(LANGUAGES) * (4 + len(TASKS) + 3)
