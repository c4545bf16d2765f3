//! The fuzz targets over their seeds and over mutations of them: the same ones at each run, and few
//! enough for every run. `scripts/soak` looks for new ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

const MUTATIONS: usize = 10_000;
const BYTES_MAX: usize = 4_096;

/// The seeds of a target, in the order of their names.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2, "{name} has too few seeds");
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// Numbers that look random and are the same at each run (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A seed, changed in some places.
    fn mutation(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let (at, other) = (self.below(bytes.len() + 1), &seeds[self.below(seeds.len())]);
            let end = at + self.below((bytes.len() - at).min(16) + 1);
            let from = self.below(other.len());
            let upto = (from + self.below(64)).min(other.len());
            match self.below(6) {
                0 => drop(bytes.splice(at..end, [])),
                1 => drop(bytes.splice(at..at, other[from.min(upto)..upto].to_vec())),
                2 => drop(bytes.splice(at..end, [self.byte()])),
                3 => bytes.truncate(at),
                4 => bytes.extend_from_within(at..end),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }
}

#[test]
fn no_seed_and_no_mutation_breaks_a_promise() {
    for target in &targets::TARGETS {
        let seeds = seeds(target.name);
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mutations = (0..MUTATIONS).map(|_| numbers.mutation(&seeds));
        let mutations: Vec<Vec<u8>> = mutations.collect();
        for bytes in seeds.iter().chain(&mutations) {
            let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
            assert!(ran.is_ok(), "{}: {}", target.name, bytes.escape_ascii());
        }
    }
}
