"""Measures of a zero-shot detector on labelled embeddings. It does not know pictures, prompts or models.

Everywhere: z [n, d] unit image vectors, labels [n] (numpy), vectors [k, d] unit vectors of the k names, generic [d] that of
"a photo of something". A larger score is more anomalous; the factor of the cosines is 100.
"""
import numpy as np
import torch

SCALE = 100.0


def auroc(score, anomalous):
    """Probability that an anomaly scores higher than a normal picture, ties counted half; NaN where one kind is missing.

    Mann and Whitney's U: the ranks of the anomalies (means of ties), less the least sum they can have.
    """
    score, anomalous = np.asarray(score, np.float64), np.asarray(anomalous, bool)
    a, n = int(anomalous.sum()), int((~anomalous).sum())
    if not a or not n:
        return float("nan")
    order = np.sort(score)
    rank = (np.searchsorted(order, score, "left") + np.searchsorted(order, score, "right") + 1) / 2
    return float((rank[anomalous].sum() - a * (a + 1) / 2) / (a * n))


def one_vs_rest(z, labels, vectors, generic):
    """AUROC for each name alone as the normal one. The score is the logit margin, which ranks as the softmax does."""
    margin = (SCALE * ((z @ generic)[:, None] - z @ vectors.T)).numpy()
    return [auroc(margin[:, k], labels != k) for k in range(len(vectors))]


def leave_one_out(z, labels, vectors, generic):
    """AUROC for each name as the anomaly that has no prompt, all other names being normal."""
    cosines = torch.cat([z @ vectors.T, (z @ generic)[:, None]], 1).double()
    result = []
    for k in range(len(vectors)):
        others = [j for j in range(cosines.shape[1]) if j != k]
        score = torch.log_softmax(SCALE * cosines[:, others], 1)[:, -1]
        result.append(auroc(score.numpy(), labels == k))
    return result


def calibration(z, labels, vectors, generic):
    """Shares of pictures whose own name beats the generic prompt, and of wrong names that stay below it."""
    margin = (z @ vectors.T - (z @ generic)[:, None]).numpy()
    own = np.arange(len(vectors)) == np.asarray(labels)[:, None]
    return {
        "own_name_above_generic": float((margin[own] > 0).mean()),
        "wrong_name_below_generic": float((margin[~own] < 0).mean()),
    }


def top1(z, labels, vectors):
    return float(((z @ vectors.T).argmax(1).numpy() == labels).mean())
