//! WebAssembly's SIMD for what is done with weights when a model is read. (The plain loops of [`Lanes::of`](super::Lanes) become one
//! instruction a number there.)

use core::arch::wasm32::*;

use super::{GROUP, Lanes};

/// The lanes of a group.
pub fn lanes(group: &[i8; GROUP]) -> Lanes {
    let (mut sums, mut squares) = (i16x8_splat(0), i32x4_splat(0));
    for numbers in group.as_chunks::<16>().0 {
        // SAFETY: there are 16 bytes.
        let numbers = unsafe { v128_load(numbers.as_ptr().cast()) };
        sums = i16x8_add(sums, i16x8_extadd_pairwise_i8x16(numbers));
        for half in [i16x8_extend_low_i8x16(numbers), i16x8_extend_high_i8x16(numbers)] {
            squares = i32x4_add(squares, i32x4_dot_i16x8(half, half));
        }
    }
    // pairs so far, of which every other belongs to the same lane
    let sums = i32x4_add(i32x4_extend_low_i16x8(sums), i32x4_extend_high_i16x8(sums));
    let of_lanes = |pairs: v128| {
        let both = i32x4_add(pairs, i32x4_shuffle::<2, 3, 0, 1>(pairs, pairs));
        [i32x4_extract_lane::<0>(both), i32x4_extract_lane::<1>(both)]
    };
    Lanes { sums: of_lanes(sums), squares: of_lanes(squares) }
}
