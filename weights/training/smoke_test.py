#!/usr/bin/env python3
"""Runs the whole recipe on made-up data in a temporary folder: does every script work, and do they fit together?

  smoke_test.py --bpe bpe_simple_vocab_16e6.txt.gz [--transformers]

Pictures are coloured shapes on noise, text vectors are random; about a minute on an idle CPU core. It shows that training learns
(held-out pictures are told apart better than by chance), goes on after an interruption, and refuses missing data. It shows
nothing about the quality of a real model. With --transformers the towers are also held against Hugging Face's CLIPModel.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import evaluate
import metrics
import train as training
from model import TrainedModel
from names import GENERIC, load_names
from tokenizer import TokenTable

HERE = Path(__file__).parent
CLASSES, PICTURES, WIDTH = 6, 24, 64
EXTRA, MINI, FOLDER = 8, 210, -1  # pictures in mini-ImageNet and a folder, and the classes in names.toml that they are of
TINY = {
    "width": 48, "layers": 2, "heads": 2, "text_width": 48, "text_layers": 1, "text_heads": 2,
    "image_minutes": 0, "image_steps": 60, "text_minutes": 0, "text_steps": 400, "align_minutes": 0, "align_steps": 20,
    "batch": 48, "text_batch": 64, "bfloat16": False, "first_scale": 0.3,
    "muon_rate": 0.02, "adam_rate": 2e-3, "text_muon_rate": 0.02, "text_adam_rate": 4e-3,
}


def picture(k, n):
    """Picture n of class k: a shape of the class's colour on noise, uint8 [64, 64, 3]."""
    rng = np.random.default_rng(1000 * k + n)
    pixels = rng.integers(0, 150, (16, 16, 3)).repeat(4, 0).repeat(4, 1)  # coarse, lest two pictures pass for copies
    colour = np.array([(k & 1) * 200, (k >> 1 & 1) * 200, (k >> 2 & 1) * 200]) + 40
    y, x = np.mgrid[:64, :64] - rng.integers(24, 40, 2).reshape(2, 1, 1)
    inside = x * x + y * y < 400 if k % 2 else np.maximum(abs(x), abs(y)) < 18
    return np.where(inside[..., None], colour, pixels).astype(np.uint8)


def save_pictures(folder, k, numbers):
    folder.mkdir(parents=True)
    for n in numbers:
        Image.fromarray(picture(k, n)).save(folder / f"{k}_{n}.JPEG", quality=95)


def fake_pictures(root, names):
    """The layouts of Tiny ImageNet, Imagenette, mini-ImageNet, folders, CIFAR-10, photos, singles and the 500 pictures."""
    tiny, nette = names.classes[:CLASSES], names.classes[200:202]
    rng = np.random.default_rng(0)
    for k, c in enumerate(tiny):
        save_pictures(root / "tiny" / "train" / c.id / "images", k, range(PICTURES))
    (root / "tiny" / "wnids.txt").write_text("\n".join(c.id for c in tiny))
    (root / "tiny" / "val" / "images").mkdir(parents=True)
    lines = []
    for k, c in enumerate(tiny):
        for n in range(100, 108):
            Image.fromarray(picture(k, n)).save(root / "tiny" / "val" / "images" / f"{k}_{n}.JPEG")
            lines.append(f"{k}_{n}.JPEG\t{c.id}\t0\t0\t62\t62")
    (root / "tiny" / "val" / "val_annotations.txt").write_text("\n".join(lines))
    for k, c in enumerate(nette):
        save_pictures(root / "nette" / "train" / c.id, k + 6, range(PICTURES))
        save_pictures(root / "nette" / "val" / c.id, k + 6, range(100, 104))
    # mini-ImageNet's pictures of a kind of Tiny ImageNet are not taken
    for k, c in enumerate((tiny[0], names.classes[MINI])):
        save_pictures(root / "mini" / "train" / c.id, k, range(300, 300 + EXTRA))
    # of the folder's pictures one is shown in the validation set, too
    folder = root / "folders" / names.classes[FOLDER].folders[0]
    save_pictures(folder, 5, range(400, 400 + EXTRA))
    Image.fromarray(picture(3, 103)).save(folder / "copy.png")
    for k, name in enumerate(names.benchmarks["cifar10"]):
        save_pictures(root / "cifar10" / name, k % 8, range(500, 502))
    (root / "photos").mkdir()
    Image.fromarray(picture(0, 200)).save(root / "photos" / "a.png")
    Image.fromarray(picture(1, 200)).save(root / "photos" / "b.png")
    (root / "photos" / "labels.csv").write_text("a.png,goldfish\nb.png,dog\n")
    save_pictures(root / "singles", 0, [])
    Image.fromarray(picture(2, 505)).save(root / "singles" / "n01641577_acorn.JPEG")
    Image.fromarray(picture(3, 505)).save(root / "singles" / "n01644900_Volcano.JPEG")
    (root / "cifar500").mkdir()
    for name, value in {
        "images_u8": rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
        "labels_u8": np.arange(20, dtype=np.uint8) % 10,
        "image_embs_f32": rng.normal(size=(20, WIDTH)).astype(np.float32),
    }.items():
        np.save(root / "cifar500" / f"cifar10_500_{name}.npy", value)


def fake_detic(root, names):
    """A folder like Detic's metadata, with a random vector for every name that names.toml uses."""
    used = {s for c in names.classes for s in (*(s for s, _ in c.sources), *c.also)}
    used |= {s for sources in names.aliases.values() for s, _ in sources} | set(names.benchmarks["coco"])
    used = sorted(used - {GENERIC})
    rng = np.random.default_rng(1)
    common = 2 * rng.normal(size=WIDTH)  # names are alike, as in CLIP
    vector = {name: common + rng.normal(size=WIDTH) for name in used}
    lvis, o365, oid = used[:-40], used[-60:-20], used[-30:]
    folder = root / "detic"
    folder.mkdir()
    shown = [name.replace(" ", "_") if " (" not in name else name for name in lvis]
    info = [{"id": k + 1, "name": name} for k, name in enumerate(shown)]
    (folder / "lvis_v1_train_cat_info.json").write_text(json.dumps(info[::-1]))  # to be sorted by id
    (folder / "Objects365_names_fix.csv").write_text("".join(f"{k},x,{name}\n" for k, name in enumerate(o365)))
    oid_lines = (f"    {{'id': {k}, 'name': '{name}', 'freebase_id': '/m/0'}},\n" for k, name in enumerate(oid))
    (root / "oid.py").write_text("categories = [\n" + "".join(oid_lines) + "]\n")
    for file, listed in (("lvis_v1_clip_a+cname", lvis), ("o365_clip_a+cnamefix", o365), ("oid_clip_a+cname", oid),
                         ("coco_clip_a+cname", names.benchmarks["coco"])):
        np.save(folder / f"{file}.npy", np.stack([vector[name] for name in listed]).astype(np.float16))


def script(name, *arguments, expect=0):
    """Runs a script as a person would; returns what it printed."""
    done = subprocess.run([sys.executable, HERE / name, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == expect, f"{name} ended with {done.returncode}, expected {expect}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def train_arguments(root, until, **settings):
    pairs = [part for name, value in {**TINY, **settings}.items() for part in ("--set", f"{name}={value}")]
    folders = ("--data", root / "data", "--checkpoints", root / "state", "--out", root / "out")
    return [*folders, "--device", "cpu", "--until", until, *pairs]


def train(root, expect=0, until="align", **settings):
    return script("train.py", *train_arguments(root, until, **settings), expect=expect)


def interrupt_training(root, after):
    """The image stage, stopped by hand after that many steps, with a checkpoint at every step."""
    calls = iter(range(after))

    def loss(*arguments):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return image_loss(*arguments)

    image_loss = training.image_loss
    training.image_loss, training.SAVE_SECONDS = loss, -1
    try:
        training.main([str(a) for a in train_arguments(root, "image")])
        raise AssertionError("the training was not interrupted")
    except KeyboardInterrupt:
        pass
    finally:
        training.image_loss = image_loss


def check_preparing(root, bpe):
    inputs = {"tiny-imagenet": "tiny", "imagenette": "nette", "mini-imagenet": "mini", "folders": "folders", "cifar10": "cifar10", "cifar500": "cifar500", "photos": "photos",
              "singles": "singles", "detic": "detic", "oid-names": "oid.py"}
    options = [part for name, path in inputs.items() for part in ("--" + name, root / path)]
    said = script("prepare.py", "--out", root / "data", "--bpe", bpe, *options)
    print(said)
    labels, classes = np.load(root / "data" / "train_labels.npy"), len(load_names().classes)
    assert len(labels) == (CLASSES + 2) * PICTURES + 2 * EXTRA, "one copy is left out"
    assert len(np.load(root / "data" / "train_images.npy")) == len(labels)
    assert set(labels) == {0, 1, 2, 3, 4, 5, 200, 201, MINI, classes + FOLDER}
    assert "train: 1 pictures left out" in said and "not there: " in said, said
    texts, published = np.load(root / "data" / "texts.npz"), np.load(root / "data" / "published.npz")
    vector = dict(zip(texts["names"].tolist(), texts["vectors"]))
    original = dict(zip(published["names"].tolist(), published["vectors"]))
    assert np.allclose(vector["beer bottle"], original["beer_bottle"], atol=1e-6), "an underscore is a space"
    assert np.allclose(np.linalg.norm(texts["vectors"], axis=1), 1, atol=1e-5)
    said = script("prepare.py", "--out", root / "none", "--tiny-imagenet", root / "nothing", expect=1)
    assert "wnids.txt does not exist" in said, said
    coco = root / "detic" / "coco_clip_a+cname.npy"
    rows = np.load(coco)
    np.save(coco, rows[::-1])
    said = script("prepare.py", "--out", root / "none", "--detic", root / "detic", expect=1)
    assert "another order" in said, said
    np.save(coco, rows)


def check_training(root):
    nowhere = ("--data", root / "none", "--checkpoints", root / "x", "--out", root / "x")
    assert "does not exist" in script("train.py", *nowhere, expect=1)
    interrupt_training(root, after=30)
    said = train(root, until="image")
    print(said)
    assert "image: 30 steps" in said and "image done: 60 steps" in said, said
    assert not (root / "out").exists()
    assert "made with other settings" in train(root, expect=1, pull=1.0)
    said = train(root)
    print(said)
    assert f"image: {TINY['image_steps']} steps" in said, "a finished stage is not done again"
    done = json.loads((root / "out" / "training.json").read_text())["done"]
    assert {name: d["steps"] for name, d in done.items()} == {stage: TINY[f"{stage}_steps"] for stage in ("image", "text", "align")}
    assert json.loads((root / "out" / "training.json").read_text())["recipe"]["max_offset"] == training.Recipe().max_offset
    # another training begins with what this one has learned
    again = train_arguments(root, "image", image_steps=1)
    again[again.index(root / "state")] = root / "again"
    said = script("train.py", *again, "--from", root / "out" / "model.safetensors")
    print(said)
    assert "begins from model.safetensors" in said, said


def check_evaluating(root):
    said = script("evaluate.py", "--model", root / "out" / "model.safetensors", "--data", root / "data",
                  "--out", root / "results.json", "--card", root / "card.md")
    results = json.loads((root / "results.json").read_text())
    assert set(evaluate.TITLES) | {"text"} == set(results), said
    trained = results["tiny_val"]
    print((root / "card.md").read_text())
    assert trained["pictures"] == 48 and trained["names"] == CLASSES
    assert trained["one_vs_rest_auroc"] > 0.75, "training must teach something"
    assert results["photos"]["pictures"] == 2
    assert results["singles"]["untaught"] == ["volcano"] and results["singles"]["names"] == 1


def check_mean(root):
    """Of a model and itself it is the model."""
    model = root / "out" / "model.safetensors"
    script("mean.py", "--out", root / "mean", f"0.25={model}", f"0.75={model}")
    first, mean = load_file(model), load_file(root / "mean" / "model.safetensors")
    assert first.keys() == mean.keys() and all(torch.equal(v, mean[k]) for k, v in first.items())
    for name in ("config.json", "token_ids.json", "vocabulary.json"):
        assert (root / "mean" / name).read_bytes() == (root / "out" / name).read_bytes()


def check_metrics():
    assert metrics.auroc([0.1, 0.2, 0.2, 0.9], [False, False, True, True]) == 0.875  # 3.5 of 4 pairs
    assert np.isnan(metrics.auroc([1.0, 2.0], [True, True]))
    # two names on the axes, generic between them; pictures at the names, each labelled rightly
    eye, generic = torch.eye(2), torch.tensor([0.6, 0.6])
    assert metrics.one_vs_rest(eye, np.array([0, 1]), eye, generic) == [1.0, 1.0]
    assert metrics.leave_one_out(eye, np.array([0, 1]), eye, generic) == [1.0, 1.0]
    assert metrics.calibration(eye, [0, 1], eye, generic) == {"own_name_above_generic": 1.0, "wrong_name_below_generic": 1.0}
    assert metrics.top1(eye, np.array([0, 0]), eye) == 0.5


def check_transformers(root, bpe):
    from transformers import CLIPConfig, CLIPModel

    model = TrainedModel(root / "out" / "model.safetensors", bpe)
    theirs = CLIPModel(CLIPConfig.from_dict(model.config)).eval()
    theirs.load_state_dict(model.net.state_dict())
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    rows = model.table.batch([model.rows(p) for p in ("a dog", "a photo of a golf ball")], 77)
    with torch.no_grad():
        out = theirs(input_ids=rows, pixel_values=pixels)
        image = (out.image_embeds - model.net.image(pixels)).abs().max()
        text = (out.text_embeds - model.net.text(rows)).abs().max()
    print(f"largest difference to transformers: image {image:.1e}, text {text:.1e}")
    assert max(image, text) < 1e-5


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bpe", type=Path, required=True)
    p.add_argument("--transformers", action="store_true", help="also compare with Hugging Face's CLIPModel")
    args = p.parse_args()
    check_metrics()
    for wrong in ([5, 6], [-1, 7, 6, 49406, 49407], [-1, 49406]):
        try:
            TokenTable(wrong)
            raise AssertionError(f"token table {wrong} was accepted")
        except ValueError:
            pass
    with tempfile.TemporaryDirectory() as folder:
        root, names = Path(folder), load_names()
        fake_pictures(root, names)
        fake_detic(root, names)
        check_preparing(root, args.bpe)
        check_training(root)
        check_evaluating(root)
        check_mean(root)
        if args.transformers:
            check_transformers(root, args.bpe)
    print("smoke test passed")


if __name__ == "__main__":
    main()
