//! The weights that `tests/common/random_clip.rs` makes are, bit for bit, those that transformers was given.

#[path = "common/random_clip.rs"]
mod random_clip;

#[test]
fn rust_and_python_make_the_same_numbers() {
    let cases = random_clip::cases();
    assert_eq!(cases.len(), 10);
    for case in &cases {
        random_clip::assert_same_as_python(case);
    }
}

#[test]
fn planting_changes_the_planted_channels_only() {
    let (plain, planted) = (random_clip::case("odd-widths", false), random_clip::case("odd-widths", true));
    for (name, shape) in plain.shapes() {
        let writes_to_the_stream = ["_embedding", "out_proj", "fc2"].iter().any(|p| name.contains(p));
        let (a, b) = (plain.tensor(&name, &shape), planted.tensor(&name, &shape));
        let changed = a.iter().zip(&b).filter(|(x, y)| x != y).count();
        let width = if name.starts_with("vision_model") { 72 } else { 40 };
        assert_eq!(changed, if writes_to_the_stream { a.len() * 4 / width } else { 0 }, "{name}");
    }
}
