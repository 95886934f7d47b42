//! A queue that mostly has one entry, and takes no more room than that.

use std::collections::VecDeque;

/// A queue. One entry is kept in place, more of them elsewhere.
#[derive(Debug)]
pub(super) enum Few<T> {
    None,
    One(T),
    #[expect(clippy::box_collection, reason = "a pointer is what most entries have no use for")]
    Many(Box<VecDeque<T>>),
}

impl<T> Few<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.front().is_none()
    }

    pub(super) fn front(&self) -> Option<&T> {
        match self {
            Few::None => None,
            Few::One(entry) => Some(entry),
            Few::Many(entries) => entries.front(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Few::None => (None, None),
            Few::One(entry) => (Some(entry), None),
            Few::Many(entries) => (None, Some(entries.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The place of the first entry that is looked for.
    pub(super) fn position(&self, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        self.iter().position(is_it)
    }

    pub(super) fn push_back(&mut self, entry: T) {
        match self.entries() {
            Some(entries) => entries.push_back(entry),
            None => *self = Few::One(entry),
        }
    }

    pub(super) fn push_front(&mut self, entry: T) {
        match self.entries() {
            Some(entries) => entries.push_front(entry),
            None => *self = Few::One(entry),
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        self.remove(0)
    }

    /// Takes the entry at a place out of the queue.
    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        match self {
            Few::One(_) if at == 0 => match std::mem::replace(self, Few::None) {
                Few::One(entry) => Some(entry),
                _ => None,
            },
            Few::Many(entries) => {
                let removed = entries.remove(at);
                if entries.is_empty() {
                    *self = Few::None;
                }
                removed
            }
            _ => None,
        }
    }

    /// Room for one more beside what there is; `None` where there is nothing.
    fn entries(&mut self) -> Option<&mut VecDeque<T>> {
        *self = match std::mem::replace(self, Few::None) {
            Few::One(entry) => Few::Many(Box::new(VecDeque::from([entry]))),
            other => other,
        };
        match self {
            Few::Many(entries) => Some(entries),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_queue_like_any_other(steps in proptest::collection::vec((0u8..4, 0usize..4), 0..40)) {
            let (mut few, mut model) = (Few::None, VecDeque::new());
            for (number, (step, at)) in (0u32..).zip(steps) {
                match step {
                    0 => {
                        few.push_back(number);
                        model.push_back(number);
                    }
                    1 => {
                        few.push_front(number);
                        model.push_front(number);
                    }
                    2 => prop_assert_eq!(few.pop_front(), model.pop_front()),
                    _ => prop_assert_eq!(few.remove(at), model.remove(at)),
                }
                prop_assert_eq!(few.front(), model.front());
                prop_assert_eq!(few.is_empty(), model.is_empty());
                prop_assert!(few.iter().eq(&model));
            }
        }
    }
}
