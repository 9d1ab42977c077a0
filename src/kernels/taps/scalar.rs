//! The truth: the mean written as its formula, in plain Rust. Every other kernel must give these bytes.

use super::{Kernel, Pixel, STEP, Taps, byte};

/// `scalar-u8i24`.
pub const KERNEL: Kernel = Kernel { name: "scalar-u8i24", across, down };

fn across(taps: &Taps, rows: &[Pixel], out: &mut [Pixel]) {
    for (row, out) in rows.chunks_exact(taps.input).zip(out.chunks_exact_mut(taps.output())) {
        for (out, (start, window)) in out.iter_mut().zip(taps.windows()) {
            let mut sums = [0; 4];
            for (pixels, weights) in row[start..].chunks(STEP).zip(window) {
                for (i, pixel) in pixels.iter().enumerate() {
                    let weight = weights.get(i);
                    sums.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += weight * i32::from(v));
                }
            }
            *out = sums.map(byte);
        }
    }
}

fn down(taps: &Taps, rows: &[u8], out: &mut [u8]) {
    // sums that stay in the cache
    const BLOCK: usize = 256;
    let stride = rows.len() / taps.input;
    for (out, (start, window)) in out.chunks_exact_mut(stride).zip(taps.windows()) {
        for (b, out) in out.chunks_mut(BLOCK).enumerate() {
            let mut sums = [0; BLOCK];
            for (i, row) in rows[start * stride..].chunks_exact(stride).take(window.len() * STEP).enumerate() {
                let weight = window[i / STEP].get(i % STEP);
                sums.iter_mut().zip(&row[b * BLOCK..][..out.len()]).for_each(|(sum, &v)| *sum += weight * i32::from(v));
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = byte(sum));
        }
    }
}
