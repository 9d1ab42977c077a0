//! Bicubic resizing with antialiasing, and the centre crop, bit for bit as Pillow does them.
//!
//! Each output sample is a weighted mean of input samples. The weights are Keys' cubic (R. G. Keys, "Cubic convolution
//! interpolation for digital image processing", 1981, with a = -1/2), stretched by the scale when shrinking so that every input
//! sample counts. Along rows first, along columns second (tall pictures the other way round), rounded to 8 bits
//! after each; weights are integers in units of 2^-22. The order, the rounding and the ranges are those of Pillow's
//! `src/libImaging/Resample.c`, written anew.
//!
//! Only what the crop needs is computed: a picture of 1 x 100,000 pixels would fill gigabytes when resized as a whole.
//! It does not know what the numbers are for.
use super::Picture;

/// Fractional bits of a weight: 32, less 8 of a sample, less 2 for sign and overshoot.
const WEIGHT_BITS: u32 = 22;
/// The cubic reaches two samples to either side.
const CUBIC_SUPPORT: f64 = 2.0;

/// The step before normalising: `[size, size, 3]` bytes, row-major RGB. The short side becomes `size`, the long side
/// `floor(size * long / short)`; of that, the middle square.
///
/// Small pictures are enlarged. The middle begins at `(long - size) / 2`, halves rounded to even.
///
/// # Panics
/// When `size` is 0.
pub fn resize_crop(picture: &Picture, size: usize) -> Vec<u8> {
    assert!(size > 0, "a crop has pixels");
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let short = width.min(height);
    let columns = Taps::of_middle(width, short, size);
    let rows = Taps::of_middle(height, short, size);

    // Rows of the picture that some output row looks at.
    let (first, last) = rows.reach();
    let seen = &picture.rgb()[first * width * 3..last * width * 3];
    if columns_first(width, height, size) {
        columns.across(&rows.down(seen, first, width), width)
    } else {
        rows.down(&columns.across(seen, width), first, size)
    }
}

/// Tall pictures are shrunk along their columns first, since Pillow 13.0 (pull request 9549; earlier ones begin with the rows always).
/// The order shows only in the rounding between the two. The bound was found by trying: 13.0.0 switches where the height exceeds
/// twice the width.
fn columns_first(width: usize, height: usize, size: usize) -> bool {
    width > size && height > 2 * width
}

/// Where each of `size` output samples looks, and with what weights.
struct Taps {
    /// First input sample and count, for each output sample.
    spans: Vec<(usize, usize)>,
    /// `most` weights for each output sample, zero behind its count; in units of 2^-22, they sum to about one.
    weights: Vec<i32>,
    most: usize,
}

impl Taps {
    /// Along one axis of `input` samples, where the shorter axis has `short`: the `size` output samples of the centre crop.
    fn of_middle(input: usize, short: usize, size: usize) -> Self {
        // u64: `size * long` overflows 32 bits. The result is at least `size`.
        let output = size as u64 * input as u64 / short as u64;
        let offset = half_to_even(output - size as u64);

        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let support = CUBIC_SUPPORT * stretch;
        let most = (support.ceil() as usize * 2 + 1).min(input);
        let mut taps = Self { spans: Vec::with_capacity(size), weights: vec![0; size * most], most };
        let mut shares = Vec::with_capacity(most);
        for (i, weights) in taps.weights.chunks_exact_mut(most).enumerate() {
            let centre = ((offset + i as u64) as f64 + 0.5) * scale;
            // `as` truncates towards zero and takes negatives to 0, as the reference's cast and clamp do together.
            let from = (centre - support + 0.5) as usize;
            let to = ((centre + support + 0.5) as usize).min(input);
            shares.clear();
            shares.extend((from..to).map(|x| cubic((x as f64 - centre + 0.5) * (1.0 / stretch))));
            let sum: f64 = shares.iter().sum();
            for (weight, share) in weights.iter_mut().zip(&shares) {
                let units = share / sum * f64::from(1u32 << WEIGHT_BITS);
                *weight = if units < 0.0 { units - 0.5 } else { units + 0.5 } as i32;
            }
            taps.spans.push((from, to - from));
        }
        taps
    }

    /// The input samples that any output sample looks at: first, and one behind the last.
    fn reach(&self) -> (usize, usize) {
        let first = self.spans.first().map_or(0, |&(from, _)| from);
        let last = self.spans.iter().map(|&(from, count)| from + count).max().unwrap_or(0);
        (first, last)
    }

    /// Resizes rows of `width` RGB pixels each to as many pixels as there are spans.
    fn across(&self, rgb: &[u8], width: usize) -> Vec<u8> {
        // A weight for every byte instead of every pixel lets the sum run over contiguous bytes.
        let tripled: Vec<i32> = self.weights.iter().flat_map(|&weight| [weight; 3]).collect();
        let mut narrow = Vec::with_capacity(rgb.len() / width * self.spans.len());
        for row in rgb.chunks_exact(width * 3) {
            for (&(from, count), weights) in self.spans.iter().zip(tripled.chunks_exact(self.most * 3)) {
                let sums = weighted_pixel(&row[from * 3..(from + count) * 3], &weights[..count * 3]);
                narrow.extend(sums.map(to_byte));
            }
        }
        narrow
    }

    /// Resizes columns: `narrow` has rows of `width` RGB pixels, the first of which is row `first` of the picture.
    fn down(&self, narrow: &[u8], first: usize, width: usize) -> Vec<u8> {
        let stride = width * 3;
        let mut result = Vec::with_capacity(self.spans.len() * stride);
        let mut sums = vec![0i32; stride];
        for (&(from, count), weights) in self.spans.iter().zip(self.weights.chunks_exact(self.most)) {
            sums.fill(0);
            let rows = narrow[(from - first) * stride..].chunks_exact(stride);
            for (row, &weight) in rows.take(count).zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(row) {
                    *sum += i32::from(sample) * weight;
                }
            }
            result.extend(sums.iter().map(|&sum| to_byte(sum)));
        }
        result
    }
}

/// Sums `bytes * weights` by channel; both hold whole pixels.
#[inline]
fn weighted_pixel(bytes: &[u8], weights: &[i32]) -> [i32; 3] {
    // Twelve: the least count that is both whole pixels and whole vectors of four.
    const LANES: usize = 12;
    let (byte_blocks, byte_rest) = bytes.as_chunks::<LANES>();
    let (weight_blocks, weight_rest) = weights.as_chunks::<LANES>();
    let mut lanes = [0i32; LANES];
    for (b, w) in byte_blocks.iter().zip(weight_blocks) {
        for i in 0..LANES {
            lanes[i] += i32::from(b[i]) * w[i];
        }
    }
    for (i, (&b, &w)) in byte_rest.iter().zip(weight_rest).enumerate() {
        lanes[i] += i32::from(b) * w;
    }
    std::array::from_fn(|channel| lanes.iter().skip(channel).step_by(3).sum())
}

/// From units of 2^-22 to a byte: rounded half up, clipped (the cubic overshoots).
#[inline]
fn to_byte(sum: i32) -> u8 {
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// `n / 2`, halves to the even neighbour, as Python's `round` has it.
fn half_to_even(n: u64) -> u64 {
    let floor = n / 2;
    if n % 2 == 1 && floor % 2 == 1 { floor + 1 } else { floor }
}

/// Keys' cubic with a = -1/2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < CUBIC_SUPPORT {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbour() {
        // Python: [round(n / 2) for n in range(8)]
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(half_to_even), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn the_cubic_interpolates() {
        // Keys 1981: 1 at 0, 0 at the other integers, -1/16 and 9/16 half-way.
        assert_eq!([0.0, 1.0, -1.0, 2.0, 3.0, 0.5, -1.5].map(cubic), [1.0, 0.0, 0.0, 0.0, 0.0, 0.5625, -0.0625]);
    }

    #[test]
    fn one_colour_stays_one_colour() {
        for (width, height) in [(1, 1), (1, 100_000), (100_000, 1), (7, 3), (300, 200)] {
            let rgb = [9, 130, 255].repeat((width * height) as usize);
            let picture = Picture::new(width, height, rgb, "RGBA");
            let crop = resize_crop(&picture, 17);
            assert_eq!(crop.len(), 17 * 17 * 3);
            assert!(crop.chunks(3).all(|pixel| pixel == [9, 130, 255]), "{width} x {height}");
        }
    }
}
