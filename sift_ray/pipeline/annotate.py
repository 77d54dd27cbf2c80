"""annotate: decode, measure and align every utterance of a wave, one row in, one row out.

Decoding runs as plain CPU tasks apart from the pool that measures (which may hold GPUs) and the pool that aligns.
Between them audio travels as ragged int16, never padded. A row that can't go on is marked with stage, reason and
detail, and passes the later stages untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import ray.data

from sift_ray.config import Config
from sift_ray.pipeline.align_models import fingerprints
from sift_ray.pipeline.annotate_actors import Aligning, Measuring
from sift_ray.pipeline.decoding import decode_batch, read_blocks
from sift_ray.pipeline.model_place import ModelPlace
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import RaySession, actor_limits, task_limits
from sift_ray.pipeline.stages import annotate_stage, plan_stage
from sift_ray.pipeline.waves import Expected, expected_of, run_waves
from sift_ray.storage import OutputRoot, StorageError, WaveManifest, read_manifest, wave_files

_BLOCKS_A_WORKER = 8  # enough pieces of a wave that no worker waits for a long last one


def run_annotate(
    session: RaySession, config: Config, root: OutputRoot, plan: Plan, models: Mapping[str, ModelPlace]
) -> Iterator[WaveManifest]:
    """Annotate every unfinished wave of the plan, yielding each wave's manifest."""
    stage = annotate_stage(config, plan.content, fingerprints(models))
    source = plan_stage(config).name

    def start(wave: int, progress: Progress) -> tuple[ray.data.Dataset, Expected]:
        manifest = read_manifest(root, source, wave)
        if manifest is None:
            raise StorageError(f"{root.uri}/{source}: wave {wave} is not there; run `sift-ray plan` first")
        return _dataset(config, root, manifest, models, progress), expected_of(manifest)

    return run_waves(session, root, stage, range(plan.waves), start)


def _dataset(
    config: Config,
    root: OutputRoot,
    manifest: WaveManifest,
    models: Mapping[str, ModelPlace],
    progress: Progress,
) -> ray.data.Dataset:
    annotate = config.annotate
    measure, align = annotate.features.pool, annotate.align.pool
    blocks = min(
        -(-manifest.rows // annotate.decode.pool.batch_rows),
        max(measure.actors[1], align.actors[1]) * _BLOCKS_A_WORKER,
    )
    # a wave's utterances are a few megabytes: one task reads them sooner than Ray Data's readers are started
    read = ray.remote(num_cpus=1, num_returns=blocks)(read_blocks)
    pieces = read.remote(root, wave_files(root, manifest), blocks)
    dataset = ray.data.from_arrow_refs([pieces] if blocks == 1 else pieces)
    dataset = dataset.map_batches(
        decode_batch,
        fn_kwargs={"config": annotate.decode, "storage": config.reading_from.resolved()},
        batch_size=annotate.decode.pool.batch_rows,
        batch_format="pyarrow",
        num_cpus=annotate.decode.pool.num_cpus,
        ray_remote_args_fn=task_limits(config.ray),
    )
    dataset = dataset.map_batches(
        Measuring,
        fn_constructor_kwargs={"config": annotate.features},
        batch_size=measure.batch_rows,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=measure.actors[0], max_size=measure.actors[1]),
        num_cpus=measure.num_cpus,
        num_gpus=measure.num_gpus,
        ray_remote_args_fn=actor_limits(config.ray),
    )
    return dataset.map_batches(
        Aligning,
        fn_constructor_kwargs={
            "config": annotate.align,
            "root": root,
            "models": dict(models),
            "progress": progress,
        },
        batch_size=align.batch_rows,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=align.actors[0], max_size=align.actors[1]),
        num_cpus=align.num_cpus,
        num_gpus=align.num_gpus,
        ray_remote_args_fn=actor_limits(config.ray),
    )
