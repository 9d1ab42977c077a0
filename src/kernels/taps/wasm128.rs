//! Plain `simd128`: `i32x4.dot_i16x8_s`, which engines turn into one `pmaddwd`. Eight sums at a time, which is what fits in V8's
//! registers: of two rows, so that weights are loaded half as often, or of 16 bytes in a row.

use core::arch::wasm32::*;

use super::{HALF, Kernel, Pixel, STEP, Taps, WEIGHT_BITS, Weights, scalar};

/// `simd128-u8i24`.
pub const KERNEL: Kernel = Kernel { name: "simd128-u8i24", across, down };

/// Rows at a time, on the way across.
const ROWS: usize = 2;
/// Bytes at a time, on the way down.
const COLUMNS: usize = 16;

fn across(taps: &Taps, rows: &[Pixel], out: &mut [Pixel]) {
    assert!(taps.fit(), "windows lie within the row");
    let (mut sets, mut outs) = (rows.chunks_exact(ROWS * taps.input), out.chunks_exact_mut(ROWS * taps.output()));
    for (rows, out) in sets.by_ref().zip(outs.by_ref()) {
        resize::<ROWS>(taps, rows, out);
    }
    let (row, out) = (sets.remainder(), outs.into_remainder());
    if !row.is_empty() {
        resize::<1>(taps, row, out);
    }
}

/// `R` rows. Never inlined: V8 optimises a function when it is called again.
#[inline(never)]
fn resize<const R: usize>(taps: &Taps, rows: &[Pixel], out: &mut [Pixel]) {
    assert!(taps.fit() && rows.len() == R * taps.input, "windows lie within the row, and there are R rows");
    for (i, (start, window)) in taps.windows().enumerate() {
        let pixels = std::array::from_fn(|r| rows[r * taps.input + start..].as_ptr());
        // SAFETY: the window lies within each row (asserted).
        let sums = unsafe { pixel_means::<R>(window, pixels) };
        for (r, sum) in sums.into_iter().enumerate() {
            let sum = rounded(sum);
            let narrow = i16x8_narrow_i32x4(sum, sum);
            let bytes = i32x4_extract_lane::<0>(u8x16_narrow_i16x8(narrow, narrow));
            out[r * taps.output() + i] = bytes.to_le_bytes();
        }
    }
}

/// One output pixel of each of `R` rows, in units of 2^-22, a channel a lane.
///
/// # Safety
/// At each of `pixels` as many are readable as `window` has weights.
#[inline(always)]
unsafe fn pixel_means<const R: usize>(window: &[Weights], pixels: [*const Pixel; R]) -> [v128; R] {
    // of red and blue, of green and alpha: products with the low and with the high halves of the weights
    let mut sums = [[[i32x4_splat(0); 2]; 2]; R];
    for (s, weights) in window.iter().enumerate() {
        let halves: *const v128 = std::ptr::from_ref(weights).cast();
        // SAFETY: `Weights` is two vectors of numbers.
        let [low, high] = std::array::from_fn(|i| unsafe { v128_load(halves.add(i)) });
        let first = [i32x4_shuffle::<0, 0, 1, 1>(low, low), i32x4_shuffle::<0, 0, 1, 1>(high, high)];
        let second = [i32x4_shuffle::<2, 2, 3, 3>(low, low), i32x4_shuffle::<2, 2, 3, 3>(high, high)];
        for (sums, pixels) in sums.iter_mut().zip(pixels) {
            // SAFETY: these eight pixels are among those that the caller vouches for.
            let (a, b) = unsafe {
                let pixels = pixels.add(s * STEP);
                (v128_load(pixels.cast()), v128_load(pixels.add(4).cast()))
            };
            let near = i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b);
            let far = i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b);
            let red_blue = [near, far].map(|v| v128_and(v, i16x8_splat(255)));
            let green_alpha = [near, far].map(|v| u16x8_shr(v, 8));
            for (sums, [near, far]) in sums.iter_mut().zip([red_blue, green_alpha]) {
                for ((sum, first), second) in sums.iter_mut().zip(first).zip(second) {
                    let products = i32x4_add(i32x4_dot_i16x8(near, first), i32x4_dot_i16x8(far, second));
                    *sum = i32x4_add(*sum, products);
                }
            }
        }
    }
    sums.map(|sums| {
        let [red_blue, green_alpha] = sums.map(whole);
        let left = i32x4_shuffle::<0, 4, 1, 5>(red_blue, green_alpha);
        i32x4_add(left, i32x4_shuffle::<2, 6, 3, 7>(red_blue, green_alpha))
    })
}

fn down(taps: &Taps, rows: &[u8], out: &mut [u8]) {
    let stride = rows.len() / taps.input;
    if stride < COLUMNS {
        return (scalar::KERNEL.down)(taps, rows, out);
    }
    for (out, (start, window)) in out.chunks_exact_mut(stride).zip(taps.windows()) {
        row(window, &rows[start * stride..], out);
    }
}

/// One row of the output. Never inlined, as [`resize`].
#[inline(never)]
fn row(window: &[Weights], rows: &[u8], out: &mut [u8]) {
    let stride = out.len();
    assert!(rows.len() >= window.len() * STEP * stride && stride >= COLUMNS, "the window lies within the rows");
    for x in (0..stride).step_by(COLUMNS) {
        // the last columns may be among those before
        let x = x.min(stride - COLUMNS);
        // SAFETY: there are rows for each weight, and they have COLUMNS bytes from x on (asserted); so has `out`.
        unsafe {
            v128_store(out[x..][..COLUMNS].as_mut_ptr().cast(), column_means(window, rows[x..].as_ptr(), stride))
        };
    }
}

/// [`COLUMNS`] bytes of one row of the output.
///
/// # Safety
/// So many bytes are readable at `rows + j * stride` for each weight `j` of `window`.
#[inline(always)]
unsafe fn column_means(window: &[Weights], rows: *const u8, stride: usize) -> v128 {
    // of even and odd columns, of their first and second half: products with the low and with the high halves of the weights
    let mut sums = [[[i32x4_splat(0); 2]; 2]; 2];
    for (s, weights) in window.iter().enumerate() {
        let pairs: *const u32 = std::ptr::from_ref(weights).cast();
        for j in 0..STEP / 2 {
            // SAFETY: `Weights` is four pairs of low halves and four of high ones; the rows are among those that the caller vouches for.
            let (halves, a, b) = unsafe {
                let row = rows.add((s * STEP + j) * stride);
                let halves = [v128_load32_splat(pairs.add(j)), v128_load32_splat(pairs.add(4 + j))];
                (halves, v128_load(row.cast()), v128_load(row.add(4 * stride).cast()))
            };
            let near = i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b);
            let far = i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b);
            let even = [near, far].map(|v| v128_and(v, i16x8_splat(255)));
            let odd = [near, far].map(|v| u16x8_shr(v, 8));
            for (sums, v) in sums.as_flattened_mut().iter_mut().zip([even, odd].as_flattened()) {
                for (sum, half) in sums.iter_mut().zip(halves) {
                    *sum = i32x4_add(*sum, i32x4_dot_i16x8(*v, half));
                }
            }
        }
    }
    let [even, odd] = sums.map(|sums| {
        let [near, far] = sums.map(|halves| rounded(whole(halves)));
        i16x8_narrow_i32x4(near, far)
    });
    let bytes = u8x16_narrow_i16x8(even, odd);
    i8x16_shuffle::<0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15>(bytes, bytes)
}

/// The sum of both halves' products.
#[inline(always)]
fn whole([low, high]: [v128; 2]) -> v128 {
    i32x4_add(low, i32x4_shl(high, 16))
}

/// From units of 2^-22, not yet clipped.
#[inline(always)]
fn rounded(sum: v128) -> v128 {
    i32x4_shr(i32x4_add(sum, i32x4_splat(HALF)), WEIGHT_BITS)
}
