"""Writes tokenizer_cases.json: small vocabularies, tokenizer configurations, texts, and the ids and
the decoded text that Hugging Face tokenizers gives. Lists of ids and decoded texts stand once in
"lists"; each case names its own by number.

    python make_tokenizer_cases.py > tokenizer_cases.json      (tokenizers 0.23.3)

The vocabularies are trained here on made text without any pre-tokenizer, so that tokens reach across
words, digits and spaces and a wrong cut shows in the ids.
"""
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "bench" / "text"))
import sample_texts  # noqa: E402

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
            "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"]
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376-\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102"
    "\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183-\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2-\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943")
EASTERN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_LLM = [r"[\r\n]", rf"\s?[{CASED}]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$", EASTERN]
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EASTERN]
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|{SYMBOLS}"
GPT4O = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|"
         rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}|{SYMBOLS}")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GGUF_FAMILIES = ("smollm", "gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder", "deepseek-v3",
                 "falcon", "tekken", "gpt-4o", "qwen35", "command-r", "gpt-neox", "dbrx", "default")
# llama.cpp's, which no tokenizer.json has.
DEFAULT = [r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]
DIGITS = {"type": "Digits", "individual_digits": True}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def token(ident, content, **more):
    return {"id": ident, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True, **more}


def train_bytes(text, vocab_size=1400):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False, special_tokens=["<|end|>", "<|im_start|>"])
    tokenizer.train_from_iterator([text[i:i + 200] for i in range(0, len(text), 200)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": model["merges"]}


def train_characters(text):
    """A SentencePiece-like vocabulary: merges are all ways to make a piece, in order of its id."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False, limit_alphabet=250,
                                  special_tokens=["<unk>", "<s>", "</s>"])
    marked = text.replace(" ", "\u2581")
    tokenizer.train_from_iterator([marked[i:i + 200] for i in range(0, len(marked), 200)], trainer)
    old = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    names = [t for t, _ in old[:3]] + [f"<0x{b:02X}>" for b in range(256)] + [t for t, _ in old[3:]]
    vocab = {name: i for i, name in enumerate(names)}
    merges = []
    for name in names[259:]:
        for cut in range(1, len(name)):
            if name[:cut] in vocab and name[cut:] in vocab:
                merges.append([name[:cut], name[cut:]])
    return {"vocab": vocab, "merges": merges}


def configurations():
    byte_decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    added = [token(0, "<|end|>"), token(1, "<|im_start|>")]
    more = [token(1400, "<word>", single_word=True), token(1401, "<strip>", lstrip=True, rstrip=True),
            token(1402, "Na\u00efve", special=False, normalized=True), token(1403, "   ", special=False),
            token(1404, "<|im_start|>x", special=False)]
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    prefixed = {**gpt2, "add_prefix_space": True}
    yield "smollm", "bytes", None, sequence(DIGITS, gpt2), byte_decoder, added
    yield "gpt-2", "bytes", None, gpt2, byte_decoder, added
    yield "prefix_space", "bytes", None, prefixed, byte_decoder, added + more
    yield "llama-bpe", "bytes", None, sequence(split(LLAMA3), BYTES), byte_decoder, added
    yield "qwen2", "bytes", {"type": "NFC"}, sequence(split(QWEN2), BYTES), byte_decoder, added
    yield "deepseek-v3", "bytes", None, sequence(*[split(p) for p in DEEPSEEK], BYTES), byte_decoder, added
    yield "tekken", "bytes", None, sequence(split(TEKKEN), BYTES), byte_decoder, added
    yield "gpt-4o", "bytes", None, sequence(split(GPT4O), BYTES), byte_decoder, added
    yield "qwen35", "bytes", {"type": "NFC"}, sequence(split(QWEN35), BYTES), byte_decoder, added
    yield "command-r", "bytes", {"type": "NFC"}, sequence(DIGITS, gpt2), byte_decoder, added
    yield "gpt-neox", "bytes", {"type": "NFC"}, gpt2, byte_decoder, added
    yield "dbrx", "bytes", None, sequence(split(LLAMA3), BYTES), byte_decoder, added
    yield "default", "bytes", None, sequence(*[split(p) for p in DEFAULT], BYTES), byte_decoder, added
    yield "falcon", "bytes", None, sequence(
        {"type": "Punctuation", "behavior": "Contiguous"}, gpt2, {"type": "Digits", "individual_digits": False},
        split("[0-9][0-9][0-9]")), byte_decoder, added
    for family, patterns in (("deepseek-llm", DEEPSEEK_LLM), ("deepseek-coder", DEEPSEEK_CODER)):
        yield family, "bytes", None, sequence(*[split(p) for p in patterns], DIGITS, BYTES), byte_decoder, added
    yield "added", "bytes", {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}, \
        sequence(BYTES), byte_decoder, added + more
    yield "splits", "bytes", {"type": "Strip", "strip_left": True, "strip_right": True}, sequence(
        {"type": "Punctuation", "behavior": "MergedWithPrevious"}, {"type": "Digits", "individual_digits": False},
        split("e", "MergedWithNext", kind="String"), split(r"\w+", "Contiguous", True),
        split(r"\s+", "Removed"), BYTES), byte_decoder, added
    yield "nfd", "bytes", {"type": "Sequence", "normalizers": [
        {"type": "NFD"}, {"type": "Replace", "pattern": {"Regex": r"\d+"}, "content": "#"}]}, \
        sequence(split(r"\S+", "Isolated", True), BYTES), byte_decoder, added
    spiece = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    marks = [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")]
    prepend = {"type": "Prepend", "prepend": "\u2581"}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    yield "llama", "characters", {"type": "Sequence", "normalizers": [prepend, replace]}, None, spiece, marks
    for scheme, cut in (("always", True), ("first", False), ("never", True)):
        yield f"metaspace_{scheme}", "characters", None, {
            "type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}, spiece, marks


def build(vocabulary, normalizer, pre_tokenizer, decoder, added, characters, ignore_merges):
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>" if characters else None,
             "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": characters,
             "byte_fallback": characters, "ignore_merges": ignore_merges, **vocabulary}
    first = added[1] if characters else None
    post = None if not characters else {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": first["content"], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {first["content"]: {"id": first["content"], "ids": [first["id"]],
                                              "tokens": [first["content"]]}}}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post,
            "decoder": decoder, "model": model}


def texts(rng):
    fixed = ["", " ", "a", "Hello, world!", " leading", "trailing ", "  two  spaces  ", "tabs\t\tand\nnewlines\r\n\r\n x",
             "\n\n", " \n \n ", "I'll say it's HE'S they'RE 'tis", "12345678 1 22 333 4444", "3.14 -7e10 1,000",
             "\u0661\u0662\u0663\u0664 \u216b \u00b2\u00bd", "caf\u00e9 cafe\u0301 \u00c5\u212b", "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155 \u1112\u1161\u11ab",
             "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f44d\U0001f3fd", "a\u0300\u0301\u0323b", "\u00a0\u2003\u3000x\u2028y\u200bz\u180ew\x85v",
             "for(i=0;i<10;++i){ x[i]+=y; } // done", "def f(x):\n    return x ** 2\n\n\nclass A:\n\tpass\n", "<|im_start|>user\nhi<|end|>\n",
             "<|im_start|>x<|im_start", "x<word>y <word> _<word>", "a  <strip>  b<strip>", "Na\u00efve na\u00efve NAI\u0308VE nai\u0308ve", "a   b      c",
             "<s>hi</s> <unk> \u2581x", "\u2581\u2581a", "__init__ -- ... !!! ???\n!", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 3,
             " " * 100 + "x", "\u00df\u1e9e\u0130I\u0131", "\u0958\ufb01\uff21", "ab\x00c\x01\x7f", "'''\"\"\"```", "\u0915\u094d\u0937\u093f \u0e33 \u05d0\u05b8"]
    return fixed + [sample_texts.mixed(rng, 60) for _ in range(26)] + [sample_texts.english(rng, 120) for _ in range(3)]


def main():
    rng = random.Random(7)
    corpus = sample_texts.english(rng, 20000) + sample_texts.mixed(rng, 20000) + sample_texts.code(rng, 30000) + "\u4f60\u597d\uff0c\u4e16\u754c" * 50
    vocabularies = {"bytes": train_bytes(corpus), "characters": train_characters(corpus)}
    inputs = texts(rng)
    # Without SentencePiece's byte tokens: of a run of them that is not UTF-8 Hugging Face makes one
    # U+FFFD each, which a stream cannot know in time.
    random_ids = [[rng.choice([1, rng.randrange(259, 900)]) for _ in range(12)] for _ in range(40)]
    lists, tokenizers_out = {}, []

    def number(values):
        return lists.setdefault(json.dumps(values), len(lists))

    for name, vocabulary, normalizer, pre_tokenizer, decoder, added in configurations():
        tokenizer_json = build(vocabularies[vocabulary], normalizer, pre_tokenizer, decoder, added,
                               vocabulary == "characters", name in ("llama-bpe", "tekken"))
        tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json))
        tokenizer_json["model"].update(vocab=vocabulary, merges=vocabulary)
        tokenizers_out.append({
            "name": name, "config": tokenizer_json,
            "ids": [number(tokenizer.encode(text, add_special_tokens=False).ids) for text in inputs],
            "with_special": tokenizer.encode("a b", add_special_tokens=True).ids,
            "decoded": number([tokenizer.decode(ids, skip_special_tokens=True) for ids in random_ids])})
    for vocabulary in vocabularies.values():
        ids = vocabulary["vocab"]
        vocabulary["vocab"] = sorted(ids, key=ids.get)
        vocabulary["merges"] = [" ".join(merge) for merge in vocabulary["merges"]]
    json.dump({"vocabularies": vocabularies, "texts": inputs, "random_ids": random_ids,
               "lists": [json.loads(text) for text in lists], "tokenizers": tokenizers_out},
              sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
