#!/usr/bin/env python3
"""Measures a trained model on every evaluation set that DATA holds.

  evaluate.py --model OUT/model.safetensors --data DATA [--out results.json] [--card figures.md]

By the product's rule: for normal prompts "a photo of a {name}" and the generic prompt "a photo of something", the anomaly
score of a picture is the last entry of softmax(100 * cos) over them.

  one-vs-rest     one name is normal, the pictures of all others are anomalies
  leave-one-out   all names but one are normal, the pictures of the one left out are anomalies
  calibration     how often the own name beats the generic prompt, how often a wrong name does not

It does not choose anything: the default threshold is found by threshold.py.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import metrics
from model import TrainedModel
from names import GENERIC_PROMPT, article, clean, load_names, photo_of
from prepare import BPE, MissingData, existing

MANY = 30  # with more names than this, only the spread over names is reported
TITLES = {
    "tiny_val": "Tiny ImageNet val (classes trained)",
    "imagenette_val": "Imagenette val (classes trained)",
    "cifar10": "CIFAR-10 test, JPEG copies (zero-shot)",
    "cifar500": "CIFAR-10, 500 lossless test pictures (zero-shot)",
    "photos": "photos with a known label (zero-shot)",
    "singles": "ImageNet-30 names, one picture each",
    "real_clip": "*real CLIP ViT-B/32* on the same 500, published text vectors",
    "real_clip_with_this_text": "*real CLIP ViT-B/32* on the same 500, this model's text tower",
}
UNTAUGHT = (
    "a photo of a volcano", "a photo of a mosque", "a photo of a zxqvw", "a photo of a quokka", "a photo of a damaged screw",
    "a photo of a broken bottle", "a photo of a red car", "a photo of a dog and a cat", "a photo of an armadillo",
    "a sunset", "a photo of a car without wheels", "healthy leaf",
)


def describe(z, labels, names, vectors, generic):
    """All measures of one set; leave-one-out only where it is usual, with few names."""
    each = metrics.one_vs_rest(z, labels, vectors, generic)
    result = {
        "pictures": len(z),
        "names": len(names),
        "top1": metrics.top1(z, labels, vectors),
        "one_vs_rest_auroc": float(np.nanmean(each)),
        **metrics.calibration(z, labels, vectors, generic),
    }
    rounded = lambda values: {name: round(v, 4) for name, v in zip(names, values)}
    if len(names) > MANY:
        ranked = sorted(rounded(each).items(), key=lambda item: item[1])
        result["worst"], result["best"] = dict(ranked[:8]), dict(ranked[-8:])
        result["spread"] = {f"{q}%": round(float(np.nanpercentile(each, q)), 4) for q in (5, 25, 50, 75, 95)}
        return result
    result["per_class"] = rounded(each)
    if len(names) <= 10:
        left_out = metrics.leave_one_out(z, labels, vectors, generic)
        result["leave_one_out_auroc"] = float(np.nanmean(left_out))
        result["leave_one_out_per_class"] = rounded(left_out)
    return result


class Evaluation:
    def __init__(self, model, data):
        self.model, self.data, self.names = model, data, load_names()
        self.generic = model.text([GENERIC_PROMPT])[0]
        self.taught = {entry["name"] for entry in model.vocabulary["names"]}
        labels = data / "labels.json"
        self.meaning = json.loads(labels.read_text(encoding="utf-8")) if labels.exists() else {}
        self.results = {}

    def has(self, name):
        return (self.data / f"{name}_images.npy").exists()

    def read(self, name):
        labels = np.load(existing(self.data / f"{name}_labels.npy")).astype(np.int64)
        return np.load(self.data / f"{name}_images.npy", mmap_mode="r"), labels

    def report(self, name, *measured):
        self.results[name] = describe(*measured)
        print(name, json.dumps(self.results[name]), flush=True)

    def vectors(self, names):
        return self.model.text([photo_of(name) for name in names])

    def trained_classes(self, name):
        """Sets whose labels are classes of names.toml."""
        images, labels = self.read(name)
        used = np.unique(labels)
        words = [self.names.classes[c].names[0] for c in used]
        z = self.model.images(images)
        self.report(name, z, np.searchsorted(used, labels), words, self.vectors(words), self.generic)

    def named(self, name):
        """Sets whose labels are words; words that the model was never taught are left out."""
        images, labels = self.read(name)
        words = self.meaning[name]
        known = [k for k, word in enumerate(words) if word in self.taught]
        if name == "singles":
            known = [k for k in known if words[k] in self.names.benchmarks["imagenet30"]]
        z, keep, used = self.model.images(images), np.isin(labels, known), [words[k] for k in known]
        self.report(name, z[torch.from_numpy(keep)], np.searchsorted(known, labels[keep]), used, self.vectors(used), self.generic)
        self.results[name]["untaught"] = [word for word in words if word not in self.taught]

    def real_clip(self):
        """The same 500 pictures as OpenAI's ViT-B/32 sees them, for comparison."""
        labels = self.read("cifar500")[1]
        z = F.normalize(torch.from_numpy(np.load(self.data / "cifar500_clip.npy").astype(np.float32)), dim=-1)
        words = self.names.benchmarks["cifar10"]
        self.report("real_clip_with_this_text", z, labels, words, self.vectors(words), self.generic)
        if (self.data / "texts.npz").exists():
            texts = np.load(self.data / "texts.npz")
            row = {name: k for k, name in enumerate(texts["names"].tolist())}
            said = [row["car" if word == "automobile" else word] for word in words]
            vectors, generic = torch.from_numpy(texts["vectors"][said]), torch.from_numpy(texts["generic"])
            self.report("real_clip", z, labels, words, vectors, generic)

    def text(self):
        """How near the text tower comes to the published vectors, and what it makes of words it was never taught."""
        file, texts = np.load(self.data / "published.npz"), np.load(self.data / "texts.npz")
        names, published = file["names"].tolist(), torch.from_numpy(file["vectors"])
        generic = torch.from_numpy(texts["generic"])
        said = [clean(name) or name for name in names]
        single = [k for k, name in enumerate(said) if said.count(name) == 1]
        phrases = {
            "as published": (["a " + name for name in names], list(range(len(names)))),
            "a photo of a": ([photo_of(said[k]) for k in single], single),
            "bare": ([said[k] for k in single], single),
            "untaught sentence": ([f"i can see {article(said[k])} {said[k]} here" for k in single], single),
        }
        result = {tag: self._against(prompts, rows, published, generic) for tag, (prompts, rows) in phrases.items()}
        generic_cosine = self.model.text(list(self.names.generic_prompts)) @ generic
        result["generic prompts"] = {"mean_cosine": float(generic_cosine.mean()), "least_cosine": float(generic_cosine.min())}
        result["untaught words"] = {prompt: self._untaught(prompt, names, published, generic) for prompt in UNTAUGHT}
        self.results["text"] = result
        print("text", json.dumps(result), flush=True)

    def _against(self, prompts, rows, published, generic):
        e = self.model.text(prompts)
        own_part = lambda v: F.normalize(v - (v @ generic)[:, None] * generic, dim=-1)
        cosine = (e * published[rows]).sum(1)
        nearest = (e @ published.T).topk(min(5, len(published))).indices == torch.tensor(rows)[:, None]
        return {
            "prompts": len(prompts),
            "mean_cosine": float(cosine.mean()),
            "p5_cosine": float(cosine.quantile(0.05)),
            "mean_cosine_without_generic": float((own_part(e) * own_part(published[rows])).sum(1).mean()),
            "top1": float(nearest[:, 0].float().mean()),
            "top5": float(nearest.any(1).float().mean()),
        }

    def _untaught(self, prompt, names, published, generic):
        e = self.model.text([prompt])[0]
        cosines = torch.cat([published @ e, (generic @ e)[None]])
        return {
            "cosine_to_generic": round(float(generic @ e), 3),
            "nearest": [*names, "(generic)"][int(cosines.argmax())],
            "unknown_tokens": self.model.rows(prompt).count(0),
        }

    def run(self):
        for name in ("tiny_val", "imagenette_val"):
            if self.has(name):
                self.trained_classes(name)
        for name in ("cifar10", "cifar500", "photos", "singles"):
            if self.has(name):
                self.named(name)
        if self.has("cifar500"):
            self.real_clip()
        if (self.data / "published.npz").exists():
            self.text()
        if not self.results:
            raise MissingData(f"{self.data} holds no evaluation set and no text vectors; see prepare.py --help")
        return self.results


def card(results):
    """The figures of the model card, as Markdown."""
    head = ["set", "pictures", "names", "one-vs-rest AUROC", "leave-one-out AUROC", "top-1", "own name above generic",
            "wrong name below generic"]
    row = lambda cells: "| " + " | ".join(cells) + " |"
    keys = ("one_vs_rest_auroc", "leave_one_out_auroc", "top1", "own_name_above_generic", "wrong_name_below_generic")
    lines = [row(head), row(["---"] * len(head))]
    for name, title in TITLES.items():
        if name in results:
            r = results[name]
            shown = (f"{r[key]:.3f}" if key in r else "-" for key in keys)
            lines.append(row([title, str(r["pictures"]), str(r["names"]), *shown]))
    for name in ("cifar10", "cifar500"):
        if name in results:
            r = results[name]
            lines += ["", TITLES[name] + ", by class:", "", row(["", *r["per_class"]]), row(["---"] * (1 + len(r["per_class"])))]
            lines.append(row(["one-vs-rest", *(f"{v:.3f}" for v in r["per_class"].values())]))
            lines.append(row(["leave-one-out", *(f"{v:.3f}" for v in r["leave_one_out_per_class"].values())]))
    return "\n".join(lines) + "\n"


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, required=True, help="safetensors file, with config.json and the others beside it")
    p.add_argument("--data", type=Path, required=True, help="the folder that prepare.py wrote")
    p.add_argument("--out", type=Path, help="write all figures here, as JSON")
    p.add_argument("--card", type=Path, help="write the tables of the model card here, as Markdown")
    args = p.parse_args(arguments)
    results = Evaluation(TrainedModel(existing(args.model), existing(args.data / BPE)), args.data).run()
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if args.card:
        args.card.write_text(card(results), encoding="utf-8")
    return results


if __name__ == "__main__":
    try:
        main()
    except MissingData as e:
        raise SystemExit(f"evaluate.py: {e}")
