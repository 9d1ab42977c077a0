//! Where a file's bytes are: in memory, or somewhere from which ranges of them can be had.
//!
//! Readers ask for what they need: headers first, a tensor when it is wanted. So a model of any size can be read, or converted, in
//! little memory. What a source is made of is its own business; one that needs a browser or the file system lives there.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::WeightsError;

/// A file that can be read anywhere.
pub trait Source {
    /// Bytes in the file.
    fn size(&self) -> u64;

    /// The bytes of a range that lies within the file: as many as it says.
    ///
    /// # Errors
    /// When they cannot be had: the file has gone or has changed, or memory does not suffice.
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError>;

    /// Whether a range of it can be read by now: a file may still be coming.
    fn has_come(&self, _range: &Range<u64>) -> bool {
        true
    }

    /// Whether all of it is in memory, so that whoever keeps it keeps that much.
    fn is_in_memory(&self) -> bool {
        false
    }

    /// Nothing will be read for a while: what is kept to read faster may go.
    fn rest(&self) {}
}

/// Bytes in memory are not copied.
impl<T: AsRef<[u8]>> Source for T {
    fn size(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        let part = |at: u64| usize::try_from(at).ok();
        let bytes = part(range.start).zip(part(range.end)).and_then(|(start, end)| self.as_ref().get(start..end));
        bytes.map(Cow::Borrowed).ok_or_else(|| beyond(&range, self.size()))
    }

    fn is_in_memory(&self) -> bool {
        true
    }
}

impl Source for Box<dyn Source> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        (**self).read(range)
    }

    fn has_come(&self, range: &Range<u64>) -> bool {
        (**self).has_come(range)
    }

    fn is_in_memory(&self) -> bool {
        (**self).is_in_memory()
    }

    fn rest(&self) {
        (**self).rest();
    }
}

/// A file of the operating system, or whatever else can be sought in.
#[derive(Debug)]
pub struct Seekable<R> {
    file: RefCell<R>,
    size: u64,
}

impl<R: Read + Seek> Seekable<R> {
    /// # Errors
    /// When its length cannot be told.
    pub fn new(mut file: R) -> std::io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file: RefCell::new(file), size })
    }
}

impl<R: Read + Seek> Source for Seekable<R> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        if range.end > self.size {
            return Err(beyond(&range, self.size));
        }
        let mut bytes = room(&range)?;
        let mut file = self.file.borrow_mut();
        let read = file.seek(SeekFrom::Start(range.start)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| unreadable(&range, e))?;
        Ok(Cow::Owned(bytes))
    }
}

/// A source of which each reading costs some time, however little is read: it is read in blocks, the last of which are kept, since tensors that
/// are wanted together lie together.
pub struct Blocks<S> {
    file: S,
    /// Number and bytes of the blocks that are kept, the one wanted last at the end.
    kept: RefCell<Vec<(u64, Vec<u8>)>>,
}

impl<S: Source> Blocks<S> {
    /// Bytes of a block. A browser reads some 500 MB a second in such pieces, half of that in a quarter of them.
    const BLOCK: u64 = 4 << 20;
    /// A layer of a ViT-L/14 in 8 bits lies in four.
    const KEPT: usize = 4;

    pub fn new(file: S) -> Self {
        Self { file, kept: RefCell::default() }
    }

    /// What is read in blocks.
    pub fn inner(&self) -> &S {
        &self.file
    }
}

impl<S: Source> Source for Blocks<S> {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        if range.end > self.size() {
            return Err(beyond(&range, self.size()));
        }
        let mut bytes = reserved(&range)?;
        let mut kept = self.kept.borrow_mut();
        let mut at = range.start;
        while at < range.end {
            let number = at / Self::BLOCK;
            let start = number * Self::BLOCK;
            let block = match kept.iter().position(|&(n, _)| n == number) {
                Some(i) => kept.remove(i),
                None => {
                    // the oldest goes before there is another
                    let surplus = kept.len().saturating_sub(Self::KEPT - 1);
                    kept.drain(..surplus);
                    (number, self.file.read(start..self.size().min(start + Self::BLOCK))?.into_owned())
                }
            };
            let from = &block.1[(at - start) as usize..];
            let from = &from[..from.len().min((range.end - at) as usize)];
            bytes.extend_from_slice(from);
            at += from.len() as u64;
            kept.push(block);
        }
        Ok(Cow::Owned(bytes))
    }

    fn rest(&self) {
        self.kept.borrow_mut().clear();
        self.file.rest();
    }
}

/// A whole file, piece by piece.
pub fn pieces(file: &dyn Source) -> impl Iterator<Item = Result<Cow<'_, [u8]>, WeightsError>> {
    /// As large as what a conversion gives at a time.
    const PIECE: u64 = 4 << 20;

    let size = file.size();
    (0..size.div_ceil(PIECE)).map(move |i| file.read(i * PIECE..size.min((i + 1) * PIECE)))
}

/// Zeros for the bytes of a range.
///
/// # Errors
/// When memory does not suffice.
pub fn room(range: &Range<u64>) -> Result<Vec<u8>, WeightsError> {
    let mut bytes = reserved(range)?;
    bytes.extend(std::iter::repeat_n(0, range.end.saturating_sub(range.start) as usize));
    Ok(bytes)
}

/// Memory for the bytes of a range, none of them in it yet.
///
/// # Errors
/// When memory does not suffice.
fn reserved(range: &Range<u64>) -> Result<Vec<u8>, WeightsError> {
    let size = range.end.saturating_sub(range.start);
    let mut bytes = Vec::new();
    let fits = usize::try_from(size).is_ok_and(|size| bytes.try_reserve_exact(size).is_ok());
    if fits { Ok(bytes) } else { Err(unreadable(range, format!("{size} bytes do not fit into memory"))) }
}

/// That these bytes could not be had, and why, on one line.
pub fn unreadable(range: &Range<u64>, why: impl ToString) -> WeightsError {
    let why = super::shown(&why.to_string());
    WeightsError::Unreadable { start: range.start, end: range.end, why }
}

fn beyond(range: &Range<u64>, size: u64) -> WeightsError {
    unreadable(range, format!("the file has {size}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn all_sources_give_the_same() {
        let bytes: Vec<u8> = (0..100).collect();
        let seekable = Seekable::new(Cursor::new(bytes.clone())).expect("a length");
        for source in [&bytes as &dyn Source, &seekable] {
            assert_eq!(source.size(), 100);
            assert_eq!(&*source.read(3..7).expect("within"), [3, 4, 5, 6]);
            assert!(source.read(100..100).expect("within").is_empty());
            assert_eq!(
                pieces(source).map(|piece| piece.expect("within").into_owned()).collect::<Vec<_>>().concat(),
                bytes
            );
            for range in [99..101, u64::MAX - 1..u64::MAX, 1 << 40..1 << 60] {
                let error = source.read(range).expect_err("beyond the end").to_string();
                assert!(error.contains("the file has 100"), "{error}");
            }
        }
    }

    /// Readings of a source: where each began and ended.
    struct Noted<'a>(&'a [u8], RefCell<Vec<Range<u64>>>);

    impl Source for Noted<'_> {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
            self.1.borrow_mut().push(range.clone());
            self.0.read(range)
        }
    }

    #[test]
    fn blocks_are_read_once() {
        let block = 4 << 20;
        let bytes: Vec<u8> = (0..6 * block + 5).map(|i: usize| (i / 3 + i / 1000) as u8).collect();
        let file = Blocks::new(Noted(&bytes, RefCell::default()));
        let blocks = || file.file.1.borrow().iter().map(|r| r.start as usize / block).collect::<Vec<_>>();
        let read = |range: Range<usize>| {
            let got = file.read(range.start as u64..range.end as u64).expect("within");
            assert!(*got == bytes[range.clone()], "{range:?}");
        };
        for range in [0..16, 9..9, 100..block, block - 1..block + 1, 10..3 * block, block..3 * block + 7] {
            read(range);
        }
        assert_eq!(blocks(), [0, 1, 2, 3]);
        // the first is wanted again, so the second is the oldest when a fifth comes; the last is a short one
        read(0..1);
        read(6 * block..bytes.len());
        read(0..1);
        assert_eq!(blocks(), [0, 1, 2, 3, 6]);
        read(block..block + 1);
        assert_eq!(blocks(), [0, 1, 2, 3, 6, 1]);
        assert!(file.read(0..bytes.len() as u64 + 1).is_err());
        read(0..bytes.len());
    }

    /// A file that was cut while it was read.
    #[test]
    fn a_file_that_changes_is_an_error() {
        let mut file = Seekable::new(Cursor::new(vec![0; 100])).expect("a length");
        file.file.get_mut().get_mut().truncate(50);
        assert!(file.read(0..50).is_ok());
        let error = file.read(40..60).expect_err("gone").to_string();
        assert!(error.contains("bytes 40 to 60") && !error.contains('\n'), "{error}");
        // the size is that of the beginning, so nothing is allocated for what never was
        assert!(file.read(0..u64::MAX).is_err());
    }
}
