//! Draws that are the same on every machine: splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
//! Generators", OOPSLA 2014) and integer arithmetic only, because logarithm and cosine differ between platforms.

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Streams of different `purpose` are independent of each other.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Self(seed ^ purpose.wrapping_mul(0xD134_2543_DE82_EF95));
        Self(random.draw())
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A whole number below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        // the upper half of a product instead of a remainder: no bias worth the name for any n that fits a picture count
        ((u128::from(self.draw()) * n as u128) >> 64) as usize
    }

    /// Bell-shaped, mean 0, deviation 1, at most 3.47 in size: the sum of four 16-bit draws.
    pub fn normal(&mut self) -> f32 {
        let x = self.draw();
        let sum = (0..4).map(|i| (x >> (16 * i)) & 0xFFFF).sum::<u64>();
        // 131070 is the mean of the sum, 37837 its deviation
        ((sum as f64 - 131_070.0) / 37_837.0) as f32
    }

    /// Puts the items into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }

    /// The numbers below `n` in a random order.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

/// Gives the numbers below `n` in random order, again and again, each order used up before the next.
#[derive(Clone, Debug)]
pub struct Deck {
    random: Random,
    cards: Vec<usize>,
    next: usize,
}

impl Deck {
    pub fn new(random: Random, n: usize) -> Self {
        Self { random, cards: (0..n).collect(), next: n }
    }

    /// # Panics
    /// When there is no card.
    pub fn draw(&mut self) -> usize {
        if self.next == self.cards.len() {
            self.random.shuffle(&mut self.cards);
            self.next = 0;
        }
        self.next += 1;
        self.cards[self.next - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_stream() {
        // the first outputs of splitmix64 seeded with 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64")
        let mut random = Random(1_234_567);
        assert_eq!(random.draw(), 6_457_827_717_110_365_317);
        assert_eq!(random.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn draws_are_spread_as_said() {
        let mut random = Random::new(1, 2);
        let x: Vec<f64> = (0..20_000).map(|_| f64::from(random.normal())).collect();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let deviation = (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.02, "{mean} {deviation}");
        assert!(x.iter().all(|v| v.abs() < 3.47));
        let mut seen = random.order(100);
        assert_ne!(seen, (0..100).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_ne!(Random::new(1, 2).order(100), Random::new(1, 3).order(100));
    }

    #[test]
    fn a_deck_is_used_up_before_it_is_shuffled_again() {
        let mut deck = Deck::new(Random::new(0, 0), 3);
        for _ in 0..5 {
            let mut three = [deck.draw(), deck.draw(), deck.draw()];
            three.sort_unstable();
            assert_eq!(three, [0, 1, 2]);
        }
    }
}
