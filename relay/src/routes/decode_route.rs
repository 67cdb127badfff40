//! What a route or rule message says, taken by itself.

use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::decode::find;
use super::state::{NextHop, Route, RouteKind, Target};

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some(IpAddr::V4(*address))
    } else if let RouteAddress::Inet6(address) = address {
        Some(IpAddr::V6(*address))
    } else {
        None
    }
}

/// What the attributes of a route, or of one hop of several, say about the way out.
#[derive(Default)]
pub(super) struct WayOut {
    pub(super) link: Option<u32>,
    pub(super) gateway: Option<IpAddr>,
    encapsulated: bool,
}

impl WayOut {
    pub(super) fn decode(attributes: &[RouteAttribute]) -> Self {
        let mut way = Self::default();
        for attribute in attributes {
            if let RouteAttribute::Oif(link) = attribute {
                way.link = Some(*link);
            } else if let RouteAttribute::Gateway(address) = attribute {
                way.gateway = ip(address);
                way.encapsulated |= way.gateway.is_none();
            } else if let RouteAttribute::Via(RouteVia::Inet(address)) = attribute {
                way.gateway = Some(IpAddr::V4(*address));
            } else if let RouteAttribute::Via(RouteVia::Inet6(address)) = attribute {
                way.gateway = Some(IpAddr::V6(*address));
            } else if let RouteAttribute::Via(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::EncapType(_)
            | RouteAttribute::NewDestination(_) = attribute
            {
                way.encapsulated = true;
            }
        }
        way
    }
}

pub(super) fn decode_route(message: &RouteMessage) -> Route {
    use RouteKind::{Forward, Local, Special};
    let header = &message.header;
    let mut kind = if header.kind == RouteType::Unicast {
        Forward
    } else if matches!(header.kind, RouteType::Local | RouteType::Anycast) {
        // An anycast address is one of the machine's own.
        Local
    } else {
        Special
    };
    let way = WayOut::decode(&message.attributes);
    let mut encapsulated = way.encapsulated;
    let mut hops = Vec::new();
    if let Some(link) = way.link {
        let dead = header
            .flags
            .intersects(RouteFlags::Dead | RouteFlags::Linkdown);
        hops.push(NextHop {
            link,
            gateway: way.gateway,
            weight: 1,
            dead,
        });
    }
    let (mut metric, mut mtu) = (0, None);
    for attribute in &message.attributes {
        if let RouteAttribute::MultiPath(parts) = attribute {
            hops.extend(parts.iter().map(|part| decode_hop(part, &mut encapsulated)));
        } else if let RouteAttribute::Priority(priority) = attribute {
            metric = *priority;
        } else if let RouteAttribute::Metrics(metrics) = attribute {
            mtu = find(metrics, |part| {
                if let RouteMetric::Mtu(mtu) = part {
                    Some(*mtu)
                } else {
                    None
                }
            });
        }
    }
    // Without hops of its own the route refers to a nexthop object which the kernel does not spell out.
    if kind == Forward && (encapsulated || hops.is_empty()) {
        kind = Special;
    }
    let selective = header.source_prefix_length != 0 || header.tos != 0;
    Route {
        metric,
        selective,
        target: Target { kind, hops, mtu },
    }
}

fn decode_hop(part: &RouteNextHop, encapsulated: &mut bool) -> NextHop {
    let way = WayOut::decode(&part.attributes);
    *encapsulated |= way.encapsulated;
    NextHop {
        link: part.interface_index,
        gateway: way.gateway,
        weight: u32::from(part.hops) + 1,
        dead: part
            .flags
            .intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown),
    }
}

/// Whether the rules are just those that a kernel starts with, given as priorities and tables.
pub(super) fn are_default(rules: &[RuleMessage], expected: &[(u32, u32)]) -> bool {
    let mut plain = Vec::new();
    for rule in rules {
        let Some(rule) = decode_plain_rule(rule) else {
            return false;
        };
        plain.push(rule);
    }
    plain.sort_unstable();
    plain == expected
}

/// The priority and table of a rule for all packets; `None` for any other rule.
fn decode_plain_rule(rule: &RuleMessage) -> Option<(u32, u32)> {
    let header = &rule.header;
    let selects = header.dst_len != 0 || header.src_len != 0 || header.tos != 0;
    if selects || header.action != RuleAction::ToTable || header.flags.contains(RuleFlags::Invert) {
        return None;
    }
    let (mut priority, mut table) = (0, u32::from(header.table));
    for attribute in &rule.attributes {
        if let RuleAttribute::Priority(number) = attribute {
            priority = *number;
        } else if let RuleAttribute::Table(number) = attribute {
            table = *number;
        } else if let RuleAttribute::Protocol(_)
        | RuleAttribute::SuppressPrefixLen(u32::MAX)
        | RuleAttribute::SuppressIfGroup(u32::MAX) = attribute
        {
        } else {
            return None;
        }
    }
    Some((priority, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_rules_are_default() {
        let rule = |priority, table| {
            let mut rule = RuleMessage::default();
            rule.header.action = RuleAction::ToTable;
            rule.header.table = table;
            rule.attributes = vec![
                RuleAttribute::Table(table.into()),
                RuleAttribute::Priority(priority),
                RuleAttribute::SuppressPrefixLen(u32::MAX),
            ];
            rule
        };
        let expected = [(0, 255), (32766, 254)];
        let own = [rule(32766, 254), rule(0, 255)];
        assert!(are_default(&own, &expected));
        assert!(!are_default(&own[..1], &expected));
        let mut marked = own.clone();
        marked[0].attributes.push(RuleAttribute::FwMark(1));
        assert!(!are_default(&marked, &expected));
        let mut from = own.clone();
        from[0].header.src_len = 24;
        assert!(!are_default(&from, &expected));
        assert!(!are_default(
            &[rule(0, 255), rule(32766, 254), rule(100, 7)],
            &expected
        ));
    }
}
