//! When a region that starts is steady, and when it never will be.

use super::Mode;

/// Counts the passes of a start (`fs/ocfs2/cluster/heartbeat.c: o2hb_do_disk_heartbeat`, at its end).
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady {
    /// Quiet passes still missing; 0 once the region is steady.
    missing: u32,
    /// Passes that are left to get there.
    left: u32,
}

/// Where a pass has brought the start of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Unsteady,
    /// With this pass.
    Reached,
    /// Since an earlier one.
    Steady,
    Aborted,
}

impl Steady {
    /// The first region of a node in global mode waits longer: nothing else tells it yet who is live.
    pub(super) fn new(mode: Mode, only_region: bool) -> Steady {
        let threshold = if mode == Mode::Global && only_region { 4 } else { 2 };
        let missing = threshold + 1;
        Steady { missing, left: 3 * missing }
    }

    /// A pass has ended. It was quiet if it wrote, found its own slot as it had left it, and no node
    /// came or went.
    pub(super) fn pass(&mut self, quiet: bool) -> Progress {
        if self.is_steady() {
            return Progress::Steady;
        }
        if quiet {
            self.missing -= 1;
            if self.missing == 0 {
                return Progress::Reached;
            }
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Progress::Aborted } else { Progress::Unsteady }
    }

    pub(super) fn is_steady(&self) -> bool {
        self.missing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_passes_to_steady_and_passes_to_the_end() {
        for (mode, only_region, quiet, limit) in [
            (Mode::Local, true, 3, 9),
            (Mode::Local, false, 3, 9),
            (Mode::Global, true, 5, 15),
            (Mode::Global, false, 3, 9),
        ] {
            let new = Steady::new(mode, only_region);
            let passes = |is_quiet| {
                let mut steady = new;
                (1..).map(|pass| (pass, steady.pass(is_quiet))).find(|p| p.1 != Progress::Unsteady)
            };
            assert_eq!(passes(true), Some((quiet, Progress::Reached)));
            assert_eq!(passes(false), Some((limit, Progress::Aborted)));
        }
    }

    #[test]
    fn the_last_pass_may_still_be_the_one() {
        let mut steady = Steady::new(Mode::Local, true);
        for quiet in [false, false, false, false, false, false, true, true] {
            assert_eq!(steady.pass(quiet), Progress::Unsteady);
        }
        assert_eq!(steady.pass(true), Progress::Reached);
        assert_eq!(steady.pass(false), Progress::Steady);
    }
}
