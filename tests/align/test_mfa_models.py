from __future__ import annotations

import hashlib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from sift_ray.align.mfa_models import check_versions, find, mfa_identity, sources, unpack
from sift_ray.align.protocol import AlignError
from sift_ray.config_align import AlignConfig


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MFA's folder with an English model, dictionary and G2P model."""
    for kind, name in (("acoustic", "english_mfa.zip"), ("dictionary", "english_mfa.dict"), ("g2p", "english_mfa.zip")):
        folder = tmp_path / "root/pretrained_models" / kind
        folder.mkdir(parents=True)
        (folder / name).write_text(f"the {kind} of english_mfa", encoding="utf-8")
    monkeypatch.setenv("MFA_ROOT_DIR", str(tmp_path / "root"))
    return tmp_path / "root"


def _config(acoustic: str = "english_mfa", dictionary: str = "english_mfa", g2p: str | None = None) -> AlignConfig:
    return AlignConfig(
        backend="mfa",
        models={"en": acoustic},
        dictionaries={"en": dictionary},
        g2p={} if g2p is None else {"en": g2p},
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _archive(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_name_is_looked_up_in_mfas_folder_and_a_path_is_a_path(root: Path, tmp_path: Path) -> None:
    pretrained = root / "pretrained_models"
    assert find("acoustic", "english_mfa") == pretrained / "acoustic/english_mfa.zip"
    found = sources(_config(g2p="english_mfa"), "en")
    assert found is not None
    assert (found.dictionary, found.g2p) == (
        pretrained / "dictionary/english_mfa.dict",
        pretrained / "g2p/english_mfa.zip",
    )
    own = tmp_path / "own.dict"
    own.write_text("a ə\n", encoding="utf-8")
    assert find("dictionary", str(own)) == own
    assert sources(_config(), "de") is None


def test_without_the_variable_the_folder_is_in_documents(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MFA_ROOT_DIR")
    monkeypatch.setenv("HOME", str(root.parent))
    (root.parent / "Documents").mkdir()
    root.rename(root.parent / "Documents/MFA")
    assert find("g2p", "english_mfa") == root.parent / "Documents/MFA/pretrained_models/g2p/english_mfa.zip"


@pytest.mark.parametrize("kind", ["acoustic", "dictionary", "g2p"])
def test_a_name_that_is_not_there_tells_how_to_download_it(root: Path, kind: str) -> None:
    with pytest.raises(AlignError, match=f"mfa model download {kind} klingon_mfa") as error:
        find(kind, "klingon_mfa")  # type: ignore[arg-type]
    assert str(root / "pretrained_models" / kind) in str(error.value)


def test_a_folder_where_one_happens_to_be_does_not_shadow_a_name(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "english_mfa").mkdir()
    (tmp_path / "own.dict").touch()
    monkeypatch.chdir(tmp_path)
    assert find("acoustic", "english_mfa") == root / "pretrained_models/acoustic/english_mfa.zip"
    assert find("acoustic", "./english_mfa") == Path("english_mfa")
    assert find("dictionary", "own.dict") == Path("own.dict")


def test_a_path_that_is_not_there_is_no_name(root: Path, tmp_path: Path) -> None:
    for missing in (str(tmp_path / "gone.zip"), "models/english_mfa", "gone.zip"):
        with pytest.raises(AlignError, match="no such acoustic model"):
            find("acoustic", missing)


def test_a_list_of_dictionaries_by_speaker_is_refused(root: Path, tmp_path: Path) -> None:
    listed = tmp_path / "all.yaml"
    listed.write_text("default: english_mfa\n", encoding="utf-8")
    with pytest.raises(AlignError, match="name one dictionary"):
        sources(_config(dictionary=str(listed)), "en")


def test_the_identity_is_of_the_files_content(root: Path) -> None:
    pretrained = root / "pretrained_models"
    before = mfa_identity(_config(), "en")
    acoustic, dictionary = pretrained / "acoustic/english_mfa.zip", pretrained / "dictionary/english_mfa.dict"
    assert before == f"acoustic={_digest(acoustic)};dictionary={_digest(dictionary)};mfa>=3.3,<3.5"
    assert mfa_identity(_config(acoustic=str(acoustic)), "en") == before
    assert mfa_identity(_config(g2p="english_mfa"), "en").startswith(before.replace(";mfa", ";g2p=").split(">")[0])
    dictionary.write_text("another", encoding="utf-8")
    assert mfa_identity(_config(), "en") != before


def test_a_model_that_lies_elsewhere_is_known_by_its_name(root: Path) -> None:
    assert mfa_identity(_config("far_mfa", "far_dict"), "en") == "acoustic=far_mfa;dictionary=far_dict;mfa>=3.3,<3.5"


def test_the_identity_of_a_path_that_is_gone_is_an_error(root: Path, tmp_path: Path) -> None:
    there = tmp_path / "own.zip"
    there.write_bytes(b"")
    config = _config(acoustic=str(there))
    there.unlink()
    with pytest.raises(AlignError, match=r"own\.zip"):
        mfa_identity(config, "en")


def test_a_folder_is_known_by_its_files_and_their_names(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tree").write_text("a", encoding="utf-8")
    identities = {mfa_identity(_config(acoustic=str(folder)), "en")}
    (folder / "tree").rename(folder / "final.mdl")
    identities.add(mfa_identity(_config(acoustic=str(folder)), "en"))
    (folder / "final.mdl").write_text("b", encoding="utf-8")
    identities.add(mfa_identity(_config(acoustic=str(folder)), "en"))
    assert len(identities) == 3


def test_versions_that_fit_and_that_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for fits in ("3.3.0", "3.4.3", "3.4"):
        monkeypatch.setattr(metadata, "version", lambda _, fits=fits: fits)
        check_versions()
    for wrong in ("3.2.9", "3.5.0", "4.0", "2.2.17"):
        monkeypatch.setattr(metadata, "version", lambda _, wrong=wrong: wrong)
        with pytest.raises(AlignError, match=f"{wrong} is installed, but .* needs >=3.3,<3.5"):
            check_versions()


def test_without_mfa_the_error_has_the_conda_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(AlignError, match=r'conda install -c conda-forge "montreal-forced-aligner>=3\.3,<3\.5"'):
        check_versions()


def test_an_archive_is_unpacked_without_leaving_its_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch/inner"
    scratch.mkdir(parents=True)
    archive = _archive(
        tmp_path / "m.zip",
        {"m/final.mdl": "model", "m/tree": "tree", "m/meta.json": "{}", "m/../../lda.mat": "out", "m/rules.yaml": "no"},
    )
    assert unpack(archive, scratch) == scratch
    assert {p.name for p in scratch.iterdir()} == {"final.mdl", "tree", "meta.json"}
    assert {p.name for p in tmp_path.iterdir()} == {"m.zip", "scratch"}


def test_what_is_no_acoustic_model_is_refused_by_name(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    old = _archive(tmp_path / "old.zip", {"final.mdl": "model", "tree": "tree", "meta.yaml": "!!python/object:x"})
    with pytest.raises(AlignError, match=r"old\.zip: not an acoustic model .* no meta\.json"):
        unpack(old, scratch)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK")
    with pytest.raises(AlignError, match=r"broken\.zip: .*can't be read"):
        unpack(broken, scratch)
    with pytest.raises(AlignError, match=r"no final\.mdl, tree, meta\.json"):
        unpack(scratch / "..", scratch)


def test_a_copy_deeper_in_the_archive_is_not_the_model(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files = {"final.mdl": "new", "tree": "tree", "meta.json": "{}", "old/final.mdl": "old", "old/lda.mat": "old"}
    unpack(_archive(tmp_path / "m.zip", files), scratch)
    assert (scratch / "final.mdl").read_text(encoding="utf-8") == "new"
    assert not (scratch / "lda.mat").exists()
