//! The truth: the product written as its formula, in plain Rust. Every other kernel must give these integers.

use super::Kernel;
use super::pack::{Activations, MR, NR, Weights};

/// `scalar-u7i8`.
pub const KERNEL: Kernel = Kernel { name: "scalar-u7i8", scratch: |_, _| 0, run };

fn run(weights: &Weights<'_>, activations: &Activations<'_>, _: &mut [i16], out: &mut [i32]) {
    let n = weights.n();
    for p in 0..weights.panels() {
        for t in 0..activations.tiles() {
            let mut acc = [[0i32; NR]; MR];
            for (w, a) in weights.panel(p).chunks_exact(4 * NR).zip(activations.tile(t).chunks_exact(4 * MR)) {
                for (row, a) in acc.iter_mut().zip(a.chunks_exact(4)) {
                    for (sum, w) in row.iter_mut().zip(w.chunks_exact(4)) {
                        for j in 0..4 {
                            *sum += i32::from(a[j]) * i32::from(w[j]);
                        }
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
