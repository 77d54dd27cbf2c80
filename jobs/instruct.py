"""`ray job submit --working-dir . -- python jobs/instruct.py CONFIG [--set key=value …]`."""

import sys

from sift_ray.cli import app

if __name__ == "__main__":
    app(["instruct", *sys.argv[1:]], prog_name="jobs/instruct.py")
