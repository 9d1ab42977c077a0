//! Hypersphere classification: normal pictures are drawn to the origin, outliers pushed away from it.
//!
//! Ruff et al., "Rethinking Assumptions in Deep Anomaly Detection" (arXiv 2006.00339), section 3.

use super::{Judgement, Loss, Method, pseudo_huber};
use crate::protocol::Needs;

/// One or more outliers.
pub const METHOD: Method = Method {
    id: "hsc",
    name: "Hypersphere classifier (HSC)",
    explanation: "A linear map of the embedding, without bias, trained so that normal examples fall near the origin and outliers \
                  far from it; with d = sqrt(|f|^2 + 1) - 1 it scores 1 - e^-d. Normal pictures form one ball, everything \
                  outside is odd. Source: Ruff et al., \"Rethinking Assumptions in Deep Anomaly Detection\", 2020, as used by \
                  Liznerski et al., TMLR 2022.",
    needs: Needs { normal_names: 0, normal_examples: 1, outlier_examples: 1, training: true },
    loss: Some(Loss::Hsc),
    threshold: Some(0.5),
    judge: |view| Judgement::of_distance(pseudo_huber(view.head)),
};

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use crate::protocol::EntryKind::Normal;

    #[test]
    fn by_hand() {
        // norm^2 = 8, d = sqrt(9) - 1 = 2
        let head = [2.0, -2.0];
        let s = METHOD.score(&Evidence { cosines: &[0.2], kinds: &[Normal], head: &head, ..Evidence::default() });
        assert!((s.value - (1.0 - (-2f32).exp())).abs() < 1e-6, "{s:?}");
        assert!((s.margin - (2f32.exp() - 1.0).ln()).abs() < 1e-6, "{s:?}");
    }
}
