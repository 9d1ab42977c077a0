//! One picture's file seen, by our own decoders or else by the browser's: the same steps in the engine's worker and in its hands.

use js_sys::{ArrayBuffer, Uint8Array};
use oddlens::clip::Encoder;
use oddlens::engine::pipeline::{self, Failure, Sight};
use oddlens::protocol::{Decoder, Pixels, Stage};

use crate::browser_decoder;
use crate::work::now;

/// # Errors
/// When neither can read it; says what our own decoders said, which is the better explanation.
pub async fn look(encoder: &dyn Encoder, file: &ArrayBuffer) -> Result<Sight, Failure> {
    let refused = {
        let bytes = Uint8Array::new(file).to_vec();
        match pipeline::look(encoder, &Pixels::Encoded, &bytes, now) {
            Err(refused) if refused.stage == Stage::Format => refused,
            seen => return seen,
        }
    };
    let Ok((rgba, width, height)) = browser_decoder::decode(file).await else { return Err(refused) };
    pipeline::look(encoder, &Pixels::Rgba { width, height, by: Decoder::Browser }, &rgba, now)
}
