"""Latent attention decode: pingti's paged kernel beside PyTorch, in one run on one card.

    python3 bench/kernels/attention/latent/latent_compare.py build/kernels/bench/attention/latent/bench_latent

Baselines, both over contiguous tensors of one length (no pages: an advantage for them):
- absorbed: the same formula as two batched products (cuBLAS) around a softmax;
- expanded: scaled_dot_product_attention over keys [192] and values [128] of every head, as a cache without
  latents would hold them; left out where they do not fit half of the card.
TFLOP/s counts 2 (576 + 512) per latent and head for all of them, so that they compare by time.
"""
import argparse
import pathlib
import subprocess
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "harness"))
from torch_timing import median_us  # noqa: E402

KEY_DIM, VALUE_DIM = 576, 512
SAMPLES, SAMPLE_US = 9, 5000.0


def tensor(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def absorbed_us(batch, tokens, heads):
    q, latents = tensor(batch, heads, KEY_DIM), tensor(batch, tokens, KEY_DIM)

    def launch():
        scores = torch.bmm(q, latents.transpose(1, 2)) * 192 ** -0.5
        return torch.bmm(torch.softmax(scores, dim=-1), latents[:, :, :VALUE_DIM])

    return median_us(launch, SAMPLES, SAMPLE_US)


def expanded_us(batch, tokens, heads):
    if batch * tokens * heads * (192 + 128) * 2 > torch.cuda.get_device_properties(0).total_memory / 2:
        return float("nan")
    q, k = tensor(batch, heads, 1, 192), tensor(batch, heads, tokens, 192)
    v = tensor(batch, heads, tokens, 128)
    try:
        return median_us(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v),
                         SAMPLES, SAMPLE_US)
    except RuntimeError as error:
        print(f"  expanded: {str(error).splitlines()[0]}")
        return float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench")
    parser.add_argument("shapes", nargs="*", default=["1x4096", "32x4096", "128x1024", "128x4096"])
    parser.add_argument("--heads", type=int, nargs="+", default=[16, 128])
    args = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bf16")
    print("| heads | batch | absorbed, us | expanded, us | pingti, us | TFLOP/s | TB/s | / best |")
    print("|---|---|---|---|---|---|---|---|")
    for heads in args.heads:
        for shape in args.shapes:
            batch, tokens = (int(x) for x in shape.split("x"))
            absorbed = absorbed_us(batch, tokens, heads)
            expanded = expanded_us(batch, tokens, heads)
            torch.cuda.empty_cache()
            line = subprocess.run([args.bench, "--csv", "--no-check", "--heads", str(heads), shape],
                                  check=True, capture_output=True, text=True).stdout
            _, ours, _, _, tflops, tbs, _ = line.strip().split(",")
            best = min(us for us in (absorbed, expanded) if us == us)
            print(f"| {heads} | {shape} | {absorbed:.1f} | {expanded:.1f} | **{float(ours):.1f}** "
                  f"| {tflops} | {tbs} | {best / float(ours):.2f} |", flush=True)


if __name__ == "__main__":
    main()
