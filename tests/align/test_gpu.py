"""On a GPU: alignment with CTC models, against the CPU. Without one nothing of this can be run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sift_ray.align.ctc_backend import CtcAligner  # noqa: E402
from sift_ray.align.ctc_models import CtcModel  # noqa: E402
from sift_ray.align.ctc_viterbi import best_paths  # noqa: E402
from sift_ray.align.protocol import AlignmentJob, UtteranceAlignment  # noqa: E402
from sift_ray.config_align import AlignConfig  # noqa: E402
from tests.align.tiny_ctc import ARCHITECTURES, noises, write_ctc  # noqa: E402

DEVICE = "cuda"

pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no GPU")

TEXTS = ["¿Dónde está la casa?", "Un perro grande, y dos gatos.", "sí", "El niño come pan con queso en el jardín."]


def config(folder: Path, device: str, **ctc: object) -> AlignConfig:
    return AlignConfig.model_validate(
        {
            "backend": "ctc",
            "models": {"es": str(folder)},
            "min_score": 0.0,
            "ctc": {"device": device, **ctc},
            "pool": {"num_gpus": int(device == "cuda")},
        }
    )


def jobs_of(*lengths_s: float) -> list[AlignmentJob]:
    return [AlignmentJob(clip, TEXTS[number % len(TEXTS)]) for number, clip in enumerate(noises(*lengths_s))]


def onsets(outcome: object) -> list[float | None]:
    assert isinstance(outcome, UtteranceAlignment), outcome
    return [word.start_s for word in outcome.words]


def test_the_search_finds_what_it_finds_on_the_cpu() -> None:
    draw = torch.Generator().manual_seed(0)
    emissions = [torch.log_softmax(3 * torch.randn((frames, 30), generator=draw), 1) for frames in (700, 90, 1, 300)]
    targets = [[1 + (7 * place) % 29 for place in range(length)] for length in (150, 40, 2, 0)]
    here, there = (best_paths([e.to(device) for e in emissions], targets, 0) for device in ("cpu", DEVICE))
    for one, other in zip(here, there, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.score == other.score
            assert np.array_equal(one.places, other.places)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_words_lie_where_they_lie_on_the_cpu(name: str, tmp_path: Path) -> None:
    folder = write_ctc(tmp_path / name, architecture=ARCHITECTURES[name])
    jobs = jobs_of(2.1, 3.3, 0.7, 4.0, 2.1, 6.0)
    here, there = (CtcAligner(config(folder, device, dtype="float32")).align("es", jobs) for device in ("cpu", DEVICE))
    for one, other in zip(here, there, strict=True):
        assert onsets(one) == onsets(other)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_precision_is_heard_nearly_alike(name: str, tmp_path: Path) -> None:
    folder = write_ctc(tmp_path / name, architecture=ARCHITECTURES[name])
    clips = noises(2.0, 3.0, 0.4)
    exact, half = (
        CtcModel(config(folder, DEVICE, dtype=dtype), "es", device=DEVICE).emissions(clips)
        for dtype in ("float32", "auto")
    )
    for one, other in zip(exact, half, strict=True):
        assert other.dtype == torch.float32
        assert one.shape == other.shape
        assert (one - other).abs().mean() < 0.05


@pytest.mark.skipif(DEVICE != "cuda", reason="memory is only short on a GPU")
def test_memory_that_runs_out_makes_batches_smaller(tmp_path: Path) -> None:
    folder = write_ctc(tmp_path / "tiny")
    jobs = [AlignmentJob(np.tile(job.waveform, 10), job.transcript) for job in jobs_of(*([3.0] * 40))]
    whole = config(folder, DEVICE, dtype="float32", batch_s=3600)
    wanted = CtcAligner(whole).align("es", jobs)
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(0.6 * 2**30 / torch.cuda.get_device_properties(0).total_memory)
        found = CtcAligner(whole).align("es", jobs)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for one, other in zip(found, wanted, strict=True):
        assert onsets(one) == onsets(other)
