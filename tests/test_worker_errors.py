from sift_ray.worker_errors import sentence_of

CHAIN = """ray::MapWorker(MapBatches(Measuring)).submit() (pid=30768, ip=127.0.0.1)

The above exception was the direct cause of the following exception:

  File "/x/torch_stft.py", line 7, in __call__
RuntimeError: cuFFT error: CUFFT_INVALID_SIZE

The above exception was the direct cause of the following exception:

ray.exceptions.UserCodeException: UDF failed to process a data block.
To change retry attempts, configure `ray.data.DataContext.get_current()`."""

CREATION = """The actor died because of an error raised in its creation task, \x1b[36mray::MapWorker.__init__()\x1b[39m
  File "/x/checkpoints.py", line 10, in _files
KeyError: 'weights'

During handling of the above exception, another exception occurred:

  File "/x/squim.py", line 10, in __init__
sift_ray.features.checkpoints.CheckpointError: /models/a.pth: holds no weights; give the file of a saved state dict"""


class FromRay(Exception):
    __module__ = "ray.exceptions"


def test_what_a_worker_said_is_found_in_rays_tracebacks() -> None:
    assert sentence_of(FromRay(CHAIN)) == "RuntimeError: cuFFT error: CUFFT_INVALID_SIZE"
    assert sentence_of(FromRay(CREATION)) == (
        "CheckpointError: /models/a.pth: holds no weights; give the file of a saved state dict"
    )


def test_other_errors_are_told_as_they_are() -> None:
    assert sentence_of(ValueError("bad\nSomeError: quoted")) == "ValueError: bad\nSomeError: quoted"
    assert sentence_of(FromRay("no node has 64 CPUs")) == "FromRay: no node has 64 CPUs"


def test_a_cause_that_ray_kept_is_told() -> None:
    error = FromRay("nothing here to read")
    error.cause = OSError("disk full")
    assert sentence_of(error) == "OSError: disk full"
