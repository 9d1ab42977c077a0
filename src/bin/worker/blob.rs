//! A file of the browser's (picked, dropped, or kept in its own store) as a [`Source`]: ranges of it are read when they are asked for, which only a
//! worker can do at once (`FileReaderSync`, W3C File API; or [`Access`]).

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use js_sys::Uint8Array;
use oddlens::link::error_text;
use oddlens::weights::WeightsError;
use oddlens::weights::source::{Blocks, Source, room, unreadable};
use wasm_bindgen::JsCast;
use web_sys::{Blob, File, FileReaderSync};

use crate::access::Access;
use crate::store;

/// A browser's file.
#[derive(Clone)]
pub struct BlobSource(Rc<Blocks<Ranges>>);

impl BlobSource {
    /// # Errors
    /// When the browser has no reader for workers.
    pub fn new(blob: Blob) -> Result<Self, String> {
        Self::with(blob, None)
    }

    /// The same, read by `access` until the source rests. It takes no new memory for each reading, as the other way does, but nobody can
    /// delete the file meanwhile.
    ///
    /// # Errors
    /// As [`BlobSource::new`].
    pub fn with(blob: Blob, access: Option<Access>) -> Result<Self, String> {
        let reader = FileReaderSync::new().map_err(|e| error_text(&e))?;
        Ok(Self(Rc::new(Blocks::new(Ranges { blob, reader, access: RefCell::new(access) }))))
    }
}

impl BlobSource {
    /// The browser's file, where it is a whole one.
    pub fn file(&self) -> Option<File> {
        self.0.inner().blob.dyn_ref().cloned()
    }

    /// Lets the next readings go through `access`, as in [`BlobSource::with`].
    pub fn lend(&self, access: Access) {
        self.0.inner().access.replace(Some(access));
    }
}

impl Source for BlobSource {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        self.0.read(range)
    }

    fn rest(&self) {
        self.0.rest();
    }
}

/// The same, where each reading is one of the browser's, which takes most of a millisecond.
struct Ranges {
    blob: Blob,
    reader: FileReaderSync,
    access: RefCell<Option<Access>>,
}

impl Source for Ranges {
    fn size(&self) -> u64 {
        self.blob.size() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        let mut bytes = room(&range)?;
        if let Some(access) = &*self.access.borrow() {
            access.read(range.start, &mut bytes).map_err(|e| unreadable(&range, e))?;
            return Ok(Cow::Owned(bytes));
        }
        let blob = self.blob.slice_with_f64_and_f64(range.start as f64, range.end as f64);
        let buffer = blob.and_then(|blob| self.reader.read_as_array_buffer(&blob));
        let buffer = buffer.map_err(|e| match store::is_gone(&e) {
            true => unreadable(&range, "it is not there any more"),
            false => unreadable(&range, error_text(&e)),
        })?;
        let buffer = Uint8Array::new(&buffer);
        if buffer.length() as usize != bytes.len() {
            return Err(unreadable(&range, "the file changed while it was read"));
        }
        buffer.copy_to(&mut bytes);
        Ok(Cow::Owned(bytes))
    }

    fn rest(&self) {
        *self.access.borrow_mut() = None;
    }
}
