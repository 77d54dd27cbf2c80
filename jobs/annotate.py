"""`ray job submit --working-dir . -- python jobs/annotate.py CONFIG [--set key=value …]`."""

import sys

from sift_ray.cli import app

if __name__ == "__main__":
    app(["annotate", *sys.argv[1:]], prog_name="jobs/annotate.py")
