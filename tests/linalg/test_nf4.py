"""The yardstick of four bits: bitsandbytes' own NF4, and blocks that do not fill up."""

from __future__ import annotations

import pytest
import torch

from assay.linalg.nf4 import NF4, nf4_error, nf4_rounded


def test_it_is_what_bitsandbytes_makes() -> None:
    """Its codes and scales, in float32 on the CPU: the same error to rounding."""
    functional = pytest.importorskip("bitsandbytes.functional")
    W = torch.randn(96, 64, generator=torch.Generator().manual_seed(0)) * 0.03
    codes, state = functional.quantize_4bit(W, blocksize=64, quant_type="nf4")
    back = functional.dequantize_4bit(codes, state)
    assert nf4_error(W) == pytest.approx(float(torch.linalg.vector_norm(back - W)), rel=1e-5)
    torch.testing.assert_close(nf4_rounded(W), back, rtol=1e-6, atol=0)


def test_by_the_definition() -> None:
    """The nearest of sixteen codes in each block of 64, the last one short, and a block of zeros."""
    W = torch.randn(5, 50, generator=torch.Generator().manual_seed(2))
    W.view(-1)[64:128] = 0
    square = 0.0
    for block in W.flatten().double().split(64):
        largest = float(block.abs().max())
        codes = largest * torch.tensor(NF4, dtype=torch.float64)
        square += float((block[:, None] - codes).abs().min(dim=1).values.square().sum())
    assert nf4_error(W) == pytest.approx(square**0.5, rel=1e-6)
    assert nf4_error(torch.zeros(3, 3)) == 0.0
