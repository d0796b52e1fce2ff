#!/usr/bin/env python3
"""Tiny random models with a multi-token-prediction module, with what the model says and what the module drafts.

The module is written from the equations of the DeepSeek-V3 report (2024), section 2.2, in float64; its layer is
transformers' layer of the model's family. Which states it reads is what vLLM gives it. Writes, a case, into a
directory under tiny/ what make_tiny_checkpoints.py writes, with the module's tensors among the model's, and
expected_mtp.json:

  prompt        token ids; the model has computed all of them
  next_token    what the model says behind the prompt
  tokens        all token ids
  logprobs      of those, for the token behind next_token
  drafts        the module's greedy chain behind next_token

    python make_mtp_modules.py      # after make_tiny_checkpoints.py

Needs torch (CPU), transformers, safetensors; made with torch 2.11.0, transformers 5.23.0.
"""
import json

import torch
from make_tiny_checkpoints import HERE, WIDE, find_seed, make_model, write
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen2Config

NUM_DRAFTS = 4
MIN_GAP = 0.3  # between the two highest logits of every draft, so that bf16 makes the same ones
NOISE = 2 ** -7  # of states, relative, with which the drafts are the same


def rms(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight.double()


def in_float64(model):
    model.config._experts_implementation = "eager"  # torch's grouped products have no float64
    return model.double()


class Module:
    reads_normed = False  # the model's states are those behind its last norm
    embedding_first = False
    one_layer = {}  # of the configuration of a model with such a layer alone

    def __init__(self, config, seed):
        """`config`: of the model."""
        one_layer = type(config)(**{**config.to_dict(), "num_hidden_layers": 1, "layer_types": None,
                                    **self.one_layer})
        self.block = in_float64(make_model(one_layer, seed)).model  # its norm is the module's last
        self.eps = config.rms_norm_eps
        g = torch.Generator().manual_seed(seed)
        hidden = config.hidden_size

        def rand(*shape, scale):
            return (torch.randn(*shape, generator=g) * scale).to(torch.bfloat16)

        self.embedding_norm = 1 + rand(hidden, scale=0.2)
        self.state_norm = 1 + rand(hidden, scale=0.2)
        self.projection = rand(hidden, 2 * hidden, scale=0.3)

    def forward(self, embedded, states):
        """What the next states and the last norm's outputs are at all positions; inputs [tokens, hidden]."""
        halves = [rms(states, self.state_norm, self.eps), rms(embedded, self.embedding_norm, self.eps)]
        x = torch.cat(halves[::-1] if self.embedding_first else halves, -1) @ self.projection.double().T
        before, normed = run(self.block, inputs_embeds=x[None])
        return self.next_states(before, normed), normed

    def tensors(self, num_layers):
        prefix, names = self.names(num_layers)
        named = dict(zip(names, [self.embedding_norm, self.state_norm, self.projection, self.block.norm.weight]))
        for name, value in self.block.layers[0].state_dict().items():
            # Experts are stacked here, and apart in a checkpoint.
            if name == "mlp.experts.gate_up_proj":
                for e, stacked in enumerate(value):
                    named[f"mlp.experts.{e}.gate_proj.weight"], named[f"mlp.experts.{e}.up_proj.weight"] = stacked.chunk(2)
            elif name == "mlp.experts.down_proj":
                named |= {f"mlp.experts.{e}.down_proj.weight": down for e, down in enumerate(value)}
            else:
                named[name] = value
        return {prefix + name: value.detach().to(torch.bfloat16).contiguous() for name, value in named.items()}


class MiMo(Module):
    @staticmethod
    def next_states(before, normed):
        return normed

    @staticmethod
    def names(num_layers):
        return "model.mtp_layers.0.", ("token_layernorm.weight", "hidden_layernorm.weight", "input_proj.weight",
                                       "final_layernorm.weight")


class DeepSeekV3(Module):
    reads_normed = True
    embedding_first = True
    one_layer = {"first_k_dense_replace": 0}

    @staticmethod
    def next_states(before, normed):
        return before

    @staticmethod
    def names(num_layers):
        return f"model.layers.{num_layers}.", ("enorm.weight", "hnorm.weight", "eh_proj.weight",
                                               "shared_head.norm.weight")


def run(model, **inputs):
    """What the last norm reads and what it makes of it, [tokens, hidden]."""
    seen = []
    hook = model.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    with torch.no_grad():
        normed = model(**inputs).last_hidden_state[0]
    hook.remove()
    return seen[0], normed


def expect(model, module, prompt, noise=0.0):
    before, normed = run(model.model, input_ids=torch.tensor([prompt]))
    table, head = model.get_input_embeddings().weight.detach(), model.lm_head.weight.detach()
    next_token = int((head @ normed[-1]).argmax())
    states = normed if module.reads_normed else before
    states = states * (1 + noise * torch.randn(states.shape, generator=torch.Generator().manual_seed(0)))
    tokens = prompt[1:] + [next_token]
    drafts, logprobs = [], None
    while len(drafts) < NUM_DRAFTS:
        made, read_by_head = module.forward(table[torch.tensor(tokens)], states)
        last = head @ read_by_head[-1]
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


def find_module(kind, model, prompt):
    model = in_float64(model)
    for seed in range(1000, 2000):
        module = kind(model.config, seed)
        expected = expect(model, module, prompt)
        if expected is None or len(set(expected["drafts"])) < 3:
            continue
        noisy = expect(model, module, prompt, NOISE)
        if noisy is not None and noisy["drafts"] == expected["drafts"]:
            print(kind.__name__, "seed", seed, expected["drafts"])
            return module, expected
    raise SystemExit("no seed without near ties")


def write_expected(name, expected):
    (HERE / name / "expected_mtp.json").write_text(json.dumps(expected) + "\n")


def make_mimo():
    def mimo(config):
        config["architectures"], config["model_type"] = ["MiMoForCausalLM"], "mimo"
        config["num_nextn_predict_layers"] = 1

    model, golden, _ = find_seed(Qwen2Config(**WIDE))
    module, expected = find_module(MiMo, model, golden["prompt"])
    write("mimo_d64", model, golden, module.tensors(model.config.num_hidden_layers), mimo)
    write_expected("mimo_d64", expected)


def add_to_deepseek(name):
    """make_tiny_checkpoints.py has made the model."""
    model = AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float64, attn_implementation="eager")
    prompt = json.loads((HERE / name / "expected.json").read_text())["prompt"]
    module, expected = find_module(DeepSeekV3, model, prompt)
    file = HERE / name / "model.safetensors"
    save_file({**load_file(file), **module.tensors(model.config.num_hidden_layers)}, file, metadata={"format": "pt"})
    write_expected(name, expected)


make_mimo()
add_to_deepseek("deepseek_v3_d576")
