//! Published figures to hold a model against.

/// A figure of the paper.
#[derive(Debug)]
pub struct Figure {
    /// Whether all classes but one are normal, instead of one.
    pub leave_one_out: bool,
    /// Mean over the classes.
    pub auroc: f64,
}

/// Zero-shot on CIFAR-10's test pictures by OpenAI's ViT-B/32.
pub const CIFAR10_FIGURES: [Figure; 2] =
    [Figure { leave_one_out: false, auroc: 0.985 }, Figure { leave_one_out: true, auroc: 0.922 }];
/// Where they stand.
pub const CIFAR10_SOURCE: &str = "OpenAI's ViT-B/32, in Liznerski et al., TMLR 2022, arXiv 2205.11474";
