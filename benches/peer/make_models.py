"""Makes the peer's models: `make_models.py FOLDER`.

A CLIP ViT-B/32 in transformers' shape with seeded random weights (speed does not depend on their values), written as
`clip/` (safetensors and config.json, which `oddlens --model` reads too) and as ONNX, the way the files are made that
transformers.js loads: `{image,text}_f32.onnx`, and from it by dynamic quantization `_uint8.onnx` (Xenova's default) and
`_int8.onnx`. Fails where a quantized tower's output is not that of f32.
"""

import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import CLIPConfig, CLIPModel
from transformers.utils.logging import disable_progress_bar

BATCH, POSITIONS, VOCABULARY, END = 2, 77, 49408, 49407
LEAST_COSINE = 0.99


class ImageTower(torch.nn.Module):
    """[b,3,224,224] to [b,512]."""

    def __init__(self, clip):
        super().__init__()
        self.tower, self.projection = clip.vision_model, clip.visual_projection

    def forward(self, pixel_values):
        return self.projection(self.tower(pixel_values=pixel_values).pooler_output)


class TextTower(torch.nn.Module):
    """[b,77] token ids to [b,512]."""

    def __init__(self, clip):
        super().__init__()
        self.tower, self.projection = clip.text_model, clip.text_projection

    def forward(self, input_ids):
        return self.projection(self.tower(input_ids=input_ids).pooler_output)


def random_clip():
    torch.manual_seed(0)
    # "eager": plain matrix products and softmax, as in the published files
    return CLIPModel(CLIPConfig(attn_implementation="eager")).eval()


def inputs():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCABULARY - 2, (BATCH, POSITIONS), generator=generator)
    ids[:, -1] = END
    return {"image": torch.randn(BATCH, 3, 224, 224, generator=generator), "text": ids}


def run(path, array):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})[0]


def least_cosine(a, b):
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    return float((unit(a) * unit(b)).sum(axis=1).min())


def check(path, array, truth):
    out = run(path, array)
    cosine = least_cosine(out, truth) if np.isfinite(out).all() else float("nan")
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB, cosine with torch {cosine:.5f}")
    if not cosine >= LEAST_COSINE:
        sys.exit(f"{path.name} does not compute what torch does: cosine {cosine}, expected at least {LEAST_COSINE}")


def export(tower, example, name, folder):
    whole = folder / f"{name}_f32.onnx"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which the published files come from, calls itself old
        truth = tower(example).numpy()
        torch.onnx.export(
            tower, (example,), whole, dynamo=False, opset_version=17, input_names=["input"], output_names=["embeds"],
            dynamic_axes={"input": {0: "batch"}, "embeds": {0: "batch"}},
        )
    check(whole, example.numpy(), truth)
    for kind, weight_type in (("uint8", QuantType.QUInt8), ("int8", QuantType.QInt8)):
        path = folder / f"{name}_{kind}.onnx"
        quantize_dynamic(whole, path, weight_type=weight_type, extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True})
        check(path, example.numpy(), truth)


def main(folder):
    logging.disable(logging.WARNING)  # "consider pre-processing before quantization": the published files had none
    disable_progress_bar()
    clip, examples = random_clip(), inputs()
    clip.save_pretrained(folder / "clip")
    export(ImageTower(clip), examples["image"], "image", folder)
    export(TextTower(clip), examples["text"], "text", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
