//! A file of the browser's (picked, dropped, or kept in its own store) as a [`Source`]: ranges of it are read when they are asked for, which only a
//! worker can do at once (`FileReaderSync`, W3C File API).

use std::borrow::Cow;
use std::ops::Range;

use js_sys::Uint8Array;
use oddlens::link::error_text;
use oddlens::weights::WeightsError;
use oddlens::weights::source::{Source, room, unreadable};
use web_sys::{Blob, FileReaderSync};

/// Bytes read in one go: what the browser's side of the memory holds of them besides.
const PORTION: u64 = 8 << 20;

/// A browser's file.
pub struct BlobSource {
    blob: Blob,
    reader: FileReaderSync,
}

impl BlobSource {
    /// # Errors
    /// When the browser has no reader for workers.
    pub fn new(blob: Blob) -> Result<Self, String> {
        Ok(Self { blob, reader: FileReaderSync::new().map_err(|e| error_text(&e))? })
    }
}

impl Source for BlobSource {
    fn size(&self) -> u64 {
        self.blob.size() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        let mut bytes = room(&range)?;
        let mut at = range.start;
        for part in bytes.chunks_mut(PORTION as usize) {
            let end = at + part.len() as u64;
            let blob = self.blob.slice_with_f64_and_f64(at as f64, end as f64);
            let buffer = blob.and_then(|blob| self.reader.read_as_array_buffer(&blob));
            let buffer = buffer.map_err(|e| unreadable(&range, error_text(&e)))?;
            let buffer = Uint8Array::new(&buffer);
            if buffer.length() as usize != part.len() {
                return Err(unreadable(&range, "the file changed while it was read"));
            }
            buffer.copy_to(part);
            at = end;
        }
        Ok(Cow::Owned(bytes))
    }
}
