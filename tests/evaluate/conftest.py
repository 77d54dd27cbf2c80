import pytest

from sift_ray.config import Config

from .spoken_job import write_job


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The config of a finished job on human recordings; its output is not to be changed."""
    return write_job(tmp_path_factory.mktemp("evaluated") / "out")
