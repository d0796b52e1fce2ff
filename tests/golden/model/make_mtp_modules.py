#!/usr/bin/env python3
"""Tiny random models with a multi-token-prediction module, with what the model says and what the module drafts.

The module is written from the equations of the DeepSeek-V3 report (2024), section 2.2, in float64; its layer is
transformers' layer of the model's family. Writes one directory a case under tiny/: what make_tiny_checkpoints.py
writes, the module's tensors among the model's, and expected_mtp.json:

  prompt        token ids; the model has computed all of them
  next_token    what the model says behind the prompt
  tokens        all token ids
  logprobs      of those, for the token behind next_token
  drafts        the module's greedy chain behind next_token

    python make_mtp_modules.py

Needs torch (CPU), transformers, safetensors; made with torch 2.11.0, transformers 5.23.0.
"""
import json

import torch
from make_tiny_checkpoints import HERE, WIDE, find_seed, make_model, write
from transformers import Qwen2Config

NUM_DRAFTS = 4
MIN_GAP = 0.3  # between the two highest logits of every draft, so that bf16 makes the same ones
PREFIX = "model.mtp_layers.0."  # of MiMo


def rms(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight.double()


class Module:
    def __init__(self, config, seed):
        """`config`: of the model."""
        one_layer = type(config)(**{**config.to_dict(), "num_hidden_layers": 1, "layer_types": None})
        self.block = make_model(one_layer, seed).double().model  # its norm is the module's last
        self.eps = config.rms_norm_eps
        g = torch.Generator().manual_seed(seed)
        hidden = config.hidden_size

        def rand(*shape, scale):
            return (torch.randn(*shape, generator=g) * scale).to(torch.bfloat16)

        self.embedding_norm = 1 + rand(hidden, scale=0.2)
        self.state_norm = 1 + rand(hidden, scale=0.2)
        self.projection = rand(hidden, 2 * hidden, scale=0.3)

    def forward(self, embedded, states):
        """The states behind the last norm at all positions; both inputs [tokens, hidden]."""
        halves = [rms(states, self.state_norm, self.eps), rms(embedded, self.embedding_norm, self.eps)]
        x = torch.cat(halves, -1) @ self.projection.double().T
        with torch.no_grad():
            return self.block(inputs_embeds=x[None]).last_hidden_state[0]

    def tensors(self):
        named = {"token_layernorm.weight": self.embedding_norm, "hidden_layernorm.weight": self.state_norm,
                 "input_proj.weight": self.projection, "final_layernorm.weight": self.block.norm.weight}
        for name, value in self.block.layers[0].named_parameters():
            named[name] = value
        return {PREFIX + name: value.detach().to(torch.bfloat16).contiguous() for name, value in named.items()}


def model_states(model, prompt):
    """What the model's last norm reads, and the likeliest token behind the prompt."""
    seen = []
    hook = model.model.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits
    hook.remove()
    return seen[0], int(logits[0, -1].argmax())


def expect(model, module, prompt):
    states, next_token = model_states(model, prompt)
    table, head = model.get_input_embeddings().weight.detach(), model.lm_head.weight.detach()
    tokens = prompt[1:] + [next_token]
    drafts, logprobs = [], None
    while len(drafts) < NUM_DRAFTS:
        made = module.forward(table[torch.tensor(tokens)], states)
        last = head @ made[-1]
        if logprobs is None:
            logprobs = last.log_softmax(-1)
        best = last.topk(2)
        if best.values[0] - best.values[1] < MIN_GAP:
            return None
        drafts.append(int(best.indices[0]))
        tokens.append(drafts[-1])
        states = torch.cat([states, made[-1:]])
    return {"prompt": prompt, "next_token": next_token, "tokens": list(range(len(head))),
            "logprobs": [round(float(x), 6) for x in logprobs], "drafts": drafts}


def mimo(config):
    config["architectures"], config["model_type"] = ["MiMoForCausalLM"], "mimo"
    config["num_nextn_predict_layers"] = 1


def main():
    model, golden, _ = find_seed(Qwen2Config(**WIDE))
    for seed in range(1000, 6000):
        module = Module(model.config, seed)
        expected = expect(model.double(), module, golden["prompt"])
        if expected is not None and len(set(expected["drafts"])) > 2:
            break
    else:
        raise SystemExit("no seed without near ties")
    write("mimo_d64", model, golden, module.tensors(), mimo)
    (HERE / "mimo_d64" / "expected_mtp.json").write_text(json.dumps(expected) + "\n")
    print("mimo_d64 seed", seed, expected["drafts"])


main()
