#!/usr/bin/env python3
"""Unpacks a model in our GGUF, such as the one that ships, into the files that train.py --from begins with and evaluate.py reads.

  unpack.py mini.gguf OUT          needs the package gguf beside those of training

Written to OUT: model.safetensors (float16), config.json, token_ids.json, vocabulary.json (names only). The weights are those of the
8-bit file: a training goes on from what people have, and needs no file that was kept elsewhere.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, dequantize

from model import save_weights


def value(reader, key):
    """A key's value as Python has it."""
    field = reader.fields[key]
    return field.contents()


def tower(reader, name):
    get = lambda part: value(reader, f"clip.{name}.{part}")
    return {
        "hidden_size": get("embedding_length"),
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": get("attention.head_count"),
        "layer_norm_eps": round(get("attention.layer_norm_epsilon"), 12),
        "hidden_act": "gelu" if value(reader, "clip.use_gelu") else "quick_gelu",
        "projection_dim": get("projection_dim"),
    }


def config(reader):
    """The geometry as Hugging Face's CLIPConfig says it."""
    vision, text = tower(reader, "vision"), tower(reader, "text")
    vision |= {"image_size": value(reader, "clip.vision.image_size"), "patch_size": value(reader, "clip.vision.patch_size")}
    rows = len(value(reader, "oddlens.token_ids"))
    text |= {"max_position_embeddings": value(reader, "clip.text.context_length"), "vocab_size": rows, "bos_token_id": rows - 2, "eos_token_id": rows - 1}
    return {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": text["projection_dim"], "vision_config": vision, "text_config": text}


def weights(reader, config):
    """All tensors but what the file keeps beside rounded ones, in the shapes of CLIPModel."""
    state = {}
    for tensor in reader.tensors:
        if ".exact_" in tensor.name or tensor.name.startswith("known_texts."):
            continue
        shape = [int(n) for n in reversed(tensor.shape)]
        numbers = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)
        if tensor.name.endswith("patch_embedding.weight"):
            side = config["vision_config"]["patch_size"]
            numbers = numbers.reshape(shape[0], 3, side, side)
        if tensor.name == "logit_scale":
            numbers = numbers.reshape(())
        state[tensor.name] = torch.from_numpy(numbers)
    return state


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=Path)
    p.add_argument("out", type=Path)
    args = p.parse_args()
    reader = GGUFReader(args.model)
    args.out.mkdir(parents=True, exist_ok=True)
    write = lambda name, what: (args.out / name).write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")
    geometry = config(reader)
    save_weights(args.out / "model.safetensors", weights(reader, geometry))
    write("config.json", geometry)
    write("token_ids.json", {"ids": [int(i) for i in value(reader, "oddlens.token_ids")]})
    write("vocabulary.json", {"names": [{"name": name} for name in value(reader, "oddlens.vocabulary")]})


if __name__ == "__main__":
    main()
