"""A folder of checkpoints and other files is told apart by their content; nothing in them runs."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from unhaze.cli import main
from unhaze.config import Part
from unhaze.errors import UnhazeError
from unhaze.nets import NETS, create_net
from unhaze.published import open_weights
from unhaze.published.identify import identify
from unhaze.weights import load_weights, save_weights

# name/preset of small networks, and the file names that authors could have given them.
VARIANTS = ("griddehazenet/slim", "ffanet/slim", "aodnet", "kddn/slim", "quarter/slim")


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def state_of(variant: str) -> dict[str, torch.Tensor]:
    name, _, preset = variant.partition("/")
    torch.manual_seed(len(variant))
    return create_net(name, preset=preset or None).state_dict()


def bare(state, path):
    torch.save(state, path)


def parallel(state, path):
    inner = {f"module.{name}": each for name, each in state.items()}
    torch.save({"epoch": 3, "psnr": np.float64(36.6), "state_dict": inner}, path)


def legacy(state, path):
    """The format before zip files, with an optimizer, a path and settings beside the weights."""
    moments = {0: {"exp_avg": torch.zeros(3), "step": 7}}
    content = {"model": state, "optimizer": {"state": moments, "param_groups": [{"lr": 1e-4}]}}
    torch.save(content | {"where": Path("runs/a")}, path, _use_new_zipfile_serialization=False)


def renamed(state, path):
    """As Lightning writes it, with the weights of a loss beside them."""
    flat = {f"net_g.{name}": each for name, each in state.items()}
    torch.save({"state_dict": flat | {"vgg.0.weight": torch.zeros(64, 3, 3, 3)}}, path)


LAYOUTS = {".pth": bare, ".pk": parallel, ".tar": legacy, ".ckpt": renamed}


def make_others(folder: Path, trap: Path) -> dict[str, str]:
    """Files that are no weights, and what must be said that they are."""
    torch.save(state_of("aodnet"), folder / "whole.pth")
    content = (folder / "whole.pth").read_bytes()
    (folder / "whole.pth").unlink()
    (folder / "half.pth").write_bytes(content[: len(content) // 2])
    (folder / "empty.pth").write_bytes(b"")
    (folder / "drive.pth").write_bytes(
        b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>"
    )
    (folder / "lfs.pth").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2697009\n"
    )
    (folder / "bomb.pkl").write_bytes(pickle.dumps(Trap(trap)))
    torch.save({"state_dict": {"a": Trap(trap)}}, folder / "zipped-bomb.pth")
    torch.save({"a.weight": torch.ones(3), "b": Trap(trap)}, folder / "old-bomb.pth",
               _use_new_zipfile_serialization=False)  # fmt: skip
    torch.jit.save(torch.jit.script(nn.ReLU()), folder / "script.pt")
    torch.save({"state": {}, "param_groups": []}, folder / "optimizer.pth")
    torch.save(nn.Conv2d(3, 64, 7).state_dict(), folder / "other.pth")
    with zipfile.ZipFile(folder / "archive.pth", "w") as archive:
        archive.writestr("its/best.pth", b"weights")
    (folder / "readme.pth").write_text("Weights: see the link below.\n")
    return {
        "half.pth": "incomplete",
        "empty.pth": "empty",
        "drive.pth": "web page",
        "lfs.pth": "LFS pointer",
        "bomb.pkl": "code",
        "zipped-bomb.pth": "code",
        "old-bomb.pth": "code",
        "script.pt": "TorchScript",
        "optimizer.pth": "optimizer state",
        "other.pth": "foreign checkpoint",
        "archive.pth": "archive",
        "readme.pth": "text",
    }


def test_a_folder_is_told_apart_without_a_wrong_guess(tmp_path, capsys):
    trap, folder = tmp_path / "sprung", tmp_path / "files"
    folder.mkdir()
    expected = {}
    for number, variant in enumerate(VARIANTS):
        for suffix, write in LAYOUTS.items():
            path = folder / f"{number}{suffix}"
            write(state_of(variant), path)
            expected[str(path)] = ("checkpoint", *(variant.split("/") + [None])[:2])
    for name, kind in make_others(folder, trap).items():
        expected[str(folder / name)] = (kind, None, None)
    assert len(expected) == 32
    (folder / ".lock").touch()  # as of a run
    (folder / ".cache").mkdir()
    (folder / ".cache" / "half.pth").touch()
    assert main(["zoo", "identify", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["path"]: (row["kind"], row["net"], row["preset"]) for row in rows} == expected
    assert all(row["certain"] for row in rows if row["kind"] == "checkpoint")
    assert not trap.exists()
    told = {Path(row["path"]).name: row["told"] for row in rows}
    assert "Virus scan warning" in told["drive.pth"]
    assert "2,697,009" in told["lfs.pth"]
    assert "its/best.pth" in told["archive.pth"]
    assert all("\n" not in each for each in told.values())


@pytest.mark.parametrize("suffix", LAYOUTS)
def test_each_layout_gives_the_same_network(suffix, tmp_path):
    state = state_of("griddehazenet/slim")
    LAYOUTS[suffix](state, tmp_path / f"any{suffix}")
    net = open_weights(tmp_path / f"any{suffix}").net
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("key", ["ema", "state_dict_ema", "params_ema", "model_averaged"])
def test_an_average_over_training_is_preferred_and_named(key, tmp_path):
    state = state_of("aodnet")
    averaged = {f"module.{name}": each + 1 for name, each in state.items()}
    torch.save({"net": state, key: averaged}, tmp_path / "a.pth")
    assert "average over training" in identify(tmp_path / "a.pth").told
    net = open_weights(tmp_path / "a.pth").net
    assert torch.equal(net.state_dict()["conv1.bias"], state["conv1.bias"] + 1)


@pytest.mark.parametrize("opening", [b"\x80\x02", b"PK", b"BM", b"II"])
def test_a_safetensors_header_of_any_length_is_no_other_kind(opening, tmp_path):
    """Its length comes first in the file: 128 bytes look like a pickle, 19280 like a zip."""
    state = state_of("aodnet")
    save_file(state, tmp_path / "a.safetensors")
    written = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(written[:8], "little")
    wanted = int.from_bytes(opening.ljust(3, b"\1"), "little")
    header = written[8 : 8 + length].ljust(wanted)
    content = wanted.to_bytes(8, "little") + header + written[8 + length :]
    assert content.startswith(opening)
    (tmp_path / "b.safetensors").write_bytes(content)
    found = identify(tmp_path / "b.safetensors")
    assert (found.kind, found.net, found.certain) == ("checkpoint", "aodnet", True), found.told
    (tmp_path / "b.safetensors").write_bytes(content[:-1])
    assert identify(tmp_path / "b.safetensors").kind == "incomplete"


def test_a_part_that_fails_its_checksum_is_reported(tmp_path):
    """PyTorch itself loads the wrong numbers. Files without checksums are no damaged ones."""
    state = state_of("griddehazenet/slim")
    torch.save(state, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    largest = max(state.values(), key=torch.numel).numpy().tobytes()
    content[content.index(largest) + 40] ^= 0x55
    (tmp_path / "a.pth").write_bytes(content)
    assert torch.load(tmp_path / "a.pth").keys() == state.keys()
    found = identify(tmp_path / "a.pth")
    assert found.kind == "damaged" and "fail their checksum" in found.told
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "b.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert identify(tmp_path / "b.pth").net == "griddehazenet"


def test_net_overrides_and_says_what_fits_instead(tmp_path):
    torch.save({"state_dict": state_of("griddehazenet/slim")}, tmp_path / "a.pth")
    assert open_weights(tmp_path / "a.pth", net="griddehazenet").part.arguments == {
        "preset": "slim"
    }
    with pytest.raises(UnhazeError, match="it fits preset 'slim'"):
        open_weights(tmp_path / "a.pth", net="griddehazenet/paper")
    with pytest.raises(UnhazeError, match="it fits net 'griddehazenet'"):
        open_weights(tmp_path / "a.pth", net="aodnet")
    with pytest.raises(UnhazeError, match="no net 'griddehaze'"):
        open_weights(tmp_path / "a.pth", net="griddehaze")


@pytest.mark.slow
def test_the_nearest_is_named_where_nothing_fits(tmp_path):
    state = state_of("griddehazenet/slim")
    state.pop("attention")
    torch.save(state, tmp_path / "a.pth")
    told = identify(tmp_path / "a.pth").told
    assert "griddehazenet" in told and "preset 'slim'" in told
    assert "it has no tensor 'attention'" in told


def test_twins_are_told_by_words_of_the_path_and_never_called_certain(tmp_path):
    twins = [name for name in ("dmphn/paper", "dmshn/published") if name.split("/")[0] in NETS]
    assert len(twins) == 2
    for variant in twins:
        net = variant.split("/")[0]
        (tmp_path / net.upper()).mkdir()
        torch.save(state_of(variant), tmp_path / net.upper() / "ep130.pkl")
        found = identify(tmp_path / net.upper() / "ep130.pkl")
        assert (found.net, found.certain) == (net, False)
        assert "choose with --net" in found.told


def test_a_network_in_parts_is_read_from_a_folder(tmp_path):
    state = state_of("dmshn/published")
    (tmp_path / "dmshn").mkdir()
    for part in sorted({name.partition(".")[0] for name in state}):
        own = {name.partition(".")[2]: each for name, each in state.items() if part in name}
        torch.save(own, tmp_path / "dmshn" / f"ep130_{part}.pkl")
    weights = open_weights(tmp_path / "dmshn")
    assert (weights.part.name, len(list((tmp_path / "dmshn").iterdir()))) == ("dmshn", 6)
    for name, tensor in weights.net.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_own_weights_are_what_their_header_states(tmp_path):
    part = Part("quarter", {"preset": "fast", "guided": 8, "one_airlight": True, "width": 8})
    save_weights(tmp_path / "own.safetensors", create_net(part.name, **part.arguments), part)
    found = identify(tmp_path / "own.safetensors")
    assert (found.net, found.preset, found.certain) == ("quarter", "fast", True)
    assert "guided 8" in found.told and "unhaze wrote it" in found.told
    tensors = load_weights(tmp_path / "own.safetensors").net.state_dict()
    tensors.popitem()
    header = {"unhaze": json.dumps({"net": part.name, "arguments": part.arguments})}
    save_file(dict(tensors), tmp_path / "short.safetensors", metadata=header)
    assert not identify(tmp_path / "short.safetensors").certain


def test_a_folder_without_a_file_or_that_cannot_be_read_is_an_error(tmp_path, monkeypatch, capsys):
    (tmp_path / ".lock").touch()
    (tmp_path / "closed").mkdir()
    command = ["zoo", "identify", str(tmp_path)]
    assert main(command) == 2
    assert f"no files in '{tmp_path}'" in capsys.readouterr().err
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)  # root may read any
    assert main(command) == 2
    assert "closed': Permission denied" in capsys.readouterr().err
