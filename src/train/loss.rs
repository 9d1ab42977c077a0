//! The losses as candle sees them: heads' outputs of a batch in, its mean loss out, ready for `backward`.
//!
//! Source of the formulas: the papers named in `score`'s files, as written in liznerski/eoe, `src/eoe/training/*.py`.
//! `y = 1` for an outlier. Outputs are `n x k`; normal pictures and outliers come as two tensors, and the loss is the mean over
//! both together. They agree with PyTorch (tests/reference/heads.py).

use candle_core::{D, Result, Tensor};

use crate::protocol::EntryKind;
use crate::score::{LOGIT_SCALE, Loss};

/// What keeps the logarithm and the inverse of HSC and DSAD finite, as in the reference.
const EPSILON: f64 = 1e-9;

/// A batch's outputs. For DSVDD they are differences from the centre, for CLIP-OE cosines with the entries.
pub struct Outputs<'a> {
    /// `n x k`.
    pub normal: &'a Tensor,
    /// `m x k`; `None` where the loss looks at no outliers.
    pub outliers: Option<&'a Tensor>,
}

/// The mean loss of a batch, a scalar. `kinds` are those of the entries (CLIP-OE alone looks at them).
///
/// # Errors
/// When candle refuses, for example for shapes that do not belong together.
pub fn mean_loss(loss: Loss, outputs: &Outputs<'_>, kinds: &[EntryKind]) -> Result<Tensor> {
    let normal = of_normal(loss, outputs.normal, kinds)?;
    let count = normal.elem_count();
    match outputs.outliers.filter(|_| loss != Loss::Dsvdd) {
        None => normal.mean_all(),
        Some(outliers) => {
            let outliers = of_outliers(loss, outliers, kinds)?;
            let all = (count + outliers.elem_count()) as f64;
            (normal.sum_all()? + outliers.sum_all()?)? / all
        }
    }
}

/// One loss for each row.
fn of_normal(loss: Loss, f: &Tensor, kinds: &[EntryKind]) -> Result<Tensor> {
    match loss {
        Loss::Bce => softplus(f),
        Loss::Focal => focal(&softplus(f)?),
        Loss::Hsc => distance(f),
        Loss::Dsad | Loss::Dsvdd => square(f),
        Loss::ClipOe => {
            let logits = (f * LOGIT_SCALE)?;
            // the likeliest normal entry alone, as in the reference for leave-one-out
            let best = of_kind(&logits, kinds, EntryKind::Normal)?.max_keepdim(D::Minus1)?;
            log_sum_exp(&logits)? - best
        }
    }
}

fn of_outliers(loss: Loss, f: &Tensor, kinds: &[EntryKind]) -> Result<Tensor> {
    match loss {
        Loss::Bce => softplus(&f.neg()?),
        Loss::Focal => focal(&softplus(&f.neg()?)?),
        Loss::Hsc => ((1.0 - distance(f)?.neg()?.exp()?)? + EPSILON)?.log()?.neg(),
        Loss::Dsad => (square(f)? + EPSILON)?.recip(),
        Loss::Dsvdd => square(f)?.zeros_like(),
        Loss::ClipOe => {
            let logits = (f * LOGIT_SCALE)?;
            log_sum_exp(&logits)? - log_sum_exp(&of_kind(&logits, kinds, EntryKind::Anomaly)?)?
        }
    }
}

/// `ln(1 + e^f)`, the cross-entropy of a normal picture: `max(f, 0) + ln(1 + e^-|f|)`, which does not overflow.
fn softplus(f: &Tensor) -> Result<Tensor> {
    f.relu()? + (f.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// `(1 - e^-b)^2 b`.
fn focal(b: &Tensor) -> Result<Tensor> {
    (1.0 - b.neg()?.exp()?)?.sqr()? * b
}

fn square(f: &Tensor) -> Result<Tensor> {
    f.sqr()?.sum_keepdim(D::Minus1)
}

/// `sqrt(norm^2 + 1) - 1`.
fn distance(f: &Tensor) -> Result<Tensor> {
    (square(f)? + 1.0)?.sqrt()? - 1.0
}

fn log_sum_exp(logits: &Tensor) -> Result<Tensor> {
    let top = logits.max_keepdim(D::Minus1)?.detach();
    logits.broadcast_sub(&top)?.exp()?.sum_keepdim(D::Minus1)?.log()? + top
}

/// The columns of one kind.
fn of_kind(logits: &Tensor, kinds: &[EntryKind], kind: EntryKind) -> Result<Tensor> {
    let columns: Vec<u32> = (0u32..).zip(kinds).filter(|(_, k)| **k == kind).map(|(i, _)| i).collect();
    let count = columns.len();
    logits.index_select(&Tensor::from_vec(columns, count, logits.device())?, 1)
}
