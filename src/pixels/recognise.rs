//! What a file is, told by its content, and whether it is all there. It decodes nothing and trusts no name.
//!
//! The decoders are lenient: some fill the missing half of a truncated picture with grey. A score of half a picture
//! would look like a score of the whole, so a file that ends before its own end is refused here.
//!
//! Sources: ITU T.81 annex B (JPEG markers), the PNG specification (chunks), the GIF89a specification (blocks), the WebP container
//! specification (RIFF), ISO/IEC 14496-12 (`ftyp`).
use super::PixelsError;

/// A format that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Format {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        }
    }
}

/// The format of `bytes`.
///
/// # Errors
/// [`PixelsError::Empty`], [`PixelsError::Unsupported`] with the name of a picture format that we do not read, or
/// [`PixelsError::Unrecognised`] with a guess at what else it may be.
pub fn recognise(bytes: &[u8]) -> Result<Format, PixelsError> {
    let other = |format| Err(PixelsError::Unsupported { format, detail: String::new() });
    match bytes {
        [] => Err(PixelsError::Empty),
        [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Ok(Format::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Format::Gif),
        // two letters are little evidence: the length of the second header must be one that exists, too
        [b'B', b'M', _, _, _, _, _, _, _, _, _, _, _, _, 12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0, ..] => {
            Ok(Format::Bmp)
        }
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Format::Tiff),
        [_, _, _, _, b'f', b't', b'y', b'p', brands @ ..] => Err(by_brand(bytes, brands)),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => other("JPEG XL"),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => other("JPEG 2000"),
        [0, 0, 1, 0, ..] => other("ICO"),
        [b'8', b'B', b'P', b'S', ..] => other("Photoshop"),
        [b'q', b'o', b'i', b'f', ..] => other("QOI"),
        [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r', ..] => other("PNM"),
        [0x76, 0x2f, 0x31, 0x01, ..] => other("OpenEXR"),
        [b'%', b'P', b'D', b'F', ..] => Err(PixelsError::Unrecognised { looks_like: "a PDF document" }),
        [b'P', b'K', 3, 4, ..] => Err(PixelsError::Unrecognised { looks_like: "a ZIP archive" }),
        _ => Err(as_text(bytes)),
    }
}

/// An ISO base media file, named by its brands: the major one, a version, then the compatible ones, four bytes each.
fn by_brand(bytes: &[u8], brands: &[u8]) -> PixelsError {
    let box_length = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let brands = &brands[..brands.len().min(box_length.saturating_sub(8)).min(256)];
    let has = |wanted: &[&[u8; 4]]| brands.as_chunks::<4>().0.iter().any(|brand| wanted.contains(&brand));
    if has(&[b"avif", b"avis"]) {
        PixelsError::Unsupported { format: "AVIF", detail: String::new() }
    } else if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) {
        PixelsError::Unsupported { format: "HEIC", detail: String::new() }
    } else {
        PixelsError::Unrecognised { looks_like: "a video" }
    }
}

/// Text, or nothing known.
fn as_text(bytes: &[u8]) -> PixelsError {
    // enough for an XML declaration, a comment and the root element
    let head = &bytes[..bytes.len().min(1024)];
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start().to_ascii_lowercase();
    let holds = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    let looks_like = if head.starts_with(b"<!doctype html") || head.starts_with(b"<html") {
        "an HTML page"
    } else if head.starts_with(b"<svg") || (head.starts_with(b"<") && holds(b"<svg")) {
        return PixelsError::Unsupported { format: "SVG", detail: String::new() };
    } else if head.starts_with(b"<?xml") {
        "an XML document"
    } else if head.iter().all(|&byte| byte >= 0x20 || byte.is_ascii_whitespace()) {
        "text"
    } else {
        "unknown bytes"
    };
    PixelsError::Unrecognised { looks_like }
}

/// Does the file reach its own end? BMP and TIFF say nowhere where that is; their decoders miss what is missing.
///
/// # Errors
/// [`PixelsError::Broken`], with what was expected.
pub fn check_whole(format: Format, bytes: &[u8]) -> Result<(), PixelsError> {
    let (whole, end) = match format {
        Format::Jpeg => (jpeg_ends(bytes), "end-of-image marker"),
        Format::Png => (png_ends(bytes), "IEND chunk"),
        Format::WebP => (webp_ends(bytes), "last chunk's end"),
        Format::Gif => (gif_ends(bytes), "trailer"),
        Format::Bmp | Format::Tiff => (Some(()), ""),
    };
    whole.ok_or_else(|| PixelsError::Broken {
        format: format.name(),
        detail: format!("truncated: expected its {end}, got the end of the file after {} bytes", bytes.len()),
    })
}

/// Width and height by the first bytes of a file, where they say it: so that of a picture that is both too large and incomplete the
/// more telling is said. The decoders' word counts for the rest.
pub fn declared_sides(format: Format, bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    match format {
        Format::Png if bytes.get(12..16)? == b"IHDR" => Some((number(16)?, number(20)?)),
        _ => None,
    }
}

/// Can `length` bytes hold a picture of these sides? Room for the pixels is made before they are read, so a short file must not claim many.
///
/// A deflated PNG of one bit a pixel packs tightest: 8 pixels a byte, times 1,032 (RFC 1951: a match of 258 bytes in two bits). JPEG has
/// 512 pixels a byte (one bit for each 8 x 8 block), GIF 2,730 (4,095 pixels in a code of 12 bits). Twice the most is allowed. WebP and TIFF can have
/// one colour in no bits at all: there the limit on pixels must do.
///
/// # Errors
/// [`PixelsError::Broken`].
pub fn check_plausible(format: Format, (width, height): (u32, u32), length: usize) -> Result<(), PixelsError> {
    const PIXELS_A_BYTE: u64 = 2 * 8 * 1032;
    let pixels = u64::from(width) * u64::from(height);
    match format {
        Format::WebP | Format::Tiff => Ok(()),
        _ if pixels <= PIXELS_A_BYTE * length as u64 => Ok(()),
        _ => Err(PixelsError::Broken {
            format: format.name(),
            detail: format!(
                "{width} x {height} pixels: expected at least {} bytes, got {length}",
                pixels.div_ceil(PIXELS_A_BYTE)
            ),
        }),
    }
}

/// Markers, skipping segments by their length (a thumbnail in one has an end marker of its own) and entropy-coded data by looking
/// for the next marker.
fn jpeg_ends(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes.get(2..)?;
    loop {
        let marker = rest.iter().position(|&byte| byte == 0xff)?;
        let code = marker + rest[marker..].iter().position(|&byte| byte != 0xff)?;
        let segment = &rest[code + 1..];
        rest = match rest[code] {
            0xd9 => return Some(()),
            // a stuffed zero in the data, TEM, restarts, a start of image: nothing follows that has a length
            0x00 | 0x01 | 0xd0..=0xd8 => segment,
            _ => segment.get(usize::from(u16::from_be_bytes(*segment.first_chunk()?))..)?,
        };
    }
}

fn png_ends(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        // length, type, data, checksum
        let next = rest.get(length.checked_add(12)?..)?;
        if rest[4..8] == *b"IEND" {
            return Some(());
        }
        rest = next;
    }
}

/// The decoder makes room for a chunk of metadata as long as its header says: none may reach beyond the file.
fn webp_ends(bytes: &[u8]) -> Option<()> {
    let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
    let mut rest = bytes.get(12..length.checked_add(8)?)?;
    while rest.len() >= 8 {
        let length = u32::from_le_bytes(*rest[4..].first_chunk()?) as usize;
        rest = rest[8..].get(length..)?;
        // chunks are padded to an even length; the last one's padding may be missing
        rest = rest.get(length % 2..).unwrap_or_default();
    }
    Some(())
}

fn gif_ends(bytes: &[u8]) -> Option<()> {
    // bit 7: there is a table; bits 0 to 2: it has 2^(n+1) colours of three bytes
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut rest = bytes.get(13 + table(*bytes.get(10)?)..)?;
    loop {
        let (&kind, block) = rest.split_first()?;
        rest = match kind {
            b'!' => skip_sub_blocks(block.get(1..)?)?,
            b',' => skip_sub_blocks(block.get(10 + table(*block.get(8)?)..)?)?,
            0 => block,
            // the trailer; or no known block, of which the decoder will say what it thinks
            _ => return Some(()),
        };
    }
}

/// Behind a run of GIF sub-blocks (length, bytes) that ends with one of length 0.
fn skip_sub_blocks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, block) = rest.split_first()?;
        rest = block.get(usize::from(length)..)?;
        if length == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_is_named() {
        let said = |bytes: &[u8]| recognise(bytes).map_err(|e| (e.is_format(), e.to_string()));
        for (bytes, is_format, name) in [
            (&b""[..], false, "got 0 bytes"),
            (b"hello there", true, "got text"),
            (b"\n<!DOCTYPE html><svg>", true, "got an HTML page"),
            (b"<?xml version='1.0'?><!-- x --><svg/>", true, "got SVG"),
            (b"\xef\xbb\xbf <SVG xmlns=''>", true, "got SVG"),
            (b"<?xml version='1.0'?><rss/>", true, "got an XML document"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", true, "got HEIC"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", true, "got AVIF"),
            (b"\0\0\0\x18ftypisom\0\0\0\0mp41avif", true, "got AVIF"),
            (b"\0\0\0\x14ftypisom\0\0\0\0mp41avif", true, "got a video"),
            (b"\xff\x0a\x00", true, "got JPEG XL"),
            (b"BMW is a car, not a picture", true, "got text"),
            (b"%PDF-1.7", true, "got a PDF document"),
            (&[7, 3, 0, 1], true, "got unknown bytes"),
        ] {
            let (format_error, message) = said(bytes).expect_err(name);
            assert_eq!(format_error, is_format, "{message}");
            assert!(message.ends_with(name), "expected ... {name}, got {message}");
        }
    }

    #[test]
    fn an_end_inside_a_jpeg_segment_is_not_the_end() {
        let inner = b"\xff\xd8\xff\xe1\x00\x06\xff\xd9\xff\xd9\xff\xda\x00\x02\x11\xff\x00\x22\xff\xd0";
        assert!(check_whole(Format::Jpeg, inner).is_err());
        assert!(check_whole(Format::Jpeg, &[inner, &b"\xff\xff\xd9"[..]].concat()).is_ok());
    }
}
