//! Maximum concept matching: how little the picture is like the best of several normal classes, without an anomaly text.
//!
//! Ming et al., "Delving into Out-of-Distribution Detection with Vision-Language Representations", NeurIPS 2022, with the
//! logit scale of this project.

use super::{Judgement, Method, log_sum_exp, sigmoid};
use crate::protocol::{EntryKind, Needs};

/// Zero outliers, several normal classes.
pub const METHOD: Method = Method {
    id: "mcm",
    name: "MCM (several normal classes)",
    explanation: "Takes the softmax of 100 times the cosines over the normal classes alone and scores one minus the largest \
                  probability: a picture that belongs clearly to one class is normal, one that hangs between classes is not. It \
                  needs at least two normal classes and no anomaly text. Source: Ming et al., \"Delving into Out-of-Distribution \
                  Detection with Vision-Language Representations\", NeurIPS 2022.",
    needs: Needs { normal_names: 2, normal_examples: 0, outlier_examples: 0, training: false },
    loss: None,
    threshold: None,
    judge: |view| judge(view.logits, view.kinds),
};

/// `p = softmax` over the normal logits; the score is `1 - max p`, its logit `logsumexp(the others) - max`.
fn judge(logits: &[f64], kinds: &[EntryKind]) -> Judgement {
    let normal = || (0..logits.len()).filter(|&i| kinds[i] == EntryKind::Normal);
    let all = log_sum_exp(normal().map(|i| logits[i]));
    let best = normal().reduce(|a, b| if logits[b] > logits[a] { b } else { a });
    let top = best.map_or(f64::NEG_INFINITY, |i| logits[i]);
    let margin = log_sum_exp(normal().filter(|&i| Some(i) != best).map(|i| logits[i])) - top;
    Judgement {
        value: sigmoid(margin),
        margin,
        probabilities: logits
            .iter()
            .zip(kinds)
            .map(|(l, k)| if *k == EntryKind::Normal { (l - all).exp() } else { 0.0 })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use EntryKind::{Anomaly, Normal};

    #[test]
    fn by_hand() {
        // over the normal logits 20, 21, 22: 1 - 0.665241
        let s = METHOD.score(&Evidence::texts(&[0.20, 0.22, 0.21, 0.5], &[Normal, Normal, Normal, Anomaly]));
        assert!((s.value - 0.334_759).abs() < 1e-5, "{s:?}");
        assert!((s.margin - (0.334_759f32 / 0.665_241).ln()).abs() < 1e-4);
        assert_eq!((s.nearest, s.probabilities[3]), (1, 0.0));
    }
}
