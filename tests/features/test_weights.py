"""Weights in files; and pickles that want more than to be read."""

from __future__ import annotations

import collections
import enum
import os
import pickle
import re
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sift_ray.features.checkpoints import (
    CheckpointError,
)
from sift_ray.features.weights import Foreign, load_checkpoint, load_weights

WEIGHTS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([0.5, -1.0], dtype=torch.float16)}


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor] = WEIGHTS) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in wanted.items()
    )


def test_tensors_are_read_from_either_format(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "net.pth")
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, tmp_path / "net.ckpt")
    torch.save(WEIGHTS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(WEIGHTS, tmp_path / "net.safetensors")
    for name in ("net.pth", "net.ckpt", "old.pth", "net.safetensors"):
        assert same(load_weights(tmp_path / name))
    assert load_checkpoint(tmp_path / "net.ckpt")["epoch"] == 3


class _Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "ran"
    attacks = [
        _Calls(os.system, f"touch {trace}"),
        _Calls(eval, f"open({str(trace)!r}, 'w')"),
        _Calls(Path.touch, trace),
    ]
    checkpoint = {"state_dict": WEIGHTS, "attacks": attacks}
    torch.save(checkpoint, tmp_path / "net.ckpt", pickle_protocol=protocol)
    with zipfile.ZipFile(tmp_path / "net.ckpt") as archive:
        (data,) = (archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
    assert b"touch" in data  # the attack is in the file

    found = load_checkpoint(tmp_path / "net.ckpt")
    assert same(load_weights(tmp_path / "net.ckpt"))
    assert not trace.exists()
    system, *_ = found["attacks"]
    assert isinstance(system, Foreign)
    assert system.origin.endswith(".system")
    assert system.args == (f"touch {trace}",)

    # and the same file does run it where it is trusted: the test would notice
    torch.load(tmp_path / "net.ckpt", weights_only=False)
    assert trace.exists()


def test_a_pickle_can_not_change_what_it_is_given(tmp_path: Path) -> None:
    """BUILD sets attributes of whatever lies before it: here the defaults of the function that makes tensors."""
    build = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__K\x01K\x02\x86s\x86b."
    with zipfile.ZipFile(tmp_path / "net.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", build)
        archive.writestr("archive/version", "3")
    with pytest.raises(CheckpointError, match="sets attributes of a function"):
        load_checkpoint(tmp_path / "net.ckpt")


def test_an_old_file_with_code_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    attack = {"weight": torch.ones(2), "attack": _Calls(os.system, f"touch {trace}")}
    torch.save(attack, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(attack["attack"]))
    for name in ("old.pth", "bare.pth"):
        with pytest.raises(CheckpointError, match=re.escape(name)) as caught:
            load_checkpoint(tmp_path / name)
        assert "weights_only" not in str(caught.value)  # which torch's own message says how to turn off
    assert not trace.exists()


def test_a_lightning_checkpoint_gives_its_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objects of classes that are not installed where it is read are kept as what they were made from."""
    training = types.ModuleType("training_of_others")

    def belongs(cls: type, name: str) -> type:
        cls.__module__, cls.__qualname__ = training.__name__, name
        return cls

    class Specifications:
        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

    class Nested:
        pass

    class Names(list):  # type: ignore[type-arg]
        pass

    problem = enum.Enum("problem", {"REGRESSION": 2}, module=training.__name__, qualname="Problem")
    training.Specifications = belongs(Specifications, "Specifications")  # type: ignore[attr-defined]
    training.Names = belongs(Names, "Names")  # type: ignore[attr-defined]
    training.Problem = problem  # type: ignore[attr-defined]
    Specifications.Nested = belongs(Nested, "Specifications.Nested")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, training.__name__, training)
    state = collections.OrderedDict(
        weight=torch.arange(12.0).view(3, 4).t(),  # not contiguous
        view=torch.arange(12.0)[5:9],
        bias=torch.nn.Parameter(torch.tensor([1.5])),
        half=torch.tensor([0.1], dtype=torch.bfloat16),
        count=torch.tensor(7),
        flags=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
    )
    checkpoint = {
        "state_dict": state,
        "hyper_parameters": {"rate": 16_000, "lstm": {"hidden_size": 256}},
        "specifications": Specifications(classes=["vad", "snr", "c50"], nested=Nested(), problem=problem(2)),
        "names": Names(["a", "b"]),
        "seen": {problem(2)},
        "kinds": (Specifications.Nested, torch.float32),  # type: ignore[attr-defined]
    }
    paths = [tmp_path / f"{protocol}.ckpt" for protocol in (2, 4)]
    for path, protocol in zip(paths, (2, 4), strict=True):
        torch.save(checkpoint, path, pickle_protocol=protocol)
    monkeypatch.delitem(sys.modules, training.__name__)

    for path in paths:
        assert same(load_weights(path), dict(state))
        found = load_checkpoint(path)
        assert found["hyper_parameters"] == {"rate": 16_000, "lstm": {"hidden_size": 256}}
        specifications = found["specifications"]
        assert isinstance(specifications, Foreign)
        assert specifications.origin == "training_of_others.Specifications"
        assert specifications.state["classes"] == ["vad", "snr", "c50"]
        assert specifications.state["nested"].origin == "training_of_others.Specifications.Nested"
        assert specifications.state["problem"].args == (2,)
        assert found["names"].items == ["a", "b"]
        assert training.__name__ not in sys.modules


def test_a_program_is_no_checkpoint(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(CheckpointError, match=r"program.pt: .*a program"):
        load_checkpoint(tmp_path / "program.pt")


def test_what_is_beyond_a_storage_cant_be_read(tmp_path: Path) -> None:
    """A pickle may name any shape: one that is larger than its values would show other memory."""
    torch.save({"other": collections.deque([1]), "weight": torch.arange(4.0)}, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as archive, zipfile.ZipFile(tmp_path / "bad.pth", "w") as bad:
        for name in archive.namelist():
            data = archive.read(name)
            # the shape (4,) and the stride (1,) of the tensor: BININT1 and TUPLE1
            bad.writestr(name, data.replace(b"K\x04\x85", b"K\xff\x85") if name.endswith("data.pkl") else data)
    assert load_checkpoint(tmp_path / "net.pth")["weight"].tolist() == [0, 1, 2, 3]
    with pytest.raises(CheckpointError, match=r"bad.pth: can't be read"):
        load_checkpoint(tmp_path / "bad.pth")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("net.pth", b""),
        ("net.pth", b"<html>404</html>"),
        ("net.safetensors", b"<html>404</html>"),
        ("net.pth", "half"),
        ("net.pth", torch.ones(2)),
        ("net.pth", {}),
        ("net.pth", {"weight": [1.0, 2.0]}),
        ("net.pth", {"model": {"weight": torch.ones(2)}}),
        ("missing.pth", None),
    ],
)
def test_what_holds_no_weights_is_refused(tmp_path: Path, name: str, content: Any) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        torch.save(WEIGHTS, path)
        path.write_bytes(path.read_bytes()[:700])
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=re.escape(name)):
        load_weights(path)
