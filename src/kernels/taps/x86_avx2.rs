//! x86-64 with AVX2: `vpmaddwd`. On the way across a register holds pixels of two rows, on the way down 32 bytes of one.

use core::arch::x86_64::*;

use super::{HALF, Kernel, Pixel, STEP, Taps, WEIGHT_BITS, Weights, scalar};

/// `avx2-u8i24`. Only to be listed where [`available`] says so.
pub const KERNEL: Kernel = Kernel { name: "avx2-u8i24", across, down };

/// Bytes at a time, on the way down.
const COLUMNS: usize = 32;

/// Whether this processor has AVX2.
pub fn available() -> bool {
    std::is_x86_feature_detected!("avx2")
}

fn across(taps: &Taps, rows: &[Pixel], out: &mut [Pixel]) {
    assert!(available(), "the AVX2 kernel is listed only where the processor has AVX2");
    for (rows, out) in rows.chunks(2 * taps.input).zip(out.chunks_mut(2 * taps.output())) {
        // SAFETY: AVX2 is there (asserted).
        unsafe { resize(taps, rows, out) };
    }
}

/// Two rows, or one.
#[target_feature(enable = "avx2")]
fn resize(taps: &Taps, rows: &[Pixel], out: &mut [Pixel]) {
    assert!(taps.fit() && rows.len() >= taps.input, "windows lie within the row, and there is a row");
    // one alone is computed twice
    let second_row = rows.len() - taps.input;
    for (i, (start, window)) in taps.windows().enumerate() {
        let pixels = [0, second_row].map(|row| rows[row + start..].as_ptr());
        // SAFETY: AVX2 is there, as here, and the window lies within either row (asserted).
        let sums = unsafe { pixel_means(window, pixels) };
        let sums = rounded(sums);
        let narrow = _mm256_packs_epi32(sums, sums);
        let bytes = _mm256_packus_epi16(narrow, narrow);
        let two = [_mm256_extract_epi32::<0>(bytes), _mm256_extract_epi32::<4>(bytes)];
        for (out, bytes) in out[i..].iter_mut().step_by(taps.output()).zip(two) {
            *out = bytes.to_le_bytes();
        }
    }
}

/// One output pixel of each of two rows, in units of 2^-22, a channel a lane.
///
/// # Safety
/// The processor has AVX2, and at each of `pixels` as many are readable as `window` has weights.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pixel_means(window: &[Weights], [one, other]: [*const Pixel; 2]) -> __m256i {
    // SAFETY: four pixels of either row, among those that the caller vouches for.
    let load = |at: usize| unsafe { _mm256_loadu2_m128i(other.add(at).cast(), one.add(at).cast()) };
    // SAFETY: eight numbers are one vector.
    let spread = |half: &[i16; STEP]| unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(half.as_ptr().cast())) };
    // of red and blue, of green and alpha: products with the low and with the high halves of the weights
    let mut sums = [[_mm256_setzero_si256(); 2]; 2];
    for (s, weights) in window.iter().enumerate() {
        let halves = [spread(&weights.low), spread(&weights.high)];
        let first = halves.map(|v| _mm256_unpacklo_epi32(v, v));
        let second = halves.map(|v| _mm256_unpackhi_epi32(v, v));
        let (a, b) = (load(s * STEP), load(s * STEP + 4));
        let pairs = [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
        let red_blue = pairs.map(|v| _mm256_and_si256(v, _mm256_set1_epi16(255)));
        let green_alpha = pairs.map(|v| _mm256_srli_epi16::<8>(v));
        for (sums, [near, far]) in sums.iter_mut().zip([red_blue, green_alpha]) {
            for ((sum, first), second) in sums.iter_mut().zip(first).zip(second) {
                let products = _mm256_add_epi32(_mm256_madd_epi16(near, first), _mm256_madd_epi16(far, second));
                *sum = _mm256_add_epi32(*sum, products);
            }
        }
    }
    let [red_blue, green_alpha] = sums.map(|halves| whole(halves));
    let left = _mm256_unpacklo_epi32(red_blue, green_alpha);
    _mm256_add_epi32(left, _mm256_unpackhi_epi32(red_blue, green_alpha))
}

fn down(taps: &Taps, rows: &[u8], out: &mut [u8]) {
    assert!(available(), "the AVX2 kernel is listed only where the processor has AVX2");
    let stride = rows.len() / taps.input;
    if stride < COLUMNS {
        return (scalar::KERNEL.down)(taps, rows, out);
    }
    for (out, (start, window)) in out.chunks_exact_mut(stride).zip(taps.windows()) {
        // SAFETY: AVX2 is there (asserted).
        unsafe { row(window, &rows[start * stride..], out) };
    }
}

/// One row of the output.
#[target_feature(enable = "avx2")]
fn row(window: &[Weights], rows: &[u8], out: &mut [u8]) {
    let stride = out.len();
    assert!(rows.len() >= window.len() * STEP * stride && stride >= COLUMNS, "the window lies within the rows");
    for x in (0..stride).step_by(COLUMNS) {
        // the last columns may be among those before
        let x = x.min(stride - COLUMNS);
        let to = out[x..][..COLUMNS].as_mut_ptr();
        // SAFETY: there are rows for each weight, and they have COLUMNS bytes from x on (asserted); so has `out`.
        unsafe { _mm256_storeu_si256(to.cast(), column_means(window, rows[x..].as_ptr(), stride)) };
    }
}

/// [`COLUMNS`] bytes of one row of the output.
///
/// # Safety
/// The processor has AVX2, and so many bytes are readable at `rows + j * stride` for each weight `j` of `window`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn column_means(window: &[Weights], rows: *const u8, stride: usize) -> __m256i {
    // of even and odd columns, of their first and second half (of eight): products with the low and with the high halves of the weights
    let mut sums = [[[_mm256_setzero_si256(); 2]; 2]; 2];
    for (s, weights) in window.iter().enumerate() {
        let pairs: *const i32 = std::ptr::from_ref(weights).cast();
        for j in 0..STEP / 2 {
            // SAFETY: `Weights` is four pairs of low halves and four of high ones; the rows are among those that the caller vouches for.
            let (halves, a, b) = unsafe {
                let row = rows.add((s * STEP + j) * stride);
                let halves = [pairs.add(j), pairs.add(4 + j)].map(|pair| _mm256_set1_epi32(pair.read_unaligned()));
                (halves, _mm256_loadu_si256(row.cast()), _mm256_loadu_si256(row.add(4 * stride).cast()))
            };
            let pairs = [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
            let even = pairs.map(|v| _mm256_and_si256(v, _mm256_set1_epi16(255)));
            let odd = pairs.map(|v| _mm256_srli_epi16::<8>(v));
            for (sums, v) in sums.as_flattened_mut().iter_mut().zip([even, odd].as_flattened()) {
                for (sum, half) in sums.iter_mut().zip(halves) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*v, half));
                }
            }
        }
    }
    let [even, odd] = sums.map(|sums| {
        let [near, far] = sums.map(|halves| rounded(whole(halves)));
        _mm256_packs_epi32(near, far)
    });
    let bytes = _mm256_packus_epi16(even, odd);
    _mm256_unpacklo_epi8(bytes, _mm256_srli_si256::<8>(bytes))
}

/// The sum of both halves' products.
#[inline]
#[target_feature(enable = "avx2")]
fn whole([low, high]: [__m256i; 2]) -> __m256i {
    _mm256_add_epi32(low, _mm256_slli_epi32::<16>(high))
}

/// From units of 2^-22, not yet clipped.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(sum: __m256i) -> __m256i {
    _mm256_srai_epi32::<{ WEIGHT_BITS as i32 }>(_mm256_add_epi32(sum, _mm256_set1_epi32(HALF)))
}
