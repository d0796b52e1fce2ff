#!/usr/bin/env python3
"""Tiny random GGUF files of families with a mixture of experts, as make_tiny_gguf.py makes the others.

The weights are those of make_tiny_checkpoints.py's models of the same family, rounded to the file's types;
transformers (float32) computes with the rounded ones. Names and orders are llama.cpp's: experts of a layer in
one tensor of three dimensions, rows of Mixtral's q and k as RoPE of adjacent pairs needs them.

    python make_tiny_moe_gguf.py [CASE...]      # all of them if none is named

Needs torch (CPU), transformers, gguf; made with torch 2.11.0, transformers 5.23.0, gguf 0.19.0.
"""
import json
import shutil
import sys

import numpy as np
import torch
from gguf import ExpertGatingFuncType, GGMLQuantizationType as T, GGUFWriter, RopeScalingType
from gguf.quants import dequantize, quantize
from make_tiny_checkpoints import CASES as MODELS, HERE, MIN_GAP
from make_tiny_checkpoints import expected, make_model, router_gap

# Model, architecture of the file, type of all experts, of other matrices.
CASES = {
    "gguf_qwen3_moe": ("qwen3_moe", "qwen3moe", T.Q8_0, T.BF16),
    "gguf_qwen2_moe": ("qwen2_moe_d64", "qwen2moe", T.Q4_0, T.Q8_0),
    "gguf_mixtral": ("mixtral_d64", "llama", T.BF16, T.BF16),
    "gguf_gpt_oss": ("gpt_oss", "gpt-oss", T.MXFP4, T.BF16),
    "gguf_deepseek_v2_lite": ("deepseek_v2_lite", "deepseek2", T.BF16, T.BF16),
    "gguf_deepseek_v3_d576": ("deepseek_v3_d576", "deepseek2", T.Q4_0, T.Q8_0),
}


class Writer:
    def __init__(self, path, architecture, config):
        self.w = w = GGUFWriter(path, architecture)
        w.add_name("tiny " + architecture)
        w.add_block_count(config.num_hidden_layers)
        w.add_context_length(config.max_position_embeddings)
        w.add_embedding_length(config.hidden_size)
        w.add_feed_forward_length(config.intermediate_size)
        w.add_head_count(config.num_attention_heads)
        w.add_head_count_kv(config.num_key_value_heads)
        if architecture == "deepseek2":
            self.latent_attention(config)
        else:
            head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            w.add_key_length(head_dim)
            w.add_value_length(head_dim)
            w.add_rope_dimension_count(head_dim)
        if architecture == "gpt-oss":
            rope = config.rope_parameters
            w.add_rope_scaling_type(RopeScalingType.YARN)
            w.add_rope_scaling_factor(rope["factor"])
            w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
            w.add_sliding_window(config.sliding_window)
            w.add_expert_feed_forward_length(config.intermediate_size)
        w.add_layer_norm_rms_eps(config.rms_norm_eps)
        w.add_rope_freq_base(config.rope_parameters["rope_theta"])
        w.add_expert_count(getattr(config, "num_experts", None) or config.num_local_experts)
        w.add_expert_used_count(config.num_experts_per_tok)
        w.add_tokenizer_model("gpt2")
        w.add_token_list([f"t{i}" for i in range(config.vocab_size)])
        w.add_token_types([1] * config.vocab_size)
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)

    def latent_attention(self, config):
        w, rope = self.w, config.rope_parameters
        query = config.qk_nope_head_dim + config.qk_rope_head_dim
        if config.q_lora_rank:  # as files are since heads' matrices are split
            w.add_q_lora_rank(config.q_lora_rank)
            w.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
            w.add_value_length(config.kv_lora_rank)
            w.add_key_length_mla(query)
            w.add_value_length_mla(config.v_head_dim)
        else:
            w.add_key_length(query)
            w.add_value_length(config.v_head_dim)
        w.add_kv_lora_rank(config.kv_lora_rank)
        w.add_rope_dimension_count(config.qk_rope_head_dim)
        w.add_rope_scaling_type(RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
        w.add_leading_dense_block_count(config.first_k_dense_replace)
        w.add_expert_shared_count(config.n_shared_experts)
        w.add_expert_feed_forward_length(config.moe_intermediate_size)
        w.add_expert_weights_scale(config.routed_scaling_factor)
        if config.model_type == "deepseek_v3":
            w.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)
            w.add_expert_weights_norm(config.norm_topk_prob)
            w.add_expert_group_count(config.n_group)
            w.add_expert_group_used_count(config.topk_group)

    def matrix(self, name, weight, kind, order=lambda rows: rows):
        """Rounds the weight to the type, in the model too; to BF16 where rows do not fill its blocks."""
        kind = T.BF16 if weight.shape[-1] % 32 else kind
        data = quantize(order(weight.detach().numpy()), kind)
        self.w.add_tensor(name + ".weight", data, raw_dtype=kind)
        rounded = quantize(weight.detach().numpy(), kind)
        weight.data.copy_(torch.from_numpy(dequantize(rounded, kind)).reshape(weight.shape))

    def vector(self, name, values):
        self.w.add_tensor(name, values.detach().numpy().astype(np.float32))

    def close(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def adjacent_pairs(heads):
    def order(rows):
        return rows.reshape(heads, 2, len(rows) // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)
    return order


def write_latent_attention(out, blk, attention, config, kind):
    if config.q_lora_rank:
        out.matrix(f"{blk}.attn_q_a", attention.q_a_proj.weight, kind)
        out.vector(f"{blk}.attn_q_a_norm.weight", attention.q_a_layernorm.weight)
        out.matrix(f"{blk}.attn_q_b", attention.q_b_proj.weight, kind)
    else:
        out.matrix(f"{blk}.attn_q", attention.q_proj.weight, kind)
    out.matrix(f"{blk}.attn_kv_a_mqa", attention.kv_a_proj_with_mqa.weight, kind)
    out.vector(f"{blk}.attn_kv_a_norm.weight", attention.kv_a_layernorm.weight)
    out.matrix(f"{blk}.attn_output", attention.o_proj.weight, kind)
    heads = attention.kv_b_proj.weight.data.unflatten(0, (config.num_attention_heads, -1))
    if not config.q_lora_rank:
        return out.matrix(f"{blk}.attn_kv_b", attention.kv_b_proj.weight, kind)
    # A head's keys transposed.
    keys = heads[:, :config.qk_nope_head_dim].transpose(1, 2).contiguous()
    out.matrix(f"{blk}.attn_k_b", keys, kind)
    heads[:, :config.qk_nope_head_dim] = keys.transpose(1, 2)
    out.matrix(f"{blk}.attn_v_b", heads[:, config.qk_nope_head_dim:], kind)


def write_attention(out, blk, attention, config, architecture, kind):
    for name, heads in (("q", config.num_attention_heads), ("k", config.num_key_value_heads), ("v", 0)):
        module = getattr(attention, name + "_proj")
        order = adjacent_pairs(heads) if architecture == "llama" and heads else (lambda rows: rows)
        out.matrix(f"{blk}.attn_{name}", module.weight, kind, order)
        if module.bias is not None:
            out.vector(f"{blk}.attn_{name}.bias", module.bias)
    out.matrix(f"{blk}.attn_output", attention.o_proj.weight, kind)
    if attention.o_proj.bias is not None:
        out.vector(f"{blk}.attn_output.bias", attention.o_proj.bias)
    if hasattr(attention, "sinks"):
        out.vector(f"{blk}.attn_sinks.weight", attention.sinks)
    for name in ("q_norm", "k_norm"):
        if hasattr(attention, name):
            out.vector(f"{blk}.attn_{name}.weight", getattr(attention, name).weight)


def write_gpt_oss_experts(out, blk, mlp, experts_type):
    """Each expert's rows of gate and up take turns in the model."""
    experts = mlp.experts
    out.vector(f"{blk}.ffn_gate_inp.weight", mlp.router.weight)
    out.vector(f"{blk}.ffn_gate_inp.bias", mlp.router.bias)
    for first, name in enumerate(("gate", "up")):
        out.matrix(f"{blk}.ffn_{name}_exps", experts.gate_up_proj.data.transpose(1, 2)[:, first::2], experts_type)
        out.vector(f"{blk}.ffn_{name}_exps.bias", experts.gate_up_proj_bias[:, first::2])
    out.matrix(f"{blk}.ffn_down_exps", experts.down_proj.data.transpose(1, 2), experts_type)
    out.vector(f"{blk}.ffn_down_exps.bias", experts.down_proj_bias)


def write_layer(out, blk, layer, config, architecture, experts_type, kind):
    attention, mlp = layer.self_attn, layer.mlp
    if architecture == "deepseek2":
        write_latent_attention(out, blk, attention, config, kind)
    else:
        write_attention(out, blk, attention, config, architecture, kind)
    out.vector(f"{blk}.attn_norm.weight", layer.input_layernorm.weight)
    norm = "post_attention_norm" if architecture == "gpt-oss" else "ffn_norm"
    out.vector(f"{blk}.{norm}.weight", layer.post_attention_layernorm.weight)
    if architecture == "gpt-oss":
        return write_gpt_oss_experts(out, blk, mlp, experts_type)
    if not hasattr(mlp, "experts"):
        for name in ("gate", "up", "down"):
            out.matrix(f"{blk}.ffn_{name}", getattr(mlp, name + "_proj").weight, kind)
        return
    out.vector(f"{blk}.ffn_gate_inp.weight", mlp.gate.weight)
    inner = mlp.experts.gate_up_proj.shape[1] // 2
    out.matrix(f"{blk}.ffn_gate_exps", mlp.experts.gate_up_proj.data[:, :inner], experts_type)
    out.matrix(f"{blk}.ffn_up_exps", mlp.experts.gate_up_proj.data[:, inner:], experts_type)
    out.matrix(f"{blk}.ffn_down_exps", mlp.experts.down_proj.data, experts_type)
    if hasattr(mlp, "shared_expert"):
        for name in ("gate", "up", "down"):
            out.matrix(f"{blk}.ffn_{name}_shexp", getattr(mlp.shared_expert, name + "_proj").weight, kind)
        out.vector(f"{blk}.ffn_gate_inp_shexp.weight", mlp.shared_expert_gate.weight[0])
    if hasattr(mlp, "shared_experts"):
        for name in ("gate", "up", "down"):
            out.matrix(f"{blk}.ffn_{name}_shexp", getattr(mlp.shared_experts, name + "_proj").weight, kind)
    if hasattr(mlp.gate, "e_score_correction_bias"):
        out.vector(f"{blk}.exp_probs_b.bias", mlp.gate.e_score_correction_bias)


def main():
    for name in sys.argv[1:] or CASES:
        model_name, architecture, experts_type, kind = CASES[name]
        config = MODELS[model_name]
        target = HERE / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for seed in range(200):
            model = make_model(config, seed)
            out = Writer(target / "model.gguf", architecture, config)
            out.matrix("token_embd", model.model.embed_tokens.weight, kind)
            out.matrix("output", model.lm_head.weight, kind)
            out.vector("output_norm.weight", model.model.norm.weight)
            for i, layer in enumerate(model.model.layers):
                write_layer(out, f"blk.{i}", layer, config, architecture, experts_type, kind)
            out.close()
            if router_gap(model, seed) < 1:
                continue
            gap, golden = expected(model, seed)
            if gap > MIN_GAP and len(set(golden["greedy"])) > 8:
                break
        else:
            raise SystemExit("no seed without near ties")
        (target / "expected.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(name, seed, gap, (target / "model.gguf").stat().st_size, golden["greedy"][:16])


if __name__ == "__main__":
    main()
