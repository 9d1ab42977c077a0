//! A file of the browser's (picked, dropped, or kept in its own store) as a [`Source`]: ranges of it are read when they are asked for, which only a
//! worker can do at once (`FileReaderSync`, W3C File API).

use std::borrow::Cow;
use std::ops::Range;

use js_sys::Uint8Array;
use oddlens::link::error_text;
use oddlens::weights::WeightsError;
use oddlens::weights::source::{Blocks, Source, room, unreadable};
use web_sys::{Blob, FileReaderSync};

/// A browser's file.
pub struct BlobSource(Blocks<Ranges>);

impl BlobSource {
    /// # Errors
    /// When the browser has no reader for workers.
    pub fn new(blob: Blob) -> Result<Self, String> {
        let reader = FileReaderSync::new().map_err(|e| error_text(&e))?;
        Ok(Self(Blocks::new(Ranges { blob, reader })))
    }
}

impl Source for BlobSource {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        self.0.read(range)
    }
}

/// The same, where each reading is one of the browser's, which takes most of a millisecond.
struct Ranges {
    blob: Blob,
    reader: FileReaderSync,
}

impl Source for Ranges {
    fn size(&self) -> u64 {
        self.blob.size() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        let mut bytes = room(&range)?;
        let blob = self.blob.slice_with_f64_and_f64(range.start as f64, range.end as f64);
        let buffer = blob.and_then(|blob| self.reader.read_as_array_buffer(&blob));
        let buffer = buffer.map_err(|e| unreadable(&range, error_text(&e)))?;
        let buffer = Uint8Array::new(&buffer);
        if buffer.length() as usize != bytes.len() {
            return Err(unreadable(&range, "the file changed while it was read"));
        }
        buffer.copy_to(&mut bytes);
        Ok(Cow::Owned(bytes))
    }
}
