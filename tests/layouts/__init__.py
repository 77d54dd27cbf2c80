"""Every layout that corpora come in, built small and true from the demo's trees."""

from __future__ import annotations

from . import hub, lists, trees
from .demo_clips import Build, Demo, DemoClip, Expected, Layout, read_demo

__all__ = ["LAYOUTS", "Demo", "DemoClip", "Expected", "Layout", "read_demo"]

LAYOUTS: dict[str, Build] = {
    build.__name__: build
    for build in (
        trees.mls_flac,
        trees.mls_nine_hours,
        trees.mls_opus,
        trees.common_voice_5,
        trees.common_voice_15,
        trees.common_voice_17,
        trees.common_voice_17_validated,
        trees.vctk,
        trees.vctk_first_microphone,
        hub.mls_hub,
        hub.mls_hub_nine_hours,
        hub.mls_hub_english,
        hub.common_voice_hub,
        hub.vctk_hub,
        lists.manifest_tsv,
        lists.manifest_csv,
        lists.manifest_jsonl,
        lists.manifest_parquet,
        lists.manifest_parquet_embedded,
        lists.manifest_spans,
        lists.nemo,
        lists.lhotse_cuts,
        lists.lhotse_supervisions,
        lists.kaldi,
        lists.kaldi_whole,
        lists.webdataset,
        lists.webdataset_texts,
    )
}
