//! `pixels` against Pillow: every format, mode and odd size; broken files of every kind; limits.
//! Sources and expected crops come from tests/reference/pixels.py.
use oddlens::pixels::{Picture, decode, from_rgba, preprocess, resize_crop};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/pixels")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Data that is not in the repository: golden files beside it, if somebody has them.
fn shared(path: &str) -> Option<Vec<u8>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("ODDLENS_SHARED").map_or_else(beside, PathBuf::from);
    let bytes = std::fs::read(folder.join(path)).ok();
    if bytes.is_none() {
        println!("skipped: golden data not found");
    }
    bytes
}

/// The same noise as in pixels.py.
fn noise(count: usize, seed: u64) -> Vec<u8> {
    let byte = |i: u64| {
        let v = (i + seed).wrapping_mul(2_654_435_761) & 0xffff_ffff;
        (((v ^ (v >> 15)).wrapping_mul(2_246_822_519) & 0xffff_ffff) >> 24) as u8
    };
    (0..count as u64).map(byte).collect()
}

struct Case {
    name: String,
    picture: Picture,
    size: usize,
    expected: Vec<u8>,
    off: u8,
}

fn cases() -> Vec<Case> {
    let index: Value = serde_json::from_slice(&read(&reference().join("index.json"))).expect("valid JSON");
    let crops = read(&reference().join("crops.bin"));
    let number = |case: &Value, key: &str| case[key].as_u64().unwrap_or_else(|| panic!("no {key}")) as usize;
    let make = |case: &Value| {
        let name = case["name"].as_str().expect("a name").to_string();
        let (width, height, size) = (number(case, "width"), number(case, "height"), number(case, "size"));
        let picture = match case["file"].as_str() {
            Some(file) => decode(&read(&reference().join(file))).unwrap_or_else(|e| panic!("{name}: {e}")),
            None => from_rgba(&noise(width * height * 4, number(case, "seed") as u64), width as u32, height as u32)
                .expect("pixels"),
        };
        assert_eq!((picture.width() as usize, picture.height() as usize), (width, height), "{name}");
        assert_eq!(picture.format(), case["format"].as_str().unwrap_or("RGBA"), "{name}");
        let expected = crops[number(case, "at")..][..size * size * 3].to_vec();
        Case { name, picture, size, expected, off: number(case, "off") as u8 }
    };
    index.as_array().expect("a list").iter().map(make).collect()
}

/// The largest difference of two pictures, and its mean.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(x, y)| x.abs_diff(*y));
    (differences.clone().max().unwrap_or(0), differences.map(f64::from).sum::<f64>() / a.len() as f64)
}

#[test]
fn crops_are_pillows() {
    let cases = cases();
    assert!(cases.len() > 100);
    let mut wrong = Vec::new();
    for case in &cases {
        let (most, mean) = difference(&resize_crop(&case.picture, case.size), &case.expected);
        if most > 0 {
            println!("{}: at most {most}, {mean:.3} on average", case.name);
        }
        if most > case.off {
            wrong.push(format!("{}: expected at most {}, got {most}", case.name, case.off));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The part of a `.npy` file behind its header, as little-endian f32.
fn npy(bytes: &[u8]) -> Vec<f32> {
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect()
}

#[test]
fn a_photo_becomes_what_clip_makes_of_it() {
    let (Some(photo), Some(golden)) = (shared("golden/franz-kafka.jpg"), shared("golden/kafka_preprocessed_f32.npy"))
    else {
        return;
    };
    let (got, expected) = (preprocess(&decode(&photo).expect("a JPEG"), 224), npy(&golden));
    assert_eq!(got.len(), expected.len());
    let steps =
        |i: usize| f64::from((got[i] - expected[i]).abs() * oddlens::pixels::normalise::STD[i / (224 * 224)] * 255.0);
    let most = (0..got.len()).map(steps).fold(0.0, f64::max);
    let mean = (0..got.len()).map(steps).sum::<f64>() / got.len() as f64;
    println!("in steps of 1/255: at most {most:.4}, {mean:.4} on average");
    assert!(most <= 2.0001, "expected at most 2, got {most}");
}
