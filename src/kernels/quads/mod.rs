//! The product of quads: `sum[m,n] = sum_k (a[m,k] - centre) * w[n,k]`, activations of 7 bits in u8 (`0..=127`), weights of 8 bits.
//!
//! Weights: panels of [`NR`] output channels; within a panel, for every four consecutive `k`, the four bytes of each
//! channel in turn: `[n / NR][k / 4][NR][4]`. Activations: tiles of [`MR`] rows in the same manner, `[m / MR][k / 4][MR][4]`. Weights
//! are padded with zeros, so that what activations are padded with adds nothing.
//!
//! Seven bits, because that is what the relaxed SIMD of WebAssembly promises: its dot products take one signed operand of eight
//! bits and one of seven, and give the same integers on every processor only if the eighth bit is never used.
//!
//! # Sums in 16 bits
//! The fastest instruction (`pmaddubsw`, `i16x8.relaxed_dot_i8x16_i7x16`) leaves the sum of two products in i16. Sixteen such
//! sums, those of a *lane*, are added in i16 before they are widened; additions wrap around, so only the end result has to fit. A lane's
//! sum starts at `-centre * (its weights' sum)`, which makes the end result that of `a - centre`. By the inequality of Cauchy and
//! Schwarz it cannot be larger than the Euclidean norms of the two sides multiplied: whoever packs keeps them below
//! [`WEIGHT_NORM`] and [`ACTIVATION_NORM`], and `240 * 136 < 2^15`. For numbers as Gaussian noise has them the two limits cost
//! less than a third of a bit; to promise it for whatever activations come would cost a whole one.

#[cfg(target_arch = "aarch64")]
pub mod arm;
pub mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm128;
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
pub mod wasm_relaxed;
#[cfg(target_arch = "x86_64")]
pub mod x86;

use std::ops::Range;

use super::{MR, NR, Peak, padded_n, padded_rows};

/// `k` is padded to a multiple of this: the numbers of a group, which is two lanes.
pub const GROUP: usize = 64;
/// Bytes of a channel or a row that lie together.
pub const QUAD: usize = 4;
/// Largest activation.
pub const MAX_ACTIVATION: u8 = 127;
/// Largest Euclidean norm of the weights of a lane.
pub const WEIGHT_NORM: f32 = 240.0;
/// Largest Euclidean norm of `a - centre` over a lane.
pub const ACTIVATION_NORM: f32 = 136.0;
/// Starts of a group's sums in a panel: two lanes a channel.
const STARTS: usize = 2 * NR;

/// The lane of a group that number `i` of it belongs to: quads are halved.
pub const fn lane(i: usize) -> usize {
    i / 2 % 2
}

/// What the weights of a group's two lanes come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lanes {
    pub sums: [i32; 2],
    pub squares: [i32; 2],
}

impl Lanes {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    fn of(group: &[i8; GROUP]) -> Self {
        wasm128::lanes(group)
    }

    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    fn of(group: &[i8; GROUP]) -> Self {
        // by pairs, of which every other belongs to the same lane
        let (mut sums, mut squares) = ([0i32; 8], [0i32; 8]);
        for numbers in group.as_chunks::<16>().0 {
            for (i, pair) in numbers.as_chunks::<2>().0.iter().enumerate() {
                let [a, b] = pair.map(i32::from);
                sums[i] += a + b;
                squares[i] += a * a + b * b;
            }
        }
        let of_lane = |pairs: [i32; 8], lane: usize| pairs.iter().skip(lane).step_by(2).sum();
        Self { sums: [of_lane(sums, 0), of_lane(sums, 1)], squares: [of_lane(squares, 0), of_lane(squares, 1)] }
    }
}

/// The lanes of each group of a channel; what the last group lacks counts as zeros.
pub fn lanes(channel: &[i8]) -> impl Iterator<Item = Lanes> {
    let (groups, rest) = channel.as_chunks::<GROUP>();
    let last = (!rest.is_empty()).then(|| {
        let mut last = [0; GROUP];
        last[..rest.len()].copy_from_slice(rest);
        Lanes::of(&last)
    });
    groups.iter().map(Lanes::of).chain(last)
}

/// The largest Euclidean norm of a lane of a channel.
pub fn largest_lane_norm(channel: &[i8]) -> f32 {
    let largest = lanes(channel).fold(0, |largest, lanes| largest.max(lanes.squares[0]).max(lanes.squares[1]));
    (largest as f32).sqrt()
}

/// Whether kernels can take a channel's codes as they are: none is -128, and the norm of no lane is beyond `lane_norm`.
pub fn are_within(channel: &[i8], lane_norm: Option<f32>) -> bool {
    // to the end in any case: a look at each that may end early is ten times as long
    let least = channel.iter().fold(0, |least: i8, &code| least.min(code));
    least > i8::MIN && lane_norm.is_none_or(|most| largest_lane_norm(channel) <= most)
}

/// One panel as a kernel gets it. Those that sum in i16 need the starts, others the offsets.
#[derive(Clone, Copy)]
#[allow(dead_code)] // no target has kernels of all kinds
struct Panel<'a> {
    /// `[k / 4][NR][4]`.
    steps: &'a [i8],
    /// `[k / GROUP][NR][2]`: where the sum of each lane starts, modulo 2^16.
    starts: &'a [i16],
    /// `[NR]`: `-centre` times the sum of a channel's weights.
    offsets: &'a [i32],
    centre: u8,
    k: usize,
}

type RunTwo = fn([Panel<'_>; 2], &Activations<'_>, &mut [i32]);

/// One implementation.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// A panel, all activations, and the sums `[rows][NR]`.
    run: fn(Panel<'_>, &Activations<'_>, &mut [i32]),
    /// The same for two panels, their sums one after the other; where registers hold more channels than a panel has.
    run_two: Option<RunTwo>,
    peak: Option<Peak>,
}

impl Kernel {
    /// `{isa}-{types}`, for example `relaxed-u7i8-i16`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How fast the processor runs this kernel's instructions, where that can be told.
    pub fn peak(&self) -> Option<Peak> {
        self.peak
    }

    /// The sums of panel `p`: `sums[r * NR + c] = sum_k (a[r,k] - centre) * w[NR * p + c,k]`. Those of the rows' padding may be anything.
    ///
    /// Exact where both sides keep to the norms above (and any activation is at most [`MAX_ACTIVATION`]).
    ///
    /// # Panics
    /// When the two sides differ in `k`, or `sums` is no `rows * NR` numbers.
    pub fn panel(&self, weights: &Weights, p: usize, activations: &Activations<'_>, sums: &mut [i32]) {
        assert_eq!(weights.k, activations.k, "both sides of a product have the same k");
        assert_eq!(sums.len(), activations.rows() * NR, "a panel has NR sums a row");
        (self.run)(weights.panel(p), activations, sums);
    }

    /// [`Self::panel`] for some panels, their sums one after the other.
    ///
    /// # Panics
    /// As there.
    pub fn panels(&self, weights: &Weights, p: Range<usize>, activations: &Activations<'_>, sums: &mut [i32]) {
        assert_eq!(weights.k, activations.k, "both sides of a product have the same k");
        let one = activations.rows() * NR;
        assert_eq!(sums.len(), p.len() * one, "panels have NR sums a row");
        if sums.is_empty() {
            return;
        }
        let together = if self.run_two.is_some() { 2 } else { 1 };
        for (p, sums) in p.step_by(together).zip(sums.chunks_mut(together * one)) {
            match self.run_two {
                Some(run) if sums.len() == 2 * one => {
                    run([weights.panel(p), weights.panel(p + 1)], activations, sums);
                }
                _ => (self.run)(weights.panel(p), activations, sums),
            }
        }
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A kernel is known by its name.
impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Every kernel that this processor can run, the slowest (the truth) first.
pub fn all() -> Vec<Kernel> {
    #[allow(unused_mut)]
    let mut kernels = vec![scalar::KERNEL];
    #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
    kernels.extend([wasm_relaxed::INTO_I32, wasm_relaxed::INTO_I16]);
    #[cfg(target_arch = "aarch64")]
    kernels.extend(arm::available());
    #[cfg(target_arch = "x86_64")]
    kernels.extend(x86::available());
    kernels
}

/// Weights in the layout of quads.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    steps: Vec<i8>,
    starts: Vec<i16>,
    offsets: Vec<i32>,
    centre: u8,
    n: usize,
    k: usize,
}

impl Weights {
    /// Packs row-major `w` `[n,k]`, for activations around `centre`.
    ///
    /// # Panics
    /// When the length is another, or a lane's norm is beyond [`WEIGHT_NORM`].
    pub fn pack(w: &[i8], n: usize, k: usize, centre: u8) -> Self {
        assert_eq!(w.len(), n * k, "weights are [n,k]");
        let (padded, groups) = (padded_k(k), padded_k(k) / GROUP);
        let mut steps = vec![0; padded_n(n) * padded];
        let mut starts = vec![0; padded_n(n) / NR * groups * STARTS];
        let mut offsets = vec![0; padded_n(n)];
        for (c, row) in w.chunks_exact(k.max(1)).enumerate() {
            let (p, channel) = (c / NR, c % NR);
            let panel = steps[p * NR * padded..][..NR * padded].as_chunks_mut::<QUAD>().0.as_chunks_mut::<NR>().0;
            let (quads, rest) = row.as_chunks::<QUAD>();
            panel.iter_mut().zip(quads).for_each(|(step, quad)| step[channel] = *quad);
            if !rest.is_empty() {
                panel[quads.len()][channel][..rest.len()].copy_from_slice(rest);
            }
            for (g, Lanes { sums, squares }) in lanes(row).enumerate() {
                for lane in 0..2 {
                    assert!(squares[lane] as f32 <= WEIGHT_NORM * WEIGHT_NORM, "a lane of channel {c} is too large");
                    let start = -i32::from(centre) * sums[lane];
                    // only the low bits count
                    starts[(p * groups + g) * STARTS + 2 * channel + lane] = start as i16;
                    offsets[c] += start;
                }
            }
        }
        Self { steps, starts, offsets, centre, n: padded_n(n), k: padded }
    }

    pub fn panels(&self) -> usize {
        self.n / NR
    }

    /// The weight of channel `c` and input `i`.
    pub fn get(&self, c: usize, i: usize) -> i8 {
        self.steps[c / NR * NR * self.k + i / QUAD * NR * QUAD + c % NR * QUAD + i % QUAD]
    }

    pub fn memory_bytes(&self) -> usize {
        self.steps.len() + 2 * self.starts.len() + 4 * self.offsets.len()
    }

    fn panel(&self, p: usize) -> Panel<'_> {
        let starts = self.k / GROUP * STARTS;
        Panel {
            steps: &self.steps[p * NR * self.k..][..NR * self.k],
            starts: &self.starts[p * starts..][..starts],
            offsets: &self.offsets[p * NR..][..NR],
            centre: self.centre,
            k: self.k,
        }
    }
}

/// `k` with its padding.
pub const fn padded_k(k: usize) -> usize {
    k.next_multiple_of(GROUP)
}

/// Bytes that `m` packed rows of `k` numbers need.
pub const fn activations_len(m: usize, k: usize) -> usize {
    padded_rows(m) * padded_k(k)
}

/// Puts row `r` (`padded_k(k)` numbers) into `out` (`activations_len(m, k)` bytes).
pub fn pack_row(row: &[u8], r: usize, out: &mut [u8]) {
    let tile = &mut out[r / MR * MR * row.len()..][..MR * row.len()];
    for (step, quad) in tile.chunks_exact_mut(QUAD * MR).zip(row.chunks_exact(QUAD)) {
        step[r % MR * QUAD..][..QUAD].copy_from_slice(quad);
    }
}

/// Packed activations: rows and `k` padded, every number in `0..=127`.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    bytes: &'a [u8],
    m: usize,
    k: usize,
}

impl<'a> Activations<'a> {
    /// A view of `activations_len(m, k)` bytes.
    ///
    /// # Panics
    /// When the length is another.
    pub fn new(bytes: &'a [u8], m: usize, k: usize) -> Self {
        assert_eq!(bytes.len(), activations_len(m, k), "packed rows fill whole tiles");
        Self { bytes, m, k: padded_k(k) }
    }

    /// Rows, padded.
    pub fn rows(&self) -> usize {
        padded_rows(self.m)
    }

    /// The tiles `[k / 4][MR][4]`, each with the number of its rows that are no padding.
    fn tiles(&self) -> impl Iterator<Item = (&'a [u8], usize)> {
        self.bytes.chunks_exact((MR * self.k).max(1)).zip(super::rows_of_tiles(self.m))
    }
}
