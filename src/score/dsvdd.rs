//! Deep support vector data description: the distance from the centre of the normal examples under a map that draws them
//! together. No outlier is needed.
//!
//! Ruff et al., "Deep One-Class Classification", ICML 2018, section 3.3 (one-class variant).

use super::{Judgement, Loss, Method, squared_norm};
use crate::protocol::Needs;

/// Zero outliers, normal examples.
pub const METHOD: Method = Method {
    id: "dsvdd",
    name: "One-class (DSVDD)",
    explanation: "A linear map of the embedding, without bias, trained on normal examples alone to bring them close to their \
                  centre c; it scores the squared distance s from c, shown as 1 - e^-s. It sees neither words nor outliers, and \
                  with several normal kinds it is near chance in the paper. Source: Ruff et al., \"Deep One-Class \
                  Classification\", ICML 2018, as used by Liznerski et al., TMLR 2022.",
    needs: Needs { normal_names: 0, normal_examples: 2, outlier_examples: 0, training: true },
    loss: Some(Loss::Dsvdd),
    threshold: None,
    judge: |view| Judgement::of_distance(squared_norm(view.head)),
};

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::*;
    use crate::protocol::EntryKind::Normal;

    #[test]
    fn by_hand() {
        // f - c = (0.6, -0.8): s = 1
        let head = [0.6, -0.8];
        let s = METHOD.score(&Evidence { cosines: &[0.2], kinds: &[Normal], head: &head, ..Evidence::default() });
        assert!((s.value - (1.0 - (-1f32).exp())).abs() < 1e-6, "{s:?}");
        // the squared distance can be had back from the logit
        assert!((s.margin.exp().ln_1p() - 1.0).abs() < 1e-6, "{s:?}");
    }
}
