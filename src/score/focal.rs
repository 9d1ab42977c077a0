//! The classifier trained by the focal loss, which looks at the pictures that are still judged wrongly.
//!
//! Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, with exponent 2 and no class weight, as the paper has it.

use super::{Judgement, Loss, Method};
use crate::protocol::Needs;

/// One or more outliers.
pub const METHOD: Method = Method {
    id: "focal",
    name: "Focal classifier",
    explanation: "The same linear classifier as BCE, trained by the focal loss (1 - e^-BCE)^2 BCE: pictures that are already judged \
                  rightly count little, so that the doubtful ones decide. It scores the probability of an outlier. Source: Lin et \
                  al., \"Focal Loss for Dense Object Detection\", ICCV 2017, as used by Liznerski et al., TMLR 2022.",
    needs: Needs { normal_names: 0, normal_examples: 1, outlier_examples: 1, training: true },
    loss: Some(Loss::Focal),
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
        // sigmoid(-ln 4) = 1/5
        let head = [-(4f32.ln())];
        let s = METHOD.score(&Evidence { cosines: &[0.2], kinds: &[Normal], head: &head, ..Evidence::default() });
        assert!((s.value - 0.2).abs() < 1e-6 && s.margin == head[0], "{s:?}");
    }
}
