//! How far a picture is from the most similar normal example: the plain k-shot detector.
//!
//! Bergman, Cohen and Hoshen, "Deep Nearest Neighbor Anomaly Detection" (arXiv 2002.10445), with CLIP's embedding.

use super::{Judgement, LOGIT_SCALE, Method, View};
use crate::protocol::Needs;

/// Zero outliers, one or more normal examples.
pub const METHOD: Method = Method {
    id: "nearest-normal",
    name: "Nearest normal example",
    explanation: "Compares the picture with your normal example pictures and scores its cosine distance to the most similar one. It \
                  needs no words and no outlier; a few examples of every normal kind suffice. Source: Bergman, Cohen and Hoshen, \
                  \"Deep Nearest Neighbor Anomaly Detection\", 2020.",
    needs: Needs { normal_names: 0, normal_examples: 1, outlier_examples: 0, training: false },
    loss: None,
    threshold: None,
    judge,
};

/// `1 - max cosine`.
pub(super) fn distance(normal_examples: &[f32]) -> f64 {
    1.0 - normal_examples.iter().copied().fold(f64::NEG_INFINITY, |best, c| best.max(f64::from(c)))
}

/// The distance, cut at 1 where no example is similar at all; the margin is the distance in units of logits, not cut.
fn judge(view: &View<'_>) -> Judgement {
    let d = distance(view.normal_examples);
    Judgement { value: d.clamp(0.0, 1.0), margin: LOGIT_SCALE * d, probabilities: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use crate::protocol::EntryKind::Normal;

    #[test]
    fn by_hand() {
        let of = |normal_examples: &[f32]| {
            METHOD.score(&Evidence { cosines: &[0.2], kinds: &[Normal], normal_examples, ..Evidence::default() })
        };
        // the most similar of three has cosine 0.75
        let s = of(&[0.5, 0.75, -0.25]);
        assert_eq!((s.value, s.margin, s.probabilities), (0.25, 25.0, vec![0.0]));
        let s = of(&[-0.5]);
        assert_eq!((s.value, s.margin), (1.0, 150.0));
    }
}
