#!/usr/bin/env python3
"""Writes metrics.json: what scikit-learn says of random, tied, constant and tiny inputs.

    python3 -m venv venv && venv/bin/pip install scikit-learn && venv/bin/python tests/reference/metrics.py

The 95 % interval after DeLong is brute force over all pairs (scikit-learn has none); `null` where its variance is zero or
undefined, where the crate has another rule. FPR95 is the first point of `roc_curve` with a hit rate of 0.95 or more.
"""
import json
import math
import pathlib

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve


def delong(scores, odd):
    x, y = scores[odd], scores[~odd]
    if len(x) < 2 or len(y) < 2:
        return None
    psi = (x[:, None] > y[None, :]).astype(float) + 0.5 * (x[:, None] == y[None, :])
    variance = psi.mean(1).var(ddof=1) / len(x) + psi.mean(0).var(ddof=1) / len(y)
    if variance == 0:
        return None
    half = 1.959963984540054 * math.sqrt(variance)
    return [max(0.0, psi.mean() - half), min(1.0, psi.mean() + half)]


def case(name, scores, odd):
    scores, odd = np.asarray(scores, dtype=np.float64), np.asarray(odd, dtype=bool)
    fpr, tpr, _ = roc_curve(odd, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(odd, scores)
    return {
        "name": name,
        "scores": scores.tolist(),
        "anomalous": odd.tolist(),
        "auroc": float(roc_auc_score(odd, scores)),
        "average_precision": float(average_precision_score(odd, scores)),
        "fpr95": float(fpr[np.argmax(tpr >= 0.95)]),
        "roc": np.stack([fpr, tpr], 1).tolist(),
        # ours run by rising recall and lack the added last point
        "pr": np.stack([precision, recall], 1)[:-1][::-1].tolist(),
        "interval": delong(scores, odd),
    }


rng = np.random.default_rng(4)
cases = []
for n, shift in [(40, 0.0), (40, 1.5), (150, 0.5), (150, -0.7)]:
    odd = rng.random(n) < 0.4
    cases.append(case(f"random {n} {shift}", rng.normal(size=n) + shift * odd, odd))
for n, levels in [(60, 3), (60, 10), (25, 2)]:
    odd = rng.random(n) < 0.5
    cases.append(case(f"tied {n} {levels}", np.floor(levels * np.clip(rng.random(n) + 0.2 * odd, 0, 0.999)), odd))
cases.append(case("constant", [0.25] * 12, [i % 3 == 0 for i in range(12)]))
cases.append(case("rare", rng.normal(size=80), [i == 17 for i in range(80)]))
cases.append(case("two", [0.1, 0.9], [False, True]))
cases.append(case("two, wrong", [0.9, 0.1], [False, True]))
cases.append(case("two, tied", [0.5, 0.5], [False, True]))
cases.append(case("three", [1.0, 2.0, 1.0], [True, False, False]))
cases.append(case("separated", np.r_[rng.random(20), 2 + rng.random(15)], [False] * 20 + [True] * 15))
cases.append(case("tiny differences", 1.0 + 1e-15 * rng.integers(0, 6, 50), rng.random(50) < 0.3))
cases.append(case("huge", rng.normal(size=30) * 1e300, rng.random(30) < 0.5))
here = pathlib.Path(__file__).parent
(here / "metrics.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
