"""Acoustic models made elsewhere as viter files: checked, converted and tried out in a process of their own.

viter's readers trust a file: a damaged one can make them panic or ask for all memory. The child process takes that
upon itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sift_ray.align.archive import unpack_members
from sift_ray.align.phone_model import SILENCE
from sift_ray.align.protocol import AlignError
from sift_ray.schema import SAMPLE_RATE

_EXPECTED: Final = (
    "expected is a .viter file of viter, or a Montreal Forced Aligner acoustic model: a .zip that holds meta.json, "
    "phones.txt, tree and final.mdl (MFA 2 and later)"
)
_MFA_FILES: Final = ("meta.json", "phones.txt", "tree", "final.mdl")
_FURTHER_FILES: Final = ("final.alimdl", "lda.mat")
_VITER_MAGIC: Final = b"VITR"
# address space of the child: libraries take under 0.2 GB of it, a model has a few copies of its file
_MEMORY: Final = 2 << 30
_MEMORY_PER_BYTE: Final = 16
_PATIENCE_S: Final = 600.0
# each thread reserves address space of its own
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
_OUT_OF_MEMORY: Final = (
    b"memory allocation",
    b"memoryerror",
    b"out of memory",
    b"cannot allocate memory",
    b"failed to map segment",
)

# after conversion, a second of faint noise is aligned to silence: a model whose features viter can't make fails there
_CHILD: Final = """
import json, resource, sys
import numpy as np

kind, source, out, dictionary, silence, rate, memory = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
import viter

try:
    if kind == "mfa":
        viter.import_mfa(source, out)
    model = viter.Model(out, dict=dictionary, cpu=True)
    if silence in model.phones:
        noise = np.random.default_rng(0).normal(0, 1e-3, int(rate)).astype(np.float32)
        model.align_many([(noise, "x", int(rate))])
except viter.ViterError as error:
    sys.exit(str(error))
facts = {"phones": list(model.phones), "speaker_adapted": model.speaker_adapted, "dimensions": model.feature_dim}
print(json.dumps(facts))
"""


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """What the converted model is: `kind` of its source, `viter` or `mfa`, and whether it adapts to speakers."""

    kind: str
    speaker_adapted: bool


def convert(source: Path, out: Path, scratch: Path) -> ForeignModel:
    """Write the model of `source` to `out` as a viter file; `scratch` is a folder for a file in passing.

    Raises:
        AlignError: `source` is no acoustic model that viter can use; the message names it and says what is expected.
    """
    kind = _kind(source)
    dimensions, read = None, source
    if kind == "mfa":
        read = scratch / "mfa"  # viter gets what was checked, and nothing else of the archive
        read.mkdir()
        size, dimensions = _unpacked(source, read)
    else:
        shutil.copyfile(source, out)
        size = out.stat().st_size
    dictionary = scratch / "silence.txt"
    dictionary.write_text(f"x {SILENCE}\n", encoding="utf-8")
    arguments = [kind, str(read), str(out), str(dictionary), SILENCE, str(SAMPLE_RATE)]
    facts = _in_child(source, out, arguments, _MEMORY + _MEMORY_PER_BYTE * size)
    if dimensions not in (None, facts["dimensions"]):
        raise AlignError(
            f"{source}: viter can't use this model: its Gaussians have {facts['dimensions']} dimensions, but the "
            f"features that meta.json tells of have {dimensions}; {_EXPECTED}"
        )
    if SILENCE not in facts["phones"]:
        raise AlignError(
            f"{source}: the model has no phone {SILENCE!r} for silence, which alignment needs; it has "
            f"{' '.join(facts['phones'][:20])}"
        )
    return ForeignModel(kind, facts["speaker_adapted"])


def _kind(source: Path) -> str:
    try:
        with source.open("rb") as stream:
            head = stream.read(4)
    except OSError as error:
        raise AlignError(f"{source}: the model can't be read: {error}; {_EXPECTED}") from error
    if head == _VITER_MAGIC:
        return "viter"
    if zipfile.is_zipfile(source):
        return "mfa"
    raise AlignError(f"{source}: not an acoustic model; {_EXPECTED}")


def _unpacked(source: Path, folder: Path) -> tuple[int, int | None]:
    """Unpack the model's files to `folder`; return their size and how many dimensions its features have.

    None if a matrix decides that. Refuses what viter would take amiss: missing files, a bomb, features that it does
    not make.
    """
    try:
        sizes = unpack_members(source, (*_MFA_FILES, *_FURTHER_FILES), "meta.json", folder)
    except AlignError as error:
        raise AlignError(f"{error}; {_EXPECTED}") from error
    missing = [name for name in _MFA_FILES if name not in sizes]
    if missing:
        raise AlignError(f"{source}: no {', '.join(missing)} inside; {_EXPECTED}")
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
    except (ValueError, RecursionError) as error:
        raise AlignError(f"{source}: its meta.json is damaged: {error}; {_EXPECTED}") from error
    features = meta.get("features") if isinstance(meta, dict) else None
    if not isinstance(features, dict):
        raise AlignError(f"{source}: its meta.json does not tell of features; {_EXPECTED}")
    if features.get("use_pitch") or features.get("use_voicing"):
        raise AlignError(f"{source}: the model hears pitch, and viter has no such features; take a model without")
    coefficients = features.get("num_coefficients", 13)
    size = sum(sizes.values())
    if "lda.mat" in sizes or not isinstance(coefficients, int):
        return size, None
    return size, coefficients * 3 if features.get("uses_deltas", True) else coefficients


def _in_child(source: Path, out: Path, arguments: list[str], memory: int) -> dict[str, Any]:
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", _CHILD, *arguments, str(memory)],
            env=os.environ | _ONE_THREAD,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AlignError(f"{source}: viter did not read it within {_PATIENCE_S:g} s; {_EXPECTED}") from error
    if done.returncode:
        if any(words in done.stderr.lower() for words in _OUT_OF_MEMORY):
            raise AlignError(
                f"{source}: viter can't use this model: it asks for more than the {memory / 2**30:.1f} GiB of memory "
                f"that a file of its size may; it is likely damaged; {_EXPECTED}"
            )
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        told = (
            lines[-1][:300].replace(str(out), source.name).replace(arguments[1], source.name)
            if lines
            else f"it ended with {done.returncode}"
        )
        raise AlignError(f"{source}: viter can't use this model: {told}; {_EXPECTED}")
    facts: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return facts
