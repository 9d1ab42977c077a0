//! 8-bit RGB to the floating-point planes that CLIP was trained on. It does not know where the bytes came from.

/// Mean of red, green and blue in CLIP's training pictures, on a scale of 0 to 1: OpenAI CLIP, `clip/clip.py`, `_transform`.
pub const MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Their standard deviation, same source.
// the digits of the source, though f32 holds fewer
#[allow(clippy::excessive_precision)]
pub const STD: [f32; 3] = [0.26862954, 0.26130258, 0.27577711];

/// `(v / 255 - mean) / std`, in f32 at every step as torchvision computes it.
///
/// `rgb` is `[h, w, 3]`; the result is `[3, h, w]`.
///
/// # Panics
/// When `rgb` is no multiple of three.
pub fn normalise(rgb: &[u8]) -> Vec<f32> {
    let (pixels, []) = rgb.as_chunks::<3>() else { panic!("RGB has three channels, got {} bytes", rgb.len()) };
    let mut planes = Vec::with_capacity(rgb.len());
    for channel in 0..3 {
        // 256 values are possible: divide once for each, not once a pixel.
        let values: [f32; 256] = std::array::from_fn(|v| (v as f32 / 255.0 - MEAN[channel]) / STD[channel]);
        planes.extend(pixels.iter().map(|pixel| values[usize::from(pixel[channel])]));
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_channels_first() {
        let planes = normalise(&[0, 128, 255, 255, 0, 1]);
        // numpy: ((np.float32(v) / np.float32(255)) - mean) / std
        let expected = [-1.7922626, 1.9303361, 0.16889732, -1.7520971, 2.145897, -1.4659997];
        for (got, want) in planes.iter().zip(expected) {
            assert!((got - want).abs() <= 1e-6, "got {got}, expected {want}");
        }
        assert_eq!(planes.len(), 6);
    }
}
