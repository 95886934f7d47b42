//! The four nodes, their lives and what was written in them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::{Death, Error, Guest, History, Job, Lab, Life, Moment, eventually};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use super::{DOMAIN, NAMES, pause};
use crate::ours::{RECOVERY, SOON};
use crate::process::{self, Process};

/// After that everything has been sent again.
const HEALING: Duration = Duration::from_secs(4);

/// Two kernels, numbered 0 and 1 here, and two of ours.
pub(super) struct Nodes<'lab> {
    lab: &'lab Lab,
    /// Where logs are gathered; kept if the test fails.
    directory: PathBuf,
    seed: u64,
    /// How many lives there have been.
    lives: u64,
    began: Moment,
    since: Instant,
    ours: [Option<Ours>; 2],
    kernels: [Option<Kernel<'lab>>; 2],
    history: History,
}

struct Ours {
    life: Life,
    name: String,
    process: Process,
}

struct Kernel<'lab> {
    life: Life,
    name: String,
    workers: Vec<Job<'lab>>,
}

impl<'lab> Nodes<'lab> {
    /// All four are in the domain and at work when this returns.
    pub(super) fn start(lab: &'lab Lab, seed: u64) -> Result<Nodes<'lab>, Error> {
        let directory = std::env::temp_dir().join(format!("stackglue-mix-{seed}"));
        // Logs of an earlier run would be taken for this one's.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory for logs");
        let mut nodes = Nodes {
            lab,
            directory,
            seed,
            lives: 0,
            began: lab.moment()?,
            since: Instant::now(),
            ours: [None, None],
            kernels: [None, None],
            history: History::default(),
        };
        for one in 0..2 {
            nodes.start_ours(one)?;
        }
        for one in 0..2 {
            nodes.start_kernel(one)?;
        }
        Ok(nodes)
    }

    /// On the clock of the history.
    pub(super) fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::Monotonic);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    pub(super) fn start_ours(&mut self, one: usize) -> Result<(), Error> {
        self.say(&format!("starts ours {one}"));
        let number = self.lab.options().extra_base + one as u8;
        let name = self.new_life(&format!("o{one}"));
        let log = self.log(&name);
        let errors = std::fs::File::create(log.with_extension("err")).expect("a file");
        let seed = self.seed.wrapping_add(self.lives << 32).to_string();
        let mut process = Process::start(self.lab, number, "mix::worker::node", |command| {
            for (variable, value) in [("LIFE", &name), ("SEED", &seed)] {
                command.env(process::name_of(variable), value);
            }
            command.env(process::name_of("LOG"), &log).stderr(errors);
        });
        process.wait_for("joined");
        let life = Life::new(number, self.now());
        self.ours[one] = Some(Ours { life, name, process });
        self.say(&format!("ours {one} has joined"));
        Ok(())
    }

    pub(super) fn kill_ours(&mut self, one: usize) -> Result<(), Error> {
        let Some(mut ours) = self.ours[one].take() else { return Ok(()) };
        self.say(&format!("kills ours {one}"));
        let from = self.now();
        ours.process.kill();
        ours.life.death = Some(Death { from, by: self.now() });
        self.end_ours(ours)
    }

    pub(super) fn kill_kernel(&mut self, one: usize) -> Result<(), Error> {
        let Some(mut kernel) = self.kernels[one].take() else { return Ok(()) };
        self.say(&format!("kills kernel {one}"));
        let from = self.now();
        self.guest(one).kill()?;
        kernel.life.death = Some(Death { from, by: self.now() });
        self.end_kernel(one, kernel)
    }

    pub(super) fn boot_kernel(&mut self, one: usize) -> Result<(), Error> {
        self.say(&format!("boots kernel {one}"));
        self.guest(one).boot()?;
        self.start_kernel(one)
    }

    fn start_kernel(&mut self, one: usize) -> Result<(), Error> {
        let guest = self.guest(one);
        guest.exec(&format!("mkdir /dlm/{DOMAIN}"))?.success()?;
        let life = Life::new(guest.number(), self.now());
        let name = self.new_life(&format!("k{one}"));
        let start = |(worker, names): (usize, &[&str])| {
            let seed = self.seed.wrapping_add(self.lives << 32).wrapping_add(worker as u64);
            let (prefix, names) = (format!("{name}-{worker}"), names.join(" "));
            guest.spawn(&format!(
                "/lab/bin/dlmfsmix run /dlm/{DOMAIN} /lab/{prefix}.log /lab/stop {prefix} {seed} {names}"
            ))
        };
        let workers = NAMES.chunks(2).enumerate().map(start).collect::<Result<_, _>>()?;
        self.kernels[one] = Some(Kernel { life, name, workers });
        self.say(&format!("kernel {one} has joined"));
        Ok(())
    }

    /// Pulls a kernel's cable, for a time, and waits until TCP has sent again what was lost meanwhile. A
    /// cut before that would be one long one for TCP, which waits twice as long each time, and for quorum.
    pub(super) fn cut(&mut self, one: usize, time: Duration) -> Result<(), Error> {
        if self.kernels[one].is_none() {
            return Ok(());
        }
        self.say(&format!("cuts off kernel {one} for {time:?}"));
        self.guest(one).link(false)?;
        pause(time);
        self.guest(one).link(true)?;
        pause(time.min(HEALING));
        Ok(())
    }

    pub(super) fn pause_kernel(&mut self, one: usize, time: Duration) -> Result<(), Error> {
        if self.kernels[one].is_none() {
            return Ok(());
        }
        self.say(&format!("holds up kernel {one} for {time:?}"));
        self.guest(one).pause()?;
        pause(time);
        self.guest(one).resume()
    }

    pub(super) fn pause_ours(&mut self, one: usize, time: Duration) -> Result<(), Error> {
        let Some(ours) = &self.ours[one] else { return Ok(()) };
        self.say(&format!("holds up ours {one} for {time:?}"));
        ours.process.signal(Signal::STOP);
        pause(time);
        ours.process.signal(Signal::CONT);
        Ok(())
    }

    pub(super) fn tell_to_end(&mut self) -> Result<(), Error> {
        self.say("all are told to end");
        for guest in self.lab.guests() {
            let stop = guest.mailbox().join("stop");
            std::fs::write(stop, "").expect("the lab's directory");
        }
        // Ours stay until then: a kernel that takes a resource over from one that leaves may lose its value.
        eventually(RECOVERY, || self.workers_have_ended());
        for ours in self.ours.iter_mut().flatten() {
            ours.process.tell_to_end();
        }
        Ok(())
    }

    fn workers_have_ended(&self) -> bool {
        let mut workers = self.kernels.iter().flatten().flat_map(|kernel| &kernel.workers);
        workers.all(Job::has_ended)
    }

    pub(super) fn have_ended(&mut self) -> bool {
        let ours = self.ours.iter_mut().flatten().all(|ours| ours.process.ended().is_some());
        ours && self.workers_have_ended()
    }

    /// All that was written down, of the dead and the living.
    pub(super) fn history(&mut self) -> Result<&History, Error> {
        for one in 0..2 {
            let console = self.directory.join(format!("k{one}.console"));
            std::fs::write(console, self.guest(one).console()?).expect("room for a log");
            if let Some(mut ours) = self.ours[one].take() {
                let ended = ours.process.ended();
                let name = ours.name.clone();
                self.end_ours(ours)?;
                assert_ne!(ended, Some(false), "see {}", self.log(&name).display());
            }
            if let Some(kernel) = self.kernels[one].take() {
                for worker in kernel.workers.iter().filter(|worker| worker.has_ended()) {
                    worker.wait(SOON)?.success()?;
                }
                self.end_kernel(one, kernel)?;
            }
        }
        Ok(&self.history)
    }

    pub(super) fn forget_logs(&self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }

    fn end_ours(&mut self, mut ours: Ours) -> Result<(), Error> {
        let log = read(&self.log(&ours.name));
        ours.life.read(&log, Duration::from_nanos).unwrap_or_else(|error| panic!("{error}"));
        self.history.add(ours.life);
        Ok(())
    }

    fn end_kernel(&mut self, one: usize, mut kernel: Kernel<'_>) -> Result<(), Error> {
        let now = self.lab.moment()?;
        for worker in 0..kernel.workers.len() {
            let file = format!("{}-{worker}.log", kernel.name);
            let log = read(&self.guest(one).mailbox().join(&file));
            let times = |counter| self.began.time_of(counter, &now);
            let sense = kernel.life.read(&log, times);
            std::fs::write(self.directory.join(file), &log).expect("room for a log");
            sense.unwrap_or_else(|error| panic!("{error}"));
        }
        self.history.add(kernel.life);
        Ok(())
    }

    fn new_life(&mut self, node: &str) -> String {
        self.lives += 1;
        format!("{node}-{}", self.lives)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    fn guest(&self, one: usize) -> Guest<'lab> {
        self.lab.guest(one as u8 + 1)
    }

    fn say(&self, what: &str) {
        println!("{:7.2} {what}", self.since.elapsed().as_secs_f32());
    }
}

/// What a node that was killed was writing at the time may have no end.
fn read(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.rfind('\n').map_or(String::new(), |end| text[..=end].to_owned())
}
