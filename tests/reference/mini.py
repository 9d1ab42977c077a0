#!/usr/bin/env python3
"""Writes mini/expected.json: what PyTorch (float32) makes of the pictures in mini/ with the 16-bit weights that mini.gguf was
converted from.

    venv/bin/python tests/reference/mini.py OUT/model.safetensors bpe_simple_vocab_16e6.txt.gz

OUT is what weights/training/train.py wrote; the packages are those of weights/training/README.md.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from PIL import Image

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "weights" / "training"))
from model import TrainedModel, resize_crop  # noqa: E402

TEXTS = ["a photo of something", "a photo of a dog"]
PROMPTS = [
    *TEXTS, "a photo of an airplane", "a photo of a car", "golden retriever", "a picture of a teapot", "a photo of a zxqvw",
    "potter's wheel",
]
FIRST = 8  # numbers of a text's vector that are kept


def main(weights, bpe):
    model = TrainedModel(weights, bpe)
    texts = model.text(TEXTS)
    files = sorted((HERE / "mini").glob("*.png"))
    cosines = model.images(np.stack([resize_crop(Image.open(f), model.size) for f in files])) @ texts.T
    scores = torch.softmax(100 * cosines.double(), 1)[:, 0]
    number = lambda v: round(float(v), 7)
    expected = {
        "made_with": "PyTorch float32 on the f16 weights of mini (tests/reference/mini.py)",
        "texts": TEXTS,
        "images": [
            {"file": f.name, "score": number(score), "cosines": [number(v) for v in row]}
            for f, score, row in zip(files, scores, cosines)
        ],
        "prompts": [
            {"text": text, "rows": model.rows(text), "first": [number(v) for v in row[:FIRST]]}
            for text, row in zip(PROMPTS, model.text(PROMPTS))
        ],
    }
    (HERE / "mini" / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
