//! GGUF, version 2 and 3, little endian: read totally, written plainly.
//!
//! The layout is that of ggml's `docs/gguf.md`. candle's reader takes sizes on the word of the header; here every count is
//! held in 64 bits against what the file can hold, before anything is allocated.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{DType, Source, TensorInfo, Value, WeightsError, check_overlap, malformed};

/// The first four bytes.
pub const MAGIC: &[u8] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// Longer arrays of numbers than any model has: kept in 8 bytes each, they must not grow far beyond the file.
const MOST_NUMBERS: u64 = 1 << 20;
/// Bytes of the header that are fetched at a time.
const WINDOW: u64 = 1 << 20;
/// More axes than any model has.
const MAX_AXES: u32 = 4;

/// Metadata and the table of tensors.
pub(super) type Contents = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

/// Reads metadata and the table of tensors.
///
/// # Errors
/// On any breach of the format: counts, lengths, types, offsets; the message says what and where. And when the file cannot be read.
pub fn read(file: &dyn Source) -> Result<Contents, WeightsError> {
    let mut at = Cursor { file, size: file.size(), at: 0, window: Cow::Borrowed(&[]), start: 0 };
    if at.take("the first four bytes", MAGIC.len() as u64)? != MAGIC {
        return Err(malformed("GGUF", "the first four bytes", "GGUF", "others"));
    }
    let version = at.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(malformed("GGUF", "version", "2 or 3", version));
    }
    let tensor_count = at.u64("tensor count")?;
    let key_count = at.u64("key count")?;
    // a key takes at least 8 + 4 + 1 bytes, a tensor at least 8 + 4 + 8 + 4 + 8
    at.check_count("key count", key_count, 13)?;
    at.check_count("tensor count", tensor_count, 32)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..key_count {
        let key = at.string("key")?;
        let kind = at.u32(&key)?;
        let value = at.value(&key, kind)?;
        if let Some(value) = value
            && metadata.insert(key.clone(), value).is_some()
        {
            return Err(malformed("GGUF", "keys", "each key once", format!("{key} twice")));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(v) => match v.as_u64() {
            Some(a) if a.is_power_of_two() && a <= 1 << 20 => a,
            _ => return Err(malformed("GGUF", "general.alignment", "a power of two up to 2^20", format!("{v:?}"))),
        },
    };
    let mut headers = Vec::new();
    for _ in 0..tensor_count {
        headers.push(at.tensor_header()?);
    }
    let data = at.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for header in headers {
        let Header { name, shape, dtype, size, offset } = header;
        if !offset.is_multiple_of(alignment) {
            return Err(malformed("GGUF", format!("offset of {name}"), format!("a multiple of {alignment}"), offset));
        }
        let end = data.checked_add(offset).and_then(|o| o.checked_add(size));
        let Some(end) = end.filter(|&e| e <= at.size) else {
            let want = format!("{size} bytes at {offset} of the data within a file of {}", at.size);
            return Err(malformed("GGUF", format!("data of {name}"), want, "the end of the file before that"));
        };
        let range = end - size..end;
        if tensors.insert(name.clone(), TensorInfo { shape, dtype, range, transposed: false }).is_some() {
            return Err(malformed("GGUF", "tensors", "each name once", format!("{name} twice")));
        }
    }
    check_overlap("GGUF", &tensors)?;
    Ok((metadata, tensors))
}

struct Header {
    name: String,
    shape: Vec<usize>,
    dtype: DType,
    size: u64,
    offset: u64,
}

/// A place in the file; every step is checked.
struct Cursor<'a> {
    file: &'a dyn Source,
    size: u64,
    at: u64,
    /// Bytes that were fetched, from `start` on.
    window: Cow<'a, [u8]>,
    start: u64,
}

impl Cursor<'_> {
    fn take(&mut self, what: &str, len: u64) -> Result<&[u8], WeightsError> {
        let left = self.left();
        if len > left {
            return Err(malformed("GGUF", what, format!("{len} bytes"), format!("{left} left of the file")));
        }
        if self.at + len > self.start + self.window.len() as u64 {
            self.window = self.file.read(self.at..self.at + len.max(WINDOW).min(left))?;
            self.start = self.at;
        }
        let from = (self.at - self.start) as usize;
        self.at += len;
        Ok(&self.window[from..from + len as usize])
    }

    fn left(&self) -> u64 {
        self.size - self.at
    }

    fn u32(&mut self, what: &str) -> Result<u32, WeightsError> {
        let b = self.take(what, 4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self, what: &str) -> Result<u64, WeightsError> {
        let b = self.take(what, 8)?;
        Ok(u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
    }

    fn check_count(&self, what: &str, count: u64, least_bytes: u64) -> Result<(), WeightsError> {
        let most = self.left() / least_bytes;
        if count > most {
            return Err(malformed("GGUF", what, format!("at most {most} in a file of this size"), count));
        }
        Ok(())
    }

    fn string(&mut self, what: &str) -> Result<String, WeightsError> {
        let len = self.u64(what)?;
        let bytes = self.take(what, len)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| malformed("GGUF", what, "UTF-8 text", "other bytes"))
    }

    /// A value of GGUF type `kind`; `None` for the kinds that no model needs (arrays of bool).
    fn value(&mut self, key: &str, kind: u32) -> Result<Option<Value>, WeightsError> {
        Ok(Some(match kind {
            8 => Value::Text(self.string(key)?),
            9 => return self.array(key),
            _ => self.number(key, kind)?,
        }))
    }

    fn number(&mut self, key: &str, kind: u32) -> Result<Value, WeightsError> {
        let size = number_size(kind).ok_or_else(|| malformed("GGUF", key, "a value type from 0 to 12", kind))?;
        let b = self.take(key, size)?;
        let mut wide = [0u8; 8];
        wide[..b.len()].copy_from_slice(b);
        let unsigned = u64::from_le_bytes(wide);
        let shift = 64 - 8 * b.len() as u32;
        Ok(match kind {
            0 | 2 | 4 | 10 => Value::Unsigned(unsigned),
            1 | 3 | 5 | 11 => Value::Signed(((unsigned << shift) as i64) >> shift),
            6 => Value::Float(f64::from(f32::from_bits(unsigned as u32))),
            7 => Value::Bool(unsigned != 0),
            _ => Value::Float(f64::from_bits(unsigned)),
        })
    }

    fn array(&mut self, key: &str) -> Result<Option<Value>, WeightsError> {
        let kind = self.u32(key)?;
        let count = self.u64(key)?;
        if kind == 8 {
            self.check_count(key, count, 8)?;
            let mut texts = Vec::new();
            for _ in 0..count {
                texts.push(self.string(key)?);
            }
            return Ok(Some(Value::Texts(texts)));
        }
        let size = number_size(kind)
            .ok_or_else(|| malformed("GGUF", key, "an array of numbers or texts", format!("type {kind}")))?;
        self.check_count(key, count, size)?;
        if count > MOST_NUMBERS {
            return Err(malformed("GGUF", key, format!("at most {MOST_NUMBERS} numbers"), count));
        }
        let (mut integers, mut floats) = (Vec::new(), Vec::new());
        for _ in 0..count {
            match self.number(key, kind)? {
                Value::Unsigned(v) => integers.push(i64::try_from(v).unwrap_or(i64::MAX)),
                Value::Signed(v) => integers.push(v),
                Value::Float(v) => floats.push(v),
                _ => {}
            }
        }
        Ok(match kind {
            7 => None,
            6 | 12 => Some(Value::Floats(floats)),
            _ => Some(Value::Integers(integers)),
        })
    }

    fn tensor_header(&mut self) -> Result<Header, WeightsError> {
        let name = self.string("tensor name")?;
        let axes = self.u32(&name)?;
        if axes > MAX_AXES {
            return Err(malformed("GGUF", format!("axes of {name}"), format!("at most {MAX_AXES}"), axes));
        }
        let mut shape = Vec::new();
        let mut count = 1u64;
        for _ in 0..axes {
            let dim = self.u64(&name)?;
            // each dimension alone too: a zero elsewhere must not excuse a huge one
            let most = self.size.saturating_mul(8).min(usize::MAX as u64);
            let product = count.checked_mul(dim).filter(|&c| c <= most && dim <= most);
            count = product.ok_or_else(|| {
                malformed("GGUF", format!("shape of {name}"), "no more numbers than the file holds", dim)
            })?;
            shape.push(dim as usize);
        }
        // GGUF names the fastest axis first
        let row = shape.first().copied().unwrap_or(1);
        shape.reverse();
        let kind = self.u32(&name)?;
        let dtype = dtype_of(kind).ok_or_else(|| {
            malformed(
                "GGUF",
                format!("type of {name}"),
                "f32, f16, bf16, q4_0, q4_1, q5_0, q5_1 or q8_0",
                kind_name(kind),
            )
        })?;
        let size = dtype.bytes_for(row).and(dtype.bytes_for(count as usize)).ok_or_else(|| {
            malformed(
                "GGUF",
                format!("rows of {name}"),
                format!("whole blocks of {}", dtype.name()),
                format!("{row} numbers"),
            )
        })?;
        let offset = self.u64(&name)?;
        Ok(Header { name, shape, dtype, size: size as u64, offset })
    }
}

fn number_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn dtype_of(kind: u32) -> Option<DType> {
    match kind {
        0 => Some(DType::F32),
        1 => Some(DType::F16),
        2 => Some(DType::Q4_0),
        3 => Some(DType::Q4_1),
        6 => Some(DType::Q5_0),
        7 => Some(DType::Q5_1),
        8 => Some(DType::Q8_0),
        30 => Some(DType::Bf16),
        _ => None,
    }
}

fn dtype_code(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q4_1 => 3,
        DType::Q5_0 => 6,
        DType::Q5_1 => 7,
        DType::Q8_0 => 8,
        DType::Bf16 => 30,
    }
}

/// ggml's name of a type that is not read here.
fn kind_name(kind: u32) -> String {
    match kind {
        9 => "q8_1".into(),
        10..=15 => "a K-quant".into(),
        16..=23 | 29 => "an IQ quant".into(),
        _ => format!("type {kind}"),
    }
}

/// A tensor to write.
pub struct OutTensor {
    pub name: String,
    /// Row-major; the last axis runs fastest.
    pub shape: Vec<usize>,
    pub dtype: DType,
    /// As [`DType::encode`] gives them.
    pub bytes: Vec<u8>,
}

/// A tensor that is to be written: what the header says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutHeader {
    pub name: String,
    /// Row-major; the last axis runs fastest.
    pub shape: Vec<usize>,
    pub dtype: DType,
}

impl OutHeader {
    /// Bytes of its numbers.
    ///
    /// # Panics
    /// When its rows are no whole blocks.
    pub fn bytes(&self) -> u64 {
        let row = self.shape.last().copied().unwrap_or(1);
        let row_bytes = self.dtype.bytes_for(row).expect("rows are whole blocks") as u64;
        // a shape that has a zero somewhere may have anything beside it
        let rows = self.shape.iter().rev().skip(1);
        if self.shape.contains(&0) { 0 } else { rows.fold(row_bytes, |bytes, &dim| bytes.saturating_mul(dim as u64)) }
    }
}

/// Everything before the tensors of a GGUF file, version 3, alignment 32. The data of each tensor follows, each after [`padding`].
pub fn header(metadata: &BTreeMap<String, Value>, tensors: &[OutHeader]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_string(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0u64;
    for t in tensors {
        put_string(&mut out, &t.name);
        out.extend((t.shape.len() as u32).to_le_bytes());
        for &dim in t.shape.iter().rev() {
            out.extend((dim as u64).to_le_bytes());
        }
        out.extend(dtype_code(t.dtype).to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset = (offset + t.bytes()).next_multiple_of(DEFAULT_ALIGNMENT);
    }
    out
}

/// How many zeros stand between byte `at` and a tensor's data.
pub fn padding(at: u64) -> usize {
    (at.next_multiple_of(DEFAULT_ALIGNMENT) - at) as usize
}

/// Writes a whole file.
pub fn write(metadata: &BTreeMap<String, Value>, tensors: &[OutTensor]) -> Vec<u8> {
    let said = |t: &OutTensor| OutHeader { name: t.name.clone(), shape: t.shape.clone(), dtype: t.dtype };
    let mut out = header(metadata, &tensors.iter().map(said).collect::<Vec<_>>());
    for t in tensors {
        out.resize(out.len() + padding(out.len() as u64), 0);
        out.extend_from_slice(&t.bytes);
    }
    out
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut put = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        // the narrow types that other readers expect for sizes and constants, where the number fits
        Value::Unsigned(v) => match u32::try_from(*v) {
            Ok(v) => put(4, &v.to_le_bytes()),
            Err(_) => put(10, &v.to_le_bytes()),
        },
        Value::Signed(v) => put(11, &v.to_le_bytes()),
        Value::Float(v) => put(6, &(*v as f32).to_le_bytes()),
        Value::Bool(v) => put(7, &[u8::from(*v)]),
        Value::Text(v) => {
            put(8, &[]);
            put_string(out, v);
        }
        Value::Texts(v) => {
            put(9, &8u32.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            for text in v {
                put_string(out, text);
            }
        }
        Value::Integers(v) => {
            let narrow: Option<Vec<i32>> = v.iter().map(|&i| i32::try_from(i).ok()).collect();
            put(9, &(if narrow.is_some() { 5u32 } else { 11 }).to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            match narrow {
                Some(narrow) => narrow.iter().for_each(|i| out.extend(i.to_le_bytes())),
                None => v.iter().for_each(|i| out.extend(i.to_le_bytes())),
            }
        }
        Value::Floats(v) => {
            put(9, &6u32.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            for &f in v {
                out.extend((f as f32).to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (BTreeMap<String, Value>, Vec<u8>) {
        let metadata = BTreeMap::from([
            ("general.architecture".to_string(), Value::Text("clip".into())),
            ("clip.vision.image_size".to_string(), Value::Unsigned(64)),
            ("eps".to_string(), Value::Float(0.5)),
            ("use".to_string(), Value::Bool(true)),
            ("names".to_string(), Value::Texts(vec!["dog".into(), "".into(), "ß".into()])),
            ("ids".to_string(), Value::Integers(vec![-1, 5, 49407])),
            ("wide".to_string(), Value::Integers(vec![i64::MIN, 5, 1 << 40])),
            ("mean".to_string(), Value::Floats(vec![0.5, 0.25])),
        ]);
        let values: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let tensors = [
            OutTensor { name: "a".into(), shape: vec![2, 32], dtype: DType::Q8_0, bytes: DType::Q8_0.encode(&values) },
            OutTensor {
                name: "b".into(),
                shape: vec![3],
                dtype: DType::F16,
                bytes: DType::F16.encode(&[1.0, 2.0, 3.0]),
            },
            OutTensor { name: "c".into(), shape: vec![], dtype: DType::F32, bytes: DType::F32.encode(&[4.0]) },
        ];
        let bytes = write(&metadata, &tensors);
        (metadata, bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let (metadata, bytes) = sample();
        let (got, tensors) = read(&bytes).expect("our own file");
        assert_eq!(got, metadata);
        assert_eq!(tensors["a"].shape, [2, 32]);
        assert_eq!(tensors["a"].bytes(), 68);
        assert_eq!(DType::F16.decode(&bytes.read(tensors["b"].range.clone()).expect("within")), [1.0, 2.0, 3.0]);
        assert_eq!((tensors["c"].shape.len(), tensors["c"].bytes()), (0, 4));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let (_, bytes) = sample();
        for len in 0..bytes.len() {
            assert!(read(&&bytes[..len]).is_err(), "cut at {len} of {}", bytes.len());
        }
    }

    #[test]
    fn no_changed_byte_panics() {
        let (_, bytes) = sample();
        for at in 4..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let _ = read(&broken);
            }
            for wide in [u32::MAX, 1 << 31, 9] {
                let mut broken = bytes.clone();
                let end = (at + 4).min(broken.len());
                broken[at..end].copy_from_slice(&wide.to_le_bytes()[..end - at]);
                let _ = read(&broken);
            }
        }
    }

    #[test]
    fn lies_are_named() {
        let header = |tensors: u64, keys: u64| {
            let mut b = MAGIC.to_vec();
            b.extend(3u32.to_le_bytes());
            b.extend(tensors.to_le_bytes());
            b.extend(keys.to_le_bytes());
            b
        };
        let says = |bytes: &[u8], what: &str| {
            let message = read(&bytes).expect_err("a lie").to_string();
            assert!(message.contains(what), "{message}");
        };
        says(&header(u64::MAX, 0), "tensor count");
        says(&header(0, 1 << 60), "key count");
        says(&[MAGIC, &9u32.to_le_bytes(), &[0; 32]].concat(), "version");
        // a text array that claims more items than there are bytes
        let mut b = header(0, 1);
        put_string(&mut b, "k");
        b.extend(9u32.to_le_bytes());
        b.extend(8u32.to_le_bytes());
        b.extend((1u64 << 40).to_le_bytes());
        says(&b, "k: expected at most");
        // an array of arrays
        let mut b = header(0, 1);
        put_string(&mut b, "k");
        b.extend(9u32.to_le_bytes());
        b.extend(9u32.to_le_bytes());
        b.extend(0u64.to_le_bytes());
        says(&b, "an array of numbers or texts");
        // a huge dimension beside a zero
        let mut b = header(1, 0);
        put_string(&mut b, "t");
        b.extend(2u32.to_le_bytes());
        b.extend(0u64.to_le_bytes());
        b.extend((1u64 << 60).to_le_bytes());
        b.extend([0; 64]);
        says(&b, "shape of t");
        // alignment zero
        let metadata = BTreeMap::from([("general.alignment".to_string(), Value::Unsigned(0))]);
        says(&write(&metadata, &[]), "power of two");
    }
}
