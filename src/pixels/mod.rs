//! From an encoded picture, or from RGBA pixels, to the numbers that CLIP's image tower reads.
//!
//! The journey, one file a step: [`recognise`] tells the format by content and whether the file is whole, [`decode`](mod@decode)
//! turns it into upright 8-bit RGB, [`resample`] shrinks the short side to the model's and cuts the middle square out exactly as
//! Pillow does, [`normalise`](mod@normalise) scales to the model's mean and deviation. [`thumbnail`] makes the small picture that is shown.
//!
//! It does not know the model (its callers pass the side), nor browsers, nor files.
//!
//! Source of the numbers: OpenAI CLIP, `clip/clip.py`, `_transform` (resize bicubic, centre crop, RGB, normalise), which
//! goes through torchvision to Pillow; `tests/pixels.rs` holds every step against Pillow's own output.
pub mod decode;
pub mod normalise;
pub mod recognise;
pub mod resample;
pub mod thumbnail;

pub use decode::decode;
pub use resample::resize_crop;
pub use thumbnail::thumbnail_jpeg;

use std::borrow::Cow;
use thiserror::Error;

/// Pixels in a picture at most. A photo has 12 to 50 million; more would not fit beside a model in a browser tab.
pub const MAX_PIXELS: u64 = 100_000_000;

/// Names the numbers that [`preprocess`] gives: whoever keeps what was computed from them keeps this with it. Raise it whenever a
/// picture gives other numbers than before, be it by decoding, resampling or normalising.
pub const PREPROCESSING_VERSION: u32 = 1;

/// Why bytes are no picture.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PixelsError {
    #[error("empty: expected a picture, got 0 bytes")]
    Empty,
    #[error("no picture recognised: expected {READABLE}, got {looks_like}")]
    Unrecognised { looks_like: &'static str },
    #[error("not read here: expected {READABLE} of a common kind, got {format}{detail}")]
    Unsupported { format: &'static str, detail: String },
    #[error("broken {format}: {detail}")]
    Broken { format: &'static str, detail: String },
    #[error("{width} x {height} pixels: expected at most 100 megapixels, got {}", (u64::from(*.width) * u64::from(*.height)).div_ceil(1_000_000))]
    TooLarge { width: u32, height: u32 },
    #[error("{format} of {width} x {height} pixels: expected to decode within {limit_mb} MB of memory, got no room")]
    Memory { format: &'static str, width: u32, height: u32, limit_mb: u64 },
    #[error("{width} x {height} RGBA pixels: expected {expected} bytes, got {got}")]
    Length { width: u32, height: u32, expected: u64, got: u64 },
}

/// What [`decode`](decode()) reads, for people.
pub const READABLE: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

impl PixelsError {
    /// Is it the format that we do not read? (Then another decoder, a browser's, may.) False where the file is at fault.
    pub fn is_format(&self) -> bool {
        matches!(self, Self::Unrecognised { .. } | Self::Unsupported { .. })
    }
}

/// An upright picture of 8-bit RGB, 1 to [`MAX_PIXELS`] pixels. The constructors keep it so. What comes as RGBA stays where it is, as
/// it is: of 12 megapixels a copy costs as much as all that follows, and its alpha is passed over anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    width: u32,
    height: u32,
    channels: usize,
    samples: Cow<'a, [u8]>,
    format: &'static str,
}

impl<'a> Picture<'a> {
    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of a pixel: 3, or 4 where alpha is among them.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// `h * w * channels` bytes, row-major: red, green, blue and, of four channels, one that has no meaning here.
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// Where it came from: "JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", or "RGBA" for pixels.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// `samples` must hold `h * w * channels` bytes: a promise of this room, not of its users.
    fn new(width: u32, height: u32, channels: usize, samples: Cow<'a, [u8]>, format: &'static str) -> Self {
        assert!(width > 0 && height > 0, "pictures have pixels");
        let expected = u64::from(width) * u64::from(height) * channels as u64;
        assert_eq!(samples.len() as u64, expected, "pictures are h x w x channels");
        Self { width, height, channels, samples, format }
    }

    /// Of `h * w * 3` bytes.
    fn of_rgb(width: u32, height: u32, rgb: Vec<u8>, format: &'static str) -> Self {
        Self::new(width, height, 3, rgb.into(), format)
    }
}

/// A picture from rows of 8-bit RGBA (`h * w * 4` bytes, already upright). Alpha is dropped and colours stay as they are, as Pillow's
/// `convert("RGB")` does: nothing is blended with a background. Borrowed bytes are not copied.
///
/// # Errors
/// [`PixelsError::Empty`] without pixels, [`PixelsError::TooLarge`] above [`MAX_PIXELS`], [`PixelsError::Length`] when the bytes are
/// more or fewer than the sides say.
pub fn from_rgba<'a>(rgba: impl Into<Cow<'a, [u8]>>, width: u32, height: u32) -> Result<Picture<'a>, PixelsError> {
    let rgba = rgba.into();
    check_sides(width, height, "RGBA")?;
    let expected = u64::from(width) * u64::from(height) * 4;
    if rgba.len() as u64 != expected {
        return Err(PixelsError::Length { width, height, expected, got: rgba.len() as u64 });
    }
    Ok(Picture::new(width, height, 4, rgba, "RGBA"))
}

/// Refuses pictures without pixels or with too many, before anything is allocated for them.
fn check_sides(width: u32, height: u32, format: &'static str) -> Result<(), PixelsError> {
    if width == 0 || height == 0 {
        let detail = format!("{width} x {height} pixels: expected at least 1 x 1");
        return Err(PixelsError::Broken { format, detail });
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PixelsError::TooLarge { width, height });
    }
    Ok(())
}

/// What the image tower reads: `[3, size, size]` (channel, row, column), about -2 to 2.7.
///
/// `((resize_crop / 255) - mean) / std`, source as for the [module](self). `size` is in pixels and at least 1 (asserted).
pub fn preprocess(picture: &Picture<'_>, size: usize) -> Vec<f32> {
    normalise::normalise(&resize_crop(picture, size))
}
