//! The tables against asking every mapping.

use super::*;
use crate::Place as FilePlace;
use crate::flat::{may_match_v4, may_match_v6};
use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use std::path::Path;

fn eam(ipv4: Ipv4Net, ipv6: Ipv6Net) -> Eam {
    let place = FilePlace::start_of(Path::new("eam.yaml").into());
    Eam::new(ipv4, ipv6, None, place).unwrap()
}

/// The mapping with the longest prefix by asking all of them; of equal ones the last.
fn scan<A>(
    eams: &[Eam],
    length: fn(&Eam) -> u8,
    map: impl Fn(&Eam) -> Option<A>,
) -> Option<(u32, A)> {
    (0..)
        .zip(eams)
        .filter_map(|(entry, eam)| map(eam).map(|address| (length(eam), (entry, address))))
        .max_by_key(|(length, _)| *length)
        .map(|(_, mapped)| mapped)
}

fn scan_v4(eams: &[Eam], address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
    let length = |eam: &Eam| eam.ipv4().prefix_len();
    let (entry, mapped) = scan(eams, length, |eam| eam.v4_to_v6(address))?;
    Some(Mapped::from_v4(address, mapped, entry))
}

fn scan_v6(eams: &[Eam], address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
    let length = |eam: &Eam| eam.ipv6().prefix_len();
    let (entry, mapped) = scan(eams, length, |eam| eam.v6_to_v4(address))?;
    Some(Mapped::from_v6(address, mapped, entry))
}

/// Spreads few random bits over the whole address, so that prefixes of any length nest and touch.
fn spread4(seed: u8) -> u32 {
    (0..32).fold(0, |bits, i| bits | (u32::from(seed >> (i / 4) & 1) << i))
}

fn spread6(seed: u8) -> u128 {
    (0..128).fold(0, |bits, i| bits | (u128::from(seed >> (i / 16) & 1) << i))
}

/// An empty slot is all zeros, no slot is farther from its home than a look-up goes, and all the search passes is there.
fn assert_laid_out<S: PartialEq + Default>(image: &Image<S>, entries: usize) {
    assert!(
        image
            .slots
            .iter()
            .filter(|slot| **slot != S::default())
            .count()
            >= entries
    );
    assert_eq!(image.slots.len(), (image.shape.slots + PROBES - 1) as usize);
    assert_eq!(
        image.filter.len() as u64 * 64,
        1 << (64 - image.shape.filter_shift)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn both_directions_agree_with_a_linear_scan(
        rows in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()), 1..150),
        lengths4 in proptest::collection::vec(0u8..=32, 1..=33),
        lengths6 in proptest::collection::vec(0u8..=128, 1..=33),
        others4 in proptest::collection::vec(any::<u32>(), 20),
        others6 in proptest::collection::vec(any::<u128>(), 20),
    ) {
        let eams: Vec<Eam> = rows.iter().map(|(seed4, length4, seed6, length6)| {
            let length4 = lengths4[usize::from(*length4) % lengths4.len()];
            let length6 = lengths6[usize::from(*length6) % lengths6.len()].min(96 + length4);
            eam(
                Ipv4Net::new(spread4(*seed4).into(), length4).unwrap(),
                Ipv6Net::new(spread6(*seed6).into(), length6).unwrap(),
            )
        }).collect();
        let (v4, v6) = (Image::<Slot4>::new(&eams, &|_| ()), Image::<Slot6>::new(&eams, &|_| ()));
        let near4 = eams.iter().flat_map(|eam| {
            let (low, high) = (eam.ipv4().network().to_bits(), eam.ipv4().broadcast().to_bits());
            [low, high, low.wrapping_sub(1), high.wrapping_add(1)]
        });
        for address in near4.chain(others4).map(Ipv4Addr::from) {
            prop_assert_eq!(v4.find(address), scan_v4(&eams, address), "{}", address);
            // The filter hides nothing.
            prop_assert!(!v4.first_slots(address).is_empty() || v4.find(address).is_none());
        }
        let near6 = eams.iter().flat_map(|eam| {
            let (low, high) = (eam.ipv6().network().to_bits(), eam.ipv6().broadcast().to_bits());
            [low, high, low.wrapping_sub(1), high.wrapping_add(1)]
        });
        for address in near6.chain(others6).map(Ipv6Addr::from) {
            prop_assert_eq!(v6.find(address), scan_v6(&eams, address), "{}", address);
        }
    }
}

#[test]
fn all_lengths_nested_in_each_other() {
    let eams: Vec<Eam> = (0..=128)
        .map(|n: u8| {
            eam(
                Ipv4Net::new(Ipv4Addr::BROADCAST, n.saturating_sub(96)).unwrap(),
                Ipv6Net::new(Ipv6Addr::from_bits(u128::MAX), n).unwrap(),
            )
        })
        .collect();
    let v6 = Image::<Slot6>::new(&eams, &|_| ());
    assert_eq!(v6.shape.root, 65);
    for n in 0..=128 {
        // The first n bits are ones, the next is a zero.
        let address = Ipv6Addr::from_bits(truncate(u128::MAX, n));
        assert_eq!(v6.find(address).map(|mapped| mapped.entry), Some(n.into()));
    }
    let v4 = Image::<Slot4>::new(&eams, &|_| ());
    assert_eq!(v4.shape.root, 17);
    for n in 0..=32 {
        let address = Ipv4Addr::from_bits((truncate(u128::MAX, n) >> 96) as u32);
        assert_eq!(
            v4.find(address).map(|mapped| mapped.entry),
            Some(96 + u32::from(n))
        );
    }
}

#[test]
fn the_search_is_as_short_as_promised() {
    for (lengths, most) in [(1, 1), (3, 2), (7, 3), (33, 6), (129, 8)] {
        let sorted = Sorted {
            rows: Vec::new(),
            lengths: (0..lengths).collect(),
        };
        let probes = (0..usize::from(lengths))
            .map(|target| marker_levels(sorted.lengths.len(), target).count() + 1);
        assert!(probes.max() <= Some(most), "{lengths}");
    }
    assert_eq!((Key4::TURNS, Key6::TURNS), (6, 8));
}

#[test]
fn an_empty_table_finds_nothing_and_takes_nothing() {
    let (v4, v6) = (
        Image::<Slot4>::new(&[], &|_| ()),
        Image::<Slot6>::new(&[], &|_| ()),
    );
    assert_eq!(v4.find(Ipv4Addr::UNSPECIFIED), None);
    assert_eq!(v6.find(Ipv6Addr::UNSPECIFIED), None);
    assert_eq!((v4.slots().len(), v6.filter().len()), (0, 0));
    assert_eq!(*v4.shape(), Shape::EMPTY);
}

#[test]
fn the_layout_holds_for_orderly_and_random_addresses() {
    check_layout(50_000);
}

#[test]
#[ignore = "takes half a minute without optimisation"]
fn the_layout_holds_for_a_million_addresses() {
    check_layout(1_000_000);
}

/// Addresses in a row, in steps, and at random: the kinds that a weak hash piles up.
fn check_layout(count: u32) {
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        random >> 32
    };
    let v4 = |bits: u32| Ipv4Net::from(Ipv4Addr::from_bits(bits));
    let v6 = |bits: u128| Ipv6Net::from(Ipv6Addr::from_bits(bits));
    // Every number once, in no order.
    let scatter = |i: u32| {
        let i = (i ^ i >> 16).wrapping_mul(0x85eb_ca6b);
        (i ^ i >> 13).wrapping_mul(0xc2b2_ae35)
    };
    let kinds: [Vec<Eam>; 4] = [
        (0..count)
            .map(|i| eam(v4(0x0a00_0000 + i), v6(0x2001_0db8 << 96 | u128::from(i))))
            .collect(),
        (0..count)
            .map(|i| eam(v4(i << 12), v6(0x2001_0db8 << 96 | u128::from(i) << 64)))
            .collect(),
        (0..count)
            .map(|i| {
                eam(
                    v4(i.reverse_bits()),
                    v6(u128::from(i) << 96 | u128::from(i)),
                )
            })
            .collect(),
        (0..count)
            .map(|i| {
                eam(
                    v4(scatter(i)),
                    v6(u128::from(next()) << 96 | u128::from(next()) << 32),
                )
            })
            .collect(),
    ];
    for eams in kinds {
        let (image4, image6) = (
            Image::<Slot4>::new(&eams, &|_| ()),
            Image::<Slot6>::new(&eams, &|_| ()),
        );
        assert_laid_out(&image4, count as usize * 99 / 100);
        assert_laid_out(&image6, count as usize * 99 / 100);
        // As good as chance: nothing had to grow.
        assert!(image4.shape.slots <= 2 * count && image6.shape.slots <= 2 * count);
        for mapping in eams.iter().step_by(97) {
            let (ipv4, ipv6) = (mapping.ipv4().addr(), mapping.ipv6().addr());
            assert_eq!(image4.find(ipv4).map(|mapped| mapped.address), Some(ipv6));
            assert_eq!(image6.find(ipv6).map(|mapped| mapped.address), Some(ipv4));
        }
        assert_eq!(image4, Image::<Slot4>::new(&eams, &|_| ()));
    }
}

/// A table that is too full for its hash grows until everything is within reach.
#[test]
fn a_crowded_layout_is_refused() {
    let candidates: Vec<Candidate> = (0..1000_u32)
        .map(|bits| Candidate {
            prefix: u128::from(bits) << 96,
            length: 32,
            best: None,
        })
        .collect();
    let shape = |slots| Shape {
        slots,
        ..Shape::EMPTY
    };
    assert_eq!(lay_out::<Slot4>(&candidates, &shape(900), &|_| ()), None);
    assert!(lay_out::<Slot4>(&candidates, &shape(4000), &|_| ()).is_some());
}

/// The filter keeps clients out of the slots.
#[test]
fn most_addresses_without_a_mapping_stop_at_the_filter() {
    let eams: Vec<Eam> = (0..1000_u32)
        .map(|i| {
            eam(
                Ipv4Addr::from_bits(0xc612_0000 + i * 256).into(),
                Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(i) << 64).into(),
            )
        })
        .collect();
    let (v4, v6) = (
        Image::<Slot4>::new(&eams, &|_| ()),
        Image::<Slot6>::new(&eams, &|_| ()),
    );
    let clients = (0..10_000_u32).map(|i| i.wrapping_mul(0x0101_6b55) | 0x0100_0000);
    let passed4 = clients
        .clone()
        .filter(|bits| may_match_v4(v4.shape(), v4.filter(), (*bits).into()))
        .count();
    let passed6 = clients
        .map(|bits| 0x2001_0db8_0046 << 80 | u128::from(bits) << 50)
        .filter(|bits| may_match_v6(v6.shape(), v6.filter(), Ipv6Addr::from_bits(*bits)))
        .count();
    assert!(passed4 < 1000 && passed6 < 1000, "{passed4} {passed6}");
}
