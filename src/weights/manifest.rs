//! `weights/manifest.json`: the models that a page offers.

use serde::{Deserialize, Serialize};

use super::WeightsError;
use crate::protocol::ModelEntry;

/// The models on offer; the default is one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The `id` of the model to begin with.
    pub default: String,
    pub models: Vec<ModelEntry>,
}

impl Manifest {
    /// The model named `id`, or the default.
    ///
    /// # Errors
    /// When there is none of that name; the message lists those there are.
    pub fn entry(&self, id: Option<&str>) -> Result<&ModelEntry, WeightsError> {
        let id = id.unwrap_or(&self.default);
        self.models.iter().find(|m| m.id == id).ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|m| m.id.as_str()).collect();
            WeightsError::Manifest(format!("expected one of {}, got model '{id}'", known.join(", ")))
        })
    }
}

/// Reads a manifest.
///
/// # Errors
/// When it is not JSON of this form, or its default is not in it, or a file name leaves the manifest's folder, or an address is
/// none to fetch from, or parts do not add up to the file.
pub fn parse(json: &str) -> Result<Manifest, WeightsError> {
    let manifest: Manifest = serde_json::from_str(json).map_err(|e| WeightsError::Manifest(e.to_string()))?;
    manifest.entry(None)?;
    for model in &manifest.models {
        let wrong = |expected: &str, got: &str| {
            WeightsError::Manifest(format!("model '{}': expected {expected}, got '{got}'", model.id))
        };
        let names = std::iter::once(&model.file).chain(model.parts.iter().map(|part| &part.file));
        for name in names {
            if name.is_empty() || name.contains(['/', '\\', ':']) || name.starts_with('.') {
                return Err(wrong("a plain file name", name));
            }
        }
        if let Some(address) = &model.address {
            check_address(address).map_err(|_| wrong("an https address", address))?;
        }
        if !model.parts.is_empty() {
            let sum = model.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.bytes));
            if sum != Some(model.bytes) {
                return Err(wrong(&format!("parts of {} bytes together", model.bytes), &format!("{sum:?}")));
            }
        }
    }
    Ok(manifest)
}

/// Addresses that models are fetched from: `https:`, and `http:` on this very machine.
///
/// # Errors
/// For all others.
pub fn check_address(address: &str) -> Result<(), WeightsError> {
    let here = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let follows = |start: &str, next: &[char]| address.strip_prefix(start).is_some_and(|rest| rest.starts_with(next));
    if address.starts_with("https://") || here.iter().any(|host| follows(host, &[':', '/'])) {
        Ok(())
    } else {
        Err(WeightsError::Manifest(format!("expected an https address, got '{}'", super::shown(address))))
    }
}

/// The manifest and the default model that stand in the repository, put into the command line's binary.
#[cfg(feature = "cli")]
pub mod embedded {
    use super::{Manifest, parse};

    /// The bytes of the default model.
    pub const MODEL: &[u8] = include_bytes!("../../weights/mini.gguf");

    /// The manifest.
    pub fn manifest() -> Manifest {
        parse(include_str!("../../weights/manifest.json")).expect("the repository's manifest is valid: a test reads it")
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn manifest_and_model_agree() {
            let manifest = super::manifest();
            let entry = manifest.entry(None).expect("there is a default");
            assert_eq!((entry.file.as_str(), entry.bytes), ("mini.gguf", super::MODEL.len() as u64));
            assert!(entry.bytes <= 10_000_000, "the embedded model stays below 10 MB");
            assert!(manifest.entry(Some("none")).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_addresses_and_parts_are_checked() {
        let with = |file: &str| {
            format!(
                r#"{{"default":"m","models":[{{"id":"m","name":"m","file":"{file}","bytes":1,"sha256":"","threshold":0.5,
                "threshold_source":"","can":"","cannot":""}}]}}"#
            )
        };
        assert!(parse(&with("a.gguf")).is_ok());
        for bad in ["", "../a.gguf", "/a", "https://elsewhere/a.gguf", ".hidden"] {
            assert!(parse(&with(bad)).is_err(), "{bad}");
        }
        let parts = |bytes: u64, name: &str| {
            with("a.gguf").replace(
                r#""bytes":1"#,
                &format!(
                    r#""bytes":{bytes},"parts":[{{"file":"{name}","bytes":4,"sha256":""}},{{"file":"b","bytes":3,"sha256":""}}]"#
                ),
            )
        };
        assert!(parse(&parts(7, "a")).is_ok());
        assert!(parse(&parts(8, "a")).is_err() && parse(&parts(7, "../a")).is_err());
        let from = |address: &str| with("a.gguf").replace("{\"id\"", &format!("{{\"address\":\"{address}\",\"id\""));
        for good in ["https://hub/a", "http://127.0.0.1:80/a", "http://localhost/a"] {
            assert!(parse(&from(good)).is_ok(), "{good}");
        }
        for bad in ["http://hub/a", "ftp://a", "a", "http://localhost.evil/a", "javascript:1"] {
            assert!(parse(&from(bad)).is_err(), "{bad}");
        }
        assert!(parse("{}").is_err() && parse("<html>").is_err());
        assert!(parse(r#"{"default":"x","models":[]}"#).is_err());
    }
}
