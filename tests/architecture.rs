//! The laws of the house (src/lib.rs), read off the source: who may use whom, where `unsafe` and candle may stand, who touches
//! clock, network and files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rooms by layer: a room may use rooms of lower layers only (and itself).
const LAYERS: &[(&str, u32)] = &[
    ("kernels", 0),
    ("metrics", 0),
    ("embedding", 0),
    ("protocol", 0),
    ("pixels", 1),
    ("quant", 1),
    ("weights", 2),
    ("clip", 3),
    ("score", 3),
    ("train", 4),
    ("bench", 5),
    ("engine", 5),
    ("app_state", 5),
    ("eval", 6),
    ("link", 6),
    ("ui", 6),
    ("bin", 7),
];

/// `weights::manifest` fills the protocol's `ModelEntry`, and so on: the rooms of layer 0 are open to all. Beyond that, these
/// pairs of the same layer may not meet, and neither may these.
const STRANGERS: &[(&str, &[&str])] = &[
    ("score", &["clip", "pixels", "weights", "quant", "train"]),
    ("ui", &["clip", "score", "train", "weights", "engine", "quant", "kernels", "embedding", "pixels"]),
    ("app_state", &["clip", "score", "train", "weights", "engine", "quant", "kernels", "embedding", "pixels"]),
    ("link", &["clip", "score", "train", "weights", "engine", "app_state", "ui"]),
    ("eval", &["app_state", "bench", "quant", "kernels", "weights"]),
    ("train", &["clip", "pixels", "weights", "quant", "engine"]),
    ("metrics", &["embedding", "protocol", "kernels"]),
    ("protocol", &["embedding", "kernels", "metrics"]),
    ("kernels", &["embedding", "protocol"]),
];

struct Source {
    path: String,
    room: String,
    code: String,
}

/// Every Rust file below src, comments and test modules left out.
fn sources() -> Vec<Source> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("src can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 20, "the house has more than {} files", files.len());
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a source file");
        let inside = path.strip_prefix(&root).expect("below src");
        let room = inside.iter().next().expect("a name").to_string_lossy().trim_end_matches(".rs").to_string();
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .expect("a first part")
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n");
        Source { path: inside.to_string_lossy().into_owned(), room, code }
    };
    files.iter().map(read).filter(|s| s.room != "lib" && !s.path.ends_with("tests.rs")).collect()
}

/// The rooms named in `crate::...` (or `oddlens::...`, from the binaries) anywhere in the code.
fn rooms_used(code: &str) -> Vec<String> {
    let mut out = Vec::new();
    for prefix in ["crate::", "oddlens::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            let names: Vec<&str> = if let Some(group) = rest.strip_prefix('{') {
                group.split('}').next().unwrap_or_default().split(',').collect()
            } else {
                vec![rest]
            };
            for name in names {
                let name: String = name.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                out.push(name);
            }
        }
    }
    out
}

#[test]
fn rooms_use_only_lower_rooms() {
    let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources() {
        let Some(&own) = layers.get(source.room.as_str()) else {
            broken.push(format!("{}: the room '{}' has no layer; give it one in LAYERS", source.path, source.room));
            continue;
        };
        for used in rooms_used(&source.code) {
            if let Some(&layer) = layers.get(used.as_str())
                && used != source.room
                && (layer > own || (layer == own && own >= 5 && source.room != "ui"))
            {
                broken.push(format!("{} (layer {own}) uses {used} (layer {layer})", source.path));
            }
        }
        for (room, strangers) in STRANGERS {
            for used in rooms_used(&source.code) {
                if source.room == *room && strangers.contains(&used.as_str()) {
                    broken.push(format!("{} must not know {used}", source.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "laws broken:\n{}", broken.join("\n"));
}

/// Text that may stand only in some rooms.
fn only_in(what: &[&str], rooms: &[&str]) {
    let mut broken = Vec::new();
    for source in sources() {
        if rooms.iter().any(|room| source.path.starts_with(room)) {
            continue;
        }
        for word in what {
            if source.code.contains(word) {
                broken.push(format!("{} has '{word}'", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "allowed only in {rooms:?}:\n{}", broken.join("\n"));
}

#[test]
fn unsafe_and_intrinsics_stay_in_kernels() {
    only_in(&["unsafe {", "unsafe fn", "allow(unsafe_code)", "core::arch", "std::arch"], &["kernels"]);
}

#[test]
fn candle_stays_in_clip_and_train() {
    only_in(&["candle_core", "candle_nn"], &["clip", "train"]);
}

#[test]
fn clock_network_and_files_stay_at_the_edges() {
    let edges = ["bin", "link", "ui"];
    only_in(&["std::net", "std::time", "Instant::now", "SystemTime", "web_sys", "js_sys", "gloo"], &edges);
    only_in(&["std::fs"], &["bin", "eval", "link", "ui"]);
    only_in(&["yew::"], &["ui", "bin/page"]);
}

#[test]
fn nothing_global_and_mutable_nothing_exported_nothing_unfinished() {
    only_in(&["static mut ", "thread_local!", "lazy_static!", "OnceLock<"], &[]);
    only_in(&["#[wasm_bindgen"], &["bin", "link", "ui/hooks"]);
    only_in(&["todo!(", "unimplemented!(", "dbg!("], &[]);
}

/// The checks above can fail: they see what they look for.
#[test]
fn the_reader_sees_what_it_looks_for() {
    assert_eq!(
        rooms_used("use crate::{clip::Clip, score};\nlet x = crate::pixels::decode(b);"),
        ["clip", "score", "pixels"]
    );
    let all = sources();
    assert!(all.iter().any(|s| s.room == "kernels" && s.code.contains("unsafe {")));
    assert!(all.iter().any(|s| s.room == "clip" && s.code.contains("candle_core")));
}
