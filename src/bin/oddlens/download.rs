//! A large file from the network to disk: with progress, going on where it was cut, and checked while it comes.
//!
//! Redirects are followed here, hop by hop, because hubs say on the first answer what the file is that lies behind the last: the
//! Hugging Face hub gives size and SHA-256 as `X-Linked-Size` and `X-Linked-ETag` (its documentation of `huggingface_hub`, "File
//! download"). A file that is cut is gone on with by `Range`, guarded by `If-Range` (RFC 9110, sections 13.1.5 and 14), so that two
//! versions of a file are never mixed; a note beside the part file keeps what that needs from one start to the next.
//!
//! It does not know what is in the file, beyond that it is no web page.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oddlens::eval::paths::{one_line, replace};
use oddlens::weights::manifest::{check_address, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::say;

/// A hub sends one or two redirects; as many as browsers follow would be a loop.
const MOST_REDIRECTS: usize = 5;
/// A configuration has some kilobytes.
const MOST_SMALL_BYTES: u64 = 1 << 20;
/// How long to wait before asking again.
const BACKOFF: Duration = Duration::from_secs(1);
const BUFFER_BYTES: usize = 1 << 16;

/// Why a file could not be had: one line saying what, expected, got.
#[derive(Debug, Error)]
pub enum DownloadError {
    #[error("{address}: expected the file, got status {status}{}", hint(*status))]
    Status { address: String, status: StatusCode },
    #[error("{address}: expected a model file, got a web page")]
    Page { address: String },
    #[error("{address}: expected at most {MOST_REDIRECTS} redirects, got more")]
    Redirects { address: String },
    #[error("{address}: expected a redirect to an https address, got '{to}'")]
    Redirect { address: String, to: String },
    #[error(
        "{address}: cut off twice: expected {expected}, got {got}: {reason}; what has come is kept, and the next start goes on from it"
    )]
    Cut { address: String, expected: String, got: u64, reason: String },
    #[error("{address}: expected an answer, got {reason}")]
    Unreached { address: String, reason: String },
    #[error("{address}: expected {expected} bytes, got {got}; nothing is kept")]
    Size { address: String, expected: u64, got: u64 },
    #[error("{address}: expected SHA-256 {expected} ({whose}), got {got}; nothing is kept")]
    Checksum { address: String, expected: String, whose: &'static str, got: String },
    #[error("{}: {}", path.display(), one_line(error))]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: expected to be the only run that fetches this file, got another that does", path.display())]
    Busy { path: PathBuf },
}

fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => " (a file for which one must sign in is to be downloaded by hand)",
        404 | 410 => " (no such file there)",
        _ => "",
    }
}

/// What the bytes were held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// A checksum that was known beforehand.
    Pinned,
    /// The one that the hub declares.
    Declared,
    /// Nothing: there was none.
    Nothing,
}

impl Checked {
    fn of(pinned: Option<&str>, declared: Option<&str>) -> Self {
        match (pinned, declared) {
            (Some(_), _) => Checked::Pinned,
            (None, Some(_)) => Checked::Declared,
            (None, None) => Checked::Nothing,
        }
    }

    fn whose(self) -> &'static str {
        match self {
            Checked::Pinned => "known beforehand",
            Checked::Declared => "declared by the hub",
            Checked::Nothing => "unknown",
        }
    }
}

/// A file that is there, whole.
#[derive(Debug)]
pub struct Fetched {
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    pub checked: Checked,
}

/// How a server's answer to an unfinished file is recognised as being about the same file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Note {
    address: String,
    /// The last host's, strong.
    etag: Option<String>,
    /// Size of the whole file.
    bytes: Option<u64>,
    /// SHA-256 that the hub declares.
    declared: Option<String>,
    /// SHA-256 of the part file, where it is the whole file and was checked.
    whole: Option<String>,
}

/// Asks servers.
pub struct Client {
    agent: Agent,
}

/// Why an attempt ended.
enum Trouble {
    /// Worth another.
    Cut(String),
    Final(DownloadError),
}

impl From<DownloadError> for Trouble {
    fn from(error: DownloadError) -> Self {
        Trouble::Final(error)
    }
}

/// An answer behind all redirects.
struct Answer {
    response: Response<Body>,
    /// By the hub, on the way.
    declared: Option<String>,
    declared_bytes: Option<u64>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.response, name)
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

impl Client {
    /// A connection on which nothing comes for `patience` counts as cut.
    pub fn new(patience: Duration) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("oddlens/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // the system's certificates: a firm's proxy or mirror has its own
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .max_redirects(0)
            .max_redirects_will_error(false)
            // a connection that was left is not used again
            .max_idle_connections(0)
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .build();
        Self { agent: config.new_agent() }
    }

    /// A small text beside a model; `None` where there is none.
    ///
    /// # Errors
    /// When the host cannot be reached or answers with something else.
    pub fn small(&self, address: &str) -> Result<Option<String>, DownloadError> {
        let again = || {
            thread::sleep(BACKOFF);
            self.small_once(address)
        };
        match self.small_once(address).or_else(|trouble| match trouble {
            Trouble::Cut(_) => again(),
            trouble @ Trouble::Final(_) => Err(trouble),
        }) {
            Ok(text) => Ok(text),
            Err(Trouble::Final(error)) => Err(error),
            Err(Trouble::Cut(reason)) => Err(DownloadError::Unreached { address: address.into(), reason }),
        }
    }

    fn small_once(&self, address: &str) -> Result<Option<String>, Trouble> {
        let answer = self.ask(address, None)?;
        match answer.response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(refused(address, status)),
        }
        let mut bytes = Vec::new();
        let mut reader = answer.response.into_body().into_reader().take(MOST_SMALL_BYTES + 1);
        reader.read_to_end(&mut bytes).map_err(|error| Trouble::Cut(said(&error)))?;
        if bytes.len() as u64 > MOST_SMALL_BYTES {
            let got = bytes.len() as u64;
            return Err(DownloadError::Size { address: address.into(), expected: MOST_SMALL_BYTES, got }.into());
        }
        match String::from_utf8(bytes) {
            Ok(text) if !is_page(text.as_bytes()) => Ok(Some(text)),
            _ => Err(DownloadError::Page { address: address.into() }.into()),
        }
    }

    /// The answer behind all redirects, from byte `range.0` on if the file is still `range.1`.
    fn ask(&self, address: &str, range: Option<(u64, Option<&str>)>) -> Result<Answer, Trouble> {
        let (mut declared, mut declared_bytes) = (None, None);
        let mut at = address.to_string();
        for _ in 0..=MOST_REDIRECTS {
            // packed on the way, sizes and ranges would be those of the package
            let mut request = self.agent.get(&at).header("Accept-Encoding", "identity");
            if let Some((from, etag)) = range {
                request = request.header("Range", format!("bytes={from}-"));
                if let Some(etag) = etag {
                    request = request.header("If-Range", etag);
                }
            }
            let response = request.call().map_err(|error| Trouble::Cut(one_line_of(&error.to_string())))?;
            declared = declared.or_else(|| header(&response, "x-linked-etag").and_then(checksum));
            declared_bytes = declared_bytes.or_else(|| header(&response, "x-linked-size")?.parse().ok());
            if !response.status().is_redirection() {
                return Ok(Answer { response, declared, declared_bytes });
            }
            let to = header(&response, "location").unwrap_or_default();
            let next = joined(&at, to);
            if check_address(&next).is_err() {
                let to: String = to.chars().take(160).collect();
                return Err(
                    DownloadError::Redirect { address: address.into(), to: to.escape_default().to_string() }.into()
                );
            }
            at = next;
        }
        Err(DownloadError::Redirects { address: address.into() }.into())
    }

    /// Brings the file at `address` to `part`, or what is missing of it. When it is there, `part` holds it whole; [`forget`] takes
    /// it away.
    ///
    /// # Errors
    /// When it cannot be had (what has come of it is kept) or is not what was expected (nothing is kept).
    pub fn fetch(&self, address: &str, part: &Path, pinned: Option<&str>) -> Result<Fetched, DownloadError> {
        let io = |error| DownloadError::Io { path: part.to_path_buf(), error };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part).map_err(io)?;
        if file.try_lock().is_err() {
            return Err(DownloadError::Busy { path: part.to_path_buf() });
        }
        let note = fs::read(note_path(part)).ok().and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        let note = note.filter(|note| note.address == address);
        let mut transfer = Transfer {
            client: self,
            address,
            part,
            pinned,
            file,
            sum: Sha256::new(),
            have: 0,
            note: note.clone().unwrap_or_default(),
            bar: bar(),
        };
        transfer.note.address = address.into();
        // what is there without a note is of unknown origin
        if note.is_some() {
            transfer.look().map_err(io)?
        } else {
            transfer.empty().map_err(io)?
        };
        let result = transfer.run();
        transfer.bar.finish_and_clear();
        drop(transfer);
        let keep = matches!(&result, Ok(_) | Err(DownloadError::Cut { .. } | DownloadError::Io { .. }));
        if !keep {
            forget(part);
        }
        result
    }
}

/// Removes a part file and the note beside it.
pub fn forget(part: &Path) {
    // what cannot be removed is overwritten by the next start
    let _ = fs::remove_file(part);
    let _ = fs::remove_file(note_path(part));
}

fn note_path(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_os_string();
    name.push(".json");
    name.into()
}

/// A file on its way.
struct Transfer<'a> {
    client: &'a Client,
    address: &'a str,
    part: &'a Path,
    pinned: Option<&'a str>,
    file: File,
    /// Of what is in the file.
    sum: Sha256,
    /// Bytes in the file.
    have: u64,
    note: Note,
    bar: ProgressBar,
}

impl Transfer<'_> {
    fn io(&self, error: io::Error) -> DownloadError {
        DownloadError::Io { path: self.part.to_path_buf(), error }
    }

    /// Reads what is there already.
    fn look(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.have = io::copy(&mut self.file, &mut self.sum)?;
        Ok(())
    }

    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.have, self.sum) = (0, Sha256::new());
        Ok(())
    }

    fn digest(&self) -> String {
        hex(self.sum.clone().finalize())
    }

    /// What the file's checksum must be, where anybody knows.
    fn expected(&self) -> Option<&str> {
        self.pinned.or(self.note.declared.as_deref())
    }

    fn run(&mut self) -> Result<Fetched, DownloadError> {
        let digest = self.digest();
        if self.note.whole.as_ref() == Some(&digest) && self.expected().is_none_or(|expected| expected == digest) {
            say(&format!("{}: fetched before", self.address));
            return Ok(self.fetched(digest));
        }
        if self.have > 0 {
            say(&format!("{}: going on after {} bytes", self.address, self.have));
        }
        let mut furthest = self.have;
        let mut spare = true;
        loop {
            let reason = match self.attempt() {
                Ok(()) => break,
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Cut(reason)) => reason,
            };
            // each cut has one more attempt: one that brought something earns the next
            spare |= self.have > furthest;
            furthest = furthest.max(self.have);
            if !spare {
                let (address, got) = (self.address.into(), self.have);
                if got == 0 {
                    return Err(DownloadError::Unreached { address, reason });
                }
                let expected = self.note.bytes.map_or("the file".into(), |bytes| format!("{bytes} bytes"));
                return Err(DownloadError::Cut { address, expected, got, reason });
            }
            spare = false;
            let (address, have) = (self.address, self.have);
            self.bar.suspend(|| say(&format!("note: {address}: cut off after {have} bytes ({reason}); asking again")));
            thread::sleep(BACKOFF);
        }
        let digest = self.digest();
        let checked = Checked::of(self.pinned, self.note.declared.as_deref());
        if let Some(expected) = self.expected().filter(|expected| *expected != digest) {
            let (address, expected, whose) = (self.address.into(), expected.into(), checked.whose());
            return Err(DownloadError::Checksum { address, expected, whose, got: digest });
        }
        self.note.whole = Some(digest.clone());
        self.keep_note()?;
        Ok(self.fetched(digest))
    }

    fn fetched(&self, sha256: String) -> Fetched {
        Fetched { bytes: self.have, sha256, checked: Checked::of(self.pinned, self.note.declared.as_deref()) }
    }

    fn keep_note(&self) -> Result<(), DownloadError> {
        let bytes = serde_json::to_vec(&self.note).expect("a note is plain data");
        let path = note_path(self.part);
        replace(&path, &bytes).map_err(|error| DownloadError::Io { path, error })
    }

    /// Asks once and takes what comes.
    fn attempt(&mut self) -> Result<(), Trouble> {
        let etag = self.note.etag.clone();
        // without a mark of the version only a checksum would notice that the file is another by now
        let resume = self.have > 0 && (etag.is_some() || self.expected().is_some());
        let answer = self.client.ask(self.address, resume.then_some((self.have, etag.as_deref())))?;
        let status = answer.response.status();
        let same = answer.declared.is_none() || self.note.declared.is_none() || answer.declared == self.note.declared;
        if resume && (!same || status == StatusCode::RANGE_NOT_SATISFIABLE) {
            // another file by now, or there is no more of it: from the beginning
            self.empty().map_err(|error| self.io(error))?;
            self.note.etag = None;
            return self.attempt();
        }
        match status {
            StatusCode::PARTIAL_CONTENT if resume => {
                let range = answer.header("content-range").and_then(content_range);
                if range.is_none_or(|(from, _)| from != self.have) {
                    self.empty().map_err(|error| self.io(error))?;
                    let got = answer.header("content-range").unwrap_or("none").to_string();
                    return Err(Trouble::Cut(format!("the server answers with another range: {}", one_line_of(&got))));
                }
                self.note.bytes = self.note.bytes.or(range.and_then(|(_, total)| total));
            }
            StatusCode::OK => {
                self.empty().map_err(|error| self.io(error))?;
                let length = answer.header("content-length").and_then(|length| length.parse().ok());
                self.note.etag = answer.header("etag").filter(|etag| etag.starts_with('"')).map(str::to_string);
                self.note.declared = answer.declared.clone();
                self.note.bytes = answer.declared_bytes.or(length);
                self.note.whole = None;
                self.keep_note()?;
            }
            status => return Err(refused(self.address, status)),
        }
        if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(self.page().into());
        }
        self.take(answer.response.into_body().into_reader())
    }

    fn page(&self) -> DownloadError {
        DownloadError::Page { address: self.address.into() }
    }

    /// Writes what comes, up to the end of the file.
    fn take(&mut self, mut body: impl Read) -> Result<(), Trouble> {
        self.bar.set_length(self.note.bytes.unwrap_or(0));
        self.bar.set_position(self.have);
        self.bar.reset_eta();
        self.file.seek(SeekFrom::Start(self.have)).map_err(|error| self.io(error))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Cut(said(&error))),
            };
            if count == 0 {
                break;
            }
            if self.have == 0 && is_page(&buffer[..count]) {
                return Err(self.page().into());
            }
            self.file.write_all(&buffer[..count]).map_err(|error| self.io(error))?;
            self.sum.update(&buffer[..count]);
            self.have += count as u64;
            self.bar.set_position(self.have);
            if let Some(expected) = self.note.bytes.filter(|&bytes| bytes < self.have) {
                let (address, got) = (self.address.into(), self.have);
                return Err(DownloadError::Size { address, expected, got }.into());
            }
        }
        match self.note.bytes {
            Some(bytes) if self.have < bytes => Err(Trouble::Cut("the connection ended early".into())),
            _ => Ok(()),
        }
    }
}

/// A refusal that may be over in a moment is worth another attempt.
fn refused(address: &str, status: StatusCode) -> Trouble {
    if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
        Trouble::Cut(format!("status {status}"))
    } else {
        Trouble::Final(DownloadError::Status { address: address.into(), status })
    }
}

fn said(error: &io::Error) -> String {
    one_line_of(&one_line(error))
}

fn one_line_of(text: &str) -> String {
    text.chars().take(160).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Hidden where standard error is no terminal.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The checksum in an entity tag, if it is one: the hub's tags of small files are no SHA-256.
fn checksum(etag: &str) -> Option<String> {
    let text = etag.trim_start_matches("W/").trim_matches('"');
    let is_sum = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_sum.then(|| text.to_ascii_lowercase())
}

/// First byte and size of the whole in `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()))
}

fn is_page(head: &[u8]) -> bool {
    head.trim_ascii_start().starts_with(b"<")
}

/// An address as a redirect from `base` names it (RFC 3986, section 5.2, without dots in paths).
fn joined(base: &str, to: &str) -> String {
    let scheme_end = base.find("://").map_or(0, |at| at + 3);
    let host_end = base[scheme_end..].find(['/', '?', '#']).map_or(base.len(), |at| scheme_end + at);
    let path_end = base.find(['?', '#']).unwrap_or(base.len()).max(host_end);
    if to.contains("://") {
        to.into()
    } else if to.starts_with("//") {
        format!("{}{to}", &base[..scheme_end.saturating_sub(2)])
    } else if to.starts_with('/') {
        format!("{}{to}", &base[..host_end])
    } else {
        let folder = base[host_end..path_end].rfind('/').map_or(host_end, |at| host_end + at);
        format!("{}/{to}", &base[..folder])
    }
}

/// The address of `name` in the folder of the file at `address`.
pub fn beside(address: &str, name: &str) -> String {
    joined(address, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved() {
        let base = "https://hub/a/resolve/main/b.bin?x=1/2";
        for (to, expected) in [
            ("https://cdn/x", "https://cdn/x"),
            ("//cdn/x", "https://cdn/x"),
            ("/c", "https://hub/c"),
            ("c", "https://hub/a/resolve/main/c"),
        ] {
            assert_eq!(joined(base, to), expected, "{to}");
        }
        assert_eq!(
            (joined("https://hub", "c"), joined("https://hub?q", "c")),
            ("https://hub/c".into(), "https://hub/c".into())
        );
        assert_eq!(beside(base, "config.json"), "https://hub/a/resolve/main/config.json");
    }

    #[test]
    fn headers_are_read_as_they_are_written() {
        let sum = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af";
        assert_eq!(checksum(&format!("\"{sum}\"")).as_deref(), Some(sum));
        assert_eq!(checksum("\"2b1c3d\""), None);
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert!(is_page(b"\n <!doctype html>") && !is_page(b"GGUF"));
    }
}
