//! `pixels` against Pillow: every format, mode and odd size; broken files of every kind; limits.
//! Sources and expected crops come from tests/reference/pixels.py.
use oddlens::pixels::normalise::{MEAN, STD};
use oddlens::pixels::{Picture, PixelsError, decode, from_rgba, preprocess, resize_crop, thumbnail_jpeg};
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
    picture: Picture<'static>,
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
            None => from_rgba(noise(width * height * 4, number(case, "seed") as u64), width as u32, height as u32)
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
    let steps = |i: usize| f64::from((got[i] - expected[i]).abs() * STD[i / (224 * 224)] * 255.0);
    let most = (0..got.len()).map(steps).fold(0.0, f64::max);
    let mean = (0..got.len()).map(steps).sum::<f64>() / got.len() as f64;
    println!("in steps of 1/255: at most {most:.4}, {mean:.4} on average");
    assert!(most <= 2.0001, "expected at most 2, got {most}");
}

#[test]
fn normalising_is_numpys() {
    // every byte in every channel; in f64, which is exact enough to judge f32 by
    let rgba: Vec<u8> = (0..=255).flat_map(|v| [v, v, v, 0]).collect();
    let planes = preprocess(&from_rgba(&rgba, 16, 16).expect("pixels"), 16);
    for (i, got) in planes.iter().enumerate() {
        let (channel, v) = (i / 256, i % 256);
        let expected = (v as f64 / 255.0 - f64::from(MEAN[channel])) / f64::from(STD[channel]);
        assert!((f64::from(*got) - expected).abs() <= 1e-6, "{v} in channel {channel}: expected {expected}, got {got}");
    }
}

#[test]
fn the_small_models_pictures_are_met_exactly() {
    let Some(reference) = shared("mini/reference.json") else { return };
    let reference: Value = serde_json::from_slice(&reference).expect("valid JSON");
    let images = reference["images"].as_array().expect("a list");
    assert!(!images.is_empty());
    for image in images {
        let file = image["file"].as_str().expect("a file");
        let Some(bytes) = shared(&format!("mini/{file}")) else { return };
        let picture = decode(&bytes).expect("a PNG");
        assert_eq!(
            sha256(&resize_crop(&picture, 64)),
            image["cropped_u8_sha256"].as_str().expect("a digest"),
            "{file}"
        );
        let planes: Vec<u8> = preprocess(&picture, 64).iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(sha256(&planes), image["pixels_f32_sha256"].as_str().expect("a digest"), "{file}");
    }
}

/// FIPS 180-4. The digest of "abc" there is checked first: a wrong digest here would blame the pixels.
fn sha256(bytes: &[u8]) -> String {
    /// The first 32 fractional bits of a root of the n-th prime.
    fn fraction(prime: u32, root: fn(f64) -> f64) -> u32 {
        (root(f64::from(prime)).fract() * 4_294_967_296.0) as u32
    }
    fn digest(bytes: &[u8]) -> String {
        let primes: Vec<u32> = (2..312).filter(|&n| (2..n).all(|d| n % d != 0)).collect();
        let k: Vec<u32> = primes.iter().map(|&p| fraction(p, f64::cbrt)).collect();
        let mut h: Vec<u32> = primes[..8].iter().map(|&p| fraction(p, f64::sqrt)).collect();
        let mut padded = [bytes, &[0x80]].concat();
        padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
        padded.extend((bytes.len() as u64 * 8).to_be_bytes());
        for block in padded.as_chunks::<64>().0 {
            let mut w: Vec<u32> = block.as_chunks::<4>().0.iter().map(|v| u32::from_be_bytes(*v)).collect();
            for i in 16..64 {
                let a = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
                let b = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
                w.push(w[i - 16].wrapping_add(a).wrapping_add(w[i - 7]).wrapping_add(b));
            }
            let mut s = h.clone();
            for i in 0..64 {
                let big = |v: u32, r: [u32; 3]| v.rotate_right(r[0]) ^ v.rotate_right(r[1]) ^ v.rotate_right(r[2]);
                let choice = (s[4] & s[5]) ^ (!s[4] & s[6]);
                let one = [big(s[4], [6, 11, 25]), choice, k[i], w[i]].iter().fold(s[7], |a, &b| a.wrapping_add(b));
                let majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
                let two = big(s[0], [2, 13, 22]).wrapping_add(majority);
                s = vec![one.wrapping_add(two), s[0], s[1], s[2], s[3].wrapping_add(one), s[4], s[5], s[6]];
            }
            h.iter_mut().zip(s).for_each(|(h, s)| *h = h.wrapping_add(s));
        }
        h.iter().map(|v| format!("{v:08x}")).collect()
    }
    assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest(bytes)
}

/// The committed files, at most `longest` bytes long, with their names.
fn small_files(longest: usize) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(reference()).expect("the reference folder");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files
        .filter(|path| !path.extension().is_some_and(|e| e == "json" || e == "bin"))
        .map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), read(&path)))
        .filter(|(_, bytes)| bytes.len() <= longest)
        .collect();
    files.sort();
    for kind in [".jpg", ".png", ".gif", ".bmp", ".tif", ".webp"] {
        assert!(files.iter().any(|(name, _)| name.ends_with(kind)), "no {kind}");
    }
    files
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    for (name, bytes) in small_files(3000) {
        let whole = decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        for length in 0..bytes.len() {
            match decode(&bytes[..length]) {
                Err(error) => assert!(!error.to_string().contains('\n'), "{name}: {error}"),
                // these say nowhere where they end, and may end in bytes that no pixel needs
                Ok(picture) => assert!(
                    (name.ends_with(".tif") || name.ends_with(".bmp")) && picture == whole,
                    "{name}: {length} of {} bytes were taken for a picture",
                    bytes.len()
                ),
            }
        }
    }
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

#[test]
fn damaged_files_never_panic() {
    let rounds: usize = std::env::var("ODDLENS_FUZZ_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(60);
    let seed: u64 = std::env::var("ODDLENS_FUZZ_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut refused, mut taken) = (0, 0);
    for (name, bytes) in small_files(10_000) {
        for round in 0..rounds {
            let mut damaged = bytes.clone();
            // headers are short and matter most: half of the damage is done there
            let reach = if round % 2 == 0 { damaged.len().min(120) } else { damaged.len() };
            for _ in 0..1 + random.below(6) {
                let at = random.below(reach.min(damaged.len()));
                match random.below(6) {
                    0 => damaged[at] ^= 1 << random.below(8),
                    1 => damaged[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                    2 => damaged[at] = random.below(256) as u8,
                    3 if damaged.len() > 1 => drop(damaged.remove(at)),
                    4 => damaged.insert(at, random.below(256) as u8),
                    _ => {
                        let end = (at + 1 + random.below(8)).min(damaged.len());
                        let value = [0, 0xff][random.below(2)];
                        damaged[at..end].fill(value);
                    }
                }
            }
            if let Some(folder) = std::env::var_os("ODDLENS_FUZZ_KEEP") {
                std::fs::write(Path::new(&folder).join("last"), &damaged).expect("a folder to write to");
            }
            let start = std::time::Instant::now();
            match decode(&damaged) {
                Ok(picture) => {
                    taken += 1;
                    resize_crop(&picture, 8);
                    thumbnail_jpeg(&picture, 8);
                }
                Err(_) => refused += 1,
            }
            let seconds = start.elapsed().as_secs_f64();
            if seconds > 1.0 {
                println!("{name}, round {round}: {seconds:.1} s");
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > 100 && taken > 100);
}

#[test]
fn noise_is_no_picture() {
    for length in [1, 2, 3, 7, 16, 100, 1000, 5000] {
        for seed in 0..50 {
            let error = decode(&noise(length, seed * 7919)).expect_err("noise");
            assert!(error.is_format(), "{error}");
        }
    }
    assert_eq!(decode(&[]), Err(PixelsError::Empty));
    // right beginnings without a picture behind them
    for start in [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x08\0\0\0WEBP", b"II*\0", b"MM\0*"] {
        for length in [0, 1, 10, 100, 1000] {
            let error =
                decode(&[start, &noise(length, length as u64)].concat()).expect_err("noise behind a magic number");
            assert!(!error.is_format(), "{error}");
        }
    }
}

/// A PNG chunk. Its checksum is what the decoders look at: CRC-32 of ISO 3309, bit by bit.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    let crc = body.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    });
    [&(data.len() as u32).to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
}

#[test]
fn a_header_is_not_believed() {
    let png = |width: u32, height: u32, rest: bool| {
        let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        let mut bytes = [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &head)].concat();
        if rest {
            bytes.extend([chunk(b"IDAT", b"\x78\x9c\x03\0\0\0\0\x01"), chunk(b"IEND", b"")].concat());
        }
        bytes
    };
    for rest in [false, true] {
        let error = decode(&png(20_000, 20_000, rest)).expect_err("too large");
        assert_eq!(error, PixelsError::TooLarge { width: 20_000, height: 20_000 });
        assert_eq!(error.to_string(), "20000 x 20000 pixels: expected at most 100 megapixels, got 400");
    }
    let error = decode(&png(10_000, 10_000, true)).expect_err("not in 70 bytes");
    assert!(error.to_string().contains("10000 x 10000 pixels: expected at least 6057 bytes, got"), "{error}");
    assert!(matches!(decode(&png(0, 5, true)), Err(PixelsError::Broken { .. })));
    assert!(matches!(decode(&png(u32::MAX, u32::MAX, true)), Err(PixelsError::TooLarge { .. })));

    assert!(matches!(from_rgba(&[], 20_000, 20_000), Err(PixelsError::TooLarge { .. })));
    assert!(matches!(from_rgba(&[], 0, 3), Err(PixelsError::Broken { .. })));
    assert!(matches!(from_rgba(&[0; 15], 2, 2), Err(PixelsError::Length { expected: 16, got: 15, .. })));
}

#[test]
fn thumbnails_show_the_picture() {
    for case in cases().iter().filter(|case| case.picture.width() > 40 && case.name.starts_with("turn-1")) {
        let small = decode(&thumbnail_jpeg(&case.picture, 16)).expect("a JPEG");
        assert_eq!((small.width(), small.height()), (16, 11), "{}", case.name);
        // the yellow corner of the scene
        assert!(
            small.samples()[0] > 200 && small.samples()[1] > 200 && small.samples()[2] < 80,
            "{}: {:?}",
            case.name,
            &small.samples()[..3]
        );
    }
}
