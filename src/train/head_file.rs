//! Heads as files: a small versioned JSON with the checksum of the model whose embeddings the head was trained on.
//!
//! Reading is total: whatever the bytes are, the answer is a head that fits the model in use or one line that says what was
//! expected and what came.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Head;
use super::head::Rest;
use crate::protocol::{MAX_HEAD_BYTES, Setup};
use crate::score::{Loss, METHODS, Method};

/// The first words of every head file.
const FORMAT: &str = "oddlens-head";
/// Files of other versions are refused.
const VERSION: u32 = 1;
/// Embeddings of the widest CLIP have 1,280 numbers.
const MAX_WIDTH: usize = 8192;
const MAX_ROWS: usize = 1024;
/// Weights beyond that come from no training of ours, and would overflow a score.
const MAX_WEIGHT: f32 = 1e6;

/// Why a file is no head to use.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeadFileError {
    #[error("head file: expected at most {MAX_HEAD_BYTES} bytes, got {0}")]
    TooLarge(usize),
    #[error("head file: expected a head saved by Oddlens, got something else ({0})")]
    NotAHead(String),
    #[error("head file: expected version {VERSION}, got {0}; it was saved by another version of Oddlens")]
    Version(u32),
    #[error("head file: expected a trained method of this version, got '{0}'")]
    Method(String),
    #[error(
        "head file: expected a head for the model in use, got one for '{name}' (checksum {saved}, in use {in_use}); load that model first"
    )]
    Model { name: String, saved: String, in_use: String },
    #[error("head file: {what}: expected {expected} numbers, got {got}")]
    Shape { what: &'static str, expected: usize, got: usize },
    #[error("head file: {0}: expected finite numbers of sensible size, got others")]
    Numbers(&'static str),
}

/// A head with what must be known to use it again.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedHead {
    pub method: &'static Method,
    /// SHA-256 of the model's file, lower-case hex, and its name for people.
    pub model_sha256: String,
    pub model_name: String,
    /// What was said to be normal when it was trained. CLIP-OE is of use with these texts only.
    pub setup: Setup,
    pub normal_examples: usize,
    pub outlier_examples: usize,
    pub head: Head,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    version: u32,
    method: String,
    model_name: String,
    model_sha256: String,
    setup: Setup,
    normal_examples: usize,
    outlier_examples: usize,
    width: usize,
    scale: f32,
    shift: Vec<f32>,
    map: Vec<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bias: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    centre: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up: Option<Vec<f32>>,
}

/// The bytes to save.
pub fn write(saved: &SavedHead) -> Vec<u8> {
    let head = &saved.head;
    let (bias, centre, up) = match &head.rest {
        Rest::Nothing => (None, None, None),
        Rest::Bias(bias) => (Some(*bias), None, None),
        Rest::Centre(centre) => (None, Some(centre.clone()), None),
        Rest::Up(up) => (None, None, Some(up.clone())),
    };
    let file = File {
        format: FORMAT.into(),
        version: VERSION,
        method: saved.method.id.into(),
        model_name: saved.model_name.clone(),
        model_sha256: saved.model_sha256.clone(),
        setup: saved.setup.clone(),
        normal_examples: saved.normal_examples,
        outlier_examples: saved.outlier_examples,
        width: head.width,
        scale: head.scale,
        shift: head.shift.clone(),
        map: head.map.clone(),
        bias,
        centre,
        up,
    };
    serde_json::to_vec(&file).expect("plain data has a JSON form")
}

/// A head for the model with checksum `model_sha256`, whose embeddings have `width` numbers.
///
/// # Errors
/// When the bytes are no head, or one of another version, method or model.
pub fn read(bytes: &[u8], model_sha256: &str, width: usize) -> Result<SavedHead, HeadFileError> {
    if bytes.len() as u64 > MAX_HEAD_BYTES {
        return Err(HeadFileError::TooLarge(bytes.len()));
    }
    /// What every version has.
    #[derive(Deserialize)]
    struct Start {
        format: String,
        version: u32,
    }
    let not_a_head = |e: serde_json::Error| HeadFileError::NotAHead(e.to_string());
    let start: Start = serde_json::from_slice(bytes).map_err(not_a_head)?;
    if start.format != FORMAT {
        let got: String = start.format.chars().take(40).collect();
        return Err(HeadFileError::NotAHead(format!("its format is {got:?}")));
    }
    if start.version != VERSION {
        return Err(HeadFileError::Version(start.version));
    }
    let file: File = serde_json::from_slice(bytes).map_err(not_a_head)?;
    let short = |text: &str, n: usize| -> String { text.chars().filter(|c| !c.is_control()).take(n).collect() };
    let trained = METHODS.iter().find(|m| m.id == file.method).and_then(|method| Some((method, method.loss?)));
    let Some((method, loss)) = trained else { return Err(HeadFileError::Method(short(&file.method, 40))) };
    if file.model_sha256 != model_sha256 {
        let (saved, in_use) = (short(&file.model_sha256, 12), short(model_sha256, 12));
        return Err(HeadFileError::Model { name: short(&file.model_name, 60), saved, in_use });
    }
    let head = checked(file.width, width, loss, &file)?;
    Ok(SavedHead {
        method,
        model_sha256: file.model_sha256,
        model_name: file.model_name,
        setup: file.setup,
        normal_examples: file.normal_examples,
        outlier_examples: file.outlier_examples,
        head,
    })
}

fn checked(width: usize, expected: usize, loss: Loss, file: &File) -> Result<Head, HeadFileError> {
    let same = |what: &'static str, expected: usize, got: usize| {
        if expected == got { Ok(()) } else { Err(HeadFileError::Shape { what, expected, got }) }
    };
    same("embedding", expected.min(MAX_WIDTH), width)?;
    same("shift", width, file.shift.len())?;
    let rows = file.map.len() / width.max(1);
    let one = matches!(loss, Loss::Bce | Loss::Focal);
    if rows == 0 || rows > MAX_ROWS || (one && rows != 1) {
        return Err(HeadFileError::Shape { what: "map", expected: width, got: file.map.len() });
    }
    same("map", rows * width, file.map.len())?;
    let rest = match loss {
        Loss::Bce | Loss::Focal => Rest::Bias(file.bias.ok_or(HeadFileError::Numbers("bias"))?),
        Loss::Hsc | Loss::Dsad => Rest::Nothing,
        Loss::Dsvdd => {
            let centre = file.centre.clone().unwrap_or_default();
            same("centre", rows, centre.len())?;
            Rest::Centre(centre)
        }
        Loss::ClipOe => {
            let up = file.up.clone().unwrap_or_default();
            same("up", rows * width, up.len())?;
            Rest::Up(up)
        }
    };
    let sane = |x: &[f32]| x.iter().all(|v| v.is_finite() && v.abs() <= MAX_WEIGHT);
    let rest_sane = match &rest {
        Rest::Nothing => true,
        Rest::Bias(bias) => sane(&[*bias]),
        Rest::Centre(x) | Rest::Up(x) => sane(x),
    };
    if !(sane(&file.map) && sane(&file.shift) && sane(&[file.scale]) && rest_sane) {
        return Err(HeadFileError::Numbers("weights"));
    }
    Ok(Head { loss, width, shift: file.shift.clone(), scale: file.scale, map: file.map.clone(), rest })
}
