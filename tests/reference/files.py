#!/usr/bin/env python3
"""Writes files/*.gz and files.json: one small CLIP in each form in which people have CLIPs, and what it answers.

Every file is written by the public tool that writes such files: transformers, open_clip with safetensors, torch.save, torch.jit, gguf-py with the
names, keys and squeezes of clip.cpp's `models/convert_hf_to_gguf.py` (57f00e2) and gguf-py's own quantizer in place of its `quantize.c`.
Weights are drawn with a seed on a coarse grid, small whole multiples of a power of two: exact in f16 and bf16, and gzip makes 3 bits
of each. Expected embeddings come from open_clip or transformers in float64, those of quantized files from the dequantized weights.
Pictures and texts are those of `clip.py`.

Run:  python tests/reference/files.py        (torch, transformers, open_clip_torch, gguf, safetensors)
"""
import gzip
import importlib.metadata
import io
import json
import math
from pathlib import Path
import tempfile

import gguf
import numpy as np
import open_clip
from open_clip.model import CLIP
from safetensors.torch import save as save_safetensors
import torch
from transformers import CLIPConfig, CLIPModel

from clip import config, image, text, unit

HERE = Path(__file__).parent
IMAGES = 2
SEED = 21


def grid(rng, shape, mean, std):
    """Whole multiples of a power of two near `std`, at most three of them, about `mean`."""
    step = 2.0 ** round(math.log2(std))
    whole = np.clip(np.round(rng.standard_normal(shape) * std / step), -3, 3)
    return torch.from_numpy(mean + step * whole)


def fill(net, seed):
    """Deviations as the "strong" ones of clip.py, which go by Hugging Face's names: here by OpenAI's, too."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in sorted(net.named_parameters()):
            fan = math.sqrt(math.prod(p.shape[1:])) if p.ndim > 1 else 1.0
            has = lambda *parts: any(part in name for part in parts)
            if name == "logit_scale":
                p.fill_(4.0)
            elif has("norm", "ln_", "layrnorm") and name.endswith(".weight"):
                p.copy_(grid(rng, p.shape, 1.0, 0.125))
            elif name.endswith("bias"):
                p.copy_(grid(rng, p.shape, 0.0, 0.0625))
            elif has("class_embedding", "token_embedding"):
                p.copy_(grid(rng, p.shape, 0.0, 0.25))
            elif has("position"):
                p.copy_(grid(rng, p.shape, 0.0, 0.125))
            elif has("in_proj_weight", "q_proj", "k_proj"):
                p.copy_(grid(rng, p.shape, 0.0, 1.4 / fan))
            else:
                p.copy_(grid(rng, p.shape, 0.0, 0.9 / fan))
    return net.double().eval()


def inputs(vision, words, lengths, pad):
    pixels = torch.from_numpy(np.stack([image(SEED, n, vision["image_size"]) for n in range(IMAGES)])).double()
    ids = [text(SEED, n, m, words[0]) for n, m in enumerate(lengths)]
    return pixels, torch.tensor([t + [pad] * (words[1] - len(t)) for t in ids])


CASES = []


def put(name, data, answers, image_size, rows, lengths, **more):
    path = HERE / "files" / f"{name}.gz"
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    images, texts = answers
    alike = lambda e: round(float((e[0] @ e[1]) / (e[0].norm() * e[1].norm())), 3)
    print(f"{path.name}: {path.stat().st_size} bytes ({len(data)}); alike: {alike(images)}, {alike(texts)}")
    CASES.append({"file": name, "seed": SEED, "image_size": image_size, "rows": rows, "images": IMAGES, "text_lengths": lengths, **more,
                  "image_embeddings": unit(images), "text_embeddings": unit(texts)})


# ---------------------------------------------------------------------------------------------- OpenAI's and OpenCLIP's names
def open_clip_model(quick_gelu, head_width=64, text_heads=1):
    cfg = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 24, "layers": 2, "width": 128, "patch_size": 8, "mlp_ratio": 0.5},
        "text_cfg": {"context_length": 16, "vocab_size": 90, "width": 64, "heads": text_heads, "layers": 2, "mlp_ratio": 1.5},
    }
    if quick_gelu:
        cfg["quick_gelu"] = True
    if head_width != 64:
        cfg["vision_cfg"]["head_width"] = head_width
    return fill(CLIP(**cfg), SEED), cfg


def open_ai_archive(net, cfg):
    """A TorchScript archive with what OpenAI's has."""
    out, words = io.BytesIO(), cfg["text_cfg"]
    side, context, rows = cfg["vision_cfg"]["image_size"], words["context_length"], words["vocab_size"]
    # OpenAI's archive keeps these three beside the weights
    for key, value in [("input_resolution", side), ("context_length", context), ("vocab_size", rows)]:
        net.__dict__.pop(key, None)
        net.register_buffer(key, torch.tensor(value))
    # the methods are traced in f32, of which the CPU knows every operation; the weights are f16 all the same
    example = torch.zeros(2, 3, side, side), torch.zeros(2, context, dtype=torch.long)
    traced = torch.jit.trace_module(net.float(), {"forward": example}, check_trace=False).half()
    torch.jit.save(traced, out)
    return out.getvalue()


def open_clip_cases():
    lengths = [3, 8, 16]
    for name, quick, dtype, form, heads in [
        ("openai-f16.safetensors", True, torch.float16, "safetensors", (64, 1)),
        ("open-clip-bf16.safetensors", False, torch.bfloat16, "safetensors", (32, 2)),
        ("open-clip-f32.safetensors", False, torch.float32, "safetensors", (64, 1)),
        ("open-clip-f32.pt", False, torch.float32, "state dict", (64, 1)),
        ("open-clip-training.pt", False, torch.float16, "training", (64, 1)),
        ("openai-jit-f16.pt", True, torch.float16, "jit", (64, 1)),
    ]:
        net, cfg = open_clip_model(quick, *heads)
        pixels, ids = inputs(cfg["vision_cfg"], (90, 16), lengths, 0)
        answers = net.encode_image(pixels), net.encode_text(ids)
        net = net.to(dtype)
        state = {k: v.contiguous() for k, v in net.state_dict().items()}
        out = io.BytesIO()
        if form == "safetensors":
            out.write(save_safetensors(state))
        elif form == "state dict":
            torch.save(net.state_dict(), out)
        elif form == "training":
            # as open_clip_train's main.py keeps its checkpoints, of a model wrapped for several devices
            wrapped = {f"module.{k}": v for k, v in state.items()}
            optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
            torch.save({"epoch": 3, "name": "run", "state_dict": wrapped, "optimizer": optimizer}, out)
        else:
            out.write(open_ai_archive(net, cfg))
        more = {} if quick or name == "open-clip-f32.pt" else {
            "config": {"model_cfg": cfg, "preprocess_cfg": {"mean": list(open_clip.OPENAI_DATASET_MEAN),
                                                            "std": list(open_clip.OPENAI_DATASET_STD)}}}
        put(name, out.getvalue(), answers, 24, 90, lengths, heads=[128 // heads[0], heads[1]],
            activation="quick-gelu" if quick else "gelu", **more)


# --------------------------------------------------------------------------------------------------------- clip.cpp's GGUF
def clip_cpp_name(name):
    if "projection" in name:
        return name
    for old, new in [("text_model", "t"), ("vision_model", "v"), ("encoder.layers", "blk"), ("embeddings.", ""), ("_proj", ""),
                     ("self_attn.", "attn_"), ("layer_norm", "ln"), ("layernorm", "ln"), ("mlp.fc1", "ffn_down"), ("mlp.fc2", "ffn_up"),
                     ("embedding", "embd"), ("final", "post"), ("layrnorm", "ln")]:
        name = name.replace(old, new)
    return name


def clip_cpp_file(path, net, cfg, act, kind, tokens, spread=0.25):
    """Writes the file, and leaves the model as it is after rounding."""
    vision, words = cfg["vision_config"], cfg["text_config"]
    out = gguf.GGUFWriter(path, "clip")
    out.add_bool("clip.has_text_encoder", True)
    out.add_bool("clip.has_vision_encoder", True)
    out.add_file_type({"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9}[kind])
    out.add_name("small random CLIP")
    out.add_description("two-tower CLIP model")
    for side, c in [("text", words), ("vision", vision)]:
        if side == "text":
            out.add_uint32("clip.text.context_length", c["max_position_embeddings"])
        else:
            out.add_uint32("clip.vision.image_size", c["image_size"])
            out.add_uint32("clip.vision.patch_size", c["patch_size"])
        out.add_uint32(f"clip.{side}.embedding_length", c["hidden_size"])
        out.add_uint32(f"clip.{side}.feed_forward_length", c["intermediate_size"])
        out.add_uint32(f"clip.{side}.projection_dim", cfg["projection_dim"])
        out.add_uint32(f"clip.{side}.attention.head_count", c["num_attention_heads"])
        out.add_float32(f"clip.{side}.attention.layer_norm_epsilon", c["layer_norm_eps"])
        out.add_uint32(f"clip.{side}.block_count", c["num_hidden_layers"])
        if side == "text":
            out.add_token_list(tokens)
    out.add_array("clip.vision.image_mean", list(open_clip.OPENAI_DATASET_MEAN))
    out.add_array("clip.vision.image_std", list(open_clip.OPENAI_DATASET_STD))
    out.add_bool("clip.use_gelu", act == "gelu")
    if kind not in ("f32", "f16"):
        out.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, p in net.state_dict().items():
        if name == "logit_scale" or name.endswith("position_ids"):
            continue
        data = stored = p.squeeze().numpy().astype(np.float32)
        of = None
        matrix = name.endswith(".weight") and data.ndim == 2
        if data.ndim == 4 or (matrix and kind == "f16"):
            data = stored = data.astype(np.float16)
        elif matrix and kind != "f32":
            of = gguf.GGMLQuantizationType[kind.upper()]
            # off the grid, so that a block's scale is not a whole one
            data = data * np.linspace(1 - spread, 1 + spread, data.size, dtype=np.float32).reshape(data.shape)
            data = gguf.quants.quantize(data, of)
            stored = gguf.quants.dequantize(data, of)
        with torch.no_grad():
            p.copy_(torch.from_numpy(stored).double().reshape(p.shape))
        out.add_tensor(clip_cpp_name(name), data, raw_dtype=of)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    if kind in ("q4_0", "f16"):
        # version 3 differs from 2, which clip.cpp writes, in that it may be big-endian
        with open(path, "r+b") as file:
            file.seek(4)
            file.write((2).to_bytes(4, "little"))


def small_clip_cpp_file(net, cfg, act, kind):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.gguf"
        # a whole vocabulary has 49,408
        clip_cpp_file(path, net, cfg, act, kind, [f"token{i}</w>" for i in range(cfg["text_config"]["vocab_size"])])
        return path.read_bytes()


def hugging_face_model(cfg, seed):
    cfg_run = json.loads(json.dumps(cfg))
    cfg_run["attn_implementation"] = "eager"
    net = fill(CLIPModel(CLIPConfig.from_dict(cfg_run)), seed)
    net.set_attn_implementation("eager")
    return net


def clip_cpp_cases():
    lengths = [3, 8, 12]
    for kind, act in [("f32", "quick_gelu"), ("f16", "gelu"), ("q4_0", "gelu"), ("q4_1", "quick_gelu"), ("q5_0", "quick_gelu"),
                      ("q5_1", "quick_gelu"), ("q8_0", "quick_gelu")]:
        cfg = config(32, (24, 8, 64, 96, 2, 2), (60, 12, 32, 64, 2, 4), act)
        net = hugging_face_model(cfg, SEED + 1)
        data = small_clip_cpp_file(net, cfg, act, kind)
        pixels, ids = inputs(cfg["vision_config"], (60, 12), lengths, 59)
        answers = net(input_ids=ids, pixel_values=pixels)
        put(f"clip-cpp-{kind}.gguf", data, (answers.image_embeds, answers.text_embeds), 24, 60, lengths, heads=[2, 4],
            activation=act.replace("_", "-"))


# ------------------------------------------------------------------------------------------------------- Hugging Face's names
def hugging_face_files(net, dtype, form):
    """What transformers writes: the weights, and config.json."""
    with tempfile.TemporaryDirectory() as folder:
        net.to(dtype).save_pretrained(folder)
        name = "model.safetensors"
        if form == "torch.save":
            # as transformers itself did until version 5
            name = "pytorch_model.bin"
            torch.save(net.state_dict(), Path(folder) / name)
        return (Path(folder) / name).read_bytes(), json.loads((Path(folder) / "config.json").read_text())


def hugging_face_cases():
    lengths = [3, 8, 12]
    for name, act, dtype, form in [
        ("hugging-face-f32.safetensors", "quick_gelu", torch.float32, "safetensors"),
        ("hugging-face-f16.safetensors", "gelu", torch.float16, "safetensors"),
        ("hugging-face-bf16.safetensors", "quick_gelu", torch.bfloat16, "safetensors"),
        ("hugging-face-f32.bin", "quick_gelu", torch.float32, "torch.save"),
    ]:
        cfg = config(32, (24, 8, 64, 96, 2, 2), (60, 12, 32, 64, 2, 4), act)
        net = hugging_face_model(cfg, SEED + 3)
        pixels, ids = inputs(cfg["vision_config"], (60, 12), lengths, 59)
        answers = net(input_ids=ids, pixel_values=pixels)
        data, written = hugging_face_files(net, dtype, form)
        put(name, data, (answers.image_embeds, answers.text_embeds), 24, 60, lengths, heads=[2, 4], activation=act.replace("_", "-"),
            config=written)


def tiny_files():
    """Files of a few kB, to be broken at every byte."""
    cfg = {
        "embed_dim": 4, "quick_gelu": True,
        "vision_cfg": {"image_size": 4, "layers": 1, "width": 8, "patch_size": 2, "mlp_ratio": 1, "head_width": 4},
        "text_cfg": {"context_length": 4, "vocab_size": 5, "width": 8, "heads": 2, "layers": 1, "mlp_ratio": 1},
    }
    net = fill(CLIP(**cfg), SEED + 2).half()
    state = net.state_dict()
    kept = io.BytesIO()
    torch.save({"state_dict": state, "epoch": 1}, kept)
    hf = config(4, (4, 2, 32, 32, 1, 2), (5, 4, 32, 32, 1, 2))
    for name, data in [
        ("tiny-open-clip.safetensors", save_safetensors({k: v.contiguous() for k, v in state.items()})),
        ("tiny-open-clip.pt", kept.getvalue()),
        ("tiny-openai-jit.pt", open_ai_archive(net, cfg)),
        ("tiny-clip-cpp-q5_1.gguf", small_clip_cpp_file(hugging_face_model(hf, SEED + 1), hf, "quick_gelu", "q5_1")),
    ]:
        (HERE / "files" / f"{name}.gz").write_bytes(gzip.compress(data, 9, mtime=0))
        print(name, len(data), "bytes")


def main():
    torch.set_grad_enabled(False)
    open_clip_cases()
    clip_cpp_cases()
    hugging_face_cases()
    tiny_files()
    made_with = (f"tests/reference/files.py, torch {torch.__version__.split('+')[0]}, open_clip {open_clip.__version__}, "
                 f"gguf {importlib.metadata.version('gguf')}, float64")
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES)
    (HERE / "files.json").write_text(f'{{"made_with":{json.dumps(made_with)},\n"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
