//! Whose next hops count: translation between networks in which every way has an MTU of its own.

use super::*;
use crate::address::Prefix;
use crate::network::{AddressMap, Mapped};
use crate::policy::Policy;
use core::net::{Ipv4Addr, Ipv6Addr};

const SERVICE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVICE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 1);
const HOST_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xcb00, 0x7132);

/// A network with one service, one host, and links of the least MTU to everywhere else.
struct Surroundings {
    mtu_to_host: u32,
    mtu_to_service: u32,
}

impl AddressMap for Surroundings {
    fn map_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        (address == SERVICE_V4).then(|| Mapped::from_v4(address, SERVICE_V6, 0))
    }

    fn map_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        (address == SERVICE_V6).then(|| Mapped::from_v6(address, SERVICE_V4, 0))
    }
}

impl Network for Surroundings {
    fn is_own_v4(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn is_own_v6(&self, _: Ipv6Addr) -> bool {
        false
    }

    fn is_ipv4_translatable(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn is_in_service_pool(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn is_denied(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn mtu_v4(&self, destination: Ipv4Addr) -> u32 {
        if destination == HOST_V4 {
            self.mtu_to_host
        } else {
            68
        }
    }

    fn mtu_v6(&self, destination: Ipv6Addr) -> u32 {
        if destination == SERVICE_V6 {
            self.mtu_to_service
        } else {
            ipv6::MINIMUM_MTU
        }
    }

    fn error_source_v4(&self, _: Ipv6Addr, _: Ipv4Addr, _: u8) -> Option<Ipv4Addr> {
        None
    }

    fn error_source_v6(&self, _: Ipv4Addr, _: Ipv6Addr, _: u8) -> Option<Ipv6Addr> {
        None
    }
}

fn header_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> ipv4::Header {
    ipv4::Header {
        tos: 0,
        total_length: length,
        identification: 0,
        df: true,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        source,
        destination,
    }
}

fn header_v6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    length: u16,
) -> ipv6::Header {
    ipv6::Header {
        traffic_class: 0,
        payload_length: length,
        next_header,
        hop_limit: 64,
        source,
        destination,
    }
}

/// Next hops are those of the packet in error: the way that it came and the way that it went.
#[test]
fn mtus_are_those_of_the_ways_to_host_and_service() {
    let policy =
        Policy::new(Prefix::new(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 96).unwrap());
    for (mtu_to_host, mtu_to_service, in_v4, in_v6) in [
        (1500, 1350, 1330, 1350),
        (1400, 1500, 1400, 1420),
        (9000, 9000, 1480, 1500),
    ] {
        let network = Surroundings {
            mtu_to_host,
            mtu_to_service,
        };
        let translator = Translator::new(&policy, &network);
        let (mut packet, mut output) = ([0xa5; MAX_ERROR_LENGTH], [0xa5; MAX_ERROR_LENGTH]);

        let quoted = header_v6(HOST_V6, SERVICE_V6, 59, 1460).emit();
        let sum = Addresses::V6(SERVICE_V6, HOST_V6).icmp_pseudo_header(48);
        let header = NetworkHeader::V6(header_v6(SERVICE_V6, HOST_V6, icmp::PROTOCOL_V6, 48));
        let [.., m0, m1] = 1500u32.to_be_bytes();
        emit_parts(
            header,
            [2, 0, 0, 0, 0, 0, m0, m1],
            &quoted,
            sum,
            &mut packet,
        )
        .unwrap();
        translator.error_v6_to_v4(&packet, &mut output).unwrap();
        assert_eq!(output[20..22], [3, 4]);
        assert_eq!(u16::from_be_bytes([output[26], output[27]]), in_v4);

        let quoted = header_v4(SERVICE_V4, HOST_V4, 59, 1500).emit();
        let router = Ipv4Addr::new(198, 51, 100, 1);
        let header = NetworkHeader::V4(header_v4(router, SERVICE_V4, icmp::PROTOCOL_V4, 48));
        let [m0, m1] = 1480u16.to_be_bytes();
        emit_parts(
            header,
            [3, 4, 0, 0, 0, 0, m0, m1],
            &quoted,
            Sum::ZERO,
            &mut packet,
        )
        .unwrap();
        translator.error_v4_to_v6(&packet, &mut output).unwrap();
        assert_eq!(output[40..42], [2, 0]);
        assert_eq!(u16::from_be_bytes([output[46], output[47]]), in_v6);
    }
}
