//! Outlier exposure for CLIP itself: the zero-shot score of an embedding that was moved by what the examples teach.

use super::{LOGIT_SCALE, Loss, Method, zero_shot};
use crate::protocol::Needs;

/// One or more outliers, and texts.
pub const METHOD: Method = Method {
    id: "clip-oe",
    name: "CLIP with outlier exposure",
    explanation: "Starts as zero-shot CLIP and learns a small correction of the embedding that makes normal examples more like the \
                  normal texts and outliers more like the anomaly text; the texts stay as they are, and the score is the \
                  zero-shot score of the corrected embedding. The paper tunes the whole image tower instead (BCE-CLIP). Source: \
                  Liznerski et al., \"Exposing Outlier Exposure\", TMLR 2022.",
    needs: Needs { normal_names: 1, normal_examples: 1, outlier_examples: 1, training: true },
    loss: Some(Loss::ClipOe),
    threshold: Some(0.5),
    judge: |view| {
        let logits: Vec<f64> = view.head.iter().map(|&c| LOGIT_SCALE * f64::from(c)).collect();
        zero_shot::judge(&logits, view.kinds)
    },
};

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use crate::protocol::EntryKind::{Anomaly, Normal};

    /// The adapted cosines decide, not the picture's own.
    #[test]
    fn by_hand() {
        let kinds = [Normal, Anomaly];
        let s =
            METHOD.score(&Evidence { cosines: &[0.3, 0.2], kinds: &kinds, head: &[0.20, 0.21], ..Evidence::default() });
        // logits 20 and 21: 1 / (1 + e^-1)
        assert!((s.value - 0.731_058_6).abs() < 1e-5 && (s.margin - 1.0).abs() < 1e-5, "{s:?}");
        assert_eq!(s.cosines, [0.3, 0.2]);
        // without a correction it is the zero-shot score
        let same =
            METHOD.score(&Evidence { cosines: &[0.3, 0.2], kinds: &kinds, head: &[0.3, 0.2], ..Evidence::default() });
        assert_eq!(same, zero_shot::METHOD.score(&Evidence::texts(&[0.3, 0.2], &kinds)));
    }
}
