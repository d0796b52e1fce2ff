"""gpt-oss's tokenizer: o200k_base's tokens, from OpenAI's own file of ranks, and Harmony's control
tokens.

    python tests/testing/harmony_tokenizer.py OUT_FILE

writes Hugging Face's tokenizer.json. The file of ranks travels inside the Python package litellm
(in tests/requirements.txt), as tiktoken caches it. The pattern and the numbers of the control
tokens are openai-harmony's (0.0.8); every way to cut a token into two others is a merge, in the
order of the token's rank.
"""

import base64
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import sys

# tiktoken names a cached file by the SHA-1 of its address.
CACHED_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
VOCAB_SIZE = 201_088  # of the models; the last 1,069 ids are no tokens
FIRST_CONTROL, LAST_CONTROL = 199_998, 200_018
CONTROL = {
    199_998: "<|startoftext|>",
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
    200_018: "<|endofprompt|>",
}

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERN = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def find_ranks():
    """The file of o200k_base's ranks; None where the package does not carry it."""
    spec = importlib.util.find_spec("litellm")
    if spec is None:
        return None
    folder = pathlib.Path(spec.origin).parent
    for path in folder.rglob(CACHED_NAME):
        if hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
            return path
    return None


def read_ranks(path):
    """{bytes of a token: its rank}."""
    pairs = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def control_tokens():
    """{id: spelling} of those that a checkpoint names."""
    ids = range(FIRST_CONTROL, LAST_CONTROL + 1)
    return {i: CONTROL.get(i, f"<|reserved_{i}|>") for i in ids}


def byte_letters():
    """The letter that stands for each byte in vocabularies of GPT-2's kind."""
    own = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("\u00a1"), ord("\u00ac") + 1),
        *range(ord("\u00ae"), ord("\u00ff") + 1),
    ]
    others = [b for b in range(256) if b not in own]
    letters = {b: chr(b) for b in own} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [letters[b] for b in range(256)]


def tokenizer_json(ranks):
    letters = byte_letters()
    spelled = {token: "".join(letters[b] for b in token) for token in ranks}
    merges = []
    for token in sorted(ranks, key=ranks.get):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [(left, right) for left, right in cuts if left in ranks and right in ranks]
        known.sort(key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))
        merges += [[spelled[left], spelled[right]] for left, right in known]
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text, **flags} for i, text in control_tokens().items()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": PATTERN},
                    "behavior": "Isolated",
                    "invert": False,
                },
                byte_level,
            ],
        },
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {spelled[t]: r for t, r in ranks.items()},
            "merges": merges,
        },
    }


def tokenizer_bytes(path):
    return json.dumps(tokenizer_json(read_ranks(path)), ensure_ascii=False).encode()


def openai_encoding(path, folder):
    """openai-harmony's encoding, which reads the ranks from `folder`, where they are put."""
    import openai_harmony

    shutil.copy(path, folder / "o200k_base.tiktoken")
    before = os.environ.get("TIKTOKEN_ENCODINGS_BASE")
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(folder)
    try:
        name = openai_harmony.HarmonyEncodingName.HARMONY_GPT_OSS
        return openai_harmony.load_harmony_encoding(name)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_ENCODINGS_BASE"]
        else:
            os.environ["TIKTOKEN_ENCODINGS_BASE"] = before


def main():
    path = find_ranks()
    if path is None:
        sys.exit(
            f"no installed package carries o200k_base's ranks (litellm does, as {CACHED_NAME})"
        )
    pathlib.Path(sys.argv[1]).write_bytes(tokenizer_bytes(path))


if __name__ == "__main__":
    main()
