//! Bicubic resizing with antialiasing, and the centre crop, bit for bit as Pillow does them.
//!
//! Each output sample is a weighted mean of input samples. The weights are Keys' cubic (R. G. Keys, "Cubic convolution
//! interpolation for digital image processing", 1981, with a = -1/2), stretched by the scale when shrinking so that every input
//! sample counts. Along rows first, along columns second (tall pictures the other way round), rounded to 8 bits
//! after each; weights are integers in units of 2^-22. The order, the rounding and the ranges are those of Pillow's
//! `src/libImaging/Resample.c`, written anew.
//!
//! Only what the crop needs is computed: a picture of 1 x 100,000 pixels would fill gigabytes when resized as a whole.
//! The sums themselves are taken by [`taps`]. It does not know what the numbers are for.
use super::Picture;
use crate::kernels::taps::{self, Pixel, Taps, WEIGHT_BITS};
use std::ops::Range;

/// The cubic reaches two samples to either side.
const CUBIC_SUPPORT: f64 = 2.0;

/// The step before normalising: `[size, size, 3]` bytes, row-major RGB. The short side becomes `size`, the long side
/// `floor(size * long / short)`; of that, the middle square.
///
/// Small pictures are enlarged. The middle begins at `(long - size) / 2`, halves rounded to even.
///
/// # Panics
/// When `size` is 0.
pub fn resize_crop(picture: &Picture<'_>, size: usize) -> Vec<u8> {
    assert!(size > 0, "a crop has pixels");
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let short = width.min(height);
    let columns = Means::of_middle(width, short, size);
    let rows = Means::of_middle(height, short, size);

    let stride = width * picture.channels();
    let seen = rows.reach();
    let seen = &picture.samples()[seen.start * stride..seen.end * stride];
    let crop = if columns_first(width, height, size) {
        columns.across(&rows.down(seen, stride), picture.channels()).into_flattened()
    } else {
        rows.down(columns.across(seen, picture.channels()).as_flattened(), size * 4)
    };
    crop.as_chunks::<4>().0.iter().flat_map(|&[red, green, blue, _]| [red, green, blue]).collect()
}

/// Tall pictures are shrunk along their columns first, since Pillow 13.0 (pull request 9549; earlier ones begin with the rows always).
/// The order shows only in the rounding between the two. The bound was found by trying: 13.0.0 switches where the height exceeds
/// twice the width.
fn columns_first(width: usize, height: usize, size: usize) -> bool {
    width > size && height > 2 * width
}

/// Along one axis: where each of `size` output samples looks, and with what weights.
struct Means {
    /// Samples of the input along this axis.
    input: usize,
    /// The first of them and the count, for each output sample.
    spans: Vec<(usize, usize)>,
    /// `most` weights for each output sample, zero behind its count; in units of 2^-22, they sum to about one.
    weights: Vec<i32>,
    most: usize,
}

impl Means {
    /// Along an axis of `input` samples, where the shorter axis has `short`: the `size` output samples of the centre crop.
    fn of_middle(input: usize, short: usize, size: usize) -> Self {
        // u64: `size * long` overflows 32 bits. The result is at least `size`.
        let output = size as u64 * input as u64 / short as u64;
        let offset = half_to_even(output - size as u64);

        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let support = CUBIC_SUPPORT * stretch;
        let most = (support.ceil() as usize * 2 + 1).min(input);
        let mut means = Self { input, spans: Vec::with_capacity(size), weights: vec![0; size * most], most };
        let mut shares = Vec::with_capacity(most);
        for (i, weights) in means.weights.chunks_exact_mut(most).enumerate() {
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
            means.spans.push((from, to - from));
        }
        means
    }

    /// First input sample and weights of each output sample.
    fn windows(&self) -> impl Iterator<Item = (usize, &[i32])> + Clone {
        let weights = self.weights.chunks_exact(self.most);
        self.spans.iter().zip(weights).map(|(&(from, count), weights)| (from, &weights[..count]))
    }

    /// The input samples that any output sample looks at.
    fn reach(&self) -> Range<usize> {
        let first = self.spans.first().map_or(0, |&(from, _)| from);
        let last = self.spans.iter().map(|&(from, count)| from + count).max().unwrap_or(0);
        first..last
    }

    /// Resizes rows of pixels of so many channels: `[rows][size]` pixels of four.
    fn across(&self, rows: &[u8], channels: usize) -> Vec<Pixel> {
        let taps = Taps::new(self.input, self.windows());
        let mut narrow = vec![[0; 4]; rows.len() / (self.input * channels) * taps.output()];
        if channels == 4 {
            taps::best().across(&taps, rows.as_chunks().0, &mut narrow);
            return narrow;
        }
        // so few rows at a time that they are still in the cache when they are read
        const ROWS: usize = 2;
        let seen = self.reach();
        let mut wide = vec![[0; 4]; ROWS * self.input];
        for (rows, narrow) in rows.chunks(ROWS * self.input * 3).zip(narrow.chunks_mut(ROWS * taps.output())) {
            let wide = &mut wide[..rows.len() / 3];
            for (row, wide) in rows.chunks_exact(self.input * 3).zip(wide.chunks_exact_mut(self.input)) {
                widen(&row[seen.start * 3..seen.end * 3], &mut wide[seen.clone()]);
            }
            taps::best().across(&taps, wide, narrow);
        }
        narrow
    }

    /// Resizes columns: `seen` has rows of `stride` bytes, all that are within [`Self::reach`]. The result has as many rows as there
    /// are output samples.
    fn down(&self, seen: &[u8], stride: usize) -> Vec<u8> {
        let reach = self.reach();
        let taps = Taps::new(reach.len(), self.windows().map(|(from, weights)| (from - reach.start, weights)));
        let mut result = vec![0; taps.output() * stride];
        taps::best().down(&taps, seen, &mut result);
        result
    }
}

/// Pixels of three bytes to pixels of four, the last of which has no meaning.
fn widen(rgb: &[u8], wide: &mut [Pixel]) {
    // Four bytes are read and written at once: the fourth is the next pixel's first. The last pixel has no next one.
    for (wide, four) in wide.iter_mut().zip(rgb.windows(4).step_by(3)) {
        wide.copy_from_slice(four);
    }
    if let (Some(wide), Some(rgb)) = (wide.last_mut(), rgb.last_chunk::<3>()) {
        wide[..3].copy_from_slice(rgb);
    }
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
    use super::super::from_rgba;
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

    /// The crop by its formula, in i64, of the whole picture.
    fn plain(rgb: &[u8], width: usize, height: usize, size: usize) -> Vec<u8> {
        let short = width.min(height);
        let (columns, rows) = (Means::of_middle(width, short, size), Means::of_middle(height, short, size));
        let mean = |samples: &[u8], step: usize, weights: &[i32]| {
            let terms = samples.iter().step_by(step).zip(weights);
            let sum: i64 = terms.map(|(&v, &weight)| i64::from(v) * i64::from(weight)).sum();
            ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
        };
        let across = |rgb: &[u8]| -> Vec<u8> {
            let pixel =
                |row: &[u8], first: usize, weights: &[i32]| [0, 1, 2].map(|c| mean(&row[first * 3 + c..], 3, weights));
            let row = |row| columns.windows().flat_map(move |(first, weights)| pixel(row, first, weights));
            rgb.chunks(width * 3).flat_map(row).collect()
        };
        let down = |rgb: &[u8], stride: usize| -> Vec<u8> {
            let row = |(first, weights)| (0..stride).map(move |x| mean(&rgb[first * stride + x..], stride, weights));
            rows.windows().flat_map(row).collect()
        };
        if columns_first(width, height, size) { across(&down(rgb, width * 3)) } else { down(&across(rgb), size * 3) }
    }

    #[test]
    fn crops_follow_the_formula() {
        let sides = [1, 2, 3, 5, 7, 8, 9, 13, 16, 17, 40, 67, 120];
        let mut seed = 1u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        for (width, height) in sides.into_iter().flat_map(|w| sides.map(|h| (w, h))) {
            let random: Vec<u8> = (0..width * height * 3).map(|_| noise()).collect();
            // nothing but 0 and 255: sums are largest, and overshoot is clipped
            let stark: Vec<u8> = random.iter().map(|v| if *v < 128 { 0 } else { 255 }).collect();
            for (rgb, size) in [(&random, 1), (&random, 5), (&random, 17), (&stark, 17), (&random, 32)] {
                let (w, h) = (width as u32, height as u32);
                let expected = plain(rgb, width, height, size);
                let what = format!("{width} x {height} to {size}");
                assert!(resize_crop(&Picture::of_rgb(w, h, rgb.clone(), "RGBA"), size) == expected, "{what}, RGB");
                let rgba: Vec<u8> = rgb.chunks(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], noise()]).collect();
                assert!(resize_crop(&from_rgba(rgba, w, h).expect("pixels"), size) == expected, "{what}, RGBA");
            }
        }
    }

    #[test]
    fn one_colour_stays_one_colour() {
        for (width, height) in [(1, 1), (1, 100_000), (100_000, 1), (7, 3), (300, 200)] {
            let rgb = [9, 130, 255].repeat((width * height) as usize);
            let picture = Picture::of_rgb(width, height, rgb, "RGBA");
            let crop = resize_crop(&picture, 17);
            assert_eq!(crop.len(), 17 * 17 * 3);
            assert!(crop.chunks(3).all(|pixel| pixel == [9, 130, 255]), "{width} x {height}");
        }
    }
}
