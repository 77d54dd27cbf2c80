"""A bins.json that can't be is refused, with the entry and what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sift_ray.metadata.bins_file import BinsError, read_bins, write_bins

from .test_bins import build, table

RATE, PITCH = 0, 2  # where the first rulers of each lie, of all corpora
NAN = float("nan")


def a_document() -> dict[str, Any]:
    shown = table(speaking_rate=[3.0, 4.0, 5.0], average_pitch=[180.0, 190.0, 210.0])
    document: dict[str, Any] = json.loads(write_bins(build(shown)))
    document["rulers"].sort(key=lambda ruler: (ruler["attribute"] != "speaking_rate", ruler["corpus"]))
    return document


def a_ruler(place: int, **changes: Any) -> Any:
    return lambda document: document["rulers"][place].update(changes)


def a_group(**changes: Any) -> Any:
    return lambda document: document["groups"][0].update(changes)


def the_top(**changes: Any) -> Any:
    return lambda document: document.update(changes)


def without(key: str) -> Any:
    return lambda document: document.pop(key)


def twice(key: str) -> Any:
    return lambda document: document[key].append({**document[key][0]})


EDGES = [3.0, 3.3, 3.6, 3.9, 4.2, 4.5, 4.8, 5.0]
RULER = r"rulers\[0\]"
NAME = r"\(speaking_rate, \*, None, None\)"
GROUP = r"groups\[0\]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (the_top(format=1), "format 1, this version reads 2; build the bins again"),
        (the_top(format="2"), "format '2', this version reads 2; build the bins again"),
        (without("format"), "format: Field required"),
        (without("rulers"), "rulers: Field required"),
        (without("unknown"), "unknown: Field required"),
        (the_top(rulers=None), "rulers: .* array"),
        (the_top(rulers=["x"]), rf"{RULER}: .* object"),
        (the_top(min_count="8"), "min_count: .* integer"),
        (the_top(min_count=None), "min_count: .* integer"),
        (the_top(min_count=0), "min_count: .* greater than or equal to 1"),
        (the_top(method="narrow"), "method: .* 'equal_width' or 'quantile'"),
        (the_top(unknown={"speaking_rate": {"unvoiced": -1}}), r"unknown\.speaking_rate\.unvoiced: .* greater"),
        (the_top(unknown={"tempo": {}}), "unknown: no attribute 'tempo'"),
        (the_top(outlier_std={"speaking_rate": NAN}), "outlier_std.speaking_rate: .* finite"),
        (the_top(measured_by=["dnsmos"]), "measured_by: .* object"),
        (a_ruler(RATE, labels=["x"]), rf"{RULER} {NAME}: its categories .* build the bins again"),
        (a_ruler(RATE, attribute="x"), rf"{RULER} \(x, .*\): its categories .* build the bins again"),
        (a_ruler(RATE, edges=EDGES[::-1]), rf"{RULER} {NAME}: 7 categories need 8 edges, in order"),
        (a_ruler(RATE, edges=EDGES[1:]), "7 categories need 8 edges"),
        (a_ruler(RATE, edges=["x", *EDGES[1:]]), rf"rulers\[0\]\.edges\[0\] {NAME}: .* number"),
        (a_ruler(RATE, edges=[*EDGES[:3], NAN, *EDGES[4:]]), rf"edges\[3\] {NAME}: .* finite"),
        (a_ruler(RATE, edges=[*EDGES[:7], float("inf")]), rf"edges\[7\] {NAME}: .* finite"),
        (a_ruler(RATE, edges=[True, *EDGES[1:]]), rf"edges\[0\] {NAME}: .* number"),
        (a_ruler(RATE, mean=NAN), rf"\.mean {NAME}: .* finite"),
        (a_ruler(RATE, std=-1.0), rf"\.std {NAME}: .* greater"),
        (a_ruler(RATE, count=0), rf"\.count {NAME}: .* greater"),
        (a_ruler(RATE, count="3"), rf"\.count {NAME}: .* integer"),
        (a_ruler(RATE, kept=4), rf"{NAME}: kept \(4\) is more than count \(3\)"),
        (a_ruler(RATE, low=6.0), rf"{NAME}: low \(6.0\) is above high \(5.0\)"),
        (a_ruler(RATE, histogram=[3.0, 5.0]), rf"\.histogram\[2\] {NAME}: Field required"),
        (a_ruler(RATE, histogram=[3.0, 5.0, [4, -1]]), rf"\.histogram\[2\]\[1\] {NAME}: .* greater"),
        (a_ruler(RATE, histogram=[3.0, 5.0, [4]]), rf"{NAME}: its histogram .* hold count \(3\)"),
        (a_ruler(RATE, histogram=[5.0, 3.0, [3]]), rf"{NAME}: its histogram must run from low to high"),
        (a_ruler(RATE, gender="male"), r"\(speaking_rate, \*, None, male\): gender must be null"),
        (a_ruler(PITCH, gender="xx"), r"\(average_pitch, \*, None, xx\): gender must be female, male or \*"),
        (a_ruler(PITCH, gender=None), r"\(average_pitch, \*, None, None\): gender must be female, male or \*"),
        (a_ruler(RATE, corpus=""), r"\.corpus .* at least 1 character"),
        (a_ruler(RATE, corpus=5), r"\.corpus .* string"),
        (a_ruler(RATE, width=5), r"\.width .* not permitted"),
        (twice("rulers"), rf"rulers\[4\] {NAME}: the same as rulers\[0\]; keep one"),
        (twice("groups"), r"groups\[2\] \(.*\): the same as groups\[0\]; keep one"),
        (a_group(categories=[1, 2, 3]), rf"{GROUP}.categories .* object"),
        (a_group(categories={"softly": 1}), rf"{GROUP} .*: its categories .* build the bins again"),
        (a_group(language=4), rf"{GROUP}.language .* string"),
    ],
)
def test_what_can_not_be_is_refused(change: Any, message: str) -> None:
    document = a_document()
    read_bins(json.dumps(document))
    change(document)
    with pytest.raises(BinsError, match=rf"^x/bins\.json: .*{message}"):
        read_bins(json.dumps(document), "x/bins.json")


def test_counts_are_not_negative() -> None:
    document = a_document()
    document["groups"][0]["categories"]["very low pitch"] = -1
    with pytest.raises(BinsError, match=r"groups\[0\]\.categories\.very low pitch \(average_pitch, a, .*greater"):
        read_bins(json.dumps(document))


@pytest.mark.parametrize("text", ["", "not json", "[]", "5", "null", '"x"', '{"format": 2'])
def test_what_is_no_such_document_is_refused(text: str) -> None:
    with pytest.raises(BinsError, match=r"^x: not a bins\.json: "):
        read_bins(text, "x")


def test_there_may_be_more_at_the_top_and_every_fault_is_counted() -> None:
    document = {**a_document(), "made_from": {"bin": 3}, "measured_by": {"quality": "dnsmos"}, "note": "mine"}
    assert read_bins(json.dumps(document)).rulers == read_bins(json.dumps(a_document())).rulers
    document["rulers"][0].update(count=None, low="x", edges=[])
    with pytest.raises(BinsError, match=r"count .*the first of 2 faults"):
        read_bins(json.dumps(document))
