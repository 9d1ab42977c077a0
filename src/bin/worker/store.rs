//! Models that a person brought, in this browser's own store (the origin private file system, WHATWG File System): listed, read, kept,
//! deleted. A browser without such a store, or a full one, keeps nothing, and says so; the model works all the same.

use js_sys::Uint8Array;
use oddlens::link::error_text;
use oddlens::protocol::ModelEntry;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemSyncAccessHandle, WorkerGlobalScope,
};

const FOLDER: &str = "models";
/// The list of what is kept, as JSON; a file that is not in it is not whole.
const LIST: &str = "models.json";
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

async fn write(folder: &FileSystemDirectoryHandle, name: &str, bytes: &[u8]) -> Result<(), String> {
    let file = handle(folder, name, true).await?;
    let access: FileSystemSyncAccessHandle = promise(file.create_sync_access_handle())
        .await
        .map_err(|e| format!("another tab may be at it ({e})"))?
        .unchecked_into();
    let written = (|| {
        access.truncate_with_u32(0).map_err(|e| error_text(&e))?;
        for portion in bytes.chunks(PORTION) {
            // a copy: browsers write nothing from memory that threads share
            let n = access.write_with_js_u8_array(&Uint8Array::from(portion)).map_err(|e| error_text(&e))?;
            if n as usize != portion.len() {
                return Err(format!("only {n} of {} bytes could be written", portion.len()));
            }
        }
        access.flush().map_err(|e| error_text(&e))
    })();
    access.close();
    written
}

/// What is kept; nothing where there is no store.
pub async fn list() -> Vec<ModelEntry> {
    async fn read() -> Result<Vec<ModelEntry>, String> {
        let file = handle(&folder().await?, LIST, false).await?;
        let file: File = promise(file.get_file()).await?.unchecked_into();
        let text = promise(file.text()).await?.as_string().unwrap_or_default();
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }
    read().await.unwrap_or_default()
}

/// A kept model's file.
///
/// # Errors
/// When it is gone, or not as long as it was.
pub async fn open(entry: &ModelEntry) -> Result<File, String> {
    let file = handle(&folder().await?, &entry.file, false).await?;
    let file: File = promise(file.get_file()).await?.unchecked_into();
    if file.size() == entry.bytes as f64 {
        Ok(file)
    } else {
        Err(format!("{}: expected {} kept bytes, got {}", entry.name, entry.bytes, file.size()))
    }
}

/// Keeps a model.
///
/// # Errors
/// When there is no store, or no room in it; nothing is left of it then.
pub async fn keep(entry: &ModelEntry, bytes: &[u8]) -> Result<(), String> {
    let folder = folder().await?;
    if let Err(e) = write(&folder, &entry.file, bytes).await {
        let _ = promise(folder.remove_entry(&entry.file)).await;
        return Err(e);
    }
    let mut all = list().await;
    all.retain(|m| m.id != entry.id);
    all.push(entry.clone());
    write_list(&folder, &all).await
}

/// Deletes a kept model; one that is not there is deleted already.
///
/// # Errors
/// When the browser refuses.
pub async fn delete(id: &str) -> Result<(), String> {
    let folder = folder().await?;
    let all = list().await;
    let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|m| m.id == id);
    write_list(&folder, &left).await?;
    for model in gone {
        let _ = promise(folder.remove_entry(&model.file)).await;
    }
    Ok(())
}

async fn write_list(folder: &FileSystemDirectoryHandle, all: &[ModelEntry]) -> Result<(), String> {
    let text = serde_json::to_string(all).map_err(|e| e.to_string())?;
    write(folder, LIST, text.as_bytes()).await
}

/// Reads a file, portion by portion; `progress` hears how many bytes are there, and says whether to go on.
///
/// # Errors
/// When it cannot be read, does not fit into memory, or `progress` says no.
pub async fn read(file: &Blob, progress: &mut dyn FnMut(u64) -> bool) -> Result<Vec<u8>, String> {
    let size = file.size();
    let mut bytes = Vec::new();
    // a file of more bytes than can be counted here saturates, and does not fit
    bytes.try_reserve_exact(size as usize).map_err(|_| format!("{size} bytes do not fit into memory"))?;
    while (bytes.len() as f64) < size {
        if !progress(bytes.len() as u64) {
            return Err("cancelled".into());
        }
        let (start, end) = (bytes.len() as f64, size.min((bytes.len() + PORTION) as f64));
        let part = file.slice_with_f64_and_f64(start, end).map_err(|e| error_text(&e))?;
        let buffer = promise(part.array_buffer()).await?;
        let part = Uint8Array::new(&buffer);
        if f64::from(part.length()) != end - start {
            return Err("the file changed while it was read".into());
        }
        let from = bytes.len();
        bytes.resize(from + part.length() as usize, 0);
        part.copy_to(&mut bytes[from..]);
    }
    progress(bytes.len() as u64);
    Ok(bytes)
}
