//! PyTorch's archives: what `torch.save` writes since version 1.6, and TorchScript, which OpenAI's `ViT-B-32.pt` is.
//!
//! An archive is a zip whose entries are stored as they are: `{name}/data.pkl`, a pickle of a state dictionary or of a module, and
//! `{name}/data/{key}`, one storage each (PyTorch's `caffe2/serialize/inline_container.h`). Its directory is read by the crate rawzip, its pickle by
//! [`super::pickle`]; the tensors stay where they are in the file. A module's code is never looked at.

use std::collections::BTreeMap;
use std::ops::Range;

use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ReaderAt, ZipArchive, ZipLocator};

use super::gguf::Contents;
use super::names::{ACTIVATION_CLASS, note_integer};
use super::pickle::{self, Item, Node, Pickle};
use super::{DType, Source, TensorInfo, Value, WeightsError, check_overlap, malformed, shown};

const FORMAT: &str = "PyTorch archive";
/// Objects within each other, at most: dictionaries, modules, tensors.
const MOST_DEPTH: usize = 24;
/// Bytes of a tensor's name, with all that it stands in.
const MOST_NAME: usize = 256;
/// More tensors than any CLIP with its optimizer's state has.
const MOST_TENSORS: usize = 1 << 14;

/// Whether the bytes begin like a zip archive.
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Reads the table of tensors. Those of integers are passed over, but for a mark of OpenAI's.
///
/// # Errors
/// When the archive is none of PyTorch's, is broken, or holds more than plain data, or cannot be read.
pub fn read(file: &dyn Source) -> Result<Contents, WeightsError> {
    let entries = entries(file)?;
    let pickle = entries.keys().filter(|name| *name == b"data.pkl" || name.ends_with(b"/data.pkl"));
    let Some(pickle_name) = pickle.min_by_key(|name| name.len()) else {
        return Err(malformed(FORMAT, "entries", "data.pkl", "a zip archive of something else"));
    };
    let folder = &pickle_name[..pickle_name.len() - b"data.pkl".len()];
    let find = |name: &str| entries.get(&[folder, name.as_bytes()].concat());
    let stored = |name: &str| -> Result<Option<Range<u64>>, WeightsError> {
        find(name)
            .map(|entry| entry.as_ref().cloned().map_err(|what| malformed(FORMAT, name, "stored data", what)))
            .transpose()
    };
    if let Some(order) = stored("byteorder")? {
        let order = file.read(order.start..order.end.min(order.start + 16))?;
        if *order != *b"little" {
            return Err(malformed(FORMAT, "byte order", "little", String::from_utf8_lossy(&order)));
        }
    }
    let Some(range) = stored("data.pkl")? else {
        return Err(malformed(FORMAT, "entries", "data.pkl", "none"));
    };
    // values take many times their bytes; of those a real archive has few beside its tensors, and a small one is given a fixed sum
    let room = usize::try_from(file.size()).unwrap_or(usize::MAX).saturating_add(1 << 20);
    let bytes = file.read(range)?;
    let pickle = pickle::read(&bytes, room)?;
    let found = Walk::new(&pickle).run()?;
    let mut metadata = BTreeMap::new();
    if let Some(class) = found.activation {
        metadata.insert(ACTIVATION_CLASS.into(), Value::Text(class.into()));
    }
    let mut tensors = BTreeMap::new();
    for (name, tensor) in found.tensors {
        let Some(dtype) = tensor.dtype else {
            note_integer(&mut metadata, &name);
            continue;
        };
        let key = format!("data/{}", tensor.key);
        let wrong = |expected: String, got: String| malformed(FORMAT, format!("data of {name}"), expected, got);
        let entry = stored(&key)?.ok_or_else(|| wrong(format!("an entry {key}"), "none".into()))?;
        let size = |count: u64| count.checked_mul(dtype.bytes_for(1)? as u64);
        let (start, len) = (size(tensor.offset), size(tensor.count));
        let end = start.and_then(|start| start.checked_add(len?)).filter(|&end| end <= entry.end - entry.start);
        let (Some(end), Some(len)) = (end, len) else {
            let want = format!("{} numbers at {} within {key}", tensor.count, tensor.offset);
            return Err(wrong(want, format!("{} bytes there", entry.end - entry.start)));
        };
        let end = entry.start + end;
        let info = TensorInfo { shape: tensor.shape, dtype, range: end - len..end, transposed: tensor.transposed };
        if tensors.insert(name.clone(), info).is_some() {
            return Err(malformed(FORMAT, "tensors", "each name once", format!("{name} twice")));
        }
    }
    check_overlap(FORMAT, &tensors)?;
    Ok((metadata, tensors))
}

/// Where an entry's bytes are, or why they cannot be had. While a file still comes, its directory foretells it (see [`foretold`]), which has to be
/// compared with what the whole file says.
type Entry = Result<Range<u64>, String>;

/// Bytes of an entry's own header, without its name and what else it may hold (PKWARE's APPNOTE 6.3.10, section 4.3.7).
const ENTRY_HEADER: u64 = 30;
/// Bytes of what PyTorch writes behind an entry: signature, checksum and sizes (section 4.3.9).
const ENTRY_END: u64 = 16;

fn entries(file: &dyn Source) -> Result<BTreeMap<Vec<u8>, Entry>, WeightsError> {
    let broken = |e: rawzip::Error| malformed(FORMAT, "its directory", "a whole zip archive", e);
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipLocator::new().locate_in_reader(Reader(file), &mut buffer, file.size());
    let archive: ZipArchive<Reader> = archive.map_err(|(_, e)| broken(e))?;
    let mut out = BTreeMap::new();
    let mut begins = Vec::new();
    if !file.has_come(&(0..file.size())) {
        let mut entries = archive.entries(&mut buffer);
        while let Some(record) = entries.next_entry().map_err(broken)? {
            begins.push(record.local_header_offset());
        }
        begins.push(archive.directory_offset());
        begins.sort_unstable();
    }
    let mut entries = archive.entries(&mut buffer);
    while let Some(record) = entries.next_entry().map_err(broken)? {
        let name = record.file_path().as_bytes().to_vec();
        // code and its debug information, which are compressed, are of no interest
        let interesting = [&b"data.pkl"[..], b"byteorder"].iter().any(|end| name.ends_with(end))
            || name.windows(6).any(|part| part == b"/data/")
            || name.starts_with(b"data/");
        if !interesting {
            continue;
        }
        let begin = record.local_header_offset();
        let header = begin..begin.saturating_add(ENTRY_HEADER);
        let range = if record.compression_method() != CompressionMethod::STORE {
            Err("compressed".to_string())
        } else if !file.has_come(&header) {
            let end = if record.flags().has_data_descriptor() { ENTRY_END } else { 0 };
            let range = foretold(&begins, &header, record.compressed_size_hint(), end);
            range.filter(|range| range.end <= file.size()).ok_or_else(|| "other entries' bytes".into())
        } else {
            match archive.get_entry(record.wayfinder()).map(|entry| entry.compressed_data_range()) {
                Ok((start, end)) if start <= end && end <= file.size() => Ok(start..end),
                Ok(_) => Err("bytes beyond the end of the file".into()),
                Err(error) => Err(error.to_string()),
            }
        };
        if out.contains_key(&name) {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(malformed(FORMAT, "entries", "each once", format!("{name} twice")));
        }
        out.insert(name, range);
    }
    Ok(out)
}

/// Where an entry's `size` bytes lie, of whose header nothing but the place is known: before its `end`, up to where the next of `begins` is.
fn foretold(begins: &[u64], header: &Range<u64>, size: u64, end: u64) -> Option<Range<u64>> {
    let next = begins.get(begins.partition_point(|&begin| begin <= header.start))?;
    let end = next.checked_sub(end)?;
    let start = end.checked_sub(size).filter(|&start| start >= header.end)?;
    Some(start..end)
}

/// The file as rawzip reads it.
struct Reader<'a>(&'a dyn Source);

impl ReaderAt for Reader<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let end = offset.saturating_add(buffer.len() as u64).min(self.0.size());
        if offset >= end {
            return Ok(0);
        }
        let bytes = self.0.read(offset..end).map_err(std::io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// A tensor as the pickle describes it.
struct Tensor<'a> {
    /// `None`: integers.
    dtype: Option<DType>,
    key: &'a str,
    /// Numbers before its first in the storage.
    offset: u64,
    shape: Vec<usize>,
    count: u64,
    transposed: bool,
}

/// Finds the tensors of a pickle, named by what they stand in.
struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    /// Along the nodes.
    seen: Vec<bool>,
    tensors: Vec<(String, Tensor<'a>)>,
    activation: Option<&'static str>,
}

impl<'p, 'a> Walk<'p, 'a> {
    fn new(pickle: &'p Pickle<'a>) -> Self {
        Self { pickle, seen: vec![false; pickle.node_count()], tensors: Vec::new(), activation: None }
    }

    fn run(mut self) -> Result<Self, WeightsError> {
        self.visit(self.pickle.root, &mut String::new(), 0)?;
        Ok(self)
    }

    /// `name` is that of the item; it comes back as it was.
    fn visit(&mut self, item: Item<'a>, name: &mut String, depth: usize) -> Result<(), WeightsError> {
        let Item::Node(n) = item else { return Ok(()) };
        let (pickle, wrong) = (self.pickle, |what: &str, got: String| Err(malformed(FORMAT, "pickle", what, got)));
        // a module may be its own state
        if depth == MOST_DEPTH {
            return wrong("a table of tensors", format!("more than {MOST_DEPTH} objects in each other"));
        }
        match pickle.node(item) {
            Some(Node::Dict(pairs)) => {
                if std::mem::replace(&mut self.seen[n], true) {
                    return Ok(());
                }
                for &(key, value) in pairs {
                    let length = name.len();
                    match key {
                        Item::Text(key) if length + key.len() < MOST_NAME => {
                            name.push_str(if length > 0 { "." } else { "" });
                            name.push_str(key);
                        }
                        Item::Int(key) => name.push_str(&format!(".{key}")),
                        _ => continue,
                    }
                    self.visit(value, name, depth + 1)?;
                    name.truncate(length);
                }
                Ok(())
            }
            Some(&Node::Made { class, arguments, state }) => match pickle.global(class) {
                Some(("torch._utils", "_rebuild_tensor_v2")) => {
                    if self.tensors.len() == MOST_TENSORS {
                        return wrong("a CLIP", format!("more than {MOST_TENSORS} tensors"));
                    }
                    let what = format!("tensor {name}");
                    let broken = |(expected, got): (&str, String)| malformed(FORMAT, &*what, expected, got);
                    self.tensors.push((name.clone(), tensor(pickle, arguments).map_err(broken)?));
                    Ok(())
                }
                Some(("torch._utils", "_rebuild_parameter")) => match pickle.tuple(arguments) {
                    Some(&[data, ..]) => self.visit(data, name, depth + 1),
                    _ => wrong("a parameter with data", "none".into()),
                },
                // a TorchScript module: its attributes are its state
                Some((module, kind)) if module.starts_with("__torch__") => {
                    if name.ends_with(".mlp.gelu") {
                        self.note_activation(kind)?;
                    }
                    self.visit(state, name, depth + 1)
                }
                Some(("torch", _) | ("torch.serialization" | "torch.torch_version" | "collections", _)) => Ok(()),
                Some((module, kind)) => {
                    wrong("plain data and tensors", format!("a call of {}", shown(&format!("{module}.{kind}"))))
                }
                None => Ok(()),
            },
            // lists hold no weights of a CLIP
            _ => Ok(()),
        }
    }

    fn note_activation(&mut self, class: &str) -> Result<(), WeightsError> {
        let class = if class.ends_with("QuickGELU") {
            "QuickGELU"
        } else if class.ends_with("GELU") {
            "GELU"
        } else {
            return Err(WeightsError::NotClip(format!(
                "its activation is {}, expected QuickGELU or GELU",
                shown(class)
            )));
        };
        match self.activation.replace(class) {
            Some(other) if other != class => {
                Err(WeightsError::NotClip(format!("its activations are {other} and {class}")))
            }
            _ => Ok(()),
        }
    }
}

/// What `_rebuild_tensor_v2(storage, offset, shape, strides, ...)` would make; else what was expected and what there is.
fn tensor<'a>(pickle: &Pickle<'a>, arguments: Item<'a>) -> Result<Tensor<'a>, (&'static str, String)> {
    let Some(&[storage, Item::Int(offset), shape, strides, ..]) = pickle.tuple(arguments) else {
        return Err(("storage, offset, shape and strides", "something else".into()));
    };
    let storage = match pickle.node(storage) {
        Some(&Node::Persistent(id)) => pickle.tuple(id),
        _ => None,
    };
    let Some(&[Item::Text("storage"), kind, Item::Text(key), ..]) = storage else {
        return Err(("a storage of the archive", "something else".into()));
    };
    let dtype = match pickle.global(kind) {
        Some(("torch", "FloatStorage")) => Some(DType::F32),
        Some(("torch", "HalfStorage")) => Some(DType::F16),
        Some(("torch", "BFloat16Storage")) => Some(DType::Bf16),
        Some((
            "torch",
            "LongStorage" | "IntStorage" | "ShortStorage" | "CharStorage" | "ByteStorage" | "BoolStorage",
        )) => None,
        Some((module, other)) => return Err(("f32, f16 or bf16", shown(&format!("{module}.{other}")))),
        None => return Err(("f32, f16 or bf16", "something else".into())),
    };
    let sizes = |item| -> Option<Vec<u64>> {
        let sizes = pickle.tuple(item)?;
        let size = |item: &Item| match item {
            Item::Int(v) => u64::try_from(*v).ok().filter(|&v| v < 1 << 40),
            _ => None,
        };
        if sizes.len() > 8 { None } else { sizes.iter().map(size).collect() }
    };
    let (Ok(offset), Some(shape), Some(strides)) = (u64::try_from(offset), sizes(shape), sizes(strides)) else {
        return Err(("sizes of up to 8 axes", "others".into()));
    };
    let count = shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let (Some(count), true) = (count, shape.len() == strides.len()) else {
        return Err(("a stride for each axis", format!("shape {shape:?}, strides {strides:?}")));
    };
    // an axis of length 1 is never stepped along; a tensor of none has no order
    let in_order = |axes: &[usize]| {
        let mut step = 1u64;
        axes.iter().all(|&axis| {
            let fits = shape[axis] <= 1 || strides[axis] == step;
            step = step.saturating_mul(shape[axis]);
            fits
        })
    };
    let transposed = if count == 0 || in_order(&(0..shape.len()).rev().collect::<Vec<_>>()) {
        false
    } else if shape.len() == 2 && in_order(&[0, 1]) {
        true
    } else {
        return Err(("numbers one after the other", format!("shape {shape:?}, strides {strides:?}")));
    };
    let shape = shape.iter().map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| ("a size for this machine", "a larger one".to_string()))?;
    Ok(Tensor { dtype, key, offset, shape, count, transposed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_its_own_state_is_refused() {
        let bytes = b"\x80\x02c__torch__\nM\n)Rq\x00h\x00b.";
        let pickle = pickle::read(bytes, 1 << 16).expect("plain data");
        let message = Walk::new(&pickle).run().err().expect("refused").to_string();
        assert!(message.contains("objects in each other"), "{message}");
    }
}
