//! `weights/manifest.json`: the models that a page offers.

use serde::Deserialize;

use super::WeightsError;
use crate::protocol::ModelEntry;

/// The models on offer; the default is one of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
/// When it is not JSON of this form, or its default is not in it, or a file name leaves the manifest's folder.
pub fn parse(json: &str) -> Result<Manifest, WeightsError> {
    let manifest: Manifest = serde_json::from_str(json).map_err(|e| WeightsError::Manifest(e.to_string()))?;
    manifest.entry(None)?;
    for model in &manifest.models {
        if model.file.is_empty() || model.file.contains(['/', '\\', ':']) || model.file.starts_with('.') {
            let message = format!("model '{}': expected a plain file name, got '{}'", model.id, model.file);
            return Err(WeightsError::Manifest(message));
        }
    }
    Ok(manifest)
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
    fn file_names_stay_in_the_folder() {
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
        assert!(parse("{}").is_err() && parse("<html>").is_err());
        assert!(parse(r#"{"default":"x","models":[]}"#).is_err());
    }
}
