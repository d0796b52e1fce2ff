"""Encodes the same texts with pingti and with Hugging Face tokenizers (or tiktoken), one thread each.

    python bench/text/compare_tokenizers.py --bench build/release/bin/text_tokenizer_bench --size 1000000 \
        tokenizer.json [qwen.tiktoken ...]

Checks that the ids are equal, prints megabytes a second of processor time of both, the ratio, and how many prompts of
100,000 tokens pingti encodes a second; then how time grows from a quarter of a megabyte to a whole one on adversarial
texts (4.0 is linear). A file named like a word pattern of GGUF files (see make_family_tokenizers.py) is also read as the
keys of such a file, and must give the same ids. Exits 1 when ids differ. Needs tokenizers (0.23.3 was used) and, for
*.tiktoken, tiktoken (0.14.0).
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402  (after the thread settings)

import sample_texts  # noqa: E402

FAMILIES = ("smollm", "gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder", "deepseek-v3")
QWEN2_WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")


class HuggingFace:
    name = "tokenizers"

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(path)

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def spell(self, ids):
        return [self.tokenizer.id_to_token(i) for i in ids]


class Tiktoken:
    """As tokenization_qwen.py sets it up."""
    name = "tiktoken"

    def __init__(self, path):
        import tiktoken
        from tiktoken.load import load_tiktoken_bpe
        ranks = load_tiktoken_bpe(path)
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
        self.encoding = tiktoken.Encoding("Qwen", pat_str=QWEN2_WORDS, mergeable_ranks=ranks, special_tokens={
            token: len(ranks) + i for i, token in enumerate(special)})

    def encode(self, text):
        return self.encoding.encode(unicodedata.normalize("NFC", text), allowed_special="all", disallowed_special=())

    def spell(self, ids):
        return [self.encoding.decode_bytes([i]) for i in ids]


def run(bench, tokenizer, text, *options):
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(text.encode("utf-8", errors="surrogatepass"))
        file.flush()
        out = subprocess.run([bench, tokenizer, file.name, *options], capture_output=True, text=True, check=True).stdout
    return [int(i) for i in out.split()] if "--ids" in options else (float(out.split()[0]), int(out.split()[2]))


def time_baseline(baseline, text, rounds=2):
    best = 1e9
    for _ in range(rounds):
        begin = time.process_time()
        ids = baseline.encode(text)
        best = min(best, time.process_time() - begin)
    return ids, best


def compare(bench, path, size, seeds):
    baseline = Tiktoken(path) if path.endswith(".tiktoken") else HuggingFace(path)
    family = pathlib.Path(path).stem
    wrong = 0
    print(f"{path}\n{'text':>14} {'MB':>6} {'pingti MB/s':>12} {baseline.name + ' MB/s':>16} {'ratio':>7} "
          f"{'100k-token prompts/s':>21}  ids")
    for seed in range(seeds):
        for name, text in sample_texts.all_texts(size, seed + 1).items():
            megabytes = len(text.encode()) / 1e6
            expected, best = time_baseline(baseline, text)
            seconds, tokens = run(bench, path, text)
            readings = {"": run(bench, path, text, "--ids")}
            if family in FAMILIES:
                readings[" as GGUF"] = run(bench, path, text, "--ids", "--family", family)
            verdicts = [("equal" if ours == expected else "DIFFERENT") + how for how, ours in readings.items()]
            wrong += sum(ours != expected for ours in readings.values())
            print(f"{name:>14} {megabytes:6.2f} {megabytes / seconds:12.1f} {megabytes / best:16.2f} "
                  f"{best / seconds:7.1f} {tokens / seconds / 1e5:21.1f}  {', '.join(verdicts)}")
            for ours in readings.values():
                if ours != expected:
                    at = next((i for i, (a, b) in enumerate(zip(ours, expected)) if a != b), min(len(ours), len(expected)))
                    print("   first difference at", at, "ours", baseline.spell(ours[at - 2:at + 5]),
                          "theirs", baseline.spell(expected[at - 2:at + 5]))
    return wrong


def growth(bench, path, size):
    small, large = sample_texts.adversarial(size // 4), sample_texts.adversarial(size)
    for name in small:
        (a, _), (b, _) = run(bench, path, small[name]), run(bench, path, large[name])
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
