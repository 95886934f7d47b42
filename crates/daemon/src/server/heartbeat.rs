//! Who needs which heartbeat: references that the program `ocfs2_hb_ctl` takes and gives back.
//!
//! With local heartbeat a region is heartbeated on while somebody has a reference: the configuration,
//! which never gives its own back, or whoever has mounted the volume. With global heartbeat, and on stacks
//! that have none, there is nothing to start or stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::o2cb::cluster_conf::HeartbeatMode;
use ::o2cb::heartbeat::{HeartbeatError, REGION_NAME_BYTES_MAX};
use ::o2cb::{O2cbNode, RegionOptions};
use parking_lot::{Condvar, Mutex, MutexGuard};
use stackglue::Errno;

use super::node::{Node, Refusal};
use super::process::Process;
use super::request::Answer;
use crate::control::HeartbeatItem;

/// The references to a node's heartbeat regions.
#[derive(Default)]
pub(super) struct References {
    regions: Mutex<Regions>,
    /// A region has been started or stopped, or not.
    changed: Condvar,
    /// Regions that the configuration names.
    configured: Vec<String>,
}

/// Every region that is in use, or about to be.
type Regions = BTreeMap<String, Region>;

#[derive(Default)]
struct Region {
    references: u32,
    /// Being started or stopped, which takes seconds: who comes meanwhile waits.
    is_changing: bool,
}

/// A region that is being started or stopped, until this is dropped.
struct Change<'a> {
    all: &'a References,
    region: &'a str,
    /// How many references it has then.
    references: u32,
}

impl References {
    pub(super) fn of_configured(names: Vec<String>) -> References {
        let one = |name: &String| (name.clone(), Region { references: 1, is_changing: false });
        let regions = Mutex::new(names.iter().map(one).collect());
        References { regions, changed: Condvar::new(), configured: names }
    }

    /// Takes a reference, and has the heartbeat started if it is the first.
    fn take(
        &self,
        region: &str,
        start: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut regions = self.unless_changing(region);
        let found = regions.entry(region.to_owned()).or_default();
        if found.references > 0 {
            found.references += 1;
            return Ok(());
        }
        found.is_changing = true;
        drop(regions);
        let mut change = Change { all: self, region, references: 0 };
        start()?;
        change.references = 1;
        Ok(())
    }

    /// Gives a reference back, and has the heartbeat stopped if it was the last.
    fn give_back(
        &self,
        region: &str,
        stop: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut regions = self.unless_changing(region);
        let own = u32::from(self.configured.iter().any(|name| name == region));
        let Some(found) = regions.get_mut(region).filter(|found| found.references > own) else {
            let text = format!("nobody has a reference to the heartbeat region {region}");
            return Err((Errno::ENOENT, text));
        };
        if found.references > 1 {
            found.references -= 1;
            return Ok(());
        }
        found.is_changing = true;
        drop(regions);
        let mut change = Change { all: self, region, references: 1 };
        stop()?;
        change.references = 0;
        Ok(())
    }

    /// The regions, once this one is neither being started nor being stopped.
    fn unless_changing(&self, region: &str) -> MutexGuard<'_, Regions> {
        let mut regions = self.regions.lock();
        while regions.get(region).is_some_and(|found| found.is_changing) {
            self.changed.wait(&mut regions);
        }
        regions
    }

    fn of(&self, region: &str) -> u32 {
        self.regions.lock().get(region).map_or(0, |found| found.references)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut regions = self.all.regions.lock();
        if self.references == 0 {
            regions.remove(self.region);
        } else if let Some(found) = regions.get_mut(self.region) {
            *found = Region { references: self.references, is_changing: false };
        }
        self.all.changed.notify_all();
    }
}

/// What is to happen to a region.
pub(super) enum Verb {
    Start { device: Option<String> },
    Stop,
}

impl Node {
    /// The references to a region.
    pub(super) fn heartbeat(&self, region: String) -> Result<HeartbeatItem, Refusal> {
        check_name(&region)?;
        let references = self.references.of(&region);
        let is_counted = self.local_heartbeat().is_some();
        Ok(HeartbeatItem { region, references, is_counted })
    }

    /// Begins to start or stop the heartbeat of a region.
    pub(super) fn change_heartbeat(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        region: String,
        verb: Verb,
    ) -> Result<Answer, Refusal> {
        if !process.is_admin {
            let text =
                "only root and the daemon's own user may start or stop a heartbeat".to_owned();
            return Err((Errno::EPERM, text));
        }
        check_name(&region)?;
        let Some(node) = self.local_heartbeat().cloned() else { return Ok(Answer::Now) };
        let (process, shared) = (process.clone(), self.shared.clone());
        let references = self.references.clone();
        // Groups are kept for a while when nobody uses them, which must not keep a heartbeat up that is
        // hung up.
        let left = match verb {
            Verb::Start { .. } => None,
            Verb::Stop => self.groups.leave_if_unused(&region),
        };
        let work = move || {
            let outcome = match verb {
                Verb::Start { device } => {
                    references.take(&region, || start(&node, &region, device.as_deref()))
                }
                Verb::Stop => references.give_back(&region, || {
                    // It says no more than that: by hanging up.
                    let _ = left.map(|left| left.recv_timeout(LEAVING_PATIENCE));
                    stop(&node, &region)
                }),
            };
            process.end(&shared, id, outcome);
        };
        thread::Builder::new().spawn(work).map(|_| Answer::Later).map_err(|error| {
            (Errno::EAGAIN, format!("no thread can be started to change a heartbeat: {error}"))
        })
    }

    /// The node, if it heartbeats on what is in use.
    fn local_heartbeat(&self) -> Option<&O2cbNode> {
        self.o2cb.as_ref().filter(|node| node.heartbeat_mode() == HeartbeatMode::Local)
    }
}

fn start(node: &O2cbNode, region: &str, device: Option<&str>) -> Result<(), Refusal> {
    let Some(device) = device else {
        let text = format!("there is no heartbeat region {region}: name its device");
        return Err((Errno::ENOENT, text));
    };
    let failed = |error: ::o2cb::StartError| (Errno::EIO, error.to_string());
    let options = RegionOptions::of_volume(Path::new(device)).map_err(failed)?;
    if options.name != region {
        let text = format!("{device} is the volume {}, not {region}", options.name);
        return Err((Errno::EINVAL, text));
    }
    node.start_region(&options).map_err(failed)?;
    tracing::info!(region, device, "heartbeat started");
    Ok(())
}

fn stop(node: &O2cbNode, region: &str) -> Result<(), Refusal> {
    node.stop_region(region).map_err(|error| {
        let errno = match error {
            HeartbeatError::Pinned(_) => Errno::EBUSY,
            _ => Errno::EIO,
        };
        (errno, error.to_string())
    })?;
    tracing::info!(region, "heartbeat stopped");
    Ok(())
}

/// A longer one than a region can have would not fit into an answer.
fn check_name(region: &str) -> Result<(), Refusal> {
    let error = HeartbeatError::NameLength(region.len());
    let is_name = (1..=REGION_NAME_BYTES_MAX).contains(&region.len());
    if is_name { Ok(()) } else { Err((Errno::EINVAL, error.to_string())) }
}

/// A domain that other nodes keep from being left is not waited for any longer than this.
const LEAVING_PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// References to the regions `a` and `b`, one each.
    fn both() -> Arc<References> {
        let references = Arc::new(References::default());
        for region in ["a", "b"] {
            references.take(region, || Ok(())).expect("started");
        }
        references
    }

    #[test]
    fn a_region_that_takes_its_time_to_stop_keeps_no_other_one_from_it() {
        let references = both();
        let (stop, stops) = mpsc::channel();
        let (stopping, is_stopping) = mpsc::channel();
        let slow = {
            let references = references.clone();
            thread::spawn(move || {
                references.give_back("a", || {
                    stopping.send(()).expect("awaited");
                    stops.recv_timeout(SOON).expect("told to");
                    Ok(())
                })
            })
        };
        is_stopping.recv_timeout(SOON).expect("it begins");
        references.give_back("b", || Ok(())).expect("its own business");
        assert_eq!((references.of("a"), references.of("b")), (1, 0));

        // Who wants the same one waits for the outcome, and starts it again.
        let again = {
            let references = references.clone();
            let (started, starts) = mpsc::channel();
            let again = thread::spawn(move || {
                references.take("a", || {
                    started.send(()).expect("awaited");
                    Ok(())
                })
            });
            assert!(starts.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
            stop.send(()).expect("awaited");
            starts.recv_timeout(SOON).expect("started again");
            again
        };
        slow.join().expect("no panic").expect("stopped");
        again.join().expect("no panic").expect("started");
        assert_eq!(references.of("a"), 1);
    }

    #[test]
    fn of_two_who_stop_one_region_at_once_each_gives_back_a_reference_of_its_own() {
        for count in [1, 2] {
            let references = both();
            for _ in 1..count {
                references.take("a", || panic!("it has been started")).expect("one more");
            }
            let stops = AtomicUsize::new(0);
            let stop = || {
                let stop = || {
                    stops.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                references.give_back("a", stop).is_ok()
            };
            let outcomes = thread::scope(|scope| {
                [scope.spawn(stop), scope.spawn(stop)].map(|stop| stop.join().expect("no panic"))
            });
            assert_eq!(outcomes.iter().filter(|ok| **ok).count(), count);
            assert_eq!((references.of("a"), stops.into_inner()), (0, 1));
        }
    }

    #[test]
    fn a_region_that_cannot_be_stopped_keeps_its_reference_and_one_that_cannot_start_has_none() {
        let references = both();
        let refuse = || Err((Errno::EBUSY, "in use".to_owned()));
        references.give_back("a", refuse).expect_err("in use");
        assert_eq!(references.of("a"), 1);
        references.take("c", refuse).expect_err("no such disk");
        assert_eq!(references.of("c"), 0);
        references.give_back("c", || Ok(())).expect_err("nobody has one");
        references.give_back("a", || Ok(())).expect("not in use any more");
    }
}
