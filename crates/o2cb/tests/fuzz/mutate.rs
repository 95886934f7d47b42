//! Changes to bytes, of the kinds that decoders get wrong.

use crate::rng::Rng;

/// An input of the corpus, changed a little or a lot; sometimes not at all.
pub(crate) fn mutated(rng: &mut Rng, corpus: &[Vec<u8>], len_max: usize) -> Vec<u8> {
    let mut bytes = pick(rng, corpus).clone();
    if rng.chance(5) {
        return bytes;
    }
    for _ in 0..=rng.below(6) {
        change(rng, &mut bytes, corpus);
    }
    bytes.truncate(len_max);
    bytes
}

pub(crate) fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.below(from.len() as u64) as usize]
}

/// Changes bytes in one way.
pub(crate) fn change(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = rng.below(bytes.len() as u64 + 1) as usize;
    let magnitude = rng.below(8);
    let len = rng.below(1 << magnitude) as usize + 1;
    let end = bytes.len().min(at + len);
    match rng.below(9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        3 => {
            let random: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
            bytes.splice(at..at, random);
        }
        4 => {
            let other = pick(rng, corpus);
            let from = rng.below(other.len() as u64 + 1) as usize;
            let to = other.len().min(from + len);
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        5 => bytes[at..end].fill(*pick(rng, &[0, 0xff, b' '])),
        6 => {
            let (value, width) = (number(rng), 1 << rng.below(4));
            let number = if rng.chance(50) {
                value.to_le_bytes()[..width].to_vec()
            } else {
                value.to_be_bytes()[8 - width..].to_vec()
            };
            for (byte, new) in bytes.iter_mut().skip(at).zip(number) {
                *byte = new;
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
    }
}

/// A number near an edge.
fn number(rng: &mut Rng) -> u64 {
    let edge = match rng.below(4) {
        0 => 0,
        1 => 1 << rng.below(64),
        2 => *pick(rng, &[64, 240, 255, 512, 4072, 4096]),
        _ => u64::MAX >> rng.below(64),
    };
    edge.wrapping_add(rng.below(3)).wrapping_sub(1)
}
