//! [`Head`]: what training leaves behind, applied to an embedding in plain arithmetic, summed in f64 so that every machine
//! gets the same. It does not know how it was trained.

use super::texts::Texts;
use crate::embedding::Embeddings;
use crate::score::Loss;

/// A trained map of embeddings. Its output is what the method of its loss scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub(super) loss: Loss,
    /// Numbers of an embedding, `d`.
    pub(super) width: usize,
    /// Subtracted from the embedding, then multiplied: fixed before training. `d` numbers.
    pub(super) shift: Vec<f32>,
    pub(super) scale: f32,
    /// `k x d`, row-major, without bias: a shifted embedding of zeros gives zeros.
    pub(super) map: Vec<f32>,
    /// What follows the map.
    pub(super) rest: Rest,
}

/// The second part of a head.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rest {
    /// Nothing (HSC, DSAD).
    Nothing,
    /// Added to the one number (BCE, focal).
    Bias(f32),
    /// Subtracted: the centre of the normal examples, `k` numbers (DSVDD).
    Centre(Vec<f32>),
    /// `d x k`, row-major: back to a correction of the embedding (CLIP-OE).
    Up(Vec<f32>),
}

impl Head {
    /// The loss it was trained by.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Numbers of an embedding that it takes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of its map.
    pub fn rows(&self) -> usize {
        self.map.len() / self.width
    }

    /// The output for one embedding; for CLIP-OE cosines of the corrected embedding with the texts. (Where a correction takes
    /// all direction away, the embedding stays as it was.)
    ///
    /// # Panics
    /// When embedding or texts are of another width.
    pub fn output(&self, embedding: &[f32], texts: &Texts) -> Vec<f32> {
        assert_eq!(embedding.len(), self.width, "embeddings of one model have one width");
        let shifted: Vec<f64> = embedding
            .iter()
            .zip(&self.shift)
            .map(|(&x, &s)| (f64::from(x) - f64::from(s)) * f64::from(self.scale))
            .collect();
        let mapped = self.map.chunks_exact(self.width).map(|row| dot(row, &shifted));
        match &self.rest {
            Rest::Nothing => mapped.map(|f| f as f32).collect(),
            Rest::Bias(bias) => mapped.map(|f| (f + f64::from(*bias)) as f32).collect(),
            Rest::Centre(centre) => mapped.zip(centre).map(|(f, &c)| (f - f64::from(c)) as f32).collect(),
            Rest::Up(up) => {
                let low: Vec<f64> = mapped.collect();
                let moved = embedding.iter().zip(up.chunks_exact(low.len())).map(|(&x, row)| x + dot(row, &low) as f32);
                match Embeddings::normalise(self.width, moved.collect()) {
                    Ok(moved) => texts.cosines(moved.row(0)),
                    Err(_) => texts.cosines(embedding),
                }
            }
        }
    }
}

/// Summed in four lanes, in a fixed order.
fn dot(row: &[f32], x: &[f64]) -> f64 {
    let mut lanes = [0f64; 4];
    let (rows, xs) = (row.chunks_exact(4), x.chunks_exact(4));
    let rest: f64 = rows.remainder().iter().zip(xs.remainder()).map(|(&a, &b)| f64::from(a) * b).sum();
    for (a, b) in rows.zip(xs) {
        for i in 0..4 {
            lanes[i] += f64::from(a[i]) * b[i];
        }
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]) + rest
}
