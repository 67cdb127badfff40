//! Packets and frames that no kernel would make: raw sockets for packets, an AF_XDP socket for frames.

use af_xdp::{ChunkSize, RingSizes, Socket, SocketConfig, Umem, ZeroCopy};
use relay::lab::Namespace;
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
    socket_with,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Returns the Internet checksum (RFC 1071).
pub(crate) fn checksum(octets: &[u8]) -> u16 {
    let words = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Returns an IPv4 packet; the length of `options` is a multiple of four.
pub(crate) fn ipv4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header_length = 20 + options.len();
    let total = (header_length + payload.len()) as u16;
    let mut packet = vec![0x40 | (header_length / 4) as u8, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Returns an IPv6 packet.
pub(crate) fn ipv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// Returns a UDP datagram with a right checksum.
pub(crate) fn udp(
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = Vec::new();
    datagram.extend(ports.0.to_be_bytes());
    datagram.extend(ports.1.to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let mut summed = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => summed.extend(address.octets()),
            IpAddr::V6(address) => summed.extend(address.octets()),
        }
    }
    summed.extend([0, 17]);
    summed.extend(length.to_be_bytes());
    summed.extend(&datagram);
    let checksum = checksum(&summed);
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    datagram
}

/// Sends a whole packet through the kernel of a host.
pub(crate) fn send_packet(from: &Namespace, to: IpAddr, packet: &[u8]) {
    let socket = raw_socket(from, to, ipproto::RAW);
    sendto(&socket, packet, SendFlags::empty(), &SocketAddr::new(to, 0)).unwrap();
}

/// Opens a socket that receives what comes for a protocol, in the family of `like`, for a second at most.
pub(crate) fn raw_socket(namespace: &Namespace, like: IpAddr, protocol: Protocol) -> OwnedFd {
    let family = match like {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let open = || {
        socket_with(
            family,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(protocol),
        )
        .unwrap()
    };
    let socket = namespace.run_in(open).unwrap();
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(1))).unwrap();
    socket
}

/// Receives from a raw socket.
pub(crate) fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let (length, _) =
        recv(socket, &mut buffer, RecvFlags::empty()).expect("a packet within a second");
    buffer[..length].to_vec()
}

/// Sends frames as they are out of an interface.
pub(crate) struct Injector {
    umem: Umem,
    socket: Socket,
}

impl Injector {
    pub(crate) fn open(namespace: &Namespace, interface: &str) -> Self {
        let mut umem = Umem::new(ChunkSize::Octets2048, 4096).unwrap();
        let config = SocketConfig {
            interface_index: namespace.interface_index(interface).unwrap(),
            interface: interface.to_owned(),
            queue: 0,
            ring_sizes: RingSizes::default(),
            zero_copy: ZeroCopy::Off,
            long_packets: false,
        };
        let socket = namespace
            .run_in(|| Socket::bind(&mut umem, &config))
            .unwrap()
            .unwrap();
        Self { umem, socket }
    }

    /// Sends frames of 14 octets or more.
    pub(crate) fn send<O: AsRef<[u8]>>(&mut self, frames: impl IntoIterator<Item = O>) {
        let mut batch = Vec::new();
        for octets in frames {
            let mut frame = self
                .umem
                .allocate()
                .expect("frames come back with every batch");
            frame.set_len(octets.as_ref().len()).unwrap();
            frame.octets_mut().copy_from_slice(octets.as_ref());
            batch.push(frame);
            if batch.len() == 64 {
                self.flush(&mut batch);
            }
        }
        self.flush(&mut batch);
    }

    fn flush(&mut self, batch: &mut Vec<af_xdp::Frame>) {
        self.socket.transmit(&mut self.umem, batch);
        assert!(batch.is_empty(), "the ring holds more than a batch");
        while self.socket.tx_waiting() > 0 {
            let _ = self.socket.kick_tx().unwrap();
            self.socket.reclaim(&mut self.umem, u32::MAX);
        }
        self.socket.reclaim(&mut self.umem, u32::MAX);
    }
}

/// Puts a link header in front of a packet.
pub(crate) fn frame(destination: [u8; 6], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let source = [2, 0, 0, 0, 0, 0x77];
    [&destination[..], &source, &ethertype.to_be_bytes(), packet].concat()
}
