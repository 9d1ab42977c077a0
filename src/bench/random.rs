//! Weights and inputs from a seed, the same on every machine.

use crate::clip::config::{Config, TowerConfig};
use crate::weights::{DType, Table, Tensors, Value, WeightsError};

/// The tensors of a `CLIPModel` as transformers initialises it, from our own generator.
pub struct RandomWeights {
    seed: u64,
    vision: TowerConfig,
    text: TowerConfig,
}

impl RandomWeights {
    pub fn new(seed: u64, config: &Config) -> Self {
        Self { seed, vision: config.vision.clone(), text: config.text.clone() }
    }

    /// A picture of noise, `[3,s,s]`, about as normalised pixels are.
    pub fn pixels(&self, size: usize) -> Vec<f32> {
        normals(self.seed ^ 0x00c0_ffee, 3 * size * size, 1.0)
    }

    /// Mean and deviation of a tensor.
    fn moments(&self, name: &str) -> (f32, f32) {
        let tower = if name.starts_with("vis") { &self.vision } else { &self.text };
        let (width, layers) = (tower.width as f32, tower.layers as f32);
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        match () {
            _ if has(&["norm"]) && name.ends_with(".weight") => (1.0, 0.0),
            _ if name.ends_with(".bias") => (0.0, 0.0),
            _ if has(&["class_embedding"]) => (0.0, width.powf(-0.5)),
            _ if has(&["_embedding"]) => (0.0, 0.02),
            _ if has(&["q_proj", "k_proj", "v_proj", "fc2"]) => (0.0, (2.0 * width * layers).powf(-0.5)),
            _ if has(&["fc1"]) => (0.0, (2.0 * width).powf(-0.5)),
            _ => (0.0, width.powf(-0.5)),
        }
    }

    fn values(&self, name: &str, count: usize) -> Vec<f32> {
        let seed = name.bytes().fold(self.seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let (mean, deviation) = self.moments(name);
        if deviation == 0.0 { vec![mean; count] } else { normals(seed, count, deviation) }
    }
}

impl Tensors for RandomWeights {
    fn shape(&self, _: &str) -> Option<&[usize]> {
        None
    }

    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        Ok(self.values(name, shape.iter().product()))
    }

    fn table(&self, name: &str, [rows, width]: [usize; 2]) -> Result<Table, WeightsError> {
        // a thousand rows are as good as fifty thousand, and made sooner
        let some = self.values(name, rows.min(1000) * width);
        let mut bytes = DType::F16.encode(&some);
        let one = bytes.len();
        while bytes.len() < 2 * rows * width {
            let more = (2 * rows * width - bytes.len()).min(one);
            bytes.extend_from_within(..more);
        }
        Ok(Table::new(width, DType::F16, bytes))
    }

    fn key(&self, _: &str) -> Option<&Value> {
        None
    }
}

/// `count` numbers, roughly Gaussian, of mean 0 and this deviation: sums of four uniform ones (splitmix64, Steele et al. 2014).
pub fn normals(seed: u64, count: usize, deviation: f32) -> Vec<f32> {
    let mut state = seed;
    // the sum of four uniform numbers of 16 bits has a deviation of 37837
    let factor = deviation / 37_837.0;
    let mut one = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let x = x ^ (x >> 31);
        let sum = (x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48);
        (sum as i64 - 131_070) as f32 * factor
    };
    (0..count).map(|_| one()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn normals_have_their_moments() {
        let x = super::normals(3, 100_000, 2.0);
        let mean = x.iter().sum::<f32>() / 1e5;
        let variance = x.iter().map(|v| v * v).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.03 && (variance - 4.0).abs() < 0.1, "{mean} {variance}");
    }
}
