//! The plain classifier between normal pictures and outliers, on the embedding.

use super::{Judgement, Loss, Method};
use crate::protocol::Needs;

/// One or more outliers.
pub const METHOD: Method = Method {
    id: "bce",
    name: "BCE classifier",
    explanation: "A linear classifier on the embedding, trained to tell your normal examples from your outliers by binary \
                  cross-entropy; it scores the probability of an outlier. Strong where outliers are many and like those to come. \
                  Source: Liznerski et al., \"Exposing Outlier Exposure\", TMLR 2022.",
    needs: Needs { normal_names: 0, normal_examples: 1, outlier_examples: 1, training: true },
    loss: Some(Loss::Bce),
    threshold: Some(0.5),
    judge: |view| Judgement::of_logit(f64::from(view.head[0])),
};

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use crate::protocol::EntryKind::Normal;

    #[test]
    fn by_hand() {
        // sigmoid(ln 3) = 3/4
        let head = [3f32.ln()];
        let s = METHOD.score(&Evidence { cosines: &[0.2], kinds: &[Normal], head: &head, ..Evidence::default() });
        assert!((s.value - 0.75).abs() < 1e-6 && s.margin == head[0], "{s:?}");
    }
}
