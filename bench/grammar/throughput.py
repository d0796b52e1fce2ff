"""Question: what does decoding under a schema cost? Target: at least 0.95 of the tokens a second without.

    python bench/grammar/throughput.py http://127.0.0.1:8000 MODEL [--streams 16] [--tokens 200] [--rounds 5]

Baseline: the same prompts without a schema, in the same run, in turns. Every answer has the same number of tokens: the
schema's texts are longer than that, and the free ones ignore their end. Prints the median of the rounds' ratios. Needs
a running router and worker, and nothing but Python.
"""
import argparse
import concurrent.futures
import json
import statistics
import time
import urllib.request

SCHEMA = {"type": "array", "minItems": 2000, "items": {
    "type": "object", "additionalProperties": False, "required": ["name", "city", "age", "tags"],
    "properties": {"name": {"type": "string", "maxLength": 40}, "city": {"type": "string"},
                   "age": {"type": "integer", "minimum": 0, "maximum": 120},
                   "tags": {"type": "array", "items": {"enum": ["new", "paid", "sent"]}, "maxItems": 3}}}}


def complete(args, seed, constrained):
    body = {"model": args.model, "prompt": "A list of people:", "max_tokens": args.tokens, "seed": seed,
            "temperature": 1, "ignore_eos": True}
    if constrained:
        body["guided_json"] = SCHEMA
    request = urllib.request.Request(args.url + "/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["usage"]["completion_tokens"]


def tokens_per_second(args, pool, constrained):
    begin = time.monotonic()
    counts = list(pool.map(lambda seed: complete(args, seed, constrained), range(args.streams)))
    assert all(count == args.tokens for count in counts), counts
    return sum(counts) / (time.monotonic() - begin)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ratios = []
    with concurrent.futures.ThreadPoolExecutor(args.streams) as pool:
        for constrained in (False, True):  # warms up: prefix cache, grammar
            tokens_per_second(args, pool, constrained)
        for _ in range(args.rounds):
            free = tokens_per_second(args, pool, False)
            held = tokens_per_second(args, pool, True)
            ratios.append(held / free)
            print(f"free {free:8.1f} tok/s   schema {held:8.1f} tok/s   ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} over {args.rounds} rounds of {args.streams} x {args.tokens} tokens")


if __name__ == "__main__":
    main()
