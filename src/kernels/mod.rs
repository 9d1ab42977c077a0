//! Integer matrix products, the f32 vector math around them and means of pixels: the only home of `unsafe` and of intrinsics.
//!
//! There are two products, each a folder with its layout and contract, its scalar truth and a file per instruction set:
//!
//! * [`pairs`]: activations of up to 12 bits in i16, two neighbours of `k` multiplied and added at a time (`pmaddwd`,
//!   `i32x4.dot_i16x8_s`). 12 bits cost there what 8 would.
//! * [`quads`]: activations of 7 bits in u8, four neighbours of `k` at a time (`pmaddubsw`, `vpdpbusd`, relaxed SIMD): up to twice as
//!   fast, and coarser.
//!
//! Weights have 8 bits (`-127..=127`) in both, sums are i32, and every implementation of a product gives the same integers: the
//! truth is [`pairs::scalar`] and [`quads::scalar`]. What [`quads`] multiplies, [`pairs`] can multiply too, with the same result.
//!
//! [`taps`] takes weighted means of pixels, for resizing. Of it too there are several, which give the same bytes: the truth is
//! [`taps::scalar`].
//!
//! [`crew`] shares work between threads, where there are some.
//!
//! It knows nothing of candle and of errors, and allocates only what is made once (packed weights, [`taps::Taps`]): lengths are promises of
//! our own code and are asserted once, where a kernel is called.
#![allow(unsafe_code)]

pub mod crew;
pub mod pairs;
pub mod quads;
pub mod shapes;
pub mod taps;
pub mod vector;

/// Output channels in a panel, in both layouts.
pub const NR: usize = 8;
/// Rows in a tile, in both layouts: 5 x 8 sums fill ten vector registers of four, which is what V8 keeps in registers.
pub const MR: usize = 5;
/// Largest magnitude of a weight.
pub const MAX_WEIGHT: i8 = 127;
/// Most inputs of a product: `2047 * 127 * 8192 < 2^31`.
pub const MAX_K: usize = 8192;

/// A loop of nothing but a kernel's multiplications and additions, on registers: what no product can be faster than.
#[derive(Clone, Copy)]
pub struct Peak {
    run: fn(usize, i32) -> i32,
    macs: usize,
}

impl Peak {
    /// Multiplications in a round.
    pub fn macs(&self) -> usize {
        self.macs
    }

    /// Runs so many rounds. The result means nothing, but depends on all of them.
    pub fn run(&self, rounds: usize) -> i32 {
        (self.run)(rounds, std::hint::black_box(5))
    }
}

/// Output channels with their padding.
pub const fn padded_n(n: usize) -> usize {
    n.next_multiple_of(NR)
}

/// Rows with their padding.
pub const fn padded_rows(m: usize) -> usize {
    m.next_multiple_of(MR)
}

/// Of `m` rows in tiles, how many each has: [`MR`], and the last one what is left.
fn rows_of_tiles(m: usize) -> impl Iterator<Item = usize> {
    (0..m).step_by(MR).map(move |first| (m - first).min(MR))
}

/// The kernels that a model runs on: one for each product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernels {
    pub pairs: pairs::Kernel,
    /// `None` where nothing is faster than [`pairs`](Self::pairs).
    pub quads: Option<quads::Kernel>,
}

impl Kernels {
    /// The truth, which runs everywhere.
    pub fn scalar() -> Self {
        Self { pairs: pairs::scalar::KERNEL, quads: Some(quads::scalar::KERNEL) }
    }

    /// What is fastest on most processors with these instructions.
    pub fn best() -> Self {
        let fast = |k: &quads::Kernel| *k != quads::scalar::KERNEL;
        Self { pairs: pairs::best(), quads: quads::all().last().copied().filter(fast) }
    }

    /// Every choice that this processor can run, the truth first.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for pairs in pairs::all() {
            all.push(Self { pairs, quads: None });
            all.extend(quads::all().into_iter().map(|quads| Self { pairs, quads: Some(quads) }));
        }
        all
    }

    /// The name of the kernel that does most of the work of 7-bit layers.
    pub fn name(&self) -> &'static str {
        self.quads.map_or(self.pairs.name(), |k| k.name())
    }
}
