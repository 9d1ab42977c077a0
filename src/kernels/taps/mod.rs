//! Weighted means of neighbouring pixels, in integers: where resizing a picture spends its time.
//!
//! [`Kernel::across`] goes along rows, `out[r,i,c] = byte(sum_j weight[i,j] * pixel[r, start[i] + j, c])`, and [`Kernel::down`] along
//! columns, `out[i,x] = byte(sum_j weight[i,j] * rows[start[i] + j, x])`.
//! Samples have 8 bits, weights are integers in units of 2^-22, sums are i32; `byte` says how they end.
//!
//! What SIMD multiplies fast are pairs of i16 whose products it adds (`pmaddwd`, `i32x4.dot_i16x8_s`). So weights are split,
//! `weight = 65536 * high + low` with both in i16, and there are two sums. Either may wrap around: the whole is right modulo 2^32, and
//! fits. A sample's partner is the one four further along. Pairs come from interleaving the two in units of 16 bits, two
//! samples each: `& 255` leaves pairs of every first sample, `>> 8` of every second. (Shuffles of bytes would be shorter, but V8 builds
//! their patterns anew each time.)
//!
//! The truth is [`scalar`]; every implementation gives the same bytes.

pub mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub mod wasm128;
#[cfg(target_arch = "x86_64")]
pub mod x86_avx2;

/// Fractional bits of a weight: 32, less 8 of a sample, less 2 for sign and overshoot.
pub const WEIGHT_BITS: u32 = 22;
/// Half of a byte's unit: added before the fraction is cut off, it rounds.
const HALF: i32 = 1 << (WEIGHT_BITS - 1);
/// Neighbours that are taken in a step.
const STEP: usize = 8;

/// From units of 2^-22 to a byte: rounded half up, clipped (some weights are negative, so that means overshoot).
#[inline(always)]
fn byte(sum: i32) -> u8 {
    ((sum + HALF) >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Weights of eight neighbours, `65536 * high + low`, in the order 0, 4, 1, 5, 2, 6, 3, 7: partners side by side.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Weights {
    low: [i16; STEP],
    high: [i16; STEP],
}

impl Weights {
    /// Where the weight of neighbour `i` lies.
    const fn place(i: usize) -> usize {
        i % 4 * 2 + i / 4
    }

    fn set(&mut self, i: usize, weight: i32) {
        let low = weight as i16;
        self.low[Self::place(i)] = low;
        self.high[Self::place(i)] = ((weight - i32::from(low)) >> 16) as i16;
    }

    #[inline(always)]
    fn get(&self, i: usize) -> i32 {
        (i32::from(self.high[Self::place(i)]) << 16) + i32::from(self.low[Self::place(i)])
    }
}

/// Along one axis, where each sample of the output looks and with what weights: windows of whole steps, all of the same width.
pub struct Taps {
    /// Samples of the input.
    input: usize,
    /// First sample of each window. Windows end within the input, unless that is shorter than a window.
    starts: Vec<usize>,
    /// `steps` for each window.
    weights: Vec<Weights>,
    steps: usize,
}

impl Taps {
    /// For `input` samples: the first of them and the weights for each sample of the output, in order. The magnitudes of the weights of
    /// one sum to at most 2^23, so that sums fit in i32. (Those of a bicubic mean sum to less than 1.3 times 2^22.)
    ///
    /// # Panics
    /// When there is no output, or some of it looks behind the input's end.
    pub fn new<'a>(input: usize, spans: impl Iterator<Item = (usize, &'a [i32])> + Clone) -> Self {
        let most = spans.clone().map(|(_, span)| span.len()).max().expect("some output");
        let steps = most.div_ceil(STEP).max(1);
        let (mut starts, mut weights) = (Vec::<usize>::new(), Vec::new());
        for (from, span) in spans {
            assert!(from + span.len() <= input, "outputs look at the input");
            let start = from.min(input.saturating_sub(steps * STEP));
            starts.push(start);
            weights.resize(starts.len() * steps, Weights::default());
            let window = &mut weights[(starts.len() - 1) * steps..];
            for (i, &weight) in (from - start..).zip(span) {
                window[i / STEP].set(i % STEP, weight);
            }
        }
        Self { input, starts, weights, steps }
    }

    /// Samples of the output.
    pub fn output(&self) -> usize {
        self.starts.len()
    }

    /// Start and weights of each window.
    fn windows(&self) -> impl Iterator<Item = (usize, &[Weights])> {
        self.starts.iter().copied().zip(self.weights.chunks_exact(self.steps))
    }

    /// Does every window lie within the input?
    fn fit(&self) -> bool {
        self.steps * STEP <= self.input
    }
}

/// Four channels of 8 bits.
pub type Pixel = [u8; 4];

/// One implementation.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// Rows of the input, and of the output. Windows [`fit`](Taps::fit).
    across: fn(&Taps, &[Pixel], &mut [Pixel]),
    down: fn(&Taps, &[u8], &mut [u8]),
}

impl Kernel {
    /// `{isa}-{types}`, for example `simd128-u8i24`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Resizes whole rows to [`Taps::output`] pixels each: `[rows][input]` to `[rows][output]`.
    ///
    /// # Panics
    /// When `rows` are no whole rows, or `out` has another number of pixels.
    pub fn across(&self, taps: &Taps, rows: &[Pixel], out: &mut [Pixel]) {
        assert!(rows.len().is_multiple_of(taps.input), "rows are whole");
        assert_eq!(out.len(), rows.len() / taps.input * taps.output(), "each row has its output");
        (self.or_truth(taps).across)(taps, rows, out);
    }

    /// Resizes columns: `[input][stride]` bytes to `[output][stride]`.
    ///
    /// # Panics
    /// When there are no bytes, `rows` are not as many as the input, or `out` has another number of bytes.
    pub fn down(&self, taps: &Taps, rows: &[u8], out: &mut [u8]) {
        assert!(!rows.is_empty() && rows.len().is_multiple_of(taps.input), "rows are whole");
        assert_eq!(out.len(), rows.len() / taps.input * taps.output(), "each column has its output");
        (self.or_truth(taps).down)(taps, rows, out);
    }

    /// What is shorter than a window is soon done.
    fn or_truth(&self, taps: &Taps) -> Self {
        if taps.fit() { *self } else { scalar::KERNEL }
    }
}

/// Every kernel that this processor can run, the slowest (the truth) first.
pub fn all() -> Vec<Kernel> {
    #[allow(unused_mut)]
    let mut kernels = vec![scalar::KERNEL];
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    kernels.push(wasm128::KERNEL);
    #[cfg(target_arch = "x86_64")]
    if x86_avx2::available() {
        kernels.push(x86_avx2::KERNEL);
    }
    kernels
}

/// The fastest kernel that this processor can run.
pub fn best() -> Kernel {
    *all().last().expect("the scalar kernel runs everywhere")
}
