"""Prefill attention: pingti's paged kernel beside FlashAttention-2 and cuDNN, in one run on one card.

    python3 bench/kernels/attention/prefill_compare.py build/kernels/bench/attention/bench_prefill

Baselines are PyTorch's scaled_dot_product_attention with the FLASH_ATTENTION and CUDNN_ATTENTION backends
over contiguous [batch, heads, tokens, head_dim] tensors (no pages: an advantage for them). Each shape is
timed baseline, pingti, baseline, so that a clock that drifts shows. TFLOP/s counts visible pairs only.
"""
import argparse
import subprocess

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

CONFIGS = [  # heads, kv_heads, head_dim, causal
    (64, 8, 128, True),
    (64, 64, 128, True),
    (64, 8, 128, False),
    (64, 8, 64, True),
]


def median_us(launch, samples=50, target_us=10000.0):
    """Half a second of launches, as bench_prefill does: what the card sustains within its power limit."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    launch()
    torch.cuda.synchronize()
    start.record()
    launch()
    end.record()
    torch.cuda.synchronize()
    repeats = max(1, int(target_us / (start.elapsed_time(end) * 1000)))
    times = []
    for _ in range(samples):
        start.record()
        for _ in range(repeats):
            launch()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1000 / repeats)
    return sorted(times)[len(times) // 2]


def torch_us(backend, batch, tokens, heads, kv_heads, head_dim, causal):
    def tensor(num_heads):
        shape = (batch, num_heads, tokens, head_dim)
        return torch.randn(shape, device="cuda", dtype=torch.bfloat16)

    q, k, v = tensor(heads), tensor(kv_heads), tensor(kv_heads)
    try:
        with sdpa_kernel(backend):
            return median_us(lambda: torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=causal, enable_gqa=heads != kv_heads))
    except RuntimeError as error:
        print(f"  {backend.name}: {str(error).splitlines()[0]}")
        return float("nan")


def pingti_us(bench, tokens, heads, kv_heads, head_dim, causal, page):
    command = [bench, "--csv", "--head-dim", str(head_dim), "--heads", str(heads),
               "--kv-heads", str(kv_heads), "--page", str(page), str(tokens)]
    if not causal:
        command.insert(2, "--full")
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(line.strip().split(",")[7])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096, 8192, 16384])
    parser.add_argument("--page", type=int, default=128)
    parser.add_argument("--configs", type=int, default=len(CONFIGS), help="run the first N")
    args = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, page {args.page}, "
          "16,384 tokens a batch, TFLOP/s")
    print("| heads | hd | mask | tokens | FA2 | cuDNN (again) | pingti | / FA2 | / cuDNN |")
    print("|---|---|---|---|---|---|---|---|---|")
    for heads, kv_heads, head_dim, causal in CONFIGS[:args.configs]:
        for tokens in args.tokens:
            batch = max(16384 // tokens, 1)
            pairs = batch * tokens * ((tokens + 1) / 2 if causal else tokens)
            flop = 4 * head_dim * heads * pairs
            shape = (batch, tokens, heads, kv_heads, head_dim, causal)
            fa2 = torch_us(SDPBackend.FLASH_ATTENTION, *shape)
            cudnn = torch_us(SDPBackend.CUDNN_ATTENTION, *shape)
            ours = pingti_us(args.bench, tokens, heads, kv_heads, head_dim, causal, args.page)
            again = torch_us(SDPBackend.CUDNN_ATTENTION, *shape)
            rate = [flop / us * 1e-6 for us in (fa2, cudnn, again, ours)]
            print(f"| {heads}/{kv_heads} | {head_dim} | {'causal' if causal else 'full'} | {tokens} "
                  f"| {rate[0]:.0f} | {rate[1]:.0f} ({rate[2]:.0f}) | **{rate[3]:.0f}** "
                  f"| {fa2 / ours:.2f} | {min(cudnn, again) / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
