"""Encodes the same texts with pingti and with Hugging Face tokenizers, one thread each.

    python bench/text/compare_tokenizers.py --bench build/release/bin/text_tokenizer_bench \
        --size 1000000 tokenizer.json [...]

Checks that the ids are equal, prints megabytes a second of processor time of both and the ratio, then how time grows
from a quarter of a megabyte to a whole one on adversarial texts (4.0 is linear). Exits 1 when ids
differ. Needs tokenizers (0.23.3 was used).
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402  (after the thread settings)

import sample_texts  # noqa: E402


def run(bench, tokenizer, text, ids=False):
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(text.encode("utf-8", errors="surrogatepass"))
        file.flush()
        out = subprocess.run([bench, tokenizer, file.name] + (["--ids"] if ids else []),
                             capture_output=True, text=True, check=True).stdout
    return [int(i) for i in out.split()] if ids else float(out.split()[0])


def compare(bench, path, size, seeds, baseline_rounds=2):
    tokenizer = Tokenizer.from_file(path)
    wrong = 0
    print(f"{path}\n{'text':>14} {'MB':>6} {'pingti MB/s':>12} {'tokenizers MB/s':>16} {'ratio':>7}  ids")
    for seed in range(seeds):
        for name, text in sample_texts.all_texts(size, seed + 1).items():
            megabytes = len(text.encode()) / 1e6
            best = 1e9
            for _ in range(baseline_rounds):
                begin = time.process_time()
                expected = tokenizer.encode(text, add_special_tokens=False).ids
                best = min(best, time.process_time() - begin)
            ours = run(bench, path, text, ids=True)
            seconds = run(bench, path, text)
            same = ours == expected
            wrong += not same
            print(f"{name:>14} {megabytes:6.2f} {megabytes / seconds:12.1f} {megabytes / best:16.2f} "
                  f"{best / seconds:7.1f}  {'equal' if same else 'DIFFERENT'}")
            if not same:
                at = next((i for i, (a, b) in enumerate(zip(ours, expected)) if a != b), min(len(ours), len(expected)))
                print("   first difference at", at, "ours", [tokenizer.id_to_token(i) for i in ours[at - 2:at + 5]],
                      "theirs", [tokenizer.id_to_token(i) for i in expected[at - 2:at + 5]])
    return wrong


def growth(bench, path, size):
    small, large = sample_texts.adversarial(size // 4), sample_texts.adversarial(size)
    for name in small:
        a, b = run(bench, path, small[name]), run(bench, path, large[name])
        print(f"{name:>14} {size / 4e6:.2f} MB {a * 1e3:8.2f} ms, {size / 1e6:.2f} MB {b * 1e3:8.2f} ms: {b / a:5.1f} times")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", required=True)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("tokenizers", nargs="+")
    args = parser.parse_args()
    wrong = 0
    for path in args.tokenizers:
        wrong += compare(args.bench, path, args.size, args.seeds)
        if not args.no_growth:
            growth(args.bench, path, args.size)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    main()
