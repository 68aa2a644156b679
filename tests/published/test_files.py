"""Other people's files are read without running anything in them, or refused in one line."""

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file
from torch import nn

from unhaze.errors import UnhazeError
from unhaze.published import files
from unhaze.published.files import read_tensors
from unhaze.published.matlab import read_arrays

STATE = {
    "conv.weight": torch.arange(12.0).view(3, 4),
    "conv.bias": torch.tensor([0.5, -1.0, 2.0]),
}
ARRAYS = {name.replace(".", "_"): tensor.numpy() for name, tensor in STATE.items()}


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def write(path: Path, kind: str) -> dict[str, torch.Tensor]:
    """A file of each kind that is read, and what must come out of it."""
    if kind == "npz":
        np.savez(path, **ARRAYS)
    elif kind in ("mat", "compressed mat"):
        scipy.io.savemat(path, ARRAYS, appendmat=False, do_compression=kind != "mat")
    elif kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "pytorch")
    named = ("npz", "mat", "compressed mat")
    return {name.replace(".", "_") if kind in named else name: each for name, each in STATE.items()}


KINDS = ["npz", "mat", "compressed mat", "safetensors", "pytorch", "old pytorch"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_known_by_its_content(kind, tmp_path):
    path = tmp_path / "its_haze_best_3_6.npz"  # np.savez appends a suffix that is missing
    expected = write(path, kind)
    found = read_tensors(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor.view(found[name].shape)), name


def test_tensors_of_a_safetensors_file_come_in_one_order(tmp_path):
    names = [f"{number:02}" for number in range(40)]
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "many.safetensors")
    assert [*read_tensors(tmp_path / "many.safetensors")] == names


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_in_one_line(kind, tmp_path):
    path = tmp_path / "weights.npz"
    write(path, kind)
    content = path.read_bytes()
    for share in (0, 0.01, 0.2, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UnhazeError, match="cannot read|no tensors") as raised:
            read_tensors(path)
        assert "\n" not in str(raised.value)
        assert "weights_only" not in str(raised.value)
    random = np.random.default_rng(3)
    for _ in range(60):
        broken = np.frombuffer(content, np.uint8).copy()
        broken[random.integers(0, len(broken), 5)] = random.integers(0, 256, 5)
        path.write_bytes(broken.tobytes())
        try:
            read_tensors(path)
        except UnhazeError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"no weights at all", b"PK\x03\x04 and nothing", b"MATLAB 7.3 MAT-file" * 9]
)
def test_files_of_another_kind_are_refused(content, tmp_path):
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(UnhazeError, match="expected weights as a PyTorch, .npz"):
        read_tensors(tmp_path / "weights")


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(UnhazeError, match="No such file"):
        read_tensors(tmp_path / "none.pth")
    with pytest.raises(UnhazeError, match="directory"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_code_in_a_pickle_is_never_run(zipped, nested, tmp_path):
    trap = Trap(tmp_path / "sprung")
    path = tmp_path / "weights.pth"
    content = {"model": STATE | {"extra": trap}} if nested else trap
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnhazeError, match="would run code when loaded .*state_dict") as raised:
        read_tensors(path)
    assert "\n" not in str(raised.value)
    assert not trap.path.exists()


def test_a_plain_pickle_and_a_pickled_array_are_not_run(tmp_path):
    trap = Trap(tmp_path / "sprung")
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(trap))
    with pytest.raises(UnhazeError):
        read_tensors(tmp_path / "weights.pkl")
    np.savez(tmp_path / "weights.npz", weight=np.array([trap], dtype=object))
    with pytest.raises(UnhazeError, match="allow_pickle=False"):
        read_tensors(tmp_path / "weights.npz")
    assert not trap.path.exists()


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path):
    torch.save(nn.Conv2d(3, 3, 1), tmp_path / "model.pkl")
    with pytest.raises(UnhazeError, match="torch.nn.modules.conv.Conv2d.*state_dict"):
        read_tensors(tmp_path / "model.pkl")


@pytest.mark.parametrize("wrapper", files.WRAPPERS)
def test_wrapped_and_prefixed_states_are_found(wrapper, tmp_path):
    prefixed = {f"module.{name}": tensor for name, tensor in STATE.items()}
    torch.save({"epoch": 7, wrapper: prefixed, "optimizer": {}}, tmp_path / "weights.pth")
    assert read_tensors(tmp_path / "weights.pth").keys() == STATE.keys()


def test_scores_kept_as_numpy_values_are_skipped(tmp_path):
    """As in FFA-Net's checkpoints; files of older NumPy name the same function differently."""
    path = tmp_path / "its_train_ffa_3_19.pk"
    scores = {"max_psnr": np.float64(36.39), "ssims": [np.float32(0.98)], "all": np.ones(3)}
    torch.save(scores | {"model": STATE}, path, _use_new_zipfile_serialization=False)
    assert read_tensors(path).keys() == STATE.keys()
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multi", b"numpy.core.multi"))
    assert read_tensors(path).keys() == STATE.keys()


def test_files_without_tensors_say_so(tmp_path):
    loop = {"epoch": 3}
    loop["model"] = loop
    for content in ({"epoch": 3}, [torch.ones(2)], torch.ones(2), loop):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(UnhazeError, match="no named tensors"):
            read_tensors(tmp_path / "weights.pth")


def test_files_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 20_000)
    np.savez_compressed(tmp_path / "a.npz", weight=np.zeros(10_000))
    with pytest.raises(UnhazeError, match="unpacks to 80128 bytes; at most 20000"):
        read_tensors(tmp_path / "a.npz")
    scipy.io.savemat(tmp_path / "a.mat", {"weight": np.zeros(10_000)}, do_compression=True)
    with pytest.raises(UnhazeError, match="unpacks to more than 20000"):
        read_tensors(tmp_path / "a.mat")
    torch.save({"weight": torch.zeros(10_000)}, tmp_path / "a.pth")
    with pytest.raises(UnhazeError, match="bytes; weights of at most 20000 are read"):
        read_tensors(tmp_path / "a.pth")


def test_matlab_arrays_equal_scipys(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "single": random.normal(size=(3, 4, 5)).astype(np.float32),
        "whole_numbers_in_double": np.arange(6.0).reshape(2, 3),
        "bytes": random.integers(0, 255, (2, 2), np.uint8),
        "short": np.array([[-3, 4]], np.int16),
        "one": np.array([[2.5]]),
        "none": np.zeros((0, 3)),
    }
    left_out = {"text": "words", "cell": np.array([1, "b"], object), "complex": np.array([[1j]])}
    for compressed in (False, True):
        stream = io.BytesIO()
        scipy.io.savemat(stream, arrays | left_out, do_compression=compressed)
        found = read_arrays(stream.getvalue(), 10**6)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_matlab_keeps_whole_numbers_small():
    """MATLAB itself, unlike SciPy, stores a double array of whole numbers as bytes."""

    def element(kind: int, body: bytes) -> bytes:
        return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)

    parts = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 2, 3))
    small_name = struct.pack("<HH4s", 1, 1, b"w")  # up to four bytes stand in the tag
    body = parts + small_name + element(2, bytes([1, 2, 3, 4, 5, 6]))
    packed = zlib.compress(element(14, body))
    content = (
        b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed
    )
    found = read_arrays(content, 10**6)
    np.testing.assert_array_equal(found["w"], [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]])
    assert found["w"].dtype == np.float64
