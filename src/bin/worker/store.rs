//! Models that a person brought, in this browser's own store (the origin private file system, WHATWG File System): listed, read, kept,
//! deleted. A browser without such a store, or a full one, keeps nothing, and says so; the model works all the same.

use std::cell::Cell;

use js_sys::Uint8Array;
use oddlens::link::error_text;
use oddlens::protocol::ModelEntry;
use oddlens::weights::Source;
use oddlens::weights::manifest::hex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    WorkerGlobalScope,
};

use crate::access::Access;
use crate::blob::BlobSource;
use crate::lock;

const FOLDER: &str = "models";
/// The list of what is kept, as JSON; a file that is not in it is not whole.
const LIST: &str = "models.json";
/// The list of downloads that were begun and are not whole, as JSON.
const BEGUN: &str = "downloads.json";
/// Who changes a list holds this lock: it is read and written by one tab at a time.
const LOCK: &str = "oddlens-store";

async fn promise(promise: js_sys::Promise) -> Result<JsValue, String> {
    JsFuture::from(promise).await.map_err(|e| error_text(&e))
}

async fn folder() -> Result<FileSystemDirectoryHandle, String> {
    let navigator = js_sys::global().unchecked_into::<WorkerGlobalScope>().navigator();
    // absent in insecure contexts and old browsers
    let storage = js_sys::Reflect::get(&navigator, &"storage".into()).map_err(|e| error_text(&e))?;
    let directory = js_sys::Reflect::get(&storage, &"getDirectory".into()).unwrap_or(JsValue::UNDEFINED);
    if !directory.is_function() {
        return Err("this browser keeps no files for pages".into());
    }
    let storage: web_sys::StorageManager = storage.unchecked_into();
    let root: FileSystemDirectoryHandle = promise(storage.get_directory()).await?.unchecked_into();
    let create = FileSystemGetDirectoryOptions::new();
    create.set_create(true);
    Ok(promise(root.get_directory_handle_with_options(FOLDER, &create)).await?.unchecked_into())
}

async fn handle(folder: &FileSystemDirectoryHandle, name: &str, create: bool) -> Result<FileSystemFileHandle, String> {
    let options = FileSystemGetFileOptions::new();
    options.set_create(create);
    Ok(promise(folder.get_file_handle_with_options(name, &options)).await?.unchecked_into())
}

/// Writes a whole file.
async fn write(name: &str, bytes: &[u8]) -> Result<(), String> {
    let partial = Partial::open(name).await?;
    partial.clear()?;
    partial.append(bytes)?;
    partial.flush()
}

/// A file in the store that grows; nobody else can open it meanwhile.
pub struct Partial {
    access: Access,
    len: Cell<u64>,
}

impl Partial {
    /// The file of that name, with what was written to it earlier.
    ///
    /// # Errors
    /// When there is no store, or somebody else has the file open.
    pub async fn open(name: &str) -> Result<Self, String> {
        let folder = folder().await?;
        let file = handle(&folder, name, true).await?;
        let access = Access::new(promise(file.create_sync_access_handle()).await?.unchecked_into());
        let len = Cell::new(access.size()?);
        Ok(Self { access, len })
    }

    pub fn len(&self) -> u64 {
        self.len.get()
    }

    /// # Errors
    /// When the store is full; nothing of `bytes` counts then.
    pub fn append(&self, bytes: &[u8]) -> Result<(), String> {
        self.access.write(self.len(), bytes)?;
        self.len.set(self.len() + bytes.len() as u64);
        Ok(())
    }

    /// [`Partial::append`] of what lies in the browser's memory already.
    ///
    /// # Errors
    /// As there.
    pub fn append_from(&self, bytes: &Uint8Array) -> Result<(), String> {
        self.access.write_from(self.len(), bytes)?;
        self.len.set(self.len() + u64::from(bytes.length()));
        Ok(())
    }

    /// Fills `bytes` with what begins at `start`.
    ///
    /// # Errors
    /// When the browser cannot read its own file, or not as much has come.
    pub fn read(&self, start: u64, bytes: &mut [u8]) -> Result<(), String> {
        self.access.read(start, bytes)
    }

    /// # Errors
    /// When the browser refuses.
    pub fn clear(&self) -> Result<(), String> {
        self.access.clear()?;
        self.len.set(0);
        Ok(())
    }

    /// # Errors
    /// When the browser refuses.
    pub fn flush(&self) -> Result<(), String> {
        self.access.flush()
    }
}

/// How files begin that are being written; those that are not in the list were given up.
const INCOMING: &str = "incoming-";
/// No conversion takes as long.
const YOUNG_MILLIS: f64 = 3_600_000.0;

/// A model that comes piece by piece. It must be ended with [`Incoming::whole`] or [`Incoming::discard`].
pub struct Incoming {
    name: String,
    file: Partial,
}

impl Incoming {
    /// An empty file.
    ///
    /// # Errors
    /// When there is no store.
    pub async fn begin() -> Result<Self, String> {
        let name = format!("{INCOMING}{}-{}.gguf", js_sys::Date::now(), (js_sys::Math::random() * 1e9) as u32);
        let file = Partial::open(&name).await?;
        Ok(Self { name, file })
    }

    /// Its name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes what comes next.
    ///
    /// # Errors
    /// When there is no room.
    pub fn write(&self, bytes: &[u8]) -> Result<(), String> {
        self.file.append(bytes)
    }

    /// Ends it, to be read and, with [`keep`], to be kept.
    ///
    /// # Errors
    /// When it cannot be ended; nothing is left of it then.
    pub async fn whole(self) -> Result<BlobSource, String> {
        let Self { name, file: written } = self;
        let flushed = written.flush();
        drop(written);
        let whole = match flushed {
            Ok(()) => source(&name).await,
            Err(e) => Err(e),
        };
        if whole.is_err() {
            remove(&name).await;
        }
        whole
    }

    /// Gives it up.
    pub async fn discard(self) {
        drop(self.file);
        remove(&self.name).await;
    }
}

/// The files of a folder; as many as can be told.
async fn names(folder: &FileSystemDirectoryHandle) -> Vec<String> {
    let keys = folder.keys();
    let mut names = Vec::new();
    while let Ok(next) = keys.next() {
        let Ok(step) = promise(next).await else { break };
        match js_sys::Reflect::get(&step, &"value".into()).ok().and_then(|name| name.as_string()) {
            Some(name) => names.push(name),
            None => break,
        }
    }
    names
}

/// A download that was begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begun {
    pub entry: ModelEntry,
    /// Its name in the store.
    pub file: String,
    /// What the host called this very version of the file; empty where it did not say.
    pub version: String,
}

/// The name under which a model's bytes arrive: another one for another version of it.
pub fn partial_name(entry: &ModelEntry) -> String {
    let version = Sha256::digest(format!("{:?} {:?} {}", entry.address, entry.parts, entry.sha256));
    format!("{}-{}.part", entry.id, &hex(version)[..8])
}

/// The name of what is made of a model while it comes. It is in no list: nobody needs it but whoever has it open.
pub fn ahead_name(entry: &ModelEntry) -> String {
    format!("{}.ahead", entry.id)
}

/// Downloads that were begun and are not whole, with the number of bytes that are there.
pub async fn begun() -> Vec<Begun> {
    let mut all: Vec<Begun> = locked_list(BEGUN).await.unwrap_or_default();
    for begun in &mut all {
        begun.entry.partial = file(&begun.file).await.map_or(0, |f| f.size() as u64);
    }
    all
}

/// Remembers that a download was begun.
///
/// # Errors
/// When the store refuses.
pub async fn remember(begun: &Begun) -> Result<(), String> {
    change(BEGUN, |all: &mut Vec<Begun>| {
        all.retain(|b| b.entry.id != begun.entry.id);
        all.push(begun.clone());
    })
    .await
}

/// Takes a download off the list, and what has come of it out of the store, unless it is the file of a model that is kept.
pub async fn give_up(id: &str) {
    let mut gone = Vec::new();
    let _ = change(BEGUN, |all: &mut Vec<Begun>| gone = all.extract_if(.., |b| b.entry.id == id).collect()).await;
    let kept = list().await;
    for begun in gone {
        if !kept.iter().any(|m| m.file == begun.file) {
            remove(&begun.file).await;
        }
    }
}

/// Removes what belongs to nothing: of tabs that were closed, and of workers that died, in the middle.
pub async fn sweep() {
    let (Ok(folder), Ok(kept), Ok(begun)) =
        (folder().await, locked_list::<ModelEntry>(LIST).await, locked_list::<Begun>(BEGUN).await)
    else {
        return;
    };
    // a model that is kept has no download any more
    for done in begun.iter().filter(|b| kept.iter().any(|m| is_kept_of(m, &b.entry))) {
        give_up(&done.entry.id).await;
    }
    for name in names(&folder).await {
        let is_known = [LIST, BEGUN].contains(&name.as_str())
            || kept.iter().any(|m| m.file == name || texts_name(&m.file) == name)
            || begun.iter().any(|b| b.file == name);
        // what another tab has made, and not yet put into the list, is young; what it writes is locked, and stays
        let began = name.strip_prefix(INCOMING).and_then(|rest| rest.split('-').next()?.parse::<f64>().ok());
        let is_young = began.is_some_and(|began| js_sys::Date::now() - began < YOUNG_MILLIS);
        if !is_known && !is_young {
            remove(&name).await;
        }
    }
}

/// Whether a browser's error says that a file is not there, or not any more.
pub fn is_gone(error: &JsValue) -> bool {
    error.dyn_ref::<web_sys::DomException>().is_some_and(|e| e.name() == "NotFoundError")
}

/// A file of the store.
///
/// # Errors
/// When it is not there.
pub async fn file(name: &str) -> Result<File, String> {
    let file = handle(&folder().await?, name, false).await?;
    Ok(promise(file.get_file()).await?.unchecked_into())
}

/// A list of the store, whole: no other tab is writing it.
async fn locked_list<T: DeserializeOwned>(name: &str) -> Result<Vec<T>, String> {
    let _lock = lock::hold(LOCK).await;
    read_list(name).await
}

/// A list of the store; empty where there is none yet.
async fn read_list<T: DeserializeOwned>(name: &str) -> Result<Vec<T>, String> {
    let options = FileSystemGetFileOptions::new();
    let handle = match JsFuture::from(folder().await?.get_file_handle_with_options(name, &options)).await {
        Ok(handle) => handle.unchecked_into::<FileSystemFileHandle>(),
        Err(e) if is_gone(&e) => return Ok(vec![]),
        Err(e) => return Err(error_text(&e)),
    };
    let file: File = promise(handle.get_file()).await?.unchecked_into();
    let text = promise(file.text()).await?.as_string().unwrap_or_default();
    // an empty file is one that a tab was about to write when it was closed
    if text.is_empty() { Ok(vec![]) } else { serde_json::from_str(&text).map_err(|e| format!("{name}: {e}")) }
}

/// Changes a list, with no other tab between reading and writing.
async fn change<T: DeserializeOwned + Serialize>(name: &str, change: impl FnOnce(&mut Vec<T>)) -> Result<(), String> {
    let _lock = lock::hold(LOCK).await;
    let mut all = read_list(name).await?;
    change(&mut all);
    let text = serde_json::to_string(&all).map_err(|e| e.to_string())?;
    write(name, text.as_bytes()).await
}

/// What is kept; nothing where there is no store.
pub async fn list() -> Vec<ModelEntry> {
    locked_list(LIST).await.unwrap_or_default()
}

/// Whether a kept model is the one that is offered as `entry`, and not another version of it.
pub fn is_kept_of(kept: &ModelEntry, entry: &ModelEntry) -> bool {
    // what came from an address was converted, and has another checksum
    let is_same_file = entry.address.is_some() || kept.sha256 == entry.sha256;
    kept.id == entry.id && kept.address == entry.address && is_same_file
}

/// A kept model's file.
///
/// # Errors
/// When it is gone, or not as long as it was.
pub async fn open(entry: &ModelEntry) -> Result<BlobSource, String> {
    let source = source(&entry.file).await?;
    if source.size() == entry.bytes {
        Ok(source)
    } else {
        Err(format!("{}: expected {} kept bytes, got {}", entry.name, entry.bytes, source.size()))
    }
}

/// A file of the store, to be read in ranges.
///
/// # Errors
/// When it is not there.
pub async fn source(name: &str) -> Result<BlobSource, String> {
    let file = file(name).await?;
    // where another tab has it open in this way, the other way does as well
    BlobSource::with(file.into(), reading(name).await.ok())
}

/// A file of the store opened for reading: by several tabs at once, where the browser has such a mode.
pub async fn reading(name: &str) -> Result<Access, String> {
    let handle = handle(&folder().await?, name, false).await?;
    let (function, options) = ("createSyncAccessHandle".into(), js_sys::Object::new());
    let open = js_sys::Reflect::get(&handle, &function).map_err(|e| error_text(&e))?;
    js_sys::Reflect::set(&options, &"mode".into(), &"read-only".into()).map_err(|e| error_text(&e))?;
    let open: js_sys::Function = open.dyn_into().map_err(|_| "this browser opens no files for workers".to_owned())?;
    let opened = open.call1(&handle, &options).map_err(|e| error_text(&e))?;
    Ok(Access::new(promise(opened.unchecked_into()).await?.unchecked_into()))
}

/// Puts a model whose file is written into the list of those that are kept.
///
/// # Errors
/// When the list cannot be written.
pub async fn keep(entry: &ModelEntry) -> Result<(), String> {
    let mut same = Vec::new();
    change(LIST, |all: &mut Vec<ModelEntry>| {
        same = all.extract_if(.., |m| m.id == entry.id).collect();
        all.push(entry.clone());
    })
    .await?;
    for model in same.iter().filter(|m| m.file != entry.file) {
        remove(&model.file).await;
    }
    Ok(())
}

/// Removes a file that is in no list, and the texts that belong to it.
pub async fn remove(name: &str) {
    if let Ok(folder) = folder().await {
        let _ = promise(folder.remove_entry(name)).await;
        let _ = promise(folder.remove_entry(&texts_name(name))).await;
    }
}

/// Where the texts are kept that a model knows by heart.
fn texts_name(model_file: &str) -> String {
    format!("{model_file}.texts")
}

/// The texts that a kept model knows by heart, if there are any.
pub async fn texts(entry: &ModelEntry) -> Option<Vec<u8>> {
    let file = file(&texts_name(&entry.file)).await.ok()?;
    let bytes = promise(file.array_buffer()).await.ok()?;
    Some(Uint8Array::new(&bytes).to_vec())
}

/// Keeps the texts that a kept model knows by heart.
///
/// # Errors
/// When there is no room, or another tab is writing them.
pub async fn keep_texts(entry: &ModelEntry, bytes: &[u8]) -> Result<(), String> {
    write(&texts_name(&entry.file), bytes).await
}

/// Deletes a kept model; one that is not there is deleted already.
///
/// # Errors
/// When the browser refuses.
pub async fn delete(id: &str) -> Result<(), String> {
    let mut gone = Vec::new();
    change(LIST, |all: &mut Vec<ModelEntry>| gone = all.extract_if(.., |m| m.id == id).collect()).await?;
    for model in gone {
        remove(&model.file).await;
    }
    Ok(())
}
