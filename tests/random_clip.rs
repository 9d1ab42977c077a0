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
fn planting_changes_four_channels_of_writers_and_all_gains_of_readers() {
    let (plain, planted) = (random_clip::case("odd-widths", false), random_clip::case("odd-widths", true));
    for (name, shape) in plain.shapes() {
        let writes = ["_embedding", "out_proj", "fc2"].iter().any(|p| name.contains(p));
        let reads = name.contains("norm") && name.ends_with(".weight") && !name.contains("pre_layrnorm");
        let (a, b) = (plain.tensor(&name, &shape), planted.tensor(&name, &shape));
        let width = if name.starts_with("vision_model") { 72 } else { 40 };
        let (grown, shrunk) = a
            .iter()
            .zip(&b)
            .fold((0, 0), |(g, s), (x, y)| (g + usize::from(y.abs() > x.abs()), s + usize::from(y.abs() < x.abs())));
        let expected = match (writes, reads) {
            (true, _) => (4 * a.len() / width, 0),
            (_, true) => (width - 4, 4),
            _ => (0, 0),
        };
        assert_eq!((grown, shrunk), expected, "{name}");
    }
}
