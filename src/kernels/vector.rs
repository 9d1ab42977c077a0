//! f32 vector math that the towers need between two products. Plain loops over independent lanes, which the compiler
//! turns into SIMD on every target; no fused multiply-add and a fixed order of sums, so that all machines agree.

use super::NR;
use super::quads::{GROUP, QUAD};

/// A function whose loops use the widest registers that this processor is sure to have: where x86-64 promises only SSE2, there is a second
/// one for AVX2. Its numbers are the same, since no order of additions changes.
macro_rules! widest {
    ($(#[$doc:meta])* pub fn $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)? $body:block) => {
        $(#[$doc])*
        pub fn $name($($argument: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn work($($argument: $kind),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn with_avx2($($argument: $kind),*) $(-> $result)? {
                    work($($argument),*)
                }
                if std::is_x86_feature_detected!("avx2") {
                    // SAFETY: AVX2 is there.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            work($($argument),*)
        }
    };
}

/// Lanes that sums are split into; a power of two, so that the order of additions is the same everywhere.
const LANES: usize = 8;

/// The lanes' sum, in the order that all machines keep to.
#[inline(always)]
fn across(lanes: [f32; LANES]) -> f32 {
    (lanes[0] + lanes[4]) + (lanes[1] + lanes[5]) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]))
}

/// Sum of `f(x)` over all `x`, in [`LANES`] interleaved partial sums.
#[inline(always)]
fn lane_sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    across(lanes)
}

/// Sum of the numbers.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    lane_sum(x, |v| v)
}

widest! {
    /// Sum of the products.
    pub fn dot(x: &[f32], y: &[f32]) -> f32 {
        assert_eq!(x.len(), y.len(), "a product for each number");
        let mut lanes = [0f32; LANES];
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in x.iter().zip(y) {
            lanes.iter_mut().zip(x).zip(y).for_each(|((lane, x), y)| *lane += x * y);
        }
        lanes.iter_mut().zip(x_rest).zip(y_rest).for_each(|((lane, x), y)| *lane += x * y);
        across(lanes)
    }
}

widest! {
    /// The largest sum of squares of a lane of [`super::quads`], of numbers clipped to `-limit..=limit`.
    pub fn largest_lane_square(x: &[f32], limit: f32) -> f32 {
        let square = |squares: &mut [f32; QUAD], quad: &[f32]| {
            for (square, v) in squares.iter_mut().zip(quad) {
                let v = v.abs();
                let v = if v < limit { v } else { limit };
                *square += v * v;
            }
        };
        let larger = |largest: f32, s: [f32; QUAD]| {
            let lane = if s[0] + s[1] > s[2] + s[3] { s[0] + s[1] } else { s[2] + s[3] };
            if lane > largest { lane } else { largest }
        };
        let mut largest = 0f32;
        let (groups, rest) = x.as_chunks::<GROUP>();
        for group in groups {
            let mut squares = [0f32; QUAD];
            group.as_chunks::<QUAD>().0.iter().for_each(|quad| square(&mut squares, quad));
            largest = larger(largest, squares);
        }
        let mut squares = [0f32; QUAD];
        rest.chunks(QUAD).for_each(|quad| square(&mut squares, quad));
        larger(largest, squares)
    }
}

/// What [`row_stats`] finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowStats {
    pub low: f32,
    pub high: f32,
    pub sum_abs: f32,
    /// As [`largest_lane_square`] without a limit.
    pub largest_lane_square: f32,
}

widest! {
    /// [`min_max`], the sum of the magnitudes and [`largest_lane_square`] in one pass. NaN is passed over by the first and spoils the others.
    /// Where the numbers do not fill whole groups, a zero is among those that least and largest are of.
    pub fn row_stats(x: &[f32]) -> RowStats {
        let (mut low, mut high, mut sums) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES], [0f32; LANES]);
        let mut largest = 0f32;
        let (groups, rest) = x.as_chunks::<GROUP>();
        let mut last = [0f32; GROUP];
        last[..rest.len()].copy_from_slice(rest);
        for (g, group) in groups.iter().chain([&last]).enumerate() {
            if g == groups.len() && rest.is_empty() {
                break;
            }
            let mut squares = [0f32; LANES];
            for chunk in group.as_chunks::<LANES>().0 {
                for i in 0..LANES {
                    let v = chunk[i];
                    low[i] = if v < low[i] { v } else { low[i] };
                    high[i] = if v > high[i] { v } else { high[i] };
                    sums[i] += v.abs();
                    squares[i] += v * v;
                }
            }
            let even = (squares[0] + squares[1]) + (squares[4] + squares[5]);
            let odd = (squares[2] + squares[3]) + (squares[6] + squares[7]);
            let lane = if even > odd { even } else { odd };
            largest = if lane > largest { lane } else { largest };
        }
        let low = low.into_iter().fold(f32::INFINITY, f32::min);
        let high = high.into_iter().fold(f32::NEG_INFINITY, f32::max);
        RowStats { low, high, sum_abs: across(sums), largest_lane_square: largest }
    }
}

widest! {
    /// `(minimum, maximum)`; of nothing: `(inf, -inf)`. NaN is passed over.
    pub fn min_max(x: &[f32]) -> (f32, f32) {
        let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let mut look = |i: usize, v: f32| {
            low[i] = if v < low[i] { v } else { low[i] };
            high[i] = if v > high[i] { v } else { high[i] };
        };
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            chunk.iter().enumerate().for_each(|(i, &v)| look(i, v));
        }
        rest.iter().enumerate().for_each(|(i, &v)| look(i, v));
        (low.iter().copied().fold(f32::INFINITY, f32::min), high.iter().copied().fold(f32::NEG_INFINITY, f32::max))
    }
}

/// `x * inverse_scale` rounded (halves to even) within `low..=high`. NaN gives `low`.
#[inline(always)]
pub fn code(x: f32, inverse_scale: f32, low: f32, high: f32) -> i32 {
    // 1.5 x 2^23: adding it rounds to an integer, which then stands in the low bits
    const ROUND: f32 = 12_582_912.0;
    let v = x * inverse_scale;
    let v = if v > low { v } else { low };
    let v = if v < high { v } else { high };
    (v + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

widest! {
    /// [`code`] of each number, plus `centre`, in unsigned bytes.
    pub fn codes(x: &[f32], inverse_scale: f32, centre: u8, out: &mut [u8]) {
        assert_eq!(x.len(), out.len(), "a code for each number");
        let (low, high) = (-f32::from(centre), 127.0 - f32::from(centre));
        let one = |x: f32| (code(x, inverse_scale, low, high) + i32::from(centre)) as u8;
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = one(x));
    }
}

widest! {
    /// [`code`] of each number, signed.
    pub fn signed_codes(x: &[f32], inverse_scale: f32, range: (f32, f32), out: &mut [i16]) {
        let (low, high) = range;
        assert_eq!(x.len(), out.len(), "a code for each number");
        let one = |x: f32| code(x, inverse_scale, low, high) as i16;
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = one(x));
    }
}

widest! {
    /// `x / scale` rounded (halves away from zero, as [`f32::round`] does) within `-127..=127`: how weights become integers.
    pub fn weight_codes(x: &[f32], scale: f32, out: &mut [i8]) {
        // the largest number below a half: added before what is behind the point is cut off, it rounds; `f32::round` itself is a call
        // for each number where processors have no instruction for it, as in WebAssembly
        const HALF: f32 = 0.499_999_97;
        assert_eq!(x.len(), out.len(), "a code for each number");
        let one = |x: f32| {
            let v = (x / scale).clamp(-127.0, 127.0);
            (v + HALF.copysign(v)) as i32 as i8
        };
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = one(x));
    }
}

widest! {
    /// `out = sums * row_scale * scale + bias` for some panels: `sums` are `[panels][rows][NR]` with at least as many rows as there are row
    /// scales, `scale` and `bias` are `[panels][NR]`, and `out` is `[rows][stride][NR]` with room for as many panels or more.
    pub fn scaled(sums: &[i32], row_scales: &[f32], scale: &[[f32; NR]], bias: &[[f32; NR]], stride: usize, out: &mut [f32]) {
        let one = sums.len() / scale.len();
        for ((p, scale), bias) in scale.iter().enumerate().zip(bias) {
            let sums = sums[p * one..][..one].as_chunks::<NR>().0;
            let out = out.as_chunks_mut::<NR>().0[p..].iter_mut().step_by(stride);
            for ((sums, out), row_scale) in sums.iter().zip(out).zip(row_scales) {
                for i in 0..NR {
                    out[i] = sums[i] as f32 * (row_scale * scale[i]) + bias[i];
                }
            }
        }
    }
}

/// `e^x` with relative error below 3e-7; below -87 it stays at e^-87 (1.6e-38), above 88 at e^88.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite's split of ln 2), a polynomial of degree 5 for `e^r`, and `2^n` put into
/// the exponent's bits. The polynomial is `1 + r + r^2 q(r)` with the `q` of least greatest relative error (1.05e-7), found by
/// reweighted least squares on Chebyshev nodes.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 0.008_312_521;
    let p = p * r + 0.041_890_16;
    let p = p * r + 0.166_671_15;
    let p = p * r + 0.499_992_3;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(power)
}

/// The error function, absolute error below 3e-7: Abramowitz and Stegun 7.1.26.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

widest! {
    /// `x * sigmoid(1.702 x)` in place: the activation of OpenAI's CLIP.
    pub fn quick_gelu(x: &mut [f32]) {
        for v in x {
            *v /= 1.0 + exp(-1.702 * *v);
        }
    }
}

widest! {
    /// `x * (1 + erf(x / sqrt 2)) / 2` in place: the exact GELU.
    pub fn gelu(x: &mut [f32]) {
        for v in x {
            *v = 0.5 * *v * (1.0 + erf(*v * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

widest! {
    /// `(x - mean) / sqrt(variance + epsilon) * gain + bias` for one row; the variance is that of the population.
    pub fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
        assert!(
            x.len() == gain.len() && x.len() == bias.len() && x.len() == out.len(),
            "one gain and bias for each number"
        );
        let n = x.len() as f32;
        let mean = sum(x) / n;
        let variance = lane_sum(x, |v| (v - mean) * (v - mean)) / n;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for (((o, &v), &g), &b) in out.iter_mut().zip(x).zip(gain).zip(bias) {
            *o = (v - mean) * inverse * g + b;
        }
    }
}

widest! {
    /// Softmax of one row, in place. An empty row stays empty.
    pub fn softmax(x: &mut [f32]) {
        let (_, top) = min_max(x);
        for v in x.iter_mut() {
            *v = exp(*v - top);
        }
        let scale = 1.0 / sum(x);
        for v in x {
            *v *= scale;
        }
    }
}

/// Columns that [`product`] computes at a time: what its second operand and its result must be multiples of.
pub const COLUMNS: usize = 8;

/// `out[m,n] = a[m,k] b[k,n]`, row-major, `n` a multiple of [`COLUMNS`]. Every sum is taken in the order of `k`.
pub fn product(a: &[f32], b: &[f32], k: usize, out: &mut [f32]) {
    product_of(a, k, b, k, out);
}

widest! {
    /// [`product`] with the first `k` of the `stride` numbers in each row of `a`.
    pub fn product_of(a: &[f32], stride: usize, b: &[f32], k: usize, out: &mut [f32]) {
        const ROWS: usize = 4;
        let (m, n) = (a.len() / stride, b.len() / k);
        assert!(n.is_multiple_of(COLUMNS) && out.len() == m * n && k <= stride, "a [m,k] times b [k,n] is [m,n]");
        for (a, out) in a.chunks(ROWS * stride).zip(out.chunks_mut(ROWS * n)) {
            if a.len() == ROWS * stride {
                rows::<ROWS>(a, stride, b, k, out);
            } else {
                a.chunks_exact(stride)
                    .zip(out.chunks_exact_mut(n))
                    .for_each(|(a, out)| rows::<1>(a, stride, b, k, out));
            }
        }
    }
}

/// `R` rows of [`product_of`].
#[inline(always)]
fn rows<const R: usize>(a: &[f32], stride: usize, b: &[f32], k: usize, out: &mut [f32]) {
    let n = b.len() / k;
    let a: [&[f32]; R] = std::array::from_fn(|r| &a[r * stride..][..k]);
    for column in (0..n).step_by(COLUMNS) {
        let mut sums = [[0f32; COLUMNS]; R];
        for (i, b) in b.chunks_exact(n).enumerate() {
            let b: [f32; COLUMNS] = *b[column..].first_chunk().expect("n is a multiple of the columns");
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = a[i];
                sums.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            out[r * n + column..][..COLUMNS].copy_from_slice(sums);
        }
    }
}

widest! {
    /// `y += a * x`.
    pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += a * x;
        }
    }
}

widest! {
    /// `y += x`.
    pub fn add(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_follows_the_standard_library() {
        let mut worst = 0f64;
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let truth = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - truth).abs() / truth);
        }
        assert!(worst < 3e-7, "relative error {worst}");
        assert!(exp(-1000.0) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn erf_meets_tabulated_values() {
        // Abramowitz and Stegun, table 7.1
        for (x, y) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (-1.0, -0.842_700_8)] {
            assert!((erf(x) - y).abs() < 3e-7, "erf({x}) = {}", erf(x));
        }
    }

    /// Around every half there is the standard library's answer, and far outside of the range.
    #[test]
    fn weight_codes_are_rounded_as_the_standard_library_rounds() {
        let mut x: Vec<f32> = vec![0.0, -0.0, 1e-40, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        for half in -260..=260 {
            let half = half as f32 / 2.0;
            let (mut below, mut above) = (half, half);
            for _ in 0..200 {
                x.extend([below, above]);
                (below, above) = (below.next_down(), above.next_up());
            }
        }
        x.extend((0..100_000).map(|i| (i as f32 * 0.618_034).fract() * 300.0 - 150.0));
        for scale in [1.0, 0.37, 1e-3, 3e-39] {
            let mut codes = vec![0; x.len()];
            weight_codes(&x, scale, &mut codes);
            for (x, code) in x.iter().zip(codes) {
                assert_eq!(code, (x / scale).round().clamp(-127.0, 127.0) as i8, "{x:e} / {scale:e}");
            }
        }
    }

    #[test]
    fn layer_norm_by_hand() {
        let mut out = [0.0; 4];
        layer_norm(&[1.0, 2.0, 3.0, 6.0], &[1.0, 1.0, 2.0, 1.0], &[0.0, 0.5, 0.0, 0.0], 0.0, &mut out);
        // mean 3, variance 3.5
        let s = 3.5f32.sqrt();
        for (got, want) in out.iter().zip([-2.0 / s, -1.0 / s + 0.5, 0.0, 3.0 / s]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn softmax_by_hand() {
        let mut x = [0.0, 3f32.ln(), 0.0];
        softmax(&mut x);
        for (got, want) in x.iter().zip([0.2, 0.6, 0.2]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
        softmax(&mut []);
    }

    #[test]
    fn products_by_hand() {
        // rows of a: (1, 2) and a third number that is not meant; b has columns of i and 10 i
        let a: Vec<f32> = (0..5).flat_map(|r| [1.0 + r as f32, 2.0, 99.0]).collect();
        let b: Vec<f32> = (0..8).map(|i| i as f32).chain((0..8).map(|i| 10.0 * i as f32)).collect();
        let mut out = vec![f32::NAN; 40];
        product_of(&a, 3, &b, 2, &mut out);
        for (i, v) in out.iter().enumerate() {
            let (r, c) = ((i / 8) as f32, (i % 8) as f32);
            assert_eq!(*v, (1.0 + r) * c + 20.0 * c);
        }
        assert_eq!(dot(&[1.0; 11], &[2.0; 11]), 22.0);
        // two lanes: numbers 0, 1, 4, 5, ... and 2, 3, 6, 7, ...
        assert_eq!(largest_lane_square(&[1.0, 1.0, 3.0, 9.0, -2.0], 4.0), 25.0);
    }

    #[test]
    fn activations_by_hand() {
        let mut x = [0.0, 1.0, -1.0, 10.0];
        quick_gelu(&mut x);
        for (got, want) in x.iter().zip([0.0, 0.845_795_8, -0.154_204_2, 10.0]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
        let mut x = [0.0, 1.0, -1.0, 10.0];
        gelu(&mut x);
        for (got, want) in x.iter().zip([0.0, 0.841_344_7, -0.158_655_3, 10.0]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
    }

    #[test]
    fn sums_and_extremes() {
        let x: Vec<f32> = (1..=21).map(|i| i as f32 * if i % 2 == 0 { -1.0 } else { 1.0 }).collect();
        assert_eq!((sum(&x), min_max(&x)), (11.0, (-20.0, 21.0)));
        let stats = row_stats(&x);
        assert_eq!((stats.low, stats.high, stats.sum_abs), (-20.0, 21.0, 231.0));
        assert_eq!(row_stats(&[]).sum_abs, 0.0);
        assert_eq!(stats.largest_lane_square, largest_lane_square(&x, f32::INFINITY));
    }
}
