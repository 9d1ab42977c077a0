//! Words and examples together: the mean of what the texts and what the normal examples say.
//!
//! Jeong et al., "WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation", CVPR 2023 (WinCLIP+, section 4.3), for the
//! whole picture.

use super::{Judgement, Method, View, nearest_normal, zero_shot};
use crate::protocol::Needs;

/// Zero outliers, texts, one or more normal examples.
pub const METHOD: Method = Method {
    id: "text-and-examples",
    name: "Texts and normal examples",
    explanation: "The mean of two scores: the probability of the anomaly text (zero-shot CLIP) and the cosine distance to the most \
                  similar normal example. Where words are vague the examples help, and the other way round. Source: Jeong et al., \
                  \"WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation\", CVPR 2023.",
    needs: Needs { normal_names: 1, normal_examples: 1, outlier_examples: 0, training: false },
    loss: None,
    threshold: None,
    judge,
};

/// `(p + d) / 2` with the zero-shot probability `p` and the distance `d` to the nearest normal example, cut at 0 and 1.
fn judge(view: &View<'_>) -> Judgement {
    let text = zero_shot::judge(view.logits, view.kinds);
    let d = nearest_normal::distance(view.normal_examples).clamp(0.0, 1.0);
    let value = (text.value + d) / 2.0;
    // certainty on both sides has no finite logit
    let logit = (value.max(1e-300) / (1.0 - value).max(1e-16)).ln();
    Judgement { value, margin: logit, probabilities: text.probabilities }
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use crate::protocol::EntryKind::{Anomaly, Normal};

    #[test]
    fn by_hand() {
        // p = 1/2, d = 1 - 0.9: (0.5 + 0.1) / 2
        let s = METHOD.score(&Evidence {
            cosines: &[0.2, 0.2],
            kinds: &[Normal, Anomaly],
            normal_examples: &[0.9, 0.4],
            head: &[],
        });
        assert!((s.value - 0.3).abs() < 1e-6 && (s.margin - (0.3f32 / 0.7).ln()).abs() < 1e-5, "{s:?}");
        assert_eq!(s.probabilities, [0.5, 0.5]);
    }
}
