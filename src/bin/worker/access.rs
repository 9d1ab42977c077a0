//! An open file of the browser's own store (`FileSystemSyncAccessHandle`, WHATWG File System), and the memory through which its bytes go: not
//! our own, which threads may share, and with which browsers then read and write nothing. It is one and the same for all that is read and
//! written: a new one for each time would wait for the browser's collector, and a model's worth of them would fill memory.

use std::cell::RefCell;

use js_sys::Uint8Array;
use oddlens::link::error_text;
use web_sys::{FileSystemReadWriteOptions, FileSystemSyncAccessHandle};

/// Bytes that are read or written in one go.
pub const PORTION: usize = 4 << 20;

/// Such a file; closed when this is dropped.
pub struct Access {
    handle: FileSystemSyncAccessHandle,
    portion: RefCell<Uint8Array>,
}

impl Access {
    pub fn new(handle: FileSystemSyncAccessHandle) -> Self {
        Self { handle, portion: RefCell::new(Uint8Array::new_with_length(0)) }
    }

    /// Bytes in the file.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn size(&self) -> Result<u64, String> {
        self.handle.get_size().map(|size| size as u64).map_err(|e| error_text(&e))
    }

    /// Fills `bytes` with what begins at `start`.
    ///
    /// # Errors
    /// When there is not as much, or the browser refuses.
    pub fn read(&self, start: u64, bytes: &mut [u8]) -> Result<(), String> {
        let mut at = start;
        for bytes in bytes.chunks_mut(PORTION) {
            let portion = self.portion(bytes.len());
            let n = self.handle.read_with_js_u8_array_and_options(&portion, &place(at)).map_err(|e| error_text(&e))?;
            if n != bytes.len() as f64 {
                return Err("the file changed while it was read".into());
            }
            portion.copy_to(bytes);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Writes `bytes` from `start` on.
    ///
    /// # Errors
    /// When there is no room.
    pub fn write(&self, start: u64, bytes: &[u8]) -> Result<(), String> {
        let mut at = start;
        for bytes in bytes.chunks(PORTION) {
            let portion = self.portion(bytes.len());
            portion.copy_from(bytes);
            self.write_from(at, &portion)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// [`Access::write`] of what lies in the browser's memory already.
    ///
    /// # Errors
    /// As there.
    pub fn write_from(&self, start: u64, bytes: &Uint8Array) -> Result<(), String> {
        let n = self.handle.write_with_js_u8_array_and_options(bytes, &place(start)).map_err(|e| error_text(&e))?;
        let expected = bytes.length();
        if n == f64::from(expected) { Ok(()) } else { Err(format!("only {n} of {expected} bytes could be written")) }
    }

    /// # Errors
    /// When the browser refuses.
    pub fn clear(&self) -> Result<(), String> {
        self.handle.truncate_with_u32(0).map_err(|e| error_text(&e))
    }

    /// # Errors
    /// When the browser refuses.
    pub fn flush(&self) -> Result<(), String> {
        self.handle.flush().map_err(|e| error_text(&e))
    }

    /// The memory for so many bytes, [`PORTION`] at most.
    fn portion(&self, bytes: usize) -> Uint8Array {
        let mut portion = self.portion.borrow_mut();
        if (portion.length() as usize) < bytes {
            *portion = Uint8Array::new_with_length(bytes as u32);
        }
        portion.subarray(0, bytes as u32)
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// From where on is read or written.
fn place(start: u64) -> FileSystemReadWriteOptions {
    let options = FileSystemReadWriteOptions::new();
    options.set_at(start as f64);
    options
}
