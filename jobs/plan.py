"""`ray job submit --working-dir . -- python jobs/plan.py CONFIG [--set key=value …]`."""

import sys

from sift_ray.cli import app

if __name__ == "__main__":
    app(["plan", *sys.argv[1:]], prog_name="jobs/plan.py")
