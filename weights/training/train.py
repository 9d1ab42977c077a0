#!/usr/bin/env python3
"""Trains the small model: a CLIP whose text side is taught published CLIP vectors and whose image side is aligned with them.

  train.py --data DATA --checkpoints DIR --out OUT [--from MODEL.safetensors] [--device cuda] [--set NAME=VALUE ...]

DATA is what prepare.py wrote. Three stages, each with a budget of minutes or of steps, whichever is given and ends first:

  image   The text vectors are fixed targets of the image tower. With z the embedding of a picture of class c, t_k the vector
          of name k and g the generic vector (the mean of all names), the loss is
            softmax cross-entropy of scale * cos(z, t_k) over c and all classes that are wrong for it  scale grows to 100
            + ranking * softmax cross-entropy of scale * (cos(z, t_c) - cos(z, g)) over the picture and all of its batch that c is wrong for
            + rule * ( softplus(scale * (cos(z,g) - cos(z,t_p))) for true names p: the class and more general ones
                     + wrong * softplus(scale * (cos(z,t_n) - cos(z,g))) for wrong names n )
            + several * ( -log p where a true name is among the normal ones, -log(1 - p) where it is left out )
            + pull * (1 - cos(z, t_c))
          The second term has a name rank the pictures of a batch, which is what AUROC measures; by the first alone a picture
          ranks the names. The third is the rule by which the product decides with one normal name (own name > generic > wrong
          name). The fourth is the same rule with many: for every picture a handful of wrong names is drawn, near ones half of the
          time, and to half of them a true one is added; p is one less the share of g in the softmax of scale * cos(z, t) over the
          drawn names and g. The last keeps embeddings near the vectors, so that names without training pictures mean something
          too. Classes without a published vector start from a blend of others and learn a bounded offset.
  text    The text tower learns to say the vector of a name in many sentences, and for sentences that name nothing or
          something unknown the generic vector, turned so that false alarms and misses are balanced (see balanced).
  align   The image tower is tuned for a short time against what the text tower really says. At its end false alarms and misses
          are balanced once more, in the text projection (see settle).

With --from the towers begin with the weights of a model that was trained before (its config.json and token_ids.json beside
it), and learned vectors with what its text tower says; token rows are told by their ids, so that there may be more names now.

Learning rates follow the budget's progress (short warm-up, then straight to zero), so any budget ends annealed. DIR keeps
the state of every stage: the same command goes on where it stopped, and a finished stage is not done again.
Written to OUT: model.safetensors, config.json, token_ids.json, vocabulary.json, training.json.
"""
import argparse
import copy
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import metrics
from model import Clip, TrainedModel, clip_config, initialise, normalise, save_weights
from names import GENERIC, GENERIC_PROMPT, article, clean, fill, load_names, photo_of, plural
from prepare import BPE, TINY_IMAGENET, MissingData, existing
from tokenizer import END, START, TokenTable, Tokenizer

STAGES = ("image", "text", "align")
TOKENS = "text_model.embeddings.token_embedding.weight"
HELD_OUT = 5  # pictures per class that are never trained on, for watching
SAVE_SECONDS, LOG_SECONDS = 240, 20
NEARNESS = 12.0  # how much likelier a near name is drawn: exp(NEARNESS * cosine without the generic part)


@dataclass(frozen=True)
class Recipe:
    """Every setting, with the value that the last round of the shipped model was trained with. A budget of 0 does not limit."""

    seed: int = 1
    # geometry
    image_size: int = 64
    patch: int = 8
    width: int = 192
    layers: int = 6
    heads: int = 3
    text_width: int = 192
    text_layers: int = 3
    text_heads: int = 3
    # budgets
    image_minutes: float = 0.0
    image_steps: int = 10500
    text_minutes: float = 0.0
    text_steps: int = 400
    align_minutes: float = 0.0
    align_steps: int = 200
    # resolution:share of the image stage, in this order; low resolutions are several times cheaper a picture
    phases: str = "48:0.45,64:0.55"
    batch: int = 256
    text_batch: int = 512
    # learning rates: Muon for the matrices inside the layers, AdamW for all else
    muon_rate: float = 0.012
    adam_rate: float = 1.2e-3
    text_muon_rate: float = 0.01
    text_adam_rate: float = 2e-3
    align_factor: float = 0.15
    decay: float = 0.02
    first_scale: float = 1.0  # share of the scale of 100 to begin with; 0.3 for a training from nothing
    # weights of the image loss
    ranking: float = 1.0
    rule: float = 0.5
    wrong: float = 0.7
    several: float = 1.0
    most_names: int = 12  # wrong names drawn at a time: one to so many
    pull: float = 10.0
    max_offset: float = 0.5
    # augmentation: least share of the side that a crop keeps, early and late; share of pictures made coarse
    crop: float = 0.6
    late_crop: float = 0.8
    coarse: float = 0.4
    jpeg: float = 0.5  # share of the coarse ones that are compressed while they are small
    patches: float = 0.7  # share of the patches that the tower sees of a picture, but all of them late
    bfloat16: bool = True

    @staticmethod
    def from_pairs(pairs):
        """`NAME=VALUE` strings over the defaults."""
        types, values = {f.name: f.type for f in fields(Recipe)}, {}
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name not in types:
                raise SystemExit(f"train.py: --set {pair}: no such setting; there are {', '.join(types)}")
            values[name] = value.lower() in ("1", "true", "yes") if types[name] is bool else types[name](value)
        return Recipe(**values)


# ---------------------------------------------------------------------------------------------------- schedule
@dataclass(frozen=True)
class Budget:
    minutes: float
    steps: int

    def progress(self, seconds, step):
        """Used share of the budget: 0 at the start, 1 or more when it is spent."""
        return max(seconds / (60 * self.minutes) if self.minutes else 0, step / self.steps if self.steps else 0)


def rate_factor(progress, warm_up=0.03):
    """Learning rate relative to its peak."""
    if progress < warm_up:
        return max(progress / warm_up, 0.05)
    return max((1 - progress) / (1 - warm_up), 0.0)


class Optimisers:
    """Muon (K. Jordan, 2024) for the matrices inside the layers, AdamW for embeddings, biases, norms and projections."""

    def __init__(self, named, muon_rate, adam_rate, decay):
        hidden, matrices, others = [], [], []
        for name, p in named:
            flat = p.ndim < 2 or "embedding" in name or name == "offset"
            (hidden if ".layers." in name and not flat else others if flat else matrices).append(p)
        groups = [{"params": others, "weight_decay": 0.0}, {"params": matrices, "weight_decay": decay}]
        self.all = [
            torch.optim.Muon(hidden, lr=muon_rate, weight_decay=decay),
            torch.optim.AdamW(groups, lr=adam_rate, betas=(0.9, 0.98)),
        ]
        self.rates = [muon_rate, adam_rate]

    def step(self, factor):
        for optimiser, rate in zip(self.all, self.rates):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self):
        return [o.state_dict() for o in self.all]

    def load_state_dict(self, states):
        for optimiser, state in zip(self.all, states, strict=True):
            optimiser.load_state_dict(state)


class Stage:
    """A training loop with a budget, a log and a checkpoint."""

    def __init__(self, name, run, optimisers, **modules):
        """`modules` are saved with the stage; `run` is the Run it belongs to."""
        self.name, self.run, self.optimisers, self.modules = name, run, optimisers, modules
        self.path = run.checkpoints / f"{name}.pt"
        self.steps, self.seconds = 0, 0.0
        if self.path.exists():
            self._load()

    def _load(self):
        state = torch.load(self.path, map_location=self.run.device, weights_only=True)
        if state["recipe"] != asdict(self.run.recipe):
            raise SystemExit(f"train.py: {self.path} was made with other settings; give those again or another folder")
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        self.optimisers.load_state_dict(state["optimisers"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.run.log(f"{self.name}: {self.steps} steps, {self.seconds / 60:.1f} minutes done before")

    def _save(self):
        state = {name: module.state_dict() for name, module in self.modules.items()}
        state |= {"optimisers": self.optimisers.state_dict(), "recipe": asdict(self.run.recipe)}
        state |= {"steps": self.steps, "seconds": self.seconds}
        part = self.path.with_suffix(".part")  # never a half-written checkpoint
        torch.save(state, part)
        os.replace(part, self.path)

    def train(self, budget, factor, step):
        """Calls `step(progress, generator) -> (loss, {figure: value})` until the budget is spent."""
        generator = torch.Generator(self.run.device).manual_seed(self.run.recipe.seed + self.steps)
        start = time.monotonic() - self.seconds
        logged = saved = time.monotonic()
        figures = []
        while (progress := budget.progress(self.seconds, self.steps)) < 1:
            loss, values = step(progress, generator)
            loss.backward()
            self.optimisers.step(factor * rate_factor(progress))
            self.steps += 1
            now = time.monotonic()
            self.seconds = now - start
            figures.append([float(v) for v in values.values()])
            if now - logged > LOG_SECONDS:
                means = zip(values, np.mean(figures, 0))
                self.run.log(f"{self.name} {progress:.3f} step {self.steps} " + " ".join(f"{k} {v:.4f}" for k, v in means))
                logged, figures = now, []
            if now - saved > SAVE_SECONDS:
                self._save()
                saved = now
        self._save()
        self.run.log(f"{self.name} done: {self.steps} steps, {self.seconds / 60:.1f} minutes")


class Run:
    """What all stages share: settings, data, the device, the log."""

    def __init__(self, args, recipe):
        self.recipe, self.data, self.checkpoints = recipe, args.data, args.checkpoints
        self.device = torch.device(args.device)
        self.began_from = hashlib.sha256(existing(args.begin).read_bytes()).hexdigest() if args.begin else None
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.names, self.texts = load_names(), Texts(args.data)
        self.tokenizer = Tokenizer(existing(args.data / BPE))

    def log(self, line):
        line = time.strftime("%H:%M:%S ") + line
        print(line, flush=True)
        with open(self.checkpoints / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bfloat16)

    def budget(self, stage):
        budget = Budget(getattr(self.recipe, f"{stage}_minutes"), getattr(self.recipe, f"{stage}_steps"))
        if not budget.minutes and not budget.steps:
            raise SystemExit(f"train.py: stage {stage} needs a budget: --set {stage}_minutes=N or {stage}_steps=N")
        return budget


# ------------------------------------------------------------------------------------------------ text vectors
class Texts:
    """Published unit vectors by spelling."""

    def __init__(self, data):
        file = np.load(existing(data / "texts.npz"))
        self.vector = dict(zip(file["names"].tolist(), torch.from_numpy(file["vectors"])))
        self.generic = torch.from_numpy(file["generic"])

    def blend(self, sources):
        """Unit weighted mean of ((name, weight), ...)."""
        of = lambda name: self.generic if name == GENERIC else self.vector[name]
        return F.normalize(sum(of(name) * weight for name, weight in sources), dim=-1)


@dataclass(frozen=True)
class Spelling:
    """A name that the text tower is taught, and where its vector comes from."""

    name: str
    kind: str  # "published", "class" or "alias"
    sources: tuple = ()
    image_class: int = -1

    def as_json(self, names, moved):
        entry = {"name": self.name}
        shown = ", ".join(name if len(self.sources) == 1 else f"{name}:{weight:g}" for name, weight in self.sources)
        if self.kind == "published":
            return entry | {"vector": "published"}
        if self.kind == "class" and names.classes[self.image_class].is_learned:
            return entry | {"vector": "learned", "from": shown, "moved": round(moved[self.image_class], 3)}
        return entry | {"vector": "same as" if len(self.sources) == 1 else "blend", "of": shown}


def spellings(names, texts):
    """Everything the text tower is taught; a published spelling goes before a class's, that before an alias."""
    found = {name: Spelling(name, "published") for name in texts.vector}
    for i, c in enumerate(names.classes):
        for name in c.names:
            found.setdefault(name, Spelling(name, "class", c.sources, i))
    for name, sources in names.aliases.items():
        found.setdefault(name, Spelling(name, "alias", sources))
    return list(found.values())


def vectors_of(spelled, texts, class_vectors):
    of = {
        "published": lambda s: texts.vector[s.name],
        "class": lambda s: class_vectors[s.image_class],
        "alias": lambda s: texts.blend(s.sources),
    }
    return torch.stack([of[s.kind](s) for s in spelled])


def token_table(spelled, names, tokenizer):
    """Rows for every token that a training prompt can contain, and for common punctuation."""
    prompts = {"a an the . , - _ ( ) / ' ! ?", *names.generic_prompts}
    for s in spelled:
        prompts |= {s.name, s.name.replace(" ", "_"), plural(s.name)}
    for group in names.templates.values():
        prompts |= {fill(template, "dog", first) for template in group for first in ("a", "an")}
    return TokenTable([-1, *sorted({i for p in prompts for i in tokenizer.encode(p)}), START, END])


class Targets(nn.Module):
    """Unit vectors of the classes (some with a learned offset) and of more general names, and what is true of what."""

    NEAR = 0.4  # cosine without the generic part from which on a general name is not called wrong for a class

    def __init__(self, names, texts, max_offset, seed):
        super().__init__()
        classes = names.classes
        self.max_offset = max_offset
        self.general = sorted({name for c in classes for name in c.also})
        self.register_buffer("base", torch.stack([texts.blend(c.sources) for c in classes]))
        self.register_buffer("learned", torch.tensor([c.is_learned for c in classes]))
        self.register_buffer("general_vectors", torch.stack([texts.vector[name] for name in self.general]))
        self.register_buffer("generic", texts.generic.clone())
        self.register_buffer("shift", torch.zeros(()), persistent=False)
        own_part = lambda v: F.normalize(v - (v @ self.generic)[:, None] * self.generic, dim=-1)
        everything = torch.cat([self.base, self.general_vectors])
        self.register_buffer("likeness", own_part(self.base) @ own_part(everything).T)
        self.register_buffer("truth", self._truth(classes))
        # offsets start in random directions within the span of the published vectors, where text vectors lie
        published = torch.stack(list(texts.vector.values()))
        mixture = torch.randn(len(classes), len(published), generator=torch.Generator().manual_seed(seed))
        directions = F.normalize(mixture @ (published - published.mean(0)), dim=-1)
        self.offset = nn.Parameter(0.5 * max_offset * directions * self.learned[:, None])

    def _truth(self, classes):
        """[classes, classes + general names]: 1 true, -1 wrong, 0 not said."""
        n = len(classes)
        truth = -torch.ones(n, n + len(self.general))
        truth[:, n:][self.likeness[:, n:] > self.NEAR] = 0
        for i, c in enumerate(classes):
            for name in c.also:
                truth[i, n + self.general.index(name)] = 1
            for j, other in enumerate(classes):
                if other.vector in c.also:
                    truth[i, j] = 1
                if c.vector in other.also:
                    truth[i, j] = 0  # a picture of the general class may show the special one
            truth[i, i] = 1
        return truth

    def classes(self):
        """Unit vectors [classes, d]."""
        offset = self.offset * self.learned[:, None]
        length = offset.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return F.normalize(self.base + offset * (self.max_offset / length).clamp(max=1.0), dim=-1)

    def forward(self):
        """Unit vectors [classes + general names, d]."""
        return torch.cat([self.classes(), self.general_vectors])

    @torch.no_grad()
    def begin(self, vectors):
        """Has the learned classes begin with these unit vectors {class index: [d]}, as near as the offset reaches."""
        for i, v in vectors.items():
            self.offset[i] = (v @ self.base[i]) * v - self.base[i]

    @torch.no_grad()
    def following(self, classes, general, generic, shift):
        """Targets that are fixed to these unit vectors; margins are meant to be larger by `shift` than the losses want."""
        other = copy.deepcopy(self)
        values = ((other.base, classes), (other.general_vectors, general), (other.generic, generic), (other.shift, shift))
        for buffer, value in values:
            buffer.copy_(value)
        other.learned.fill_(False)
        return other


# ---------------------------------------------------------------------------------------------------- pictures
class Pictures:
    """Training pictures in memory as uint8 [n, 3, s, s], the last few of every class held out."""

    def __init__(self, data, device, classes):
        images = np.load(existing(data / "train_images.npy"), mmap_mode="r")
        labels = np.load(existing(data / "train_labels.npy")).astype(np.int64)
        if labels.max() >= classes:
            raise MissingData(f"label {labels.max()} in train_labels.npy, but names.toml has {classes} classes")
        held = np.zeros(len(labels), bool)
        for c in np.unique(labels):
            held[np.flatnonzero(labels == c)[-HELD_OUT:]] = True
        if held.all():
            raise MissingData(f"no training pictures are left when {HELD_OUT} of each class are held out")
        self.device = device
        self.images, self.labels = self._part(images, labels, ~held)
        self.held_images, self.held_labels = self._part(images, labels, held)
        self.size = self.images.shape[-1]
        self.reduced = {self.size: self.images}
        self.order, self.at = torch.empty(0, dtype=torch.long), 0

    def _part(self, images, labels, chosen):
        pixels = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).contiguous()
        return pixels.to(self.device), torch.from_numpy(labels[chosen]).to(self.device)

    def source(self, resolution):
        """The pictures to crop from: 1.5 times the resolution, but not more than there is."""
        size = min(self.size, resolution * 3 // 2)
        if size not in self.reduced:
            reduce = lambda u: F.interpolate(u.float(), (size, size), mode="bilinear", antialias=True)
            parts = [reduce(u).round().clamp(0, 255).byte() for u in self.images.split(4096)]
            self.reduced = {self.size: self.images, size: torch.cat(parts)}
        return self.reduced[size]

    def batch(self, n, resolution, generator):
        """The next pictures of an endless walk, in a new order each time around."""
        if self.at + n > len(self.order):
            self.order = torch.randperm(len(self.labels), generator=generator, device=self.device)
            self.at = 0
        chosen = self.order[self.at:self.at + n]
        self.at += n
        return self.source(resolution)[chosen], self.labels[chosen]


# JPEG's tables for brightness and colour (ITU-T T.81, annex K), and its colours
QUANTIZATION = (
    (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
     18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99)
    + 32 * (99,),
)
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def jpeg(x, quality):
    """What JPEG with colour at half the resolution leaves of float32 [n, 3, h, w] in 0 to 255, h and w even; quality [n]."""
    colours = torch.tensor(YCBCR, device=x.device)
    i = torch.arange(8.0, device=x.device)
    cosines = torch.cos((2 * i + 1) * i[:, None] * torch.pi / 16) * torch.where(i == 0, 0.125, 0.25).sqrt()[:, None]
    share = torch.where(quality < 50, 50 / quality, 2 - quality / 50)

    def rounded(plane, table):
        height, width = plane.shape[-2:]
        plane = F.pad(plane, (0, -width % 8, 0, -height % 8), mode="replicate")
        n, c, h, w = plane.shape
        blocks = plane.reshape(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
        step = (torch.tensor(table, device=x.device).reshape(8, 8) * share[:, None, None]).round().clamp(1, 255)[:, None, None, None]
        blocks = cosines.T @ ((cosines @ blocks @ cosines.T / step).round() * step) @ cosines
        return blocks.transpose(3, 4).reshape(n, c, h, w)[..., :height, :width]

    planes = torch.einsum("kc,nchw->nkhw", colours, x)
    colour = rounded(F.avg_pool2d(planes[:, 1:], 2), QUANTIZATION[1])
    planes = torch.cat([rounded(planes[:, :1] - 128, QUANTIZATION[0]) + 128, F.interpolate(colour, scale_factor=2.0)], 1)
    return torch.einsum("ck,nkhw->nchw", torch.linalg.inv(colours), planes).clamp(0, 255)


def augment(pictures, resolution, generator, least_crop, coarse, compressed=0.0):
    """Random crop, flip, contrast, colour and brightness; the first `coarse` share goes through half the resolution, and the first
    `compressed` share of these through JPEG there. uint8 [n, 3, s, s] -> normalised float32 [n, 3, r, r]."""
    n, device = len(pictures), pictures.device

    def draw(low, high, *shape):
        return torch.rand(n, *shape, generator=generator, device=device) * (high - low) + low

    scale, aspect = draw(least_crop, 1.0), draw(-0.15, 0.15).exp()
    across, down = (scale * aspect).clamp(max=1.0), (scale / aspect).clamp(max=1.0)
    flip = (draw(0, 1) < 0.5) * 2.0 - 1.0
    crop = torch.zeros(n, 2, 3, device=device)
    crop[:, 0, 0], crop[:, 1, 1] = across * flip, down
    crop[:, 0, 2], crop[:, 1, 2] = draw(-1, 1) * (1 - across), draw(-1, 1) * (1 - down)
    grid = F.affine_grid(crop, (n, 3, resolution, resolution), align_corners=False)
    x = F.grid_sample(pictures.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    k = int(n * coarse)
    if k:
        half = F.interpolate(x[:k], scale_factor=0.5, mode="bilinear", antialias=True)
        few = int(k * compressed)
        if few:
            half[:few] = jpeg(half[:few], torch.rand(few, generator=generator, device=device) * 65 + 30)
        x[:k] = F.interpolate(half, (resolution, resolution), mode="bicubic").clamp(0, 255)
    contrast, colour, brightness = draw(0.75, 1.25, 1, 1, 1), draw(0.92, 1.08, 3, 1, 1), draw(-25, 25, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return normalise(((x - mean) * contrast * colour + mean + brightness).clamp(0, 255))


def some_patches(n, patches, share, generator, device):
    """A random `share` of the patches for each of `n` pictures, [n, k], or None where that is all of them."""
    k = round(patches * share)
    if k >= patches:
        return None
    return torch.rand(n, patches, generator=generator, device=device).topk(k).indices


# -------------------------------------------------------------------------------------------- image and align
def several_names(margin, labels, targets, recipe, generator):
    """The product's rule with one to `most_names` wrong names, and a true one among them for half of the pictures."""
    truth, n = targets.truth[labels], len(labels)
    draw = lambda *shape: torch.rand(*shape, generator=generator, device=margin.device)
    gumbel = lambda *shape: -torch.log(-torch.log(draw(*shape).clamp(1e-7, 1 - 1e-7)))
    near = NEARNESS * (draw(n, 1) < 0.5) * targets.likeness[labels]
    chosen = (near + gumbel(*truth.shape)).masked_fill(truth >= 0, -torch.inf).topk(recipe.most_names).indices
    count = (draw(n, 1) * recipe.most_names).ceil().clamp_min(1)
    kept = torch.arange(recipe.most_names, device=margin.device) < count
    wrong = margin.gather(1, chosen).masked_fill(~kept, -torch.inf).logsumexp(1)
    # the true name is the class itself, or one of its more general names a third of the time
    own = torch.where(draw(n) < 0.67, labels, gumbel(*truth.shape).masked_fill(truth <= 0, -torch.inf).argmax(1))
    total = torch.logaddexp(wrong, margin.gather(1, own[:, None])[:, 0])
    return torch.where(draw(n) < 0.5, F.softplus(-total), F.softplus(wrong)).mean()


def image_loss(z, labels, targets, scale, recipe, generator):
    """The loss of the module's first paragraph, and figures to watch."""
    n = len(targets.base)
    cosine = z @ targets().T
    margin = scale * (cosine - (z @ targets.generic)[:, None]) - targets.shift
    own = lambda x: x.gather(1, labels[:, None])
    truth = targets.truth[labels]
    mean_where = lambda x, chosen: (x * chosen).sum() / chosen.sum().clamp_min(1)

    # a class that may be true of the picture, too, is no competitor
    others = (truth[:, :n] < 0).scatter(1, labels[:, None], True)
    cross_entropy = F.cross_entropy((scale * cosine[:, :n]).masked_fill(~others, -torch.inf), labels)
    # CLIP's loss is symmetric, too
    rivals = (truth[:, labels] < 0).fill_diagonal_(True)
    ranking = F.cross_entropy(margin[:, labels].masked_fill(~rivals, -torch.inf).T, torch.arange(len(z), device=z.device))
    # the class itself counts twice: once among the true names and once alone, lest its general names outvote it
    above = mean_where(F.softplus(-margin), truth > 0) + F.softplus(-own(margin)).mean()
    below = mean_where(F.softplus(margin), truth < 0)
    pull = (1 - own(cosine)).mean()
    several = several_names(margin, labels, targets, recipe, generator)
    loss = cross_entropy + recipe.ranking * ranking + recipe.rule * (above + recipe.wrong * below)
    loss = loss + recipe.several * several + recipe.pull * pull
    right = (cosine[:, :n].argmax(1) == labels).float().mean()
    return loss, {"cross_entropy": cross_entropy.detach(), "ranking": ranking.detach(), "several": several.detach(), "accuracy": right}


def parse_phases(text):
    """[(resolution, progress at which it ends), ...]"""
    pairs = [(int(r), float(share)) for r, share in (part.split(":") for part in text.split(","))]
    total = sum(share for _, share in pairs)
    return [(r, sum(share for _, share in pairs[:k + 1]) / total) for k, (r, _) in enumerate(pairs)]


def train_images(run, stage, model, targets, pictures):
    """The image stage, and the align stage too, which differs in its targets and in being gentle."""
    recipe, align = run.recipe, stage.name == "align"
    phases = [(recipe.image_size, 1.0)] if align else parse_phases(recipe.phases)

    def step(progress, generator):
        resolution = next((r for r, end in phases if progress < end), phases[-1][0])
        batch, labels = pictures.batch(min(recipe.batch, len(pictures.labels)), resolution, generator)
        late = align or progress > 0.85
        coarse = recipe.coarse if resolution >= 48 else 0.0  # half of 32 pixels would show nothing
        x = augment(batch, resolution, generator, recipe.late_crop if late else recipe.crop, coarse, recipe.jpeg)
        share = 1.0 if late else recipe.patches
        kept = some_patches(len(x), (resolution // recipe.patch) ** 2, share, generator, x.device)
        with run.autocast():
            z = model.image(x, kept)
        scale = 100.0 if align else 100.0 * min(1.0, recipe.first_scale + (1 - recipe.first_scale) * progress / 0.25)
        return image_loss(z, labels, targets, scale, recipe, generator)

    stage.train(run.budget(stage.name), recipe.align_factor if align else 1.0, step)
    watch(run, model, targets, pictures)


@torch.no_grad()
def seen(run, model, pictures):
    """Unit vectors of the held-out training pictures."""
    with run.autocast():
        return torch.cat([model.image(normalise(u)) for u in pictures.held_images.split(256)]).cpu()


@torch.no_grad()
def watch(run, model, targets, pictures):
    """Logs figures of the held-out training pictures."""
    z = seen(run, model, pictures)
    labels, vectors, generic = pictures.held_labels.cpu().numpy(), targets.classes().cpu(), targets.generic.cpu()
    mean = np.nanmean(metrics.one_vs_rest(z, labels, vectors, generic))
    run.log(f"held out: top-1 {metrics.top1(z, labels, vectors):.3f}, one-vs-rest AUROC {mean:.4f}, "
            f"{metrics.calibration(z, labels, vectors, generic)}")


def balance(run, z, labels, targets, kinds):
    """By how much margins have to rise, that false alarms and misses with one normal name are equally frequent: on pictures of
    the first `kinds` classes, by the names of these."""
    vectors, chosen = targets.classes().cpu()[:kinds], labels < kinds
    z, labels = z[chosen], labels[chosen]
    margin = 100 * (z @ vectors.T - (z @ targets.generic.cpu())[:, None])
    wrong = targets.truth.cpu()[labels][:, :kinds] < 0
    normal, odd = margin[F.one_hot(labels, kinds).bool()].sort().values, margin[wrong].sort().values
    # a false alarm is a normal picture whose margin is below -shift, a miss an odd one whose margin is above
    alarms = torch.searchsorted(normal, normal) / len(normal)
    misses = 1 - torch.searchsorted(odd, normal) / len(odd)
    at = (alarms - misses).abs().argmin()
    run.log(f"margins rise by {-normal[at]:.2f}: false alarms {alarms[at]:.3f}, misses {misses[at]:.3f} on held-out pictures")
    return -normal[at]


@torch.no_grad()
def balanced(run, model, targets, pictures):
    """The generic vector that makes false alarms and misses with one normal name equally frequent on the held-out pictures,
    and by how much it raises the margins. The losses weigh near names more than a user's mixture of pictures does, so that
    the margins lie too low after the image stage. The vector is turned away from all that the image tower can say, by which
    its cosine falls nearly alike for every picture, and the order of scores stays as it is."""
    z, labels, generic = seen(run, model, pictures), pictures.held_labels.cpu(), targets.generic.cpu()
    shift = balance(run, z, labels, targets, len(targets.base))
    directions = torch.linalg.qr(torch.cat([model.visual_projection.weight.detach().cpu(), generic[:, None]], 1)).Q
    away = torch.randn(len(generic), generator=torch.Generator().manual_seed(run.recipe.seed))
    away = F.normalize(away - directions @ (directions.T @ away), dim=-1)
    share = (1 - shift / 100 / (z @ generic).mean()).clamp(0.9, 1)
    return share * generic + (1 - share**2).sqrt() * away, shift


# -------------------------------------------------------------------------------------------------------- text
class Prompts:
    """Draws training prompts: (rows of the token table, spelling or -1 for generic, share of the spelling's vector)."""

    def __init__(self, run, spelled, table):
        self.names, self.spelled, self.tokenizer, self.table = run.names, spelled, run.tokenizer, table
        weight = dict.fromkeys((s.name for s in spelled), 1.0)
        weight |= {c.names[0]: 3.0 for c in run.names.classes}
        for set_of_names in (run.names.benchmarks["cifar10"], run.names.benchmarks["imagenet30"]):
            weight |= {name: 4.0 for name in set_of_names if name in weight}
        share = np.array([weight[s.name] for s in spelled])
        self.share = share / share.sum()
        self.known = {}

    def body(self, text):
        if text not in self.known:
            self.known[text] = self.table.body(self.tokenizer.encode(text))
        return self.known[text]

    def batch(self, n, rng):
        drawn = [self._draw(k, rng) for k in rng.choice(len(self.spelled), n, p=self.share)]
        rows, index, share = zip(*drawn)
        return self.table.batch([self.table.mark(r) for r in rows]), torch.tensor(index), torch.tensor(share)

    def _draw(self, k, rng):
        u = rng.random()
        if u < 0.05:
            return self.body(rng.choice(self.names.generic_prompts)), -1, 1.0
        if u < 0.10:
            return self._unknown(k, rng)
        return self._named(k, rng)

    def _named(self, k, rng):
        group = rng.choice(["main", "more", "plural"], p=[0.62, 0.30, 0.08])
        name = self.spelled[k].name
        if rng.random() < 0.1:
            name = name.replace(" ", "_")
        first = article(name)
        if rng.random() < 0.1:  # people write "a airplane" too
            first = "a" if first == "an" else "an"
        return self.body(fill(rng.choice(self.names.templates[group]), name, first)), k, 1.0

    def _unknown(self, k, rng):
        """A sentence whose name is unknown (generic), or known but for one token (half way between name and generic)."""
        before, _, after = rng.choice(self.names.templates["main"]).partition("{name}")
        name = list(self.body(self.spelled[k].name))
        partly = len(name) > 1 and rng.random() < 0.5
        if partly:
            name[rng.integers(len(name))] = 0
        else:
            name = [0] * rng.integers(1, 4)
        rows = self.body(before.format(a=article(self.spelled[k].name))) + name + self.body(after)
        return rows, (k if partly else -1), (0.5 if partly else 1.0)


def train_text(run, stage, model, spelled, table, class_vectors, generic):
    recipe = run.recipe
    prompts = Prompts(run, spelled, table)
    rng = np.random.default_rng(recipe.seed + stage.steps)
    # the generic vector is the last row, so that index -1 means it
    targets = torch.cat([vectors_of(spelled, run.texts, class_vectors), generic[None]]).to(run.device)

    def step(_progress, _generator):
        rows, index, share = (t.to(run.device) for t in prompts.batch(recipe.text_batch, rng))
        index = index % len(targets)
        wanted = F.normalize(share[:, None] * targets[index] + (1 - share[:, None]) * targets[-1], dim=-1)
        with run.autocast():
            e = model.text(rows)
        whole = share == 1
        cosine = (e * wanted).sum(1).mean()
        retrieval = F.cross_entropy(60.0 * e[whole] @ targets.T, index[whole])
        # the similarities to all other names have to be right as well
        relations = ((e - wanted) @ targets.T).square().mean()
        loss = 10 * (1 - cosine) + 0.2 * retrieval + 50 * relations
        return loss, {"cosine": cosine.detach(), "cross_entropy": retrieval.detach()}

    stage.train(run.budget("text"), 1.0, step)


@torch.no_grad()
def spoken_targets(run, model, table, targets, shift):
    """Targets that are what the text tower says."""
    body = lambda prompt: table.body(run.tokenizer.encode(prompt))
    say = lambda prompts: model.text(table.batch([table.mark(body(p)) for p in prompts]).to(run.device))
    classes = say([photo_of(c.names[0]) for c in run.names.classes])
    general = say([photo_of(clean(name)) for name in targets.general])
    generic = say([GENERIC_PROMPT])[0]
    run.log(f"text tower against its targets: classes {(classes * targets.classes()).sum(1).mean():.4f}, "
            f"generic {generic @ targets.generic:.4f}")
    return targets.following(classes, general, generic, shift)


@torch.no_grad()
def settle(run, model, table, spoken, pictures):
    """Balances the finished model by its text projection. That of the generic prompt has a part that no picture's vector has;
    a longer one lowers all cosines with it, a shorter one raises them, by a nearly equal amount for every picture. Only what
    the projection makes of the generic prompt is changed: names lie, as well as can be, across the changed direction."""
    z, labels = seen(run, model, pictures), pictures.held_labels.cpu()
    shift = balance(run, z, labels, spoken, min(TINY_IMAGENET, len(spoken.base)))
    rows = lambda prompt: table.mark(table.body(run.tokenizer.encode(prompt)))
    hidden = lambda prompts: model.text_model(table.batch([rows(p) for p in prompts]).to(run.device))
    h = hidden([GENERIC_PROMPT])[0]
    names = hidden([photo_of(c.names[0]) for c in run.names.classes])
    said = F.linear(h, model.text_projection.weight)
    length = said.norm()
    seen_part = torch.linalg.qr(model.visual_projection.weight).Q
    apart = said / length - seen_part @ (seen_part.T @ (said / length))
    least = 1 - apart.norm() ** 2  # what remains of the length when the part is gone
    share = 1 - shift.to(run.device) / 100 / (z @ spoken.generic.cpu()).mean().to(run.device)
    wanted = (share**-2 - least).clamp_min(0).sqrt()
    across = names.T @ names / len(names)
    across += 0.01 * across.diagonal().mean() * torch.eye(len(h), device=h.device)
    q = torch.linalg.solve(across, h)
    q /= q @ h
    model.text_projection.weight += torch.outer((wanted - apart.norm()) * length * F.normalize(apart, dim=-1), q)
    say = lambda prompts: model.text(table.batch([rows(p) for p in prompts]).to(run.device))
    after = spoken.following(say([photo_of(c.names[0]) for c in run.names.classes]), spoken.general_vectors,
                             say([GENERIC_PROMPT])[0], spoken.shift)
    run.log(f"settled: names keep cosines of {(after.base * spoken.base).sum(1).min():.4f} and more with what they were")
    watch(run, model, after, pictures)


# ------------------------------------------------------------------------------------------------------ export
def export(run, out, model, targets, spelled, table, stages):
    """Writes the model with what belongs beside it."""
    out.mkdir(parents=True, exist_ok=True)
    names = run.names

    def write(name, value, **layout):
        (out / name).write_text(json.dumps(value, **layout) + "\n", encoding="utf-8")

    save_weights(out / "model.safetensors", model.state_dict())
    write("config.json", model.config, indent=1)
    write("token_ids.json", table.as_json(), separators=(",", ":"))
    moved = (targets.classes() - targets.base).norm(dim=1).tolist()
    write("vocabulary.json", {
        "names": [s.as_json(names, moved) for s in spelled],
        "generic_prompts": names.generic_prompts,
        "templates": [template for group in names.templates.values() for template in group],
        "names_with_training_images": [c.names[0] for c in names.classes] + targets.general,
        "image_classes": [{"id": c.id, "name": c.names[0]} for c in names.classes],
    }, indent=0)
    done = {s.name: {"steps": s.steps, "minutes": round(s.seconds / 60, 2)} for s in stages}
    write("training.json", {"recipe": asdict(run.recipe), "began_from": run.began_from, "done": done}, indent=1)


def build(run, table):
    r = run.recipe
    width = len(run.texts.generic)
    shapes = (r.width, r.layers, r.heads), (r.text_width, r.text_layers, r.text_heads)
    torch.manual_seed(r.seed)
    return initialise(Clip(clip_config(width, *shapes, r.image_size, r.patch, len(table)))).to(run.device)


@torch.no_grad()
def begin_from(run, earlier, model, table, targets):
    """Takes over the weights of a TrainedModel, and what its text tower says of the classes whose vector is learned."""
    state, row = earlier.net.state_dict(), {id: k for k, id in enumerate(earlier.table.ids)}
    rows = state.pop(TOKENS)
    own = model.state_dict()[TOKENS]
    for k, id in enumerate(table.ids):
        if id in row:
            own[k] = rows[row[id]]
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing != [TOKENS] or unexpected:
        raise SystemExit(f"train.py: {earlier.path} has other towers than the settings say")
    taught = {entry["name"] for entry in earlier.vocabulary["names"]}
    learned = {i: c for i, c in enumerate(run.names.classes) if c.is_learned and c.names[0] in taught}
    vectors = earlier.text([photo_of(c.names[0]) for c in learned.values()]).to(run.device)
    targets.begin(dict(zip(learned, vectors)))
    run.log(f"begins from {earlier.path.name}: {len(row)} of {len(table)} token rows, {len(learned)} learned vectors")


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="the folder that prepare.py wrote")
    p.add_argument("--checkpoints", type=Path, required=True, help="folder for the state of the stages and the log")
    p.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    p.add_argument("--from", dest="begin", type=Path, help="safetensors file of an earlier model to begin with")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--until", choices=STAGES, default=STAGES[-1], help="stop after this stage; exported only after the last")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="overrides a setting of Recipe")
    args = p.parse_args(arguments)
    run = Run(args, Recipe.from_pairs(args.set))
    recipe = run.recipe
    run.log(json.dumps(asdict(recipe)))

    spelled = spellings(run.names, run.texts)
    table = token_table(spelled, run.names, run.tokenizer)
    model = build(run, table)
    targets = Targets(run.names, run.texts, recipe.max_offset, recipe.seed).to(run.device)
    if args.begin:
        begin_from(run, TrainedModel(existing(args.begin), args.data / BPE), model, table, targets)
    pictures = Pictures(run.data, run.device, len(run.names.classes))
    run.log(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(pictures.labels)} pictures, "
            f"{len(spelled)} spellings, {len(table)} token rows")

    image_rates = (recipe.muon_rate, recipe.adam_rate, recipe.decay)
    named = [*model.image_parameters(), ("offset", targets.offset)]
    stages = [Stage("image", run, Optimisers(named, *image_rates), model=model, targets=targets)]
    train_images(run, stages[-1], model, targets, pictures)
    if args.until == "image":
        return

    text_rates = (recipe.text_muon_rate, recipe.text_adam_rate, 0.0)
    stages.append(Stage("text", run, Optimisers(model.text_parameters(), *text_rates), model=model))
    generic, shift = balanced(run, model, targets, pictures)
    train_text(run, stages[-1], model, spelled, table, targets.classes().detach().cpu(), generic)
    if args.until == "text":
        return

    spoken = spoken_targets(run, model, table, targets, shift)
    stages.append(Stage("align", run, Optimisers(model.image_parameters(), *image_rates), model=model))
    train_images(run, stages[-1], model, spoken, pictures)
    settle(run, model, table, spoken, pictures)
    export(run, args.out, model, targets, spelled, table, stages)
    run.log("exported")


if __name__ == "__main__":
    try:
        main()
    except MissingData as e:
        raise SystemExit(f"train.py: {e}")
