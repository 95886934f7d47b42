//! Which processor a thread runs on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors that the calling thread may use, in order: all that the process may, until it is pinned.
pub(crate) fn processors() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

/// Keeps the calling thread on one processor, and says where for the row. Threads that it starts
/// afterwards stay there too, until they are pinned elsewhere.
pub(crate) fn pin(cpu: usize) -> String {
    let mut set = CpuSet::new();
    set.set(cpu);
    match sched_setaffinity(None, &set) {
        Ok(()) => format!("cpu {cpu}"),
        Err(error) => format!("not pinned ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_one_processor_only() {
        std::thread::spawn(|| {
            let all = processors();
            let last = *all.last().expect("this thread runs somewhere");
            assert_eq!(pin(last), format!("cpu {last}"));
            assert_eq!(processors(), [last]);
        })
        .join()
        .expect("the thread ends well");
    }
}
