import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sift_ray.config_instruct import InstructConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.instruct import weights
from sift_ray.instruct.engines import model_revisions
from sift_ray.instruct.models import model_revision, resolve_model
from sift_ray.instruct.weights import ModelError, check_folder, made_once, node_lock, without_secrets

from .hub_server import COMMIT, PICKLED, SAFE, serving

FETCH = """
import sys
from pathlib import Path
from sift_ray.instruct.models import ModelError, resolve_model
for name in sys.argv[2:]:
    try:
        print("folder", resolve_model(name, Path(sys.argv[1])))
    except ModelError as error:
        print("error", error)
"""
TOKEN = "hf_abcdefghijklmnop"
MAKE_SLOWLY = """
import sys, time
from pathlib import Path
from sift_ray.instruct.weights import made_once
cache = Path(sys.argv[1])
def make(folder):
    with (cache / "made").open("a") as log:
        log.write("x")
    time.sleep(1)
    (folder / "config.json").write_text("{}")
print(made_once(cache, "model", make))
"""


def fetching(names, tmp_path, endpoint, **environment):
    """Start a process that resolves each of `names` with a hub cache in `tmp_path`."""
    pytest.importorskip("huggingface_hub")
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", FETCH, str(tmp_path / "cache"), *names]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return subprocess.Popen(
        command, env={**inherited, **settings, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def outcomes(process):
    """Return (folder or error, which) of each name."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert TOKEN not in out + err
    return [tuple(line.split(maxsplit=1)) for line in out.splitlines()]


def fetched_by(names, tmp_path, endpoint, **environment):
    return outcomes(fetching(names, tmp_path, endpoint, **environment))


def test_two_processes_fetch_a_hub_model_once(tmp_path):
    pinned = f"org/tiny@{COMMIT}"
    with serving() as (endpoint, fetched, tokens):
        processes = [fetching(["org/tiny", pinned], tmp_path, endpoint) for _ in range(2)]
        found = [outcome for process in processes for outcome in outcomes(process)]
        assert fetched == {f"org/tiny/{name}": 1 for name in SAFE}
        assert tokens  # the hub got it, nobody else
    ((kind, folder),) = set(found)
    assert kind == "folder"
    assert {path.name for path in Path(folder).iterdir()} == set(SAFE)
    # the server is gone: from the cache alone
    assert fetched_by(["org/tiny"], tmp_path, endpoint) == [("folder", folder)]
    (Path(folder) / "model.safetensors").unlink()
    ((kind, said),) = fetched_by(["org/tiny"], tmp_path, endpoint, HF_HUB_OFFLINE="1")
    assert kind == "error"
    assert "HF_HUB_OFFLINE is set, and this node's cache does not hold all of it" in said


WRONG = {
    "org/gated": "accept the model's terms",
    "org/nothing": "no such model: check the name",
    "org/tiny@v9": "no revision 'v9'",
    "org/pickled": "no safetensors",
    "org/sharded": "model-00002-of-00002.safetensors",
    "org/-a--b": "no hub id",
}


def test_what_the_hub_cannot_give_is_said(tmp_path):
    with serving() as (endpoint, fetched, _):
        found = fetched_by(WRONG, tmp_path, endpoint)
    for (name, wanted), (kind, said) in zip(WRONG.items(), found, strict=True):
        assert kind == "error"
        assert said.startswith(f"model {name}: ")
        assert wanted in said
    assert not any(file.endswith(".bin") for file in fetched)


def test_without_a_connection_it_says_so(tmp_path):
    ((kind, said),) = fetched_by(["org/tiny"], tmp_path, "http://127.0.0.1:9")
    assert kind == "error"
    assert "the hub does not answer" in said
    assert "copy the model to a folder" in said


def test_two_processes_make_a_folder_once(tmp_path):
    command = [sys.executable, "-c", MAKE_SLOWLY, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    folders = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert folders == {str(tmp_path / "model")}
    assert (tmp_path / "made").read_text() == "x"


def test_what_a_killed_process_left_is_cleared_and_its_lock_is_free(tmp_path):
    held = "import sys, time\nfrom pathlib import Path\nfrom sift_ray.instruct.weights import made_once\n"
    held += "made_once(Path(sys.argv[1]), 'model', lambda f: (print('here', flush=True), time.sleep(60)))"
    process = subprocess.Popen([sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    process.kill()
    process.communicate()
    left = list(tmp_path.glob(".model-*"))
    assert left
    start = time.monotonic()
    made_once(tmp_path, "model", lambda folder: (folder / "config.json").write_text("{}"))
    assert time.monotonic() - start < 30
    assert not list(tmp_path.glob(".model-*"))


def test_one_process_holds_the_lock_once(tmp_path):
    with node_lock(tmp_path, "a"), node_lock(tmp_path, "b"):
        pass
    with node_lock(tmp_path, "a"):
        pass


def write(folder, files):
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_folder_of_pickles_is_refused(tmp_path):
    folder = write(tmp_path / "m", PICKLED)
    with pytest.raises(ModelError, match=r"no safetensors \(it has pytorch_model.bin\).*never loaded.*save_pretrained"):
        resolve_model(str(folder))


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": []}', "{}"])
def test_a_broken_index_is_named(tmp_path, index):
    folder = write(tmp_path / "m", {**SAFE, "model.safetensors.index.json": index.encode()})
    with pytest.raises(ModelError, match=r"index\.json can't be read"):
        check_folder("m", folder)


def test_a_missing_part_is_named(tmp_path):
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    folder = write(tmp_path / "m", {**SAFE, "model.safetensors.index.json": json.dumps(shards).encode()})
    (folder / "model-1.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"1 weight files are missing, model-2\.safetensors"):
        check_folder("m", folder)


def test_secrets_are_not_repeated(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-store")
    error = ValueError("https://me:password@hub/x said hf_abcdefgh12345 to of-the-store")
    assert without_secrets(error) == "ValueError: https://***hub/x said *** to ***"


class Store:
    """An object store with one model, at one address."""

    def __init__(self, storage):
        assert storage.endpoint_url == "http://store:1"
        self.client = self

    def get_paginator(self, operation):
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **_):
        return [{"Contents": [{"Key": f"m/{name}", "Size": len(data), "ETag": name} for name, data in SAFE.items()]}]

    def download_file(self, bucket, key, target):
        Path(target).write_bytes(SAFE[key.removeprefix("m/")])


def test_a_model_lies_where_the_config_says(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "S3Connection", Store)
    storage = StorageConfig(endpoint_url="http://store:1")
    folder = Path(resolve_model("s3://bucket/m", tmp_path, storage))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == SAFE
    models = {"default": "s3://bucket/m"}
    assert model_revisions(InstructConfig(models=models), storage) == {
        "s3://bucket/m": model_revision("s3://bucket/m", storage)
    }


ASK = """
import sys
from sift_ray.instruct.models import model_revision
for name in sys.argv[1:]:
    print(model_revision(name))
"""


@pytest.mark.parametrize(
    ("environment", "told"),
    [({}, [COMMIT, COMMIT, "v9", ""]), ({"HF_HUB_OFFLINE": "1"}, ["", "main", "v9", ""])],
    ids=["online", "offline"],
)
def test_the_hub_is_asked_for_the_commit(tmp_path, environment, told):
    pytest.importorskip("huggingface_hub")
    names = ["org/tiny", "org/tiny@main", "org/tiny@v9", "org/nothing"]
    with serving() as (endpoint, _, _):
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN, **environment}
        asking = subprocess.run(
            [sys.executable, "-c", ASK, *names],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    assert asking.stdout.splitlines() == told
    warned = [name for name in names if f"write {name.partition('@')[0]}@COMMIT" in asking.stderr]
    assert "org/nothing" in warned
    assert asking.stderr.count("which commit of it is meant") == (2 if told[0] else 4)
    assert TOKEN not in asking.stdout + asking.stderr


@pytest.mark.integration
def test_a_model_of_an_object_store_is_copied_once(seaweed, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", seaweed.endpoint)
    uri = seaweed.upload(write(tmp_path / "m", {**SAFE, "pytorch_model.bin": b"pickle"}), "models/tiny")
    first = Path(resolve_model(uri, tmp_path / "cache"))
    assert {path.name: path.read_bytes() for path in first.iterdir()} == SAFE
    revision = model_revision(uri)
    assert resolve_model(uri, tmp_path / "cache") == str(first)
    seaweed.client.put_object(Bucket=seaweed.bucket, Key="models/tiny/model.safetensors", Body=b"other")
    assert model_revision(uri) != revision
    assert (Path(resolve_model(uri, tmp_path / "cache")) / "model.safetensors").read_bytes() == b"other"

    pickled = seaweed.upload(write(tmp_path / "p", PICKLED), "models/pickled")
    with pytest.raises(ModelError, match="no safetensors"):
        resolve_model(pickled, tmp_path / "cache")
    with pytest.raises(ModelError, match=r"no config\.json under it"):
        resolve_model(f"s3://{seaweed.bucket}/models/none", tmp_path / "cache")
    with pytest.raises(ModelError, match=r"the store can't be read: .*NoSuchBucket"):
        model_revision("s3://no-such-bucket/m")
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 2


def test_a_missing_client_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"install sift-ray\[vllm\]"):
        weights.fetch_hub("org/tiny", None, tmp_path)
