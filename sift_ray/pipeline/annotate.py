"""annotate: decode, measure and align every utterance of the waves, one row in, one row out.

Decoding runs as plain CPU tasks apart from the pool that measures (which may hold GPUs) and the pool that aligns.
Between them audio travels as ragged int16, never padded. A row that can't go on is marked with stage, reason and
detail, and passes the later stages untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import ray.data

from sift_ray.config import Config, DecodeConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.job_log import where
from sift_ray.pipeline.align_models import fingerprints
from sift_ray.pipeline.annotate_actors import Aligning, Measuring
from sift_ray.pipeline.decoding import decode_batch, read_blocks
from sift_ray.pipeline.model_place import ModelPlace
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import RaySession, actor_limits, task_limits
from sift_ray.pipeline.stages import annotate_stage, plan_stage
from sift_ray.pipeline.wave_flow import Flow, lasting
from sift_ray.pipeline.wave_pieces import WAVE, of_wave, open_piece
from sift_ray.pipeline.wave_run import run_waves
from sift_ray.pipeline.waves import Expected, expected_of
from sift_ray.storage import OutputRoot, StorageError, WaveManifest, read_manifest, wave_files

_BLOCKS_A_WORKER = 8  # enough pieces of a wave that no worker waits for a long last one


def run_annotate(
    session: RaySession, config: Config, root: OutputRoot, plan: Plan, models: Mapping[str, ModelPlace]
) -> Iterator[WaveManifest]:
    """Annotate every unfinished wave of the plan, yielding each wave's manifest."""
    stage = annotate_stage(config, plan.content, fingerprints(models))
    source = plan_stage(config).name

    def start(waves: Sequence[int]) -> list[Flow]:
        for wave in waves:
            if read_manifest(root, source, wave) is None:
                raise StorageError(f"{root.uri}/{source}: wave {wave} is not there; run `sift-ray plan` first")
        work = partial(_annotated, config=config, root=root, models=models, waves=waves)
        waiting = config.annotate.features.pool.batch_rows + config.annotate.align.pool.batch_rows
        return [Flow(ReadUtterances(root, source, config), work, waiting)]

    return run_waves(session, root, stage, range(plan.waves), start, config.plan.wave_rows)


@dataclass(frozen=True)
class ReadUtterances:
    """Reads a wave of the plan in pieces for a decoding task each; what is best read together is in one piece."""

    root: OutputRoot
    source: str
    config: Config

    def __call__(self, wave: int) -> tuple[Expected, Iterable[pa.Table]]:
        """Return the wave's rows; see `wave_flow.Reading`."""
        manifest = read_manifest(self.root, self.source, wave)
        if manifest is None:
            raise StorageError(f"{self.root.uri}/{self.source}: wave {wave} is gone; run `sift-ray plan` again")
        annotate = self.config.annotate
        actors = max(annotate.features.pool.actors[1], annotate.align.pool.actors[1])
        pieces = min(-(-manifest.rows // annotate.decode.pool.batch_rows), actors * _BLOCKS_A_WORKER)
        if not pieces:
            return expected_of(manifest), ()
        return expected_of(manifest), read_blocks(self.root, wave_files(self.root, manifest), pieces)


def decode_piece(piece: pa.Table, config: DecodeConfig, storage: StorageConfig) -> Iterator[pa.Table]:
    """Decode a piece of a wave in batches; see `decode_batch`."""
    wave, rows = open_piece(piece)
    for start in range(0, rows.num_rows, config.pool.batch_rows):
        with where("annotations", wave):
            decoded = decode_batch(rows.slice(start, config.pool.batch_rows), config, storage)
        yield of_wave(wave, decoded)


class AligningWaves(Aligning):
    """Aligns rows that know their wave, and go on knowing it."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch as rows of `annotations`, and their wave."""
        waves = batch.column(WAVE)
        return super().__call__(batch.drop_columns([WAVE])).append_column(WAVE, waves)


def _annotated(
    pieces: ray.data.Dataset,
    progress: Progress,
    config: Config,
    root: OutputRoot,
    models: Mapping[str, ModelPlace],
    waves: Sequence[int],
) -> ray.data.Dataset:
    annotate, limits = config.annotate, lasting(config.ray, waves)
    measure, align = annotate.features.pool, annotate.align.pool
    dataset = pieces.map_batches(
        decode_piece,
        fn_kwargs={"config": annotate.decode, "storage": config.reading_from.resolved()},
        batch_size=1,
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
        ray_remote_args_fn=actor_limits(limits),
    )
    return dataset.map_batches(
        AligningWaves,
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
        ray_remote_args_fn=actor_limits(limits),
    )
