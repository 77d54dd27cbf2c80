"""The dataset card, written from what the release holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from sift_ray.release.layout import SPLIT_FOLDERS, SPLIT_NAMES, task_folder
from sift_ray.schema import LANGUAGES, SPLITS, TASKS

Counted = Mapping[tuple[str, str, str], int]
"""Rows by (split, task, language)."""


def dataset_card(
    name: str,
    rows: Counted,
    generators: Mapping[str, int],
    licenses: Mapping[str, str],
    details: Mapping[str, str],
) -> str:
    """Return the text of the card: YAML header with a config a task, then counts, origins and limits.

    Args:
        name: the dataset's name.
        rows: how many samples of each split, task and language there are.
        generators: how many samples each model (or the templates) wrote.
        licenses: licence of each corpus, by its name.
        details: more lines for the table of how it was made, label → value.
    """
    header = {
        "pretty_name": name,
        "language": [language for language in LANGUAGES if any(key[2] == language for key in rows)],
        "task_categories": ["audio-text-to-text"],
        "tags": ["speech", "instruction-tuning"],
        "configs": _configs(rows),
    }
    total = sum(rows.values())
    return "\n".join(
        (
            "---",
            yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip(),
            "---",
            "",
            f"# {name}",
            "",
            f"{total:,} speech-instruction samples. Every answer was checked against measurements of its audio; the "
            "`evidence` column holds the facts that it rests on.",
            "",
            "```python",
            "from datasets import load_dataset",
            f'load_dataset("PATH", "{_first_task(rows)}", split="{_first_split(rows)}")',
            "```",
            "",
            "## Samples",
            "",
            _counts(rows),
            "",
            "## How it was made",
            "",
            _table(("", ""), details.items()),
            "",
            _table(("written by", "samples"), ((k, f"{n:,}") for k, n in sorted(generators.items()))),
            "",
            "## Columns",
            "",
            _COLUMNS,
            "",
            "## Corpora and their licences",
            "",
            _table(("corpus", "licence"), sorted(licenses.items())),
            "",
            "## Known limits",
            "",
            _LIMITS,
            "",
        )
    )


_COLUMNS = """\
| column | meaning |
|---|---|
| `id` | the utterance's id (`comparison_<a>__<b>` for two); it repeats and is no row key |
| `messages` | user content (audio first, then text) and assistant content; in each part one of two keys is null |
| `task`, `data_source`, `language`, `split` | where the sample belongs |
| `sample_id` | unique, and the same in every run of the same job |
| `generator` | the language model that wrote it, or `template` |
| `evidence` | key, value (null: can't be told), ordinal (null: none), audio (0 or 1), word position (0: the whole) |
| `utterance_ids`, `audio_uris` | the utterances, and where their audio lay when it was measured |"""

_LIMITS = """\
Labels such as "quite fast" are relative to the corpus that an utterance comes from. Measurements of noise,
reverberation and quality are estimates by the tools named above, not ground truth."""


def _configs(rows: Counted) -> list[dict[str, Any]]:
    configs = []
    for task in TASKS:
        files = [
            {"split": SPLIT_NAMES[split], "path": f"{SPLIT_FOLDERS[split]}/{task_folder(task)}/*/*.parquet"}
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


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
