import subprocess
import sys

import pytest

# (in a process of its own: what others left there would be given back too)
TAKES_AND_GIVES_BACK = """
import numpy as np, psutil, pyarrow as pa
from sift_ray.pipeline.worker_memory import give_back

def own():
    return psutil.Process().memory_full_info().uss / 2**20

# many pieces, none of them large enough to be the system's own matter
numbers = pa.chunked_array([pa.array(np.arange(100_000)).cast(pa.string()) for _ in range(200)])
del numbers
kept = own()
give_back()
print(kept, own())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give back when they like")
def test_what_is_free_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", TAKES_AND_GIVES_BACK], capture_output=True, text=True, check=True)
    kept, after = map(float, done.stdout.split())
    assert after < kept - 50, done.stdout
