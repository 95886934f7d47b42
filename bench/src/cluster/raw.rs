//! What the rows are measured against: the same bytes, over sockets like the driver's, by threads that
//! know nothing of locks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mio::{Events, Interest, Poll, Token};

use super::caller::Caller;
use super::frames::Frames;

/// Two ends of a connection over loopback, as nodes have it.
fn pair() -> io::Result<[std::net::TcpStream; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    for stream in [&one, &other] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    Ok([one, other])
}

/// One thread that waits for its sockets by epoll, reads each once as far as it goes, and tells `act`
/// which one brought how many bytes. It ends when a connection does.
fn serve(
    streams: Vec<std::net::TcpStream>,
    mut act: impl FnMut(&mut [mio::net::TcpStream], usize, usize) + Send + 'static,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut streams: Vec<_> = streams.into_iter().map(mio::net::TcpStream::from_std).collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        poll.registry().register(stream, Token(at), Interest::READABLE)?;
    }
    thread::spawn(move || {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; READ_LEN];
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
            for event in &events {
                let at = event.token().0;
                loop {
                    match streams[at].read(&mut buffer) {
                        Ok(0) => return,
                        Ok(len) => {
                            act(&mut streams, at, len);
                            // Less than there was room for: nothing is left.
                            if len < buffer.len() {
                                break;
                            }
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(_) => return,
                    }
                }
            }
        }
    });
    Ok(())
}

/// Writes that many bytes, which a socket of these tests always takes at once.
fn send(mut stream: impl Write, len: usize) {
    // A peer that is gone ends its own thread.
    let _ = stream.write_all(&BYTES[..len]);
}

/// What a thread does when so many bytes have come over a connection; the last step is followed by the
/// first.
struct Step {
    bytes: usize,
    /// Over which connections, how much.
    answers: Vec<(usize, usize)>,
    tells: bool,
}

/// A step that tells nobody.
fn step(bytes: usize, answers: &[(usize, usize)]) -> Step {
    Step { bytes, answers: answers.to_vec(), tells: false }
}

/// A thread that follows a script on each of its connections, and may tell a caller.
fn follow(
    streams: Vec<std::net::TcpStream>,
    scripts: Vec<Vec<Step>>,
    caller: Option<Arc<Caller>>,
) -> io::Result<()> {
    let mut places = vec![(0, 0); scripts.len()];
    serve(streams, move |streams, at, len| {
        let (place, seen) = &mut places[at];
        *seen += len;
        while *seen >= scripts[at][*place].bytes {
            let step = &scripts[at][*place];
            *seen -= step.bytes;
            *place = (*place + 1) % scripts[at].len();
            if step.tells
                && let Some(caller) = &caller
            {
                caller.complete();
            }
            for &(to, len) in &step.answers {
                send(&mut streams[to], len);
            }
        }
    })
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A status.
    Status,
    /// A status and a grant in one segment, which is answered by a status when the caller was told: in
    /// the driver's order.
    Grant,
}

/// A caller's requests to another node, by way of a thread on either side: one after the other, again
/// and again.
pub(crate) struct Exchange {
    out: std::net::TcpStream,
    caller: Arc<Caller>,
    requests: Vec<usize>,
}

impl Exchange {
    /// Requests of so many bytes.
    pub(crate) fn of(requests: &[(usize, Answer)], frames: Frames) -> io::Result<Exchange> {
        let Frames { ast, status, .. } = frames;
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for &(request, answer) in requests {
            match answer {
                Answer::Status => {
                    there.push(step(request, &[(0, status)]));
                    here.push(Step { tells: true, ..step(status, &[]) });
                }
                Answer::Grant => {
                    let answer = status + ast;
                    there.extend([step(request, &[(0, answer)]), step(status, &[])]);
                    here.push(Step { tells: true, ..step(answer, &[(0, status)]) });
                }
            }
        }
        let [mine, other] = pair()?;
        let out = mine.try_clone()?;
        let caller = Caller::new();
        follow(vec![mine], vec![here], Some(Arc::clone(&caller)))?;
        follow(vec![other], vec![there], None)?;
        let requests = requests.iter().map(|&(request, _)| request).collect();
        Ok(Exchange { out, caller, requests })
    }

    /// Sends the request of that number, whose turn it must be.
    pub(crate) fn begin(&self, number: usize) {
        self.caller.expect(1);
        send(&self.out, self.requests[number]);
    }

    /// Waits for its outcome.
    pub(crate) fn wait(&self) {
        self.caller.wait();
    }

    /// Sends it and waits.
    pub(crate) fn run(&self, number: usize) {
        self.begin(number);
        self.wait();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        hang_up(&self.out);
    }
}

/// Frames that go round over threads, one for each node, each answered by a status as the wire
/// demands; statuses share a segment with the next frame where they go the same way.
pub(crate) struct Ring {
    out: std::net::TcpStream,
    caller: Arc<Caller>,
    laps: Arc<AtomicUsize>,
    first: usize,
}

impl Ring {
    /// Two nodes: a request there, a grant back.
    pub(crate) fn of_two(frames: Frames) -> io::Result<Ring> {
        let [mine, other] = pair()?;
        let Frames { convert, ast, status, .. } = frames;
        let script = vec![step(convert, &[(0, status + ast)]), step(status, &[])];
        follow(vec![other], vec![script], None)?;
        Ring::start(mine, frames)
    }

    /// Three nodes, four hops: a request to the master, its notice to the holder, that one's
    /// down-convert to the master, and its grant.
    pub(crate) fn of_three(frames: Frames) -> io::Result<Ring> {
        let ([mine, to_me], [to_holder, holder]) = (pair()?, pair()?);
        let Frames { convert, ast, status, .. } = frames;
        let master = vec![
            vec![step(convert, &[(0, status), (1, ast)]), step(status, &[])],
            vec![step(status + convert, &[(1, status), (0, ast)])],
        ];
        follow(vec![to_me, to_holder], master, None)?;
        let script = vec![step(ast, &[(0, status + convert)]), step(status, &[])];
        follow(vec![holder], vec![script], None)?;
        Ring::start(mine, frames)
    }

    fn start(mine: std::net::TcpStream, frames: Frames) -> io::Result<Ring> {
        let Frames { convert: first, ast, status, .. } = frames;
        let out = mine.try_clone()?;
        let (caller, laps) = (Caller::new(), Arc::new(AtomicUsize::new(0)));
        let ring = Ring { out, first, caller: Arc::clone(&caller), laps: Arc::clone(&laps) };
        let mut seen = 0;
        serve(vec![mine], move |streams, at, len| {
            seen += len;
            while seen >= status + ast {
                seen -= status + ast;
                if laps.fetch_sub(1, Ordering::AcqRel) > 1 {
                    send(&mut streams[at], status + first);
                } else {
                    send(&mut streams[at], status);
                    caller.complete();
                }
            }
        })?;
        Ok(ring)
    }

    /// Goes round that often.
    pub(crate) fn run(&self, laps: usize) {
        self.laps.store(laps, Ordering::Release);
        self.caller.expect(1);
        send(&self.out, self.first);
        self.caller.wait();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        hang_up(&self.out);
    }
}

/// Frames that are sent back, with a number of them on their way.
pub(crate) struct Echo {
    out: std::net::TcpStream,
    caller: Arc<Caller>,
    left: Arc<AtomicUsize>,
    frame: usize,
    window: usize,
}

impl Echo {
    /// As many frames as there are go with each system call.
    pub(crate) fn batched(frame: usize, window: usize) -> io::Result<Echo> {
        let [mine, other] = pair()?;
        serve(vec![other], |streams, at, len| send(&mut streams[at], len))?;
        Echo::start(mine, frame, window, |stream, len, _| send(stream, len))
    }

    /// Each frame has a system call of its own on either side, to read and to write it.
    pub(crate) fn one_by_one(frame: usize, window: usize) -> io::Result<Echo> {
        let [mine, mut other] = pair()?;
        other.set_nonblocking(false)?;
        let mut out = other.try_clone()?;
        thread::spawn(move || {
            let mut buffer = vec![0; frame];
            while other.read_exact(&mut buffer).is_ok() && out.write_all(&buffer).is_ok() {}
        });
        let echo = Echo::of(&mine, frame, window)?;
        let (left, caller) = (Arc::clone(&echo.left), Arc::clone(&echo.caller));
        let (mut reader, mut writer) = (mine.try_clone()?, mine);
        reader.set_nonblocking(false)?;
        thread::spawn(move || {
            let mut buffer = vec![0; frame];
            while reader.read_exact(&mut buffer).is_ok() {
                if takes(&left, 1) == 1 {
                    if writer.write_all(&buffer).is_err() {
                        return;
                    }
                } else {
                    caller.complete();
                }
            }
        });
        Ok(echo)
    }

    fn of(mine: &std::net::TcpStream, frame: usize, window: usize) -> io::Result<Echo> {
        assert!(frame * window <= BYTES.len(), "a window is one write");
        let left = Arc::new(AtomicUsize::new(0));
        Ok(Echo { out: mine.try_clone()?, caller: Caller::new(), left, frame, window })
    }

    fn start(
        mine: std::net::TcpStream,
        frame: usize,
        window: usize,
        answer: impl Fn(&mut mio::net::TcpStream, usize, usize) + Send + 'static,
    ) -> io::Result<Echo> {
        let echo = Echo::of(&mine, frame, window)?;
        let (left, caller) = (Arc::clone(&echo.left), Arc::clone(&echo.caller));
        let mut seen = 0;
        serve(vec![mine], move |streams, at, len| {
            seen += len;
            let frames = seen / frame;
            seen %= frame;
            let again = takes(&left, frames);
            if again > 0 {
                answer(&mut streams[at], again * frame, again);
            }
            for _ in again..frames {
                caller.complete();
            }
        })?;
        Ok(echo)
    }

    /// Sends that many frames, at least a window, and waits until all are back.
    pub(crate) fn run(&self, frames: usize) {
        let first = frames.min(self.window);
        self.left.store(frames - first, Ordering::Release);
        self.caller.expect(first);
        send(&self.out, first * self.frame);
        self.caller.wait();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        hang_up(&self.out);
    }
}

/// Takes up to `wanted` from a count that only one thread takes from.
fn takes(left: &AtomicUsize, wanted: usize) -> usize {
    let taken = left.load(Ordering::Acquire).min(wanted);
    left.fetch_sub(taken, Ordering::AcqRel);
    taken
}

fn hang_up(stream: &std::net::TcpStream) {
    // Nothing to do about a connection that is gone already.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// As much as the driver reads at once.
const READ_LEN: usize = 64 * 1024;

static BYTES: [u8; 16 * 1024] = [0; 16 * 1024];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_ends_with_its_answer_again_and_again() {
        let requests = [(104, Answer::Grant), (104, Answer::Grant), (100, Answer::Status)];
        let exchange = Exchange::of(&requests, Frames::new()).expect("sockets");
        for number in [0, 1, 2].repeat(10) {
            exchange.run(number);
        }
    }

    #[test]
    fn a_ring_goes_round_as_often_as_it_is_told() {
        let frames = Frames::new();
        for ring in [Ring::of_two(frames), Ring::of_three(frames)] {
            let ring = ring.expect("sockets");
            for laps in [1, 2, 50] {
                ring.run(laps);
                assert_eq!(ring.laps.load(Ordering::Relaxed), 0);
            }
        }
    }

    #[test]
    fn every_frame_comes_back_however_they_are_sent() {
        for echo in [Echo::batched(104, 64), Echo::one_by_one(104, 64)] {
            let echo = echo.expect("sockets");
            for frames in [1, 64, 65, 1_000] {
                echo.run(frames);
                assert_eq!(echo.left.load(Ordering::Relaxed), 0);
            }
        }
    }
}
