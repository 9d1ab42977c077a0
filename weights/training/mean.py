#!/usr/bin/env python3
"""Writes the mean of models that were trained one from the other: often as good as the better of them, and better on pictures of other kinds.

  mean.py --out OUT SHARE=MODEL.safetensors SHARE=MODEL.safetensors ...

Shares add up to 1. What lies beside the last model (config.json, token_ids.json, vocabulary.json) is copied; all must have the same tokens.
The idea is M. Wortsman et al., "Model soups", 2022 (arXiv 2203.05482).
"""
import argparse
import json
from pathlib import Path
import shutil

from safetensors.torch import load_file

from model import save_weights

BESIDE = ("config.json", "token_ids.json", "vocabulary.json")


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True, help="folder for the mean")
    p.add_argument("models", nargs="+", metavar="SHARE=MODEL")
    a = p.parse_args(arguments)
    shares, files = zip(*((float(share), Path(file)) for share, _, file in (m.partition("=") for m in a.models)))
    if abs(sum(shares) - 1) > 1e-6:
        raise SystemExit(f"mean.py: shares have to add up to 1, got {sum(shares):g}")
    last = files[-1].parent
    tokens = json.loads((last / "token_ids.json").read_text())
    if any(json.loads((f.parent / "token_ids.json").read_text()) != tokens for f in files):
        raise SystemExit("mean.py: the models have different tokens")
    states = [load_file(f) for f in files]
    if any({k: v.shape for k, v in s.items()} != {k: v.shape for k, v in states[-1].items()} for s in states):
        raise SystemExit("mean.py: the models have different shapes")
    mean = {k: sum(share * s[k].double() for share, s in zip(shares, states)) for k in states[-1]}
    a.out.mkdir(parents=True, exist_ok=True)
    save_weights(a.out / "model.safetensors", mean)
    for name in BESIDE:
        shutil.copy(last / name, a.out / name)


if __name__ == "__main__":
    main()
