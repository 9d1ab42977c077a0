//! How numbers are stored: floats of 32 and 16 bits, and GGUF's blocks of 32 numbers of 4, 5 or 8 bits that share an f16 scale.
//!
//! The layouts are those of ggml's `block_q4_0` to `block_q8_0` (`ggml-common.h`, `ggml-quants.c`). `Q8_0` and `Q4_0` are written, too.

use half::{bf16, f16};

use crate::kernels::{quads, vector};

/// Numbers in a block, whatever its type.
const BLOCK: usize = 32;
/// Numbers in a `Q8_0` block.
pub const Q8_0_BLOCK: usize = BLOCK;

/// A storage type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    F32,
    F16,
    Bf16,
    /// `(code - 8) * scale`, codes of 4 bits.
    Q4_0,
    /// `code * scale + least`, codes of 4 bits.
    Q4_1,
    /// `(code - 16) * scale`, codes of 5 bits.
    Q5_0,
    /// `code * scale + least`, codes of 5 bits.
    Q5_1,
    /// `code * scale`, signed codes of 8 bits.
    Q8_0,
}

impl DType {
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::Q4_0 => "q4_0",
            DType::Q4_1 => "q4_1",
            DType::Q5_0 => "q5_0",
            DType::Q5_1 => "q5_1",
            DType::Q8_0 => "q8_0",
        }
    }

    /// Numbers and bytes of the smallest piece.
    fn unit(self) -> (usize, usize) {
        match self {
            DType::F32 => (1, 4),
            DType::F16 | DType::Bf16 => (1, 2),
            // f16 scale (and f16 least number), four bytes of fifth bits, two numbers a byte
            DType::Q4_0 => (BLOCK, 2 + 16),
            DType::Q4_1 => (BLOCK, 4 + 16),
            DType::Q5_0 => (BLOCK, 2 + 4 + 16),
            DType::Q5_1 => (BLOCK, 4 + 4 + 16),
            DType::Q8_0 => (BLOCK, 2 + 32),
        }
    }

    /// Bytes that `count` numbers need; `None` when they do not fill whole blocks, or the size overflows.
    pub fn bytes_for(self, count: usize) -> Option<usize> {
        let (numbers, bytes) = self.unit();
        if count.is_multiple_of(numbers) { (count / numbers).checked_mul(bytes) } else { None }
    }

    /// Bytes of the whole blocks among `count` numbers, of files that may be larger than memory.
    pub fn bytes_of_blocks(self, count: usize) -> u64 {
        let (numbers, bytes) = self.unit();
        (count / numbers) as u64 * bytes as u64
    }

    /// The numbers in `bytes`; a rest that is no whole number or block is passed over.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let mut values = Vec::with_capacity(bytes.len() / self.unit().1 * self.unit().0);
        self.decode_into(bytes, &mut values);
        values
    }

    /// [`DType::decode`] to the end of `values`.
    pub fn decode_into(self, bytes: &[u8], values: &mut Vec<f32>) {
        let half = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]).to_f32();
        let blocks = bytes.chunks_exact(self.unit().1);
        match self {
            DType::F32 => values.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            DType::F16 => values.extend(bytes.chunks_exact(2).map(half)),
            DType::Bf16 => {
                values.extend(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()));
            }
            // block by block: one iterator over all numbers of all blocks is five times as slow
            DType::Q8_0 => blocks.for_each(|b| {
                let scale = half(b);
                values.extend(b[2..].iter().map(|&code| scale * f32::from(code as i8)));
            }),
            DType::Q4_0 => blocks.for_each(|b| {
                let scale = half(b);
                values.extend(codes(&[], &b[2..]).map(|c| (c - 8.0) * scale));
            }),
            DType::Q4_1 => blocks.for_each(|b| {
                let (scale, least) = (half(b), half(&b[2..]));
                values.extend(codes(&[], &b[4..]).map(|c| c * scale + least));
            }),
            DType::Q5_0 => blocks.for_each(|b| {
                let scale = half(b);
                values.extend(codes(&b[2..6], &b[6..]).map(|c| (c - 16.0) * scale));
            }),
            DType::Q5_1 => blocks.for_each(|b| {
                let (scale, least) = (half(b), half(&b[2..]));
                values.extend(codes(&b[4..8], &b[8..]).map(|c| c * scale + least));
            }),
        }
    }

    /// Whether all numbers in `bytes` are finite, which is told without decoding them: by their exponents, and by those of blocks' scales.
    pub fn is_finite(self, bytes: &[u8]) -> bool {
        let half = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]).to_bits() & 0x7c00 != 0x7c00;
        match self {
            DType::F32 => bytes.as_chunks::<4>().0.iter().fold(true, |all, b| all & f32::from_le_bytes(*b).is_finite()),
            DType::F16 => bytes.as_chunks::<2>().0.iter().fold(true, |all, b| all & half(b)),
            DType::Bf16 => {
                bytes.as_chunks::<2>().0.iter().fold(true, |all, b| all & (u16::from_le_bytes(*b) & 0x7f80 != 0x7f80))
            }
            DType::Q4_0 | DType::Q5_0 | DType::Q8_0 => bytes.chunks_exact(self.unit().1).all(half),
            DType::Q4_1 | DType::Q5_1 => bytes.chunks_exact(self.unit().1).all(|b| half(b) && half(&b[2..])),
        }
    }

    /// Stores the numbers.
    ///
    /// # Panics
    /// When they do not fill whole blocks, or the type is one that is only read.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            DType::F32 => fixed(values, f32::to_le_bytes),
            DType::F16 => fixed(values, |v| f16::from_f32(v).to_le_bytes()),
            DType::Bf16 => fixed(values, |v| bf16::from_f32(v).to_le_bytes()),
            DType::Q8_0 => encode_q8_0_rows(values, Q8_0_BLOCK, None),
            DType::Q4_0 => encode_q4_0(values),
            DType::Q4_1 | DType::Q5_0 | DType::Q5_1 => panic!("{} is only read", self.name()),
        }
    }
}

/// The 32 codes of a block, in order: the low halves of the 16 bytes `nibbles`, then the high ones, each with a bit of `fifth` (four bytes, or
/// none) above it.
fn codes(fifth: &[u8], nibbles: &[u8]) -> std::array::IntoIter<f32, BLOCK> {
    let fifth = fifth.iter().rev().fold(0u32, |bits, &b| bits << 8 | u32::from(b));
    std::array::from_fn(|i| {
        let nibble = if i < BLOCK / 2 { nibbles[i] & 15 } else { nibbles[i - BLOCK / 2] >> 4 };
        f32::from(nibble | ((fifth >> i & 1) as u8) << 4)
    })
    .into_iter()
}

/// Stores rows of `row` numbers as `Q8_0` whose blocks all have their row's scale, the least with which no code is beyond 127, and the norm
/// of no lane of [`quads`] beyond `lane_norm`.
///
/// That is coarser than a scale a block, but it is how `quant` will hold the row, whatever the file says: so the numbers are
/// rounded once, and a converted file gives what its source gives.
///
/// # Panics
/// When rows are not whole blocks.
pub fn encode_q8_0_rows(values: &[f32], row: usize, lane_norm: Option<f32>) -> Vec<u8> {
    assert!(row.is_multiple_of(Q8_0_BLOCK), "q8_0 stores whole blocks of 32");
    assert!(values.len().is_multiple_of(Q8_0_BLOCK), "q8_0 stores whole blocks of 32");
    // a file may name rows of any length where it has none
    let row = row.clamp(Q8_0_BLOCK, values.len().max(Q8_0_BLOCK));
    let mut out = vec![0; values.len() / Q8_0_BLOCK * (2 + Q8_0_BLOCK)];
    let mut codes = vec![0; row];
    for (values, stored) in values.chunks(row).zip(out.chunks_mut(row / Q8_0_BLOCK * (2 + Q8_0_BLOCK))) {
        let codes = &mut codes[..values.len()];
        let scale = row_codes(values, codes, lane_norm);
        // written in place: iterators that are chained byte by byte take ten times as long
        let (blocks, stored) = (codes.as_chunks::<Q8_0_BLOCK>().0, stored.as_chunks_mut::<{ 2 + Q8_0_BLOCK }>().0);
        for (block, [low, high, stored @ ..]) in blocks.iter().zip(stored) {
            [*low, *high] = scale.to_le_bytes();
            *stored = block.map(|code| code as u8);
        }
    }
    out
}

/// Whether bytes are what [`encode_q8_0_rows`] could give: each row with one scale, finite, and within its limits.
pub fn are_rows(bytes: &[u8], row: usize, lane_norm: Option<f32>) -> bool {
    let Some(size) = DType::Q8_0.bytes_for(row).filter(|&size| size > 0) else { return false };
    let mut codes = Vec::with_capacity(row.min(bytes.len()));
    bytes.chunks(size).all(|stored| {
        codes.clear();
        let scale = q8_0_row(stored, &mut codes);
        scale.is_some_and(f32::is_finite) && codes.len() == row && quads::are_within(&codes, lane_norm)
    })
}

/// The codes of a row, and their scale.
fn row_codes(values: &[f32], codes: &mut [i8], lane_norm: Option<f32>) -> f16 {
    let mut scale = q8_0_scale(values);
    if scale == f16::ZERO {
        codes.fill(0);
        return scale;
    }
    loop {
        vector::weight_codes(values, scale.to_f32(), codes);
        let Some(most) = lane_norm else { return scale };
        let norm = quads::largest_lane_norm(codes);
        if norm <= most {
            return scale;
        }
        // the next larger one at least, or rounding could keep it from ending
        let next = f16::from_bits(scale.to_bits() + 1);
        scale = next.max(f16::from_f32(scale.to_f32() * norm / most));
    }
}

/// Numbers of `N` bytes each.
fn fixed<const N: usize>(values: &[f32], bytes: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut out = vec![0; N * values.len()];
    out.as_chunks_mut::<N>().0.iter_mut().zip(values).for_each(|(out, &v)| *out = bytes(v));
    out
}

/// Appends the codes of a row that has one scale and gives it; `None`, with part of them appended, where its blocks have several.
pub fn q8_0_row(row: &[u8], codes: &mut Vec<i8>) -> Option<f32> {
    let (blocks, _) = row.as_chunks::<{ 2 + Q8_0_BLOCK }>();
    let &[low, high, ..] = blocks.first()?;
    for [a, b, block @ ..] in blocks {
        if [*a, *b] != [low, high] {
            return None;
        }
        codes.extend(block.map(|code| code as i8));
    }
    Some(f16::from_le_bytes([low, high]).to_f32())
}

/// Stores whole blocks as `Q4_0`, each with the scale that is `-1/8` of its largest number by size, sign included, so that this number
/// has code 0 and loses nothing; the others are off by at most half a scale, and those of the opposite sign beyond `7/8` of it by a
/// whole one (ggml's `quantize_row_q4_0_ref`).
fn encode_q4_0(values: &[f32]) -> Vec<u8> {
    assert!(values.len().is_multiple_of(BLOCK), "q4_0 stores whole blocks of 32");
    let block = |values: &[f32]| {
        let largest = values.iter().fold(0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
        let scale = f16::from_f32(largest / -8.0);
        let inverse = if scale.to_f32() != 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
        let code = |v: f32| (v * inverse + 8.5).clamp(0.0, 15.0) as u8;
        let (low, high) = values.split_at(BLOCK / 2);
        let nibbles = low.iter().zip(high).map(|(&low, &high)| code(low) | code(high) << 4);
        scale.to_le_bytes().into_iter().chain(nibbles).collect::<Vec<u8>>()
    };
    values.chunks_exact(BLOCK).flat_map(block).collect()
}

fn q8_0_scale(values: &[f32]) -> f16 {
    f16::from_f32(values.iter().fold(0f32, |a, v| a.max(v.abs())) / 127.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_survive() {
        let values = [0.0, 1.0, -2.5, 0.15625, 65504.0];
        for dtype in [DType::F32, DType::F16] {
            assert_eq!(dtype.decode(&dtype.encode(&values)), values);
        }
        assert_eq!(DType::Bf16.decode(&DType::Bf16.encode(&values[..4])), values[..4]);
    }

    #[test]
    fn a_q8_0_block_by_hand() {
        // scale 0.5 = 0x3800 in f16; codes 0, 1, ..., 30, -127
        let mut block = vec![0x00, 0x38];
        block.extend((0..31).map(|c| c as u8));
        block.push(-127i8 as u8);
        let values = DType::Q8_0.decode(&block);
        assert_eq!(values[..3], [0.0, 0.5, 1.0]);
        assert_eq!(values[31], -63.5);
        assert_eq!(DType::Q8_0.encode(&values), block);
    }

    #[test]
    fn blocks_of_4_and_5_bits_by_hand() {
        // scale 0.5, least number -1 (0xbc00); byte i holds code i below and code 15 - i above
        let nibbles: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
        let (scale, least, fifth) = ([0x00, 0x38], [0x00, 0xbc], 0x8000_0001u32.to_le_bytes());
        let decode = |dtype: DType, parts: &[&[u8]]| {
            let block = parts.concat();
            assert_eq!(dtype.bytes_for(32), Some(block.len()));
            let v = dtype.decode(&block);
            [v[0], v[1], v[15], v[16], v[31]]
        };
        // codes 0, 1, 15, 15, 0; with fifth bits 16, 1, 15, 15, 16
        assert_eq!(decode(DType::Q4_0, &[&scale, &nibbles]), [-4.0, -3.5, 3.5, 3.5, -4.0]);
        assert_eq!(decode(DType::Q4_1, &[&scale, &least, &nibbles]), [-1.0, -0.5, 6.5, 6.5, -1.0]);
        assert_eq!(decode(DType::Q5_0, &[&scale, &fifth, &nibbles]), [0.0, -7.5, -0.5, -0.5, 0.0]);
        assert_eq!(decode(DType::Q5_1, &[&scale, &least, &fifth, &nibbles]), [7.0, -0.5, 6.5, 6.5, 7.0]);
    }

    #[test]
    fn what_is_not_finite_is_seen() {
        use DType::*;
        for dtype in [F32, F16, Bf16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0] {
            let bytes = vec![0x11; 4 * dtype.unit().1];
            assert!(dtype.is_finite(&bytes));
            // every pattern of a number's, a scale's and a least number's two upper bytes
            for at in [dtype.unit().1, dtype.unit().1 + 2] {
                for pattern in 0..=u16::MAX {
                    let mut bytes = bytes.clone();
                    bytes[at..at + 2].copy_from_slice(&pattern.to_le_bytes());
                    let truth = dtype.decode(&bytes).iter().all(|v| v.is_finite());
                    assert_eq!(dtype.is_finite(&bytes), truth, "{} {pattern:x}", dtype.name());
                }
            }
        }
    }

    #[test]
    fn q4_0_errs_by_half_a_step_in_each_block() {
        let values: Vec<f32> =
            (0..640).map(|i| (((i * 37) % 64) as f32 / 7.0 - 4.3) * if i < 320 { 1.0 } else { -0.01 }).collect();
        let bytes = DType::Q4_0.encode(&values);
        assert_eq!(Some(bytes.len()), DType::Q4_0.bytes_for(values.len()));
        let got = DType::Q4_0.decode(&bytes);
        for (values, got) in values.chunks(BLOCK).zip(got.chunks(BLOCK)) {
            let largest = values.iter().fold(0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
            let step = (largest / 8.0).abs();
            for (&v, &g) in values.iter().zip(got) {
                // there is no code for eight steps on the other side
                let most = if v * largest < 0.0 && v.abs() > 7.5 * step { 1.0 } else { 0.5 };
                assert!((v - g).abs() <= step * most * 1.01, "{v} became {g}, steps of {step}");
            }
            let at = values.iter().position(|&v| v == largest).expect("it is there");
            assert!((got[at] - largest).abs() <= largest.abs() * 1e-3, "{largest} became {}", got[at]);
        }
        assert_eq!(DType::Q4_0.decode(&DType::Q4_0.encode(&[0.0; 32])), [0.0; 32]);
        // by hand, as ggml stores it: steps of 0.5, code 0 for the largest, 8 for zero
        let mut values = [0.0; 32];
        (values[0], values[1], values[16], values[31]) = (-4.0, 3.5, 0.5, 4.0);
        let mut block = vec![0x00, 0x38, 0x90, 0x8f];
        block.extend([0x88; 13]);
        block.push(0xf8);
        assert_eq!(DType::Q4_0.encode(&values), block);
    }

    #[test]
    fn rows_have_one_scale() {
        let values: Vec<f32> = (0..128).map(|i| if i < 64 { i as f32 } else { -0.01 }).collect();
        let bytes = encode_q8_0_rows(&values, 64, None);
        let got = DType::Q8_0.decode(&bytes);
        // 63 / 127 and 0.01 / 127 as steps
        assert!((got[1] - 63.0 / 127.0 * 2.0).abs() < 1e-3 && (got[63] - 63.0).abs() < 0.02, "{got:?}");
        assert!(got[64..].iter().all(|v| (v + 0.01).abs() < 1e-5), "{got:?}");
        for (row, got) in bytes.chunks_exact(68).zip(got.chunks_exact(64)) {
            let mut codes = Vec::new();
            let scale = q8_0_row(row, &mut codes).expect("one scale");
            assert_eq!(codes.iter().map(|&c| scale * f32::from(c)).collect::<Vec<_>>(), got);
        }
        assert_eq!(q8_0_row(&DType::Q8_0.encode(&values)[34..102], &mut Vec::new()), None);
    }

    #[test]
    fn rows_that_could_be_ours_are_told() {
        let values: Vec<f32> = (0..256).map(|i| ((i * 37) % 64) as f32 - 31.5).collect();
        let most = Some(quads::WEIGHT_NORM);
        let (free, kept) = (encode_q8_0_rows(&values, 128, None), encode_q8_0_rows(&values, 128, most));
        assert!(are_rows(&kept, 128, most) && are_rows(&kept, 128, None) && are_rows(&free, 128, None));
        assert!(!are_rows(&free, 128, most), "a lane is too large");
        assert!(!are_rows(&free[..free.len() - 34], 128, None), "the last row is too short");
        let changed = |at: usize, byte: u8| {
            let mut bytes = kept.clone();
            bytes[at] = byte;
            bytes
        };
        assert!(!are_rows(&changed(34, 1), 128, most), "two scales");
        assert!(!are_rows(&changed(5, 0x80), 128, most), "-128");
        let infinite: Vec<u8> = kept.chunks(34).flat_map(|block| [&[0, 0x7c], &block[2..]].concat()).collect();
        assert!(!are_rows(&infinite, 128, most));
    }

    /// A row whose lanes are too large for the kernels gets a larger step, but no larger one than it needs; others get none.
    #[test]
    fn lanes_are_kept_within_their_norm() {
        let most = quads::WEIGHT_NORM;
        // the least scales there are, too, where the next one is far from the one before
        for size in [1.0, 6e4, 1e-5, 1e-6, 0.0] {
            for spread in [1.0, 0.1] {
                let noise = |i: usize| (i as f32 * 0.618_034).fract() * 2.0 - 1.0;
                let mut values: Vec<f32> = (0..192).map(|i| size * spread * noise(i)).collect();
                values[5] = size;
                let row = |bytes: &[u8]| {
                    let mut codes = Vec::new();
                    let scale = q8_0_row(bytes, &mut codes).expect("one scale");
                    (codes, scale)
                };
                let (free, free_scale) = row(&encode_q8_0_rows(&values, 192, None));
                let (kept, scale) = row(&encode_q8_0_rows(&values, 192, Some(most)));
                let norm = quads::largest_lane_norm(&kept);
                assert!(norm <= most, "{norm} for {size}, {spread}");
                if quads::largest_lane_norm(&free) <= most {
                    assert_eq!((kept, scale), (free, free_scale));
                } else {
                    assert!(scale > free_scale && (norm > 0.95 * most || size < 1e-4), "{norm} for {size}, {spread}");
                    assert!(values.iter().zip(&kept).all(|(v, &c)| (v - scale * f32::from(c)).abs() <= 0.51 * scale));
                }
            }
        }
    }

    #[test]
    fn q8_0_errs_by_at_most_half_a_step() {
        let values: Vec<f32> = (0..64).map(|i| ((i * 37) % 64) as f32 / 7.0 - 4.0).collect();
        let got = DType::Q8_0.decode(&DType::Q8_0.encode(&values));
        for (a, b) in values.iter().zip(got) {
            assert!((a - b).abs() <= 5.0 / 127.0 * 0.51, "{a} became {b}");
        }
        assert_eq!(DType::Q8_0.decode(&DType::Q8_0.encode(&[0.0; 32])), [0.0; 32]);
        assert_eq!(DType::Q8_0.bytes_for(33), None);
    }
}
