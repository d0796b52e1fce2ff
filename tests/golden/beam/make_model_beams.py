#!/usr/bin/env python3
"""What transformers' generate(num_beams=4) answers for models as they are: SmolLM2-135M-Instruct, as
transformers reads the same GGUF file, and tiny random checkpoints of tests/golden/model/tiny, in float32.

Writes smollm2_beams.json and tiny_beams.txt beside this file. Cases whose hypotheses are so close to each
other that rounding decides between them are left out.

    python make_model_beams.py /path/to/SmolLM2-135M-Instruct.Q4_1.gguf

Needs torch (CPU) and transformers with gguf and accelerate; made with torch 2.11.0, transformers 5.23.0.

tiny_beams.txt, one block a case:
  case CHECKPOINT num_beams num_return length_penalty early_stopping max_new num_stops stop... prompt_length prompt...
       (early_stopping: 0 false, 1 true, 2 "never"; the stops are beside the end token, 2)
  for each returned hypothesis: count token...
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

HERE = pathlib.Path(__file__).resolve().parent
TINY = HERE.parent / "model" / "tiny"
EARLY = [False, True, "never"]
PENALTIES = [0.5, 1.0, 2.0]
MIN_GAP = 1e-3  # between the scores of two hypotheses


def search(model, ids, ends, num_beams, max_new, penalty, early):
    """All hypotheses, best first, and the least gap between the scores of two."""
    config = GenerationConfig(
        num_beams=num_beams, num_return_sequences=num_beams, length_penalty=penalty, early_stopping=early,
        do_sample=False, max_new_tokens=max_new, eos_token_id=ends, pad_token_id=0,
        return_dict_in_generate=True, output_scores=True)
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), generation_config=config)
    outputs = []
    for row in out.sequences[:, len(ids):].tolist():
        end = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        outputs.append(row[:end])
    scores = out.sequences_scores
    return outputs, float((scores[:-1] - scores[1:]).min())


def make_real(path):
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    cases = []
    prompt = "What is the capital of France?"
    ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                        return_dict=True)["input_ids"]
    # The tiny checkpoints have every penalty with every way of stopping; here each has its turn.
    for penalty, early in zip(PENALTIES, EARLY):
        outputs, gap = search(model, ids, [tokenizer.eos_token_id], 4, 12, penalty, early)
        assert gap >= MIN_GAP, (penalty, early, gap)
        cases.append({"prompt": prompt, "length_penalty": penalty, "early_stopping": early, "max_tokens": 12,
                      "texts": [tokenizer.decode(o, skip_special_tokens=True) for o in outputs],
                      "tokens": sum(map(len, outputs))})
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "smollm2_beams.json").write_text('{"num_beams": 4, "cases": [\n%s\n]}\n' % lines)


def make_tiny():
    lines = []
    for name in ("llama3", "qwen3", "mistral_window"):
        model = AutoModelForCausalLM.from_pretrained(TINY / name, dtype=torch.float32).eval()
        prompt = json.loads((TINY / name / "expected.json").read_text())["prompt"]
        greedy = search(model, prompt, [2], 2, 24, 1.0, True)[0][0]
        for penalty in PENALTIES:
            for early in EARLY:
                # A token that random models come to, so that some hypotheses end.
                for stops in ([greedy[5]], sorted({greedy[3], greedy[9]})):
                    outputs, gap = search(model, prompt, [2, *stops], 4, 16, penalty, early)
                    if gap < MIN_GAP:
                        continue
                    lines.append(" ".join(map(str, ["case", name, 4, 3, penalty, EARLY.index(early), 16, len(stops),
                                                    *stops, len(prompt), *prompt])))
                    lines += [" ".join(map(str, [len(o), *o])) for o in outputs[:3]]
    (HERE / "tiny_beams.txt").write_text("\n".join(lines) + "\n")
    print(len(lines) // 4, "cases")


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_real(pathlib.Path(sys.argv[1]))
    make_tiny()
