"""G2P models of both architectures, built here as MFA's trainers lay them out."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sift_ray.align.g2p_model import G2PModel
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.protocol import AlignError

pynini = pytest.importorskip("pynini", reason="G2P models need sift-ray[g2p]")


def table(symbols: list[str]) -> Any:
    made = pynini.SymbolTable()
    for symbol in ["<eps>", *symbols]:
        made.add_symbol(symbol)
    return made


def text_of(symbols: Any) -> str:
    return "".join(f"{symbol}\t{number}\n" for number, symbol in symbols)


def zipped(path: Path, meta: dict[str, Any] | None, members: dict[str, bytes | str], folder: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        if meta is not None:
            archive.writestr(f"{folder}meta.json", json.dumps(meta))
        for name, content in members.items():
            archive.writestr(folder + name, content)
    return path


RULES = [
    ("b", "b", 0.0),
    ("o", "oʊ", 0.1),
    ("o", "ɑ", 0.7),
    ("c", "k", 0.2),
    ("c", "s", 1.5),
    ("c", "tʃ", 9.0),
    ("x", "k s", 0.0),
    ("é", "eɪ", 0.0),
    ("e", "", 0.5),
    ("e", "ɛ", 0.9),
]
PHONES = ["b", "oʊ", "ɑ", "k", "s", "tʃ", "eɪ", "ɛ", "ʃ"]


@pytest.fixture
def pair_ngram(tmp_path: Path) -> Path:
    """`architecture: pynini`: code points in, phones out."""
    phones = table(PHONES)
    arcs = [
        pynini.cross(
            pynini.accep(letter, token_type="utf8"), pynini.accep(said, token_type=phones, weight=cost) if said else
            pynini.accep("", weight=cost),
        )
        for letter, said, cost in RULES
    ]  # fmt: skip
    fst = pynini.union(*arcs).closure().optimize()
    meta = {"architecture": "pynini", "graphemes": sorted({rule[0] for rule in RULES}), "phones": PHONES}
    members = {"model.fst": fst.write_to_string(), "phones.txt": text_of(phones)}
    return zipped(tmp_path / "pair.zip", meta, members, folder="english_g2p/")


def phonetisaurus(tmp_path: Path, *, clustered: bool) -> Path:
    """`architecture: phonetisaurus`: letters alone or joined by |, phones alone or (in older models) joined by |."""
    letters = table(["|", "_", *"bocxées", "s|h", "h"])
    cluster = ["k|s"] if clustered else []
    phones = table([*PHONES, *cluster])
    fst = pynini.Fst()
    start = fst.add_state()
    fst.set_start(start).set_final(start)

    def arc(letter: str, said: str, cost: float, source: int = start, target: int = start) -> None:
        fst.add_arc(source, pynini.Arc(letters.find(letter), phones.find(said or "<eps>"), cost, target))

    for letter, said, cost in RULES:
        if " " not in said:
            arc(letter, said, cost)
    arc("s", "s", 0.0)
    arc("h", "", 3.0)
    arc("s|h", "ʃ", 0.1)
    if clustered:
        arc("x", "k|s", 0.0)
    else:
        between = fst.add_state()
        arc("x", "k", 0.0, target=between)
        arc("<eps>", "s", 0.0, source=between)
    fst.set_input_symbols(letters).set_output_symbols(phones)
    meta = {
        "architecture": "phonetisaurus",
        "graphemes": sorted("bocxéesh"),
        "phones": PHONES,
        "grapheme_order": 2,
        "phone_order": 2,
        "sequence_separator": "|",
        "unicode_decomposition": False,
    }
    members = {"model.fst": fst.write_to_string(), "phones.sym": text_of(phones), "graphemes.sym": text_of(letters)}
    return zipped(tmp_path / f"phonetisaurus{clustered}.zip", meta, members)


def said(model: G2PModel, word: str, most: int = 3) -> list[str]:
    return [" ".join(phones) for phones in model.pronounce([word], most)[0]]


def check_common(model: G2PModel) -> None:
    assert said(model, "boc") == ["b oʊ k", "b ɑ k", "b oʊ s"]  # costs 0.3, 0.9, 1.6
    assert said(model, "BOC", 1) == ["b oʊ k"]
    assert said(model, "c") == ["k", "s"]  # tʃ is thousands of times less likely
    assert said(model, "box") == ["b oʊ k s", "b ɑ k s"]
    assert said(model, "é") == ["eɪ"]
    assert said(model, "e\u0301") == ["eɪ"]
    assert said(model, "b'o-b.", 1) == ["b oʊ b"]
    assert said(model, "boz") == []
    assert said(model, "") == []
    assert model.pronounce(["b", "日本", "b"]) == [[("b",)], [], [("b",)]]


def test_a_pair_ngram_model(pair_ngram: Path) -> None:
    model = G2PModel(pair_ngram)
    check_common(model)
    assert said(model, "be") == ["b", "b ɛ"]


@pytest.mark.parametrize("clustered", [False, True])
def test_a_phonetisaurus_model(tmp_path: Path, clustered: bool) -> None:
    model = G2PModel(phonetisaurus(tmp_path, clustered=clustered))
    check_common(model)
    assert said(model, "bosh") == ["b oʊ ʃ", "b ɑ ʃ", "b oʊ s"]  # sh as one letter, and as two


def test_dictionary_then_model_then_espeak(tmp_path: Path, pair_ngram: Path) -> None:
    dictionary = tmp_path / "d.txt"
    dictionary.write_text("box\tB O X\n", encoding="utf-8")
    lexicon = Lexicon("en", dictionary, pair_ngram)
    entries = {entry.word: entry for entry in lexicon.lookup("Box, bob; zoo box-bob 日本")}
    assert entries["Box"].pronunciations == (("B", "O", "X"),)
    assert entries["bob"].pronunciations[0] == ("b", "oʊ", "b")
    assert entries["zoo"].pronunciations == (("z", "uː"),)
    assert entries["box-bob"].pronunciations[0] == ("B", "O", "X", "b", "oʊ", "b")
    assert entries["日本"].pronunciations == ()
    assert {word for word, entry in entries.items() if entry.from_dictionary} == {"Box"}
    assert lexicon.pronounce(["bob", "zoo", "box"]) == [["b", "oʊ", "b"], ["z", "uː"], ["B", "O", "X"]]
    without = Lexicon("en", g2p=pair_ngram)
    assert not without.has_dictionary
    assert without.pronounce(["bob-box"]) == [["b", "oʊ", "b", "b", "oʊ", "k", "s"]]


def test_what_is_no_model_is_an_error_that_names_it(tmp_path: Path, pair_ngram: Path) -> None:
    with pytest.raises(AlignError, match=r"none\.zip: the model's archive can't be read"):
        G2PModel(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(AlignError, match=r"text\.zip: the model's archive can't be read"):
        G2PModel(tmp_path / "text.zip")
    with zipfile.ZipFile(pair_ngram) as archive:
        fst, phones = archive.read("english_g2p/model.fst"), archive.read("english_g2p/phones.txt")
    meta = {"architecture": "pynini", "graphemes": ["b"]}
    for name, about, members, message in (
        ("a", meta, {"phones.txt": phones}, r"it has no model\.fst"),
        ("b", meta, {"model.fst": fst}, r"it has no phones\.txt"),
        ("c", meta, {"model.fst": b"x", "phones.txt": phones}, "can't be read"),
        ("d", meta, {"model.fst": fst, "phones.txt": "b\n"}, r"phones\.txt, line 1"),
        ("e", {"architecture": "pynini"}, {"model.fst": fst, "phones.txt": phones}, "which graphemes"),
        ("f", None, {"model.fst": fst, "phones.txt": phones}, r"it has no graphemes\.txt"),
        ("g", {}, {"model.fst": fst, "phones.txt": phones, "graphemes.txt": "|\t1\n"}, "table of graphemes is empty"),
        ("h", {"graphemes": 3}, {"model.fst": fst, "phones.txt": phones, "graphemes.txt": "b\t1\n"}, "can't be read"),
    ):
        with pytest.raises(AlignError, match=message):
            G2PModel(zipped(tmp_path / f"{name}.zip", about, members))


def test_without_pynini_the_error_names_the_extra(pair_ngram: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynini", None)
    with pytest.raises(AlignError, match=r"sift-ray\[g2p\]"):
        G2PModel(pair_ngram)
