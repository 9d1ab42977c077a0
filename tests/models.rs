//! How models come to a folder of models: from files, and from a hub that behaves as hubs do on bad days.
#![cfg(feature = "cli")]

mod common {
    pub mod hub;
    pub mod random_clip;
    pub mod scene;
}

use std::fs;
use std::path::Path;
use std::thread;

use common::hub::{Bad, Hub, Served};
use common::random_clip;
use common::scene::{Run, Scene};
use oddlens::clip::{Clip, Compute, Encoder, Sidecars};
use oddlens::weights::{Checkpoint, convert, manifest};
use sha2::Digest;

const MINI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/mini.gguf");

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the folder's manifest offers; every file that it names is there, whole and as it says.
fn offered(folder: &Path) -> manifest::Manifest {
    let text = fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
    let manifest = manifest::parse(&text).expect("a manifest");
    for model in &manifest.models {
        let mut whole = Vec::new();
        for part in &model.parts {
            let bytes = fs::read(folder.join(&part.file)).expect("a part");
            assert_eq!((bytes.len() as u64, sha256(&bytes)), (part.bytes, part.sha256.clone()), "{}", part.file);
            whole.extend(bytes);
        }
        if model.parts.is_empty() {
            whole = fs::read(folder.join(&model.file)).expect("the file");
        }
        assert_eq!((whole.len() as u64, sha256(&whole)), (model.bytes, model.sha256.clone()), "{}", model.id);
    }
    manifest
}

/// A safetensors file of random weights, its configuration, and ids for its few rows.
fn noise() -> (Vec<u8>, String, String) {
    let case = random_clip::case("odd-widths", "strong", false);
    let rows = case.config["text_config"]["vocab_size"].as_i64().expect("a size");
    let ids: Vec<i64> = [-1].into_iter().chain(0..rows - 3).chain([49406, 49407]).collect();
    (case.safetensors(), case.config.to_string(), serde_json::to_string(&ids).expect("JSON"))
}

#[test]
fn a_file_is_added_whole_or_in_parts_and_scores_the_same() {
    let scene = Scene::new("models-add");
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf"]);
    assert_eq!((run.status, run.out.as_str()), (0, ""), "{run:?}");
    let folder = scene.0.join("shelf");
    let manifest = offered(&folder);
    assert_eq!((manifest.default.as_str(), manifest.models.len()), ("mini", 1));
    assert_eq!(fs::read(MINI).unwrap(), fs::read(folder.join("mini.gguf")).unwrap(), "ours already: as it is");
    assert_eq!(manifest.models[0].threshold, 0.5);
    assert!(manifest.models[0].threshold_source.contains("Not measured"));

    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf", "--id", "split", "--part-bytes", "3000000"]);
    assert!(run.status == 0 && run.err.contains("in 3 parts"), "{run:?}");
    let manifest = offered(&folder);
    assert_eq!((manifest.default.as_str(), manifest.models.len()), ("mini", 2));
    let names = ["manifest.json", "mini.gguf", "split.gguf.part1", "split.gguf.part2", "split.gguf.part3"];
    assert_eq!(scene.list("shelf"), names);
    image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([x as u8, 3 * y as u8, 90]))
        .save(scene.0.join("a.png"))
        .unwrap();
    let score =
        |model: &str| scene.oddlens(&["score", "--normal", "dog", "--format", "json", "--model", model, "a.png"]);
    assert_eq!(score("shelf/split.gguf").json(), score("shelf/mini.gguf").json());

    // the same name again: nothing of the old one stays
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf", "--id", "split", "--default"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!((offered(&folder).default.as_str(), offered(&folder).models.len()), ("split", 2));
    assert_eq!(scene.list("shelf"), ["manifest.json", "mini.gguf", "split.gguf"]);
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf", "--id", "split", "--part-bytes", "6000000"]);
    assert_eq!((run.status, scene.list("shelf").len()), (0, 4), "{run:?}");
    offered(&folder);
    scene.write("shelf/manifest.json", "<html>");
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf"]);
    assert!(run.status == 2 && run.error().contains("manifest.json"), "{run:?}");
}

#[test]
fn a_model_at_chance_is_added_only_by_force() {
    let scene = Scene::new("models-noise");
    let (model, config, ids) = noise();
    scene.write("noise.safetensors", model);
    scene.write("config.json", config);
    scene.write("token_ids.json", ids);
    let run = scene.oddlens(&["model", "add", "noise.safetensors", "--out", "shelf"]);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.error().contains("near chance") && run.error().contains("--force"), "{run:?}");
    assert!(scene.list("shelf").is_empty());
    let run = scene.oddlens(&["model", "add", "noise.safetensors", "--out", "shelf", "--force"]);
    assert!(run.status == 0 && run.err.contains("warning: self-test"), "{run:?}");
    assert_eq!(offered(&scene.0.join("shelf")).default, "noise");

    // it reads any text, so that it carries those that most people ask for
    let file = fs::read(scene.0.join("shelf/noise.gguf")).unwrap();
    let size = file.len();
    let carrying = Checkpoint::read(file.clone()).expect("our own file");
    let clip = Clip::new(&carrying, &Sidecars::default(), Compute::Q8).expect("a CLIP");
    assert!(clip.known().len() > 1500, "{}", clip.known().len());
    let bare = convert::to_gguf(&carrying, convert::Additions::default(), convert::Quant::Q8).expect("a file");
    let bare = Clip::new(&Checkpoint::read(bare).expect("a file"), &Sidecars::default(), Compute::Q8).expect("a CLIP");
    assert!(bare.known().is_empty());
    for text in ["a photo of a horse", "a photo of something", "a photo of a grand_piano", "A photo of a teapot"] {
        assert!(clip.known().get(text).is_some(), "{text}");
        let text = [text.to_string()];
        assert_eq!(clip.embed_texts(&text).expect("a text"), bare.embed_texts(&text).expect("a text"), "{text:?}");
    }

    // parts hold either what is needed to see or the text tower
    let see = carrying.tensors().iter().filter(|(name, _)| convert::is_to_see_with(name));
    let see = see.map(|(_, tensor)| tensor.range.end).max().expect("an image tower");
    let most = size.to_string();
    let half = (size - 1).to_string();
    for (bytes, parts) in [(&most, 0), (&half, 2)] {
        let arguments = ["model", "add", "noise.safetensors", "--out", "shelf", "--force", "--part-bytes", bytes];
        assert_eq!(scene.oddlens(&arguments).status, 0);
        let manifest = offered(&scene.0.join("shelf"));
        assert_eq!(manifest.models[0].parts.len(), parts);
        assert!(parts == 0 || manifest.models[0].parts[0].bytes >= see);
        // and it is said which bytes are enough to see with
        let (entry, front) = (&manifest.models[0], manifest.models[0].front.as_ref());
        assert_eq!(front.is_some(), parts == 2);
        if let Some(front) = front {
            assert_eq!((front.bytes, &front.sha256), (entry.parts[0].bytes, &entry.parts[0].sha256));
        }
    }
}

/// `oddlens model fetch`, past any proxy.
fn fetch(scene: &Scene, arguments: &[&str]) -> Run {
    let mut command = scene.command(&[&["model", "fetch"], arguments].concat());
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    Run::of(command.env_remove("HF_ENDPOINT").output().unwrap())
}

/// Bytes of no meaning, some of each chunk's end.
fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

const LAION: &str = "/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/model.safetensors";
const TINY: &str =
    "/wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M/resolve/a2a8c6eaa2549ad66eb7c31b85022bf58273a26c/model.safetensors";

#[test]
fn a_name_is_fetched_from_a_hub_checked_and_offered() {
    let (scene, hub) = (Scene::new("models-name"), Hub::new());
    let mini = fs::read(MINI).unwrap();
    hub.give("/cdn/blob?signed=1", Served::new(mini.clone()));
    hub.give(LAION, Served::redirect("/cdn/blob?signed=1", Some(sha256(&mini)), Some(mini.len())));
    let run = fetch(&scene, &["vit-b-32-laion", "--hub", &hub.address]);
    assert_eq!((run.status, run.out.as_str()), (0, ""), "{run:?}");
    assert!(run.err.contains("as the hub declares") && run.err.contains("sample pictures recognised"), "{run:?}");
    let manifest = offered(&scene.0.join("models"));
    let entry = &manifest.models[0];
    assert_eq!((manifest.default.as_str(), entry.sha256.clone()), ("vit-b-32-laion", sha256(&mini)));
    assert!(entry.name.contains("LAION") && entry.address.is_none());
    assert_eq!(scene.list("models"), ["manifest.json", "vit-b-32-laion.gguf"]);

    // the hub may be said by a variable, too
    let mut command = scene.command(&["model", "fetch", "tinyclip-8m", "--no-convert", "--out", "raw"]);
    command.env("HF_ENDPOINT", &hub.address).env("NO_PROXY", "127.0.0.1");
    let run = Run::of(command.output().unwrap());
    assert!(run.status == 1 && run.error().contains("404") && run.error().contains("wkcn/TinyCLIP"), "{run:?}");
    assert!(scene.list("raw").is_empty());

    // another file under a name whose checksum is known beforehand
    hub.give(TINY, Served::redirect("/cdn/blob?signed=1", Some(sha256(&mini)), Some(mini.len())));
    let run = fetch(&scene, &["tinyclip-8m", "--hub", &hub.address, "--out", "pinned"]);
    assert!(run.status == 1 && run.error().contains("9339ee3d"), "{run:?}");
    assert!(scene.list("pinned").is_empty());

    let run = fetch(&scene, &["vit", "--hub", &hub.address]);
    assert!(run.status == 2 && run.error().contains("expected one of vit-b-32, "), "{run:?}");
    let run = fetch(&scene, &["http://elsewhere.example/a.pt"]);
    assert!(run.status == 2 && run.error().contains("an https address"), "{run:?}");
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let (scene, hub) = (Scene::new("models-cut"), Hub::new());
    let (model, config, _) = noise();
    let len = model.len();
    hub.give("/m/config.json", Served::new(config.clone()));
    let cases = [len / 100, len / 2, len * 99 / 100];
    thread::scope(|scope| {
        for (number, at) in cases.into_iter().enumerate() {
            let (scene, hub, model, config) = (&scene, &hub, &model, &config);
            scope.spawn(move || {
                let path = format!("/m/{number}.safetensors");
                let address = hub.give(&path, Served::new(model.clone()).bad(&[Bad::Cut(at)]));
                let out = format!("out{number}");
                let run = fetch(scene, &[&address, "--no-convert", "--out", &out, "--sha256", &sha256(model)]);
                assert!(run.status == 0 && run.err.contains("as known beforehand"), "{run:?}");
                assert!(run.err.contains(&format!("cut off after {at} bytes")), "{run:?}");
                let asked = hub.asked(&path);
                assert_eq!(hub.ranges(&path), [None, Some(format!("bytes={at}-"))]);
                assert_eq!(asked[1].if_range.as_deref(), Some("\"v1\""));
                let file = format!("{number}.safetensors");
                assert_eq!(scene.list(&out), [file.as_str(), "config.json"]);
                assert!(fs::read(scene.0.join(&out).join(&file)).unwrap() == *model);
                assert_eq!(scene.read(&format!("{out}/config.json")), *config);
            });
        }
    });
}

#[test]
fn a_download_that_gave_up_goes_on_at_the_next_start() {
    let (scene, hub) = (Scene::new("models-again"), Hub::new());
    let model = noise().0;
    let half = model.len() / 2;
    // cut, and cut again with nothing new
    let address = hub.give("/a.bin", Served::new(model.clone()).bad(&[Bad::Cut(half), Bad::Cut(0)]));
    let go = || fetch(&scene, &[&address, "--no-convert", "--out", "out"]);
    let run = go();
    assert_eq!(run.status, 1, "{run:?}");
    let wanted = format!("expected {} bytes, got {half}", model.len());
    assert!(run.error().contains(&wanted) && run.error().contains("next start goes on"), "{run:?}");
    assert_eq!(scene.list("out"), ["a-a.bin.part", "a-a.bin.part.json"]);
    let run = go();
    assert!(run.status == 0 && run.err.contains("nothing was there to check it against"), "{run:?}");
    assert!(run.err.contains(&sha256(&model)), "{run:?}");
    let from = Some(format!("bytes={half}-"));
    assert_eq!(hub.ranges("/a.bin"), [None, from.clone(), from]);
    assert!(fs::read(scene.0.join("out/a.bin")).unwrap() == model);
    assert_eq!(scene.list("out"), ["a.bin"]);
}

#[test]
fn versions_are_never_mixed() {
    let (scene, hub) = (Scene::new("models-version"), Hub::new());
    let (old, new) = (bytes(50_000), noise().0);
    let bad = [Bad::Cut(20_000), Bad::Status(503)];
    let address = hub.give("/a.bin", Served::new(old).bad(&bad));
    let go = |more: &[&str]| fetch(&scene, &[&[&address, "--no-convert", "--out", "out"], more].concat());
    let run = go(&[]);
    assert!(run.status == 1 && run.error().contains("status 503"), "{run:?}");
    hub.give("/a.bin", Served { etag: Some("\"v2\"".into()), ..Served::new(new.clone()) });
    let run = go(&[]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(fs::read(scene.0.join("out/a.bin")).unwrap() == new, "from the beginning");

    // a server that knows no Range gives everything again
    let deaf = Served { ranges: false, ..Served::new(new.clone()) };
    let address = hub.give("/b.bin", deaf.bad(&[Bad::Cut(30_000)]));
    let run = fetch(&scene, &[&address, "--no-convert", "--out", "out"]);
    assert_eq!((run.status, hub.asked("/b.bin").len()), (0, 2), "{run:?}");
    assert!(fs::read(scene.0.join("out/b.bin")).unwrap() == new);
}

#[test]
fn a_stalled_download_counts_as_cut() {
    let (scene, hub) = (Scene::new("models-stall"), Hub::new());
    let model = noise().0;
    let address = hub.give("/a.bin", Served::new(model.clone()).bad(&[Bad::Stall(9_000)]));
    let run = fetch(&scene, &[&address, "--no-convert", "--out", "out", "--timeout", "1"]);
    assert!(run.status == 0 && run.err.contains("cut off after 9000 bytes"), "{run:?}");
    assert!(fs::read(scene.0.join("out/a.bin")).unwrap() == model);
    assert_eq!(hub.ranges("/a.bin"), [None, Some("bytes=9000-".into())]);
}

/// One line each, and nothing kept.
#[test]
fn what_is_no_model_is_refused() {
    let (scene, hub) = (Scene::new("models-wrong"), Hub::new());
    let model = noise().0;
    let page = "<!DOCTYPE html><title>Please sign in</title>";
    let refused = |path: &str, served: Served, more: &[&str], said: &[&str]| {
        let address = hub.give(path, served);
        let run = fetch(&scene, &[&[&address, "--out", "out"], more].concat());
        assert_eq!((run.status, run.out.as_str()), (1, ""), "{run:?}");
        assert!(said.iter().all(|words| run.error().contains(words)) && run.error().contains(&address), "{run:?}");
        assert!(scene.list("out").is_empty(), "{path}: {:?}", scene.list("out"));
    };
    refused("/page", Served { kind: "text/html; charset=utf-8", ..Served::new(page) }, &[], &["got a web page"]);
    refused("/bytes", Served::new(page), &["--no-convert"], &["got a web page"]);
    refused("/text", Served::new("no model at all"), &[], &["not a model file", "nothing is kept"]);
    refused("/empty", Served::new(""), &[], &["an empty file"]);
    refused("/half", Served::new(&model[..model.len() / 2]), &[], &["safetensors", "nothing is kept"]);
    let other = sha256(b"another file");
    refused("/pinned", Served::new(model.clone()), &["--sha256", &other], &[&other, "known beforehand", "got"]);
    hub.give("/blob", Served::new(model.clone()));
    let declared = Served::redirect("/blob", Some(other.clone()), None);
    refused("/declared", declared, &[], &[&other, "declared by the hub"]);
    refused("/size", Served::redirect("/blob", None, Some(1000)), &[], &["expected 1000 bytes"]);
    refused("/gated", Served::new("").bad(&[Bad::Status(401)]), &[], &["status 401", "by hand"]);
    refused("/loop", Served::redirect("/loop", None, None), &[], &["redirects"]);
    refused("/down", Served::redirect("http://elsewhere.example/a", None, None), &[], &["https address"]);
    let run = fetch(&scene, &[&format!("{}/gone.pt", hub.address), "--out", "out"]);
    assert!(run.status == 1 && run.error().contains("404") && run.error().contains("no such file there"), "{run:?}");
    let closed = {
        // its port is free again
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/a.pt", listener.local_addr().unwrap())
    };
    let run = fetch(&scene, &[&closed, "--out", "out"]);
    assert!(run.status == 1 && run.error().contains("expected an answer, got"), "{run:?}");
    assert!(scene.list("out").is_empty());
}

#[test]
fn a_model_that_fails_its_test_need_not_come_twice() {
    let (scene, hub) = (Scene::new("models-kept"), Hub::new());
    let (model, config, ids) = noise();
    let address = hub.give("/m/model.safetensors", Served::new(model));
    hub.give("/m/config.json", Served::new(config));
    hub.give("/m/token_ids.json", Served::new(ids));
    let run = fetch(&scene, &[&address, "--id", "noise"]);
    assert!(run.status == 1 && run.error().contains("near chance") && run.error().contains("is kept"), "{run:?}");
    assert_eq!(scene.list("models"), ["noise-model.safetensors.part", "noise-model.safetensors.part.json"]);
    let run = fetch(&scene, &[&address, "--id", "noise", "--force"]);
    assert!(run.status == 0 && run.err.contains("fetched before"), "{run:?}");
    assert_eq!(hub.asked("/m/model.safetensors").len(), 1);
    assert_eq!(scene.list("models"), ["manifest.json", "noise.gguf"]);
    assert!(offered(&scene.0.join("models")).models[0].can.contains("127.0.0.1"));
}
