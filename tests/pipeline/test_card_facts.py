"""What a card tells is gathered from the config, the manifests and the records of the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sift_ray.config import Config
from sift_ray.pipeline.release_card import card_facts
from sift_ray.release.card import dataset_card
from sift_ray.storage import LocalRoot, put_json, read_manifest

from ..release.instruction_waves import PAIRS, config_of, write_instructions

WAVES, UTTERANCES = 2, 20
RECORD: dict[str, Any] = {
    "fingerprint": "f00d",
    "rows": {"train/open_ended/en": 1200, "test/open_ended/de": 34},
    "generators": {"org/big": 1200, "template": 34},
    "held_out": {"audio": {"test": 17}, "speaker": {}},
    "most_frequent_labels": {"test": {"gender: female": 0.5}},
    "repeated": 4321,
}


def with_models(config: Config, folder: Path) -> Config:
    """Return the job with models that write and one that judges, and with corpora of every kind of licence."""
    document = config.model_dump(mode="json", exclude_defaults=True)
    document["corpora"] = [
        {"type": "demo", "name": "demo", "path": str(folder)},
        {"type": "mls", "name": "mls", "path": str(folder)},
        {"type": "vctk", "name": "booth", "path": str(folder), "license": "as in the letter of 2026"},
        {"type": "manifest", "name": "own", "path": str(folder / "own.tsv")},
    ]
    document["instruct"] = {
        "engine": "vllm",
        "models": {"default": "smollm2", "open_ended": "org/big"},
        "judge": {"model": "org/judge"},
        "vllm": {"gpu_memory_utilization": 0.4},
    }
    document["release"] = {"model_licenses": {"org/big": "Llama 4", "never/used": "MIT"}}
    return Config.model_validate(document, context={"check_paths": False})


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    root = LocalRoot(tmp_path)
    write_instructions(root, WAVES, UTTERANCES)
    return root


def card_of(root: LocalRoot, config: Config) -> str:
    manifests = [read_manifest(root, "instructions", wave) for wave in range(WAVES)]
    first, *others = [manifest for manifest in manifests if manifest is not None]
    first = first.model_copy(update={"versions": {"sift-ray": "1.2.3"}, "fingerprint": "beef"})
    return dataset_card(card_facts(config, root, RECORD, [first, *others]))


def test_models_are_told_with_revision_and_licence(root: LocalRoot, tmp_path: Path) -> None:
    revisions = {"smollm2": "abc123", "org/big": "0" * 40}
    put_json(root, "instructions/_STAGE.json", {"ingredients": {"revisions": revisions, "data_files": {}}})
    card = card_of(root, with_models(config_of(tmp_path), tmp_path))
    place = card.index("| language model | revision | licence |")
    assert card[place:].split("\n\n")[0].splitlines()[2:] == [
        f"| org/big | `{'0' * 40}` | Llama 4 |",
        "| org/judge | not stated | not stated |",
        "| smollm2 | `abc123` | Apache-2.0 |",
    ]
    assert "| language models | org/big, org/judge, smollm2 |" in card
    assert "| org/big | 1,200 |" in card


def test_a_job_of_templates_names_no_model(root: LocalRoot, tmp_path: Path) -> None:
    card = card_of(root, config_of(tmp_path))
    assert "| language models | none |" in card
    assert "| language model | revision |" not in card


def test_corpora_are_told_with_the_licence_that_the_config_or_their_publisher_gives(
    root: LocalRoot, tmp_path: Path
) -> None:
    lines = card_of(root, with_models(config_of(tmp_path), tmp_path)).splitlines()
    place = lines.index("| corpus | hours of speech measured | licence |")
    assert lines[place + 2 : place + 6] == [
        "| booth | not stated | as in the letter of 2026 |",
        f"| demo | {WAVES * UTTERANCES}.0 | CC0 1.0 (synthetic speech) |",  # (the waves count an utterance as an hour)
        "| mls | not stated | CC BY 4.0 |",
        "| own | not stated | not stated |",
    ]


def test_origins_yields_and_what_is_held_out_are_told(root: LocalRoot, tmp_path: Path) -> None:
    lines = card_of(root, config_of(tmp_path)).splitlines()
    written = WAVES * UTTERANCES * PAIRS
    for line in (
        "| pipeline | sift-ray 1.2.3 |",
        "| fingerprint | `f00d` |",
        "| instructions' fingerprint | `beef` |",
        "| left out as repeats | 4,321 pairs that ask what another task asks of the same utterance |",
        f"| open_ended | {written} | {written * 2 // 3} | 66.7% |",
        f"| closed_ended_comparison | {written} | {written * 2 // 3} | 66.7% |",
        "| EvalSIFT | audios | 17 |",
        "| EvalSIFT | gender: female | 50.0% |",
        "| train | open_ended | 1,200 | 0 | 1,200 |",
    ):
        assert line in lines
    assert any("Speakers were not looked for" in line for line in lines)


def test_the_hash_of_the_prompts_is_that_of_the_prompts_alone(root: LocalRoot, tmp_path: Path) -> None:
    def hash_of(prompt: str, template: str) -> str:
        files = {"prompts.open_ended.en": "1", "prompts.open_ended.de": prompt, "templates.en": template}
        put_json(root, "instructions/_STAGE.json", {"ingredients": {"data_files": files}})
        told = card_of(root, config_of(tmp_path)).partition("Apache-2.0; prompts `")[2]
        return told.partition("`")[0]

    first = hash_of("2", "3")
    assert len(first) == 16
    assert hash_of("2", "4") == first
    assert hash_of("3", "3") != first
    root.delete("instructions/_STAGE.json")
    assert "sift-ray, Apache-2.0 |" in card_of(root, config_of(tmp_path))


def test_bins_are_told_by_their_inner_edges_and_of_many_those_that_judge_most(root: LocalRoot, tmp_path: Path) -> None:
    def ruler(number: int, **of: Any) -> dict[str, Any]:
        given = {"attribute": "average_pitch", "corpus": f"c{number:02d}", "language": None, "gender": None}
        return {**given, "count": 1000 + number, "edges": [50.0, 123.456, 200.0, 400.0], **of}

    rulers = [ruler(n) for n in range(70)]
    rulers[65] = ruler(65, corpus="*", language="de", gender="male")
    put_json(root, "bins.json", {"rulers": rulers})
    lines = [line for line in card_of(root, config_of(tmp_path)).splitlines() if line.startswith("| average_pitch |")]
    assert lines[0] == "| average_pitch | all corpora, de, male | 1,065 | 123.5, 200 |"
    assert lines[1:] == [f"| average_pitch | c{n:02d} | {1000 + n:,} | 123.5, 200 |" for n in range(10, 70) if n != 65]
