#!/usr/bin/env python3
"""Tiny random qwen2 checkpoints packed by the quantizers' own code, with what transformers (float32)
makes of the numbers that the same code unpacks.

Writes one directory a format under tiny/, as make_tiny_checkpoints.py does.

    pip download --no-deps auto-gptq==0.7.1 autoawq==0.2.9     (unpacked into DIR: neither installs
    python make_packed_checkpoints.py DIR [CASE...]             without a GPU; the packing needs none)

Needs torch, transformers, safetensors, compressed-tensors; made with torch 2.15.0, transformers
5.24.0, compressed-tensors 0.20.0 (qwen2_gptq4_act_order: torch 2.11.0, transformers 5.23.0).
"""
import importlib.util
import pathlib
import sys
import types

import torch
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from make_tiny_checkpoints import BASE, HERE, MIN_GAP, expected, make_model, write
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config

# AutoGPTQ packs 32 rows and columns at least; the inner size is no multiple of 64.
CONFIG = Qwen2Config(**{**{k: v for k, v in BASE.items() if k != "head_dim"},
                        "hidden_size": 64, "intermediate_size": 96})
KEPT = ["lm_head", "model.layers.1.mlp.down_proj"]


def load_file_of(directory, pattern, name):
    path = next(pathlib.Path(directory).rglob(pattern))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_gptq(directory):
    return load_file_of(directory, "auto_gptq/nn_modules/qlinear/qlinear_cuda.py", "qlinear_cuda")


def load_awq(directory):
    # Enough of the package for its one file to be read.
    for name in ["awq", "awq.utils", "awq.modules", "awq.modules.triton"]:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["awq.utils.packing_utils"] = load_file_of(
        directory, "awq/utils/packing_utils.py", "packing_utils")
    helpers = types.ModuleType("awq.utils.module")
    helpers.try_import = lambda name: (None, "not installed")
    sys.modules["awq.utils.module"] = helpers
    devices = types.ModuleType("awq.utils.utils")
    devices.get_best_device = lambda: "cpu"
    sys.modules["awq.utils.utils"] = devices
    return load_file_of(directory, "awq/modules/linear/gemm.py", "awq_gemm")


def ranges(weight, bits, group, symmetric):
    """Scales (f16) and zero points [rows, groups] of each group's range; zeros of 1 and more, since
    AutoGPTQ 0.7 packs a 0 wrong."""
    rows, cols = weight.shape
    group = cols if group == -1 else group
    groups = weight.reshape(rows, cols // group, group)
    top = 2 ** bits - 1
    if symmetric:
        scales = groups.abs().amax(-1) * 2 / top
        return scales.half().float(), torch.full_like(scales, 2 ** (bits - 1))
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scales = ((high - low) / top).half().float()
    return scales, torch.round(-low / scales).clamp(1, top)


def pack_gptq(qlinear, bits, group, symmetric, act_order=False):
    """act_order: groups are of the columns in an order of their own, as desc_act makes them."""
    def pack(name, linear):
        rows, cols = linear.weight.shape
        module = qlinear.QuantLinear(bits, group, cols, rows, bias=False,
                                     weight_dtype=torch.float16)
        order = (torch.randperm(cols, generator=torch.Generator().manual_seed(cols + rows))
                 if act_order else torch.arange(cols))
        g_idx = torch.empty(cols, dtype=torch.int32)
        g_idx[order] = (torch.arange(cols) // module.group_size).int()
        scales, zeros = ranges(linear.weight.data[:, order], bits, group, symmetric)
        wide_scales, wide_zeros = scales[:, g_idx.long()], zeros[:, g_idx.long()]
        plain = torch.nn.Linear(cols, rows, bias=False)
        q = torch.round(linear.weight.data / wide_scales + wide_zeros).clamp(0, 2 ** bits - 1)
        plain.weight.data = (q - wide_zeros) * wide_scales
        module.pack(plain, scales.clone(), zeros.clone(), g_idx if act_order else None)
        module.scales = module.scales.half()
        # The numbers as the module itself multiplies them.
        module.scales = module.scales.float()
        unpacked = module(torch.eye(cols)).t()
        module.scales = module.scales.half()
        return unpacked, {f"{name}.{k}": getattr(module, k)
                          for k in ("qweight", "qzeros", "scales", "g_idx")}
    return pack


def pack_awq(gemm, group):
    def pack(name, linear):
        rows, cols = linear.weight.shape
        scales, zeros = ranges(linear.weight.data, 4, group, False)
        wide_scales = scales.repeat_interleave(group, 1)
        wide_zeros = zeros.repeat_interleave(group, 1)
        q = torch.round(linear.weight.data / wide_scales + wide_zeros).clamp(0, 15)
        plain = torch.nn.Linear(cols, rows, bias=False)
        plain.weight.data = (q - wide_zeros) * wide_scales
        module = gemm.WQLinear_GEMM.from_linear(plain, 4, group, False, scales.t().contiguous(),
                                                zeros.t().contiguous())
        unpacked = gemm.dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), 4,
                                        group).t()
        return unpacked, {f"{name}.{k}": getattr(module, k) for k in ("qweight", "qzeros", "scales")}
    return pack


def pack_compressed(args):
    scheme = QuantizationScheme(targets=["Linear"], weights=args)

    def pack(name, linear):
        group = args.group_size or -1
        scales, zeros = ranges(linear.weight.data, args.num_bits, group, args.symmetric)
        state = {"weight": linear.weight.data.clone(), "weight_scale": scales.to(torch.bfloat16)}
        if not args.symmetric:
            state["weight_zero_point"] = (zeros - 2 ** (args.num_bits - 1)).to(torch.int8)
        packed = PackedQuantizationCompressor.compress(state, scheme)
        wide = {**packed, "weight_scale": packed["weight_scale"].float()}
        unpacked = PackedQuantizationCompressor.decompress(wide, scheme)["weight"].float()
        return unpacked, {f"{name}.{k}": v for k, v in packed.items()}
    return pack


def quantize(model, pack):
    tensors = {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or name in KEPT:
            continue
        unpacked, packed = pack(name, module)
        # The packing must have kept the numbers but for rounding.
        error = (unpacked - module.weight).abs().max() / module.weight.abs().max()
        assert error < 0.2, (name, float(error))
        tensors.update(packed)
        with torch.no_grad():
            module.weight.copy_(unpacked)
    return tensors


def make(name, pack, quantization):
    for seed in range(200):
        model = make_model(CONFIG, seed)
        tensors = quantize(model, pack)
        gap, golden = expected(model, seed)
        if gap > MIN_GAP:
            break
    else:
        raise SystemExit("no seed without near ties")
    write(name, model, golden,
          patch=lambda config: config.update(quantization_config=quantization))
    path = HERE / name / "model.safetensors"
    plain = load_file(path)
    for module in {key.rsplit(".", 1)[0] for key in tensors}:
        del plain[module + ".weight"]
    plain.update({key: value.contiguous() for key, value in tensors.items()})
    save_file(plain, path, metadata={"format": "pt"})


def compressed_config(args):
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": KEPT,
            "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": None,
                                          "weights": args.model_dump(mode="json")}}}


def main():
    torch.set_num_threads(1)
    directory, wanted = sys.argv[1], sys.argv[2:]
    group = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=32,
                             symmetric=True)
    channel = QuantizationArgs(num_bits=4, type="int", strategy="channel", symmetric=False)
    cases = {
        "qwen2_gptq4": lambda: (
            pack_gptq(load_gptq(directory), 4, 32, False),
            {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False,
             "checkpoint_format": "gptq"}),
        "qwen2_gptq4_act_order": lambda: (
            pack_gptq(load_gptq(directory), 4, 32, False, act_order=True),
            {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": False,
             "checkpoint_format": "gptq"}),
        "qwen2_gptq8": lambda: (
            pack_gptq(load_gptq(directory), 8, -1, True),
            {"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": False, "sym": True}),
        "qwen2_awq": lambda: (
            pack_awq(load_awq(directory), 32),
            {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm",
             "zero_point": True, "modules_to_not_convert": KEPT}),
        "qwen2_packed4": lambda: (pack_compressed(group), compressed_config(group)),
        "qwen2_packed4_zeros": lambda: (pack_compressed(channel), compressed_config(channel)),
    }
    for name in wanted or cases:
        make(name, *cases[name]())


if __name__ == "__main__":
    main()
