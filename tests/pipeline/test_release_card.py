"""What a card names beside the language models: everything that measured or aligned, with its licence."""

from pathlib import Path

import pytest

from sift_ray.config import Config
from sift_ray.config_file import load_config, parse_config
from sift_ray.pipeline import release_card
from sift_ray.release.card import NOT_STATED
from sift_ray.schema import LANGUAGES
from sift_ray.storage import WaveManifest

PRODUCTION = Path(__file__).parents[2] / "jobs/production.yaml"
FIRST = WaveManifest.model_validate(
    {
        "stage": "instructions",
        "wave": 0,
        "rows": 0,
        "id_digest": "0",
        "fingerprint": "f",
        "files": [],
        "counts": {},
        "started_at": "",
        "seconds": 0.0,
        "versions": {},
    }
)


def details(sections: str) -> dict[str, str]:
    config = parse_config(
        f"{{output: /nowhere, corpora: [{{type: demo, name: d, path: /nowhere}}], {sections}}}",
        "job.yaml",
        check_paths=False,
    )
    return release_card._details(config, {"fingerprint": "f", "repeated": 1234}, FIRST, {})


@pytest.mark.parametrize(
    ("sections", "name", "told"),
    [
        ("", "quality and distortion", "dnsmos (DNSMOS, MIT)"),
        ("annotate: {features: {quality: squim}}", "quality and distortion", "squim (TorchAudio-SQUIM, weights CC BY"),
        ("annotate: {features: {quality: none}}", "quality and distortion", "none"),
        ("", "noise and reverberation", "signal"),
        ("annotate: {features: {room: brouhaha}}", "noise and reverberation", "brouhaha (Brouhaha, weights OpenRAIL"),
        ("", "alignment", "viter (viter, MIT"),
        (
            "annotate: {align: {backend: ctc, models: {en: a/b, de: c/d}}}",
            "alignment",
            "ctc: a/b (licence not stated), c",
        ),
        (
            "annotate: {align: {backend: ctc, models: {en: a/b}}}, release: {model_licenses: {a/b: MIT}}",
            "alignment",
            "ctc: a/b (MIT)",
        ),
        ("", "left out as repeats", "1,234 pairs that ask what another task asks"),
    ],
)
def test_what_measured_and_aligned_is_named_with_its_licence(sections: str, name: str, told: str) -> None:
    assert details(sections)[name].startswith(told)


def test_the_production_job_states_the_licence_of_every_model_and_corpus() -> None:
    config: Config = load_config(PRODUCTION, check_paths=False)
    models = [license_ for _, _, license_ in release_card._models(config, {})]
    assert models
    assert NOT_STATED not in [*models, *release_card.corpus_licenses(config).values()]


def test_the_production_jobs_dev_and_test_are_as_large_as_the_references() -> None:
    """Table 1 of the paper: 470 thousand in five languages, and 30 thousand."""
    quotas = load_config(PRODUCTION, check_paths=False).release.quotas
    found: dict[str, dict[str, int]] = {"dev": {}, "test": {}}
    for split, of_split in quotas.items():
        for task, quota in of_split.items():
            assert isinstance(quota, int)
            found[split][task] = len(LANGUAGES) * quota
    assert sum(found["test"].values()) == 30_000
    assert sum(found["dev"].values()) == 470_000
    assert found["dev"] == {
        "closed_ended_acoustic_level": 100_000,
        "closed_ended_content_level": 80_000,
        "closed_ended_word_align": 40_000,
        "closed_ended_comparison": 100_000,
        "open_ended": 100_000,
        "controllable_generation": 50_000,
    }
