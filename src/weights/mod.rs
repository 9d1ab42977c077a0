//! Bytes to named tensors, and back: the one place that knows file formats.
//!
//! A file is recognised by its content and becomes a [`Checkpoint`]: metadata, and tensors under the names of Hugging Face's
//! `CLIPModel`, whatever the file calls them ([`names`]), which are decoded to f32 only when asked for. Reading is total: whatever the
//! bytes, the answer is a checkpoint or a [`WeightsError`], without a panic and without allocating more than the file holds.
//!
//! It does not know the forward pass (see `clip`).

pub mod ahead;
pub mod blocks;
pub mod convert;
pub mod gguf;
pub mod manifest;
pub mod names;
pub mod pickle;
pub mod pytorch;
pub mod safetensors;
pub mod source;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

pub use blocks::DType;
pub use names::Naming;
pub use source::Source;

/// Why a file is not a usable model.
#[derive(Debug, Error)]
pub enum WeightsError {
    #[error("not a model file: expected GGUF, safetensors or a PyTorch archive, got {got}")]
    Unrecognised { got: String },
    #[error("{format}: {what}: expected {expected}, got {got}")]
    Malformed { format: &'static str, what: String, expected: String, got: String },
    #[error("tensor {name}: missing; expected shape {expected:?}")]
    Missing { name: String, expected: Vec<usize> },
    #[error("tensor {name}: expected shape {expected:?}, got {got:?}")]
    Shape { name: String, expected: Vec<usize>, got: Vec<usize> },
    #[error("tensor {name}: expected finite numbers, got {got} at {index}")]
    NotFinite { name: String, index: usize, got: f32 },
    #[error("this is not a CLIP that can be used here: {0}")]
    NotClip(String),
    #[error("bytes {start} to {end} of the file cannot be read: {why}")]
    Unreadable { start: u64, end: u64, why: String },
    #[error("manifest: {0}")]
    Manifest(String),
}

/// Shorthand for a malformed file.
pub(crate) fn malformed(
    format: &'static str,
    what: impl Into<String>,
    expected: impl Into<String>,
    got: impl ToString,
) -> WeightsError {
    // what comes from the file may be of any length and form: the message is one line all the same
    let (what, expected, got) = (shown(&what.into()), shown(&expected.into()), shown(&got.to_string()));
    WeightsError::Malformed { format, what, expected, got }
}

/// The beginning of a text from a file, on one line.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(160).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A metadata value, as far as models need them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
}

impl Value {
    /// A non-negative integer of any width.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Unsigned(v) => Some(v),
            Value::Signed(v) => u64::try_from(v).ok(),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Float(v) => Some(v),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(v) => Some(v),
            _ => None,
        }
    }

    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Value::Texts(v) => Some(v),
            _ => None,
        }
    }
}

/// Where a tensor lies in the file and how it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Row-major; the last axis runs fastest.
    pub shape: Vec<usize>,
    pub dtype: DType,
    /// Bytes of the file; as long as shape and type say.
    pub range: Range<u64>,
    /// The file holds this matrix column by column; never with a block type.
    pub transposed: bool,
}

impl TensorInfo {
    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Where some of its numbers lie, which begin and end with whole blocks.
    fn bytes_of(&self, numbers: &Range<usize>) -> Range<u64> {
        let at = |count| self.range.start + self.dtype.bytes_of_blocks(count);
        at(numbers.start)..at(numbers.end)
    }
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Gguf,
    Safetensors,
    PyTorch,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::Gguf => "GGUF",
            Format::Safetensors => "safetensors",
            Format::PyTorch => "PyTorch archive",
        }
    }
}

/// A model file: where it lies, its metadata, and where each tensor is.
pub struct Checkpoint {
    format: Format,
    naming: Naming,
    source: Box<dyn Source>,
    pub metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Numbers that are read at a time, or converted; whole blocks of all types.
const PIECE: usize = 1 << 20;
/// Bytes by which a format is told.
const HEAD: u64 = 16;

/// Where towers take their weights from: a [`Checkpoint`], or weights made from nothing (see `bench`).
pub trait Tensors {
    /// As [`Checkpoint::shape`].
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// As [`Checkpoint::f32`].
    ///
    /// # Errors
    /// As there.
    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError>;

    /// As [`Checkpoint::table`].
    ///
    /// # Errors
    /// As there.
    fn table(&self, name: &str, shape: [usize; 2]) -> Result<Table, WeightsError>;

    /// As [`Checkpoint::row_codes`].
    ///
    /// # Errors
    /// As there.
    fn row_codes(&self, _name: &str, _shape: [usize; 2]) -> Result<Option<RowCodes>, WeightsError> {
        Ok(None)
    }

    /// A key of the file.
    fn key(&self, name: &str) -> Option<&Value>;
}

impl Tensors for Checkpoint {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.shape(name)
    }

    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        self.f32(name, shape)
    }

    fn table(&self, name: &str, shape: [usize; 2]) -> Result<Table, WeightsError> {
        self.table(name, shape)
    }

    fn row_codes(&self, name: &str, shape: [usize; 2]) -> Result<Option<RowCodes>, WeightsError> {
        self.row_codes(name, shape)
    }

    fn key(&self, name: &str) -> Option<&Value> {
        self.metadata.get(name)
    }
}

impl Checkpoint {
    /// Reads a file in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn read(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, WeightsError> {
        Self::open(bytes.into())
    }

    /// Reads a file's header, which is recognised by its content; tensors are read when they are asked for.
    ///
    /// # Errors
    /// When the bytes are of no known format, or break their format's rules, which the message says, or cannot be read.
    pub fn open(source: impl Source + 'static) -> Result<Self, WeightsError> {
        let source: Box<dyn Source> = Box::new(source);
        let file = &*source;
        let head = file.read(0..file.size().min(HEAD))?;
        let format = recognise(&head, file.size())?;
        let (metadata, tensors) = match format {
            Format::Gguf => gguf::read(file)?,
            Format::Safetensors => safetensors::read(file)?,
            Format::PyTorch => pytorch::read(file)?,
        };
        drop(head);
        let (naming, tensors) = names::canonical(tensors)?;
        Ok(Self { format, naming, source, metadata, tensors })
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The file itself.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// Whose names the tensors have in the file. Here all have Hugging Face's.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// Bytes of all tensors whose names begin so, as they are stored.
    pub fn bytes_under(&self, prefix: &str) -> u64 {
        self.tensors.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, info)| info.bytes()).sum()
    }

    /// Size of the file.
    pub fn file_bytes(&self) -> u64 {
        self.source.size()
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// A tensor's shape, where there is such a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// The tensor as f32, row-major.
    ///
    /// # Errors
    /// When it is missing, has another shape (a different split of the same trailing axes is accepted: a convolution may be
    /// stored as a matrix), or holds NaN or infinity, or the file cannot be read.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let info = self.checked(name, shape)?;
        let stored = self.numbers(name, info, 0..count(&info.shape).unwrap_or(0))?;
        Ok(match info.shape[..] {
            // rows without numbers may be as many as can be counted
            [rows, columns] if info.transposed && !stored.is_empty() => {
                (0..rows).flat_map(|r| (0..columns).map(move |c| c * rows + r)).map(|at| stored[at]).collect()
            }
            _ => stored,
        })
    }

    /// Some of the tensor's numbers, in the order of the file; the range begins and ends with whole blocks.
    fn numbers(&self, name: &str, info: &TensorInfo, range: Range<usize>) -> Result<Vec<f32>, WeightsError> {
        let mut values = Vec::new();
        if values.try_reserve_exact(range.len()).is_err() {
            return Err(source::unreadable(&info.range, format!("{} numbers do not fit into memory", range.len())));
        }
        // what lies in the file is in memory piece by piece only
        for start in range.clone().step_by(PIECE) {
            let piece = start..range.end.min(start + PIECE);
            let bytes = self.source.read(info.bytes_of(&piece))?;
            if !info.dtype.is_finite(&bytes) {
                return Err(not_finite(name, start, &info.dtype.decode(&bytes)));
            }
            info.dtype.decode_into(&bytes, &mut values);
        }
        Ok(values)
    }

    /// A table of which single rows will be asked for: kept as stored.
    ///
    /// # Errors
    /// As [`Checkpoint::f32`].
    pub fn table(&self, name: &str, shape: [usize; 2]) -> Result<Table, WeightsError> {
        let info = self.checked(name, &shape)?;
        if info.transposed {
            let bytes = info.dtype.encode(&self.f32(name, &shape)?);
            return Ok(Table { width: shape[1], dtype: info.dtype, bytes });
        }
        let bytes = self.source.read(info.range.clone())?.into_owned();
        if !info.dtype.is_finite(&bytes) {
            return Err(not_finite(name, 0, &info.dtype.decode(&bytes)));
        }
        Ok(Table { width: shape[1], dtype: info.dtype, bytes })
    }

    /// The integers of a matrix `[n,k]` whose rows have one scale each, as those of our own files do ([`blocks::encode_q8_0_rows`]). They make up
    /// what [`Checkpoint::f32`] gives.
    ///
    /// # Errors
    /// As [`Checkpoint::f32`].
    pub fn row_codes(&self, name: &str, [n, k]: [usize; 2]) -> Result<Option<RowCodes>, WeightsError> {
        let info = self.checked(name, &[n, k])?;
        let Some(row) = DType::Q8_0.bytes_for(k).filter(|&row| info.dtype == DType::Q8_0 && row > 0) else {
            return Ok(None);
        };
        let mut rows = RowCodes { codes: Vec::new(), scales: Vec::with_capacity(n) };
        if rows.codes.try_reserve_exact(n * k).is_err() {
            return Err(source::unreadable(&info.range, format!("{n} x {k} numbers do not fit into memory")));
        }
        let at_once = (PIECE / k).max(1);
        for start in (0..n).step_by(at_once) {
            let piece = start * k..n.min(start + at_once) * k;
            let bytes = self.source.read(info.bytes_of(&piece))?;
            if !info.dtype.is_finite(&bytes) {
                return Err(not_finite(name, piece.start, &info.dtype.decode(&bytes)));
            }
            for row in bytes.chunks_exact(row) {
                match blocks::q8_0_row(row, &mut rows.codes) {
                    Some(scale) => rows.scales.push(scale),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(rows))
    }

    fn checked(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo, WeightsError> {
        let missing = || WeightsError::Missing { name: name.into(), expected: shape.to_vec() };
        let info = self.tensors.get(name).ok_or_else(missing)?;
        let same = info.shape == shape
            || (info.shape.first() == shape.first() && count(&info.shape).is_some_and(|c| Some(c) == count(shape)));
        if same {
            Ok(info)
        } else {
            Err(WeightsError::Shape { name: name.into(), expected: shape.to_vec(), got: info.shape.clone() })
        }
    }
}

/// A file's format by its first bytes, 16 at least where it has so many; `size`: of the whole file.
///
/// # Errors
/// When they are of no known format; the message says what they look like.
pub fn recognise(head: &[u8], size: u64) -> Result<Format, WeightsError> {
    if head.starts_with(gguf::MAGIC) {
        Ok(Format::Gguf)
    } else if safetensors::looks_like(head) {
        Ok(Format::Safetensors)
    } else if pytorch::looks_like(head) {
        Ok(Format::PyTorch)
    } else {
        Err(WeightsError::Unrecognised { got: describe(head, size) })
    }
}

/// No two tensors share bytes: a file could else be made to fill any amount of memory.
fn check_overlap(format: &'static str, tensors: &BTreeMap<String, TensorInfo>) -> Result<(), WeightsError> {
    let mut ranges: Vec<(&Range<u64>, &String)> =
        tensors.iter().map(|(name, t)| (&t.range, name)).filter(|(r, _)| !r.is_empty()).collect();
    ranges.sort_by_key(|(r, _)| r.start);
    for pair in ranges.windows(2) {
        if pair[0].0.end > pair[1].0.start {
            let got = format!("{} and {} on the same bytes", pair[0].1, pair[1].1);
            return Err(malformed(format, "tensors", "separate data", got));
        }
    }
    Ok(())
}

/// The error for numbers, from number `start` of a tensor on, of which one is not finite.
fn not_finite(name: &str, start: usize, values: &[f32]) -> WeightsError {
    let index = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
    let got = values.get(index).copied().unwrap_or(f32::NAN);
    WeightsError::NotFinite { name: name.into(), index: start + index, got }
}

/// How many numbers a shape holds; `None` when that is more than can be counted.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}

/// Rows of integers, each with a scale.
#[derive(Clone, Debug, PartialEq)]
pub struct RowCodes {
    /// `[n,k]`.
    pub codes: Vec<i8>,
    /// `[n]`: a number is its code times its row's scale.
    pub scales: Vec<f32>,
}

/// Rows of numbers in their stored form.
#[derive(Clone, Debug)]
pub struct Table {
    width: usize,
    dtype: DType,
    bytes: Vec<u8>,
}

impl Table {
    /// Rows of `width` numbers, as `dtype` stores them.
    ///
    /// # Panics
    /// When `bytes` is no number of whole rows.
    pub fn new(width: usize, dtype: DType, bytes: Vec<u8>) -> Self {
        let row = dtype.bytes_for(width).filter(|&row| row > 0).expect("rows are whole blocks");
        assert!(bytes.len().is_multiple_of(row), "whole rows");
        Self { width, dtype, bytes }
    }

    /// Row `i` as f32.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, i: usize) -> Vec<f32> {
        // rows of block types are whole blocks: the readers refuse others
        let len = self.dtype.bytes_for(self.width).expect("rows are whole blocks");
        self.dtype.decode(&self.bytes[i * len..(i + 1) * len])
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// What a file of `size` unrecognised bytes looks like by its first ones, for the message.
fn describe(head: &[u8], size: u64) -> String {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if size == 0 {
        "an empty file".into()
    } else if text.starts_with('<') {
        "a web page (HTML or XML)".into()
    } else if text.starts_with(['{', '[']) {
        "JSON, perhaps a server's message or a model's configuration".into()
    // pickle's opcodes PROTO 2 and LONG1 of 10 bytes, as in torch.serialization before version 1.6
    } else if head.starts_with(b"\x80\x02\x8a\x0a") {
        "PyTorch's format from before version 1.6; load and save it with a newer PyTorch".into()
    } else if head.starts_with(b"\x80") {
        "a bare Python pickle".into()
    } else if head.starts_with(b"lmgg") || head.starts_with(b"tjgg") {
        "ggml's format from before GGUF".into()
    } else if head.starts_with(b"\x1f\x8b") {
        "a gzip archive; unpack it first".into()
    } else if head.starts_with(b"version https:/") {
        "a Git LFS pointer, not the file itself".into()
    } else {
        format!("{size} bytes that begin with {:02x?}", &head[..head.len().min(8)])
    }
}
