#!/usr/bin/env python3
"""What transformers' generate(num_beams=4) answers for models as they are: SmolLM2-135M-Instruct, as
transformers reads the same GGUF file, and tiny random checkpoints of tests/golden/model/tiny, in float32.

Writes smollm2_beams.json, tiny_beams.txt and tiny_adjusted_beams.txt beside this file. Cases whose hypotheses are so close to each
other that rounding decides between them are left out.

    python make_model_beams.py /path/to/SmolLM2-135M-Instruct.Q4_1.gguf

Needs torch (CPU) and transformers with gguf and accelerate; made with torch 2.11.0, transformers 5.23.0.

tiny_beams.txt, one block a case:
  case CHECKPOINT num_beams num_return length_penalty early_stopping max_new num_stops stop... prompt_length prompt...
       (early_stopping: 0 false, 1 true, 2 "never"; the stops are beside the end token, 2)
  for each returned hypothesis: count token...

tiny_adjusted_beams.txt: searches whose scores logits processors adjust, and that end at texts. Token t has the
text letter_of(t). One block a case:
  case CHECKPOINT num_beams num_return max_new min_new repetition presence frequency
  num_biases (token bias)... num_stop_texts text... regex (- for none) prompt_length prompt...
  for each returned hypothesis: count token... then the logprob of each, which nothing has adjusted
"""
import json
import pathlib
import sys

import regex
import torch
from transformers import (AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessor,
                          LogitsProcessorList, StoppingCriteria, StoppingCriteriaList)

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


def letter_of(token):
    return "" if token < 3 else chr(ord("a") + token % 26)


def text_of(tokens):
    return "".join(map(letter_of, tokens))


class Penalties(LogitsProcessor):
    """OpenAI's presence and frequency penalty, which transformers has not; of the output alone, as there."""

    def __init__(self, prompt_length, presence, frequency):
        self.prompt_length, self.presence, self.frequency = prompt_length, presence, frequency

    def __call__(self, input_ids, scores):
        counts = torch.zeros_like(scores)
        output = input_ids[:, self.prompt_length:]
        counts.scatter_add_(1, output, torch.ones(output.shape))
        return scores - self.presence * (counts > 0) - self.frequency * counts


class EndsAtTexts(StoppingCriteria):
    """transformers' StopStringCriteria for texts of the output alone, without a tokenizer."""

    def __init__(self, prompt_length, texts):
        self.prompt_length, self.texts = prompt_length, texts

    def __call__(self, input_ids, scores, **kwargs):
        outputs = [text_of(row) for row in input_ids[:, self.prompt_length:].tolist()]
        return torch.tensor([any(output.endswith(text) for text in self.texts) for output in outputs])


def adjusted_search(model, prompt, case):
    def allowed(_, ids):
        text = text_of(ids[len(prompt):].tolist())
        tokens = [t for t in range(3, model.config.vocab_size)
                  if regex.fullmatch(case["regex"], text + letter_of(t), partial=True)]
        return tokens + [2] if regex.fullmatch(case["regex"], text) else tokens

    more = {}
    if case["biases"]:
        more["sequence_bias"] = [[[token], bias] for token, bias in case["biases"]]
    if case["min_new"]:
        more["min_new_tokens"] = case["min_new"]
    config = GenerationConfig(
        num_beams=case["beams"], num_return_sequences=case["beams"], do_sample=False, max_new_tokens=case["max_new"],
        repetition_penalty=case["repetition"], eos_token_id=2, pad_token_id=0, return_dict_in_generate=True,
        output_scores=True, **more)
    processors = [Penalties(len(prompt), case["presence"], case["frequency"])]
    with torch.no_grad():
        out = model.generate(
            torch.tensor([prompt]), generation_config=config, logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([EndsAtTexts(len(prompt), case["stops"])] if case["stops"] else []),
            prefix_allowed_tokens_fn=allowed if case["regex"] != "-" else None)
    outputs = []
    for row in out.sequences[:, len(prompt):].tolist():
        for end in range(1, len(row) + 1):
            if row[end - 1] == 2 or any(text_of(row[:end]).endswith(text) for text in case["stops"]):
                row = row[:end]
                break
        outputs.append(row)
    scores = out.sequences_scores
    return outputs, float((scores[:-1] - scores[1:]).min())


def logprobs_of(model, prompt, output):
    with torch.no_grad():
        logits = model(torch.tensor([prompt + output])).logits[0, len(prompt) - 1:-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(output)[:, None])[:, 0].tolist()


def adjusted_cases(greedy):
    end = (2, 3.0)
    plain = {"beams": 4, "max_new": 16, "min_new": 0, "repetition": 1.0, "presence": 0.0, "frequency": 0.0,
             "biases": [end], "stops": [], "regex": "-"}
    text = text_of(greedy)
    for change in (
            {"repetition": 1.3}, {"repetition": 0.8}, {"presence": 0.5, "frequency": 0.75}, {"frequency": -0.5},
            {"biases": [end, (greedy[0], -4.0), (greedy[5], 2.5)]},
            {"biases": [end, (greedy[1], 1.5)], "repetition": 1.2, "presence": -0.25, "frequency": 0.5},
            {"min_new": 6}, {"min_new": 6, "repetition": 1.3, "biases": [(2, 6.0)]},
            {"regex": "([a-m][n-z])+"}, {"regex": "([a-m]{2}[n-z]){2,4}", "repetition": 1.3},
            {"regex": "[a-f]+[t-z]+", "frequency": 0.5, "biases": [(2, 1.0)]},
            {"stops": [text[4:6]]}, {"stops": [text[2:3], text[6:9]], "frequency": 0.5},
            {"stops": [text[3:5]], "biases": [(2, 5.0)]},
            {"stops": [text[7]], "regex": "[b-x]+", "repetition": 1.1}):
        for beams in (2, 4):
            yield {**plain, **change, "beams": beams}


def make_adjusted():
    lines = []
    for name in ("llama3", "qwen3", "mistral_window"):
        model = AutoModelForCausalLM.from_pretrained(TINY / name, dtype=torch.float32).eval()
        prompt = json.loads((TINY / name / "expected.json").read_text())["prompt"]
        greedy = search(model, prompt, [2], 2, 24, 1.0, True)[0][0]
        for case in adjusted_cases(greedy):
            outputs, gap = adjusted_search(model, prompt, case)
            if gap < MIN_GAP:
                continue
            lines.append(" ".join(map(str, [
                "case", name, case["beams"], 2, case["max_new"], case["min_new"], case["repetition"],
                case["presence"], case["frequency"], len(case["biases"]), *sum(case["biases"], ()),
                len(case["stops"]), *case["stops"], case["regex"], len(prompt), *prompt])))
            for output in outputs[:2]:
                logprobs = [f"{value:.5f}" for value in logprobs_of(model, prompt, output)]
                lines.append(" ".join(map(str, [len(output), *output, *logprobs])))
    (HERE / "tiny_adjusted_beams.txt").write_text("\n".join(lines) + "\n")
    print(len(lines) // 3, "adjusted cases")


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
    adjusted = [adjusted_answer(model, tokenizer, ids, *fields) for fields in (
        (1.3, {}, []), (1.0, {}, [","]), (1.1, {str(tokenizer.encode(" city")[0]): 6.0}, [" of Fr", "!"]))]
    both = [",\n".join(json.dumps(case) for case in part) for part in (cases, adjusted)]
    (HERE / "smollm2_beams.json").write_text(
        '{"num_beams": 4, "cases": [\n%s\n], "adjusted": [\n%s\n]}\n' % tuple(both))


def adjusted_answer(model, tokenizer, ids, repetition, biases, stops):
    """What clients get: texts without what ended them, and the logprobs of the best answer's tokens."""
    config = GenerationConfig(
        num_beams=4, num_return_sequences=4, do_sample=False, max_new_tokens=12, repetition_penalty=repetition,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=0, return_dict_in_generate=True, output_scores=True,
        sequence_bias=[[[int(token)], bias] for token, bias in biases.items()] or None, stop_strings=stops or None)
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), generation_config=config, tokenizer=tokenizer)
    scores = out.sequences_scores
    assert (scores[:-1] - scores[1:]).min() >= MIN_GAP, (repetition, biases, stops)
    texts = []
    for row in out.sequences[:, len(ids):].tolist():
        text = tokenizer.decode(row, skip_special_tokens=True)
        texts.append(text[:min([text.index(stop) for stop in stops if stop in text], default=len(text))])
    best = []
    for token in out.sequences[0, len(ids):].tolist():
        best.append(token)
        if token == tokenizer.eos_token_id or any(stop in tokenizer.decode(best) for stop in stops):
            break  # what follows is padding
    return {"repetition_penalty": repetition, "logit_bias": biases, "stop": stops, "max_tokens": 12, "texts": texts,
            "logprobs": [round(value, 5) for value in logprobs_of(model, ids, best)]}


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
    make_adjusted()
