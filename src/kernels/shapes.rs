//! Shapes `(m, k, n)` that tests and benches use: the edges around each tile, and the products of real models.

use super::{MR, NR, pairs::K_STEP, quads::GROUP};

/// Around every edge: none, every part of a tile, a tile and one, and so on; and more tiles and panels than any kernel takes at a time.
pub fn edges() -> Vec<(usize, usize, usize)> {
    let mut shapes = Vec::new();
    for m in (0..=MR + 1).chain([2 * MR + 1, 8 * MR]) {
        for k in [1, K_STEP - 1, K_STEP, K_STEP + 1, GROUP - 1, GROUP, 3 * GROUP + 2] {
            for n in [1, NR - 1, NR, NR + 1, 3 * NR] {
                shapes.push((m, k, n));
            }
        }
    }
    shapes
}

/// The linear layers of ViT-B/32's image tower for one picture: 49 patches and the class token.
pub const VIT_B_32: [(usize, usize, usize); 4] = [(49, 3072, 768), (50, 768, 768), (50, 768, 3072), (50, 3072, 768)];

/// The linear layers of the embedded model's image tower for one picture: 64 patches and the class token.
pub const EMBEDDED: [(usize, usize, usize); 4] = [(64, 192, 192), (65, 192, 192), (65, 192, 768), (65, 768, 192)];
