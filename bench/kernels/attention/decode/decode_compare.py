"""Decode attention: pingti's paged kernel beside FlashAttention-2 and cuDNN, in one run on one card.

    python3 bench/kernels/attention/decode/decode_compare.py build/kernels/bench/attention/decode/bench_decode

Baselines are PyTorch's scaled_dot_product_attention with the FLASH_ATTENTION and CUDNN_ATTENTION backends
over contiguous [batch, heads, tokens, head_dim] tensors of one length (no pages: an advantage for them).
TB/s counts K and V once. Mixed lengths have no baseline here: these backends take one length a batch.
"""
import argparse
import pathlib
import subprocess
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "harness"))
from torch_timing import median_us  # noqa: E402

HEADS, KV_HEADS, HEAD_DIM = 64, 8, 128


def torch_us(backend, batch, tokens):
    def tensor(heads, length):
        return torch.randn(batch, heads, length, HEAD_DIM, device="cuda", dtype=torch.bfloat16)

    q, k, v = tensor(HEADS, 1), tensor(KV_HEADS, tokens), tensor(KV_HEADS, tokens)
    try:
        with sdpa_kernel(backend):
            return median_us(lambda: torch.nn.functional.scaled_dot_product_attention(
                q, k, v, enable_gqa=True), samples=11, target_us=3000.0)
    except RuntimeError as error:
        print(f"  {backend.name}: {str(error).splitlines()[0]}")
        return float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench")
    parser.add_argument("shapes", nargs="*", default=["32x4096", "8x16384", "128x1024", "1x4096"])
    args = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {HEADS}q/{KV_HEADS}kv heads, "
          f"head_dim {HEAD_DIM}, bf16, TB/s")
    print("| batch | FA2 | cuDNN | pingti | us | / best |\n|---|---|---|---|---|---|")
    for shape in args.shapes:
        batch, tokens = (int(x) for x in shape.split("x"))
        fa2 = torch_us(SDPBackend.FLASH_ATTENTION, batch, tokens)
        cudnn = torch_us(SDPBackend.CUDNN_ATTENTION, batch, tokens)
        line = subprocess.run([args.bench, "--csv", "--no-check", shape], check=True,
                              capture_output=True, text=True).stdout
        ours = float(line.split(",")[1])
        size = batch * tokens * KV_HEADS * HEAD_DIM * 4
        rate = [size / us * 1e-6 for us in (fa2, cudnn, ours)]
        best = max((r for r in rate[:2] if r == r), default=float("nan"))
        print(f"| {shape} | {rate[0]:.2f} | {rate[1]:.2f} | **{rate[2]:.2f}** | {ours:.1f} "
              f"| {rate[2] / best:.2f} |", flush=True)


if __name__ == "__main__":
    main()
