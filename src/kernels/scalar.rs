//! The truth: the product written as its formula, in plain Rust. Every other kernel must give these integers.

use super::Kernel;
use super::pack::{Activations, MR, NR, Weights};

/// `scalar-i16i8`.
pub const KERNEL: Kernel = Kernel { name: "scalar-i16i8", run };

fn run(weights: &Weights<'_>, activations: &Activations<'_>, out: &mut [i32]) {
    let n = weights.n();
    for p in 0..weights.panels() {
        for t in 0..activations.tiles() {
            let mut acc = [[0i32; NR]; MR];
            for (w, a) in weights.panel(p).chunks_exact(2 * NR).zip(activations.tile(t).chunks_exact(2 * MR)) {
                for (row, a) in acc.iter_mut().zip(a.chunks_exact(2)) {
                    for (sum, w) in row.iter_mut().zip(w.chunks_exact(2)) {
                        *sum += i32::from(a[0]) * i32::from(w[0]) + i32::from(a[1]) * i32::from(w[1]);
                    }
                }
            }
            for (i, row) in acc.iter().enumerate() {
                let at = (t * MR + i) * n + p * NR;
                out[at..at + NR].copy_from_slice(row);
            }
        }
    }
}
