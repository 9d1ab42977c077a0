//! CIFAR-10's binary batches as distributed: records of a label and 32 x 32 pixels, and the names of the classes.
//!
//! Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), and the data set's page,
//! "Binary version": one byte of label, then 1,024 bytes each of red, green and blue, row-major.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Item, Layout, Source, Split};
use super::{EvalError, paths};
use crate::protocol::{Decoder, Pixels};

/// Pixels in a row and rows.
const SIDE: u32 = 32;
const PLANE: usize = (SIDE * SIDE) as usize;
/// Bytes of a record.
pub const RECORD: usize = 1 + 3 * PLANE;
/// Names where `batches.meta.txt` is missing.
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// The folder that the archive unpacks to.
const ARCHIVE_FOLDER: &str = "cifar-10-batches-bin";

/// The folder of the batches, if `root` is one or holds one.
pub fn folder_of(root: &Path) -> Option<PathBuf> {
    [root.to_path_buf(), root.join(ARCHIVE_FOLDER)].into_iter().find(|folder| !batches(folder).is_empty())
}

/// Batches of a folder, those to learn from first, each sorted by name.
fn batches(folder: &Path) -> Vec<(PathBuf, Split)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(PathBuf, Split)> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let stem = name.strip_suffix(".bin")?;
            let split = match stem {
                "test_batch" => Split::Test,
                _ if stem.starts_with("data_batch") => Split::Train,
                _ => return None,
            };
            Some((folder.join(&name), split))
        })
        .collect();
    found.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    found
}

/// Lists the records of `folder`, which [`folder_of`] found.
///
/// # Errors
/// When a file cannot be read or the names of the classes are none.
pub fn read(folder: &Path) -> Result<Dataset, EvalError> {
    let meta = folder.join("batches.meta.txt");
    let classes: Vec<String> = match fs::read_to_string(&meta) {
        Ok(text) => text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect(),
        Err(_) => CLASSES.map(str::to_string).to_vec(),
    };
    if classes.is_empty() || classes.len() > 256 {
        let (expected, got) = ("1 to 256 names of classes, one a line", format!("{} lines", classes.len()));
        return Err(EvalError::Dataset { path: meta, expected, got });
    }
    let mut items = Vec::new();
    for (path, split) in batches(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).map_err(EvalError::io(&path))?;
        let item = |index: usize, class: usize, source: Source| Item {
            path: format!("{name}#{index}"),
            class,
            split: Some(split),
            anomalous: false,
            source,
        };
        let records = bytes.chunks_exact(RECORD);
        let rest = records.remainder().len();
        let whole = records.len();
        for (index, record) in records.enumerate() {
            let label = usize::from(record[0]);
            items.push(match classes.get(label) {
                Some(_) => item(index, label, Source::Record { batch: path.clone(), index }),
                None => {
                    let last = classes.len() - 1;
                    item(
                        index,
                        0,
                        Source::Broken(format!("broken record: expected a label from 0 to {last}, got {label}")),
                    )
                }
            });
        }
        if rest > 0 {
            let message = format!("broken record: expected {RECORD} bytes, got {rest}; the batch is cut off");
            items.push(item(whole, 0, Source::Broken(message)));
        }
    }
    Ok(Dataset { layout: Layout::Cifar, classes, items, notes: vec![] })
}

/// One record as RGBA.
///
/// # Errors
/// One line that says why it cannot be read.
pub fn record(batch: &Path, index: usize) -> Result<(Pixels, Vec<u8>), String> {
    let mut record = [0u8; RECORD];
    let mut file = File::open(batch).map_err(|e| paths::one_line(&e))?;
    file.seek(SeekFrom::Start(index as u64 * RECORD as u64)).map_err(|e| paths::one_line(&e))?;
    file.read_exact(&mut record).map_err(|e| paths::one_line(&e))?;
    Ok((Pixels::Rgba { width: SIDE, height: SIDE, by: Decoder::Oddlens }, rgba(&record)))
}

/// Planes to pixels; the label is left out.
fn rgba(record: &[u8; RECORD]) -> Vec<u8> {
    let (red, rest) = record[1..].split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    (0..PLANE).flat_map(|i| [red[i], green[i], blue[i], 255]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_pixels() {
        let mut record = [0u8; RECORD];
        record[0] = 7;
        record[1] = 10;
        record[1 + PLANE] = 20;
        record[1 + 2 * PLANE] = 30;
        record[PLANE] = 11;
        let pixels = rgba(&record);
        assert_eq!((pixels.len(), &pixels[..4]), (4 * PLANE, &[10, 20, 30, 255][..]));
        assert_eq!(pixels[4 * (PLANE - 1)..], [11, 0, 0, 255]);
    }
}
