//! Any checkpoint that is read here to our own GGUF: Hugging Face's tensor names, clip.cpp's keys for the geometry, the
//! tokenizer's merge rules, and what a small model needs beside (ids of its token rows, its vocabulary).

use std::collections::BTreeMap;

use super::blocks::encode_q8_0_rows;
use super::gguf::{self, OutTensor};
use super::{Checkpoint, DType, Value, WeightsError};

/// How linear weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// 8 bits (`Q8_0`, see [`encode_q8_0_rows`]); rows that are no whole number of blocks stay f16.
    Q8,
    /// 16-bit floats.
    F16,
    /// Linear weights of the layers in 4 bits (`Q4_0`), everything else that is large in 8.
    Q4,
}

/// What a converted file holds beside its source's own keys and tensors.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// They win over the source's.
    pub keys: BTreeMap<String, Value>,
    /// Name, shape, values; stored as f32.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// Writes `checkpoint` as GGUF with `additions`.
///
/// Linear and patch weights are stored as `quant` says; embedding tables as f16; everything else, which is small, and exact parts as f32.
///
/// # Errors
/// When a tensor cannot be read or holds NaN or infinity.
pub fn to_gguf(checkpoint: &Checkpoint, additions: Additions, quant: Quant) -> Result<Vec<u8>, WeightsError> {
    let mut keys = checkpoint.metadata.clone();
    keys.extend(additions.keys);
    let mut tensors = Vec::new();
    for (name, info) in checkpoint.tensors() {
        // a convolution's kernel is a matrix: one row an output channel
        let shape = match info.shape[..] {
            [n, c, h, w] => vec![n, c * h * w],
            _ => info.shape.clone(),
        };
        let values = checkpoint.f32(name, &info.shape)?;
        let row = shape.last().copied().unwrap_or(1);
        let dtype =
            if shape.len() < 2 || name.contains(".exact_") { DType::F32 } else { matrix_type(name, row, quant) };
        if dtype != DType::F32 && values.iter().any(|v| v.abs() > 65_504.0) {
            let got = values.iter().copied().fold(0f32, |a, v| if v.abs() > a.abs() { v } else { a });
            let index = values.iter().position(|&v| v == got).unwrap_or(0);
            return Err(WeightsError::NotFinite { name: format!("{name} (in f16)"), index, got });
        }
        let bytes = if dtype == DType::Q8_0 { encode_q8_0_rows(&values, row) } else { dtype.encode(&values) };
        tensors.push(OutTensor { name: name.clone(), shape, dtype, bytes });
    }
    for (name, shape, values) in additions.tensors {
        tensors.push(OutTensor { name, shape, dtype: DType::F32, bytes: DType::F32.encode(&values) });
    }
    Ok(gguf::write(&keys, &tensors))
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

    #[test]
    fn numbers_too_large_for_f16_are_refused() {
        let bytes = DType::F32.encode(&[1e6; 6]);
        let tensors = [OutTensor { name: "w".into(), shape: vec![2, 3], dtype: DType::F32, bytes }];
        let from = Checkpoint::read(gguf::write(&BTreeMap::new(), &tensors)).expect("our own file");
        assert!(to_gguf(&from, Additions::default(), Quant::F16).is_err());
    }
}
