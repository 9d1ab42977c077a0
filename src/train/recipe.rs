//! [`Recipe`]: how a head is trained when nobody says otherwise.

use crate::score::{Loss, Method};

/// The numbers of a training. All methods share the optimiser: stochastic gradient descent with Nesterov's momentum (as the
/// paper tunes CLIP), the rate falling to zero in a straight line, gradients cut to a length of [`Recipe::clip`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Passes over the normal examples.
    pub epochs: usize,
    /// Steps at least, where there are few examples.
    pub least_steps: usize,
    /// Normal examples in a batch; as many outliers stand beside them.
    pub batch: usize,
    /// Learning rate at the start.
    pub rate: f64,
    /// Share of a weight that is taken away in a step, times the rate.
    pub weight_decay: f64,
    /// Rows of the map (the rank of CLIP-OE's correction).
    pub rows: usize,
    /// The map's numbers are drawn with this deviation over the square root of the embedding's width.
    pub start: f64,
    /// Longest gradient.
    pub clip: f64,
}

/// Nesterov's momentum.
pub const MOMENTUM: f64 = 0.9;

impl Recipe {
    /// The defaults for a method.
    pub fn of(method: &Method) -> Self {
        let common = Self {
            epochs: 30,
            least_steps: 100,
            batch: 64,
            rate: 0.1,
            weight_decay: 0.0,
            rows: 32,
            start: 1.0,
            clip: 1.0,
        };
        match method.loss {
            Some(Loss::Bce | Loss::Focal) => Self { rate: 1.0, rows: 1, start: 0.0, ..common },
            None | Some(Loss::Hsc) => common,
            Some(Loss::Dsad) => Self { rate: 0.03, ..common },
            Some(Loss::Dsvdd) => Self { rate: 0.01, ..common },
            Some(Loss::ClipOe) => Self { rate: 0.01, weight_decay: 0.3, rows: 64, ..common },
        }
    }
}
