#!/usr/bin/env python3
"""Finds the default threshold of the embedded model: from which anomaly score on a picture is called odd.

  threshold.py --model MODEL --bpe bpe_simple_vocab_16e6.txt.gz --out threshold.json \\
               --set cifar10=IMAGES.npy,LABELS.npy --names airplane,automobile,...   --set photos=FOLDER

MODEL is a safetensors file with config.json, token_ids.json and vocabulary.json beside it. A set is either a pair of arrays (uint8 [n,h,w,3] and labels [n], named by --names) or a folder of pictures: with
`labels.csv` (file,label per line), or with one sub-folder per label. The first set decides; the others only show how well its threshold
transfers. Labels that the text tower was never taught are left out, because their prompts say "something".

The score is the product's own: for normal prompts p_1..p_m = "a photo of a {name}" and the generic prompt g = "a photo of something" the
last entry of softmax(100 * cos) over [p_1..p_m, g]. A picture is odd when its score is above the threshold.

  one-vs-rest     one normal name; its pictures are normal, all others odd; rates are means over the names
  several normals m names are normal and the remaining ones odd; rates are means over drawn choices of m names (all, where few)
  leave-one-out   the largest m: all names but one

  false alarm     share of normal pictures called odd          miss    share of odd pictures called normal
  equal error     the threshold where both are the same        best    the threshold with the highest balanced accuracy

It does not know costs: equal error treats a false alarm and a miss alike, and a share of odd pictures does not enter.
"""

import argparse
import csv
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
from PIL import Image

from model import TrainedModel, resize_crop
from names import GENERIC_PROMPT as GENERIC, photo_of

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
GRID = np.round(np.arange(0.001, 1.0, 0.001), 3)  # thresholds tried
SHOWN = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # rows of the printed tables
DRAWS, SEED = 60, 0  # choices of m normal names, where there are more


class Model:
    """The two towers in float32 on the CPU."""

    def __init__(self, file, bpe):
        self.file, self.trained = Path(file), TrainedModel(file, bpe)
        self.taught = {entry["name"] for entry in self.trained.vocabulary["names"]}

    def text(self, prompts):
        """[n,512] unit vectors."""
        return self.trained.text(prompts).numpy()

    def images(self, pictures):
        """[n,512] unit vectors of Pillow pictures."""
        return self.trained.images(np.stack([resize_crop(p, self.trained.size) for p in pictures])).numpy()


def read_set(where, names):
    """Pictures and their label names, from a pair of arrays or from a folder."""
    if "," in where:
        images, labels = (np.load(p) for p in where.split(","))
        return [Image.fromarray(u) for u in images], [names[k] for k in labels]
    folder = Path(where)
    if (folder / "labels.csv").is_file():
        rows = [r for r in csv.reader(open(folder / "labels.csv", encoding="utf-8")) if len(r) >= 2]
        pairs = [(next(p for p in (folder / r[0], folder / "images" / r[0]) if p.is_file()), r[-1].strip()) for r in rows]
    else:
        pairs = [(p, p.parent.name) for p in sorted(folder.glob("*/*")) if p.suffix.lower() in SUFFIXES]
    return [Image.open(p) for p, _ in pairs], [label for _, label in pairs]


def scores(images, normal, generic):
    """Anomaly scores [n] of image vectors [n,d] for normal prompt vectors [m,d] and the generic prompt vector [d]."""
    logits = 100.0 * (images @ np.vstack([normal, generic]).T).astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    e = np.exp(logits)
    return e[:, -1] / e.sum(1)


def rates(tasks):
    """Mean false alarm and miss over tasks (scores, is odd), for every threshold of GRID."""
    alarm = np.mean([(s[~odd][:, None] > GRID).mean(0) for s, odd in tasks], 0)
    miss = np.mean([(s[odd][:, None] <= GRID).mean(0) for s, odd in tasks], 0)
    return alarm, miss


def auroc(score, odd):
    """Probability that an odd picture scores higher than a normal one, ties counted half."""
    high, low = score[odd][:, None], score[~odd]
    return float(((high > low).sum() + 0.5 * (high == low).sum()) / (high.size * low.size))


def at(threshold, alarm, miss):
    k = int(np.abs(GRID - threshold).argmin())
    return {
        "threshold": float(GRID[k]),
        "false_alarm": round(float(alarm[k]), 3),
        "miss": round(float(miss[k]), 3),
        "balanced_accuracy": round(1 - float(alarm[k] + miss[k]) / 2, 3),
    }


def study(tasks):
    """Everything about a list of tasks: AUROC, the two chosen thresholds, the table, and how far single tasks lie apart."""
    alarm, miss = rates(tasks)
    own = [GRID[np.abs(a - m).argmin()] for a, m in (rates([t]) for t in tasks)]
    return {
        "tasks": len(tasks),
        "auroc": round(float(np.mean([auroc(*t) for t in tasks])), 3),
        "equal_error": at(GRID[np.abs(alarm - miss).argmin()], alarm, miss),
        "best": at(GRID[(alarm + miss).argmin()], alarm, miss),
        "equal_error_of_single_tasks": {f"{q}%": round(float(np.percentile(own, q)), 3) for q in (10, 50, 90)},
        "table": [at(t, alarm, miss) for t in SHOWN],
    }


def tasks_with(m, images, labels, names, vectors, generic):
    """One task per choice of m normal names; all choices where there are at most DRAWS, else DRAWS drawn ones."""
    choices = list(itertools.combinations(range(len(names)), m)) if len(names) <= 20 else None
    if choices is None or len(choices) > DRAWS:
        draw = np.random.default_rng(SEED)
        choices = [tuple(draw.choice(len(names), m, replace=False)) for _ in range(DRAWS)]
    if m == 1:
        choices = [(k,) for k in range(len(names))]
    return [(scores(images, vectors[list(c)], generic), ~np.isin(labels, c)) for c in choices]


def measure(model, where, names):
    pictures, words = read_set(where, names)
    used = sorted({w for w in words if w in model.taught})
    keep = [k for k, w in enumerate(words) if w in model.taught]
    images = model.images([pictures[k] for k in keep])
    labels = np.array([used.index(words[k]) for k in keep])
    vectors, generic = model.text([photo_of(w) for w in used]), model.text([GENERIC])[0]
    counts = [m for m in (1, 2, 3, 5, 9) if m < len(used)]
    by_count = {m: tasks_with(m, images, labels, used, vectors, generic) for m in counts}
    return {
        "pictures": len(keep),
        "names": used,
        "left_out": sorted(set(words) - set(used)),
        "one_vs_rest": study(by_count[1]),
        "several_normals": {str(m): study(t) for m, t in by_count.items() if m > 1},
    }, by_count[1]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="safetensors file")
    p.add_argument("--bpe", required=True, help="OpenAI's bpe_simple_vocab_16e6.txt.gz")
    p.add_argument("--set", action="append", required=True, metavar="TAG=WHERE", help="folder, or IMAGES.npy,LABELS.npy; first decides")
    p.add_argument("--names", default="", help="label names of the arrays, comma separated")
    p.add_argument("--out", help="write the result here")
    a = p.parse_args()
    model, sets, tasks = Model(a.model, a.bpe), {}, {}
    for tag, where in (s.split("=", 1) for s in a.set):
        sets[tag], tasks[tag] = measure(model, where, a.names.split(","))
    first = next(iter(sets))
    chosen = round(sets[first]["one_vs_rest"]["equal_error"]["threshold"], 2)
    transfer = {tag: at(chosen, *rates(t)) for tag, t in tasks.items()}
    f = transfer[first]
    source = (
        f"Where false alarms and misses are equally frequent (about {(f['false_alarm'] + f['miss']) / 2:.0%} each) with one normal name, "
        f"measured on {sets[first]['pictures']} {first} test pictures, each of the {len(sets[first]['names'])} names in turn against the "
        "rest; with several normal names the useful threshold is lower, so set it by your own pictures."
    )
    result = {
        "model_sha256": hashlib.sha256(model.file.read_bytes()).hexdigest(),
        "proposed": {"threshold": chosen, "threshold_source": source, "rates": transfer},
        "sets": sets,
    }
    for tag, s in sets.items():
        print(f"\n{tag}: {s['pictures']} pictures, {len(s['names'])} names")
        for m, r in {"1": s["one_vs_rest"], **s["several_normals"]}.items():
            print(f"{m} normal: auroc {r['auroc']}, equal {r['equal_error']}, best {r['best']}, single {r['equal_error_of_single_tasks']}")
        for row in s["one_vs_rest"]["table"]:
            print("   ", row)
    print("\nproposed:", json.dumps(result["proposed"], indent=1))
    if a.out:
        Path(a.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
