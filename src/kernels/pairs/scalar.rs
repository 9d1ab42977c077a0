//! The truth: the product written as its formula, in plain Rust. Every other kernel must give these integers.

use super::super::{MR, NR};
use super::{Activations, Kernel};

/// `scalar-i16i8`.
pub const KERNEL: Kernel = Kernel { name: "scalar-i16i8", run, peak: None };

fn run(weights: &[i8], activations: &Activations<'_>, sums: &mut [i32]) {
    for ((tile, _), sums) in activations.tiles().zip(sums.chunks_exact_mut(MR * NR)) {
        sums.fill(0);
        for (w, a) in weights.chunks_exact(2 * NR).zip(tile.chunks_exact(2 * MR)) {
            for (sums, a) in sums.chunks_exact_mut(NR).zip(a.chunks_exact(2)) {
                for (sum, w) in sums.iter_mut().zip(w.chunks_exact(2)) {
                    *sum += i32::from(a[0]) * i32::from(w[0]) + i32::from(a[1]) * i32::from(w[1]);
                }
            }
        }
    }
}
