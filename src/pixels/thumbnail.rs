//! A small JPEG of a picture, to be shown. It need not be exact: each pixel is the mean of the pixels it covers.
use super::Picture;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

/// Good enough for a card, a few kilobytes large.
const QUALITY: u8 = 80;
/// The longest side that JPEG can say.
const MAX_SIDE: u32 = 65_535;

/// A JPEG that fits into `side` x `side` pixels and keeps the aspect (no side gets shorter than 1 pixel). Small pictures keep their size.
pub fn thumbnail_jpeg(picture: &Picture<'_>, side: u32) -> Vec<u8> {
    let (width, height) = fit(picture.width(), picture.height(), side.clamp(1, MAX_SIDE));
    let shrink = if picture.channels() == 3 { shrink::<3> } else { shrink::<4> };
    let rgb = shrink(picture, width as usize, height as usize);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&rgb, width, height, ExtendedColorType::Rgb8)
        .expect("writing to memory cannot fail, sides are 1 to 65,535 and the buffer is made for them");
    jpeg
}

/// The sides of a picture that fits into `side` x `side`.
fn fit(width: u32, height: u32, side: u32) -> (u32, u32) {
    let long = u64::from(width.max(height));
    if long <= u64::from(side) {
        return (width, height);
    }
    let scaled = |n: u32| ((u64::from(n) * u64::from(side) + long / 2) / long).max(1) as u32;
    (scaled(width), scaled(height))
}

/// Means over boxes that share no pixel and leave none out. `width` and `height` are at most the picture's, and `N` are its channels.
fn shrink<const N: usize>(picture: &Picture<'_>, width: usize, height: usize) -> Vec<u8> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    // products of sides overflow 32 bits on wasm32
    let edge = |i: usize, of: usize, n: usize| (i as u64 * of as u64 / n as u64) as usize;
    let columns: Vec<_> = (0..width).map(|x| edge(x, w, width)..edge(x + 1, w, width)).collect();
    let mut rgb = Vec::with_capacity(width * height * 3);
    let mut sums = vec![[0u64; 3]; width];
    for y in 0..height {
        sums.fill([0; 3]);
        let rows = edge(y, h, height)..edge(y + 1, h, height);
        for row in picture.samples()[rows.start * w * N..rows.end * w * N].chunks_exact(w * N) {
            let pixels = row.as_chunks::<N>().0;
            for (sum, span) in sums.iter_mut().zip(&columns) {
                for pixel in &pixels[span.clone()] {
                    for (s, &v) in sum.iter_mut().zip(pixel) {
                        *s += u64::from(v);
                    }
                }
            }
        }
        for (sum, span) in sums.iter().zip(&columns) {
            let count = (span.len() * rows.len()) as u64;
            rgb.extend(sum.map(|s| ((s + count / 2) / count) as u8));
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::super::from_rgba;
    use super::*;

    #[test]
    fn it_fits_and_keeps_the_aspect() {
        assert_eq!(fit(4000, 3000, 256), (256, 192));
        assert_eq!(fit(3000, 4000, 256), (192, 256));
        assert_eq!(fit(10, 20, 256), (10, 20));
        assert_eq!(fit(5000, 7, 100), (100, 1));
        assert_eq!(fit(100_000_000, 1, 65_535), (65_535, 1));
    }

    #[test]
    fn each_pixel_is_the_mean_of_those_it_covers() {
        let grey = |values: &[u8]| values.iter().flat_map(|&v| [v; 3]).collect::<Vec<_>>();
        let picture = Picture::of_rgb(5, 2, grey(&[0, 10, 20, 30, 40, 2, 12, 22, 32, 42]), "RGBA");
        // columns 0 to 1 and 2 to 4, both rows: 24 / 4 and 186 / 6
        assert_eq!(shrink::<3>(&picture, 2, 1), grey(&[6, 31]));
        assert_eq!(shrink::<3>(&picture, 5, 2), picture.samples());
        let rgba: Vec<u8> = picture.samples().chunks(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 77]).collect();
        assert_eq!(shrink::<4>(&from_rgba(rgba, 5, 2).expect("pixels"), 2, 1), grey(&[6, 31]));
    }

    #[test]
    fn it_is_a_jpeg() {
        let picture = Picture::of_rgb(300, 100, [200, 40, 40].repeat(30_000), "RGBA");
        let jpeg = super::super::decode(&thumbnail_jpeg(&picture, 60)).expect("a JPEG");
        assert_eq!((jpeg.width(), jpeg.height(), jpeg.format()), (60, 20, "JPEG"));
        assert!(jpeg.samples().iter().zip([200u8, 40, 40].iter().cycle()).all(|(a, b)| a.abs_diff(*b) <= 3));
        assert_eq!(thumbnail_jpeg(&picture, 0)[..2], [0xff, 0xd8]);
    }
}
