//! Model files from afar into this browser's own store: in as many goes as it takes, hashed while they come, and nothing kept that is
//! not what was promised. It does not know what weights are, but for their first bytes, nor what is made of them while they come.
//!
//! Resuming is by HTTP's range requests (RFC 9110, section 14). The checksum is the manifest's, or the one in the pointer that Hugging
//! Face's hub has in its repositories in place of a large file (Git LFS, docs/spec.md): the hub's header of the same meaning stands on
//! a redirect, which pages do not see.

use std::rc::Rc;

use js_sys::{Reflect, Uint8Array};
use oddlens::link::error_text;
use oddlens::protocol::ModelEntry;
use oddlens::weights::{self, manifest::hex};
use sha2::{Digest, Sha256};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortSignal, File, ReadableStream, ReadableStreamByobReader, ReadableStreamDefaultReader, RequestCache,
    RequestInit, Response, WorkerGlobalScope,
};

use crate::access::PORTION;
use crate::ahead::AsItComes;
use crate::arriving::Arriving;
use crate::fetch::{self, PROGRESS_MILLIS, Watch};
use crate::store::{self, Begun, Partial};
use crate::work::{pause, turn};

/// Before a broken connection is tried again, once.
const BACKOFF_MILLIS: i32 = 1_000;
/// Bytes that tell a file's format.
const HEAD: usize = 16;

/// What is said of a download that is stopped where it cannot be gone on with.
pub const NOTHING_KEPT: &str = "stopped, with nothing of it kept";

/// The whole file.
pub enum Held {
    /// One that a person picked.
    Picked(File),
    /// In this browser's store: its name there, and its SHA-256.
    Stored(String, String),
    /// Where there is no store, or no room in it.
    Memory(Vec<u8>),
}

/// Why there is no file.
pub enum Ended {
    /// The person wanted it so; what has come is kept.
    Paused(String),
    /// One line.
    Failed(String),
}

/// What ends one go.
enum Trouble {
    /// Worth another go.
    Cut(String),
    /// Another go now would end in the same way.
    Fatal(String),
    /// What is there is of no use.
    Useless(String),
}

/// A stretch of the file that has an address of its own.
struct Piece {
    address: String,
    start: u64,
    bytes: Option<u64>,
}

/// Where bytes go.
enum Sink {
    Store(Rc<Partial>),
    Memory(Vec<u8>),
}

impl Sink {
    fn len(&self) -> u64 {
        match self {
            Sink::Store(partial) => partial.len(),
            Sink::Memory(bytes) => bytes.len() as u64,
        }
    }

    fn clear(&mut self) -> Result<(), String> {
        match self {
            Sink::Store(partial) => partial.clear(),
            Sink::Memory(bytes) => {
                bytes.clear();
                Ok(())
            }
        }
    }

    /// Appends; where the store is full, all goes into memory.
    async fn append(&mut self, chunk: &Uint8Array, expected: Option<u64>, ahead: &mut AsItComes) -> Result<(), String> {
        if let Sink::Store(partial) = self {
            let Err(full) = partial.append_from(chunk) else { return Ok(()) };
            // the file itself goes before what was made of it
            if ahead.give_up().await && partial.append_from(chunk).is_ok() {
                return Ok(());
            }
            let mut bytes = Vec::new();
            let size = usize::try_from(expected.unwrap_or_default().max(partial.len()));
            size.ok()
                .and_then(|size| bytes.try_reserve_exact(size).ok())
                .ok_or_else(|| format!("it fits neither into this browser's store ({full}) nor into memory"))?;
            bytes.resize(partial.len() as usize, 0);
            partial.read(0, &mut bytes)?;
            let _ = partial.clear();
            *self = Sink::Memory(bytes);
        }
        match self {
            Sink::Memory(bytes) => push(bytes, chunk),
            Sink::Store(_) => Ok(()),
        }
    }
}

fn push(bytes: &mut Vec<u8>, chunk: &Uint8Array) -> Result<(), String> {
    let (start, more) = (bytes.len(), chunk.length() as usize);
    bytes.try_reserve(more).map_err(|_| format!("{} bytes do not fit into memory", start + more))?;
    bytes.resize(start + more, 0);
    chunk.copy_to(&mut bytes[start..]);
    Ok(())
}

/// What is done with a file whose front has come; one line where that cannot be used, and so neither can the whole.
pub type AtFront<'a> = &'a mut dyn FnMut(Arriving) -> Result<(), String>;

/// A download under way.
struct Download<'a> {
    entry: ModelEntry,
    pieces: Vec<Piece>,
    signal: Option<&'a AbortSignal>,
    sink: Sink,
    hash: Sha256,
    /// Bytes that were hashed.
    hashed: u64,
    /// Hears of the front, once, when it has come and is what was promised. It lies in the store then.
    at_front: Option<AtFront<'a>>,
    ahead: &'a mut AsItComes,
    /// What the host calls this version of the file.
    version: String,
    now: fn() -> f64,
    told: f64,
    progress: &'a mut dyn FnMut(u64, Option<u64>),
}

/// Fetches the file of `entry`, from where an earlier attempt ended; `at_front` hears of its front, where that comes into the store. The
/// caller holds the model's lock. What comes into the store is made ours by `ahead` meanwhile, as far as that goes.
///
/// # Errors
/// [`Ended`]; what has come so far is kept where it may still become the whole.
pub async fn file<'a>(
    entry: &ModelEntry,
    signal: Option<&'a AbortSignal>,
    now: fn() -> f64,
    progress: &'a mut dyn FnMut(u64, Option<u64>),
    at_front: Option<AtFront<'a>>,
    ahead: &'a mut AsItComes,
) -> Result<Held, Ended> {
    let mut entry = entry.clone();
    if let (Some(address), true) = (&entry.address, entry.sha256.is_empty())
        && let Some((sha256, bytes)) = declared(address, signal).await
    {
        (entry.sha256, entry.bytes) = (sha256, bytes);
    }
    let name = store::partial_name(&entry);
    let earlier = store::begun().await.into_iter().find(|b| b.entry.id == entry.id && b.file == name);
    if entry.bytes == 0 {
        entry.bytes = earlier.as_ref().map_or(0, |b| b.entry.bytes);
    }
    // no store at all, or one that refuses: memory
    let sink =
        Partial::open(&name).await.map_or_else(|_| Sink::Memory(Vec::new()), |partial| Sink::Store(Rc::new(partial)));
    let pieces = match &entry.address {
        Some(address) => vec![Piece { address: address.clone(), start: 0, bytes: total(&entry) }],
        None => {
            let mut start = 0;
            let piece = |part: &oddlens::protocol::ModelPart| {
                let version = part.sha256.get(..16).unwrap_or_default();
                let address = format!("weights/{}?v={version}", part.file);
                let piece = Piece { address, start, bytes: Some(part.bytes) };
                start += part.bytes;
                piece
            };
            entry.parts.iter().map(piece).collect()
        }
    };
    // without a name of the version, nor a checksum, nobody could tell whether two halves belong together
    let version = earlier.map(|b| b.version).filter(|version| !version.is_empty() || !entry.sha256.is_empty());
    let mut download = Download {
        entry,
        pieces,
        signal,
        sink,
        hash: Sha256::new(),
        hashed: 0,
        at_front,
        ahead,
        version: version.clone().unwrap_or_default(),
        now,
        told: now(),
        progress,
    };
    let begun = if version.is_some() { download.hash_again().await } else { download.start_anew().await };
    let outcome = match begun {
        Ok(()) => download.run().await,
        Err(e) => Err(e),
    };
    let (len, id) = (download.sink.len(), download.entry.id);
    download.ahead.let_go();
    let of = if download.entry.bytes > 0 { format!(" of {}", download.entry.bytes) } else { String::new() };
    let held = match download.sink {
        Sink::Store(partial) => {
            let _ = partial.flush();
            None
        }
        Sink::Memory(bytes) => Some(bytes),
    };
    let is_kept = held.is_none() && len > 0 && !matches!(outcome, Err(Trouble::Useless(_)));
    if outcome.is_err() && !is_kept {
        store::give_up(&id).await;
    }
    let kept =
        if is_kept { format!("{len}{of} bytes are kept: load it again to go on from there.") } else { String::new() };
    match (outcome, held) {
        (Ok(_), Some(bytes)) => Ok(Held::Memory(bytes)),
        (Ok(sha256), None) => store::file(&name).await.map(|_| Held::Stored(name, sha256)).map_err(Ended::Failed),
        (Err(Trouble::Cut(_)), _) if signal.is_some_and(AbortSignal::aborted) => Err(Ended::Paused(match is_kept {
            true => format!("paused: {kept}"),
            false => NOTHING_KEPT.into(),
        })),
        (Err(Trouble::Cut(why) | Trouble::Fatal(why) | Trouble::Useless(why)), _) if is_kept => {
            Err(Ended::Failed(format!("{why}. {kept}")))
        }
        (Err(Trouble::Cut(why) | Trouble::Fatal(why) | Trouble::Useless(why)), _) => Err(Ended::Failed(why)),
    }
}

/// SHA-256 and size of a file on the hub, by its pointer; `None` where there is none.
async fn declared(address: &str, signal: Option<&AbortSignal>) -> Option<(String, u64)> {
    if !address.contains("/resolve/") {
        return None;
    }
    let pointer = fetch::text(&address.replacen("/resolve/", "/raw/", 1), signal).await.ok().flatten()?;
    let value = |key: &str| pointer.lines().find_map(|line| line.strip_prefix(key));
    pointer.starts_with("version https://git-lfs").then_some(())?;
    let sha256 = value("oid sha256:")?.trim().to_ascii_lowercase();
    let is_one = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
    Some((sha256, value("size ")?.trim().parse().ok()?)).filter(|_| is_one)
}

fn total(entry: &ModelEntry) -> Option<u64> {
    (entry.bytes > 0).then_some(entry.bytes)
}

impl Download<'_> {
    fn paused(&self) -> bool {
        self.signal.is_some_and(AbortSignal::aborted)
    }

    fn tell(&mut self, always: bool) {
        if always || (self.now)() - self.told > PROGRESS_MILLIS {
            self.told = (self.now)();
            (self.progress)(self.sink.len(), total(&self.entry));
        }
    }

    async fn start_anew(&mut self) -> Result<(), Trouble> {
        self.sink.clear().map_err(Trouble::Fatal)?;
        self.ahead.start_anew().await;
        (self.hash, self.hashed) = (Sha256::new(), 0);
        self.version = String::new();
        if self.entry.address.is_some() && self.entry.sha256.is_empty() {
            // nobody but the host has said how large it is, perhaps of another version
            self.entry.bytes = 0;
            self.pieces.iter_mut().for_each(|piece| piece.bytes = None);
        }
        self.remember().await;
        Ok(())
    }

    /// So that another visit finds it. Without a store there is nothing to find.
    async fn remember(&self) {
        if matches!(self.sink, Sink::Store(_)) {
            let (entry, file) = (self.entry.clone(), store::partial_name(&self.entry));
            let begun = Begun { entry, file, version: self.version.clone() };
            if let Err(why) = store::remember(&begun).await {
                web_sys::console::warn_1(&format!("the download cannot be gone on with later: {why}").into());
            }
        }
    }

    /// Hashes what came next, which is kept already.
    fn digest(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let before = self.hashed;
        self.hashed += bytes.len() as u64;
        let front = self.entry.front.as_ref().filter(|front| (before..=self.hashed).contains(&front.bytes));
        let (Some(front), Sink::Store(partial), Some(_)) = (front, &self.sink, &self.at_front) else {
            self.hash.update(bytes);
            return Ok(());
        };
        let (head, tail) = bytes.split_at((front.bytes - before) as usize);
        self.hash.update(head);
        let got = hex(self.hash.clone().finalize());
        if !front.sha256.eq_ignore_ascii_case(&got) {
            let expected = &front.sha256;
            return Err(Trouble::Useless(format!(
                "its first {} bytes: expected SHA-256 {expected}, got {got}; nothing of it is kept",
                front.bytes
            )));
        }
        self.hash.update(tail);
        let arriving = Arriving::new(self.entry.bytes, partial.clone());
        self.at_front.take().map_or(Ok(()), |at_front| at_front(arriving)).map_err(Trouble::Useless)
    }

    /// Has all that was hashed made ours.
    async fn go_ahead(&mut self) {
        if let (Sink::Store(partial), Some(size)) = (&self.sink, total(&self.entry)) {
            self.ahead.go_on(partial, self.hashed, size).await;
        }
    }

    /// Hashes what an earlier visit left.
    async fn hash_again(&mut self) -> Result<(), Trouble> {
        let Sink::Store(partial) = &self.sink else { return Ok(()) };
        let partial = partial.clone();
        let (mut at, mut portion) = (0, vec![0; PORTION]);
        while at < partial.len() {
            let portion = &mut portion[..(partial.len() - at).min(PORTION as u64) as usize];
            partial.read(at, portion).map_err(Trouble::Useless)?;
            at += portion.len() as u64;
            self.digest(portion)?;
            // of what is whole already, the conversion makes all
            if total(&self.entry).is_some_and(|size| partial.len() < size) {
                self.go_ahead().await;
            }
            // the same number again and again: what was there already says nothing about the network
            (self.progress)(partial.len(), total(&self.entry));
            turn().await;
            if self.paused() {
                return Err(Trouble::Cut("paused".into()));
            }
        }
        Ok(())
    }

    /// All of it; gives its SHA-256.
    async fn run(&mut self) -> Result<String, Trouble> {
        self.tell(true);
        // broken off without one byte more than before
        let mut in_vain = 0;
        loop {
            let before = self.sink.len();
            match self.go().await {
                Ok(()) => break,
                Err(Trouble::Cut(why)) => {
                    // what came last may not have been told yet
                    self.tell(true);
                    in_vain = if self.sink.len() > before { 1 } else { in_vain + 1 };
                    if in_vain > 1 || self.paused() {
                        return Err(Trouble::Cut(why));
                    }
                    pause(BACKOFF_MILLIS).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.tell(true);
        let got = hex(self.hash.clone().finalize());
        match &*self.entry.sha256 {
            "" => Ok(got),
            expected if expected.eq_ignore_ascii_case(&got) => Ok(got),
            expected => Err(Trouble::Useless(format!("expected SHA-256 {expected}, got {got}; nothing of it is kept"))),
        }
    }

    /// Fetches what is missing.
    async fn go(&mut self) -> Result<(), Trouble> {
        loop {
            let len = self.sink.len();
            let missing = |p: &Piece| p.bytes.is_none_or(|bytes| len < p.start + bytes);
            let Some(at) = self.pieces.iter().position(missing) else { return Ok(()) };
            self.fetch(at).await?;
        }
    }

    /// One request, and as much of its answer as comes.
    async fn fetch(&mut self, at: usize) -> Result<(), Trouble> {
        if self.paused() {
            return Err(Trouble::Cut("paused".into()));
        }
        let Piece { address, start, .. } = &self.pieces[at];
        let (address, start) = (address.clone(), *start);
        let offset = self.sink.len() - start;
        let mut watch = Watch::begin(self.signal).map_err(Trouble::Fatal)?;
        let init = RequestInit::new();
        init.set_signal(Some(&watch.signal()));
        // the browser's own cache would take the room that the store needs, and has ideas of its own about ranges
        init.set_cache(RequestCache::NoStore);
        if offset > 0 {
            let headers = web_sys::Headers::new().map_err(|e| Trouble::Fatal(error_text(&e)))?;
            headers.set("range", &format!("bytes={offset}-")).map_err(|e| Trouble::Fatal(error_text(&e)))?;
            init.set_headers(&headers);
        }
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        let response = JsFuture::from(scope.fetch_with_str_and_init(&address, &init)).await.map_err(|e| {
            let why = watch.why(&e);
            // browsers do not tell the one from the other
            Trouble::Cut(if self.sink.len() == 0 && !self.paused() {
                format!("{address}: the host could not be reached, or lets no other pages fetch from it: {why}")
            } else {
                why
            })
        })?;
        let response: Response = response.unchecked_into();
        let header = |name: &str| response.headers().get(name).ok().flatten();
        let anew = match response.status() {
            200 => offset > 0,
            206 if offset > 0 => {
                header("content-range").and_then(|range| first_byte(&range)).is_some_and(|begins| begins != offset)
            }
            // more is there than the host has
            416 if offset > 0 => true,
            status @ (408 | 425 | 429 | 500..=599) => {
                return Err(Trouble::Cut(format!("the server answered {status}")));
            }
            status => return Err(Trouble::Fatal(format!("{address}: the server answered {status}"))),
        };
        let version = header("etag").unwrap_or_default();
        let changed = offset > 0 && !version.is_empty() && !self.version.is_empty() && version != self.version;
        let single = self.pieces.len() == 1;
        if anew || (changed && single) {
            // from the very first piece: parts of an older version are of no use
            self.start_anew().await?;
            if response.status() != 200 || start > 0 {
                watch.end();
                return Ok(());
            }
        }
        let (bytes, offset) = (self.pieces[at].bytes, self.sink.len() - start);
        let says = header("content-length").and_then(|n| n.parse::<u64>().ok()).map(|n| n + offset);
        let says = says.filter(|_| header("content-encoding").is_none());
        if let (Some(expected), Some(got)) = (bytes, says)
            && expected != got
        {
            return Err(Trouble::Fatal(format!("{address}: expected {expected} bytes, the server has {got}")));
        }
        let expected = bytes.or(says);
        if single && (self.entry.bytes == 0 || self.version != version) {
            if self.entry.bytes == 0 {
                self.entry.bytes = says.unwrap_or_default();
            }
            self.version = version;
            self.remember().await;
        }

        let stream = response.body().ok_or_else(|| Trouble::Cut("the answer is empty".into()))?;
        let mut reader = Reader::of(&stream);
        loop {
            let step = JsFuture::from(reader.read()).await.map_err(|e| Trouble::Cut(watch.why(&e)))?;
            watch.heard();
            let value = Reflect::get(&step, &"value".into()).map_err(|e| Trouble::Fatal(error_text(&e)))?;
            if Reflect::get(&step, &"done".into()).is_ok_and(|done| done.is_truthy()) {
                break;
            }
            let chunk: Uint8Array = value.unchecked_into();
            let bytes = chunk.to_vec();
            // a first piece that is shorter tells nothing; the readers look again at the whole
            if self.sink.len() == 0 && bytes.len() >= HEAD {
                weights::recognise(&bytes[..HEAD], total(&self.entry).unwrap_or_default())
                    .map_err(|e| Trouble::Useless(format!("{address}: {e}")))?;
            }
            if expected.is_some_and(|n| self.sink.len() - start + bytes.len() as u64 > n) {
                return Err(Trouble::Useless(format!("{address}: expected {} bytes, got more", expected.unwrap_or(0))));
            }
            let size = total(&self.entry);
            self.sink.append(&chunk, size, self.ahead).await.map_err(Trouble::Fatal)?;
            self.digest(&bytes)?;
            reader.give_back(&chunk);
            self.go_ahead().await;
            // what took long here was no silence there
            watch.heard();
            self.tell(false);
        }
        let got = self.sink.len() - start;
        match expected {
            Some(n) if got < n => Err(Trouble::Cut(format!("the connection broke after {got} of {n} bytes"))),
            _ => {
                self.pieces[at].bytes = Some(got);
                Ok(())
            }
        }
    }
}

/// What reads an answer: into one and the same memory, where the browser can (WHATWG Streams, "BYOB"); else each chunk waits for its
/// collector, and a fast connection fills memory.
enum Reader {
    Own(ReadableStreamByobReader, Uint8Array),
    Browsers(ReadableStreamDefaultReader),
}

impl Reader {
    /// Bytes that are read at most at a time.
    const ROOM: u32 = 1 << 20;

    fn of(stream: &ReadableStream) -> Self {
        let (function, options) = ("getReader".into(), js_sys::Object::new());
        let byob = Reflect::set(&options, &"mode".into(), &"byob".into())
            .and_then(|_| Reflect::get(stream, &function))
            .and_then(|get| get.unchecked_into::<js_sys::Function>().call1(stream, &options));
        match byob {
            Ok(reader) => Self::Own(reader.unchecked_into(), Uint8Array::new_with_length(Self::ROOM)),
            Err(_) => Self::Browsers(stream.get_reader().unchecked_into()),
        }
    }

    /// The next chunk.
    fn read(&self) -> js_sys::Promise {
        match self {
            Self::Own(reader, room) => reader.read_with_array_buffer_view(room),
            Self::Browsers(reader) => reader.read(),
        }
    }

    /// A chunk was read, and its memory can be used again.
    fn give_back(&mut self, chunk: &Uint8Array) {
        if let Self::Own(_, room) = self {
            *room = Uint8Array::new(&chunk.buffer());
        }
    }
}

/// Where a `Content-Range` begins.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
