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
