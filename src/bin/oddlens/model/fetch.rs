//! `oddlens model fetch`: a published model, or one at an address, into a folder of models as a page offers them.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use oddlens::clip::Sidecars;
use oddlens::clip::tokenizer::parse_merges;
use oddlens::eval::paths::{one_line, replace};
use oddlens::weights::manifest::check_address;
use oddlens::weights::{Checkpoint, Format, Naming};

use super::published::{self, PUBLISHED, Place, Published};
use super::shelf::{self, ShelfArgs, Words, short};
use crate::download::{Checked, Client, DownloadError, Fetched, beside, forget};
use crate::load::{Activation, Neighbours, read};
use crate::report::visible;
use crate::{Done, Failure, say};

/// Where the hub is, unless somebody says otherwise.
const HUB: &str = "https://huggingface.co";
/// The variable that other programs, too, take another hub from.
const HUB_VARIABLE: &str = "HF_ENDPOINT";

const EXAMPLES: &str = "\
Examples:
  oddlens model fetch vit-b-32
  oddlens model fetch tinyclip-8m --out dist/weights --default
  oddlens model fetch https://example.org/models/clip.safetensors --sha256 40d3...
  oddlens score --normal dog --model models/vit-b-32.gguf pictures/

Names:
  vit-b-32        OpenAI's ViT-B/32, the model of the paper: 338 MB
  vit-b-32-laion  OpenCLIP's ViT-B/32, trained on LAION-2B: 605 MB
  tinyclip-8m     TinyCLIP of 8 + 3 million parameters: 94 MB

The file is checked against a SHA-256 that is known beforehand or declared by the hub; where there
is none, that is said. A download that is cut goes on where it was, at the next start, too. Then it
goes the way of 'oddlens model add', with the config.json (or open_clip_config.json) beside it.

Exit status: 0 it is there, 1 it could not be had, is not what was expected, or fails the
self-test, 2 wrong usage (also: it is no usable CLIP).";

/// Download a model, check, convert and test it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model's name, or the https address of a file
    #[arg(value_name = "NAME|ADDRESS")]
    source: String,
    #[command(flatten)]
    shelf: ShelfArgs,
    /// Only download: the file as it is, and its configuration beside it; no manifest
    #[arg(long)]
    no_convert: bool,
    /// SHA-256 that the file must have
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Option<String>,
    /// The hub, or a mirror of it [default: HF_ENDPOINT, else https://huggingface.co]
    #[arg(long, value_name = "ADDRESS")]
    hub: Option<String>,
    /// The model's activation, where neither the file nor a configuration beside it tells
    #[arg(long, value_enum)]
    activation: Option<Activation>,
    /// Seconds without a byte after which a connection counts as cut
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected 64 hexadecimal digits".into())
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        Failure::Failed(error.to_string())
    }
}

/// What is to be fetched.
struct Wanted {
    address: String,
    /// The file's own name.
    file: String,
    id: String,
    published: Option<&'static Published>,
}

/// Fetches a model.
///
/// # Errors
/// When it cannot be had, is not what was expected, or the folder cannot be written; as [`shelf::put`].
pub fn run(arguments: Args) -> Result<Done, Failure> {
    let wanted = wanted(&arguments)?;
    let folder = &arguments.shelf.out;
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {}", folder.display(), one_line(&error))))?;
    let client = Client::new(Duration::from_secs(arguments.timeout));
    let part = folder.join(format!("{}-{}.part", wanted.id, wanted.file));
    let pinned = arguments.sha256.as_deref().or(wanted.published.and_then(|model| model.sha256));
    let fetched = client.fetch(&wanted.address, &part, pinned)?;
    say(&told(&wanted.address, &fetched));
    let checkpoint = match read(&part) {
        Ok((checkpoint, _)) => checkpoint,
        // what is no model today is none tomorrow
        Err(Failure::Usage(message)) => {
            forget(&part);
            let reason = message.split_once(": ").map_or(message.as_str(), |(_, reason)| reason);
            return Err(Failure::Failed(format!("{}: {reason}; nothing is kept", wanted.address)));
        }
        Err(failure) => return Err(failure),
    };
    let config = configuration(&client, &wanted, &checkpoint)?;
    if arguments.no_convert {
        return as_it_is(folder, &wanted, &part, config);
    }
    let mut sidecars = Neighbours::none(arguments.activation).read()?;
    for (name, text) in config.into_iter().chain(others(&client, &wanted, &checkpoint)?) {
        take(&mut sidecars, name, text)
            .map_err(|error| Failure::Usage(format!("{}: {error}", beside(&wanted.address, name))))?;
    }
    let kept =
        |message: String| format!("{message}; the download is kept: the next start goes on from {}", part.display());
    shelf::put(&arguments.shelf, &wanted.id, words(&wanted), checkpoint, &sidecars).map_err(
        |failure| match failure {
            Failure::Usage(message) => Failure::Usage(kept(message)),
            Failure::Failed(message) => Failure::Failed(kept(message)),
            failure @ Failure::Output(_) => failure,
        },
    )?;
    forget(&part);
    Ok(Done::All)
}

fn wanted(arguments: &Args) -> Result<Wanted, Failure> {
    let source = &arguments.source;
    let (address, published) = match published::by_id(source) {
        Some(model) => (address_of(model, arguments.hub.as_deref())?, Some(model)),
        None if source.contains("://") => (source.clone(), None),
        None => {
            let known: Vec<&str> = PUBLISHED.iter().map(|model| model.id).collect();
            let message =
                format!("expected one of {}, or an https address; got '{}'", known.join(", "), visible(source));
            let hint = if Path::new(source).exists() { "; a file is added with 'oddlens model add'" } else { "" };
            return Err(Failure::Usage(format!("{message}{hint}")));
        }
    };
    check_address(&address).map_err(|error| Failure::Usage(error.to_string()))?;
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let own = published.map_or_else(|| short(stem), |model| model.id.into());
    let id = arguments.shelf.id.clone().unwrap_or(own);
    if id.is_empty() || short(last).is_empty() {
        return Err(Failure::Usage(format!("expected the address of a file, got '{}'", visible(source))));
    }
    // with capitals as they are: it is the file's own name
    let file =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect::<String>();
    Ok(Wanted { address, file: file.trim_start_matches('.').into(), id, published })
}

fn address_of(model: &Published, hub: Option<&str>) -> Result<String, Failure> {
    match model.place {
        Place::Address(address) => Ok(address.into()),
        Place::Hub { repository, revision, file } => {
            let of_others = env::var(HUB_VARIABLE).ok().filter(|hub| !hub.is_empty());
            let hub = hub.map(str::to_string).or(of_others).unwrap_or_else(|| HUB.into());
            check_address(&hub).map_err(|error| Failure::Usage(format!("the hub: {error}")))?;
            Ok(format!("{}/{repository}/resolve/{revision}/{file}", hub.trim_end_matches('/')))
        }
    }
}

fn told(address: &str, fetched: &Fetched) -> String {
    let Fetched { bytes, sha256, checked } = fetched;
    let how = match checked {
        Checked::Pinned => "as known beforehand",
        Checked::Declared => "as the hub declares",
        Checked::Nothing => "nothing was there to check it against",
    };
    format!("{address}: {bytes} bytes, SHA-256 {sha256}, {how}")
}

/// Name and text of the geometry beside the model, where it needs one and there is one.
fn configuration(
    client: &Client,
    wanted: &Wanted,
    checkpoint: &Checkpoint,
) -> Result<Option<(&'static str, String)>, Failure> {
    // OpenAI's archive lies alone, and says everything itself
    let alone = wanted.published.is_some_and(|model| matches!(model.place, Place::Address(_)));
    if checkpoint.format() == Format::Gguf || alone {
        return Ok(None);
    }
    let name = if checkpoint.naming() == Naming::OpenAi { "open_clip_config.json" } else { "config.json" };
    Ok(client.small(&beside(&wanted.address, name))?.map(|text| (name, text)))
}

/// What only pruned models have beside them; a published one is none.
fn others(client: &Client, wanted: &Wanted, checkpoint: &Checkpoint) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut found = Vec::new();
    if wanted.published.is_none() && checkpoint.format() != Format::Gguf {
        for name in ["token_ids.json", "vocabulary.json", "merges.txt"] {
            found.extend(client.small(&beside(&wanted.address, name))?.map(|text| (name, text)));
        }
    }
    Ok(found)
}

fn take(sidecars: &mut Sidecars, name: &str, text: String) -> Result<(), serde_json::Error> {
    match name {
        "token_ids.json" => sidecars.token_ids = Some(crate::load::parse_token_ids(&text)?),
        "vocabulary.json" => sidecars.vocabulary = Some(crate::load::parse_vocabulary(&text)?),
        "merges.txt" => sidecars.merges = Some(parse_merges(&text)),
        _ => sidecars.config = Some(text),
    }
    Ok(())
}

/// Leaves the file under its own name, and the configuration beside it.
fn as_it_is(
    folder: &Path,
    wanted: &Wanted,
    part: &Path,
    config: Option<(&'static str, String)>,
) -> Result<Done, Failure> {
    let path = folder.join(&wanted.file);
    let cannot = |path: &Path, error: std::io::Error| {
        Failure::Failed(format!("cannot write {}: {}", path.display(), one_line(&error)))
    };
    if let Some((name, text)) = config {
        let path = folder.join(name);
        replace(&path, text.as_bytes()).map_err(|error| cannot(&path, error))?;
    }
    fs::rename(part, &path).map_err(|error| cannot(&path, error))?;
    forget(part);
    say(&format!("written to {}", path.display()));
    Ok(Done::All)
}

fn words(wanted: &Wanted) -> Words {
    match wanted.published {
        Some(model) => Words { name: model.name.into(), can: model.can.into(), cannot: model.cannot.into() },
        None => {
            let host = wanted.address.split('/').nth(2).unwrap_or_default();
            Words {
                name: wanted.id.clone(),
                can: format!("Not known here: this model came from {host}."),
                cannot: "Not known here: measure it with 'oddlens eval' on pictures like yours.".into(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_model() {
        assert!(PUBLISHED.iter().all(|model| EXAMPLES.contains(&format!("\n  {} ", model.id))));
    }

    #[test]
    fn hubs_may_be_others() {
        let model = published::by_id("vit-b-32-laion").unwrap();
        let path = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/model.safetensors";
        let mirror = address_of(model, Some("https://mirror.example/hf/")).unwrap();
        assert_eq!(mirror, format!("https://mirror.example/hf/{path}"));
        assert!(address_of(model, Some("http://mirror.example")).is_err());
        let fixed = published::by_id("vit-b-32").unwrap();
        assert!(address_of(fixed, Some("https://mirror.example")).unwrap().ends_with("/ViT-B-32.pt"));
    }
}
