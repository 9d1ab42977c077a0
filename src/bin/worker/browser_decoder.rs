//! Pixels from the browser: its own decoders (AVIF, HEIC where it has them) and camera pictures. Nothing is resized here;
//! what a canvas gives back is checked, because some browsers falsify it against fingerprinting.

use js_sys::{Array, ArrayBuffer, Uint8ClampedArray};
use oddlens::link::error_text;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, ImageBitmap, ImageData, OffscreenCanvas, OffscreenCanvasRenderingContext2d, WorkerGlobalScope};

/// Pixels above which a picture is not read: 400 MB of RGBA, what a tab can spare.
const MAX_PIXELS: u64 = 100_000_000;

/// Rows of RGBA, width, height.
pub type Rgba = (Vec<u8>, u32, u32);

/// Decodes a file with the browser's decoder, upright.
///
/// # Errors
/// When the browser cannot read it either.
pub async fn decode(file: &ArrayBuffer) -> Result<Rgba, String> {
    let blob = Blob::new_with_u8_array_sequence(&Array::of1(file)).map_err(|e| error_text(&e))?;
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    let promise = scope.create_image_bitmap_with_blob(&blob).map_err(|e| error_text(&e))?;
    let bitmap: ImageBitmap = JsFuture::from(promise).await.map_err(|e| error_text(&e))?.unchecked_into();
    let read = read(&bitmap);
    bitmap.close();
    read
}

/// The bitmap's pixels.
///
/// # Errors
/// When it is empty or too large, or the browser has no canvas for workers.
pub fn read(bitmap: &ImageBitmap) -> Result<Rgba, String> {
    let (width, height) = (bitmap.width(), bitmap.height());
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("expected a picture of 1 to {MAX_PIXELS} pixels, got {width} x {height}"));
    }
    let context = canvas(width, height)?;
    context.draw_image_with_image_bitmap(bitmap, 0.0, 0.0).map_err(|e| error_text(&e))?;
    let data = context.get_image_data(0.0, 0.0, f64::from(width), f64::from(height)).map_err(|e| error_text(&e))?;
    Ok((data.data().0, width, height))
}

/// Puts known opaque pixels on a canvas and reads them back: do they differ?
pub fn canvas_is_noisy() -> bool {
    const SIDE: u32 = 16;
    let mut pixels: Vec<u8> = (0..SIDE * SIDE * 4).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for alpha in pixels.iter_mut().skip(3).step_by(4) {
        *alpha = 255;
    }
    let round = || -> Option<bool> {
        let context = canvas(SIDE, SIDE).ok()?;
        // a copy: browsers take no pixels from memory that threads share
        let copy = Uint8ClampedArray::from(&pixels[..]);
        let data = ImageData::new_with_js_u8_clamped_array_and_sh(&copy, SIDE, SIDE).ok()?;
        context.put_image_data(&data, 0.0, 0.0).ok()?;
        let back = context.get_image_data(0.0, 0.0, f64::from(SIDE), f64::from(SIDE)).ok()?;
        Some(back.data().0 != pixels)
    };
    round().unwrap_or(true)
}

fn canvas(width: u32, height: u32) -> Result<OffscreenCanvasRenderingContext2d, String> {
    let canvas = OffscreenCanvas::new(width, height).map_err(|e| error_text(&e))?;
    let options = js_sys::Object::new();
    // keeps the pixels in ordinary memory, where they are read from
    js_sys::Reflect::set(&options, &"willReadFrequently".into(), &true.into()).map_err(|e| error_text(&e))?;
    let context = canvas.get_context_with_context_options("2d", &options).map_err(|e| error_text(&e))?;
    context.and_then(|c| c.dyn_into().ok()).ok_or_else(|| "this browser has no canvas for workers".to_owned())
}
