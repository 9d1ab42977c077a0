//! Any checkpoint that is read here to our own GGUF: Hugging Face's tensor names, clip.cpp's keys for the geometry, the
//! tokenizer's merge rules, and what a small model needs beside (ids of its token rows, its vocabulary).

use std::collections::BTreeMap;
use std::ops::Range;

use super::ahead::Made;
use super::blocks::{are_rows, encode_q8_0_rows};
use super::gguf::{self, OutHeader};
use super::source::unreadable;
use super::{Checkpoint, DType, PIECE, TensorInfo, Value, WeightsError, count};
use crate::kernels::quads;

/// How linear weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// 8 bits (`Q8_0`, see [`encode_q8_0_rows`]); rows that are no whole number of blocks stay f16.
    Q8,
    /// 16-bit floats.
    F16,
    /// Linear weights of the layers in 4 bits (`Q4_0`), everything else that is large in 8.
    Q4,
    /// All that is there stays as it is.
    Kept,
}

/// The key of the texts whose embeddings a file carries. They follow from its text tower, so that a conversion leaves them out.
pub const KNOWN_TEXTS_KEY: &str = "oddlens.known_texts";
/// The tensor of their embeddings, of unit length, f32, one a row.
pub const KNOWN_TEXTS: &str = "known_texts.embeddings";

/// What a converted file holds beside its source's own keys and tensors.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// They win over the source's.
    pub keys: BTreeMap<String, Value>,
    /// Name, shape, values; stored as f32.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// A checkpoint as GGUF with additions, made piece by piece: an iterator over the file's bytes, of which no more than a few megabytes are in
/// memory at a time, whatever the size of the source. After an error it ends.
///
/// Linear and patch weights are stored as `quant` says; embedding tables as f16; everything else, which is small, and exact parts as f32. The
/// image tower's tensors come first: the beginning of the file is enough to see with.
pub struct Conversion<'a> {
    checkpoint: &'a Checkpoint,
    as_is: bool,
    header: Option<Vec<u8>>,
    tensors: Vec<OutHeader>,
    /// Those that are not the checkpoint's.
    added: BTreeMap<String, Vec<f32>>,
    made: Option<&'a Made>,
    size: u64,
    written: u64,
    /// The tensor that is written, and how many of its numbers are.
    tensor: usize,
    number: usize,
}

impl<'a> Conversion<'a> {
    /// Of `checkpoint`, of which nothing is read yet.
    ///
    /// # Errors
    /// When an addition has a tensor's name.
    pub fn new(checkpoint: &'a Checkpoint, additions: Additions, quant: Quant) -> Result<Self, WeightsError> {
        let mut keys = checkpoint.metadata.clone();
        if quant != Quant::Kept {
            keys.remove(KNOWN_TEXTS_KEY);
        }
        keys.extend(additions.keys);
        let taken = checkpoint.tensors().iter().filter(|(name, _)| quant == Quant::Kept || *name != KNOWN_TEXTS);
        let own = taken.map(|(name, info)| OutHeader {
            dtype: if quant == Quant::Kept { info.dtype } else { stored_as(name, &info.shape, quant) },
            name: name.clone(),
            shape: rows_of(&info.shape),
        });
        let mut tensors: Vec<_> = own.collect();
        let mut added = BTreeMap::new();
        for (name, shape, values) in additions.tensors {
            tensors.push(OutHeader { name: name.clone(), shape, dtype: DType::F32 });
            if tensors.iter().filter(|t| t.name == name).count() > 1 || added.insert(name.clone(), values).is_some() {
                return Err(super::malformed("GGUF", "tensors", "each name once", format!("{name} twice")));
            }
        }
        // by name: what belongs to a layer lies together
        tensors.sort_by_key(|t| (!is_to_see_with(&t.name), t.name.clone()));
        let header = gguf::header(&keys, &tensors);
        let size = tensors.iter().fold(header.len() as u64, |at, t| at + gguf::padding(at) as u64 + t.bytes());
        let as_is = quant == Quant::Kept;
        let header = Some(header);
        Ok(Self { checkpoint, as_is, header, tensors, added, made: None, size, written: 0, tensor: 0, number: 0 })
    }

    /// The same, where tensors of the same file were converted before: those are read instead of made.
    #[must_use]
    pub fn with(self, made: Option<&'a Made>) -> Self {
        Self { made, ..self }
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The whole file, or what is left of it, in memory.
    ///
    /// # Errors
    /// When a tensor cannot be read or holds NaN or infinity, or the file does not fit into memory.
    pub fn into_bytes(self) -> Result<Vec<u8>, WeightsError> {
        let mut out = Vec::new();
        let size = 0..self.size - self.written;
        if !usize::try_from(size.end).is_ok_and(|size| out.try_reserve_exact(size).is_ok()) {
            return Err(unreadable(&size, "they do not fit into memory"));
        }
        for piece in self {
            out.extend_from_slice(&piece?);
        }
        Ok(out)
    }

    /// The next piece of the present tensor.
    fn piece(&mut self) -> Result<Vec<u8>, WeightsError> {
        let out = &self.tensors[self.tensor];
        let count = count(&out.shape).unwrap_or(0);
        let info = self.checkpoint.tensors().get(&out.name);
        let range = self.number..count.min(self.number + numbers_at_once(out, info));
        let bytes = match (self.added.get(&out.name), info) {
            (Some(values), _) => converted(out, range.start, &values[range.clone()])?,
            (None, Some(info)) if self.as_is => self.checkpoint.source().read(info.bytes_of(&range))?.into_owned(),
            (None, Some(info)) => match self.made.and_then(|made| made.read(info, out, &range)) {
                Some(bytes) => bytes,
                None => converted_piece(self.checkpoint, out, info, range.clone())?,
            },
            (None, None) => converted(out, range.start, &[])?,
        };
        (self.tensor, self.number) = if range.end == count { (self.tensor + 1, 0) } else { (self.tensor, range.end) };
        Ok(bytes)
    }
}

impl Iterator for Conversion<'_> {
    type Item = Result<Vec<u8>, WeightsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = match self.header.take() {
            Some(header) => Ok(header),
            None if self.tensor == self.tensors.len() => return None,
            None => {
                let padding = if self.number == 0 { gguf::padding(self.written) } else { 0 };
                self.piece().map(|piece| if padding > 0 { [vec![0; padding], piece].concat() } else { piece })
            }
        };
        match &bytes {
            Ok(bytes) => self.written += bytes.len() as u64,
            Err(_) => self.tensor = self.tensors.len(),
        }
        Some(bytes)
    }
}

/// How many numbers of a tensor that is stored as `out` are converted at a time: whole rows, since a row has one scale; a transposed matrix at
/// once, since its rows lie scattered.
pub(super) fn numbers_at_once(out: &OutHeader, info: Option<&TensorInfo>) -> usize {
    let row = out.shape.last().copied().unwrap_or(1);
    match info {
        Some(info) if info.transposed => count(&out.shape).unwrap_or(0),
        _ if out.dtype == DType::Q8_0 => (PIECE / row.max(1)).max(1) * row,
        _ => PIECE,
    }
}

/// Some of a tensor's numbers as they are stored: as many at a time as [`numbers_at_once`] says.
///
/// # Errors
/// When they cannot be read, or are not finite, or too large for the type.
pub(super) fn converted_piece(
    checkpoint: &Checkpoint,
    out: &OutHeader,
    info: &TensorInfo,
    range: Range<usize>,
) -> Result<Vec<u8>, WeightsError> {
    if info.transposed {
        return converted(out, 0, &checkpoint.f32(&out.name, &info.shape)?);
    }
    if out.dtype == DType::Q8_0 && info.dtype == DType::Q8_0 {
        let bytes = checkpoint.source().read(info.bytes_of(&range))?;
        // rounded once more, they would not be the same
        if are_rows(&bytes, out.shape.last().copied().unwrap_or(1), lane_norm(&out.name)) {
            return Ok(bytes.into_owned());
        }
    }
    let start = range.start;
    converted(out, start, &checkpoint.numbers(&out.name, info, range)?)
}

/// Numbers, of which the first is number `start` of the tensor, as they are stored.
fn converted(out: &OutHeader, start: usize, values: &[f32]) -> Result<Vec<u8>, WeightsError> {
    if out.dtype != DType::F32 && values.iter().any(|v| v.abs() > 65_504.0) {
        let got = values.iter().copied().fold(0f32, |a, v| if v.abs() > a.abs() { v } else { a });
        let index = start + values.iter().position(|&v| v == got).unwrap_or(0);
        return Err(WeightsError::NotFinite { name: format!("{} (in f16)", out.name), index, got });
    }
    Ok(match out.dtype {
        DType::Q8_0 => encode_q8_0_rows(values, out.shape.last().copied().unwrap_or(1), lane_norm(&out.name)),
        dtype => dtype.encode(values),
    })
}

/// A convolution's kernel is a matrix: one row an output channel.
pub(super) fn rows_of(shape: &[usize]) -> Vec<usize> {
    match shape[..] {
        [n, c, h, w] => vec![n, c.saturating_mul(h).saturating_mul(w)],
        _ => shape.to_vec(),
    }
}

/// The type that a conversion gives a tensor of that shape.
pub(super) fn stored_as(name: &str, shape: &[usize], quant: Quant) -> DType {
    let shape = rows_of(shape);
    let row = shape.last().copied().unwrap_or(1);
    if shape.len() < 2 || name.contains(".exact_") { DType::F32 } else { matrix_type(name, row, quant) }
}

/// What the norm of a lane of a tensor's codes must not be beyond: those of the image tower's layers, which kernels for 7 bits take over as
/// they are. Codes beyond it would be rounded once more each time that the file is read, which takes longer than reading it.
fn lane_norm(name: &str) -> Option<f32> {
    (name.starts_with("vision_model.") && name.contains(".layers.")).then_some(quads::WEIGHT_NORM)
}

/// Whether a tensor belongs to what a file begins with: the image tower, and texts to compare with.
pub fn is_to_see_with(name: &str) -> bool {
    name.starts_with("vision_model.") || name.starts_with("visual_projection.") || name == KNOWN_TEXTS
}

/// The whole file of a [`Conversion`].
///
/// # Errors
/// As [`Conversion::into_bytes`].
pub fn to_gguf(checkpoint: &Checkpoint, additions: Additions, quant: Quant) -> Result<Vec<u8>, WeightsError> {
    Conversion::new(checkpoint, additions, quant)?.into_bytes()
}

/// How a matrix with rows of `row` numbers is stored.
fn matrix_type(name: &str, row: usize, quant: Quant) -> DType {
    let is_table = name.contains("token_embedding") || name.contains("position_embedding");
    let blocks = DType::Q8_0.bytes_for(row).is_some();
    match quant {
        Quant::Q4 if blocks && name.contains(".layers.") => DType::Q4_0,
        // positions are few
        Quant::Q4 if blocks && !name.contains("position_embedding") => DType::Q8_0,
        Quant::Q8 if blocks && !is_table => DType::Q8_0,
        _ => DType::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::super::gguf::OutTensor;
    use super::*;

    #[test]
    fn a_checkpoint_survives() {
        let matrix: Vec<f32> = (0..2 * 3 * 4 * 8).map(|i| (i % 17) as f32 - 8.0).collect();
        let tensors = [
            OutTensor {
                name: "conv".into(),
                shape: vec![2, 3, 4, 8],
                dtype: DType::F32,
                bytes: DType::F32.encode(&matrix),
            },
            OutTensor {
                name: "odd".into(),
                shape: vec![2, 3],
                dtype: DType::F32,
                bytes: DType::F32.encode(&matrix[..6]),
            },
            OutTensor { name: "bias".into(), shape: vec![2], dtype: DType::F32, bytes: DType::F32.encode(&[0.1, 0.2]) },
        ];
        let from = Checkpoint::read(gguf::write(&BTreeMap::new(), &tensors)).expect("our own file");
        let keys = BTreeMap::from([("general.name".to_string(), Value::Text("x".into()))]);
        let to = Checkpoint::read(
            to_gguf(
                &from,
                Additions { keys, tensors: vec![("a.exact_inputs".into(), vec![1, 2], vec![0.1, 0.2])] },
                Quant::Q8,
            )
            .expect("finite"),
        )
        .expect("our own file");
        assert_eq!(to.tensors()["conv"].dtype, DType::Q8_0);
        assert_eq!(to.tensors()["odd"].dtype, DType::F16);
        assert_eq!(to.f32("bias", &[2]).expect("bias"), [0.1, 0.2]);
        assert_eq!(to.metadata["general.name"], Value::Text("x".into()));
        for (a, b) in to.f32("conv", &[2, 3, 4, 8]).expect("conv").iter().zip(&matrix) {
            assert!((a - b).abs() < 0.05, "{a} {b}");
        }
    }

    /// Piece by piece comes what is written in one go; the image tower first.
    #[test]
    fn pieces_make_the_file() {
        let numbers = |count: usize| (0..count).map(|i| (i * 7919 % 1013) as f32 / 64.0 - 8.0).collect::<Vec<f32>>();
        let (rows, row) = (PIECE / 4096 + 3, 4096);
        let shapes = [
            ("visual_projection.weight", vec![3, 64]),
            ("vision_model.layers.large.weight", vec![rows, row]),
            ("vision_model.odd", vec![PIECE + 5]),
            ("vision_model.none", vec![0, 64]),
            ("text_model.embeddings.token_embedding.weight", vec![rows, row]),
            ("text_model.odd.weight", vec![rows, 33]),
            ("logit_scale", vec![]),
        ];
        let out = |(name, shape): &(&str, Vec<usize>), dtype: DType| {
            let values = numbers(shape.iter().product());
            let row = shape.last().copied().unwrap_or(1);
            let bytes = if dtype == DType::Q8_0 {
                encode_q8_0_rows(&values, row, lane_norm(name))
            } else {
                dtype.encode(&values)
            };
            OutTensor { name: name.to_string(), shape: shape.clone(), dtype, bytes }
        };
        let from: Vec<_> = shapes.iter().map(|t| out(t, DType::F32)).collect();
        let from = Checkpoint::read(gguf::write(&BTreeMap::new(), &from)).expect("our own file");
        let added =
            ("vision_model.layers.large.weight.exact_inputs".to_string(), vec![1, PIECE + 1], numbers(PIECE + 1));
        let keys = BTreeMap::from([("general.name".to_string(), Value::Text("x".into()))]);
        let additions = Additions { keys: keys.clone(), tensors: vec![added] };
        let conversion = Conversion::new(&from, additions, Quant::Q8).expect("names");
        let size = conversion.size();
        let pieces: Vec<_> = conversion.map(|piece| piece.expect("finite")).collect();
        assert!(pieces.iter().all(|piece| piece.len() <= 4 * PIECE + 32), "pieces are small");
        let tensors: Vec<_> = [
            (&shapes[1], DType::Q8_0),
            (&("vision_model.layers.large.weight.exact_inputs", vec![1, PIECE + 1]), DType::F32),
            (&shapes[3], DType::Q8_0),
            (&shapes[2], DType::F32),
            (&shapes[0], DType::Q8_0),
            (&shapes[6], DType::F32),
            (&shapes[4], DType::F16),
            (&shapes[5], DType::F16),
        ]
        .map(|(t, dtype)| out(t, dtype))
        .into();
        let whole = gguf::write(&keys, &tensors);
        assert!(pieces.concat() == whole, "the same bytes");
        assert_eq!(size, whole.len() as u64);
    }

    /// A file may say that it has none of the longest rows there could be.
    #[test]
    fn no_rows_take_no_memory() {
        let header =
            format!(r#"{{"a.weight":{{"dtype":"F32","shape":[0,{}],"data_offsets":[0,0]}}}}"#, usize::MAX / 64 * 32);
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        let from = Checkpoint::read(bytes).expect("no rows");
        for quant in [Quant::Q8, Quant::Q4, Quant::F16] {
            let made = to_gguf(&from, Additions::default(), quant);
            assert!(made.is_ok_and(|file| file.len() < 1000), "{quant:?}");
        }
    }

    #[test]
    fn numbers_too_large_for_f16_are_refused() {
        let bytes = DType::F32.encode(&[1e6; 6]);
        let tensors = [OutTensor { name: "w".into(), shape: vec![2, 3], dtype: DType::F32, bytes }];
        let from = Checkpoint::read(gguf::write(&BTreeMap::new(), &tensors)).expect("our own file");
        assert!(to_gguf(&from, Additions::default(), Quant::F16).is_err());
    }
}
