"""Writes a tokenizer.json for each word pattern that pingti knows, for compare_tokenizers.py.

    python bench/text/make_family_tokenizers.py OUT_FOLDER [MODEL.gguf]

The vocabulary (8,000 tokens) is trained on made text without any pre-tokenizer, so that tokens reach across words,
digits and spaces and a wrong cut shows in the ids. With a GGUF file of a byte-level model also its own vocabulary
under the pattern it names. Needs tokenizers (0.23.3), and gguf for the latter.
"""
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests" / "golden" / "text")]
import make_tokenizer_cases as cases  # noqa: E402
import sample_texts  # noqa: E402


def from_gguf(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [merge.split(" ") for merge in fields["tokenizer.ggml.merges"].contents()]
    control = [cases.token(i, tokens[i]) for i, kind in enumerate(types) if kind == 3]
    return fields["tokenizer.ggml.pre"].contents(), {"vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}, control


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(3)
    text = "".join(kind(rng, 150_000) for kind in (sample_texts.english, sample_texts.mixed, sample_texts.code,
                                                   sample_texts.chinese))
    trained = cases.train_bytes(text, vocab_size=8000)
    own = from_gguf(sys.argv[2]) if len(sys.argv) > 2 else (None, None, None)
    for name, vocabulary, normalizer, pre_tokenizer, decoder, added in cases.configurations():
        if name not in cases.GGUF_FAMILIES:
            continue
        for label, model, tokens in ((name, trained, added), (f"{name}-own", own[1], own[2])):
            if model is None or (label != name and name != own[0]):
                continue
            config = cases.build(model, normalizer, pre_tokenizer, decoder, tokens, False, name == "llama-bpe")
            (out / f"{label}.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
            print(out / f"{label}.json")


if __name__ == "__main__":
    main()
