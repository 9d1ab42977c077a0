#!/usr/bin/env python3
"""Writes heads.json: losses, their gradients and scores of every trained method in PyTorch, in float64 on random outputs.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python tests/reference/heads.py

`y = 1` for an outlier. For DSVDD the outputs are differences from the centre, for CLIP-OE cosines with the entries.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(4)
torch.set_default_dtype(torch.float64)


def length(f):
    return torch.sqrt((f**2).sum(1) + 1) - 1


def loss_and_score(name, f, y, kinds):
    outlier = y > 0
    if name in ("bce", "focal"):
        bce = F.binary_cross_entropy_with_logits(f[:, 0], y, reduction="none")
        return (bce if name == "bce" else (1 - torch.exp(-bce)) ** 2 * bce), torch.sigmoid(f[:, 0])
    if name == "hsc":
        d = length(f)
        return torch.where(outlier, -torch.log(1 - torch.exp(-d) + 1e-9), d), 1 - torch.exp(-d)
    if name == "dsad":
        square = (f**2).sum(1)
        return torch.where(outlier, 1 / (square + 1e-9), square), 1 - torch.exp(-length(f))
    if name == "dsvdd":
        square = (f**2).sum(1)
        return square[~outlier], square
    normal = torch.tensor([k == "normal" for k in kinds])
    log_p = F.log_softmax(100 * f, dim=1)
    anomaly = torch.logsumexp(log_p[:, ~normal], 1)
    return torch.where(outlier, -anomaly, -log_p[:, normal].max(1).values), torch.exp(anomaly)


def case(name, f, y, kinds):
    f = f.float().double().requires_grad_()
    losses, scores = loss_and_score(name, f, y, kinds)
    losses.mean().backward()
    return {
        "method": name,
        "kinds": kinds,
        # outliers come last
        "normal": int((y == 0).sum()),
        "outputs": f.detach().tolist(),
        "loss": losses.mean().item(),
        "gradient": f.grad.tolist(),
        "scores": scores.detach().tolist(),
    }


cases = []
y = torch.tensor([0.0] * 7 + [1.0] * 5)
for spread in (0.2, 1.0, 4.0):
    cases.append(case("bce", spread * torch.randn(12, 1), y, []))
    cases.append(case("focal", spread * torch.randn(12, 1), y, []))
    for name in ("hsc", "dsad", "dsvdd"):
        cases.append(case(name, spread * torch.randn(12, 6) / 2, y, []))
cases.append(case("clip-oe", 0.2 + 0.02 * torch.randn(12, 2), y, ["normal", "anomaly"]))
cases.append(case("clip-oe", 0.2 + 0.05 * torch.randn(12, 5), y, ["normal", "normal", "normal", "anomaly", "anomaly"]))
cases.append(case("clip-oe", 0.2 + 0.01 * torch.randn(12, 3), y, ["normal", "normal", "anomaly"]))
(pathlib.Path(__file__).parent / "heads.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
