"""The CPU's kernel of the deformable convolution equals the plain way, and gives way to it."""

import subprocess
import sys

import pytest
import torch

from tests.nets.test_deform_conv import output_and_gradients, random_inputs
from unhaze.nets import deform_conv
from unhaze.nets.deform_conv import deform_conv2d, multiply_columns, multiply_taps

pytestmark = pytest.mark.skipif(not deform_conv.built(), reason="no C compiler here")


@pytest.mark.parametrize("size, spread", [((9, 8), 0.7), ((16, 5), 4.0), ((1, 7), 30.0)])
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_plain_way_forward_and_backward(size, spread, threads):
    inputs = random_inputs(channels=(20, 7), size=size, spread=spread)
    arriving = torch.randn(2, 7, *size, generator=torch.Generator().manual_seed(1))
    plain = output_and_gradients(multiply_taps, inputs, arriving)
    torch.set_num_threads(threads)
    quick = output_and_gradients(multiply_columns, inputs, arriving)
    torch.set_num_threads(1)
    for result, expected in zip(quick, plain, strict=True):
        assert (result - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def test_gradients_equal_finite_differences():
    """In float32, along random directions; offsets keep away from whole pixels, where it bends."""
    inputs = random_inputs(channels=(6, 5), size=(7, 6))
    inputs[1] = inputs[1].floor() + 0.2 + 0.6 * torch.rand_like(inputs[1])
    arriving = torch.randn(2, 5, 7, 6, generator=torch.Generator().manual_seed(1))
    _, *gradients = output_and_gradients(multiply_columns, inputs, arriving)
    for index, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(index))
        ends = []
        for side in (-1, 1):
            moved = list(inputs)
            moved[index] = inputs[index] + side * 1e-2 * direction
            ends.append(float((multiply_columns(*moved) * arriving).double().sum()))
        difference = (ends[1] - ends[0]) / 2e-2
        assert difference == pytest.approx(float((gradient * direction).sum()), rel=3e-2, abs=0.05)


def test_an_empty_batch_has_empty_gradients():
    inputs = random_inputs(batch=0)
    result, *gradients = output_and_gradients(multiply_columns, inputs, torch.ones(0, 3, 6, 7))
    assert len(result) == 0
    for gradient, given in zip(gradients, inputs, strict=True):
        assert gradient.shape == given.shape and not gradient.any()


def test_bfloat16_keeps_its_kind_and_the_positions():
    inputs = random_inputs(channels=(33, 9), size=(12, 300), spread=3.0)
    arriving = torch.ones(2, 9, 12, 300)
    exact = output_and_gradients(multiply_columns, inputs, arriving)
    halves = [inputs[0].bfloat16(), *inputs[1:3], *(each.bfloat16() for each in inputs[3:])]
    rounded = output_and_gradients(multiply_columns, halves, arriving.bfloat16())
    assert rounded[0].dtype == rounded[1].dtype == torch.bfloat16
    assert rounded[2].dtype == torch.float32
    for result, expected in zip(rounded, exact, strict=True):
        assert (result.float() - expected).abs().mean() < 0.02 * expected.abs().mean() + 1e-3


def test_channels_last_is_sampled_without_a_copy(monkeypatch):
    inputs = random_inputs(channels=(8, 8), size=(6, 6))
    last = inputs[0].contiguous(memory_format=torch.channels_last)
    seen = []

    class Kernel:
        def sample_columns(self, shape, features, *others):
            seen.append(features)

    monkeypatch.setattr(deform_conv, "kernel", Kernel)
    deform_conv.sample_columns(last.permute(0, 2, 3, 1), inputs[1], inputs[2], 3)
    assert seen == [last.data_ptr()]


def test_operators_are_sound():
    features, offset, mask, *_ = random_inputs(channels=(5, 4))
    given = (features.permute(0, 2, 3, 1).contiguous().requires_grad_(), offset, mask, 3)
    torch.library.opcheck(torch.ops.unhaze.sample_columns.default, given)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_the_plain_way_serves(compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path))
    deform_conv.library.cache_clear()
    try:
        inputs = random_inputs()
        assert not deform_conv.usable(inputs[0])
        torch.testing.assert_close(deform_conv2d(*inputs), multiply_taps(*inputs))
        assert list(tmp_path.rglob("*.so")) == []
    finally:
        monkeypatch.undo()
        deform_conv.library.cache_clear()
    assert deform_conv.usable(inputs[0])


def test_a_compiler_without_openmp_serves(monkeypatch, tmp_path):
    compiler = tmp_path / "cc"
    lines = ("#!/bin/sh", 'case "$*" in *-fopenmp*) exit 1;; esac', 'exec cc "$@"')
    compiler.write_text("\n".join(lines) + "\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    deform_conv.library.cache_clear()
    try:
        inputs = random_inputs()
        torch.testing.assert_close(multiply_columns(*inputs), multiply_taps(*inputs))
        assert len(list((tmp_path / "cache").rglob("*.so"))) == 1
    finally:
        monkeypatch.undo()
        deform_conv.library.cache_clear()


def test_it_is_built_once_into_the_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path))
    deform_conv.library.cache_clear()
    try:
        assert deform_conv.library() is not None
        (built,) = tmp_path.rglob("*.so")
        written = built.stat().st_mtime_ns
        deform_conv.library.cache_clear()
        assert deform_conv.library() is not None
        assert built.stat().st_mtime_ns == written
    finally:
        monkeypatch.undo()
        deform_conv.library.cache_clear()


@pytest.mark.slow
def test_tiny_numbers_of_the_process_stay():
    """A library linked by -ffast-math sets the processor to flush subnormal numbers to zero."""
    code = "from unhaze.nets import deform_conv; deform_conv.library(); print(5e-324 * 1.0 > 0)"
    done = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert done.strip() == "True"
