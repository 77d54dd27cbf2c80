"""How good the verifier is: what it lets through of the labelled answers of `tests/instruct/labelled/`, and how fast.

    python -m tests.benchmarks.verifier [--language CODE ...] [--sets N ...] [--refused] [--seconds S]

Prints Markdown: the share of the true and of the false answers accepted by task and language, the false answers
accepted in full, with --refused also the true ones refused with the rule, and pairs a second on one core (processor
time, after one pass over all): verified alone, and read out of a model's text first, of the labelled answers and of
the template engine's. No pair comes twice before what is kept of texts is forgotten.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sift_ray.instruct.parse import parse_pairs
from sift_ray.instruct.verify import collect_rarely, verify
from sift_ray.instruct.verify.text import read
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES, TASKS
from tests.instruct.test_verify_rules import written

CONTROLLABLE = "controllable_generation"
PAIRS = 8  # in a text
LABELLED = Path(__file__).parents[1] / "instruct" / "labelled"


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled pair; `kind` says what is wrong with a false one, and is empty for a true one."""

    language: str
    task: str
    facts: tuple[Fact, ...]
    question: str
    answer: str
    kind: str

    def judge(self) -> tuple[bool, str]:
        """Return whether the verifier accepts the pair, and its rule and detail where it does not."""
        verdict = verify(self.task, self.language, self.question, self.answer, self.facts)
        return verdict.accepted, "" if verdict.accepted else f"{verdict.reason}: {verdict.detail}"


def cases(languages: Iterable[str], sets: Iterable[int] = ()) -> list[Case]:
    """Return the labelled pairs of the languages: of all fact sets, or of those of the numbers `sets`, from 1."""
    chosen = frozenset(sets)
    found = []
    for language in languages:
        data = yaml.safe_load((LABELLED / f"{language}.yaml").read_text(encoding="utf-8"))
        for task in TASKS:
            for number, fact_set in enumerate(data[task], 1):
                if chosen and number not in chosen:
                    continue
                facts = tuple(Fact(*row) for row in fact_set["facts"])
                for label in ("true", "false"):
                    for question, answer, *kind in fact_set[label]:
                        found.append(Case(language, task, facts, question, answer, "".join(kind)))
    return found


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}".replace("%", " %") if whole else "–"


def print_rates(judged: Sequence[tuple[Case, bool]], languages: Sequence[str], *, true: bool) -> None:
    """Print the share accepted of the true or of the false pairs, by task and language."""
    of_label = [(case, accepted) for case, accepted in judged if (not case.kind) == true]
    whole = Counter((case.task, case.language) for case, _ in of_label)
    part = Counter((case.task, case.language) for case, accepted in of_label if accepted)
    print(f"\n## {'True' if true else 'False'} answers accepted\n")
    print("| task | " + " | ".join(languages) + " | all |")
    print("|---|" + "---|" * (len(languages) + 1))
    for name, tasks in (*((task, (task,)) for task in TASKS), ("all", TASKS)):
        columns = [[(task, language) for task in tasks] for language in languages]
        columns.append([cell for column in columns for cell in column])
        shares = (share(sum(part[cell] for cell in column), sum(whole[cell] for cell in column)) for column in columns)
        print(f"| {name} | " + " | ".join(shares) + " |")


def print_cases(title: str, rows: Sequence[tuple[Case, str]]) -> None:
    """Print pairs in full, each with what is to be said of it."""
    print(f"\n## {title}: {len(rows)}\n")
    for case, remark in rows:
        text = f"{case.question} | {case.answer}" if case.answer else case.question
        print(f"- {case.language} {case.task} ({remark}): {text}")


@dataclass(frozen=True, slots=True)
class Written:
    """What a model might have written for one request, and the facts to verify it by."""

    language: str
    task: str
    facts: tuple[Fact, ...]
    pairs: tuple[tuple[str, str], ...]
    text: str

    @classmethod
    def of(cls, language: str, task: str, facts: Sequence[Fact], pairs: Iterable[tuple[str, str]]) -> Written:
        """Write pairs as models do: a list of objects, fenced."""
        kept = tuple(pairs)
        rows = [{"q": q} if task == CONTROLLABLE else {"q": q, "a": a} for q, a in kept]
        return cls(language, task, tuple(facts), kept, f"```json\n{json.dumps(rows, ensure_ascii=False)}\n```")

    def look_at(self, *, parsed: bool) -> None:
        """Verify the pairs, with `parsed` as read from the text."""
        pairs = parse_pairs(self.text, answers=self.task != CONTROLLABLE).pairs if parsed else self.pairs
        facts = (*self.facts,)  # others each time, as each request's are: what is known is to be read anew
        for question, answer in pairs:
            verify(self.task, self.language, question, answer, facts)


def of_cases(labelled: Iterable[Case]) -> list[Written]:
    """Return the labelled pairs as texts: one for each set of facts and each eight pairs."""
    groups: dict[tuple[str, str, tuple[Fact, ...]], list[tuple[str, str]]] = {}
    for case in labelled:
        groups.setdefault((case.language, case.task, case.facts), []).append((case.question, case.answer))
    return [
        Written.of(*key, pairs[start : start + PAIRS])
        for key, pairs in groups.items()
        for start in range(0, len(pairs), PAIRS)
    ]


def of_templates(languages: Iterable[str], texts: int = 30) -> list[Written]:
    """Return what the template engine writes for made-up facts: so many texts of each task and language."""
    dice = random.Random(1)
    return [
        Written.of(language, task, *written(dice, language, task, seed))
        for language in languages
        for task in TASKS
        for seed in range(texts)
    ]


def pairs_a_second(texts: Sequence[Written], seconds: float, *, parsed: bool) -> float:
    """Verify all pairs again and again for so many seconds of processor time; return pairs a second."""
    pairs = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < seconds or not pairs:
        read.cache_clear()  # (with which all that was found in those texts is never met again)
        for text in texts:
            text.look_at(parsed=parsed)
        pairs += sum(len(text.pairs) for text in texts)
    return pairs / spent


def print_speed(labelled: Sequence[Written], templates: Sequence[Written], seconds: float) -> None:
    """Print pairs a second on one core, by task."""
    print("\n## Pairs a second on one core\n")
    print("| task | labelled: verify | labelled: parse and verify | templates: verify | templates: parse and verify |")
    print("|---|---|---|---|---|")
    for name, tasks in (*((task, (task,)) for task in TASKS), ("all", TASKS)):
        cells = []
        for texts in (labelled, templates):
            mine = [text for text in texts if text.task in tasks]
            for parsed in (False, True):
                cells.append(f"{pairs_a_second(mine, seconds * len(tasks) / len(TASKS), parsed=parsed):,.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=list(LANGUAGES), help="only these")
    parser.add_argument("--sets", nargs="+", type=int, default=[], help="only these fact sets, from 1")
    parser.add_argument("--refused", action="store_true", help="print the true answers refused, with the rule")
    parser.add_argument("--seconds", type=float, default=4.0, help="of processor time for each figure of all tasks")
    options = parser.parse_args(argv)
    collect_rarely()
    languages = [language for language in LANGUAGES if language in options.language]
    labelled = cases(languages, options.sets)
    verdicts = [(case, *case.judge()) for case in labelled]
    judged = [(case, accepted) for case, accepted, _ in verdicts]
    print(f"# The verifier on {len(labelled)} labelled answers")
    print_rates(judged, languages, true=True)
    print_rates(judged, languages, true=False)
    passed = [(case, case.kind) for case, accepted, _ in verdicts if case.kind and accepted]
    print_cases("False answers accepted", passed)
    refused = [(case, why) for case, accepted, why in verdicts if not case.kind and not accepted]
    print("\n## True answers refused, by rule\n")
    print("| rule | answers |\n|---|---|")
    for rule, count in Counter(why.split(":", 1)[0] for _, why in refused).most_common():
        print(f"| {rule} | {count} |")
    if options.refused:
        print_cases("True answers refused", refused)
    print_speed(of_cases(labelled), of_templates(languages), options.seconds)


if __name__ == "__main__":
    main()
