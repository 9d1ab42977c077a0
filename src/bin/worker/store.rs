//! Models that a person brought, in this browser's own store (the origin private file system, WHATWG File System): listed, read, kept,
//! deleted. A browser without such a store, or a full one, keeps nothing, and says so; the model works all the same.

use js_sys::Uint8Array;
use oddlens::link::error_text;
use oddlens::protocol::ModelEntry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemReadWriteOptions, FileSystemSyncAccessHandle, WorkerGlobalScope,
};

use crate::work::pause;

const FOLDER: &str = "models";
/// The list of what is kept, as JSON; a file that is not in it is not whole.
const LIST: &str = "models.json";
/// The list of downloads that were begun and are not whole, as JSON.
const BEGUN: &str = "downloads.json";
/// How often a file is tried that another tab holds, for it is held for a moment only, and milliseconds between.
const TRIES: u32 = 40;
const TRY_MILLIS: i32 = 50;
/// Bytes read or written in one go.
const PORTION: usize = 8 << 20;

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

async fn access(folder: &FileSystemDirectoryHandle, name: &str) -> Result<FileSystemSyncAccessHandle, String> {
    let file = handle(folder, name, true).await?;
    Ok(promise(file.create_sync_access_handle()).await?.unchecked_into())
}

/// Writes a whole file, soon: another tab may be at it.
async fn write(folder: &FileSystemDirectoryHandle, name: &str, bytes: &[u8]) -> Result<(), String> {
    let mut tries = 1;
    let access = loop {
        match access(folder, name).await {
            Ok(access) => break access,
            Err(e) if tries == TRIES => return Err(format!("another tab may be at it ({e})")),
            Err(_) => tries += 1,
        }
        pause(TRY_MILLIS).await;
    };
    let mut partial = Partial { access, len: 0 };
    partial.clear()?;
    for portion in bytes.chunks(PORTION) {
        // a copy: browsers write nothing from memory that threads share
        partial.append(&Uint8Array::from(portion))?;
    }
    partial.flush()
}

/// A file in the store that grows; nobody else can open it meanwhile.
pub struct Partial {
    access: FileSystemSyncAccessHandle,
    len: u64,
}

impl Partial {
    /// The file of that name, with what was written to it earlier; `None` where another tab has it open.
    ///
    /// # Errors
    /// When there is no store.
    pub async fn open(name: &str) -> Result<Option<Self>, String> {
        let folder = folder().await?;
        let file = handle(&folder, name, true).await?;
        let Ok(access) = JsFuture::from(file.create_sync_access_handle()).await else { return Ok(None) };
        let access: FileSystemSyncAccessHandle = access.unchecked_into();
        let len = access.get_size().map_err(|e| error_text(&e))? as u64;
        Ok(Some(Self { access, len }))
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// # Errors
    /// When the store is full; nothing of `bytes` counts then.
    pub fn append(&mut self, bytes: &Uint8Array) -> Result<(), String> {
        let at = FileSystemReadWriteOptions::new();
        at.set_at(self.len as f64);
        let n = self.access.write_with_js_u8_array_and_options(bytes, &at).map_err(|e| error_text(&e))?;
        if n != f64::from(bytes.length()) {
            return Err(format!("only {n} of {} bytes could be written", bytes.length()));
        }
        self.len += u64::from(bytes.length());
        Ok(())
    }

    /// Up to 8 MB from `start` on.
    ///
    /// # Errors
    /// When the browser cannot read its own file.
    pub fn read(&self, start: u64) -> Result<Uint8Array, String> {
        let portion = Uint8Array::new_with_length(self.len.saturating_sub(start).min(PORTION as u64) as u32);
        let at = FileSystemReadWriteOptions::new();
        at.set_at(start as f64);
        let n = self.access.read_with_js_u8_array_and_options(&portion, &at).map_err(|e| error_text(&e))?;
        if n == f64::from(portion.length()) { Ok(portion) } else { Err("what was kept cannot be read".into()) }
    }

    /// # Errors
    /// When the browser refuses.
    pub fn clear(&mut self) -> Result<(), String> {
        self.access.truncate_with_u32(0).map_err(|e| error_text(&e))?;
        self.len = 0;
        Ok(())
    }

    /// # Errors
    /// When the browser refuses.
    pub fn flush(&self) -> Result<(), String> {
        self.access.flush().map_err(|e| error_text(&e))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.access.close();
    }
}

/// How files begin that are being written; those that are not in the list were given up.
const INCOMING: &str = "incoming-";

/// A model that comes piece by piece. It must be ended with [`Incoming::whole`] or [`Incoming::discard`].
pub struct Incoming {
    name: String,
    file: Partial,
}

impl Incoming {
    /// An empty file; what was given up before, by a tab that was closed, goes.
    ///
    /// # Errors
    /// When there is no store.
    pub async fn begin() -> Result<Self, String> {
        let folder = folder().await?;
        let kept = list().await;
        for name in names(&folder).await {
            // one that another tab is writing is locked, and stays
            if name.starts_with(INCOMING) && !kept.iter().any(|m| m.file == name) {
                let _ = promise(folder.remove_entry(&name)).await;
            }
        }
        let name = format!("{INCOMING}{}-{}.gguf", js_sys::Date::now(), (js_sys::Math::random() * 1e9) as u32);
        let file = Partial::open(&name).await?.ok_or("a new file cannot be opened")?;
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
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        // copies: browsers write nothing from memory that threads share
        bytes.chunks(PORTION).try_for_each(|portion| self.file.append(&Uint8Array::from(portion)))
    }

    /// Ends it, to be read and, with [`keep`], to be kept.
    ///
    /// # Errors
    /// When it cannot be ended; nothing is left of it then.
    pub async fn whole(self) -> Result<File, String> {
        let Self { name, file: written } = self;
        let flushed = written.flush();
        drop(written);
        let whole = match flushed {
            Ok(()) => file(&name).await,
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
    /// What the host called this very version of the file; empty where it did not say.
    pub version: String,
}

/// The name under which a model's bytes arrive.
pub fn partial_name(entry: &ModelEntry) -> String {
    format!("{}.part", entry.id)
}

/// Downloads that were begun and are not whole, with the number of bytes that are there.
pub async fn begun() -> Vec<Begun> {
    let mut all: Vec<Begun> = read_list(BEGUN).await;
    for begun in &mut all {
        begun.entry.partial = file(&partial_name(&begun.entry)).await.map_or(0, |f| f.size() as u64);
    }
    all
}

/// Remembers that a download was begun.
///
/// # Errors
/// When the store refuses.
pub async fn remember(begun: &Begun) -> Result<(), String> {
    let mut all: Vec<Begun> = read_list(BEGUN).await;
    all.retain(|b| b.entry.id != begun.entry.id);
    all.push(begun.clone());
    write_list(&folder().await?, BEGUN, &all).await
}

/// Takes a download off the list: it is whole, or given up.
pub async fn forget(id: &str) -> Option<Begun> {
    let all: Vec<Begun> = read_list(BEGUN).await;
    let (mut gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|b| b.entry.id == id);
    if !gone.is_empty()
        && let Ok(folder) = folder().await
    {
        let _ = write_list(&folder, BEGUN, &left).await;
    }
    gone.pop()
}

/// The same, with what has come of it; one that is not there is gone already.
pub async fn give_up(id: &str) {
    if let Some(begun) = forget(id).await {
        remove(&partial_name(&begun.entry)).await;
    }
}

/// A file of the store.
///
/// # Errors
/// When it is not there.
pub async fn file(name: &str) -> Result<File, String> {
    let file = handle(&folder().await?, name, false).await?;
    Ok(promise(file.get_file()).await?.unchecked_into())
}

async fn read_list<T: DeserializeOwned>(name: &str) -> Vec<T> {
    async fn read(name: &str) -> Result<String, String> {
        let text = promise(file(name).await?.text()).await?;
        text.as_string().ok_or_else(|| "no text".into())
    }
    read(name).await.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// What is kept; nothing where there is no store.
pub async fn list() -> Vec<ModelEntry> {
    read_list(LIST).await
}

/// A kept model's file.
///
/// # Errors
/// When it is gone, or not as long as it was.
pub async fn open(entry: &ModelEntry) -> Result<File, String> {
    let file = file(&entry.file).await?;
    if file.size() == entry.bytes as f64 {
        Ok(file)
    } else {
        Err(format!("{}: expected {} kept bytes, got {}", entry.name, entry.bytes, file.size()))
    }
}

/// Puts a model whose file is written into the list of those that are kept.
///
/// # Errors
/// When the list cannot be written.
pub async fn keep(entry: &ModelEntry) -> Result<(), String> {
    let folder = folder().await?;
    let (same, mut all): (Vec<_>, Vec<_>) = list().await.into_iter().partition(|m| m.id == entry.id);
    all.push(entry.clone());
    write_list(&folder, LIST, &all).await?;
    for model in same.iter().filter(|m| m.file != entry.file) {
        let _ = promise(folder.remove_entry(&model.file)).await;
    }
    Ok(())
}

/// Removes a file that is in no list.
pub async fn remove(name: &str) {
    if let Ok(folder) = folder().await {
        let _ = promise(folder.remove_entry(name)).await;
    }
}

/// Deletes a kept model; one that is not there is deleted already.
///
/// # Errors
/// When the browser refuses.
pub async fn delete(id: &str) -> Result<(), String> {
    let folder = folder().await?;
    let all = list().await;
    let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|m| m.id == id);
    write_list(&folder, LIST, &left).await?;
    for model in gone {
        let _ = promise(folder.remove_entry(&model.file)).await;
    }
    Ok(())
}

async fn write_list<T: Serialize>(folder: &FileSystemDirectoryHandle, name: &str, all: &[T]) -> Result<(), String> {
    let text = serde_json::to_string(all).map_err(|e| e.to_string())?;
    write(folder, name, text.as_bytes()).await
}
