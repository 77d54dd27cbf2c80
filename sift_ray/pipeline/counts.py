"""What of a stage's rows is counted: shard by shard, by Arrow alone, into the sums that manifests keep.

A label joins its parts with `/`. Every part but a model's name, which comes last, is one of a few slugs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.config_instruct import TEMPLATE
from sift_ray.schema import CLIPPED_FROM
from sift_ray.storage import Counts

ACCEPTED: Final = "accepted"
RUNGS: Final = ("first", "retry", "fallback", TEMPLATE)
"""How far down a request had come when something was written; see `count_instructions`."""


def _tally(
    labels: Sequence[pa.ChunkedArray | pa.Array], weights: pa.ChunkedArray | None = None
) -> dict[str, int | float]:
    """Sum `weights` (or count rows) by the labels joined with `/`; a null label reads `unknown`."""
    filled = [pc.fill_null(label, "unknown") for label in labels]
    table = pa.table(
        {
            "label": pc.binary_join_element_wise(*filled, "/"),
            "weight": weights if weights is not None else pa.array(np.ones(len(filled[0]), dtype=np.int64)),
        }
    )
    sums = table.group_by("label").aggregate([("weight", "sum")])
    return {
        label: weight
        for label, weight in zip(sums["label"].to_pylist(), sums["weight_sum"].to_pylist(), strict=True)
        if weight is not None
    }


def count_utterances(table: pa.Table) -> Counts:
    """Count utterances and hours by corpus, language and split, and rejects by reason."""
    ok = table.filter(pc.equal(table["status"], "ok"))
    bad = table.filter(pc.equal(table["status"], "rejected"))
    where = [ok["corpus"], ok["language"], ok["split"]]
    return {
        "status": _tally([table["status"]]),
        "utterances": _tally(where),
        "hours": _tally(where, pc.divide(ok["duration_s"], 3600.0)),
        "rejects": _tally([bad["reject_stage"], bad["reject_reason"]]),
    }


def count_annotations(table: pa.Table) -> Counts:
    """Count what was measured, what was aligned and what was not, and unknown values, by reason."""
    ok = table.filter(pc.equal(table["status"], "ok"))
    aligned = pc.is_null(ok["alignment_reason"])
    unaligned = ok.filter(pc.invert(aligned))
    nulls = pc.list_flatten(ok["null_reasons"])
    return {
        **count_utterances(table),
        "aligned": _tally([ok.filter(aligned)["language"]]),
        "unaligned": _tally([unaligned["language"], unaligned["alignment_reason"]]),
        "unknown": _tally([nulls]),
        "flags": {"clipped": pc.sum(pc.greater_equal(ok["clipping_ratio"], CLIPPED_FROM)).as_py() or 0},
        "pitched": _tally([ok.filter(pc.is_valid(ok["pitch_median_hz"]))["corpus"]]),
        "lexicon": _lexical(ok),
    }


def _lexical(ok: pa.Table) -> dict[str, int | float]:
    """Count by language the words of transcripts, those that no dictionary has, and those that nothing can say."""
    spaces = pc.count_substring(ok["phonemes"], " ")
    said = pc.fill_null(pc.add(spaces, 1), 0)  # `phonemes` has one part for each word but the unpronounced
    words = pc.add(said, ok["unpronounced_words"])
    numbers = {"words": words, "oov": ok["oov_words"], "unpronounced": ok["unpronounced_words"]}
    return {
        f"{language}/{name}": count
        for name, column in numbers.items()
        for language, count in _tally([ok["language"]], column).items()
    }


def count_instructions(table: pa.Table) -> Counts:
    """Count requests, pairs and tokens, so that yields can be told by task, language, rung and rule.

    A rung is how far down a request had come when something was written: `first` (a model's first attempt), `retry`
    (its later ones), `fallback` (the templates, when the model had failed), or `template` (the templates, which were
    all that was asked). The tables:

    - `requests`: `all`, and those `answered` by at least one accepted pair.
    - `asked`: requests by task and who was asked first.
    - `reached`, `answered`: requests by task, language and rung, that came to the rung and that got their accepted
      pairs there. A request is answered at one rung, and may have come to several.
    - `pairs`: by task, language, rung and `accepted` or the rule that refused them.
    - `untold`: the accepted ones of them that say that something can't be told, by task, language and rung.
    - `rejects`: pairs by task and rule.
    - `faults`: requests that those who were asked first did not answer, and of which a fault, rather than an opinion
      of what was written, has a part in that: by the first such fault. The templates may have answered them after all.
    - `finish`: requests by how the model's last text ended.
    - `tokens`: by task and `prompt`, `cached` (of the prompt) or `generated`.
    """
    parents = pc.list_parent_indices(table["pairs"])
    pairs = pc.list_flatten(table["pairs"])
    rows = table.select(["task", "language", "model"]).take(parents)
    accepted = pc.struct_field(pairs, "accepted")
    rule = pc.if_else(accepted, ACCEPTED, pc.fill_null(pc.struct_field(pairs, "reason"), "unknown"))
    rung = _rungs(rows["model"], pc.struct_field(pairs, "generator"), pc.struct_field(pairs, "attempt"))
    refused = pc.invert(accepted)

    came = pa.table({"request": parents, "rung": rung, "accepted": accepted})
    came = came.group_by(["request", "rung"]).aggregate([("accepted", "any")])
    of = table.select(["task", "language"]).take(came["request"])
    answered = came["accepted_any"]
    places = [of["task"], of["language"], came["rung"]]
    untold = _untold(pairs)
    return {
        "requests": {"all": table.num_rows, "answered": pc.count_distinct(came["request"].filter(answered)).as_py()},
        "asked": _tally([table["task"], table["model"]]),
        "reached": _tally(places),
        "answered": _tally([part.filter(answered) for part in places]),
        "pairs": _tally([rows["task"], rows["language"], rung, rule]),
        "untold": _tally([part.take(untold) for part in (rows["task"], rows["language"], rung)]),
        "rejects": _tally([rows["task"].filter(refused), rule.filter(refused)]),
        "faults": _faults(table["finish_reason"], parents, pc.struct_field(pairs, "reason"), rung, accepted),
        "finish": _tally([table["finish_reason"]]),
        "tokens": {
            f"{task}/{name}": count
            for name in ("prompt", "cached", "generated")
            for task, count in _tally([table["task"]], table[f"{name}_tokens"]).items()
        },
    }


def _rungs(model: pa.ChunkedArray, generator: pa.ChunkedArray, attempt: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each pair's rung; `model` is who its request asked first, `generator` who wrote it."""
    by_model = pc.if_else(pc.equal(attempt, 0), "first", "retry")
    by_any = pc.if_else(pc.equal(generator, TEMPLATE), "fallback", by_model)
    return pc.if_else(pc.equal(model, TEMPLATE), TEMPLATE, by_any)


def _faults(
    finish: pa.ChunkedArray,
    parents: pa.Array,
    reason: pa.ChunkedArray,
    rung: pa.ChunkedArray,
    accepted: pa.ChunkedArray,
) -> dict[str, int | float]:
    """Count the requests that a fault kept from being answered by who was asked first, by the first of their faults.

    Args:
        finish: of each request.
        parents: of each pair its request, ascending.
        reason, rung, accepted: of each pair.
    """
    from sift_ray.instruct.ladder import FAULTS  # (and with it the verifier, which most workers never need)

    first_asked = pc.not_equal(rung, "fallback")
    answered = np.unique(parents.filter(pc.and_(accepted, first_asked)))
    is_fault = pc.fill_null(pc.match_substring_regex(reason, f"^(?:{FAULTS})$"), False)
    requests, first = np.unique(parents.filter(is_fault), return_index=True)
    reasons = dict(zip(requests.tolist(), reason.filter(is_fault).take(pa.array(first)).to_pylist(), strict=True))
    errors = np.flatnonzero(pc.fill_null(pc.equal(finish, "error"), False))
    counted = {"error": 0} | dict.fromkeys(reasons.values(), 0)
    for request in ({*reasons, *errors.tolist()}).difference(answered.tolist()):
        counted[reasons.get(request, "error")] += 1
    return {fault: count for fault, count in counted.items() if count}


def _untold(pairs: pa.ChunkedArray) -> pa.Array:
    """Return the indices of the accepted pairs with evidence that has no value: of what can't be told."""
    evidence = pc.struct_field(pairs, "evidence")
    no_value = pc.is_null(pc.struct_field(pc.list_flatten(evidence), "value"))
    untold = pc.unique(pc.list_parent_indices(evidence).filter(no_value))
    return untold.filter(pc.struct_field(pairs, "accepted").take(untold))
