//! Files from everywhere: pickers, drops (with folders), the clipboard. It does not look into them.

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{DataTransfer, File, FileList, FileSystemDirectoryEntry, FileSystemEntry, FileSystemFileEntry};

use super::session::Session;
use crate::app_state::{Action, view::natural};
use crate::protocol::Kind;
use crate::ui::components::shared::count;

/// Files that operating systems strew about.
const LITTER: [&str; 3] = ["Thumbs.db", "desktop.ini", "__MACOSX"];

/// Is no part of the path hidden or litter?
fn is_wanted(path: &str) -> bool {
    path.split('/').all(|part| !part.starts_with('.') && !LITTER.contains(&part))
}

/// Adds what a picker gave. A folder's files come sorted by path; single files stay in the order given.
pub fn take_list(session: &Session, list: &FileList) {
    take_labelled(session, list, None);
}

fn take_labelled(session: &Session, list: &FileList, kind: Option<Kind>) {
    let files = (0..list.length()).filter_map(|i| list.get(i)).map(|file| (path_of(&file), file)).collect();
    take(session, files, 0, kind);
}

fn path_of(file: &File) -> String {
    let path = js_sys::Reflect::get(file, &"webkitRelativePath".into()).ok().and_then(|p| p.as_string());
    path.filter(|p| !p.is_empty()).unwrap_or_else(|| file.name())
}

/// Endings of model files.
const MODELS: [&str; 5] = [".gguf", ".safetensors", ".pt", ".pth", ".bin"];
/// Files that complete a model.
const BESIDE: [&str; 3] = ["config.json", "open_clip_config.json", "merges.txt"];

/// Takes a model out of the files, with what completes it: it is loaded, and not scored.
pub fn take_model(session: &Session, files: &mut Vec<(String, File)>) {
    let is_model = |(name, _): &(String, File)| MODELS.iter().any(|end| name.to_lowercase().ends_with(end));
    let Some(at) = files.iter().position(is_model) else { return };
    let (_, model) = files.remove(at);
    if files.iter().any(is_model) {
        session.act(Action::Notice("There were several model files; the first is loaded.".into()));
        files.retain(|f| !is_model(f));
    }
    let beside = files.extract_if(.., |(name, _)| BESIDE.iter().any(|b| name.rsplit('/').next() == Some(b)));
    let beside = beside.map(|(_, file)| file).collect();
    session.load_model(model, beside);
}

fn take(session: &Session, mut files: Vec<(String, File)>, unreadable: usize, kind: Option<Kind>) {
    if files.is_empty() && unreadable == 0 {
        session.act(Action::Notice("There was no file in what was dropped or pasted.".into()));
    }
    take_model(session, &mut files);
    let given = files.len();
    if given == 0 && unreadable == 0 {
        return;
    }
    files.retain(|(path, _)| is_wanted(path));
    if files.iter().any(|(path, _)| path.contains('/')) {
        files.sort_by(|(a, _), (b, _)| natural(a, b));
    }
    let skipped = given - files.len();
    if skipped > 0 {
        session.act(Action::Notice(format!("Left out: {}.", count(skipped, "hidden or system file"))));
    }
    if unreadable > 0 {
        let what = if unreadable == 1 { "file or folder" } else { "files or folders" };
        session.act(Action::Notice(format!("{unreadable} {what} could not be read.")));
    }
    if !files.is_empty() {
        session.add_labelled(files, kind);
    }
}

/// Adds what was dropped or pasted, all of one kind if somebody says so; folders with everything in them.
pub fn take_transfer(session: &Session, transfer: &DataTransfer, kind: Option<Kind>) {
    // entries must be taken now: the transfer is empty when this event is over
    let items = transfer.items();
    let entries: Vec<FileSystemEntry> = (0..items.length())
        .filter_map(|i| items.get(i))
        .filter(|item| item.kind() == "file")
        .filter_map(|item| item.webkit_get_as_entry().ok().flatten())
        .collect();
    let has_folder = entries.iter().any(FileSystemEntry::is_directory);
    if !has_folder && let Some(list) = transfer.files() {
        return take_labelled(session, &list, kind);
    }
    let session = session.clone();
    spawn_local(async move {
        let mut files = Vec::new();
        let mut unreadable = 0;
        for entry in entries {
            walk(entry, &mut files, &mut unreadable).await;
        }
        take(&session, files, unreadable, kind);
    });
}

/// Depth first, without recursion: folders may be deep.
async fn walk(root: FileSystemEntry, files: &mut Vec<(String, File)>, unreadable: &mut usize) {
    let mut waiting = vec![root];
    while let Some(entry) = waiting.pop() {
        let path = entry.full_path().trim_start_matches('/').to_owned();
        if !is_wanted(&path) {
            continue;
        }
        if entry.is_directory() {
            match children(entry.unchecked_ref()).await {
                Ok(found) => waiting.extend(found),
                Err(_) => *unreadable += 1,
            }
        } else {
            let entry: FileSystemFileEntry = entry.unchecked_into();
            let file = Promise::new(&mut |done, fail| entry.file_with_callback_and_callback(&done, &fail));
            match JsFuture::from(file).await {
                Ok(file) => files.push((path, file.unchecked_into())),
                Err(_) => *unreadable += 1,
            }
        }
    }
}

/// A reader gives a folder's entries in portions; an empty one is the last.
async fn children(folder: &FileSystemDirectoryEntry) -> Result<Vec<FileSystemEntry>, JsValue> {
    let reader = folder.create_reader();
    let mut found = Vec::new();
    loop {
        let portion = Promise::new(&mut |done, fail| {
            if let Err(e) = reader.read_entries_with_callback_and_callback(&done, &fail) {
                let _ = fail.call1(&JsValue::NULL, &e);
            }
        });
        let portion: Array = JsFuture::from(portion).await?.unchecked_into();
        if portion.length() == 0 {
            return Ok(found);
        }
        found.extend(portion.iter().map(JsCast::unchecked_into::<FileSystemEntry>));
    }
}
