//! The product of pairs: `sum[m,n] = sum_k a[m,k] * w[n,k]`, activations of 12 bits in i16, weights of 8 bits.
//!
//! Weights: panels of [`NR`] output channels; within a panel, for every two consecutive `k`, the two bytes of each
//! channel in turn: `[n / NR][k / 2][NR][2]`. Activations: tiles of [`MR`] rows of i16 in the same manner,
//! `[m / MR][k / 2][MR][2]`. So a 16-byte load brings two `k` of eight channels, and a 4-byte broadcast two `k` of a row.
//! Channels, rows and `k` are padded with zeros: they add nothing to any sum.

#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub mod wasm128;
#[cfg(target_arch = "x86_64")]
pub mod x86_avx2;

use std::ops::Range;

use super::{MR, NR, Peak, padded_n, padded_rows};

/// `k` is padded to a multiple of this.
pub const K_STEP: usize = 16;
/// Largest magnitude of an activation: 12 bits. With it, sums over `k` up to [`super::MAX_K`] fit in i32. Larger ones may be given where something
/// else bounds the sums.
pub const MAX_ACTIVATION: i16 = 2047;

/// One implementation.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// Weights of a panel, all activations, and the sums `[rows][NR]`.
    run: fn(&[i8], &Activations<'_>, &mut [i32]),
    peak: Option<Peak>,
}

impl Kernel {
    /// `{isa}-{types}`, for example `simd128-i16i8`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How fast the processor runs this kernel's instructions, where that can be told.
    pub fn peak(&self) -> Option<Peak> {
        self.peak
    }

    /// The sums of panel `p`: `sums[r * NR + c] = sum_k a[r,k] * w[NR * p + c,k]`. Those of the rows' padding may be anything.
    ///
    /// # Panics
    /// When the two sides differ in `k`, or `sums` is no `rows * NR` numbers.
    pub fn panel(&self, weights: &Weights<'_>, p: usize, activations: &Activations<'_>, sums: &mut [i32]) {
        assert_eq!(weights.k(), activations.k(), "both sides of a product have the same k");
        assert_eq!(sums.len(), activations.rows() * NR, "a panel has NR sums a row");
        (self.run)(weights.panel(p), activations, sums);
    }

    /// [`Self::panel`] for some panels, their sums one after the other.
    ///
    /// # Panics
    /// As there.
    pub fn panels(&self, weights: &Weights<'_>, p: Range<usize>, activations: &Activations<'_>, sums: &mut [i32]) {
        assert_eq!(sums.len(), p.len() * activations.rows() * NR, "panels have NR sums a row");
        for (p, sums) in p.zip(sums.chunks_exact_mut((activations.rows() * NR).max(1))) {
            self.panel(weights, p, activations, sums);
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
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    kernels.push(wasm128::KERNEL);
    #[cfg(target_arch = "aarch64")]
    kernels.push(neon::KERNEL);
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

/// `k` with its padding.
pub const fn padded_k(k: usize) -> usize {
    k.next_multiple_of(K_STEP)
}

/// Bytes that the packed weights of `n` channels and `k` inputs need.
pub const fn weights_len(n: usize, k: usize) -> usize {
    padded_n(n) * padded_k(k)
}

/// Numbers that `m` packed rows of `k` numbers need.
pub const fn activations_len(m: usize, k: usize) -> usize {
    padded_rows(m) * padded_k(k)
}

/// Where the weight of channel `c` and input `i` lies; `k` is padded.
#[inline]
pub const fn weight_index(k: usize, c: usize, i: usize) -> usize {
    (c / NR) * NR * k + (i / 2) * 2 * NR + (c % NR) * 2 + i % 2
}

/// Packed weights: `n` and `k` padded, every byte in `-127..=127`.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    bytes: &'a [i8],
    n: usize,
    k: usize,
}

impl<'a> Weights<'a> {
    /// A view of `weights_len(n, k)` bytes.
    ///
    /// # Panics
    /// When the length is another.
    pub fn new(bytes: &'a [i8], n: usize, k: usize) -> Self {
        assert_eq!(bytes.len(), weights_len(n, k), "packed weights fill whole panels");
        Self { bytes, n: padded_n(n), k: padded_k(k) }
    }

    /// Output channels, padded.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs, padded.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The panel of channels `NR * p ..`, `k * NR` bytes.
    pub fn panel(&self, p: usize) -> &'a [i8] {
        &self.bytes[p * NR * self.k..(p + 1) * NR * self.k]
    }

    pub fn panels(&self) -> usize {
        self.n / NR
    }
}

/// Packed activations: rows and `k` padded, every number in `-2047..=2047`.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    numbers: &'a [i16],
    m: usize,
    k: usize,
}

impl<'a> Activations<'a> {
    /// A view of `activations_len(m, k)` numbers.
    ///
    /// # Panics
    /// When the length is another.
    pub fn new(numbers: &'a [i16], m: usize, k: usize) -> Self {
        assert_eq!(numbers.len(), activations_len(m, k), "packed rows fill whole tiles");
        Self { numbers, m, k: padded_k(k) }
    }

    /// Rows, padded.
    pub fn rows(&self) -> usize {
        padded_rows(self.m)
    }

    /// The tiles `[k / 2][MR][2]`, each with the number of its rows that are no padding.
    fn tiles(&self) -> impl Iterator<Item = (&'a [i16], usize)> {
        self.numbers.chunks_exact((MR * self.k).max(1)).zip(super::rows_of_tiles(self.m))
    }

    /// Numbers in a row, padded.
    pub fn k(&self) -> usize {
        self.k
    }
}

/// Packs row-major `[n,k]` weights into `out` (`weights_len(n, k)` bytes, overwritten).
pub fn pack_weights(w: &[i8], n: usize, k: usize, out: &mut [i8]) {
    assert_eq!(w.len(), n * k, "weights are [n,k]");
    assert_eq!(out.len(), weights_len(n, k), "packed weights fill whole panels");
    out.fill(0);
    for (c, row) in w.chunks_exact(k.max(1)).enumerate() {
        let panel = out[c / NR * NR * padded_k(k)..][..NR * padded_k(k)].as_chunks_mut::<2>().0.as_chunks_mut::<NR>().0;
        let (pairs, rest) = row.as_chunks::<2>();
        panel.iter_mut().zip(pairs).for_each(|(step, pair)| step[c % NR] = *pair);
        if let [last] = rest {
            panel[pairs.len()][c % NR][0] = *last;
        }
    }
}

/// Puts row `r` (`padded_k(k)` numbers) into `out` (`activations_len(m, k)` numbers).
pub fn pack_row(row: &[i16], r: usize, out: &mut [i16]) {
    let tile = &mut out[r / MR * MR * row.len()..][..MR * row.len()];
    for (step, pair) in tile.chunks_exact_mut(2 * MR).zip(row.as_chunks::<2>().0) {
        step[r % MR * 2..][..2].copy_from_slice(pair);
    }
}
