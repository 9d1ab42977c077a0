//! From the paths on the command line to the files to read, in a fixed order.
//!
//! A path that exists is taken literally, whatever characters it holds; else one with `*`, `?` or `[` is a pattern that we
//! expand ourselves (some shells do not), and its matches are taken as if the shell had named them. Arguments keep their
//! order. A folder stands for the pictures in it and in its folders, by extension, sorted by path, following links.
//!
//! It knows nothing of pictures but their usual extensions and how large a file may be.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process;

use crate::protocol::MAX_FILE_BYTES;

/// Extensions by which a picture in a folder is recognised, lower case. Those of formats that browsers read and we do not
/// (AVIF, HEIC) are among them: such a picture is reported as failed and not passed over in silence.
pub const PICTURE_EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "heic", "heif",
    "hif",
];

/// Something that was named, directly or through a folder or pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// To be read.
    File(PathBuf),
    /// Cannot even be listed: one line that says why.
    Failed { path: PathBuf, message: String },
    /// A pattern that stands for nothing.
    NoMatch(PathBuf),
}

impl Found {
    /// The path as it is shown.
    pub fn path(&self) -> &Path {
        match self {
            Found::File(path) | Found::Failed { path, .. } | Found::NoMatch(path) => path,
        }
    }

    /// The path to read.
    ///
    /// # Errors
    /// One line that says why there is none.
    pub fn file(&self) -> Result<&Path, String> {
        match self {
            Found::File(path) => Ok(path),
            Found::Failed { message, .. } => Err(message.clone()),
            Found::NoMatch(_) => Err("no file matches this pattern".into()),
        }
    }
}

/// What the arguments stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub found: Vec<Found>,
    /// Along `found`: the index of the argument that named it.
    pub argument_of: Vec<usize>,
    /// Files in folders that were passed over, because their extension is not a picture's.
    pub passed_over: usize,
}

/// Expands `arguments` in their order.
pub fn expand<P: AsRef<Path>>(arguments: &[P]) -> Listing {
    let mut listing = Listing::default();
    for (index, argument) in arguments.iter().enumerate() {
        listing.add_argument(argument.as_ref());
        listing.argument_of.resize(listing.found.len(), index);
    }
    listing
}

impl Listing {
    fn fail(&mut self, path: &Path, message: impl Into<String>) {
        self.found.push(Found::Failed { path: path.to_path_buf(), message: message.into() });
    }

    fn add_argument(&mut self, path: &Path) {
        // A dangling link exists literally too: naming it is a failure to read, not a pattern.
        if path.symlink_metadata().is_ok() {
            return self.add_existing(path);
        }
        match path.to_str().filter(|text| text.contains(['*', '?', '['])).map(glob::glob) {
            Some(Ok(matches)) => {
                let mut nothing = true;
                for entry in matches {
                    nothing = false;
                    match entry {
                        Ok(matched) => self.add_existing(&matched),
                        Err(error) => self.fail(error.path(), one_line(error.error())),
                    }
                }
                if nothing {
                    self.found.push(Found::NoMatch(path.to_path_buf()));
                }
            }
            Some(Err(error)) => self.fail(path, format!("no such file, and no pattern either: {}", error.msg)),
            // Reading it will tell why it cannot be read (missing, or a folder above it is closed).
            None => self.found.push(Found::File(path.to_path_buf())),
        }
    }

    fn add_existing(&mut self, path: &Path) {
        if !path.is_dir() {
            return self.found.push(Found::File(path.to_path_buf()));
        }
        match fs::canonicalize(path) {
            Ok(real) => self.add_folder(path, &mut vec![real]),
            Err(error) => self.fail(path, one_line(&error)),
        }
    }

    /// `above`: the real paths of this folder (last) and of those that led to it, by which a loop of links is noticed.
    fn add_folder(&mut self, folder: &Path, above: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.fail(folder, one_line(&error)),
        };
        // Names sorted folder by folder give all paths sorted component by component.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (name, path) = (entry.file_name(), entry.path());
            if is_hidden(&name) {
                continue;
            }
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) => {
                    self.fail(&path, one_line(&error));
                    continue;
                }
            };
            if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                let real = if kind.is_symlink() {
                    fs::canonicalize(&path)
                } else {
                    Ok(above.last().map_or_else(|| path.clone(), |parent| parent.join(&name)))
                };
                match real {
                    Ok(real) if above.contains(&real) => self.fail(&path, "a link back to a folder that it lies in"),
                    Ok(real) => {
                        above.push(real);
                        self.add_folder(&path, above);
                        above.pop();
                    }
                    Err(error) => self.fail(&path, one_line(&error)),
                }
            } else if has_picture_extension(&path) {
                self.found.push(Found::File(path));
            } else {
                self.passed_over += 1;
            }
        }
    }
}

/// Thumbnails' folders, version control, the Mac's `._` shadows: in a folder, names that begin with a dot are not meant.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

fn has_picture_extension(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| PICTURE_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// The bytes of a file, at most [`MAX_FILE_BYTES`].
///
/// # Errors
/// One line that says why it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| one_line(&error))?;
    // Without the file's length as a hint: it may be a pipe. An endless device named by mistake ends here.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| one_line(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("expected a picture of at most {} MiB, got a larger file", MAX_FILE_BYTES >> 20));
    }
    Ok(bytes)
}

/// Writes a file under another name beside `path` first, so that there is never half a file of that name.
///
/// # Errors
/// When it cannot be written; nothing is left beside it then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = Partial::beside(path)?;
    fs::write(partial.path(), bytes)?;
    partial.keep()
}

/// A file that is being written under another name beside the one it is to have; it goes unless it is kept.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    whole: PathBuf,
}

impl Partial {
    /// What is to be the file `path`; there is none yet.
    ///
    /// # Errors
    /// When the path names no file.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_os_string();
        name.push(format!(".{}.partial", process::id()));
        Ok(Self { path: path.with_file_name(name), whole: path.into() })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When it cannot have it; it goes then.
    pub fn keep(self) -> io::Result<()> {
        fs::rename(&self.path, &self.whole)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // there is none where it was kept, or never written
        let _ = fs::remove_file(&self.path);
    }
}

/// The system's reason without its number, lower case, so that it reads well after a path.
pub fn one_line(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "a folder where a file was expected".into(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or(&text);
            text.to_lowercase().replace(['\n', '\r'], " ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, gone afterwards.
    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str, files: &[&str]) -> Self {
            let root = std::env::temp_dir().join(format!("oddlens-paths-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            for file in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, b"x").unwrap();
            }
            Self(root)
        }

        /// What `arguments` (below the root) stand for, without the root; failures marked with `!`.
        fn list(&self, arguments: &[&str]) -> Vec<String> {
            let arguments: Vec<_> = arguments.iter().map(|argument| self.0.join(argument)).collect();
            let short = |path: &Path| path.strip_prefix(&self.0).unwrap().to_str().unwrap().replace('\\', "/");
            expand(&arguments)
                .found
                .iter()
                .map(|found| match found.file() {
                    Ok(path) => short(path),
                    Err(message) => format!("!{}: {message}", short(found.path())),
                })
                .collect()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn folders_are_walked_in_path_order_and_by_extension() {
        let scene = Scene::new(
            "walk",
            &[
                "b.PNG",
                "a/z.jpg",
                "a/note.txt",
                "a-1.jpeg",
                "c/d/e.WebP",
                ".hidden/x.jpg",
                "._b.png",
                "plain",
                "q.heic",
            ],
        );
        assert_eq!(scene.list(&[""]), ["a/z.jpg", "a-1.jpeg", "b.PNG", "c/d/e.WebP", "q.heic"]);
        assert_eq!(expand(&[&scene.0]).passed_over, 2);
    }

    #[test]
    fn arguments_keep_their_order_and_named_files_are_always_taken() {
        let scene = Scene::new("order", &["b/2.png", "b/1.png", "a.txt", "z.jpg"]);
        assert_eq!(
            scene.list(&["z.jpg", "a.txt", "b", "gone.jpg", "z.jpg"]),
            ["z.jpg", "a.txt", "b/1.png", "b/2.png", "gone.jpg", "z.jpg"]
        );
    }

    #[test]
    fn patterns_are_expanded_unless_such_a_path_exists() {
        let scene = Scene::new("glob", &["x1.jpg", "x2.jpg", "x[1].jpg", "sub/x3.jpg", "sub/deep/x4.jpg", "x5.txt"]);
        assert_eq!(scene.list(&["x?.jpg"]), ["x1.jpg", "x2.jpg"]);
        assert_eq!(scene.list(&["x[1].jpg"]), ["x[1].jpg"], "exists literally");
        assert_eq!(scene.list(&["x[2].jpg"]), ["x2.jpg"]);
        assert_eq!(scene.list(&["x5.*"]), ["x5.txt"], "as if the shell had named it");
        assert_eq!(scene.list(&["s*"]), ["sub/deep/x4.jpg", "sub/x3.jpg"], "a matched folder is walked");
        assert_eq!(scene.list(&["**/x?.jpg"]).len(), 4);
        assert_eq!(scene.list(&["y*.jpg"]), ["!y*.jpg: no file matches this pattern"]);
        assert_eq!(scene.list(&["s*", "sub/nothing*"]).len(), 3);
        assert!(scene.list(&["y[.jpg"])[0].starts_with("!y[.jpg: no such file, and no pattern either"));
    }

    #[test]
    fn an_empty_folder_stands_for_nothing() {
        let scene = Scene::new("empty", &["only.txt"]);
        assert_eq!(expand(&[&scene.0]), Listing { passed_over: 1, ..Listing::default() });
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_are_said() {
        use std::os::unix::fs::symlink;
        let scene = Scene::new("links", &["real/1.jpg", "real/sub/2.jpg", "elsewhere/3.jpg"]);
        symlink(scene.0.join("real"), scene.0.join("real/sub/up")).unwrap();
        symlink(scene.0.join("elsewhere"), scene.0.join("real/other")).unwrap();
        symlink(scene.0.join("elsewhere/3.jpg"), scene.0.join("real/4.jpg")).unwrap();
        symlink("nowhere", scene.0.join("real/5.jpg")).unwrap();
        assert_eq!(
            scene.list(&["real"]),
            [
                "real/1.jpg",
                "real/4.jpg",
                "real/5.jpg",
                "real/other/3.jpg",
                "real/sub/2.jpg",
                "!real/sub/up: a link back to a folder that it lies in"
            ]
        );
    }
}
