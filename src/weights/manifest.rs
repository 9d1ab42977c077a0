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
/// none to fetch from, or parts do not add up to the file, or its front is not a part of it.
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
        if let Some(front) = &model.front
            && !(1..model.bytes).contains(&front.bytes)
        {
            return Err(wrong(&format!("a front of less than {} bytes", model.bytes), &front.bytes.to_string()));
        }
    }
    Ok(manifest)
}

/// A checksum as manifests and hubs write it: lower-case hexadecimal digits.
pub fn hex(digest: impl IntoIterator<Item = u8>) -> String {
    digest.into_iter().map(|byte| format!("{byte:02x}")).collect()
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

/// The address that a person means: as it is, or a repository's name or page on Hugging Face's hub.
///
/// # Errors
/// One line: models are not fetched from there.
pub fn model_address(text: &str) -> Result<String, String> {
    const HUB: &str = "https://huggingface.co/";
    let text = text.trim();
    let named = text.strip_prefix(HUB).unwrap_or(text).trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_repository = matches!(named.split_once('/'), Some((owner, name)) if !owner.is_empty() && !name.is_empty() && name.chars().all(plain) && owner.chars().all(plain));
    if is_repository {
        return Ok(format!("{HUB}{named}/resolve/main/model.safetensors"));
    }
    check_address(text).map_err(|_| {
        let got = super::shown(text);
        format!("a model's address: expected https://… or owner/name on Hugging Face, got “{got}”")
    })?;
    // the page that shows a file
    Ok(if text.starts_with(HUB) { text.replacen("/blob/", "/resolve/", 1) } else { text.to_owned() })
}

/// A name for what lies at an address: the file's, with the repository's where the hub's form tells it.
pub fn name_of_address(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(3).collect();
    match parts[..] {
        [_, repository, "resolve", _, "model.safetensors" | "pytorch_model.bin"] => repository.to_owned(),
        [_, repository, "resolve", _, .., file] => format!("{repository}, {file}"),
        _ => parts.last().filter(|file| !file.is_empty()).map_or_else(|| "model".into(), |file| (*file).to_owned()),
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
    use super::{model_address, name_of_address, parse};

    #[test]
    fn what_people_mean_by_an_address() {
        let main = "https://huggingface.co/a/b-1.c/resolve/main/model.safetensors";
        for text in ["a/b-1.c", " https://huggingface.co/a/b-1.c ", "https://huggingface.co/a/b-1.c/"] {
            assert_eq!(model_address(text).expect("the hub's"), main);
        }
        let file = model_address("https://huggingface.co/a/b/blob/main/x.gguf").expect("the hub's");
        assert_eq!(file, "https://huggingface.co/a/b/resolve/main/x.gguf");
        assert_eq!(model_address("https://host/a/blob/b").expect("https"), "https://host/a/blob/b");
        for bad in ["", "model", "a/b c", "http://host/a", "/a", "a/b/c", "file:///a"] {
            assert!(model_address(bad).is_err(), "{bad}");
        }
        assert_eq!(name_of_address(main), "b-1.c");
        assert_eq!(name_of_address(&file), "b, x.gguf");
        assert_eq!(name_of_address("https://host/x/y.pt?download=1"), "y.pt");
        assert_eq!(name_of_address("https://host"), "model");
    }

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
        let front = |bytes: u64| {
            with("a.gguf").replace(r#""bytes":1"#, &format!(r#""bytes":7,"front":{{"bytes":{bytes},"sha256":""}}"#))
        };
        assert!(parse(&front(6)).is_ok() && parse(&front(7)).is_err() && parse(&front(0)).is_err());
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
