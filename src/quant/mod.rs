//! Linear layers in 8 bits: f32 weights become a [`QMatrix`], f32 rows go in, f32 rows come out.
//!
//! Weights: one scale per output channel, integers in `-127..=127`. Activations: one scale per row, and integers of 12 or of 7 bits
//! ([`Precision`]). The few numbers of a row that stand far out would take the range from all others; they are clipped to the
//! range, and what the clipping cut off is added afterwards in f32, times the weights as quantized. To treat outliers apart is
//! the idea of LLM.int8() (Dettmers et al. 2022); the rule for which numbers is ours, and looks at one row alone, so that the
//! result for a picture does not depend on its batch.
//!
//! One row may be worth more than the others ([`QMatrix::with_fine_first`]): what its 7 bits leave is rounded once more, and added in whole numbers,
//! which is as good as 12 bits for that row. Where activations are bytes that costs one row more; where they are of 16 bits, nothing.
//!
//! Some outliers are known beforehand: the few channels of a CLIP's residual stream that are far larger than the rest. What reads or
//! writes them is [`Exact`]: their inputs and outputs stay in f32, weights included.
//!
//! It does not know where weights come from (see `weights`) or what the layers mean (see `clip`).

mod choice;

use std::ops::Range;

use crate::kernels::{self, Kernels, MAX_WEIGHT, MR, NR, crew, pairs, quads, vector};
pub use choice::{Fastest, fastest};

/// How finely activations are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `-2047..=2047`: hardly more error than the weights' 8 bits make alone.
    Bits12,
    /// 128 steps, for the fastest instructions. Zero lies in the middle, for activations that are negative as often as positive.
    Bits7,
    /// 128 steps, for what comes out of a GELU, which is hardly ever below zero.
    Bits7OneSided,
}

impl Precision {
    /// The least and the largest integer, zero being zero.
    fn range(self) -> (i16, i16) {
        match self {
            Precision::Bits12 => (-pairs::MAX_ACTIVATION, pairs::MAX_ACTIVATION),
            Precision::Bits7 | Precision::Bits7OneSided => {
                let centre = i16::from(self.centre());
                (-centre, i16::from(quads::MAX_ACTIVATION) - centre)
            }
        }
    }

    /// What stands for zero in unsigned bytes.
    fn centre(self) -> u8 {
        match self {
            Precision::Bits12 | Precision::Bits7 => 64,
            // GELU's least value is -0.17, its largest in a row about 3
            Precision::Bits7OneSided => 8,
        }
    }

    /// What the norm of a lane of weights must not be beyond, for the kernels of `quads` or for those that give the same.
    fn lane_norm(self) -> Option<f32> {
        (self != Precision::Bits12).then_some(quads::WEIGHT_NORM)
    }

    fn outliers(self) -> OutlierRule {
        match self {
            // 13 standard deviations of a Gaussian: the others then keep at least seven bits
            Precision::Bits12 => OutlierRule { ratio: 16.0, share: 32 },
            // five standard deviations, and ten times the mean of what a GELU leaves: beyond, each bit lost is missed. (A ratio of 3.75
            // for the first brought the strong ViT-B/32 of tests/clip.rs from 0.99928 to 0.99937 only, and cost more than it was worth.)
            Precision::Bits7 => OutlierRule { ratio: 6.0, share: 128 },
            Precision::Bits7OneSided => OutlierRule { ratio: 16.0, share: 128 },
        }
    }
}

/// Which numbers of a row are treated apart.
#[derive(Clone, Copy)]
struct OutlierRule {
    /// A number is an outlier when it is this many times the mean magnitude of the others.
    ratio: f32,
    /// At most one number in this many is treated so; with more, the range is widened instead.
    share: usize,
}

/// Inputs and outputs that are computed in f32.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exact {
    /// Columns of the weights.
    pub inputs: Vec<usize>,
    /// Rows of the weights.
    pub outputs: Vec<usize>,
}

/// Steps into which half a step of a row's first rounding is divided by its second, at most: as many as keep the norm of a lane of 32 such
/// numbers, all of them the largest, below [`quads::ACTIVATION_NORM`].
const REMAINDER_STEPS: u8 = 23;

/// What is done to every number of a result: to each apart, whatever slice it comes in.
pub type Finish = fn(&mut [f32]);

/// Panels whose results are written together: 16 numbers are a line of cache.
const PANELS: usize = 2;

/// A linear layer `y = x W^T + b` with `W` `[n,k]` in 8 bits, packed for the kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct QMatrix {
    n: usize,
    k: usize,
    precision: Precision,
    /// The first row is carried twice.
    fine_first: bool,
    packed: Packed,
    /// Per output channel, padded.
    scale: Vec<f32>,
    /// Padded.
    bias: Vec<f32>,
    exact: Exact,
    /// For each exact input, the weights of all outputs.
    input_weights: Vec<f32>,
    /// For each exact output, the weights of all inputs.
    output_weights: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Packed {
    Pairs(Vec<i8>),
    Quads(quads::Weights),
}

/// Products that take as long as quantizing one number, or finishing one.
const PRODUCTS_A_NUMBER: usize = 64;

/// Buffers of [`QMatrix::apply`], made once and grown as needed.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pairs: Vec<i16>,
    quads: Vec<u8>,
    /// For each part of the rows.
    rows: Vec<RowBuffers>,
    /// For each part of the panels.
    blocks: Vec<BlockBuffers>,
    /// A row is its scale times its codes.
    scales: Vec<f32>,
    outliers: Vec<Outlier>,
}

/// Buffers of whoever quantizes rows.
#[derive(Clone, Debug, Default)]
struct RowBuffers {
    /// One row without its exact inputs.
    row: Vec<f32>,
    codes: Vec<u8>,
    signed: Vec<i16>,
    outliers: Vec<Outlier>,
}

/// Buffers of whoever runs panels.
#[derive(Clone, Debug, Default)]
struct BlockBuffers {
    /// Of [`PANELS`] panels, one after the other.
    sums: Vec<i32>,
    /// Their results, `[m][PANELS][NR]`.
    block: Vec<f32>,
}

/// What one thread quantizes at a time: rows that fill whole tiles, the last ones apart.
struct RowsPart<'a> {
    first: usize,
    /// `[rows,k]`.
    x: &'a [f32],
    packed: PackedRows<'a>,
    scales: &'a mut [f32],
    buffers: &'a mut RowBuffers,
}

enum PackedRows<'a> {
    Pairs(&'a mut [i16]),
    Quads(&'a mut [u8]),
}

/// What one thread multiplies at a time: all rows by some panels.
struct PanelsPart<'a> {
    panels: Range<usize>,
    /// Its piece of every row of the result.
    y: Vec<&'a mut [f32]>,
    buffers: &'a mut BlockBuffers,
}

/// What one thread completes at a time: some rows of the result.
struct ResultPart<'a> {
    first: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

/// What the clipped range leaves of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outlier {
    row: usize,
    input: usize,
    rest: f32,
}

impl QMatrix {
    /// Quantizes row-major `weights` `[n,k]` with an optional bias `[n]`, in the layout of the fastest of `kernels`.
    ///
    /// # Panics
    /// When a length does not fit, `k` is beyond [`kernels::MAX_K`], or an exact channel is not there.
    pub fn new(
        weights: &[f32],
        bias: Option<&[f32]>,
        (n, k): (usize, usize),
        precision: Precision,
        exact: Exact,
        kernels: &Kernels,
    ) -> Self {
        assert_eq!(weights.len(), n * k, "weights are [n,k]");
        let input_weights = exact.inputs.iter().flat_map(|&i| (0..n).map(move |c| weights[c * k + i])).collect();
        let output_weights = exact.outputs.iter().flat_map(|&c| &weights[c * k..(c + 1) * k]).copied().collect();
        let (mut codes, mut scales, mut row) = (vec![0; n * k], vec![0.0; n], vec![0.0; k]);
        for (c, codes) in codes.chunks_exact_mut(k.max(1)).enumerate() {
            if !exact.outputs.contains(&c) {
                row.copy_from_slice(&weights[c * k..(c + 1) * k]);
                exact.inputs.iter().for_each(|&i| row[i] = 0.0);
                scales[c] = quantize_channel(&row, codes, precision.lane_norm());
            }
        }
        Self::of_channels((&codes, scales), bias, (n, k), precision, exact, (input_weights, output_weights), kernels)
    }

    /// Of weights that are `codes` `[n,k]` times the scale of their row: these are kept, where the kernels can take them, and rounded as by
    /// [`QMatrix::new`] where they cannot. `kept` are the weights of the exact channels, one channel after the other: those of all outputs for
    /// each exact input, or those of all inputs for each exact output.
    ///
    /// # Panics
    /// As there, and when there are exact channels on both sides.
    pub fn of_codes(
        (mut codes, mut scales): (Vec<i8>, Vec<f32>),
        kept: Vec<f32>,
        bias: Option<&[f32]>,
        (n, k): (usize, usize),
        precision: Precision,
        exact: Exact,
        kernels: &Kernels,
    ) -> Self {
        assert!(codes.len() == n * k && scales.len() == n, "codes are [n,k], with a scale for each row");
        assert_eq!(kept.len(), exact.inputs.len() * n + exact.outputs.len() * k, "weights of all exact channels");
        let kept = match (exact.inputs.is_empty(), exact.outputs.is_empty()) {
            (false, false) => panic!("exact channels are on one side"),
            (false, true) => (kept, Vec::new()),
            (true, _) => (Vec::new(), kept),
        };
        for (codes, scale) in codes.chunks_exact_mut(k.max(1)).zip(&mut scales) {
            exact.inputs.iter().for_each(|&i| codes[i] = 0);
            *scale = requantize_channel(codes, *scale, precision.lane_norm());
        }
        for &c in &exact.outputs {
            codes[c * k..(c + 1) * k].fill(0);
            scales[c] = 0.0;
        }
        Self::of_channels((&codes, scales), bias, (n, k), precision, exact, kept, kernels)
    }

    /// Of codes that the kernels can take, and the scale of each output channel.
    fn of_channels(
        (codes, mut scale): (&[i8], Vec<f32>),
        bias: Option<&[f32]>,
        (n, k): (usize, usize),
        precision: Precision,
        exact: Exact,
        (input_weights, output_weights): (Vec<f32>, Vec<f32>),
        kernels: &Kernels,
    ) -> Self {
        assert!(k <= kernels::MAX_K, "sums of {k} products would not fit");
        scale.resize(kernels::padded_n(n), 0.0);
        let mut padded_bias = vec![0.0; kernels::padded_n(n)];
        if let Some(bias) = bias {
            assert_eq!(bias.len(), n, "one bias for each output channel");
            padded_bias[..n].copy_from_slice(bias);
        }
        let packed = if precision == Precision::Bits12 || kernels.quads.is_none() {
            let mut packed = vec![0; pairs::weights_len(n, k)];
            pairs::pack_weights(codes, n, k, &mut packed);
            Packed::Pairs(packed)
        } else {
            Packed::Quads(quads::Weights::pack(codes, n, k, precision.centre()))
        };
        Self {
            n,
            k,
            precision,
            fine_first: false,
            packed,
            scale,
            bias: padded_bias,
            exact,
            input_weights,
            output_weights,
        }
    }

    /// The same, which rounds the first row of what it is given twice, the second time what the first left: as with 12 bits. Nothing
    /// changes where all rows have these.
    pub fn with_fine_first(self) -> Self {
        Self { fine_first: self.precision != Precision::Bits12, ..self }
    }

    /// Rows that the kernels see for `m`: the first one's remainder comes after them all, where it does not fit into its own codes.
    fn rows(&self, m: usize) -> usize {
        m + usize::from(self.fine_first && m > 0 && matches!(self.packed, Packed::Quads(_)))
    }

    /// Steps of the remainder in one of the first row.
    fn remainder_steps(&self) -> i16 {
        2 * i16::from(REMAINDER_STEPS.min(self.precision.centre()))
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
        let packed = match &self.packed {
            Packed::Pairs(bytes) => bytes.len(),
            Packed::Quads(weights) => weights.memory_bytes(),
        };
        packed + 8 * self.n + 4 * (self.input_weights.len() + self.output_weights.len())
    }

    /// The weight of output `c` and input `i` as the kernels see it.
    fn weight(&self, c: usize, i: usize) -> f32 {
        let code = match &self.packed {
            Packed::Pairs(bytes) => bytes[pairs::weight_index(pairs::padded_k(self.k), c, i)],
            Packed::Quads(weights) => weights.get(c, i),
        };
        f32::from(code) * self.scale[c]
    }

    /// `y[m,n] = x[m,k] W^T + b`, all row-major.
    ///
    /// # Panics
    /// When a length does not fit, or `kernels` has no kernel for the layout that [`QMatrix::new`] chose.
    pub fn apply(&self, kernels: &Kernels, x: &[f32], m: usize, scratch: &mut Scratch, y: &mut [f32]) {
        self.quantize(x, m, scratch);
        self.apply_quantized(kernels, x, m, |_| (), scratch, y);
    }

    /// The first half of [`QMatrix::apply`]. What it leaves in `scratch` serves every layer that reads the same `x` with the same
    /// precision and exact inputs.
    ///
    /// # Panics
    /// When the length does not fit.
    pub fn quantize(&self, x: &[f32], m: usize, scratch: &mut Scratch) {
        assert_eq!(x.len(), m * self.k, "the input is [m,k]");
        self.quantize_rows(x, m, scratch);
    }

    /// The second half of [`QMatrix::apply`], on the first `m` of the rows that were quantized; `finish` is applied to each number
    /// of `y` in the end.
    ///
    /// # Panics
    /// As [`QMatrix::apply`].
    pub fn apply_quantized(
        &self,
        kernels: &Kernels,
        x: &[f32],
        m: usize,
        finish: Finish,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        assert!(x.len() == m * self.k && self.rows(m) <= scratch.scales.len(), "the input is [m,k]");
        assert!(!self.fine_first || self.rows(m) == scratch.scales.len(), "the remainder follows the last row");
        assert_eq!(y.len(), m * self.n, "the output is [m,n]");
        if y.is_empty() {
            return;
        }
        let rows = self.rows(m);
        match &self.packed {
            Packed::Pairs(bytes) => {
                let weights = pairs::Weights::new(bytes, self.n, self.k);
                let codes = std::mem::take(&mut scratch.pairs);
                let activations = pairs::Activations::new(&codes[..pairs::activations_len(rows, self.k)], rows, self.k);
                let some = |p, sums: &mut [i32]| kernels.pairs.panels(&weights, p, &activations, sums);
                self.panels(some, m, finish, scratch, y);
                scratch.pairs = codes;
            }
            Packed::Quads(weights) => {
                let kernel = kernels.quads.expect("the layout of quads is chosen only where there is a kernel for it");
                let codes = std::mem::take(&mut scratch.quads);
                let activations = quads::Activations::new(&codes[..quads::activations_len(rows, self.k)], rows, self.k);
                let some = |p, sums: &mut [i32]| kernel.panels(weights, p, &activations, sums);
                self.panels(some, m, finish, scratch, y);
                scratch.quads = codes;
            }
        }
        if !self.is_whole_after_panels(scratch) {
            self.complete(x, m, finish, &scratch.outliers, y);
        }
    }

    /// Whether nothing has to be added to what the kernels give.
    fn is_whole_after_panels(&self, scratch: &Scratch) -> bool {
        scratch.outliers.is_empty() && self.exact.inputs.is_empty() && self.exact.outputs.is_empty()
    }

    /// Runs `panel` for all panels, some at a time, and writes their sums `[rows][NR]`, scaled and with their bias, to `y`; finished, where
    /// nothing else is to be added, while they are in the nearest cache.
    fn panels(
        &self,
        panel: impl Fn(Range<usize>, &mut [i32]) + Sync,
        m: usize,
        finish: Finish,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let finish = self.is_whole_after_panels(scratch).then_some(finish);
        let panels = self.scale.len() / NR;
        let blocks = panels.div_ceil(PANELS);
        let count = crew::parts(products(m, self.k * self.n), blocks);
        let bounds: Vec<usize> = (0..=count).map(|i| (i * blocks / count * PANELS).min(panels)).collect();
        let column = |panel: usize| (panel * NR).min(self.n);
        let widths: Vec<usize> = bounds.windows(2).map(|b| column(b[1]) - column(b[0])).collect();
        scratch.blocks.resize_with(count.max(scratch.blocks.len()), BlockBuffers::default);
        let mut parts: Vec<PanelsPart> = crew::columns(y, self.n, &widths)
            .into_iter()
            .zip(bounds.windows(2))
            .zip(&mut scratch.blocks)
            .map(|((y, bounds), buffers)| PanelsPart { panels: bounds[0]..bounds[1], y, buffers })
            .collect();
        crew::each(&mut parts, |part| self.some_panels(&panel, finish, &scratch.scales, part));
    }

    /// [`Self::panels`] for those of one part.
    fn some_panels(
        &self,
        panel: &impl Fn(Range<usize>, &mut [i32]),
        finish: Option<Finish>,
        scales: &[f32],
        part: &mut PanelsPart,
    ) {
        let m = part.y.len();
        let one = kernels::padded_rows(self.rows(m)) * NR;
        let BlockBuffers { sums, block } = &mut part.buffers;
        sums.resize(PANELS * one, 0);
        block.resize(m * PANELS * NR, 0.0);
        let (scale, bias) = (self.scale.as_chunks::<NR>().0, self.bias.as_chunks::<NR>().0);
        for first in part.panels.clone().step_by(PANELS) {
            let count = PANELS.min(part.panels.end - first);
            let (sums, some) = (&mut sums[..count * one], first..first + count);
            panel(some.clone(), sums);
            if self.rows(m) > m {
                let steps = i32::from(self.remainder_steps());
                for sums in sums.chunks_exact_mut(one) {
                    let (rows, remainder) = sums.split_at_mut(m * NR);
                    rows[..NR].iter_mut().zip(remainder).for_each(|(first, rest)| *first = steps * *first + *rest);
                }
            }
            vector::scaled(sums, &scales[..m], &scale[some.clone()], &bias[some], PANELS, block);
            if let Some(finish) = finish {
                finish(block);
            }
            let at = (first - part.panels.start) * NR;
            for (y, out) in part.y.iter_mut().zip(block.as_chunks::<{ PANELS * NR }>().0) {
                let y = &mut y[at..];
                match y.first_chunk_mut::<{ PANELS * NR }>() {
                    Some(y) => *y = *out,
                    None => y.copy_from_slice(&out[..y.len()]),
                }
            }
        }
    }

    /// Adds what the panels left out, and finishes.
    fn complete(&self, x: &[f32], m: usize, finish: Finish, outliers: &[Outlier], y: &mut [f32]) {
        let exact = self.n * self.exact.inputs.len() + self.k * self.exact.outputs.len();
        let rows = m.div_ceil(crew::parts(products(m, self.n * PRODUCTS_A_NUMBER + exact), m));
        let mut parts: Vec<ResultPart> = x
            .chunks(rows * self.k)
            .zip(y.chunks_mut(rows * self.n))
            .enumerate()
            .map(|(i, (x, y))| ResultPart { first: i * rows, x, y })
            .collect();
        crew::each(&mut parts, |part| {
            for (r, y) in part.y.chunks_exact_mut(self.n).enumerate() {
                for outlier in outliers.iter().filter(|o| o.row == part.first + r) {
                    for (c, y) in y.iter_mut().enumerate() {
                        *y += outlier.rest * self.weight(c, outlier.input);
                    }
                }
            }
            self.add_exact(part.x, part.y);
            finish(part.y);
        });
    }

    /// Adds what the exact inputs contribute; computes the exact outputs.
    fn add_exact(&self, x: &[f32], y: &mut [f32]) {
        if self.exact.inputs.is_empty() && self.exact.outputs.is_empty() {
            return;
        }
        for (x, y) in x.chunks_exact(self.k).zip(y.chunks_exact_mut(self.n)) {
            for (&input, weights) in self.exact.inputs.iter().zip(self.input_weights.chunks_exact(self.n)) {
                vector::axpy(x[input], weights, y);
            }
            for (&output, weights) in self.exact.outputs.iter().zip(self.output_weights.chunks_exact(self.k)) {
                y[output] = vector::dot(x, weights) + self.bias[output];
            }
        }
    }

    /// Quantizes and packs `m` rows of `k` numbers into `scratch`.
    fn quantize_rows(&self, x: &[f32], m: usize, scratch: &mut Scratch) {
        let tiles = m.div_ceil(MR);
        let count = crew::parts(products(m, self.k * PRODUCTS_A_NUMBER), tiles);
        let rows = tiles.div_ceil(count).max(1) * MR;
        let all = self.rows(m);
        scratch.scales.clear();
        scratch.scales.resize(all, 1.0);
        scratch.rows.resize_with(count.max(scratch.rows.len()), RowBuffers::default);
        scratch.rows.iter_mut().for_each(|b| b.outliers.clear());
        let packed: Vec<PackedRows> = if matches!(self.packed, Packed::Quads(_)) {
            scratch.quads.resize(quads::activations_len(all, self.k), 0);
            let one = quads::activations_len(rows, self.k).max(1);
            scratch.quads.chunks_mut(one).map(PackedRows::Quads).collect()
        } else {
            scratch.pairs.resize(pairs::activations_len(all, self.k), 0);
            let one = pairs::activations_len(rows, self.k).max(1);
            scratch.pairs.chunks_mut(one).map(PackedRows::Pairs).collect()
        };
        let mut parts: Vec<RowsPart> = x
            .chunks((rows * self.k).max(1))
            .zip(packed)
            .zip(scratch.scales.chunks_mut(rows))
            .zip(&mut scratch.rows)
            .enumerate()
            .map(|(i, (((x, packed), scales), buffers))| RowsPart { first: i * rows, x, packed, scales, buffers })
            .collect();
        crew::each(&mut parts, |part| self.some_rows(part));
        scratch.outliers.clear();
        scratch.rows.iter().for_each(|buffers| scratch.outliers.extend_from_slice(&buffers.outliers));
        if self.fine_first && m > 0 {
            self.quantize_remainder(&x[..self.k], m, scratch);
        }
    }

    /// What the rounding of the first row `[k]` left of it becomes row `r`, or is added to the first row's codes, which then are of smaller steps.
    /// Outliers have no part in it: what is left of them is added anyway.
    fn quantize_remainder(&self, x: &[f32], r: usize, scratch: &mut Scratch) {
        let (low, high) = self.precision.range();
        let (low, high) = (f32::from(low), f32::from(high));
        let centre = self.precision.centre();
        let scale = scratch.scales[0];
        let fine = scale / f32::from(self.remainder_steps());
        scratch.scales[0] = fine;
        let buffers = &mut scratch.rows[0];
        let code = |v: f32| vector::code(v, 1.0 / scale, low, high);
        buffers.row.clear();
        buffers.row.extend(x.iter().map(|&v| v - scale * code(v) as f32));
        self.exact.inputs.iter().for_each(|&i| buffers.row[i] = 0.0);
        scratch.outliers.iter().filter(|o| o.row == 0).for_each(|o| buffers.row[o.input] = 0.0);
        match &self.packed {
            Packed::Quads(_) => {
                buffers.codes.resize(quads::padded_k(self.k), centre);
                buffers.codes[self.k..].fill(centre);
                vector::codes(&buffers.row, 1.0 / fine, centre, &mut buffers.codes[..self.k]);
                quads::pack_row(&buffers.codes, r, &mut scratch.quads);
            }
            Packed::Pairs(_) => {
                buffers.signed.resize(pairs::padded_k(self.k), 0);
                buffers.signed[self.k..].fill(0);
                vector::signed_codes(&buffers.row, 1.0 / fine, (low, high), &mut buffers.signed[..self.k]);
                // larger than twelve bits at times, but the norms of their lanes are bounded, and with them the sums
                for (signed, &v) in buffers.signed.iter_mut().zip(x) {
                    *signed += self.remainder_steps() * code(v) as i16;
                }
                self.exact.inputs.iter().for_each(|&i| buffers.signed[i] = 0);
                pairs::pack_row(&buffers.signed, 0, &mut scratch.pairs);
            }
        }
    }

    /// [`Self::quantize_rows`] for those of one part.
    fn some_rows(&self, part: &mut RowsPart) {
        let (low, high) = self.precision.range();
        let (low, high) = (f32::from(low), f32::from(high));
        let buffers = &mut part.buffers;
        for (r, (row, out)) in part.x.chunks_exact(self.k.max(1)).zip(part.scales.iter_mut()).enumerate() {
            let row = if self.exact.inputs.is_empty() {
                row
            } else {
                buffers.row.clear();
                buffers.row.extend_from_slice(row);
                self.exact.inputs.iter().for_each(|&i| buffers.row[i] = 0.0);
                &buffers.row
            };
            let stats = vector::row_stats(row);
            let limit = outlier_limit(row, stats.sum_abs, self.precision.outliers());
            let (least, most) = (stats.low, stats.high);
            let mut scale = (most.min(limit) / high).max(least.max(-limit) / low);
            if self.precision != Precision::Bits12 {
                // rounding changes the norm of a lane's 32 numbers by at most half the root of 32
                const ROUNDING: f32 = 2.829;
                let outliers = most.max(-least) > limit;
                let square = if outliers { vector::largest_lane_square(row, limit) } else { stats.largest_lane_square };
                let norm = square.sqrt();
                scale = scale.max(norm / (quads::ACTIVATION_NORM - ROUNDING));
            }
            // a row of zeros, or of numbers too small to be told from them, or a broken one
            let scale = if scale > 1e-30 && scale.is_finite() { scale } else { 1.0 };
            *out = scale;
            let inverse = 1.0 / scale;
            match &mut part.packed {
                PackedRows::Quads(packed) => {
                    let centre = self.precision.centre();
                    buffers.codes.resize(quads::padded_k(self.k), centre);
                    buffers.codes[self.k..].fill(centre);
                    vector::codes(row, inverse, centre, &mut buffers.codes[..self.k]);
                    quads::pack_row(&buffers.codes, r, packed);
                }
                PackedRows::Pairs(packed) => {
                    buffers.signed.resize(pairs::padded_k(self.k), 0);
                    buffers.signed[self.k..].fill(0);
                    vector::signed_codes(row, inverse, (low, high), &mut buffers.signed[..self.k]);
                    pairs::pack_row(&buffers.signed, r, packed);
                }
            }
            if most.max(-least) > limit {
                for (input, &v) in row.iter().enumerate() {
                    if v.abs() > limit {
                        let rest = v - scale * vector::code(v, inverse, low, high) as f32;
                        buffers.outliers.push(Outlier { row: part.first + r, input, rest });
                    }
                }
            }
        }
    }
}

/// `m * of_a_row`, which 32 bits may not hold.
fn products(m: usize, of_a_row: usize) -> u64 {
    m as u64 * of_a_row as u64
}

/// Quantizes the weights of one output channel; returns its scale. With a limit, the norms of the lanes of `quads` are kept below it.
fn quantize_channel(weights: &[f32], codes: &mut [i8], limit: Option<f32>) -> f32 {
    let (low, high) = vector::min_max(weights);
    let largest = high.max(-low);
    // zeros, or numbers too small to be told from them, whose scale could not be changed by a little; or a broken channel
    if !(largest > 1e-30 && largest.is_finite()) {
        codes.fill(0);
        return 1.0;
    }
    fit(largest, codes, limit, |scale, codes| vector::weight_codes(weights, scale, codes))
}

/// Has the codes of an output channel keep to the limits, where they do not; takes their scale and returns what it is then.
fn requantize_channel(codes: &mut [i8], scale: f32, limit: Option<f32>) -> f32 {
    if quads::are_within(codes, limit) {
        return scale;
    }
    let weights: Vec<f32> = codes.iter().map(|&code| scale * f32::from(code)).collect();
    quantize_channel(&weights, codes, limit)
}

/// Finds the scale of a channel whose largest weight is `largest`, and its codes, which `round` gives for a scale.
fn fit(largest: f32, codes: &mut [i8], limit: Option<f32>, mut round: impl FnMut(f32, &mut [i8])) -> f32 {
    let mut scale = largest / f32::from(MAX_WEIGHT);
    loop {
        round(scale, codes);
        let Some(limit) = limit else { return scale };
        let norm = quads::largest_lane_norm(codes);
        if norm <= limit {
            return scale;
        }
        // never less, or rounding could keep it from ending
        scale *= (norm / limit).max(1.001);
    }
}

/// The magnitude beyond which numbers of this row are outliers: the rule's ratio times the mean magnitude of the others,
/// found by leaving out outliers until that changes nothing. Infinite where there are no numbers or only zeros.
fn outlier_limit(row: &[f32], sum_abs: f32, rule: OutlierRule) -> f32 {
    let allowed = row.len() / rule.share;
    let mut limit = f32::INFINITY;
    let (mut sum, mut count) = (sum_abs, row.len());
    loop {
        let mut next = rule.ratio * sum / count.max(1) as f32;
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

    fn layer(w: &[f32], bias: Option<&[f32]>, shape: (usize, usize), precision: Precision) -> QMatrix {
        QMatrix::new(w, bias, shape, precision, Exact::default(), &Kernels::best())
    }

    /// `1 - cosine` with the product in f64; every kernel must give the same numbers, to the bit.
    fn error(x: &[f32], w: &[f32], b: &[f32], (m, k, n): (usize, usize, usize), precision: Precision) -> f64 {
        let truth = product(x, w, b, (m, k, n));
        let mut first: Option<Vec<f32>> = None;
        for kernels in Kernels::all() {
            let mut y = vec![f32::NAN; m * n];
            let q = QMatrix::new(w, Some(b), (n, k), precision, Exact::default(), &kernels);
            q.apply(&kernels, x, m, &mut Scratch::default(), &mut y);
            assert_eq!(first.get_or_insert_with(|| y.clone()), &y, "{kernels:?} gives the truth's numbers");
        }
        1.0 - cosine(&truth, &first.expect("there is a scalar kernel"))
    }

    /// Integers that the kernels can take are kept; others become what their weights become, to the bit.
    #[test]
    fn codes_are_kept_or_rounded_anew() {
        let (n, k) = (21, 136);
        let noise = noise(n * k, 7);
        let half_scales = [1.0, 0.5, 3.0 / 1024.0, 5.960_464_5e-8, 65_504.0, 0.0, -1.5 * 0.000_061_035_156];
        for (most, spread) in [(127, 40.0), (127, 90.0), (100, 30.0), (128, 60.0), (3, 1.0)] {
            let mut codes: Vec<i8> = noise.iter().map(|v| (v * spread).clamp(-127.0, 127.0) as i8).collect();
            for (r, row) in codes.chunks_exact_mut(k).enumerate() {
                row.iter_mut().for_each(|c| *c = (*c).clamp(-(most.min(127) as i8), most.min(127) as i8));
                row[r % k] = (-most) as i8;
                // what is left when the largest is exact, or when there is nothing
                if r % 5 == 4 {
                    row.fill((r % 2) as i8);
                }
            }
            let scales: Vec<f32> = (0..n).map(|r| half_scales[r % half_scales.len()]).collect();
            let weight = |c: usize, i: usize| scales[c] * f32::from(codes[c * k + i]);
            let weights: Vec<f32> = (0..n * k).map(|at| weight(at / k, at % k)).collect();
            for precision in [Precision::Bits12, Precision::Bits7, Precision::Bits7OneSided] {
                for kernels in Kernels::all() {
                    for (inputs, outputs) in [(vec![], vec![]), (vec![0, 3, 20], vec![]), (vec![], vec![1, 9])] {
                        let exact = Exact { inputs, outputs };
                        let of_input = exact.inputs.iter().flat_map(|&i| (0..n).map(move |c| c * k + i));
                        let of_output = exact.outputs.iter().flat_map(|&c| c * k..(c + 1) * k);
                        let kept: Vec<f32> = of_input.chain(of_output).map(|at| weights[at]).collect();
                        let whole = QMatrix::new(&weights, None, (n, k), precision, exact.clone(), &kernels);
                        let owned = (codes.clone(), scales.clone());
                        let taken =
                            QMatrix::of_codes(owned, kept.clone(), None, (n, k), precision, exact.clone(), &kernels);
                        assert_eq!([&taken.input_weights[..], &taken.output_weights].concat(), kept);
                        let left = |c: usize, i: usize| {
                            let is_exact = exact.inputs.contains(&i) || exact.outputs.contains(&c);
                            if is_exact { 0 } else { codes[c * k + i] }
                        };
                        for (c, &scale) in scales.iter().enumerate() {
                            let row: Vec<i8> = (0..k).map(|i| left(c, i)).collect();
                            let is_kept = !row.contains(&i8::MIN)
                                && precision.lane_norm().is_none_or(|most| quads::largest_lane_norm(&row) <= most);
                            for (i, &code) in row.iter().enumerate() {
                                let wanted = if is_kept { scale * f32::from(code) } else { whole.weight(c, i) };
                                assert_eq!(taken.weight(c, i), wanted, "{most}, {spread}, {precision:?}, {kernels:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// The least numbers there are have no step that could grow by a little.
    #[test]
    fn channels_of_the_least_numbers_are_zeros() {
        for largest in [f32::from_bits(1), f32::from_bits(200), 1e-38, 1e-31, 1e-29] {
            let weights: Vec<f32> = noise(64, 3).iter().map(|v| (v * largest).clamp(-largest, largest)).collect();
            for precision in [Precision::Bits12, Precision::Bits7] {
                let q = QMatrix::new(&weights, None, (1, 64), precision, Exact::default(), &Kernels::best());
                let kept = (0..64).any(|i| q.weight(0, i) != 0.0);
                assert_eq!(kept, largest > 1e-30, "{largest:e}");
            }
        }
    }

    #[test]
    fn gaussian_layers_lose_little() {
        for shape in [(7, 192, 40), (3, 50, 9), (50, 768, 64), (6, 130, 17)] {
            let (m, k, n) = shape;
            let e = |precision| error(&noise(m * k, 1), &noise(n * k, 2), &noise(n, 3), shape, precision);
            let (fine, coarse) = (e(Precision::Bits12), e(Precision::Bits7));
            println!("{shape:?}: 1 - cosine {fine:.2e} with 12 bits, {coarse:.2e} with 7");
            assert!(fine < 5e-5 && coarse < 3e-4, "1 - cosine = {fine}, {coarse} on {shape:?}");
        }
    }

    /// The first row is as if it had 12 bits, with outliers and exact channels, too; the others are as they were, to the bit.
    #[test]
    fn a_fine_first_row_has_twelve_bits() {
        for (m, k, n) in [(1, 192, 40), (7, 768, 64), (50, 130, 17), (5, 192, 33)] {
            let (mut x, w, b) = (noise(m * k, 1), noise(n * k, 2), noise(n, 3));
            x[7] = 30.0;
            for precision in [Precision::Bits7, Precision::Bits7OneSided] {
                if precision == Precision::Bits7OneSided {
                    x.iter_mut().for_each(|v| *v = v.max(-0.17));
                }
                for exact in [
                    Exact::default(),
                    Exact { inputs: vec![3, 100], outputs: vec![] },
                    Exact { inputs: vec![], outputs: vec![0, 5] },
                ] {
                    let mut first: Option<Vec<f32>> = None;
                    for kernels in Kernels::all() {
                        let run = |q: &QMatrix| {
                            let mut y = vec![f32::NAN; m * n];
                            q.apply(&kernels, &x, m, &mut Scratch::default(), &mut y);
                            y
                        };
                        let new = |precision| QMatrix::new(&w, Some(&b), (n, k), precision, exact.clone(), &kernels);
                        let (plain, fine) = (run(&new(precision)), run(&new(precision).with_fine_first()));
                        assert_eq!(plain[n..], fine[n..], "the other rows");
                        assert_eq!(
                            first.get_or_insert_with(|| fine.clone()),
                            &fine,
                            "{kernels:?} gives the truth's numbers"
                        );
                        // against the very weights that were rounded for 7 bits
                        let q = new(precision);
                        let weights: Vec<f32> = (0..n * k)
                            .map(|at| {
                                let (c, i) = (at / k, at % k);
                                if exact.inputs.contains(&i) || exact.outputs.contains(&c) {
                                    w[at]
                                } else {
                                    q.weight(c, i)
                                }
                            })
                            .collect();
                        let truth = product(&x[..k], &weights, &b, (1, k, n));
                        let error = |y: &[f32]| 1.0 - cosine(&truth, &y[..n]);
                        let (coarse, error) = (error(&plain), error(&fine));
                        assert!(
                            error < 1e-6 && error < coarse / 40.0,
                            "{precision:?}, {exact:?}: {error:.1e}, without {coarse:.1e}"
                        );
                    }
                }
            }
        }
    }

    /// Rows alone are too little work to be shared, all together are shared: nothing changes, to the bit.
    #[test]
    fn threads_change_nothing() {
        std::thread::spawn(|| crew::lend());
        while crew::hands() < 2 {
            std::thread::yield_now();
        }
        let (m, k, n) = (53, 768, 330);
        let (mut x, w, b) = (noise(m * k, 1), noise(n * k, 2), noise(n, 3));
        // outliers in some rows
        x.iter_mut().step_by(5003).for_each(|v| *v = 40.0);
        let finish: Finish = vector::quick_gelu;
        for precision in [Precision::Bits12, Precision::Bits7, Precision::Bits7OneSided] {
            for exact in [Exact::default(), Exact { inputs: vec![3, 700], outputs: vec![0, 329] }] {
                for kernels in [Kernels::best(), Kernels::scalar()] {
                    let q = QMatrix::new(&w, Some(&b), (n, k), precision, exact.clone(), &kernels);
                    let run = |x: &[f32], scratch: &mut Scratch| {
                        let m = x.len() / k;
                        let mut y = vec![f32::NAN; m * n];
                        q.quantize(x, m, scratch);
                        q.apply_quantized(&kernels, x, m, finish, scratch, &mut y);
                        y
                    };
                    let mut scratch = Scratch::default();
                    let together = run(&x, &mut scratch);
                    let alone: Vec<f32> = x.chunks_exact(k).flat_map(|x| run(x, &mut scratch)).collect();
                    assert_eq!(together, alone, "{kernels:?}, {precision:?}, {exact:?}");
                }
            }
        }
    }

    /// What comes out of a GELU lies between -0.17 and a few.
    #[test]
    fn one_sided_rows_lose_little() {
        let (m, k, n) = (9, 256, 24);
        let mut x = noise(m * k, 4);
        vector::quick_gelu(&mut x);
        let e = error(&x, &noise(n * k, 5), &noise(n, 6), (m, k, n), Precision::Bits7OneSided);
        assert!(e < 3e-4, "1 - cosine = {e}");
        // and they are allowed to be anything
        error(&noise(m * k, 7), &noise(n * k, 5), &noise(n, 6), (m, k, n), Precision::Bits7OneSided);
    }

    /// All of a row's and of a channel's weight in few lanes: what 16-bit sums could not hold if it were not prevented.
    #[test]
    fn concentrated_rows_and_weights_do_not_overflow() {
        let (m, k, n) = (6, 256, 9);
        let spike = |i: usize| if i % 64 < 32 { 1.0 } else { 0.01 };
        for sign in [1.0, -1.0] {
            let x: Vec<f32> = (0..m * k).map(|i| sign * spike(i)).collect();
            let w: Vec<f32> = (0..n * k).map(spike).collect();
            for precision in [Precision::Bits7, Precision::Bits7OneSided] {
                let e = error(&x, &w, &vec![0.0; n], (m, k, n), precision);
                assert!(e < 1e-4, "1 - cosine = {e} with {precision:?}");
            }
        }
    }

    /// Inputs and outputs a thousand times larger than the rest are exact, and cost the rest nothing.
    #[test]
    fn exact_channels_are_exact() {
        let (m, k, n) = (5, 192, 24);
        let exact = Exact { inputs: vec![0, 77, 191], outputs: vec![3, 23] };
        let (mut x, mut w, b) = (noise(m * k, 1), noise(n * k, 2), noise(n, 3));
        for &i in &exact.inputs {
            (0..m).for_each(|r| x[r * k + i] *= 1000.0);
        }
        for &c in &exact.outputs {
            w[c * k..(c + 1) * k].iter_mut().for_each(|v| *v *= 1000.0);
        }
        let truth = product(&x, &w, &b, (m, k, n));
        for precision in [Precision::Bits12, Precision::Bits7] {
            let q = QMatrix::new(&w, Some(&b), (n, k), precision, exact.clone(), &Kernels::best());
            let mut y = vec![0.0; m * n];
            q.apply(&Kernels::best(), &x, m, &mut Scratch::default(), &mut y);
            // the others' outputs have a deviation of about 14 without the large inputs
            for (i, (got, want)) in y.iter().zip(&truth).enumerate() {
                let most = if exact.outputs.contains(&(i % n)) { 1e-6 * want.abs().max(1e6) } else { 1.5 };
                assert!((got - want).abs() < most, "output {}: {got} instead of {want}", i % n);
            }
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
        let q = layer(&w, None, (n, k), Precision::Bits12);
        let apply = |x: &[f32]| {
            let mut y = vec![0.0; m * n];
            q.apply(&Kernels::best(), x, m, &mut Scratch::default(), &mut y);
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
        for precision in [Precision::Bits12, Precision::Bits7, Precision::Bits7OneSided] {
            let w = [vec![0.0; 16], vec![1.0; 16], vec![f32::MIN_POSITIVE; 16]].concat();
            let q = layer(&w, None, (3, 16), precision);
            let mut y = vec![f32::NAN; 12];
            let x = [vec![0.0; 16], vec![5.0; 16], vec![-5.0; 16], vec![1e-38; 16]].concat();
            q.apply(&Kernels::best(), &x, 4, &mut Scratch::default(), &mut y);
            assert!(y.iter().all(|v| v.is_finite()), "{y:?}");
            assert_eq!(y[0..3], [0.0; 3]);
            let most = if precision == Precision::Bits12 { 1e-3 } else { 2.0 };
            assert!((y[4] - 80.0).abs() < most && (y[7] + 80.0).abs() < most, "{y:?}");
            layer(&[], None, (0, 16), precision).apply(
                &Kernels::best(),
                &[0.0; 16],
                1,
                &mut Scratch::default(),
                &mut [],
            );
            layer(&w, None, (3, 16), precision).apply(&Kernels::best(), &[], 0, &mut Scratch::default(), &mut []);
            let mut y = vec![0.0; 3];
            q.apply(&Kernels::best(), &[f32::NAN; 16], 1, &mut Scratch::default(), &mut y);
            q.apply(&Kernels::best(), &[f32::INFINITY; 16], 1, &mut Scratch::default(), &mut y);
        }
    }

    #[test]
    fn weights_err_by_at_most_half_a_step() {
        let weights = noise(96, 9);
        let q = layer(&weights, None, (3, 32), Precision::Bits12);
        for (i, w) in weights.iter().enumerate() {
            let (low, high) = vector::min_max(&weights[i / 32 * 32..(i / 32 + 1) * 32]);
            let step = high.max(-low) / 127.0;
            assert!((q.weight(i / 32, i % 32) - w).abs() <= step * 0.5001, "{w} became {}", q.weight(i / 32, i % 32));
        }
    }
}
