from pathlib import Path

import pytest

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.metadata.rulers import BinsError
from sift_ray.pipeline.bin import _measured_by, _raise_if_measured_otherwise


def config(tmp_path: Path, features: str) -> Config:
    for name in ("clips.tsv", "bins.json"):
        (tmp_path / name).write_text("")
    text = f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"
    return parse_config(
        f"{text}bin: {{frozen: {tmp_path}/bins.json}}\nannotate: {{features: {features}}}\n", "job.yaml"
    )


def test_a_ruler_of_one_backend_does_not_judge_another(tmp_path: Path) -> None:
    mos, squim = (config(tmp_path, f"{{quality: {quality}}}") for quality in ("dnsmos", "squim"))
    _raise_if_measured_otherwise(mos, {"measured_by": _measured_by(mos)})
    _raise_if_measured_otherwise(mos, {})  # bins of an earlier version do not say
    with pytest.raises(BinsError, match=r"bins\.json: .* with quality: dnsmos"):
        _raise_if_measured_otherwise(squim, {"measured_by": _measured_by(mos)})
