#!/usr/bin/env python3
"""Writes vit_b_32.md: files in the geometry of ViT-B/32, in each form in which people have it, and what `oddlens` makes of them.

Such files have up to 605 MB and cannot be committed: each is made by the public tool that writes such files (as in `files.py`), read by
`oddlens embed` in f32 and in 8 bits, converted by `oddlens model convert`, and deleted. Pictures and texts go the whole way, from file and words
to embedding; what is expected comes from transformers or open_clip in float64, with torchvision's and Pillow's preprocessing and
open_clip's tokenizer. The reference has the numbers that the file holds: 16 bits and blocks are compared with themselves, not with what they
were rounded from.

All files have the same weights, by the generator of `clip.py`: matrices with the deviations that CLIPModel is initialised with; embeddings, gains
and biases with those of the "strong" weights, for with ones and zeros nobody would see which is whose, and texts would hardly differ.

Fails where a cosine is below 0.99999 in f32, which tells another activation, or below 0.9995 in 8 bits, which tells biases exchanged in one layer
of twelve. One file more has the large channels of `clip.py` planted. In 8 bits it falls short of that for some photographs (not for those here,
nor for the mosaics that tests/clip.rs shows it): what it keeps is recorded, and 0.995 must do.

Run:  cargo build --release && OMP_NUM_THREADS=2 python tests/reference/vit_b_32.py target/release/oddlens [NAME ...]
      (what `files.py` needs; 5 GB of memory and 2 GB of disk in TMPDIR; with names only the files that have one in theirs, and vit_b_32.md stays)
"""
from functools import partial
import json
import math
from pathlib import Path
import subprocess
import sys
import tempfile

import numpy as np
import open_clip
from open_clip.push_to_hf_hub import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, save_config_for_hf
from PIL import Image
from safetensors.torch import save_file
import torch
import transformers
from transformers import CLIPConfig, CLIPModel

from clip import GEOMETRIES, image, plant, tensor
from files import clip_cpp_file, open_ai_archive

HERE = Path(__file__).parent
SAMPLES = HERE.parent.parent / "www" / "samples"
SEED = 31
LEAST = {"f32": 0.99999, "q8": 0.9995}
LEAST_PLANTED = {"f32": 0.99999, "q8": 0.995}
TEXTS = ["a photo of a dog", "a photo of something", "two oranges, one of them cut in half, on a wooden table in the evening sun",
         "Zwölf naïve Boxkämpfer, 12.5 % schneller"]
# what is cut out of a sample, so that not all are square
PICTURES = [("orange-on-wood", (0, 0, 320, 320)), ("school-bus", (0, 0, 320, 213)), ("teapot", (40, 0, 280, 320))]
LAYERS = {"vision": 12, "visual": 0, "text": 12}


# ------------------------------------------------------------------------------------------------------------ the model
def config(act):
    cfg = json.loads(json.dumps(next(cfg for name, _, cfg, _ in GEOMETRIES if name == "vit-b-32")))
    for side in ("vision_config", "text_config"):
        cfg[side]["hidden_act"] = act
    return cfg


def values(name, shape, planted=False):
    strong = name.endswith(".bias") or any(part in name for part in ("norm", "class_", "token_", "position_"))
    out = tensor((SEED, "strong" if strong else "initial", LAYERS), name, shape)
    if planted:
        plant(name, out)
    return torch.from_numpy(out)


def hugging_face_model(act, planted=False):
    net = CLIPModel(CLIPConfig.from_dict({**config(act), "attn_implementation": "eager"}))
    net.set_attn_implementation("eager")
    for name, p in net.named_parameters():
        p.copy_(values(name, tuple(p.shape), planted))
    return net.eval()


def open_clip_model(name):
    """The same weights by OpenCLIP's names; its attention has one matrix for three, its projections stand at the other side."""
    net = open_clip.create_model(name, load_weights=False)
    width = {"vision": 768, "text": 512}

    def linear(tower, part):
        layer = f"{tower}_model.encoder.layers.{part}"
        w, mlp = width[tower], 4 * width[tower]
        out, n = {"fc1": (mlp, w), "fc2": (w, mlp)}.get(part.split(".")[-1], (w, w))
        return {"weight": values(f"{layer}.weight", (out, n)), "bias": values(f"{layer}.bias", (out,))}

    for name, p in net.named_parameters():
        tower, inside = ("vision", name[len("visual."):]) if name.startswith("visual.") else ("text", name)
        shape, last = tuple(p.shape), name.split(".")[-1]
        if inside.startswith("transformer.resblocks."):
            _, _, i, part = inside.split(".", 3)
            kind = "bias" if last.endswith("bias") else "weight"
            if part.startswith("attn.in_proj"):
                p.copy_(torch.cat([linear(tower, f"{i}.self_attn.{x}_proj")[kind] for x in "qkv"]))
            elif part.startswith("ln_"):
                p.copy_(values(f"{tower}_model.encoder.layers.{i}.layer_norm{part[3]}.{kind}", shape))
            else:
                part = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}[part.rsplit(".", 1)[0]]
                p.copy_(linear(tower, f"{i}.{part}")[kind])
        elif name in ("visual.proj", "text_projection"):
            p.copy_(values({"visual.proj": "visual_projection.weight"}.get(name, "text_projection.weight"), shape[::-1]).T)
        else:
            p.copy_(values({
                "logit_scale": "logit_scale", "visual.class_embedding": "vision_model.embeddings.class_embedding",
                "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
                "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
                "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
                "positional_embedding": "text_model.embeddings.position_embedding.weight",
            }.get(name) or f"{tower}_model." + {
                "ln_pre": "pre_layrnorm", "ln_post": "post_layernorm", "ln_final": "final_layer_norm"}[inside.split(".")[0]] + f".{last}", shape))
    return net.eval()


def inputs(folder):
    """Files of pictures, what the model sees of them, and texts as OpenCLIP's tokenizer has them."""
    shown = [Image.open(SAMPLES / f"{name}.jpg").convert("RGB").crop(box) for name, box in PICTURES]
    mosaic = image(SEED, 0, 512).transpose(1, 2, 0)
    shown.append(Image.fromarray(np.clip(128 + 60 * mosaic, 0, 255).astype(np.uint8)))
    prepare = open_clip.image_transform(224, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD)
    paths = [folder / f"{n}.png" for n in range(len(shown))]
    for path, picture in zip(paths, shown):
        picture.save(path)
    return paths, torch.stack([prepare(picture) for picture in shown]).double(), open_clip.get_tokenizer("ViT-B-32")(TEXTS)


# ------------------------------------------------------------------------------------------------------------ the files
# Each writes one, and answers where it is, what the command line must be told, and the model with the file's numbers in float64.
def hugging_face(act, dtype, form, folder, planted=False):
    net = hugging_face_model(act, planted).to(dtype)
    net.save_pretrained(folder)
    path = folder / "model.safetensors"
    if form == "torch.save":
        # as transformers itself did until version 5
        path.unlink()
        path = folder / "pytorch_model.bin"
        torch.save(net.state_dict(), path)
    return path, [], net.double()


def open_clip_safetensors(name, dtype, folder):
    """As its save_for_hf does; that writes the tokenizer's files, too, which OpenAI's own tokenizer does not have there."""
    net = open_clip_model(name).to(dtype)
    save_file(net.state_dict(), folder / HF_SAFE_WEIGHTS_NAME)
    save_config_for_hf(net, folder / HF_CONFIG_NAME, open_clip.get_model_config(name))
    return folder / HF_SAFE_WEIGHTS_NAME, [], net.double()


def open_ai_safetensors(folder):
    """Nothing beside it: the activation must be told."""
    net = open_clip_model("ViT-B-32-quickgelu").half()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "clip.safetensors")
    return folder / "clip.safetensors", ["--activation", "quick-gelu"], net.double()


def open_ai_jit(folder):
    net = open_clip_model("ViT-B-32-quickgelu").half()
    path = folder / "ViT-B-32.pt"
    path.write_bytes(open_ai_archive(net, open_clip.get_model_config("ViT-B-32-quickgelu")))
    return path, [], net.double()


def training_checkpoint(folder):
    """As open_clip_train's main.py keeps it."""
    net = open_clip_model("ViT-B-32")
    path = folder / "epoch_1.pt"
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}, path)
    return path, ["--activation", "gelu"], net.double()


def clip_cpp(kind, act, folder):
    net = hugging_face_model(act).double()
    words = open_clip.get_tokenizer("ViT-B-32").encoder
    path = folder / f"clip-{kind}.gguf"
    clip_cpp_file(path, net, config(act), act, kind, sorted(words, key=words.get), spread=0)
    return path, [], net


PLANTED = "transformers safetensors f32, large channels planted"
CASES = [
    ("transformers safetensors f32", partial(hugging_face, "quick_gelu", torch.float32, "safetensors")),
    ("transformers safetensors f16", partial(hugging_face, "quick_gelu", torch.float16, "safetensors")),
    ("transformers safetensors bf16", partial(hugging_face, "gelu", torch.bfloat16, "safetensors")),
    ("transformers pytorch_model.bin f32", partial(hugging_face, "quick_gelu", torch.float32, "torch.save")),
    ("OpenCLIP safetensors f32", partial(open_clip_safetensors, "ViT-B-32", torch.float32)),
    ("OpenCLIP safetensors bf16", partial(open_clip_safetensors, "ViT-B-32-quickgelu", torch.bfloat16)),
    ("OpenAI's names, safetensors f16", open_ai_safetensors),
    ("OpenAI's TorchScript .pt f16", open_ai_jit),
    ("OpenCLIP training checkpoint f32", training_checkpoint),
    *((f"clip.cpp GGUF {kind}", partial(clip_cpp, kind, act)) for kind, act in [
        ("f32", "quick_gelu"), ("f16", "gelu"), ("q8_0", "quick_gelu"), ("q5_1", "quick_gelu"), ("q5_0", "gelu"), ("q4_1", "quick_gelu"),
        ("q4_0", "quick_gelu")]),
    (PLANTED, partial(hugging_face, "quick_gelu", torch.float32, "safetensors", planted=True)),
]


# -------------------------------------------------------------------------------------------------------- the command line
# in a small process of its own: a child's peak begins with that of the process it was forked from
MEASURED = """
import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(json.dumps([done.returncode, done.stdout, done.stderr, time.monotonic() - began,
                  resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6]))
"""


def oddlens(*arguments):
    """What it prints, its seconds, and the peak of its memory in MB."""
    done = subprocess.run([sys.executable, "-c", MEASURED, TOOL, *map(str, arguments)], capture_output=True, text=True, check=True)
    status, out, said, seconds, peak = json.loads(done.stdout)
    if status != 0:
        raise SystemExit(f"oddlens {' '.join(map(str, arguments))}: status {status}: {said}")
    return out, seconds, peak


def least(out, images, texts):
    """The smallest cosines with the reference: of pictures, of texts."""
    got = torch.tensor([json.loads(line)["embedding"] for line in out.splitlines()], dtype=torch.float64)
    want = torch.cat([texts, images])
    cosines = torch.nn.functional.cosine_similarity(got, want)
    return float(cosines[len(texts):].min()), float(cosines[:len(texts)].min())


def alike(rows):
    """The largest cosine between two different answers: a model that said the same of everything would test nothing."""
    rows = torch.nn.functional.normalize(rows)
    return float((rows @ rows.T).triu(1).max())


def row(name, make, paths, pixels, ids):
    with tempfile.TemporaryDirectory() as folder:
        path, flags, net = make(Path(folder))
        if isinstance(net, CLIPModel):
            # after the end transformers pads with the end marker, OpenCLIP with 0; the text tower looks at neither
            after = torch.arange(ids.shape[1]) > ids.argmax(1, keepdim=True)
            answers = net(input_ids=ids.masked_fill(after, ids.max()), pixel_values=pixels)
            images, texts = answers.image_embeds, answers.text_embeds
        else:
            images, texts = net.encode_image(pixels), net.encode_text(ids)
        del net
        what = [part for text in TEXTS for part in ("--text", text)] + paths
        cells, fails = [f"{path.stat().st_size / 1e6:.0f}"], []

        def add(how, where, *told):
            out, seconds, peak = oddlens("embed", "--model", where, *told, *what)
            cosines = least(out, images, texts)
            limit = (LEAST_PLANTED if name == PLANTED else LEAST)[how]
            fails.extend(f"{name}, {how}: {c}, expected at least {limit}" for c in cosines if not c >= limit)
            cells.extend([*(f"{c:.7f}" for c in cosines), f"{seconds:.1f} s, {peak:.0f} MB"])

        add("f32", path, "--compute", "f32", *flags)
        add("q8", path, *flags)
        own = Path(folder) / "own" / "own.gguf"
        own.parent.mkdir()
        _, seconds, peak = oddlens("model", "convert", path, own, "--quant", "q8", *flags)
        cells.append(f"{seconds:.1f} s, {peak:.0f} MB, to {own.stat().st_size / 1e6:.0f} MB")
        add("q8", own)
        print(f"{name}: {'; '.join(cells)}; alike {alike(images):.3f}, {alike(texts):.3f}", flush=True)
        return cells, fails


HEAD = """# Files in the geometry of ViT-B/32

Written by `tests/reference/vit_b_32.py`, which says how files, weights and references are made. The least cosine with the reference, of {images} pictures
and of {texts} texts; time and peak memory of `oddlens embed` for all of them, reading the file included, and of `oddlens model convert --quant q8`.
By torch {torch}, transformers {transformers}, open_clip {open_clip}, gguf {gguf}, on {machine}.

The last file falls short of 0.9995 for some photographs, though not for those of the table. Its four large channels change by as much as they are
large in every layer, which amplifies whatever error the others bring. With 7 bits for all activations, 12 of 48 photographs (the samples and their
mirror images) fell below, the least 0.9972; with the class token's row rounded twice (`QMatrix::with_fine_first` in `src/quant`) and the weights
once instead of twice, 1 of 20 (the same), the least 0.9988, the median 0.99995; without planted channels the least was 0.9999. What is left are the
weights: with activations of 12 bits and no limit to the norm of their lanes (`quads::WEIGHT_NORM`) none fell below, but with their scales changed
by 0 to 4 %, six ways to round to the same 8 bits, the least cosine was between 0.9968 and 0.9999.

| file | MB | f32: pictures | texts | embed | 8 bits: pictures | texts | embed | convert | converted: pictures | texts | embed |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def main(names):
    from importlib.metadata import version
    torch.set_grad_enabled(False)
    rows, fails = [], []
    with tempfile.TemporaryDirectory() as folder:
        paths, pixels, ids = inputs(Path(folder))
        for name, make in CASES:
            if names and not any(part in name for part in names):
                continue
            cells, missed = row(name, make, paths, pixels, ids)
            rows.append(f"| {' | '.join([name, *cells])} |\n")
            fails += missed
    if not names:
        processor = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
        head = HEAD.format(images=len(paths), texts=len(TEXTS), torch=torch.__version__.split("+")[0], transformers=transformers.__version__,
                           open_clip=open_clip.__version__, gguf=version("gguf"), machine=f"{torch.get_num_threads()} threads of {processor}")
        (HERE / "vit_b_32.md").write_text(head + "".join(rows))
    if fails:
        raise SystemExit("\n".join(fails))


if __name__ == "__main__":
    TOOL = str(Path(sys.argv[1]).resolve())
    main(sys.argv[2:])
