"""How good the verifier is: what it lets through of the labelled answers of `tests/instruct/labelled/`, and how fast.

    python -m tests.benchmarks.verifier [--language CODE ...] [--sets N ...] [--refused] [--seconds S]

Prints Markdown: the share of the true and of the false answers accepted by task and language, the false answers
accepted in full, with --refused also the true ones refused with the rule, and pairs a second on one core (processor
time, after one pass over all).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sift_ray.instruct.verify import verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES, TASKS

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


def pairs_a_second(labelled: Sequence[Case], seconds: float) -> float:
    """Verify all pairs again and again for so many seconds of processor time; return pairs a second."""
    pairs = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < seconds or not pairs:
        for case in labelled:
            verify(case.task, case.language, case.question, case.answer, case.facts)
        pairs += len(labelled)
    return pairs / spent


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=list(LANGUAGES), help="only these")
    parser.add_argument("--sets", nargs="+", type=int, default=[], help="only these fact sets, from 1")
    parser.add_argument("--refused", action="store_true", help="print the true answers refused, with the rule")
    parser.add_argument("--seconds", type=float, default=5.0, help="of processor time to measure the speed for")
    options = parser.parse_args(argv)
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
    print(f"\n## Speed\n\n{pairs_a_second(labelled, options.seconds):,.0f} pairs a second on one core")


if __name__ == "__main__":
    main()
