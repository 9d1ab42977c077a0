//! What lies in a data set's folder: pictures with their class, in a fixed order. Four layouts are known by their folders:
//!
//! | layout | a picture's class | anomalous |
//! |---|---|---|
//! | CIFAR-10's binary batches | by its label | as the protocol says |
//! | `<class>/*`, also below `train/` and `test/` | its folder | as the protocol says |
//! | `<class>/{normal,anomalous}/*`, also below `train/` and `test/` | the folder above | by its folder |
//!
//! ImageNet-30's `one_class_train/` and `one_class_test/` are `train/` and `test/`. Pictures may lie at any depth below their folder.
//! It lists and reads; it does not know what is learned from whom.
//!
//! Source of the third: `src/eoe/datasets/custom.py` in liznerski/eoe.

use std::fs;
use std::path::{Path, PathBuf};

use super::paths::{self, Found};
use super::{EvalError, cifar};
use crate::protocol::{Kind, Pixels};

/// What a picture is for, where the data set says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// To learn from.
    Train,
    /// To be judged.
    Test,
}

/// How the data set is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Cifar,
    /// `<class>/*`
    Classes,
    /// `<class>/{normal,anomalous}/*`
    NormalAnomalous,
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Record {
        batch: PathBuf,
        index: usize,
    },
    /// Cannot be had: one line that says why.
    Broken(String),
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Below the data set's folder, with `/` between folders; for a record, `batch#number`.
    pub path: String,
    /// Of [`Dataset::classes`].
    pub class: usize,
    /// `None`: the data set does not say.
    pub split: Option<Split>,
    /// By its folder ([`Layout::NormalAnomalous`] only).
    pub anomalous: bool,
    pub source: Source,
}

impl Item {
    /// The bytes, and how to understand them.
    ///
    /// # Errors
    /// One line that says why they cannot be had.
    pub fn read(&self) -> Result<(Pixels, Vec<u8>), String> {
        match &self.source {
            Source::File(path) => Ok((Pixels::Encoded, paths::read(path)?)),
            Source::Record { batch, index } => cifar::record(batch, *index),
            Source::Broken(message) => Err(message.clone()),
        }
    }
}

/// Pictures with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    pub layout: Layout,
    /// As the data set spells them.
    pub classes: Vec<String>,
    pub items: Vec<Item>,
    /// What was passed over, one line each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Whether it has both pictures to learn from and pictures to judge.
    pub fn is_split(&self) -> bool {
        [Split::Train, Split::Test].into_iter().all(|split| self.items.iter().any(|i| i.split == Some(split)))
    }
}

/// Lists the pictures of the data set in `root`.
///
/// # Errors
/// When it cannot be read or is of no known layout.
pub fn read(root: &Path) -> Result<Dataset, EvalError> {
    if !root.is_dir() {
        let got = if root.exists() { "a file" } else { "nothing of that name" }.to_string();
        return Err(EvalError::Dataset { path: root.to_path_buf(), expected: "a folder", got });
    }
    if let Some(folder) = cifar::folder_of(root) {
        return cifar::read(&folder);
    }
    let top = folders(root)?;
    let split_of = |name: &str| match name.to_ascii_lowercase().as_str() {
        "train" | "one_class_train" => Some(Split::Train),
        "test" | "one_class_test" => Some(Split::Test),
        _ => None,
    };
    let splits: Vec<(&String, Split)> = top.iter().filter_map(|name| Some((name, split_of(name)?))).collect();
    let mut notes = Vec::new();
    let roots: Vec<(String, Option<Split>)> = if splits.is_empty() {
        vec![(String::new(), None)]
    } else {
        let others: Vec<&str> = top.iter().filter(|name| split_of(name).is_none()).map(String::as_str).collect();
        if !others.is_empty() {
            notes.push(format!("folders beside train/ and test/ are passed over: {}", others.join(", ")));
        }
        splits.iter().map(|(name, split)| (format!("{name}/"), Some(*split))).collect()
    };
    let mut listing = Listing { root, layout: None, classes: vec![], items: vec![], passed_over: 0 };
    for (below, split) in &roots {
        listing.add_split(below, *split)?;
    }
    let Listing { layout, classes, mut items, passed_over, .. } = listing;
    let (Some(layout), false) = (layout, items.is_empty()) else {
        let expected = "CIFAR-10's binary batches, or pictures in folders <class>/ or <class>/{normal,anomalous}/";
        let got = match (top.is_empty(), passed_over) {
            (true, _) => "no folders".to_string(),
            (false, 0) => "folders without files".to_string(),
            (false, n) => format!("{n} files without a picture's extension"),
        };
        return Err(EvalError::Dataset { path: root.to_path_buf(), expected, got });
    };
    if passed_over > 0 {
        notes.push(format!("{passed_over} other files in folders passed over"));
    }
    // classes stand in the order of their names, whichever split they were found in; a folder without pictures is none
    let (mut order, empty): (Vec<usize>, Vec<usize>) =
        (0..classes.len()).partition(|&class| items.iter().any(|item| item.class == class));
    if !empty.is_empty() {
        let names: Vec<&str> = empty.iter().map(|&class| classes[class].as_str()).collect();
        notes.push(format!("folders without pictures are no classes: {}", names.join(", ")));
    }
    order.sort_by(|&a, &b| classes[a].cmp(&classes[b]));
    let mut place = vec![0; classes.len()];
    order.iter().enumerate().for_each(|(new, &old)| place[old] = new);
    items.iter_mut().for_each(|item| item.class = place[item.class]);
    let classes: Vec<String> = order.iter().map(|&class| classes[class].clone()).collect();
    Ok(Dataset { layout, classes, items, notes })
}

/// All pictures below `root`, as outliers to learn from.
///
/// # Errors
/// When there is none.
pub fn read_outliers(root: &Path) -> Result<Vec<Item>, EvalError> {
    let listing = paths::expand(&[root]);
    let items: Vec<Item> = listing.found.iter().map(|found| item(found, root, 0, Some(Split::Train), true)).collect();
    if items.is_empty() || !root.is_dir() {
        let expected = "a folder of outlier pictures";
        let got = if root.is_dir() { "a folder without pictures" } else { "none" }.to_string();
        return Err(EvalError::Dataset { path: root.to_path_buf(), expected, got });
    }
    Ok(items)
}

/// A data set in the making.
struct Listing<'a> {
    root: &'a Path,
    layout: Option<Layout>,
    classes: Vec<String>,
    items: Vec<Item>,
    passed_over: usize,
}

impl Listing<'_> {
    /// Adds the class folders in `root/below` (which is empty or ends with `/`).
    fn add_split(&mut self, below: &str, split: Option<Split>) -> Result<(), EvalError> {
        let folder = if below.is_empty() { self.root.to_path_buf() } else { self.root.join(below) };
        for name in folders(&folder)? {
            if Kind::of_folder(&name).is_some() {
                let expected = "class folders, with normal/ and anomalous/ below a folder that names what is normal";
                return Err(EvalError::Dataset { path: folder, expected, got: format!("'{name}' at the top") });
            }
            let class_folder = folder.join(&name);
            let inside = folders(&class_folder)?;
            let kinds: Vec<(&String, bool)> =
                inside.iter().filter_map(|n| Some((n, Kind::of_folder(n)? == Kind::Outlier))).collect();
            let layout = if kinds.is_empty() { Layout::Classes } else { Layout::NormalAnomalous };
            if *self.layout.get_or_insert(layout) != layout {
                let expected = "the same folders in every class: normal/ and anomalous/, or neither";
                let got = format!("'{below}{name}', which differs from those before");
                return Err(EvalError::Dataset { path: self.root.to_path_buf(), expected, got });
            }
            let class = self.class(&name);
            if layout == Layout::Classes {
                self.add(&class_folder, class, split, false);
            }
            for (kind, anomalous) in kinds {
                self.add(&class_folder.join(kind), class, split, anomalous);
            }
        }
        Ok(())
    }

    fn class(&mut self, name: &str) -> usize {
        match self.classes.iter().position(|c| c == name) {
            Some(class) => class,
            None => {
                self.classes.push(name.into());
                self.classes.len() - 1
            }
        }
    }

    fn add(&mut self, folder: &Path, class: usize, split: Option<Split>, anomalous: bool) {
        let listing = paths::expand(&[folder]);
        self.passed_over += listing.passed_over;
        self.items.extend(listing.found.iter().map(|found| item(found, self.root, class, split, anomalous)));
    }
}

fn item(found: &Found, root: &Path, class: usize, split: Option<Split>, anomalous: bool) -> Item {
    let path = found.path().strip_prefix(root).unwrap_or(found.path());
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let source = match found.file() {
        Ok(path) => Source::File(path.to_path_buf()),
        Err(message) => Source::Broken(message),
    };
    Item { path: parts.join("/"), class, split, anomalous, source }
}

/// The folders in a folder, hidden ones left out, by name.
fn folders(folder: &Path) -> Result<Vec<String>, EvalError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(EvalError::io(folder))? {
        let entry = entry.map_err(EvalError::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
