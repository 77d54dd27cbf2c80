"""Whether the task that runs now was begun before."""

from __future__ import annotations

import ray


def is_retry() -> bool:
    """Whether this task ran before on a worker that died, or whose result was lost; False outside of Ray.

    Ray counts attempts, but has no public way to ask for the number; pyproject bounds the versions where this works.
    """
    if not ray.is_initialized():
        return False
    worker = ray._private.worker.global_worker
    attempt: int = worker.core_worker.get_current_task_attempt_number()
    return attempt > 0
