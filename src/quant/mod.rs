//! Linear layers in 8 bits: f32 weights become a [`QMatrix`], f32 rows go in, f32 rows come out.
//!
//! Weights: one scale per output channel, integers in `-127..=127`. Activations: one scale per row, integers in
//! `-2047..=2047`. The few numbers of a row that stand far out (real CLIPs have such channels) would take the range from all
//! others; they are clipped to the range, and what the clipping cut off is added afterwards in f32, times the weights as
//! quantized. To treat outliers apart is the idea of LLM.int8() (Dettmers et al. 2022); the rule for which numbers is ours, and
//! looks at one row alone, so that the result for a picture does not depend on its batch.
//!
//! Activations of 7 bits, which relaxed SIMD would make faster, were measured first: end to end they lost 3 to 6 times more
//! than the weights' own 8 bits do (cosine 0.9986 instead of 0.9996 on the random ViT-B/32 of tests/clip.rs).
//!
//! It does not know where weights come from (see `weights`) or what the layers mean (see `clip`).

use crate::kernels::pack::{self, MAX_ACTIVATION, MAX_WEIGHT};
use crate::kernels::{Kernel, vector};

/// A number is an outlier of its row when it is this many times the mean magnitude of the others (13 standard deviations of a
/// Gaussian): the others then keep at least seven bits.
const OUTLIER_RATIO: f32 = 16.0;
/// At most one number in this many is treated as an outlier; with more, the range is widened instead.
const OUTLIER_SHARE: usize = 32;

/// A linear layer `y = x W^T + b` with `W` `[n,k]` in 8 bits, packed for the kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct QMatrix {
    n: usize,
    k: usize,
    packed: Vec<i8>,
    /// Per output channel.
    scale: Vec<f32>,
    bias: Vec<f32>,
}

/// Buffers of [`QMatrix::apply`], made once and grown as needed.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    codes: Vec<i16>,
    acc: Vec<i32>,
    /// A row is its scale times its codes.
    scales: Vec<f32>,
    outliers: Vec<Outlier>,
}

/// What the clipped range leaves of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outlier {
    row: usize,
    input: usize,
    rest: f32,
}

impl QMatrix {
    /// Quantizes row-major `weights` `[n,k]` with an optional bias `[n]`.
    ///
    /// # Panics
    /// When a length does not fit, or `k` is beyond [`pack::MAX_K`].
    pub fn new(weights: &[f32], bias: Option<&[f32]>, n: usize, k: usize) -> Self {
        assert_eq!(weights.len(), n * k, "weights are [n,k]");
        assert!(k <= pack::MAX_K, "sums of {k} products would not fit");
        let mut codes = vec![0i8; n * k];
        let mut scale = Vec::with_capacity(n);
        for (row, codes) in weights.chunks_exact(k.max(1)).zip(codes.chunks_exact_mut(k.max(1))) {
            scale.push(quantize_channel(row, codes));
        }
        let bias = bias.map_or_else(|| vec![0.0; n], <[f32]>::to_vec);
        assert_eq!(bias.len(), n, "one bias for each output channel");
        let mut packed = vec![0; pack::weights_len(n, k)];
        pack::pack_weights(&codes, n, k, &mut packed);
        Self { n, k, packed, scale, bias }
    }

    /// Output channels.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.packed.len() + 8 * self.n
    }

    /// The weight of output `c` and input `i` as the kernels see it.
    pub fn weight(&self, c: usize, i: usize) -> f32 {
        f32::from(self.packed[pack::weight_index(pack::padded_k(self.k), c, i)]) * self.scale[c]
    }

    /// `y[m,n] = x[m,k] W^T + b`, all row-major.
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn apply(&self, kernel: Kernel, x: &[f32], m: usize, scratch: &mut Scratch, y: &mut [f32]) {
        assert_eq!(x.len(), m * self.k, "the input is [m,k]");
        assert_eq!(y.len(), m * self.n, "the output is [m,n]");
        quantize_rows(x, m, self.k, scratch);
        let weights = pack::Weights::new(&self.packed, self.n, self.k);
        let activations = pack::Activations::new(&scratch.codes, m, self.k);
        scratch.acc.resize(activations.rows() * weights.n(), 0);
        kernel.gemm(&weights, &activations, &mut scratch.acc);
        for ((y, acc), &row_scale) in
            y.chunks_exact_mut(self.n.max(1)).zip(scratch.acc.chunks_exact(weights.n().max(1))).zip(&scratch.scales)
        {
            for (((y, &acc), &scale), &bias) in y.iter_mut().zip(acc).zip(&self.scale).zip(&self.bias) {
                *y = acc as f32 * (row_scale * scale) + bias;
            }
        }
        for outlier in &scratch.outliers {
            let y = &mut y[outlier.row * self.n..(outlier.row + 1) * self.n];
            for (c, y) in y.iter_mut().enumerate() {
                *y += outlier.rest * self.weight(c, outlier.input);
            }
        }
    }
}

/// Quantizes the weights of one output channel; returns its scale.
fn quantize_channel(weights: &[f32], codes: &mut [i8]) -> f32 {
    let (low, high) = vector::min_max(weights);
    let largest = high.max(-low);
    if !(largest > 0.0 && largest.is_finite()) {
        codes.fill(0);
        return 1.0;
    }
    let scale = largest / f32::from(MAX_WEIGHT);
    for (code, &w) in codes.iter_mut().zip(weights) {
        *code = (w / scale).round().clamp(-127.0, 127.0) as i8;
    }
    scale
}

/// Quantizes and packs `m` rows of `k` numbers into `scratch`.
fn quantize_rows(x: &[f32], m: usize, k: usize, scratch: &mut Scratch) {
    scratch.codes.clear();
    scratch.codes.resize(pack::activations_len(m, k), 0);
    scratch.scales.clear();
    scratch.outliers.clear();
    for (r, row) in x.chunks_exact(k.max(1)).enumerate() {
        let limit = outlier_limit(row);
        let (low, high) = vector::min_max(row);
        let largest = high.max(-low);
        let scale = largest.min(limit) / f32::from(MAX_ACTIVATION);
        // a row of zeros, or of numbers too small to be told from them, or a broken one
        let scale = if scale > 1e-30 && scale.is_finite() { scale } else { 1.0 };
        scratch.scales.push(scale);
        let inverse = 1.0 / scale;
        let mut at = pack::activation_index(pack::padded_k(k), r, 0);
        for pair in row.chunks(2) {
            for (j, &v) in pair.iter().enumerate() {
                scratch.codes[at + j] = code(v, inverse);
            }
            at += 2 * pack::MR;
        }
        if largest > limit {
            for (input, &v) in row.iter().enumerate() {
                if v.abs() > limit {
                    let rest = v - scale * f32::from(code(v, inverse));
                    scratch.outliers.push(Outlier { row: r, input, rest });
                }
            }
        }
    }
}

/// `v / scale` rounded (halves to even) within `-2047..=2047`: adding 1.5 x 2^23 leaves the integer in the low bits.
#[inline(always)]
fn code(v: f32, inverse_scale: f32) -> i16 {
    const MOST: f32 = MAX_ACTIVATION as f32;
    let shifted = v * inverse_scale;
    let shifted = if shifted > -MOST { shifted } else { -MOST };
    let shifted = if shifted < MOST { shifted } else { MOST };
    (shifted + 12_582_912.0).to_bits() as i16
}

/// The magnitude beyond which numbers of this row are outliers: [`OUTLIER_RATIO`] times the mean magnitude of the others,
/// found by leaving out outliers until that changes nothing. Infinite where there are no numbers or only zeros.
fn outlier_limit(row: &[f32]) -> f32 {
    let allowed = row.len() / OUTLIER_SHARE;
    let mut limit = f32::INFINITY;
    let (mut sum, mut count) = (vector::sum_abs(row), row.len());
    loop {
        let mut next = OUTLIER_RATIO * sum / count.max(1) as f32;
        // also true of NaN
        if !(next > 0.0 && next < limit) {
            return limit;
        }
        let mut beyond = row.iter().filter(|v| v.abs() > next).count();
        while beyond > allowed {
            next *= 2.0;
            beyond = row.iter().filter(|v| v.abs() > next).count();
        }
        if beyond == 0 || next >= limit {
            return next.min(limit);
        }
        limit = next;
        sum = row.iter().map(|v| v.abs()).filter(|&v| v <= limit).sum();
        count = row.len() - beyond;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    /// Sum of four uniform numbers, roughly Gaussian with variance 1.
    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..count).map(|_| (uniform() + uniform() + uniform() + uniform()) * 3f32.sqrt()).collect()
    }

    fn product(x: &[f32], w: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
        let mut y = vec![0.0; m * n];
        for r in 0..m {
            for c in 0..n {
                let sum: f64 = (0..k).map(|i| f64::from(x[r * k + i]) * f64::from(w[c * k + i])).sum();
                y[r * n + c] = (sum + f64::from(b[c])) as f32;
            }
        }
        y
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    fn error(x: &[f32], w: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> f64 {
        let q = QMatrix::new(w, Some(b), n, k);
        let mut scratch = Scratch::default();
        let truth = product(x, w, b, (m, k, n));
        let mut first: Option<Vec<f32>> = None;
        for kernel in kernels::all() {
            let mut y = vec![f32::NAN; m * n];
            q.apply(kernel, x, m, &mut scratch, &mut y);
            assert_eq!(first.get_or_insert_with(|| y.clone()), &y, "{kernel:?} gives the truth's numbers");
        }
        1.0 - cosine(&truth, &first.expect("there is a scalar kernel"))
    }

    #[test]
    fn gaussian_layers_lose_little() {
        for shape in [(7, 192, 40), (3, 50, 9), (50, 768, 64)] {
            let (m, k, n) = shape;
            let e = error(&noise(m * k, 1), &noise(n * k, 2), &noise(n, 3), shape);
            assert!(e < 3e-4, "1 - cosine = {e} on {shape:?}");
        }
    }

    /// What four channels 200 times larger than the rest cost the rest: their own part is subtracted on both sides.
    #[test]
    fn outliers_do_not_take_the_range_from_the_rest() {
        let (m, k, n) = (5, 768, 64);
        let large = [3, 77, 400, 767];
        let rest = noise(m * k, 1);
        let mut x = rest.clone();
        for r in 0..m {
            for i in large {
                x[r * k + i] *= 200.0;
            }
        }
        let w = noise(n * k, 2);
        let q = QMatrix::new(&w, None, n, k);
        let apply = |x: &[f32]| {
            let mut y = vec![0.0; m * n];
            q.apply(kernels::best(), x, m, &mut Scratch::default(), &mut y);
            y
        };
        let without_large = |x: &[f32], mut y: Vec<f32>| {
            for (i, y) in y.iter_mut().enumerate() {
                let (r, c) = (i / n, i % n);
                *y -= large.iter().map(|&i| x[r * k + i] * q.weight(c, i)).sum::<f32>();
            }
            y
        };
        let plain = 1.0
            - cosine(
                &without_large(&rest, apply(&rest)),
                &without_large(&rest, product(&rest, &w, &vec![0.0; n], (m, k, n))),
            );
        let mut exact = rest.clone();
        for r in 0..m {
            for i in large {
                exact[r * k + i] = 0.0;
            }
        }
        let truth = product(&exact, &w, &vec![0.0; n], (m, k, n));
        let planted = 1.0 - cosine(&without_large(&x, apply(&x)), &truth);
        assert!(planted < 2.0 * plain && plain < 3e-4, "1 - cosine = {planted}, without outliers {plain}");
    }

    #[test]
    fn degenerate_rows_and_channels() {
        let w = [vec![0.0; 16], vec![1.0; 16], vec![f32::MIN_POSITIVE; 16]].concat();
        let q = QMatrix::new(&w, None, 3, 16);
        let mut y = vec![f32::NAN; 12];
        let x = [vec![0.0; 16], vec![5.0; 16], vec![-5.0; 16], vec![1e-38; 16]].concat();
        q.apply(kernels::best(), &x, 4, &mut Scratch::default(), &mut y);
        assert!(y.iter().all(|v| v.is_finite()), "{y:?}");
        assert_eq!(y[0..3], [0.0; 3]);
        assert!((y[4] - 80.0).abs() < 1e-3 && (y[7] + 80.0).abs() < 1e-3, "{y:?}");
        QMatrix::new(&[], None, 0, 16).apply(kernels::best(), &[0.0; 16], 1, &mut Scratch::default(), &mut []);
        QMatrix::new(&w, None, 3, 16).apply(kernels::best(), &[], 0, &mut Scratch::default(), &mut []);
        let mut y = vec![0.0; 3];
        q.apply(kernels::best(), &[f32::NAN; 16], 1, &mut Scratch::default(), &mut y);
        q.apply(kernels::best(), &[f32::INFINITY; 16], 1, &mut Scratch::default(), &mut y);
    }

    #[test]
    fn weights_err_by_at_most_half_a_step() {
        let weights = noise(96, 9);
        let q = QMatrix::new(&weights, None, 3, 32);
        for (i, w) in weights.iter().enumerate() {
            let (low, high) = vector::min_max(&weights[i / 32 * 32..(i / 32 + 1) * 32]);
            let step = high.max(-low) / 127.0;
            assert!((q.weight(i / 32, i % 32) - w).abs() <= step * 0.5001, "{w} became {}", q.weight(i / 32, i % 32));
        }
    }
}
