//! safetensors, through Hugging Face's own crate, which checks the header against the file.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, Metadata};

use super::gguf::Contents;
use super::names::note_integer;
use super::{DType, Source, TensorInfo, Value, WeightsError, malformed};

/// Bytes that say how long the header is.
const LENGTH: u64 = 8;
/// Longer headers than any CLIP has, by far: parsed, they take several times their length.
const MOST_HEADER: u64 = 4 << 20;

/// Whether the bytes begin like a safetensors file: a header length, then JSON.
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.len() > 9 && bytes[8] == b'{'
}

/// Reads the table of tensors. Integer tensors (legacy `position_ids`) are passed over, but for a mark of OpenAI's.
///
/// # Errors
/// When the header is broken, or a tensor is of a type that weights do not have, or the file cannot be read.
pub fn read(file: &dyn Source) -> Result<Contents, WeightsError> {
    let size = file.size();
    let begin = file.read(0..size.min(LENGTH))?;
    let length = begin.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if length > MOST_HEADER {
        return Err(malformed("safetensors", "length of the header", format!("at most {MOST_HEADER} bytes"), length));
    }
    let data = LENGTH + length;
    if data > size {
        return Err(malformed("safetensors", "header", format!("{length} bytes"), format!("{size} in the file")));
    }
    let json = file.read(LENGTH..data)?;
    let header: Metadata =
        serde_json::from_slice(&json).map_err(|e| malformed("safetensors", "header", "a valid one", e))?;
    // that tensors lie one after the other without a gap, and are as long as their shapes say, was checked
    let held = header.data_len() as u64;
    if held != size - data {
        return Err(malformed("safetensors", "data", format!("{held} bytes"), size - data));
    }
    let mut metadata = BTreeMap::new();
    for (key, value) in header.metadata().iter().flatten() {
        metadata.insert(key.clone(), Value::Text(value.clone()));
    }
    let mut tensors = BTreeMap::new();
    for (name, info) in header.tensors() {
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::Bf16,
            Dtype::I64 | Dtype::I32 => {
                note_integer(&mut metadata, &name);
                continue;
            }
            other => {
                return Err(malformed(
                    "safetensors",
                    format!("type of {name}"),
                    "f32, f16 or bf16",
                    format!("{other:?}"),
                ));
            }
        };
        let (start, end) = info.data_offsets;
        let range = data + start as u64..data + end as u64;
        tensors.insert(name, TensorInfo { shape: info.shape.clone(), dtype, range, transposed: false });
    }
    Ok((metadata, tensors))
}

#[cfg(test)]
mod tests {
    use super::super::Checkpoint;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_file_by_hand() {
        let header = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"ids":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}"#;
        let bytes = file(header, &[0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0]);
        let checkpoint = Checkpoint::read(bytes).expect("a valid file");
        assert_eq!(checkpoint.f32("w", &[1, 2]).expect("w"), [1.0, 2.0]);
        assert!(checkpoint.shape("ids").is_none());
        assert!(checkpoint.f32("w", &[2, 1]).is_err());
    }

    #[test]
    fn broken_files_are_errors() {
        for (header, data) in [
            (r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, &[0u8; 8][..]),
            (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,80]}}"#, &[0; 8]),
            (r#"{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#, &[0; 8]),
            (r#"{"w":{"dtype":"BOOL","shape":[8],"data_offsets":[0,8]}}"#, &[0; 8]),
            (r#"{"w":"#, &[0; 8]),
        ] {
            assert!(Checkpoint::read(file(header, data)).is_err(), "{header}");
        }
        let mut long = file("{}        ", &[]);
        long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Checkpoint::read(long).is_err());
        let nan = file(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &f32::NAN.to_le_bytes());
        assert!(Checkpoint::read(nan).expect("a valid file").f32("w", &[1]).is_err());
    }
}
