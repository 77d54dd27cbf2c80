"""Is what an instruction says true? Every claim is read with the phrase dictionaries and held to the facts."""

from sift_ray.instruct.verify.collecting import collect_rarely
from sift_ray.instruct.verify.verdict import Verdict
from sift_ray.instruct.verify.verifier import verify
from sift_ray.instruct.verify.wording import Duplicates

__all__ = ["Duplicates", "Verdict", "collect_rarely", "verify"]
