//! What stands behind the mutex: the engine, and the sockets, disks and groups that it acts on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use mio::net::TcpStream;

use super::Shared;
use super::disks::{Job, RegionDisk};
use super::group::{Deliveries, Group};
use super::sockets::{self, Socket};
use crate::heartbeat::{RegionId, StartError};
use crate::o2net::LinkId;
use crate::stack::{DomainId, Output, Stack};
use crate::{NodeId, Now, Timeouts};

pub(crate) struct Inner {
    pub(crate) stack: Stack,
    pub(super) sockets: BTreeMap<NodeId, Socket>,
    pub(super) disks: BTreeMap<RegionId, RegionDisk>,
    pub(crate) domains: BTreeMap<DomainId, Group>,
    pub(super) steady: BTreeSet<RegionId>,
    pub(super) start_failed: BTreeMap<RegionId, StartError>,
    pub(super) timeouts: Timeouts,
    pub(crate) fenced: Option<String>,
    /// Nobody can connect any more.
    pub(super) closed: bool,
    /// Somebody who waits should look again.
    pub(crate) news: bool,
    pub(super) deliveries: Deliveries,
    registry: mio::Registry,
    /// The thread that waits for sockets sleeps, until this time if nothing happens.
    sleeps: bool,
    sleeps_until: Option<Now>,
}

impl Inner {
    pub(super) fn new(stack: Stack, timeouts: Timeouts, registry: mio::Registry) -> Inner {
        Inner {
            stack,
            sockets: BTreeMap::new(),
            disks: BTreeMap::new(),
            domains: BTreeMap::new(),
            steady: BTreeSet::new(),
            start_failed: BTreeMap::new(),
            timeouts,
            fenced: None,
            closed: false,
            news: false,
            deliveries: Deliveries::default(),
            registry,
            sleeps: false,
            sleeps_until: None,
        }
    }

    pub(super) fn go_to_sleep(&mut self, now: Now) -> Option<Duration> {
        self.sleeps = true;
        self.sleeps_until = self.stack.next_timeout();
        self.sleeps_until.map(|at| at.saturating_sub(now))
    }

    pub(super) fn wake_up(&mut self) {
        self.sleeps = false;
    }

    pub(super) fn sleeps_too_long(&mut self) -> bool {
        if !self.sleeps {
            return false;
        }
        let sooner = match (self.stack.next_timeout(), self.sleeps_until) {
            (Some(next), Some(until)) => next < until,
            (next, None) => next.is_some(),
            (None, Some(_)) => false,
        };
        // Once is enough.
        self.sleeps &= !sooner;
        sooner
    }

    /// Does what the engine wants done.
    pub(super) fn perform_outputs(&mut self, shared: &Shared) {
        while let Some(output) = self.stack.poll_output() {
            match output {
                Output::Connect { link, to, from } => match sockets::connect(to, from) {
                    Ok(stream) => self.add_socket(shared.now(), link, stream, true),
                    Err(error) => self.stack.closed(shared.now(), link, sockets::failed(&error)),
                },
                Output::Close { link, reason } => {
                    tracing::info!(node = %link.node(), %reason, "connection closed");
                    if self.sockets.get(&link.node()).is_some_and(|socket| socket.link == link) {
                        self.sockets.remove(&link.node());
                    }
                }
                Output::ReadSlots { region, first, last } => {
                    self.to_disk(region, Job::Read { first, last });
                }
                Output::WriteSlot { region, bytes, not_after } => {
                    self.to_disk(region, Job::Write { bytes, not_after });
                }
                Output::Steady(region) => {
                    self.steady.insert(region);
                    self.news = true;
                }
                Output::StartFailed { region, error } => {
                    self.start_failed.insert(region, error);
                    self.news = true;
                }
                Output::Stopped(region) => {
                    self.disks.remove(&region);
                    self.steady.remove(&region);
                    self.news = true;
                }
                Output::Node { node, up } => {
                    tracing::info!(%node, up, "heartbeat");
                    self.news = true;
                }
                Output::Domain(id, event) => {
                    if let Some(group) = self.domains.get_mut(&id) {
                        self.news |= group.event(id, event, &mut self.deliveries);
                        let again = group.take_abandoned();
                        for (lock, value) in again {
                            self.stack.with_domain(shared.now(), id, |domain| {
                                domain.unlock(shared.now(), lock, value.as_ref())
                            });
                        }
                    }
                }
                Output::Fence(reason) => {
                    tracing::error!(%reason, "this node has to stop");
                    self.disks.clear();
                    self.sockets.clear();
                    self.fenced = Some(reason.clone());
                    self.deliveries.fence = Some(reason);
                    self.news = true;
                }
            }
        }
    }

    fn to_disk(&self, region: RegionId, job: Job) {
        if let Some(disk) = self.disks.get(&region)
            && disk.jobs.send(job).is_err()
        {
            tracing::error!("the thread of a heartbeat region is gone");
        }
    }

    pub(super) fn add_socket(
        &mut self,
        now: Now,
        link: LinkId,
        stream: TcpStream,
        connecting: bool,
    ) {
        let mut socket = Socket { link, stream, connecting, full: false };
        match sockets::register(&self.registry, &mut socket) {
            Ok(()) => {
                self.sockets.insert(link.node(), socket);
            }
            Err(error) => self.stack.closed(now, link, sockets::failed(&error)),
        }
    }

    /// Writes what there is to write, each link once.
    pub(super) fn flush(&mut self, now: Now) {
        while let Some(link) = self.stack.next_dirty() {
            self.write(now, link);
        }
    }

    fn write(&mut self, now: Now, link: LinkId) {
        loop {
            let Some(socket) = self.sockets.get_mut(&link.node()) else { return };
            if socket.link != link || socket.connecting {
                return;
            }
            let bytes = self.stack.unsent(link);
            if bytes.is_empty() {
                return;
            }
            match socket.stream.write(bytes) {
                Ok(len) => self.stack.sent(link, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.full = true;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.sockets.remove(&link.node());
                    self.stack.closed(now, link, sockets::failed(&error));
                    return;
                }
            }
        }
    }

    pub(super) fn writable(&mut self, now: Now, peer: NodeId) {
        let Some(socket) = self.sockets.get_mut(&peer) else { return };
        let link = socket.link;
        socket.full = false;
        if socket.connecting {
            let error = match socket.stream.take_error() {
                Ok(None) => socket.stream.peer_addr().err(),
                Ok(error) => error,
                Err(error) => Some(error),
            };
            match error {
                None => {
                    socket.connecting = false;
                    self.stack.connected(now, link);
                }
                // Not there yet.
                Some(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Some(error) => {
                    self.sockets.remove(&peer);
                    self.stack.closed(now, link, sockets::failed(&error));
                    return;
                }
            }
        }
        self.write(now, link);
    }
}

impl Shared {
    pub(super) fn look_mut<T>(&self, look: impl FnOnce(&mut Inner, Now) -> T) -> T {
        look(&mut self.inner.lock(), self.now())
    }
}
