from pathlib import Path

import pytest

from .small_job import write_job


@pytest.fixture(scope="session")
def good_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a job without a defect; to be copied before it is changed."""
    return write_job(tmp_path_factory.mktemp("validated") / "out")
