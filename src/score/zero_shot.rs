//! The paper's zero-shot detector: softmax of the anomaly texts against the normal ones (section 3, "CLIP for AD").

use super::{Judgement, Method, log_sum_exp, of_kind, sigmoid};
use crate::protocol::{EntryKind, Needs};

/// Zero outliers.
pub const METHOD: Method = Method {
    id: "zero-shot",
    name: "Zero-shot CLIP",
    explanation: "Compares the picture with one text for every normal class and one for the anomaly, takes the softmax of 100 \
                  times the cosines, and scores the probability of the anomaly text. No outlier is needed. Source: Liznerski et \
                  al., \"Exposing Outlier Exposure\", TMLR 2022.",
    needs: Needs { normal_names: 1, normal_examples: 0, outlier_examples: 0, training: false },
    loss: None,
    threshold: None,
    judge: |view| judge(view.logits, view.kinds),
};

/// `p = softmax(logits)`; the score is the sum of `p` over the anomaly texts, its logit
/// `logsumexp(anomaly) - logsumexp(normal)`.
pub(super) fn judge(logits: &[f64], kinds: &[EntryKind]) -> Judgement {
    let normal = log_sum_exp(of_kind(logits, kinds, EntryKind::Normal));
    let anomaly = log_sum_exp(of_kind(logits, kinds, EntryKind::Anomaly));
    let all = log_sum_exp([normal, anomaly].into_iter());
    let margin = anomaly - normal;
    Judgement { value: sigmoid(margin), margin, probabilities: logits.iter().map(|l| (l - all).exp()).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use EntryKind::{Anomaly, Normal};

    #[test]
    fn by_hand() {
        // logits 20, 21, 22: e^0, e^1, e^2 over their sum 11.107
        let s = METHOD.score(&Evidence::texts(&[0.20, 0.21, 0.22], &[Normal, Normal, Anomaly]));
        for (got, want) in s.probabilities.iter().zip([0.090_030_6, 0.244_728_5, 0.665_241]) {
            assert!((got - want).abs() < 1e-5, "{s:?}");
        }
        assert!((s.value - 0.665_241).abs() < 1e-5);
        assert!((s.margin - (22.0 - (20f32.exp() + 21f32.exp()).ln())).abs() < 1e-4);
        assert_eq!(s.nearest, 1);
    }

    #[test]
    fn several_anomaly_texts_add_up() {
        let s = METHOD.score(&Evidence::texts(&[0.2; 4], &[Normal, Anomaly, Anomaly, Anomaly]));
        assert!((s.value - 0.75).abs() < 1e-6);
        assert!((s.margin - 3f32.ln()).abs() < 1e-5);
    }
}
