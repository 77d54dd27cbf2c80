from typing import Any

import pytest
import yaml

from sift_ray.release.card import CardFacts, dataset_card

ROWS = {
    ("train", "open_ended", "de"): 1200,
    ("dev", "open_ended", "de"): 3,
    ("train", "closed_ended_comparison", "en"): 5,
}


def facts(**more: Any) -> CardFacts:
    return CardFacts(
        "mine", ROWS, {"template": 302, "big": 906}, {"vctk": "CC BY 4.0"}, {"pipeline": "sift-ray 1"}, **more
    )


def header(card: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return parsed


@pytest.mark.parametrize(("form", "folder", "prefix"), [("parquet", "", ""), ("jsonl", "v-1", "v-1/")])
def test_the_header_names_configs_splits_and_languages(form: Any, folder: str, prefix: str) -> None:
    told = header(dataset_card(facts(), form, folder))
    assert told["language"] == ["en", "de"]
    assert told["size_categories"] == ["1K<n<10K"]
    configs = {c["config_name"]: {f["split"]: f["path"] for f in c["data_files"]} for c in told["configs"]}
    assert configs == {
        "closed_ended_comparison": {"train": f"{prefix}train/closed_ended/comparison/*/*.{form}"},
        "open_ended": {
            "train": f"{prefix}train/open_ended/*/*.{form}",
            "validation": f"{prefix}dev/open_ended/*/*.{form}",
        },
    }


def test_the_text_holds_counts_origins_and_licences() -> None:
    card = dataset_card(
        facts(
            models=[("org/big", "abc123", "Apache-2.0"), ("served", "", "not stated")],
            hours={("vctk", "en", "train"): 1.5, ("vctk", "en", "dev"): 0.25, ("other", "en", "dev"): 9.0},
            yields={"open_ended": (2000, 1200)},
            bins=[("speaking_rate", "vctk", 4000, "9.1, 11.5")],
        )
    )
    assert "1,208 speech-instruction samples" in card
    assert "| train | open_ended | 0 | 1,200 | 1,200 |" in card
    assert "| vctk | 1.8 | CC BY 4.0 |" in card
    assert "| template | 302 |" in card
    assert "| org/big | `abc123` | Apache-2.0 |" in card
    assert "| served | not stated | not stated |" in card
    assert "| open_ended | 2,000 | 1,200 | 60.0% |" in card
    assert "| speaking_rate | vctk | 4,000 | 9.1, 11.5 |" in card
    assert "25.0% of the samples were written from templates" in card
    assert "There are no samples in fr, it, es." in card


def test_splits_say_what_was_looked_for() -> None:
    held = {"audio": {"dev": 4, "test": 1000}, "speaker": {"dev": 2}}
    card = dataset_card(facts(held_out=held, labels={"test": {"gender: female": 0.5}}))
    assert "| EvalSIFT | audios | 1,000 |" in card
    assert "| validation | speakers | 2 |" in card
    assert "| EvalSIFT | gender: female | 50.0% |" in card
    assert "Speakers were not looked for" not in card
    assert "Speakers were not looked for" in dataset_card(facts(held_out={"audio": {"dev": 4}, "speaker": {}}))


def test_columns_are_those_that_are_there() -> None:
    assert "`evidence`" in dataset_card(facts())
    assert "`question`" not in dataset_card(facts())
    assert "`audio`" in dataset_card(facts(columns=["id", "audio"], audio="embedded"))
    assert "The audio itself is not in the release" not in dataset_card(facts(audio="embedded"))
    assert "`evidence`" not in dataset_card(facts(), "jsonl")


def test_a_bar_in_a_name_keeps_the_table_whole() -> None:
    card = dataset_card(facts(models=[("a|b", "", "x")]))
    assert "| a\\|b | not stated | x |" in card
