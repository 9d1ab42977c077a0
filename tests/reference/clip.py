#!/usr/bin/env python3
"""Writes clip.json: what transformers' CLIPModel answers for weights that need no file.

A real checkpoint is too large to commit, so every number of a case (weights, pixels, token ids) comes from the small
generator below, which tests/common/random_clip.rs repeats in Rust bit for bit. Only the embeddings are stored.
The model is run in float64, so the stored float32 embeddings are right to the last digit or so.

Generator
---------
All integers are 64 bits wide and wrap. `mix` is the finaliser of splitmix64:

    x ^= x >> 30;  x *= 0xBF58476D1CE4E5B9;  x ^= x >> 27;  x *= 0x94D049BB133111EB;  x ^= x >> 31

    key(seed, name) = mix(seed) ^ fnv1a64(name as UTF-8)
    draw(key, i)    = mix(key + (i + 1) * 0x9E3779B97F4A7C15)          i = 0, 1, ... : this is splitmix64 seeded by key
    normal(key, i)  = (sum of the four 16-bit pieces of draw(key, i) - 131070) / 37837.0             in float64

`normal` is bell-shaped with mean 0 and deviation 1 (37837 is the deviation of the sum); it never exceeds 3.47.

Weights
-------
Element i (row-major) of the tensor `name` is the float64 number `mean + std * normal(key(seed, name), i)`, rounded
once to float32. mean = 0 except where said; `fan` is the number of inputs of an output, that is the product of all
dimensions but the first. There are two kinds of weights; in each, the first rule that fits counts.

"initial": the deviations of CLIPModel's own initialisation (transformers, models/clip/modeling_clip.py, `_init_weights`),
with w the tower's width and l its number of layers

    logit_scale                                        ln 100 rounded to float32, no drawing
    name contains "norm", ends with ".weight"          mean 1, std 0
    ends with ".bias"                                  std 0
    contains "class_embedding"                         std 1 / sqrt(w)
    contains another "_embedding"                      std 0.02
    contains "q_proj", "k_proj", "v_proj" or "fc2"     std 1 / sqrt(2 w l)
    contains "fc1"                                     std 1 / sqrt(2 w)
    anything else ("out_proj", the projections)        std 1 / sqrt(w)

"strong": attention that chooses, layers that change the stream by as much as it is large, biases and gains that count. So
strongly connected a random network is near chaos: it amplifies rounding noise more than trained networks do.

    logit_scale                                        ln 100 rounded to float32, no drawing
    name contains "norm", ends with ".weight"          mean 1, std 0.1
    ends with ".bias"                                  std 0.05
    contains "class_embedding"                         std 0.3
    contains "token_embedding"                         std 0.3
    contains "position_embedding"                      std 0.1
    contains "patch_embedding"                         std 0.5 / sqrt(fan)
    contains "q_proj" or "k_proj"                      std 1.5 / sqrt(fan)       attention that is neither flat nor a hard choice
    contains "out_proj" or "fc2"                       std 0.6 / sqrt(fan)       a layer changes the stream, but does not replace it
    anything else ("v_proj", "fc1", the projections)   std 1.0 / sqrt(fan)

Planted channels
----------------
Real CLIPs have a few channels of the residual stream that are far larger than the rest. In a planted case, four
channels of each tower's width w, `w * (2 k + 1) / 8 + k` (integer division) for k = 0..3, are made 50 times larger: the
float32 values are multiplied by 50 (in float32) in everything that writes to the stream, namely the elements of
class_embedding, the last axis of token_embedding and of position_embedding, and the rows (first axis) of
patch_embedding.weight, out_proj.weight, out_proj.bias, fc2.weight and fc2.bias. Nothing else changes: the norms' gains stay
as they are, so that the four channels reach the linear layers 50 times larger than the rest.

Inputs
------
Image n of size s: with key = key(seed, "image.{n}"), pixel (c, y, x) in row-major [3, s, s] order is

    0.8 * normal(key, c) + 0.6 * normal(key, 3 + c * 64 + (y * 8 / s) * 8 + x * 8 / s) + 0.3 * normal(key, 195 + (c * s + y) * s + x)

(integer divisions; float64 sum from left to right, rounded to float32): a colour, an 8 x 8 mosaic and noise.

Text n of length m, markers included, in a table of v rows: `v - 2` (start), then `draw(key(seed, "text.{n}"), i) mod (v - 2)`
for i = 0 .. m - 3, then `v - 1` (end). Here it is padded to the full context with the end marker, which changes nothing.

Run:  OMP_NUM_THREADS=1 python tests/reference/clip.py        (torch, transformers, numpy; about 4 GB of memory, two minutes)
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import CLIPConfig, CLIPModel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
PLANTED_FACTOR = np.float32(50.0)
IMAGES = 2
CHUNK = 1 << 22  # elements drawn at once, to bound memory


# ------------------------------------------------------------------------------------------------ generator
def mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    return np.uint64(h)


def key(seed, name):
    return mix(np.array([seed], np.uint64))[0] ^ fnv1a64(name)


def draw(k, first, count):
    i = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    return mix(k + i * GOLDEN)


def normal(k, first, count):
    d = draw(k, first, count)
    total = sum((d >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48))
    return (total.astype(np.int64) - 131070).astype(np.float64) / 37837.0


def mean_and_std(kind, layers, name, shape):
    has = lambda *parts: any(p in name for p in parts)
    gain = has("norm") and name.endswith(".weight")
    if kind == "initial":
        root = math.sqrt
        if gain:
            return 1.0, 0.0
        if name.endswith(".bias"):
            return 0.0, 0.0
        if has("class_embedding"):
            return 0.0, 1.0 / root(shape[0])
        if has("_embedding"):
            return 0.0, 0.02
        if has("q_proj", "k_proj", "v_proj", "fc2"):
            return 0.0, 1.0 / root(2 * shape[0] * layers)
        if has("fc1"):
            return 0.0, 1.0 / root(2 * shape[1])
        return 0.0, 1.0 / root(shape[1])
    root = math.sqrt(float(math.prod(shape[1:])))
    if gain:
        return 1.0, 0.1
    if name.endswith(".bias"):
        return 0.0, 0.05
    if has("class_embedding", "token_embedding"):
        return 0.0, 0.3
    if has("position_embedding"):
        return 0.0, 0.1
    if has("patch_embedding"):
        return 0.0, 0.5 / root
    if has("q_proj", "k_proj"):
        return 0.0, 1.5 / root
    if has("out_proj", "fc2"):
        return 0.0, 0.6 / root
    return 0.0, 1.0 / root


def tensor(case, name, shape):
    """case: (seed, kind, {tower: layers})."""
    if name == "logit_scale":
        return np.array(math.log(100.0), np.float32)
    seed, kind, layers = case
    mean, std = mean_and_std(kind, layers[name.split("_")[0]], name, shape)
    k, size = key(seed, name), math.prod(shape)
    out = np.empty(size, np.float32)
    for at in range(0, size, CHUNK):
        n = min(CHUNK, size - at)
        out[at:at + n] = mean + std * normal(k, at, n)
    return out.reshape(shape)


def planted_channels(width):
    return [width * (2 * k + 1) // 8 + k for k in range(4)]


def plant(name, values):
    """Makes the planted channels larger, in place."""
    if any(p in name for p in ("class_embedding", "token_embedding", "position_embedding")):
        values[..., planted_channels(values.shape[-1])] *= PLANTED_FACTOR
    elif any(p in name for p in ("patch_embedding", "out_proj", "fc2")):
        values[planted_channels(values.shape[0])] *= PLANTED_FACTOR


def image(seed, n, s):
    k = key(seed, f"image.{n}")
    colour = normal(k, 0, 3).reshape(3, 1, 1)
    cell = np.arange(s) * 8 // s
    mosaic = normal(k, 3, 192).reshape(3, 8, 8)[:, cell][:, :, cell]
    noise = normal(k, 195, 3 * s * s).reshape(3, s, s)
    return ((0.8 * colour + 0.6 * mosaic) + 0.3 * noise).astype(np.float32)


def text(seed, n, length, vocabulary):
    body = draw(key(seed, f"text.{n}"), 0, length - 2) % np.uint64(vocabulary - 2)
    return [vocabulary - 2, *(int(t) for t in body), vocabulary - 1]


# ----------------------------------------------------------------------------------------------------- cases
def config(projection, vision, text_side, act="quick_gelu"):
    """vision: (image, patch, width, mlp, layers, heads);  text_side: (vocabulary, context, width, mlp, layers, heads)."""
    common = {"hidden_act": act, "layer_norm_eps": 1e-5, "projection_dim": projection}
    sides = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vocabulary, context = text_side[:2]
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": projection,
        "text_config": {
            "model_type": "clip_text_model", "vocab_size": vocabulary, "max_position_embeddings": context,
            "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1,
            **dict(zip(sides, text_side[2:])), **common,
        },
        "vision_config": {
            "model_type": "clip_vision_model", "image_size": vision[0], "patch_size": vision[1], "num_channels": 3,
            **dict(zip(sides, vision[2:])), **common,
        },
    }


# name, seed, config, lengths of the texts (markers included)
GEOMETRIES = [
    ("vit-b-32", 11, config(512, (224, 32, 768, 3072, 12, 12), (49408, 77, 512, 2048, 12, 8)), [4, 9, 77]),
    ("tiny", 12, config(40, (32, 8, 64, 256, 2, 2), (100, 24, 48, 192, 2, 3)), [3, 8, 24]),
    # no width, MLP or projection is a multiple of 32, and the MLP is not four times the width
    ("odd-widths", 13, config(52, (40, 8, 72, 200, 3, 3), (70, 16, 40, 108, 3, 2)), [3, 7, 16]),
    ("patch-16", 14, config(64, (96, 16, 128, 512, 3, 4), (120, 77, 96, 384, 3, 3)), [4, 12, 77]),
    ("exact-gelu", 15, config(48, (48, 16, 96, 384, 3, 3), (90, 20, 64, 256, 3, 2), "gelu"), [3, 9, 20]),
]


def parameters(case, planted, shapes):
    for name, shape in shapes:
        values = tensor(case, name, shape)
        if planted:
            plant(name, values)
        yield name, values


def build(case, planted, cfg):
    """The filled model in float64, and a sum over the bits of all weights for the check in Rust."""
    with torch.device("meta"):
        net = CLIPModel(CLIPConfig.from_dict(cfg))
    net = net.double().to_empty(device="cpu").eval()
    for module in net.modules():  # index buffers are not part of the state
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    state = dict(net.named_parameters())
    shapes = [(name, tuple(p.shape)) for name, p in state.items()]
    bits, samples = 0, []
    for name, values in parameters(case, planted, shapes):
        flat = np.atleast_1d(values).reshape(-1).view(np.uint32)
        bits = (bits + int(flat.sum(dtype=np.uint64))) % 2**64
        if name.endswith(("class_embedding", "token_embedding.weight", "patch_embedding.weight", "post_layernorm.weight",
                          "layers.1.mlp.fc2.weight", "layers.0.self_attn.q_proj.weight", "layers.0.mlp.fc1.bias",
                          "visual_projection.weight")):
            at = len(flat) * 2 // 3
            samples.append({"name": name, "shape": list(values.shape), "index": at, "bits": int(flat[at])})
        with torch.no_grad():
            state[name].copy_(torch.from_numpy(values))
    return net, bits, samples


def unit(x):
    x = torch.as_tensor(x)
    x = x / x.norm(dim=-1, keepdim=True)
    return [[float(str(np.float32(v))) for v in row] for row in x.tolist()]


def check_is_alive(net, pixels, tokens):
    """A model whose answers do not depend on the input would test nothing: print how alike the answers are."""
    cos = lambda e: (e / e.norm(dim=-1, keepdim=True)) @ (e / e.norm(dim=-1, keepdim=True)).T
    off = lambda c: [round(float(v), 3) for v in c[torch.triu(torch.ones_like(c), 1).bool()]]
    out = net(input_ids=tokens, pixel_values=pixels, output_hidden_states=True, output_attentions=True)
    a = out.vision_model_output.attentions
    entropy = [float(-(p * p.clamp_min(1e-30).log()).sum(-1).mean() / math.log(p.shape[-1])) for p in a]
    h = out.vision_model_output.hidden_states
    grow = [round(float((y - x).norm() / x.norm()), 2) for x, y in zip(h, h[1:])]
    print("   cosines between images", off(cos(out.image_embeds)), "between texts", off(cos(out.text_embeds)))
    print(f"   attention entropy / log(n) {min(entropy):.2f}..{max(entropy):.2f}; change by a layer {min(grow)}..{max(grow)}")
    return out


def main():
    torch.set_grad_enabled(False)
    cases = []
    for name, seed, cfg, lengths in GEOMETRIES:
        vision, words = cfg["vision_config"], cfg["text_config"]
        layers = {"vision": vision["num_hidden_layers"], "visual": 0, "text": words["num_hidden_layers"]}
        for kind, planted in ((k, p) for k in ("initial", "strong") for p in (False, True)):
            print(name, kind, "planted" if planted else "plain", flush=True)
            cfg_run = json.loads(json.dumps(cfg))
            cfg_run["attn_implementation"] = "eager"
            net, bits, samples = build((seed, kind, layers), planted, cfg_run)
            net.set_attn_implementation("eager")
            pixels = np.stack([image(seed, n, vision["image_size"]) for n in range(IMAGES)])
            ids = [text(seed, n, m, words["vocab_size"]) for n, m in enumerate(lengths)]
            full = [t + [words["eos_token_id"]] * (words["max_position_embeddings"] - len(t)) for t in ids]
            out = check_is_alive(net, torch.from_numpy(pixels).double(), torch.tensor(full))
            cases.append({
                "name": name, "seed": seed, "weights": kind, "planted": planted, "config": cfg, "images": IMAGES, "text_lengths": lengths,
                "weight_bits_sum": str(bits), "samples": samples,
                "pixel_bits_sum": str(int(pixels.view(np.uint32).sum(dtype=np.uint64))),
                "token_sum": sum(map(sum, ids)),
                "image_embeddings": unit(out.image_embeds), "text_embeddings": unit(out.text_embeds),
            })
            del net
    made_with = f"tests/reference/clip.py, torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, float64"
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    target = Path(__file__).with_name("clip.json")
    target.write_text(f'{{"made_with":{json.dumps(made_with)},\n"cases":[\n{lines}\n]}}\n')
    print(target.name, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
