//! A stream of numbered UDP packets in each direction: what is lost, doubled, out of order or from elsewhere is seen.

use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded};
use crate::ping::answers_within;
use relay::lab::Namespace;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where packets go.
pub(crate) const PORT: u16 = 7;
/// Between two packets in one direction.
pub(crate) const INTERVAL: Duration = Duration::from_micros(500);
/// For what is under way to arrive.
pub(crate) const QUIET: Duration = Duration::from_millis(500);

/// Opens a socket that holds a second's packets.
pub(crate) fn open(namespace: &Namespace, address: impl Into<IpAddr>, port: u16) -> UdpSocket {
    let address = SocketAddr::new(address.into(), port);
    let socket = namespace.run_in(|| UdpSocket::bind(address)).unwrap();
    let socket = socket.unwrap();
    set_socket_recv_buffer_size_force(&socket, 8 << 20).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    socket
}

fn number(octets: &[u8]) -> Option<u64> {
    octets.try_into().ok().map(u64::from_be_bytes)
}

/// Receives until it is over and nothing comes any more; returns the numbers, and how many packets came from elsewhere.
pub(crate) fn collect(socket: &UdpSocket, from: IpAddr, is_over: &AtomicBool) -> (Vec<u64>, usize) {
    let (mut numbers, mut strange) = (Vec::new(), 0);
    let mut buffer = [0; 64];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, sender)) => match number(&buffer[..length]) {
                Some(number) if sender.ip() == from => numbers.push(number),
                Some(_) | None => strange += 1,
            },
            Err(_) if is_over.load(Ordering::Relaxed) => return (numbers, strange),
            Err(_) => {}
        }
    }
}

/// Sends numbers at even intervals until it is over, and returns how many.
pub(crate) fn send(socket: &UdpSocket, to: IpAddr, sent: &AtomicU64, is_over: &AtomicBool) {
    let begin = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let next = sent.load(Ordering::Relaxed);
        let due = INTERVAL * u32::try_from(next).unwrap();
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        socket.send_to(&next.to_be_bytes(), (to, PORT)).unwrap();
        sent.store(next + 1, Ordering::Relaxed);
    }
}

/// Has numbered packets go both ways, each on its own, while something is done to the relay. All have to arrive.
pub(crate) fn loses_nothing<R>(lab: &Lab, work: impl FnOnce() -> R) -> R {
    assert!(answers_within(&lab.client, SERVICE.into(), QUIET));
    let (client, server) = (
        open(&lab.client, CLIENT, PORT),
        open(&lab.server, SERVER, PORT),
    );
    let client_within = IpAddr::V6(embedded(CLIENT));
    let is_over = AtomicBool::new(false);
    let is_settled = AtomicBool::new(false);
    let sent = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        let senders = [
            scope.spawn(|| send(&client, SERVICE.into(), &sent[0], &is_over)),
            scope.spawn(|| send(&server, client_within, &sent[1], &is_over)),
        ];
        let receivers = [
            scope.spawn(|| collect(&server, client_within, &is_settled)),
            scope.spawn(|| collect(&client, SERVICE.into(), &is_settled)),
        ];
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
        std::thread::sleep(QUIET);
        is_settled.store(true, Ordering::Relaxed);
        let received = receivers.map(|receiver| receiver.join().unwrap());
        let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for (sent, (numbers, strange)) in sent.iter().zip(received) {
            let sent = sent.load(Ordering::Relaxed);
            assert!(sent > 100, "{sent}");
            assert_eq!(strange, 0);
            assert_all(&numbers, sent);
        }
        outcome
    })
}

/// Checks that all numbers have come, in order and once.
pub(crate) fn assert_all(numbers: &[u64], sent: u64) {
    let gaps: Vec<&[u64]> = numbers
        .windows(2)
        .filter(|pair| pair[0] + 1 != pair[1])
        .collect();
    let ends = (numbers.first().copied(), numbers.last().copied());
    assert!(
        gaps.is_empty() && ends == (Some(0), sent.checked_sub(1)),
        "{sent} sent; {ends:?} came with gaps at {gaps:?}"
    );
}
