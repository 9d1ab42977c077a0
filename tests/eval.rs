//! `oddlens eval` and the methods that learn, as a person meets them: the real program on small data sets made here. Figures are
//! counted again from what it wrote, and scores compared with the engine that the page uses.
#![cfg(feature = "cli")]

mod common {
    pub mod scene;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::scene::{Run, Scene};
use oddlens::clip::vocabulary::Vocabulary;
use oddlens::clip::{ClipError, Encoder, TextEmbeddings};
use oddlens::embedding::Embeddings;
use oddlens::engine::{Engine, ModelFile};
use oddlens::eval::dataset::{Item, Source};
use oddlens::eval::seen::{Model, see};
use oddlens::eval::store::Store;
use oddlens::protocol::{Event, ImageId, JobId, Kind, Label, Parcel, Pixels, Request, Role, Score, Setup};
use oddlens::score::METHODS;
use oddlens::weights::manifest::embedded;
use serde_json::Value;

impl Scene {
    /// A picture of a kind: kinds differ in colour and pattern, pictures of a kind in details.
    fn picture(&self, name: &str, kind: u32, number: u32) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(40, 40, |x, y| image::Rgb(pixel(kind, number, x, y))).save(path).unwrap();
    }

    /// `count` pictures of a kind in a folder.
    fn pictures(&self, folder: &str, kind: u32, numbers: std::ops::Range<u32>) {
        fs::create_dir_all(self.0.join(folder)).unwrap();
        numbers.for_each(|number| self.picture(&format!("{folder}/{number:02}.png"), kind, number));
    }

    /// A run that ends with `status`, and what it wrote.
    fn eval(&self, status: i32, arguments: &[&str]) -> (Run, Value) {
        let run = self.oddlens(&[&["eval", "--out", "out"], arguments].concat());
        assert_eq!(run.status, status, "{arguments:?}: {run:?}");
        (run, serde_json::from_str(&self.read("out/results.json")).unwrap())
    }

    /// The one line of a call that is refused.
    fn refused(&self, arguments: &[&str]) -> String {
        let run = self.oddlens(arguments);
        assert_eq!(run.status, 2, "{arguments:?}: {run:?}");
        run.error().to_string()
    }
}

fn pixel(kind: u32, number: u32, x: u32, y: u32) -> [u8; 3] {
    let wave = |k: u32| (120 + (x * (kind + k) / 3 + y * (kind * 2 + 1) + number * 29 * k) % 80) as u8;
    let base = [[200, 40, 30], [30, 60, 210], [20, 160, 60], [210, 200, 40]][kind as usize % 4];
    [1, 2, 3].map(|k| ((u32::from(wave(k)) + 2 * base[k as usize - 1]) / 3) as u8)
}

/// Records of CIFAR-10: for each of the classes 0 and 1, `count` of them.
fn batch(count: u32, start: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in start..start + count {
        for class in 0..2 {
            bytes.push(class as u8);
            for channel in 0..3 {
                bytes.extend((0..1024).map(|i| pixel(class, number, i % 32, i / 32)[channel]));
            }
        }
    }
    bytes
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

fn column<'a>(results: &'a Value, method: &str, size: impl Into<Value>) -> &'a Value {
    let size = size.into();
    let found = results["columns"].as_array().unwrap().iter().find(|c| c["method"] == method && c["oe_size"] == size);
    found.unwrap_or_else(|| panic!("{method} at {size}"))
}

/// Pictures judged in a column, by class, in its first seed: normal and anomalous.
fn judged(column: &Value) -> Vec<(u64, u64)> {
    let cell = |seeds: &Value| (seeds[0]["normal"].as_u64().unwrap(), seeds[0]["anomalous"].as_u64().unwrap());
    column["cells"].as_array().unwrap().iter().map(cell).collect()
}

/// Rows of scores.csv.
#[derive(Debug, PartialEq)]
struct Row {
    task: String,
    method: String,
    size: String,
    seed: String,
    path: String,
    anomalous: bool,
    score: f64,
}

fn rows(csv: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().iter().collect::<Vec<_>>().join(",");
    assert_eq!(header, "task,method,oe_size,seed,path,is_anomaly,score");
    let row = |r: csv::StringRecord| Row {
        task: r[0].into(),
        method: r[1].into(),
        size: r[2].into(),
        seed: r[3].into(),
        path: r[4].into(),
        anomalous: &r[5] == "1",
        score: r[6].parse().unwrap(),
    };
    reader.records().map(|r| row(r.unwrap())).collect()
}

/// Pairs in order, ties half: the definition, counted out.
fn auroc(rows: &[&Row]) -> f64 {
    let (odd, normal): (Vec<&Row>, Vec<&Row>) = rows.iter().copied().partition(|r| r.anomalous);
    let win = |a: &Row, b: &Row| {
        if a.score > b.score {
            1.0
        } else if a.score == b.score {
            0.5
        } else {
            0.0
        }
    };
    let wins: f64 = odd.iter().map(|a| normal.iter().map(|b| win(a, b)).sum::<f64>()).sum();
    wins / (odd.len() * normal.len()) as f64
}

fn three_classes(scene: &Scene) {
    for (kind, class) in ["dog", "cat", "school_bus"].iter().enumerate() {
        scene.pictures(&format!("data/{class}"), kind as u32, 0..6);
    }
}

#[test]
fn what_is_written_agrees_with_itself() {
    let scene = Scene::new("eval-agrees");
    three_classes(&scene);
    let (run, results) = scene.eval(0, &["data", "--methods", "all", "--oe-sizes", "0,2,all,50", "--seeds", "2"]);
    // the reference's keys stand at the top, for the first column, and in every column
    for keys in std::iter::once(&results).chain(results["columns"].as_array().unwrap()) {
        let number = |key: &str| keys[key].as_f64().unwrap_or_else(|| panic!("{key}"));
        assert!((0.0..=1.0).contains(&number("eval_mean_auc")) && number("eval_std_auc") >= 0.0);
        assert!((0.0..=1.0).contains(&number("eval_mean_avg_prec")));
        let by_class: Vec<f64> = keys["eval_cls_rocs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|seeds| seeds.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).sum::<f64>() / 2.0)
            .collect();
        let mean = by_class.iter().sum::<f64>() / 3.0;
        let deviation = (by_class.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        assert!((number("eval_mean_auc") - mean).abs() < 1e-12 && (number("eval_std_auc") - deviation).abs() < 1e-12);
    }
    assert_eq!(strings(&results["classes"]), ["cat", "dog", "school_bus"]);
    assert_eq!(
        (&results["eval_mean_auc"], &results["protocol"]),
        (&results["columns"][0]["eval_mean_auc"], &"one_vs_rest".into())
    );
    // every number of every column follows from scores.csv
    let all = rows(&scene.read("out/scores.csv"));
    let mut groups: BTreeMap<[&str; 4], Vec<&Row>> = BTreeMap::new();
    for row in &all {
        groups.entry([&row.method, &row.size, &row.task, &row.seed]).or_default().push(row);
    }
    let mut checked = 0;
    for ([method, size, task, seed], rows) in &groups {
        let size: Value = size.parse::<u64>().map_or_else(|_| Value::from(*size), Value::from);
        let class = strings(&results["classes"]).iter().position(|c| c == task).unwrap();
        let told =
            column(&results, method, size)["eval_cls_rocs"][class][seed.parse::<usize>().unwrap()].as_f64().unwrap();
        assert!((told - auroc(rows)).abs() < 1e-12, "{method} {task} {seed}");
        checked += 1;
    }
    // 5 methods at one size (clip-oe without outliers too), 5 at two more; 3 classes, 2 seeds; MCM needs several classes
    assert_eq!(checked, (5 + 5 * 2) * 3 * 2);
    let ids: Vec<&str> = METHODS.iter().map(|m| m.id).collect();
    assert!(ids.iter().all(|id| *id == "mcm" || all.iter().any(|r| r.method == *id)), "{ids:?}");
    let left_out: Vec<&str> = run.err.lines().filter(|l| l.starts_with("left out: ")).collect();
    assert_eq!(
        left_out,
        [
            "left out: mcm with 0 outliers: expected at least 2 normal classes, got 1",
            "left out: bce, focal, hsc, dsad with 0 outliers: expected 1 outlier examples, got 0",
            "left out: bce, focal, hsc, dsad, clip-oe with 50 outliers: expected 50 outlier examples, got 6"
        ]
    );
    assert_eq!(results["left_out"].as_array().unwrap().len(), 3);
    // halves: what is judged is anomalous by its class, and half of all
    assert!(all.iter().all(|r| r.anomalous != r.path.starts_with(&format!("{}/", r.task))));
    assert_eq!(judged(column(&results, "bce", 2)), [(3, 6); 3]);
    let mean = 100.0 * results["eval_mean_auc"].as_f64().unwrap();
    assert!(run.out.contains(&format!("| {mean:.2} ±")) && run.out.contains("| school_bus |"), "{}", run.out);
    assert_eq!(
        scene.read("out/table.md"),
        run.out.trim_end().to_string() + &scene.read("out/table.md")[run.out.trim_end().len()..]
    );
    for chart in ["roc.svg", "pr.svg", "few-shot.svg", "roc-bce.svg", "pr-clip-oe.svg"] {
        let svg = scene.read(&format!("out/{chart}"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains(", %</text>"), "{chart}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{chart}");
    }
    assert!(scene.read("out/few-shot.svg").contains(">outlier examples, number</text>"));
}

#[test]
fn every_layout_is_known() {
    let scene = Scene::new("eval-layouts");
    three_classes(&scene);
    let zero_shot = ["--methods", "zero-shot"];
    // class folders without a split: zero-shot judges all
    let (run, flat) = scene.eval(0, &[&["data"], &zero_shot[..]].concat());
    assert_eq!(judged(&flat["columns"][0]), [(6, 12); 3]);
    assert_eq!(run.err, "written to out\n");
    let (_, left_out) = scene.eval(0, &[&["data", "--protocol", "loo"], &zero_shot[..]].concat());
    assert_eq!((judged(&left_out["columns"][0]), &left_out["protocol"]), (vec![(12, 6); 3], &"leave_one_out".into()));
    let names = |results: &Value| strings(&results["classes"]).join(" ");
    assert_eq!(names(&left_out), "cat dog school_bus");

    // a folder without pictures is no class, and results are none either
    scene.write("data/notes/list.txt", "");
    let (run, _) = scene.eval(0, &[&["data"], &zero_shot[..]].concat());
    assert!(run.err.contains("note: folders without pictures are no classes: notes\n"), "{}", run.err);
    for inside in ["data", "data/results", "./data/new/results"] {
        let refused = scene.refused(&["eval", "data", "--out", inside]);
        assert!(refused.contains("--out: expected a folder outside of the data set"), "{refused}");
    }

    // the same with a split, pictures deeper down, and a folder that is no split
    for (kind, class) in ["dog", "cat"].iter().enumerate() {
        scene.pictures(&format!("split/train/{class}"), kind as u32, 0..5);
        scene.pictures(&format!("split/test/{class}/deep"), kind as u32, 10..13);
        scene.pictures(&format!("split/other/{class}"), kind as u32, 20..21);
    }
    let (run, split) = scene.eval(0, &["split", "--methods", "zero-shot,bce", "--oe-sizes", "2", "--seeds", "2"]);
    assert!(run.err.contains("note: folders beside train/ and test/ are passed over: other\n"), "{}", run.err);
    assert!(run.err.contains("learned from: the train split"), "{}", run.err);
    assert_eq!(
        (judged(column(&split, "zero-shot", 0)), judged(column(&split, "bce", 2))),
        (vec![(3, 3); 2], vec![(3, 3); 2])
    );
    // what no seed can change is done once
    assert_eq!(column(&split, "zero-shot", 0)["eval_cls_rocs"][0].as_array().unwrap().len(), 1);
    assert_eq!(column(&split, "bce", 2)["eval_cls_rocs"][0].as_array().unwrap().len(), 2);
    assert!(rows(&scene.read("out/scores.csv")).iter().all(|r| r.path.starts_with("test/")));

    // ImageNet-30 calls its parts so
    fs::rename(scene.0.join("split/train"), scene.0.join("split/one_class_train")).unwrap();
    fs::rename(scene.0.join("split/test"), scene.0.join("split/one_class_test")).unwrap();
    let (_, imagenet) = scene.eval(0, &["split", "--methods", "zero-shot,bce", "--oe-sizes", "2", "--seeds", "2"]);
    assert_eq!(imagenet["columns"], split["columns"]);

    // the reference's own layout: each class is judged on its own pictures
    for (place, numbers) in [("train", 0..4), ("test", 10..13)] {
        scene.pictures(&format!("custom/{place}/dog/normal"), 0, numbers.clone());
        scene.pictures(&format!("custom/{place}/dog/anomalous"), 1, numbers.start..numbers.start + 2);
        scene.pictures(&format!("custom/{place}/cat/normal"), 2, numbers.clone());
        scene.pictures(&format!("custom/{place}/cat/anomalous"), 3, numbers.start..numbers.start + 2);
    }
    let (run, custom) = scene.eval(0, &["custom", "--methods", "zero-shot,hsc", "--oe-sizes", "2,3", "--seeds", "1"]);
    assert_eq!((judged(column(&custom, "hsc", 2)), names(&custom)), (vec![(3, 2); 2], "cat dog".into()));
    assert!(run.err.contains("hsc with 3 outliers: expected 3 outlier examples, got 2"), "{}", run.err);
    assert!(rows(&scene.read("out/scores.csv")).iter().all(|r| r.path.starts_with(&format!("test/{}/", r.task))));
    let refused = scene.refused(&["eval", "custom", "--protocol", "loo", "--out", "out"]);
    assert!(refused.contains("expected classes without normal/"), "{refused}");
    // without a split: zero-shot judges all, and score --labels folder says the same of one class
    let (_, half) = scene.eval(0, &["custom/test", "--methods", "zero-shot"]);
    let told = &half["columns"][0]["cells"][1][0];
    let run = scene.oddlens(&["score", "--normal", "dog", "--format", "json", "--labels", "folder", "custom/test/dog"]);
    let last: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
    for key in ["normal", "anomalous", "auroc", "auroc_interval", "average_precision", "fpr_at_95"] {
        assert_eq!(last[key], told[key], "{key}");
    }
    assert!(run.err.contains("AUROC ") && run.err.contains("DeLong"), "{}", run.err);

    // CIFAR-10's batches, a broken label and a cut-off record at the end
    let mut test = batch(3, 50);
    test.extend([77].repeat(3073));
    test.extend([0; 100]);
    scene.write("cifar/cifar-10-batches-bin/test_batch.bin", &test);
    scene.write("cifar/cifar-10-batches-bin/data_batch_1.bin", batch(4, 0));
    scene.write("cifar/cifar-10-batches-bin/batches.meta.txt", "airplane\ndog\n\n");
    let (run, cifar) = scene.eval(1, &["cifar", "--methods", "zero-shot,dsvdd", "--seeds", "1"]);
    assert_eq!((judged(column(&cifar, "dsvdd", 0)), names(&cifar)), (vec![(3, 3); 2], "airplane dog".into()));
    assert!(
        run.err.contains("test_batch.bin#6: broken record: expected a label from 0 to 1, got 77; left out"),
        "{}",
        run.err
    );
    assert!(run.err.contains("test_batch.bin#7: broken record: expected 3073 bytes, got 100"), "{}", run.err);
    assert_eq!(rows(&scene.read("out/scores.csv"))[0].path, "test_batch.bin#0");
    assert_eq!(cifar["failed"].as_array().unwrap().len(), 2);

    // and what is none
    for (folder, said) in [("nothing", "got no folders"), ("odd", "'normal' at the top"), ("mixed", "which differs")] {
        fs::create_dir_all(scene.0.join(folder)).unwrap();
        if folder == "odd" {
            scene.pictures("odd/normal", 0, 0..1);
        }
        if folder == "mixed" {
            scene.pictures("mixed/cat", 0, 0..1);
            scene.pictures("mixed/dog/normal", 0, 0..1);
        }
        let refused = scene.refused(&["eval", folder, "--out", "out"]);
        assert!(refused.contains(&format!("data set {folder}: expected ")) && refused.contains(said), "{refused}");
    }
    let refused = scene.refused(&["eval", "data", "--oe", "nothing", "--out", "out"]);
    assert!(refused.contains("expected a folder of outlier pictures, got a folder without pictures"), "{refused}");
    for wrong in [
        &["--methods", "magic"][..],
        &["--methods", ""],
        &["--oe-sizes", "x"],
        &["--seeds", "0"],
        &["--compute", "q8", "--compute", "f32", "--model", "a", "--model", "b", "--model", "c"],
    ] {
        assert_eq!(scene.oddlens(&[&["eval", "data", "--out", "out"], wrong].concat()).status, 2, "{wrong:?}");
    }
}

/// A run that was killed goes on from its cache: nothing is done twice, and the end is the same.
#[test]
fn a_stopped_run_goes_on() {
    let scene = Scene::new("eval-resume");
    scene.pictures("data/dog", 0, 0..40);
    scene.pictures("data/cat", 1, 0..40);
    let arguments = [
        "eval",
        "data",
        "--methods",
        "zero-shot,nearest-normal,bce",
        "--oe-sizes",
        "1",
        "--seeds",
        "2",
        "--threads",
        "1",
    ];
    let whole = scene.oddlens(&[&arguments[..], &["--out", "whole"]].concat());
    assert_eq!(whole.status, 0, "{whole:?}");
    let caches = |out: &str| -> Vec<(PathBuf, u64)> {
        let mut files: Vec<_> = fs::read_dir(scene.0.join(out).join("cache"))
            .map(|entries| entries.map(|e| e.unwrap()).map(|e| (e.path(), e.metadata().unwrap().len())).collect())
            .unwrap_or_default();
        files.sort();
        files
    };
    let sizes = |out: &str| caches(out).iter().map(|(_, size)| *size).collect::<Vec<_>>();
    let record = 4 + 32 + 4 + 8 + 4 * 512;
    assert_eq!(sizes("whole")[0], 16 + 80 * record);

    let mut child = scene.command(&[&arguments[..], &["--out", "stopped"]].concat());
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let patience = Instant::now();
    while sizes("stopped").first().is_none_or(|&size| size < 16 + 10 * record) {
        assert!(patience.elapsed() < Duration::from_secs(60), "it gets somewhere");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = sizes("stopped")[0];
    assert!(!scene.0.join("stopped/results.json").exists() && !scene.0.join("stopped/scores.csv").exists());
    assert!(before < 16 + 80 * record, "it was stopped before its end");
    // as if the machine had gone down in the middle of a record
    let file = caches("stopped")[0].0.clone();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(before - 5).unwrap();
    let again = scene.oddlens(&[&arguments[..], &["--out", "stopped"]].concat());
    assert_eq!(again.status, 0, "{again:?}");
    assert!(again.err.contains("expected a whole record at byte"), "{}", again.err);
    assert_eq!(sizes("stopped"), sizes("whole"), "each picture and each run is there once");
    for file in ["scores.csv", "results.json", "table.md"] {
        assert_eq!(scene.read(&format!("stopped/{file}")), scene.read(&format!("whole/{file}")), "{file}");
    }
    let third = scene.oddlens(&[&arguments[..], &["--out", "stopped"]].concat());
    assert_eq!((third.status, sizes("stopped"), third.out), (0, sizes("whole"), whole.out), "all is known");

    // numbers changed on the disk, and a file that is no cache
    let mut bytes = fs::read(&file).unwrap();
    bytes[16 + 100] ^= 0xFF;
    fs::write(&file, bytes).unwrap();
    let repaired = scene.oddlens(&[&arguments[..], &["--out", "stopped"]].concat());
    assert!(repaired.err.contains("1 records with a wrong checksum; computed again"), "{}", repaired.err);
    assert_eq!(scene.read("stopped/scores.csv"), scene.read("whole/scores.csv"));
    fs::write(&file, "a letter").unwrap();
    let begun = scene.oddlens(&[&arguments[..], &["--out", "stopped"]].concat());
    assert!(begun.err.contains("expected a cache of this version, got something else"), "{}", begun.err);
    assert_eq!(scene.read("stopped/scores.csv"), scene.read("whole/scores.csv"));
    assert_eq!(fs::read_to_string(file.with_extension("not-a-cache")).unwrap(), "a letter");
}

#[test]
fn hard_data_is_said_and_does_no_harm() {
    let scene = Scene::new("eval-hard");
    // one class: nothing is anomalous
    scene.pictures("one/dog", 0, 0..3);
    let (run, results) = scene.eval(1, &["one", "--methods", "zero-shot"]);
    assert!(
        run.err
            .contains("dog: no ROC: labels: expected both normal and anomalous pictures, got 3 normal and 0 anomalous"),
        "{}",
        run.err
    );
    assert_eq!((&results["eval_mean_auc"], &results["eval_cls_rocs"][0][0]), (&Value::Null, &Value::Null));
    assert!(run.out.contains("| dog   |         - |"), "{}", run.out);
    assert_eq!(rows(&scene.read("out/scores.csv")).len(), 3, "scores there are");
    let refused = scene.refused(&["eval", "one", "--protocol", "loo", "--out", "out"]);
    assert!(refused.contains("expected at least 2 classes"), "{refused}");

    // no normal pictures
    scene.pictures("none/dog/normal", 0, 0..0);
    scene.pictures("none/dog/anomalous", 1, 0..4);
    let run = scene.oddlens(&[
        "eval",
        "none",
        "--methods",
        "zero-shot,bce",
        "--oe-sizes",
        "1",
        "--seeds",
        "1",
        "--out",
        "out",
    ]);
    assert!(run.status == 1 && run.err.contains("got 0 normal and 2 anomalous"), "{run:?}");
    assert!(
        run.err.contains("bce with 1 outliers: expected at least 1 normal pictures to learn from, got 0"),
        "{}",
        run.err
    );

    // broken pictures are listed and left out
    three_classes(&scene);
    scene.write("data/dog/broken.jpg", "no picture");
    scene.write("data/dog/note.txt", "");
    let (run, results) = scene.eval(1, &["data", "--methods", "zero-shot"]);
    assert!(run.err.starts_with("note: 1 other files in folders passed over\ndog/broken.jpg: "), "{}", run.err);
    assert_eq!((judged(&results["columns"][0])[1], &results["failed"][0]["path"]), ((6, 12), &"dog/broken.jpg".into()));
    fs::remove_file(scene.0.join("data/dog/broken.jpg")).unwrap();

    // outliers that are the normal pictures learned from: nothing to learn, and figures all the same
    for kind in 0..2 {
        let class = ["dog", "cat"][kind as usize];
        scene.pictures(&format!("split/train/{class}"), kind, 0..4);
        scene.pictures(&format!("split/test/{class}"), kind, 10..14);
    }
    scene.pictures("same", 0, 0..4);
    let (_, results) = scene
        .eval(0, &["split", "--oe", "same", "--methods", "bce,hsc,dsad,clip-oe", "--oe-sizes", "4", "--seeds", "1"]);
    assert!(results["columns"].as_array().unwrap().iter().all(|c| c["eval_mean_auc"].is_number()));
    // outliers that are judged: not learned from
    scene.pictures("leak", 1, 10..14);
    scene.picture("leak/new.png", 3, 1);
    let (run, _) = scene.eval(0, &["split", "--oe", "leak", "--methods", "bce", "--oe-sizes", "1,5", "--seeds", "1"]);
    assert!(run.err.contains("note: 4 pictures to learn from are copies of pictures that are judged"), "{}", run.err);
    assert!(run.err.contains("bce with 5 outliers: expected 5 outlier examples, got 1"), "{}", run.err);
}

/// An encoder whose answers are no numbers.
struct Broken(Vocabulary);

impl Encoder for Broken {
    fn image_size(&self) -> usize {
        4
    }

    fn embed_dim(&self) -> usize {
        2
    }

    fn embed_pixels(&self, _: &[f32]) -> Result<Embeddings, ClipError> {
        Ok(Embeddings::normalise(2, vec![f32::NAN, 1.0])?)
    }

    fn embed_texts(&self, _: &[String]) -> Result<TextEmbeddings, ClipError> {
        Ok(TextEmbeddings { embeddings: Embeddings::normalise(2, vec![1.0, 0.0])?, truncated: vec![false] })
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.0
    }
}

#[test]
fn embeddings_that_are_no_numbers_are_refused() {
    let scene = Scene::new("eval-nan");
    scene.picture("a.png", 0, 0);
    let encoder = Broken(Vocabulary::default());
    let model = Model { name: "broken".into(), sha256: "abc".into(), compute: "q8", encoder: &encoder };
    let store = Store::open(&scene.0.join("cache.bin")).unwrap();
    let source = Source::File(scene.0.join("a.png"));
    let item = Item { path: "a.png".into(), class: 0, split: None, anomalous: false, source };
    let message = see(&item, &model, &store).unwrap_err();
    assert!(message.contains("expected a finite vector") && !message.contains('\n'), "{message}");
    assert_eq!(store.len(), 0, "and not kept");
}

#[test]
fn two_models_stand_side_by_side() {
    let scene = Scene::new("eval-two");
    three_classes(&scene);
    let (run, results) = scene.eval(0, &["data", "--methods", "zero-shot", "--compute", "q8", "--compute", "f32"]);
    let name = embedded::manifest().entry(None).unwrap().name.clone();
    let models: Vec<&str> = results["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(models, [format!("{name} q8"), format!("{name} f32")]);
    assert!(run.out.contains("| difference |") && run.out.contains(&format!("zero-shot, {name} f32 |")), "{}", run.out);
    let (q8, f32) = (rows(&scene.read("out/scores.csv")), rows(&scene.read("out/scores-2.csv")));
    assert_eq!(q8.len(), f32.len());
    let furthest = q8.iter().zip(&f32).map(|(a, b)| (a.score - b.score).abs()).fold(0.0, f64::max);
    // in logits: 100 times a cosine; 0.15 was measured on these flat drawings (0.07 with activations of 12 bits everywhere)
    assert!(furthest > 0.0 && furthest < 0.3, "{furthest}");
    // the same file twice: no difference, told apart by number
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/mini.gguf");
    let (run, results) = scene.eval(0, &["data", "--methods", "zero-shot", "--model", model, "--model", model]);
    assert_eq!(results["columns"][0]["eval_cls_rocs"], results["columns"][1]["eval_cls_rocs"]);
    assert!(run.out.contains("|      +0.00 |"), "{}", run.out);
}

/// The page: a session of the engine with these examples, and what it makes of pictures.
fn engine_scores(scene: &Scene, method: &str, normal: &[String], outliers: &[String], judged: &[String]) -> Vec<Score> {
    let mut engine = Engine::new(|| 0.0);
    let mut events = Vec::new();
    let entry = embedded::manifest().entry(None).unwrap().clone();
    engine.load(JobId(0), entry, ModelFile::alone(embedded::MODEL), 0.0, &mut |e| events.push(e.message));
    let ask = |engine: &mut Engine, request: Request, attachments: Vec<Vec<u8>>| -> Vec<Event> {
        let mut events = Vec::new();
        engine.handle(Parcel::new(request, attachments), &mut |e| events.push(e.message));
        events
    };
    let setup =
        |method: &str| Setup { normal: vec!["dog".into(), "cat".into()], method: method.into(), ..Setup::default() };
    ask(&mut engine, Request::Setup { job: JobId(1), setup: setup("zero-shot") }, vec![]);
    let all: Vec<&String> = normal.iter().chain(outliers).chain(judged).collect();
    for (i, path) in all.iter().enumerate() {
        let request = Request::Score { job: JobId(2), image: ImageId(i as u32), pixels: Pixels::Encoded };
        ask(&mut engine, request, vec![fs::read(scene.0.join(path)).unwrap()]);
    }
    let label =
        |i: usize| Label { kind: if i < normal.len() { Kind::Normal } else { Kind::Outlier }, role: Role::Example };
    let labels = (0..normal.len() + outliers.len()).map(|i| (ImageId(i as u32), Some(label(i)))).collect();
    ask(&mut engine, Request::Label { job: JobId(3), labels }, vec![]);
    ask(&mut engine, Request::Fit { job: JobId(4), methods: vec![method.into()], seed: 3 }, vec![]);
    while engine.has_work() {
        engine.work(&mut |_| {});
    }
    let events = ask(&mut engine, Request::Setup { job: JobId(5), setup: setup(method) }, vec![]);
    let mut scores: BTreeMap<ImageId, Score> = BTreeMap::new();
    for event in events {
        if let Event::Rescored { scores: new, .. } = event {
            scores.extend(new);
        }
    }
    all.iter().enumerate().map(|(i, _)| scores[&ImageId(i as u32)].clone()).collect()
}

#[test]
fn page_and_command_line_give_the_same_scores_after_learning() {
    let scene = Scene::new("eval-page");
    scene.pictures("good", 0, 0..7);
    scene.pictures("bad", 1, 0..3);
    scene.pictures("new", 0, 20..22);
    scene.pictures("new/odd", 2, 20..22);
    let list = |folder: &str, n: std::ops::Range<u32>| n.map(|i| format!("{folder}/{i:02}.png")).collect::<Vec<_>>();
    let (good, bad) = (list("good", 0..7), list("bad", 0..3));
    let new = [list("new", 20..22), list("new/odd", 20..22)].concat();
    let paths = [good.clone(), bad.clone(), new.clone()].concat();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    for method in METHODS.iter().filter(|m| !m.needs_texts_only()) {
        let page = engine_scores(&scene, method.id, &good, &bad, &new);
        let run = scene.oddlens(
            &[
                &["score"],
                &paths[..],
                &[
                    "--method",
                    method.id,
                    "--normal",
                    "dog,cat",
                    "--seed",
                    "3",
                    "--format",
                    "json",
                    "--normal-examples",
                    "good",
                    "--outlier-examples",
                    "bad",
                ],
            ]
            .concat(),
        );
        assert_eq!(run.status, 0, "{run:?}");
        let lines: Vec<Value> = run.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), page.len());
        for (line, score) in lines.iter().zip(&page) {
            assert_eq!(line["score"].as_f64().unwrap() as f32, score.value, "{} {}", method.id, line["path"]);
            assert_eq!(line["margin"].as_f64().unwrap() as f32, score.margin, "{} {}", method.id, line["path"]);
        }
        // of what was learned from, the score comes from cross-validation, and says so
        assert!(lines[..7].iter().all(|l| l["basis"] == "cross-validated"), "{}: {}", method.id, lines[0]);
        assert!(lines[10..].iter().all(|l| l["basis"].is_null()), "{}", method.id);

        if method.id == "bce" {
            // labels of examples are known; of the others the folder tells, and here it tells half
            let labels =
                ["score", "good", "bad", "new", "--method", "bce", "--normal", "dog,cat", "--labels", "folder"];
            let examples = ["--normal-examples", "good", "--outlier-examples", "bad", "--format", "json"];
            let run = scene.oddlens(&[&labels[..], &examples].concat());
            let last: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
            let counts = ["normal", "anomalous", "cross_validated"].map(|key| last[key].as_u64().unwrap());
            assert_eq!((counts, run.out.lines().count()), ([7, 5, 10], 15), "{last}");
            assert!(run.err.contains("note: 10 of the pictures are examples; their scores come from cross-validation"));
        }
        if !method.needs.training {
            continue;
        }
        // the same through a file
        let examples: &[&str] = match method.needs.outlier_examples {
            0 => &["--normal-examples", "good"],
            _ => &["--normal-examples", "good", "--outlier-examples", "bad"],
        };
        let train = ["train", "--method", method.id, "--normal", "dog,cat", "--seed", "3", "--out", "head.json"];
        let trained = scene.oddlens(&[&train[..], examples].concat());
        assert_eq!(trained.status, 0, "{trained:?}");
        assert!(
            trained.out.contains("learned from 7 normal examples and ")
                && trained.out.contains("cross-validated AUROC "),
            "{}",
            trained.out
        );
        let by_head = scene.oddlens(&["score", "--head", "head.json", "--format", "json", "new"]);
        assert_eq!(by_head.status, 0, "{by_head:?}");
        for (line, expected) in by_head.out.lines().zip(&lines[10..]) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["path"], &line["margin"]), (&expected["path"], &expected["margin"]), "{}", method.id);
        }
    }
}

#[test]
fn a_method_without_its_examples_is_refused_in_one_line() {
    let scene = Scene::new("eval-lacking");
    scene.pictures("good", 0, 0..1);
    scene.pictures("bad", 1, 0..1);
    scene.write("empty/note.txt", "");
    for method in METHODS.iter().filter(|m| !m.needs_texts_only()) {
        let score = ["score", "good", "--normal", "dog", "--method", method.id];
        let refused = scene.refused(&score);
        assert!(refused.contains(&format!("{}: expected example pictures, at least ", method.id)), "{refused}");
        assert!(refused.contains("(--normal-examples)") && refused.contains("; got no normal"), "{refused}");
        assert_eq!(refused.contains("(--outlier-examples)"), method.needs.outlier_examples > 0, "{refused}");
        let empty = scene.refused(&[&score[..], &["--normal-examples", "empty", "--outlier-examples", "bad"]].concat());
        assert!(empty.contains("no picture found in 'empty'"), "{empty}");
    }
    let few = scene.refused(&["score", "good", "--normal", "dog", "--method", "dsvdd", "--normal-examples", "good"]);
    assert!(few.contains("expected at least 2 normal examples, got 1"), "{few}");
    let trained = ["train", "--method", "bce", "--normal", "dog", "--out", "head.json"];
    assert!(scene.refused(&trained).contains("got no normal and no outlier ones"));
    assert_eq!(scene.oddlens(&["train", "--method", "zero-shot", "--normal", "dog", "--out", "head.json"]).status, 2);
    assert!(!scene.0.join("head.json").exists());
    // a broken example is a line, and the rest goes on
    scene.write("good/broken.png", "x");
    let run = scene.oddlens(&[&trained[..], &["--normal-examples", "good", "--outlier-examples", "bad"]].concat());
    assert!(
        run.status == 1 && run.err.contains("normal example good/broken.png: ") && scene.0.join("head.json").exists(),
        "{run:?}"
    );
    // examples that nobody looks at
    let run = scene.oddlens(&["score", "bad", "--normal", "dog", "--normal-examples", "good"]);
    assert!(run.status == 0 && run.err.contains("note: zero-shot looks at no examples"), "{run:?}");
}

/// Outliers that are normal pictures: whatever was learned ends below zero-shot somewhere, and that is said.
#[test]
fn a_head_below_zero_shot_is_warned_of() {
    let scene = Scene::new("eval-worse");
    scene.pictures("good", 0, 0..8);
    scene.pictures("bad", 0, 8..16);
    let mut warned = 0;
    for method in METHODS.iter().filter(|m| m.needs.training) {
        let arguments = [
            "train",
            "--method",
            method.id,
            "--normal",
            "dog",
            "--out",
            "head.json",
            "--normal-examples",
            "good",
            "--outlier-examples",
            "bad",
        ];
        let run = scene.oddlens(&arguments);
        assert_eq!(run.status, 0, "{run:?}");
        let figures: Vec<f64> = run
            .out
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|t| t.len() > 3)
            .filter_map(|t| t.parse().ok())
            .collect();
        let [own, zero_shot] = figures[..] else { panic!("{}", run.out) };
        if own != zero_shot {
            assert_eq!(
                run.err.starts_with(&format!("warning: {} ends below zero-shot", method.id)),
                own < zero_shot,
                "{run:?}"
            );
        }
        warned += usize::from(run.err.contains("warning: "));
    }
    assert!(warned > 0, "among heads trained on noise some end below");
}

#[test]
fn other_heads_are_refused_in_one_line() {
    let scene = Scene::new("eval-heads");
    scene.pictures("good", 0, 0..3);
    scene.pictures("bad", 1, 0..2);
    let train = |method: &str, out: &str| {
        let run = scene.oddlens(&[
            "train",
            "--method",
            method,
            "--normal",
            "dog",
            "--out",
            out,
            "--normal-examples",
            "good",
            "--outlier-examples",
            "bad",
        ]);
        assert_eq!(run.status, 0, "{run:?}");
    };
    train("bce", "bce.json");
    train("clip-oe", "clip.json");
    let refused = |arguments: &[&str]| {
        let line = scene.refused(&[&["score", "bad"], arguments].concat());
        assert!(line.len() < 400, "{line}");
        line
    };
    // another model: the same in fewer bits (by 16 bits and back it may be the very same file)
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/mini.gguf");
    assert_eq!(scene.oddlens(&["model", "convert", model, "other.gguf", "--quant", "q4"]).status, 0);
    let other = refused(&["--head", "bce.json", "--model", "other.gguf"]);
    assert!(other.contains("expected a head for the model in use, got one for"), "{other}");
    assert_eq!(
        scene.oddlens(&["score", "bad", "--head", "bce.json", "--model", model]).status,
        0,
        "the same file is no other"
    );
    let good = fs::read(scene.0.join("bce.json")).unwrap();
    scene.write("cut.json", &good[..good.len() / 2]);
    scene.write("page.json", "<!DOCTYPE html>");
    for file in ["cut.json", "page.json", "bad/00.png"] {
        let line = refused(&["--head", file]);
        assert!(line.contains("expected a head saved by Oddlens, got something else"), "{line}");
    }
    fs::File::create(scene.0.join("huge.json")).unwrap().set_len(3 << 30).unwrap();
    assert!(refused(&["--head", "huge.json"]).contains("expected at most 8388608 bytes"));
    assert!(refused(&["--head", "gone.json"]).contains("head gone.json: no such file"));
    assert!(
        refused(&["--head", "bce.json", "--method", "hsc"])
            .contains("expected a head of the method hsc, got one of bce")
    );
    // texts matter to CLIP-OE alone
    assert!(
        refused(&["--head", "clip.json", "--normal", "cat"]).contains("expected the texts that it was trained with")
    );
    assert_eq!(scene.oddlens(&["score", "bad", "--head", "bce.json", "--normal", "cat"]).status, 0);
    assert_eq!(scene.oddlens(&["score", "bad", "--head", "bce.json", "--normal-examples", "good"]).status, 2);
}

/// At most so many normal pictures are learned from, drawn by the seed: then even what has nothing to train is done for each.
#[test]
fn normal_examples_can_be_limited() {
    let scene = Scene::new("eval-normals");
    for (kind, class) in ["dog", "cat"].iter().enumerate() {
        scene.pictures(&format!("data/train/{class}"), kind as u32, 0..6);
        scene.pictures(&format!("data/test/{class}"), kind as u32, 10..13);
    }
    let arguments = ["data", "--methods", "zero-shot,nearest-normal", "--seeds", "3"];
    let seeds =
        |results: &Value, method: &str| column(results, method, 0)["eval_cls_rocs"][0].as_array().unwrap().len();
    let (_, all) = scene.eval(0, &arguments);
    assert_eq!((seeds(&all, "zero-shot"), seeds(&all, "nearest-normal")), (1, 1));
    let (_, one) = scene.eval(0, &[&arguments[..], &["--normals", "1"]].concat());
    assert_eq!((seeds(&one, "zero-shot"), seeds(&one, "nearest-normal")), (1, 3));
    // one picture of a kind is less like a new one than the most similar of six
    let rows = rows(&scene.read("out/scores.csv"));
    let of = |seed: &str| {
        rows.iter()
            .filter(|r| r.method == "nearest-normal" && r.seed == seed)
            .map(|r| r.score.to_bits())
            .collect::<Vec<_>>()
    };
    assert!(of("0") != of("1") || of("1") != of("2"), "seeds draw");
}

/// Two runs on one cache would overwrite each other.
#[test]
fn a_cache_is_used_by_one_run_at_a_time() {
    let scene = Scene::new("eval-lock");
    three_classes(&scene);
    let (_, _) = scene.eval(0, &["data", "--methods", "zero-shot"]);
    let name = fs::read_dir(scene.0.join("out/cache"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("embeddings"));
    let _held = Store::open(&name.unwrap()).unwrap();
    let refused = scene.refused(&["eval", "data", "--methods", "zero-shot", "--out", "out"]);
    assert!(refused.contains("expected to be the only run that uses it"), "{refused}");
    let elsewhere = scene.oddlens(&["eval", "data", "--methods", "zero-shot", "--out", "out", "--cache", "own"]);
    assert_eq!(elsewhere.status, 0, "{elsewhere:?}");
}
