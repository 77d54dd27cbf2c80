from pathlib import Path

import pytest

from sift_ray.config_release import ReleaseConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.pipeline.release_tasks import GroupedSamples, GroupWriters
from sift_ray.pipeline.waves import LostRowsError
from sift_ray.release.layout import Group
from sift_ray.storage import LocalRoot

from .test_files import samples

GROUP = Group("train", "open_ended", "de")


class FailingRoot(LocalRoot):
    """Does not open a file at the first try."""

    tries = 0

    def locate(self, path: str) -> str:
        if path.endswith(".parquet"):
            self.tries += 1
            if self.tries == 1:
                raise OSError("the store does not answer")
        return super().locate(path)


def writers(root: LocalRoot) -> GroupWriters:
    return GroupWriters(root, "v", {GROUP: 20_000}, ReleaseConfig(), StorageConfig())


def part(rows: int) -> list[GroupedSamples]:
    return [GroupedSamples(samples(0, rows), [(GROUP, 0, rows)])]


def test_waves_come_in_their_order_and_all_of_them(tmp_path: Path) -> None:
    made = writers(LocalRoot(tmp_path))
    with pytest.raises(LostRowsError, match="wave 1 came when it was wave 0's turn"):
        made.append(1, [])
    made.append(0, part(3))
    with pytest.raises(LostRowsError, match="2 waves were to come, and 1 did"):
        made.finish(2)
    (written,) = made.finish(1).values()
    assert written.rows == 3


def test_after_a_write_that_failed_no_folder_is_closed_as_whole(tmp_path: Path) -> None:
    made = writers(FailingRoot(tmp_path))
    with pytest.raises(OSError, match="does not answer"):
        made.append(0, part(12_000))
    with pytest.raises(LostRowsError, match="wave 1 came"):
        made.append(1, part(10))
    with pytest.raises(LostRowsError, match="1 waves were to come, and 0 did"):
        made.finish(1)
    assert list(tmp_path.rglob("*.parquet")) == []
