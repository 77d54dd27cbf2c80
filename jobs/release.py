"""`ray job submit --working-dir . -- python jobs/release.py CONFIG [--set key=value …]`."""

import sys

from sift_ray.cli import app

if __name__ == "__main__":
    app(["release", *sys.argv[1:]], prog_name="jobs/release.py")
