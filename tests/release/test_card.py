import yaml

from sift_ray.release.card import dataset_card

ROWS = {
    ("train", "open_ended", "de"): 1200,
    ("dev", "open_ended", "de"): 3,
    ("train", "closed_ended_comparison", "en"): 5,
}


def test_the_header_names_configs_splits_and_languages() -> None:
    card = dataset_card("mine", ROWS, {"template": 1208}, {"vctk": "CC BY 4.0"}, {"pipeline": "sift-ray 1"})
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["language"] == ["en", "de"]
    configs = {c["config_name"]: {f["split"]: f["path"] for f in c["data_files"]} for c in header["configs"]}
    assert configs == {
        "closed_ended_comparison": {"train": "train/closed_ended/comparison/*/*.parquet"},
        "open_ended": {"train": "train/open_ended/*/*.parquet", "validation": "dev/open_ended/*/*.parquet"},
    }


def test_the_text_holds_counts_origins_and_licences() -> None:
    card = dataset_card("mine", ROWS, {"template": 1208}, {"vctk": "CC BY 4.0"}, {"pipeline": "sift-ray 1"})
    assert "1,208 speech-instruction samples" in card
    assert "| train | open_ended | 0 | 1,200 | 1,200 |" in card
    assert "| vctk | CC BY 4.0 |" in card
    assert "| template | 1,208 |" in card
