//! Deep semi-supervised anomaly detection: like the hypersphere classifier, with squared and inverse squared distances.
//!
//! Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020 (arXiv 1906.02694).

use super::{Judgement, Loss, Method, pseudo_huber};
use crate::protocol::Needs;

/// One or more outliers.
pub const METHOD: Method = Method {
    id: "dsad",
    name: "Deep semi-supervised (DSAD)",
    explanation: "A linear map of the embedding, without bias, trained to make the squared length small for normal examples and \
                  its inverse small for outliers. It scores as the hypersphere classifier does (in the paper's code, too, \
                  training and scoring differ). Source: Ruff et al., \"Deep Semi-Supervised Anomaly Detection\", ICLR 2020, as \
                  used by Liznerski et al., TMLR 2022.",
    needs: Needs { normal_names: 0, normal_examples: 1, outlier_examples: 1, training: true },
    loss: Some(Loss::Dsad),
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
        // norm^2 = 3, d = sqrt(4) - 1 = 1
        let head = [1.0, 1.0, -1.0];
        let s = METHOD.score(&Evidence { cosines: &[0.2], kinds: &[Normal], head: &head, ..Evidence::default() });
        assert!((s.value - (1.0 - (-1f32).exp())).abs() < 1e-6, "{s:?}");
    }
}
