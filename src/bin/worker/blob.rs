//! A file of the browser's (picked, dropped, or kept in its own store) as a [`Source`]: ranges of it are read when they are asked for, which only a
//! worker can do at once (`FileReaderSync`, W3C File API; `FileSystemSyncAccessHandle`, WHATWG File System).

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use js_sys::Uint8Array;
use oddlens::link::error_text;
use oddlens::weights::WeightsError;
use oddlens::weights::source::{Blocks, Source, room, unreadable};
use wasm_bindgen::JsCast;
use web_sys::{Blob, File, FileReaderSync, FileSystemReadWriteOptions, FileSystemSyncAccessHandle};

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
    pub fn with(blob: Blob, access: Option<FileSystemSyncAccessHandle>) -> Result<Self, String> {
        let reader = FileReaderSync::new().map_err(|e| error_text(&e))?;
        let access = RefCell::new(access.map(Access::new));
        Ok(Self(Rc::new(Blocks::new(Ranges { blob, reader, access }))))
    }
}

impl BlobSource {
    /// The browser's file, where it is a whole one.
    pub fn file(&self) -> Option<File> {
        self.0.inner().blob.dyn_ref().cloned()
    }

    /// Lets the next readings go through `access`, as in [`BlobSource::with`].
    pub fn lend(&self, access: FileSystemSyncAccessHandle) {
        self.0.inner().access.replace(Some(Access::new(access)));
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
        if let Some(access) = &mut *self.access.borrow_mut() {
            access.read(&range, &mut bytes).map_err(|e| unreadable(&range, e))?;
            return Ok(Cow::Owned(bytes));
        }
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

    fn rest(&self) {
        *self.access.borrow_mut() = None;
    }
}

/// An open file of the store, and the memory that is read into: not our own, which threads may share, and into which browsers read nothing then.
struct Access {
    handle: FileSystemSyncAccessHandle,
    portion: Uint8Array,
}

impl Access {
    fn new(handle: FileSystemSyncAccessHandle) -> Self {
        Self { handle, portion: Uint8Array::new_with_length(0) }
    }

    fn read(&mut self, range: &Range<u64>, bytes: &mut [u8]) -> Result<(), String> {
        let size = bytes.len() as u32;
        if self.portion.length() < size {
            self.portion = Uint8Array::new_with_length(size);
        }
        let portion = self.portion.subarray(0, size);
        let at = FileSystemReadWriteOptions::new();
        at.set_at(range.start as f64);
        let n = self.handle.read_with_js_u8_array_and_options(&portion, &at).map_err(|e| error_text(&e))?;
        if n != f64::from(size) {
            return Err("the file changed while it was read".into());
        }
        portion.copy_to(bytes);
        Ok(())
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.handle.close();
    }
}
