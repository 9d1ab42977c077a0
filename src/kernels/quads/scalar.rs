//! The truth: the product written as its formula, in plain Rust. Every other kernel must give these integers.

use super::super::{MR, NR};
use super::{Activations, Kernel, Panel, QUAD};

/// `scalar-u7i8`.
pub const KERNEL: Kernel = Kernel { name: "scalar-u7i8", run, run_two: None, peak: None };

fn run(panel: Panel<'_>, activations: &Activations<'_>, sums: &mut [i32]) {
    let centre = i32::from(panel.centre);
    for ((tile, _), sums) in activations.tiles().zip(sums.chunks_exact_mut(MR * NR)) {
        sums.fill(0);
        for (w, a) in panel.steps.chunks_exact(QUAD * NR).zip(tile.chunks_exact(QUAD * MR)) {
            for (sums, a) in sums.chunks_exact_mut(NR).zip(a.chunks_exact(QUAD)) {
                for (sum, w) in sums.iter_mut().zip(w.chunks_exact(QUAD)) {
                    *sum += a.iter().zip(w).map(|(&a, &w)| (i32::from(a) - centre) * i32::from(w)).sum::<i32>();
                }
            }
        }
    }
}
