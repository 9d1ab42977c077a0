"""The native peers; prints one JSON object.

native.py image THREADS MODELS          onnxruntime: one picture through each kind of image tower in the folder MODELS
native.py folder MODEL PICTURES [OURS]  transformers and torch in f32, all cores: a folder of pictures to embeddings; OURS, a
                                        .npy of the same pictures in the order of their paths, is compared with them
native.py versions
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

WARM_UP, RUNS, BATCH = 5, 20, 32
KINDS = "uint8", "int8", "f32"


def image(threads, models):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    open_session = lambda kind: onnxruntime.InferenceSession(f"{models}/image_{kind}.onnx", options, providers=["CPUExecutionProvider"])
    sessions = {kind: open_session(kind) for kind in KINDS}
    picture = np.random.default_rng(1).normal(size=(1, 3, 224, 224)).astype(np.float32)
    times = {kind: [] for kind in KINDS}
    for _ in range(WARM_UP + RUNS):
        for kind, session in sessions.items():  # in turns, so that a disturbance hits all
            start = time.perf_counter()
            embeds = session.run(None, {"input": picture})[0]
            times[kind].append(1000 * (time.perf_counter() - start))
            assert np.isfinite(embeds).all(), kind
    return {f"{kind}_ms": statistics.median(times[kind][WARM_UP:]) for kind in KINDS}


def folder(model, pictures, ours=None):
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessorPil, CLIPModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    processor, clip = CLIPImageProcessorPil(), CLIPModel.from_pretrained(model).eval()
    paths = sorted(Path(pictures).iterdir())
    embeddings = []
    with torch.inference_mode():
        start = time.perf_counter()
        for at in range(0, len(paths), BATCH):
            batch = [Image.open(path).convert("RGB") for path in paths[at : at + BATCH]]
            pixels = processor(images=batch, return_tensors="pt")["pixel_values"]
            embeds = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)
            embeddings.append(embeds / embeds.norm(dim=1, keepdim=True))
        seconds = time.perf_counter() - start
    result = {"pictures_per_s": len(paths) / seconds, "threads": torch.get_num_threads()}
    if ours:
        result["cosine_with_ours"] = float((torch.cat(embeddings).numpy() * np.load(ours)).sum(axis=1).min())
    return result


def versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("onnxruntime", "torch", "transformers", "pillow", "onnx")}


if __name__ == "__main__":
    command = {"image": image, "folder": folder, "versions": versions}[sys.argv[1]]
    print(json.dumps(command(*sys.argv[2:])))
