//! Requests that were sent and not answered yet, by message number.

/// The outstanding requests of one connection. A request's number is the lowest that is free, as in
/// the kernel (`fs/ocfs2/cluster/tcp.c: o2net_prep_nsw`), and so numbers stay small.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Which numbers are taken, a bit each.
    taken: Vec<u64>,
    /// The token of each taken number.
    tokens: Vec<u64>,
    /// All numbers of the words before this one are taken.
    low: usize,
    len: usize,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of a new request.
    pub(super) fn begin(&mut self, token: u64) -> u32 {
        while self.taken.get(self.low) == Some(&u64::MAX) {
            self.low += 1;
        }
        if self.low == self.taken.len() {
            self.taken.push(0);
            self.tokens.resize(self.taken.len() * 64, 0);
        }
        let word = &mut self.taken[self.low];
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        let number = self.low * 64 + bit as usize;
        self.tokens[number] = token;
        self.len += 1;
        number as u32
    }

    /// The token of an answered request; `None` for a number that is not outstanding.
    pub(super) fn finish(&mut self, number: u32) -> Option<u64> {
        let at = number as usize;
        let word = self.taken.get_mut(at / 64)?;
        let bit = 1 << (at % 64);
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        self.low = self.low.min(at / 64);
        self.len -= 1;
        Some(self.tokens[at])
    }

    /// The tokens of all that were never answered, by ascending number.
    pub(super) fn into_tokens(self) -> impl Iterator<Item = u64> {
        let taken = self.taken;
        let is_taken = move |at: usize| taken[at / 64] >> (at % 64) & 1 == 1;
        self.tokens.into_iter().enumerate().filter(move |(at, _)| is_taken(*at)).map(|(_, t)| t)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Behaviour 115.
        #[test]
        fn a_request_has_the_lowest_free_number(
            steps in proptest::collection::vec(proptest::option::of(0u32..200), 0..400),
        ) {
            let mut outstanding = Outstanding::default();
            let mut model = BTreeMap::new();
            for (token, step) in (0u64..).zip(steps) {
                if let Some(number) = step {
                    prop_assert_eq!(outstanding.finish(number), model.remove(&number));
                } else {
                    let lowest = (0..).find(|number| !model.contains_key(number));
                    let number = outstanding.begin(token);
                    prop_assert_eq!(Some(number), lowest);
                    model.insert(number, token);
                }
                prop_assert_eq!(outstanding.len(), model.len());
            }
            let left: Vec<u64> = outstanding.into_tokens().collect();
            prop_assert_eq!(left, model.into_values().collect::<Vec<_>>());
        }
    }
}
