//! Runs a target: a number of inputs, or as many as fit into `FUZZ_SECONDS`.
//!
//! `FUZZ_SEED` is the seed of the first input; the ones after it count up. `FUZZ_INPUT`, in hex, is run
//! alone.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::rng::Rng;

/// An input that takes longer than this never ends.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Target<'a> {
    /// The test's name.
    pub(crate) name: &'static str,
    /// How many inputs an ordinary test run tries.
    pub(crate) inputs: u64,
    pub(crate) make: &'a dyn Fn(&mut Rng) -> Vec<u8>,
    /// Panics at a finding.
    pub(crate) check: &'a dyn Fn(&[u8]),
}

impl Target<'_> {
    pub(crate) fn run(&self) {
        if let Some(hex) = std::env::var_os("FUZZ_INPUT") {
            (self.check)(&from_hex(&hex.to_string_lossy()));
            return;
        }
        let first = number("FUZZ_SEED").unwrap_or(0);
        let seconds = number("FUZZ_SECONDS").map(Duration::from_secs);
        let watch = Watch::new(self.name);
        let start = Instant::now();
        let mut tried = 0;
        while seconds.map_or(tried < self.inputs, |seconds| start.elapsed() < seconds) {
            let seed = first.wrapping_add(tried);
            watch.begins(seed);
            let input = (self.make)(&mut Rng::new(seed));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.check)(&input))) {
                eprintln!("{}", self.finding(seed, &input));
                resume_unwind(panic);
            }
            tried += 1;
        }
        let took = start.elapsed().as_secs_f64();
        println!("{}: {tried} inputs from seed {first}, {took:.1} s, no finding", self.name);
    }

    fn finding(&self, seed: u64, input: &[u8]) -> String {
        let name = self.name;
        format!(
            "finding: target {name}, seed {seed}, input {}\n\
             again: cargo xtask fuzz {name} --seed {seed} --seconds 1",
            to_hex(input)
        )
    }
}

/// Ends the process when an input takes too long: a thread that loops cannot be stopped otherwise.
struct Watch(Sender<u64>);

impl Watch {
    fn new(target: &'static str) -> Watch {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut seed = 0;
            loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(next) => seed = receiver.try_iter().last().unwrap_or(next),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("finding: target {target}, seed {seed}: it does not end");
                        eprintln!("again: cargo xtask fuzz {target} --seed {seed} --seconds 1");
                        std::process::exit(101);
                    }
                }
            }
        });
        Watch(sender)
    }

    fn begins(&self, seed: u64) {
        self.0.send(seed).expect("the thread ends after us");
    }
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).expect("FUZZ_INPUT has hex digits only") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}
