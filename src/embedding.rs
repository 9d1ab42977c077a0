//! [`Embeddings`]: points on the unit sphere, one a row. It does not know where they came from.

use thiserror::Error;

/// By what a unit vector's length may differ from 1: its numbers are rounded to f32, each by at most half of 2^-23 of itself.
const ROUNDING: f64 = 1e-5;

/// Why rows are no embeddings.
#[derive(Debug, Error, PartialEq)]
pub enum EmbeddingError {
    #[error("embeddings of width {width}: expected a multiple of {width} numbers, got {len}")]
    Length { width: usize, len: usize },
    #[error("embedding {row}: expected a finite vector with a direction, got length {length}")]
    Direction { row: usize, length: f32 },
}

/// `n x d` numbers, row-major; every row has unit Euclidean length. The constructor keeps it so.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    width: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// Divides each row of `values` (`n x width`, row-major) by its length.
    ///
    /// # Errors
    /// When the count is no multiple of `width`, or a row has no direction (zero, infinite or not a number).
    pub fn normalise(width: usize, mut values: Vec<f32>) -> Result<Self, EmbeddingError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(EmbeddingError::Length { width, len: values.len() });
        }
        for (row, v) in values.chunks_exact_mut(width).enumerate() {
            let length = v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            if !(length > 0.0 && length.is_finite()) {
                return Err(EmbeddingError::Direction { row, length: length as f32 });
            }
            for x in v.iter_mut() {
                *x = (f64::from(*x) / length) as f32;
            }
        }
        Ok(Self { width, values })
    }

    /// Rows that have unit length already, as they are.
    ///
    /// # Errors
    /// When the count is no multiple of `width`, or a row's length differs from 1 by more than rounding.
    pub fn unit(width: usize, values: Vec<f32>) -> Result<Self, EmbeddingError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(EmbeddingError::Length { width, len: values.len() });
        }
        for (row, v) in values.chunks_exact(width).enumerate() {
            let length = v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            // NaN is not within
            let is_unit = (length - 1.0).abs() <= ROUNDING;
            if !is_unit {
                return Err(EmbeddingError::Direction { row, length: length as f32 });
            }
        }
        Ok(Self { width, values })
    }

    /// No rows yet.
    pub fn empty(width: usize) -> Self {
        Self { width, values: Vec::new() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// All numbers, row-major.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// The rows of those numbers, in that order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Self { width: self.width, values }
    }

    /// Appends the rows of `other`, which must be as wide.
    pub fn extend(&mut self, other: &Embeddings) {
        assert_eq!(self.width, other.width, "embeddings of one model have one width");
        self.values.extend_from_slice(&other.values);
    }
}

/// The cosine of two unit vectors of equal length, summed in f64 in one order, so that every machine gets the same.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "embeddings of one model have one width");
    // eight sums beside each other: one alone would wait for itself at every step
    let (mut sums, wide) = ([0.0_f64; 8], a.len() - a.len() % 8);
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for (sum, (&x, &y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += f64::from(x) * f64::from(y);
        }
    }
    let rest: f64 = a[wide..].iter().zip(&b[wide..]).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    (sums.iter().sum::<f64>() + rest) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_unit_length() {
        let e = Embeddings::normalise(2, vec![3.0, 4.0, 0.0, -2.0]).expect("two directions");
        assert_eq!(e.as_slice(), [0.6, 0.8, 0.0, -1.0]);
        assert_eq!((e.len(), e.width()), (2, 2));
        assert_eq!(cosine(e.row(0), e.row(1)), -0.8);
        assert_eq!(e.select(&[1, 1, 0]).as_slice(), [0.0, -1.0, 0.0, -1.0, 0.6, 0.8]);
    }

    #[test]
    fn unit_rows_stay_as_they_are() {
        let e = Embeddings::unit(2, vec![0.6, 0.8, 0.0, -1.0]).expect("two directions");
        assert_eq!(e.as_slice(), [0.6, 0.8, 0.0, -1.0]);
        for bad in [[0.6, 0.81], [0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert!(
                matches!(Embeddings::unit(2, bad.to_vec()), Err(EmbeddingError::Direction { row: 0, .. })),
                "{bad:?}"
            );
        }
        assert!(matches!(Embeddings::unit(2, vec![1.0]), Err(EmbeddingError::Length { .. })));
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        assert!(matches!(Embeddings::normalise(2, vec![0.0, 0.0]), Err(EmbeddingError::Direction { row: 0, .. })));
        assert!(matches!(Embeddings::normalise(1, vec![1.0, f32::NAN]), Err(EmbeddingError::Direction { row: 1, .. })));
        assert!(matches!(Embeddings::normalise(2, vec![1.0]), Err(EmbeddingError::Length { .. })));
        assert!(matches!(Embeddings::normalise(0, vec![]), Err(EmbeddingError::Length { .. })));
    }
}
