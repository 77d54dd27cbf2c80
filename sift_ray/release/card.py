"""The dataset card, written from what the release holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from sift_ray.config_release import Format
from sift_ray.release.layout import SPLIT_FOLDERS, SPLIT_NAMES, task_folder
from sift_ray.schema import LANGUAGES, SPLITS, TASKS

Counted = Mapping[tuple[str, str, str], int]
"""Rows by (split, task, language)."""

NOT_STATED: Final = "not stated"


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
        name: the dataset's name.
        rows: how many samples of each split, task and language there are.
        generators: how many samples each model (or the templates) wrote.
        licenses: licence of each corpus, by its name.
        details: more lines for the table of how it was made, label → value.
        models: language models that wrote or judged: name, revision, licence.
        hours: of speech that was measured, by (corpus, language, split).
        yields: pairs written and accepted, by task.
        bins: rulers that judged: attribute, whose, values, and the edges between its categories in words.
        held_out: audios and speakers of dev and test that were looked for: of all pairs, accepted or not.
        labels: of each held-out split under a quota, the most frequent label of a key and its share, as drawn.
        columns: names of the columns.
        audio: what `audio_path` is: relative, absolute or embedded.
    """

    name: str
    rows: Counted
    generators: Mapping[str, int]
    licenses: Mapping[str, str]
    details: Mapping[str, str]
    models: Sequence[tuple[str, str, str]] = ()
    hours: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    yields: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    bins: Sequence[tuple[str, str, int, str]] = ()
    held_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    columns: Sequence[str] = ()
    audio: str = "relative"


def dataset_card(facts: CardFacts, form: Format = "parquet", folder: str = "") -> str:
    """Return the text of the card: YAML header with a config a task, then counts, origins and limits.

    Args:
        facts: what it tells.
        form: of the files.
        folder: that holds them, relative to the card; empty: the card's own.
    """
    total = sum(facts.rows.values())
    sections: list[tuple[str, str]] = [
        ("Samples", _counts(facts.rows)),
        ("Splits", _splits(facts)),
        ("How it was made", _made(facts)),
        ("Yields", _yields(facts)),
        ("Columns", _column_table(facts, form)),
        ("Corpora and their licences", _corpora(facts)),
        ("Categories", _bins(facts)),
        ("Known limits", _limits(facts)),
    ]
    parts = [
        "---",
        yaml.safe_dump(_header(facts, form, folder), sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {facts.name}",
        "",
        f"{total:,} speech-instruction samples. Every answer was checked against measurements of its audio"
        + ("; the `evidence` column holds the facts that it rests on." if form == "parquet" else "."),
        "",
        "```python",
        "from datasets import load_dataset",
        f'load_dataset("PATH", "{_first_task(facts.rows)}", split="{_first_split(facts.rows)}")',
        "```",
        "",
    ]
    for title, text in sections:
        if text:
            parts += [f"## {title}", "", text, ""]
    return "\n".join(parts)


def _header(facts: CardFacts, form: Format, folder: str) -> dict[str, Any]:
    return {
        "pretty_name": facts.name,
        "license": "other",
        "license_name": "as-of-the-corpora",
        "language": [language for language in LANGUAGES if any(key[2] == language for key in facts.rows)],
        "task_categories": ["audio-text-to-text"],
        "tags": ["speech", "instruction-tuning"],
        "size_categories": [_size(sum(facts.rows.values()))],
        "configs": _configs(facts.rows, form, f"{folder}/" if folder else ""),
    }


_SIZES: Final = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def _size(rows: int) -> str:
    return next((name for most, name in _SIZES if rows < most), "10M<n<100M")


def _configs(rows: Counted, form: Format, prefix: str) -> list[dict[str, Any]]:
    configs = []
    for task in TASKS:
        files = [
            {"split": SPLIT_NAMES[split], "path": f"{prefix}{SPLIT_FOLDERS[split]}/{task_folder(task)}/*/*.{form}"}
            for split in SPLITS
            if any(key[0] == split and key[1] == task for key in rows)
        ]
        if files:
            configs.append({"config_name": task, "data_files": files})
    return configs


def _first_task(rows: Counted) -> str:
    return next((task for task in TASKS if any(key[1] == task for key in rows)), TASKS[0])


def _first_split(rows: Counted) -> str:
    return next((SPLIT_NAMES[split] for split in SPLITS if any(key[0] == split for key in rows)), "train")


def _counts(rows: Counted) -> str:
    languages = [language for language in LANGUAGES if any(key[2] == language for key in rows)]
    lines = []
    for split in SPLITS:
        for task in TASKS:
            numbers = [rows.get((split, task, language), 0) for language in languages]
            if any(numbers):
                lines.append((SPLIT_NAMES[split], task, *(f"{n:,}" for n in numbers), f"{sum(numbers):,}"))
    return _table(("split", "config", *languages, "all"), lines)


def _splits(facts: CardFacts) -> str:
    lines = []
    for kind, of in facts.held_out.items():
        for split, count in of.items():
            lines.append((SPLIT_NAMES[split], f"{kind}s", f"{count:,}"))
    if not lines:
        return ""
    text = _table(("split", "of", "looked for"), lines)
    text += "\n\nNone of them stands in another split: each was looked for among all samples."
    if "speaker" not in facts.held_out or not facts.held_out["speaker"]:
        text += " Speakers were not looked for, as the measurements that name them were not there."
    labels = [
        (SPLIT_NAMES[split], label, f"{share:.1%}") for split, of in facts.labels.items() for label, share in of.items()
    ]
    if labels:
        text += (
            "\n\nSamples of these splits were taken by quotas, evenly over what their evidence says: of each sample "
            "one fact of it, drawn at random. The most frequent label of each kind, as drawn:\n\n"
            + _table(("split", "label", "share of its kind"), labels)
        )
    return text


def _made(facts: CardFacts) -> str:
    tables = [
        _table(("", ""), facts.details.items()),
        _table(("written by", "samples"), ((name, f"{n:,}") for name, n in sorted(facts.generators.items()))),
    ]
    if facts.models:
        lines = ((name, f"`{revision}`" if revision else NOT_STATED, given) for name, revision, given in facts.models)
        tables.append(_table(("language model", "revision", "licence"), lines))
    return "\n\n".join(tables)


def _yields(facts: CardFacts) -> str:
    if not facts.yields:
        return ""
    lines = [
        (task, f"{written:,}", f"{accepted:,}", f"{accepted / written:.1%}" if written else "")
        for task, (written, accepted) in facts.yields.items()
    ]
    return _table(("config", "pairs written", "accepted by the verifier", "yield"), lines)


_COLUMNS: Final = {
    "id": "the utterance's id (`comparison_<a>__<b>` for two); it repeats and is no row key",
    "messages": "user content (audio first, then text) and assistant content; in each part one of two keys is null",
    "task": "the config's name",
    "data_source": "corpus and language",
    "language": "of the audio and of the text",
    "split": "train, dev or test",
    "sample_id": "unique, and the same in every run of the same job",
    "generator": "the language model that wrote it, or `template`",
    "evidence": "key, value (null: can't be told), ordinal (null: none), audio (0 or 1), word position (0: the whole)",
    "utterance_ids": "the utterances",
    "audio_uris": "where their audio lay when it was measured",
    "question": "the user's text",
    "answer": "the assistant's text; null where the answer is the audio",
    "audio": "of each audio the bytes of its file, and its `audio_path`",
}
_PUBLISHED: Final = ("id", "messages", "task", "data_source")


def _column_table(facts: CardFacts, form: Format) -> str:
    names = _PUBLISHED if form == "jsonl" else facts.columns or tuple(_COLUMNS)[:11]
    return _table(("column", "meaning"), ((f"`{name}`", _COLUMNS[name]) for name in names))


def _corpora(facts: CardFacts) -> str:
    hours: dict[str, float] = {}
    for (corpus, _, _), number in facts.hours.items():
        hours[corpus] = hours.get(corpus, 0.0) + number
    lines = []
    for corpus, given in sorted(facts.licenses.items()):
        # (one section of the config may hold several corpora, named after it)
        of = [h for name, h in hours.items() if name == corpus or name.startswith(f"{corpus}_")]
        lines.append((corpus, f"{sum(of):,.1f}" if of else NOT_STATED, given))
    return _table(("corpus", "hours of speech measured", "licence"), lines)


def _bins(facts: CardFacts) -> str:
    if not facts.bins:
        return ""
    lines = ((attribute, whose, f"{count:,}", edges) for attribute, whose, count, edges in facts.bins)
    return _table(("attribute", "judged", "values", "edges between its categories, low to high"), lines)


def _limits(facts: CardFacts) -> str:
    limits = [
        'Labels such as "quite fast" are relative to the corpus that an utterance comes from.',
        "Measurements of noise, reverberation and quality are estimates by the tools named above, not ground truth.",
        "The verifier knows phrases, not all that a language can say: it refuses true answers, and lets some false "
        "ones pass.",
    ]
    templates = facts.generators.get("template", 0)
    if templates:
        share = templates / max(sum(facts.generators.values()), 1)
        limits.append(f"{share:.1%} of the samples were written from templates, and read alike.")
    if facts.audio != "embedded":
        limits.append(
            "The audio itself is not in the release: it comes from the corpora, by the names in `audio_path`."
        )
    if missing := [language for language in LANGUAGES if not any(key[2] == language for key in facts.rows)]:
        limits.append(f"There are no samples in {', '.join(missing)}.")
    return "\n".join(f"- {limit}" for limit in limits)


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
