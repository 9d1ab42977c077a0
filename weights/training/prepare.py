#!/usr/bin/env python3
"""Packs pictures and published text vectors into the folder DATA that train.py and evaluate.py read.

Every input is optional; what is missing is skipped, and train.py and evaluate.py say what they lack. Where to get each:

  --tiny-imagenet DIR   wnids.txt, train/<wnid>/images/*.JPEG, val/val_annotations.txt, val/images/*.JPEG
                        (Stanford CS231n's tiny-imagenet-200.zip)
  --imagenette DIR      train/<wnid>/*, val/<wnid>/*      (fast.ai's imagenette2-160.tgz or imagenette2.tgz)
  --mini-imagenet DIR   train/<wnid>/*: mini-ImageNet, 500 pictures of each of 100 kinds. Kinds of Tiny ImageNet are left out,
                        because its validation pictures come from the same source
  --folders DIR         <collection>/<folder>/*: the further pictures that names.toml names as `folders`; README.md says which
                        collections the shipped model has seen and where they were found
  --cifar10 DIR         <class name>/*: the test split as picture files                     (evaluation only)
  --cifar500 DIR        cifar10_500_{images_u8,labels_u8,image_embs_f32}.npy: 500 lossless CIFAR-10 test pictures and
                        their embeddings by OpenAI's ViT-B/32                               (evaluation only)
  --photos DIR          labels.csv (file,label) and the files beside it                     (evaluation only)
  --singles DIR         <wnid>_<name>.JPEG: one picture per ImageNet class                  (evaluation only)
  --detic DIR           datasets/metadata of github.com/facebookresearch/Detic (Apache-2.0): ViT-B/32 vectors of "a {name}"
  --oid-names FILE      detic/data/datasets/oid.py of the same repository; only its list of names is read
  --bpe FILE            bpe_simple_vocab_16e6.txt.gz of github.com/openai/CLIP (MIT)

DATA:

  Training pictures that look like one of an evaluation set (see copies) are left out.

  <set>_images.npy      uint8 [n, s, s, 3], preprocessed as CLIP does (s = --size)
  <set>_labels.npy      int16 [n]; of train, tiny_val and imagenette_val: index of the class in names.toml
  labels.json           what the labels of the other sets mean: {"<set>": [name, ...]}
  cifar500_clip.npy     the embeddings that came with the 500 pictures
  texts.npz             names [k], vectors float32 [k, d] of unit length, generic float32 [d]: every spelling that has a vector
  published.npz         names [m], vectors float32 [m, d]: only what was published, in the published spelling
  bpe_simple_vocab_16e6.txt.gz
"""
import argparse
import csv
import json
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model import resize_crop
from names import GENERIC, clean, load_names, spaced

BPE = "bpe_simple_vocab_16e6.txt.gz"
TINY_IMAGENET = 200  # so many classes of names.toml come first
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
EVALUATION = ("tiny_val", "imagenette_val", "cifar10", "cifar500", "photos", "singles")
COPY = 0.98  # correlation of two pictures at 16 x 16 grey from which one counts as a copy of the other
SAME = 0.999  # two vectors of one sentence, computed twice in half precision, differ by less than this cosine


class MissingData(Exception):
    """An input has not the layout that this file describes."""


def existing(path):
    path = Path(path)
    if not path.exists():
        raise MissingData(f"{path} does not exist; prepare.py --help says what is expected where")
    return path


# ---------------------------------------------------------------------------------------------------- pictures
def read_picture(path, size):
    with Image.open(path) as image:
        return resize_crop(image, size)


class Packer:
    """Writes sets of pictures to a folder."""

    def __init__(self, out, size, workers):
        self.out, self.size, self.workers = out, size, workers

    def pack(self, name, pairs):
        """`pairs` of (file, label), in this order."""
        if not pairs:
            raise MissingData(f"{name}: no pictures found; prepare.py --help says what is expected where")
        shape = (len(pairs), self.size, self.size, 3)
        images = np.lib.format.open_memmap(self.out / f"{name}_images.npy", "w+", np.uint8, shape)
        with ProcessPoolExecutor(self.workers) as pool:
            files = [file for file, _ in pairs]
            for k, pixels in enumerate(pool.map(partial(read_picture, size=self.size), files, chunksize=64)):
                images[k] = pixels
        self.labels(name, [label for _, label in pairs])

    def labels(self, name, labels):
        np.save(self.out / f"{name}_labels.npy", np.asarray(labels, np.int16))
        print(f"{name}: {len(labels)} pictures, {len(set(labels))} labels", flush=True)


def files_in(folder):
    return sorted(p for p in existing(folder).iterdir() if p.is_file())


def tiny_imagenet(root, part, index):
    if part == "train":
        wnids = existing(root / "wnids.txt").read_text().split()
        return [(file, index[w]) for w in wnids for file in files_in(root / "train" / w / "images")]
    lines = existing(root / "val" / "val_annotations.txt").read_text().splitlines()
    return [(root / "val" / "images" / file, index[w]) for file, w, *_ in (line.split("\t") for line in lines)]


def imagenette(root, part, index):
    folders = sorted(p for p in existing(root / part).iterdir() if p.is_dir())
    return [(file, index[folder.name]) for folder in folders for file in files_in(folder)]


def mini_imagenet(root, names):
    """Pictures of the kinds that Tiny ImageNet does not have."""
    index = {c.id: i for i, c in enumerate(names.classes) if i >= TINY_IMAGENET}
    found = sorted(p for p in existing(root / "train").iterdir() if p.name in index)
    return [(file, index[folder.name]) for folder in found for file in files_in(folder)]


def collections(root, names):
    """Pictures in the folders that names.toml names; a collection that is not there is skipped."""
    found, missing = [], set()
    for i, c in enumerate(names.classes):
        for folder in c.folders:
            if (root / folder).is_dir():
                found += [(file, i) for file in files_in(root / folder) if file.suffix.lower() in PICTURES]
            else:
                missing.add(folder)
    if missing:
        print(f"--folders: not there: {', '.join(sorted(missing))}")
    return found


def photos(root):
    with open(existing(root / "labels.csv"), encoding="utf-8", newline="") as file:
        rows = [(root / row[0], row[-1].strip()) for row in csv.reader(file) if len(row) >= 2]
    rows = [(path, label) for path, label in rows if path.is_file()]
    found = sorted({label for _, label in rows})
    return [(path, found.index(label)) for path, label in rows], found


def singles(root):
    """One picture per name: `n02066245_grey_whale.JPEG` shows a "grey whale"."""
    files = [file for file in files_in(root) if re.match(r"n\d{8}_", file.name)]
    return [(file, k) for k, file in enumerate(files)], [spaced(file.stem.split("_", 1)[1]) for file in files]


def pack_cifar500(folder, out, packer):
    part = lambda name: np.load(existing(folder / f"cifar10_500_{name}.npy"))
    pixels = [resize_crop(Image.fromarray(picture), packer.size) for picture in part("images_u8")]
    np.save(out / "cifar500_images.npy", np.stack(pixels))
    np.save(out / "cifar500_clip.npy", part("image_embs_f32"))
    packer.labels("cifar500", part("labels_u8").tolist())


def looks(pixels):
    """Unit vectors [n, 256] of uint8 [n, s, s, 3]: brightness at 16 x 16, without its mean."""
    n, side = len(pixels), pixels.shape[1] // 16
    grey = pixels[:, :16 * side, :16 * side].reshape(n, 16, side, 16, side * 3).mean((2, 4), dtype=np.float32).reshape(n, 256)
    grey -= grey.mean(1, keepdims=True)
    return torch.from_numpy(grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6))


def copies(out, chunk=2048):
    """Which training pictures look like an evaluation picture, or like its mirror image: bool [n]."""
    files = [out / f"{name}_images.npy" for name in EVALUATION]
    shown = [looks(np.load(file)) for file in files if file.exists()]
    images = np.load(out / "train_images.npy", mmap_mode="r")
    found = np.zeros(len(images), bool)
    if not shown:
        return found
    shown = torch.cat(shown)
    shown = torch.cat([shown, shown.view(-1, 16, 16).flip(2).flatten(1)]).bfloat16()  # rough first, exact where it is near
    for at in range(0, len(images), chunk):
        look = looks(np.array(images[at:at + chunk]))
        near = (look.bfloat16() @ shown.T).float().max(1)
        exact = (look * shown[near.indices].float()).sum(1)
        found[at:at + chunk] = (exact > COPY).numpy()
    return found


def leave_out(found, out):
    """Takes the marked pictures out of the training set, and says how many of each class."""
    if found.any():
        kept = np.load(out / "train_images.npy", mmap_mode="r")[~found]
        labels = np.load(out / "train_labels.npy")
        np.save(out / "train_images.npy", kept)
        np.save(out / "train_labels.npy", labels[~found])
    print(f"train: {int(found.sum())} pictures left out that look like evaluation pictures, {int((~found).sum())} kept", flush=True)


def pack_pictures(args, names, out):
    packer = Packer(out, args.size, args.workers)
    index = {c.id: i for i, c in enumerate(names.classes)}
    file = out / "labels.json"
    meaning = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}  # of an earlier call
    train = []
    for name, root, read in (("tiny_val", args.tiny_imagenet, tiny_imagenet), ("imagenette_val", args.imagenette, imagenette)):
        if root:
            train += read(root, "train", index)
            packer.pack(name, read(root, "val", index))
    if args.mini_imagenet:
        train += mini_imagenet(args.mini_imagenet, names)
    if args.folders:
        train += collections(args.folders, names)
    if args.cifar10:
        meaning["cifar10"] = names.benchmarks["cifar10"]
        packer.pack("cifar10", [(f, k) for k, n in enumerate(meaning["cifar10"]) for f in files_in(args.cifar10 / n)])
    if args.cifar500:
        meaning["cifar500"] = names.benchmarks["cifar10"]
        pack_cifar500(args.cifar500, out, packer)
    for name, root, read in (("photos", args.photos, photos), ("singles", args.singles, singles)):
        if root:
            pairs, meaning[name] = read(root)
            packer.pack(name, pairs)
    file.write_text(json.dumps(meaning, indent=1) + "\n", encoding="utf-8")
    if train:
        packer.pack("train", train)
        leave_out(copies(out), out)


# ------------------------------------------------------------------------------------------------ text vectors
def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def read_detic(folder, oid_file, coco_names):
    """{set: (names, unit vectors)} of the published vectors that are there; row k belongs to name k."""
    lvis = json.loads(existing(folder / "lvis_v1_train_cat_info.json").read_text(encoding="utf-8"))
    o365 = existing(folder / "Objects365_names_fix.csv").read_text(encoding="utf-8").splitlines()
    oid = existing(oid_file).read_text(encoding="utf-8") if oid_file else ""
    labels = {
        "lvis": ("lvis_v1_clip_a+cname.npy", [c["name"] for c in sorted(lvis, key=lambda c: c["id"])]),
        "o365": ("o365_clip_a+cnamefix.npy", [line.split(",")[2].strip() for line in o365]),
        "oid": ("oid_clip_a+cname.npy", re.findall(r"\{'id': \d+, 'name': ['\"](.*?)['\"], 'freebase_id'", oid)),
        "coco": ("coco_clip_a+cname.npy", coco_names),
    }
    if not oid_file:
        del labels["oid"]
    sets = {}
    for tag, (file, names) in labels.items():
        vectors = np.load(existing(folder / file)).astype(np.float32)
        if len(vectors) != len(names):
            raise MissingData(f"{file} has {len(vectors)} rows, but its list has {len(names)} names")
        sets[tag] = ([name.lower() for name in names], unit(vectors))
    return sets


def merge_published(sets):
    """{name: vector} of all sets. Names and rows come from different files, so their order is checked: a name that
    occurs in two sets was embedded from the same sentence and must have the same vector in both."""
    table = {}
    for tag, (names, vectors) in sets.items():
        shared = [(name, float(v @ table[name])) for name, v in zip(names, vectors) if name in table]
        wrong = [name for name, cosine in shared if cosine < SAME]
        if wrong:
            raise MissingData(f"{tag}: {wrong[:5]} have other vectors than in the sets before; are its rows in another order?")
        print(f"{tag}: {len(names)} vectors, {len(shared)} of them met before and the same")
        for name, v in zip(names, vectors):
            table.setdefault(name, v)
    return table


def add_spellings(published):
    """Published names plus the ways people write them. `car_(automobile)` is also said "car"; a name published in that
    spelling keeps its own vector, otherwise the mean of all names that are said so counts."""
    table = {name: v for name, v in published.items() if name == spaced(name)}
    said = {}
    for name, v in published.items():
        ways = {clean(name), *(part.strip() for part in spaced(name).split("/"))}
        if name != spaced(name):
            ways.add(spaced(name))
        for way in sorted(ways - {"", name}):
            said.setdefault(way, []).append(v)
    for way, vectors in said.items():
        table.setdefault(way, unit(np.mean(vectors, 0)))
    return table


def check_sources(names, table):
    """Every published name that names.toml relies on has a vector."""
    used = {s for c in names.classes for s in (*(name for name, _ in c.sources), *c.also)}
    used |= {s for sources in names.aliases.values() for s, _ in sources}
    missing = sorted(used - set(table) - {GENERIC})
    if missing:
        raise MissingData(f"no published vector for {missing}: give --detic with all its sets, and --oid-names")


def pack_texts(args, names, out):
    published = merge_published(read_detic(args.detic, args.oid_names, names.benchmarks["coco"]))
    table = add_spellings(published)
    check_sources(names, table)
    generic = unit(np.mean(list(published.values()), 0))
    stacked = lambda d: {"names": np.array(list(d)), "vectors": np.stack(list(d.values())).astype(np.float32)}
    np.savez(out / "texts.npz", generic=generic.astype(np.float32), **stacked(table))
    np.savez(out / "published.npz", **stacked(published))
    print(f"texts: {len(published)} published names, {len(table)} spellings")


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tiny-imagenet", "imagenette", "mini-imagenet", "folders", "cifar10", "cifar500", "photos", "singles", "detic", "oid-names", "bpe"):
        p.add_argument("--" + name, type=Path)
    p.add_argument("--out", type=Path, required=True, help="the folder DATA")
    p.add_argument("--size", type=int, default=64, help="side of the pictures (default: 64, the model's own)")
    p.add_argument("--workers", type=int, default=2, help="processes that decode pictures (default: 2)")
    args = p.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    names = load_names()
    if args.bpe:
        shutil.copyfile(existing(args.bpe), args.out / BPE)
    if args.detic:
        pack_texts(args, names, args.out)
    pack_pictures(args, names, args.out)


if __name__ == "__main__":
    try:
        main()
    except MissingData as e:
        raise SystemExit(f"prepare.py: {e}")
