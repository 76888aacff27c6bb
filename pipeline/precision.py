"""Which precision the hardware computes with."""

import torch


def has_bf16(where: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 by itself; without that it is slower than 32 bits."""
    if where.type == "cuda":
        return torch.cuda.get_device_capability(where) >= (8, 0)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
