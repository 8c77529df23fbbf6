"""Norms and activations on a CPU through vLLM's own C++ kernels.

vLLM has them compiled for x86 too but runs PyTorch's operators there, a dozen small ones for each norm, which a small
decoder spends much of its time on. Registered as vLLM lets a plugin replace its layers; a compiled model does not come
here.

    register()      # before the decoder is built
"""

import torch
from vllm.model_executor.custom_op import CustomOp, op_registry_oot
from vllm.model_executor.layers.activation import SiluAndMul
from vllm.model_executor.layers.layernorm import RMSNorm

VECTOR = 16
"""The kernels work on whole vectors of so many numbers."""


class CpuRMSNorm(RMSNorm):
    def forward_cpu(
        self, x: torch.Tensor, residual: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """As `forward_native`: [..., width]; `x` and `residual` are written to where both are given."""
        fits = x.is_contiguous() and x.dtype == self.weight.dtype and x.shape[-1] % VECTOR == 0
        if not fits or not self.has_weight or self.variance_size_override is not None:
            return self.forward_native(x, residual)
        if residual is None:
            out = torch.empty_like(x)
            torch.ops._C.rms_norm(out, x, self.weight.data, self.variance_epsilon)
            return out
        torch.ops._C.fused_add_rms_norm(x, residual, self.weight.data, self.variance_epsilon)
        return x, residual


class CpuSiluAndMul(SiluAndMul):
    def forward_cpu(self, x: torch.Tensor) -> torch.Tensor:
        """As `forward_native`: [..., 2 x width] -> [..., width]."""
        width = x.shape[-1] // 2
        if not x.is_contiguous() or width % VECTOR:
            return self.forward_native(x)
        out = torch.empty(*x.shape[:-1], width, dtype=x.dtype)
        torch.ops._C.silu_and_mul(out, x)
        return out


def register() -> None:
    """Put both in the place of vLLM's own; a second call changes nothing."""
    replaced: tuple[tuple[type[CustomOp], type[CustomOp]], ...] = ((RMSNorm, CpuRMSNorm), (SiluAndMul, CpuSiluAndMul))
    for theirs, ours in replaced:
        if theirs.__name__ not in op_registry_oot:
            theirs.register_oot(ours)
