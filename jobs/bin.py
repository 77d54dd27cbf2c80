"""`ray job submit --working-dir . -- python jobs/bin.py CONFIG [--set key=value …]`."""

import sys

from sift_ray.cli import app

if __name__ == "__main__":
    app(["bin", *sys.argv[1:]], prog_name="jobs/bin.py")
