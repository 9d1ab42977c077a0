//! [`Store`]: vectors on disk by the checksum of what they were made of. A run that was stopped finds there what it had.
//!
//! One file that only grows: a head line, then records of a mark, a key, a length, a checksum and numbers. Each record is
//! written at once, so that a run may be killed at any time. A record that is not whole ends the file: it and what follows are cut
//! off. One whose numbers do not fit its checksum, or are not finite, counts as missing. Both are said in [`Store::notes`].
//!
//! It does not know what the numbers are.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::EvalError;

/// What a vector was made of.
pub type Key = [u8; 32];

/// The first bytes of every file.
const HEAD: &[u8; 16] = b"oddlens cache 1\n";
/// The first bytes of every record.
const MARK: &[u8; 4] = b"\nrec";
const SUM: usize = 8;
const RECORD_HEAD: usize = MARK.len() + 32 + 4 + SUM;
/// Numbers in a record at most: margins of four million pictures.
const MOST: u32 = 1 << 22;

/// The key of what these parts say; each part counts with its length.
pub fn key(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Vectors by key, in memory only as far as asked for. Used from many threads.
pub struct Store {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    /// Where the numbers of a record begin, how many, and their checksum.
    records: HashMap<Key, (u64, u32, [u8; SUM])>,
    end: u64,
    notes: Vec<String>,
    broken: usize,
}

impl Store {
    /// Opens the file, or begins it; its folder is made.
    ///
    /// # Errors
    /// When it cannot be read or written, or another run uses it.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(EvalError::io(folder))?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(EvalError::io(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EvalError::CacheInUse(path.to_path_buf())),
            // some file systems have no locks; the cache works without
            Err(TryLockError::Error(_)) => {}
        }
        let mut inner = Inner { file, records: HashMap::new(), end: 0, notes: vec![], broken: 0 };
        inner.begin(path).map_err(EvalError::io(path))?;
        Ok(Self { path: path.to_path_buf(), inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.inner().records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vector, if it is there and whole.
    pub fn get(&self, key: &Key) -> Option<Vec<f32>> {
        let mut inner = self.inner();
        let &(at, count, sum) = inner.records.get(key)?;
        match inner.read(key, at, count, sum) {
            Some(numbers) => Some(numbers),
            None => {
                inner.records.remove(key);
                inner.broken += 1;
                None
            }
        }
    }

    /// Keeps a vector.
    ///
    /// # Errors
    /// When the file cannot be written, or a number is not finite.
    pub fn put(&self, key: &Key, numbers: &[f32]) -> Result<(), EvalError> {
        let refused = |got: String| {
            let expected = "finite numbers, at most four million";
            Err(EvalError::Dataset { path: self.path.clone(), expected, got })
        };
        if let Some(bad) = numbers.iter().find(|x| !x.is_finite()) {
            return refused(bad.to_string());
        }
        if numbers.len() > MOST as usize {
            return refused(numbers.len().to_string());
        }
        let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let sum = checksum(key, &data);
        let count = numbers.len() as u32;
        let record = [&MARK[..], key, &count.to_le_bytes(), &sum, &data].concat();
        let mut inner = self.inner();
        let end = inner.end;
        let written = inner.file.seek(SeekFrom::Start(end)).and_then(|_| inner.file.write_all(&record));
        written.map_err(EvalError::io(&self.path))?;
        inner.end += record.len() as u64;
        inner.records.insert(*key, (end + RECORD_HEAD as u64, count, sum));
        Ok(())
    }

    /// [`Store::put`], where a failure costs only time: it is told in [`Store::notes`], once.
    pub fn keep(&self, key: &Key, numbers: &[f32]) {
        if let Err(error) = self.put(key, numbers) {
            let mut inner = self.inner();
            let note = format!("not kept: {error}");
            if !inner.notes.contains(&note) {
                inner.notes.push(note);
            }
        }
    }

    /// What was wrong with the file so far, one line each.
    pub fn notes(&self) -> Vec<String> {
        let inner = self.inner();
        let mut notes: Vec<String> =
            inner.notes.iter().map(|n| format!("cache {}: {n}", self.path.display())).collect();
        if inner.broken > 0 {
            let (path, n) = (self.path.display(), inner.broken);
            notes.push(format!("cache {path}: {n} records with a wrong checksum; computed again"));
        }
        notes
    }
}

impl Inner {
    /// Checks the head and finds the records.
    fn begin(&mut self, path: &Path) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut head = [0u8; HEAD.len()];
        let whole = length >= HEAD.len() as u64 && self.file.read_exact(&mut head).is_ok();
        if !whole || head != *HEAD {
            if length > 0 {
                // what is no cache of ours may be dear to somebody
                let aside = path.with_extension("not-a-cache");
                fs::copy(path, &aside)?;
                self.notes.push(format!("expected a cache of this version, got something else; it now lies in {}, and all is computed again", aside.display()));
            }
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(HEAD)?;
            self.end = HEAD.len() as u64;
            return Ok(());
        }
        self.end = HEAD.len() as u64;
        let mut reader = BufReader::new(&self.file);
        let mut head = [0u8; RECORD_HEAD];
        while self.end < length {
            let (key, rest) = match reader.read_exact(&mut head) {
                Ok(()) => head[MARK.len()..].split_at(32),
                Err(_) => break,
            };
            let count = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let numbers = self.end + RECORD_HEAD as u64;
            let next = numbers + 4 * u64::from(count);
            if &head[..MARK.len()] != MARK || count > MOST || next > length {
                break;
            }
            let (mut own, mut sum) = ([0u8; 32], [0u8; SUM]);
            own.copy_from_slice(key);
            sum.copy_from_slice(&rest[4..]);
            self.records.insert(own, (numbers, count, sum));
            reader.seek_relative(4 * i64::from(count))?;
            self.end = next;
        }
        if self.end < length {
            let (at, kept) = (self.end, self.records.len());
            self.notes.push(format!(
                "expected a whole record at byte {at}, got something else (a run that was stopped?); {kept} are kept, the rest is computed again"
            ));
            self.file.set_len(self.end)?;
        }
        Ok(())
    }

    fn read(&mut self, key: &Key, at: u64, count: u32, sum: [u8; SUM]) -> Option<Vec<f32>> {
        let mut data = vec![0u8; 4 * count as usize];
        self.file.seek(SeekFrom::Start(at)).ok()?;
        self.file.read_exact(&mut data).ok()?;
        if checksum(key, &data) != sum {
            return None;
        }
        let numbers: Vec<f32> = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        numbers.iter().all(|x| x.is_finite()).then_some(numbers)
    }
}

/// Of key and data: eight bytes tell an accident.
fn checksum(key: &Key, data: &[u8]) -> [u8; SUM] {
    let digest = Sha256::new().chain_update(key).chain_update(data).finalize();
    let mut sum = [0u8; SUM];
    sum.copy_from_slice(&digest[..SUM]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("oddlens-store-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            Self(root)
        }

        fn file(&self) -> PathBuf {
            self.0.join("deep/cache.bin")
        }

        fn open(&self) -> Store {
            Store::open(&self.file()).unwrap()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let scene = Scene::new("back");
        let (a, b) = (key(&[b"a"]), key(&[b"b", b""]));
        assert_ne!(key(&[b"a", b"b"]), key(&[b"ab"]));
        {
            let store = scene.open();
            store.put(&a, &[1.5, -2.0]).unwrap();
            store.put(&b, &[]).unwrap();
            assert!(store.put(&b, &[f32::NAN]).unwrap_err().to_string().contains("expected finite"));
            assert!(matches!(Store::open(&scene.file()), Err(EvalError::CacheInUse(_))));
        }
        let store = scene.open();
        assert_eq!((store.get(&a), store.get(&b), store.len()), (Some(vec![1.5, -2.0]), Some(vec![]), 2));
        assert_eq!((store.get(&key(&[b"c"])), store.notes().len()), (None, 0));
    }

    /// Cut anywhere, changed anywhere: what is given back is what was put, or nothing; and the store goes on.
    #[test]
    fn a_broken_file_gives_nothing_wrong() {
        let scene = Scene::new("broken");
        let keys: Vec<Key> = (0..3u8).map(|i| key(&[&[i]])).collect();
        let numbers = |i: usize| vec![i as f32 + 0.5; 3];
        {
            let store = scene.open();
            keys.iter().enumerate().for_each(|(i, k)| store.put(k, &numbers(i)).unwrap());
        }
        let good = fs::read(scene.file()).unwrap();
        let mut found = 0;
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 0x55;
            for bytes in [good[..at].to_vec(), flipped] {
                fs::write(scene.file(), &bytes).unwrap();
                let store = scene.open();
                for (i, k) in keys.iter().enumerate() {
                    match store.get(k) {
                        Some(got) => {
                            assert_eq!(got, numbers(i), "byte {at}");
                            found += 1;
                        }
                        None => store.put(k, &numbers(i)).unwrap(),
                    }
                }
                assert!(store.notes().iter().all(|n| !n.contains('\n')));
                drop(store);
                let again = scene.open();
                assert!(keys.iter().enumerate().all(|(i, k)| again.get(k) == Some(numbers(i))), "byte {at}");
            }
        }
        assert!(found > good.len(), "{found}");
    }
}
