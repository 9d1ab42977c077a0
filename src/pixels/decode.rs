//! Encoded files to upright 8-bit RGB. The decoding itself is the `image` crate's; here is what surrounds it: limits, orientation,
//! and the way from any pixel layout to RGB.
//!
//! Colours become RGB as Pillow's `convert("RGB")` makes them: alpha is dropped and nothing blended, palettes are looked up, of 16
//! bits the high byte is kept. One deviation is wanted: Pillow clips 16-bit grey at 255, which turns it white; here it keeps its
//! high byte like 16-bit RGB. Colour profiles are not applied, as the reference applies none.
use super::recognise::{Format, check_plausible, check_whole, declared_sides, recognise};
use super::{Picture, PixelsError, check_sides};
use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::error::Error;
use std::io::Cursor;

/// Bytes that a decoder may hold: the largest picture we accept with four channels of 16 bits, and working space.
const MAX_MEGABYTES: u64 = 1000;

/// The picture in `bytes`, an encoded file of any format that [`recognise()`] names. EXIF orientation is applied; of an
/// animation the first frame is taken.
///
/// # Errors
/// See [`PixelsError`]. Sides are checked before anything is allocated for the pixels. A truncated file is an error, not half a picture.
pub fn decode(bytes: &[u8]) -> Result<Picture<'static>, PixelsError> {
    let format = recognise(bytes)?;
    let name = format.name();
    if let Some((width, height)) = declared_sides(format, bytes) {
        check_sides(width, height, name)?;
    }
    check_whole(format, bytes)?;

    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_MEGABYTES * 1_000_000);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), codec(format));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| explain(e, name, (0, 0)))?;

    let sides @ (width, height) = decoder.dimensions();
    check_sides(width, height, name)?;
    check_plausible(format, sides, bytes.len())?;
    let orientation = orientation(format, &mut decoder);
    let color = decoder.color_type();
    let no_room = || PixelsError::Memory { format: name, width, height, limit_mb: MAX_MEGABYTES };
    let length = usize::try_from(decoder.total_bytes()).map_err(|_| no_room())?;
    if length as u64 > MAX_MEGABYTES * 1_000_000 {
        return Err(no_room());
    }
    let mut samples = vec![0; length];
    decoder.read_image(&mut samples).map_err(|e| explain(e, name, sides))?;

    let rgb = to_rgb(color, samples)
        .ok_or_else(|| PixelsError::Unsupported { format: name, detail: format!(" with pixels of type {color:?}") })?;
    Ok(upright(Picture::of_rgb(width, height, rgb, name), orientation))
}

fn codec(format: Format) -> ImageFormat {
    match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::WebP => ImageFormat::WebP,
        Format::Gif => ImageFormat::Gif,
        Format::Bmp => ImageFormat::Bmp,
        Format::Tiff => ImageFormat::Tiff,
    }
}

/// How the picture is to be turned. Metadata that cannot be read turns nothing: the pixels are still good.
fn orientation(format: Format, decoder: &mut impl ImageDecoder) -> Orientation {
    let found = match format {
        Format::Tiff => decoder.orientation().ok(),
        // some writers keep JPEG's prefix in PNG and WebP; the decoder looks behind it in JPEG only
        _ => decoder
            .exif_metadata()
            .ok()
            .flatten()
            .and_then(|exif| Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))),
    };
    found.unwrap_or(Orientation::NoTransforms)
}

/// The decoder's refusal in our words: one line.
fn explain(error: ImageError, format: &'static str, (width, height): (u32, u32)) -> PixelsError {
    let reason = |error: &dyn Error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    match &error {
        ImageError::Unsupported(e) => PixelsError::Unsupported { format, detail: format!(" ({})", reason(e)) },
        ImageError::Limits(e) if e.kind() == LimitErrorKind::InsufficientMemory => {
            PixelsError::Memory { format, width, height, limit_mb: MAX_MEGABYTES }
        }
        // its own words repeat the format
        ImageError::Decoding(e) => PixelsError::Broken { format, detail: e.source().map_or_else(|| reason(e), reason) },
        e => PixelsError::Broken { format, detail: reason(e) },
    }
}

/// Where the high byte of a native 16-bit number lies.
const HIGH: usize = if cfg!(target_endian = "little") { 1 } else { 0 };

/// Samples as the decoder lays them out to `h * w * 3` bytes; `None` for a layout that no decoder of ours should give.
fn to_rgb(color: ColorType, samples: Vec<u8>) -> Option<Vec<u8>> {
    Some(match color {
        ColorType::Rgb8 => samples,
        ColorType::L8 => spread::<1>(&samples, 0),
        ColorType::La8 => spread::<2>(&samples, 0),
        ColorType::L16 => spread::<2>(&samples, HIGH),
        ColorType::La16 => spread::<4>(&samples, HIGH),
        ColorType::Rgba8 => squeeze::<4>(&samples, [0, 1, 2]),
        ColorType::Rgb16 => squeeze::<6>(&samples, [HIGH, 2 + HIGH, 4 + HIGH]),
        ColorType::Rgba16 => squeeze::<8>(&samples, [HIGH, 2 + HIGH, 4 + HIGH]),
        ColorType::Rgb32F => round::<12>(&samples),
        ColorType::Rgba32F => round::<16>(&samples),
        _ => return None,
    })
}

/// One byte of each `N` becomes red, green and blue.
fn spread<const N: usize>(samples: &[u8], at: usize) -> Vec<u8> {
    let mut rgb = vec![0; samples.len() / N * 3];
    for (to, from) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(samples.as_chunks::<N>().0) {
        *to = [from[at]; 3];
    }
    rgb
}

/// Three bytes of each `N` become red, green and blue.
fn squeeze<const N: usize>(samples: &[u8], at: [usize; 3]) -> Vec<u8> {
    let mut rgb = vec![0; samples.len() / N * 3];
    for (to, from) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(samples.as_chunks::<N>().0) {
        *to = at.map(|i| from[i]);
    }
    rgb
}

/// Floating point, 0 to 1, in pixels of `N` bytes; outside of that it is clipped.
fn round<const N: usize>(samples: &[u8]) -> Vec<u8> {
    let pixels = samples.as_chunks::<N>().0.iter();
    // `as` takes what is not a number to 0
    let byte = |v: &[u8; 4]| (f32::from_ne_bytes(*v) * 255.0 + 0.5) as u8;
    pixels.flat_map(|pixel| pixel[..12].as_chunks::<4>().0.iter().map(byte)).collect()
}

/// Turns the picture so that it stands upright.
///
/// Every orientation is a walk over the stored pixels: a start, a step to the right and a step down.
/// (EXIF 2.32, tag 274; the comment after each case is its number there.)
fn upright(picture: Picture<'static>, orientation: Orientation) -> Picture<'static> {
    // at most MAX_PIXELS each: they fit
    let (w, h) = (picture.width as isize, picture.height as isize);
    let last = w * h - 1;
    let (start, right, down) = match orientation {
        Orientation::NoTransforms => return picture,        // 1
        Orientation::FlipHorizontal => (w - 1, -1, w),      // 2
        Orientation::Rotate180 => (last, -1, -w),           // 3
        Orientation::FlipVertical => (last + 1 - w, 1, -w), // 4
        Orientation::Rotate90FlipH => (0, w, 1),            // 5
        Orientation::Rotate90 => (last + 1 - w, -w, 1),     // 6
        Orientation::Rotate270FlipH => (last, -w, -1),      // 7
        Orientation::Rotate270 => (w - 1, w, -1),           // 8
    };
    let lies = matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if lies { (h, w) } else { (w, h) };

    let stored = picture.samples.as_chunks::<3>().0;
    let mut rgb = vec![0; picture.samples.len()];
    let turned = rgb.as_chunks_mut::<3>().0;
    // in tiles, so that a walk down the columns finds what it needs in the cache
    const TILE: usize = 64;
    for top in (0..height as usize).step_by(TILE) {
        for left in (0..width as usize).step_by(TILE) {
            for y in top..(top + TILE).min(height as usize) {
                let row = &mut turned[y * width as usize..][left..(left + TILE).min(width as usize)];
                let mut at = start + y as isize * down + left as isize * right;
                for pixel in row {
                    *pixel = stored[at as usize];
                    at += right;
                }
            }
        }
    }
    Picture::of_rgb(width as u32, height as u32, rgb, picture.format)
}
