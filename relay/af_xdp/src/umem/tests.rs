//! A UMEM without sockets, with the kernel's part played by hand.

use super::*;

fn received(addr: u64, len: u32) -> XdpDesc {
    XdpDesc {
        addr,
        len,
        options: XdpDescOptions::empty(),
    }
}

#[test]
fn a_umem_needs_frames() {
    let error = Umem::new(ChunkSize::Octets4096, 0).unwrap_err();
    assert!(matches!(error, Error::FrameCount { frames: 0 }), "{error}");
}

#[test]
fn the_pool_hands_out_each_chunk_once() {
    let mut umem = Umem::new(ChunkSize::Octets2048, 3).unwrap();
    let mut frames: Vec<Frame> = std::iter::from_fn(|| umem.allocate()).collect();
    let chunks: Vec<u32> = frames.iter().map(|frame| umem.chunk_of(frame)).collect();
    assert_eq!(chunks, [0, 1, 2]);
    assert_eq!((umem.available(), umem.outstanding()), (0, 3));
    umem.free(frames.remove(1));
    let again = umem.allocate().unwrap();
    assert_eq!(umem.chunk_of(&again), 1);
    frames.push(again);
    for frame in frames {
        umem.free(frame);
    }
    assert_eq!(
        umem.ledger(),
        Ledger {
            free: 3,
            ..Ledger::default()
        }
    );
}

#[test]
fn a_frame_goes_through_the_kernel_and_back() {
    let mut umem = Umem::new(ChunkSize::Octets4096, 2).unwrap();
    let (a, b) = (umem.enrol_fake(), umem.enrol_fake());
    assert_eq!(umem.lend_to_fill(a), Some(0));
    assert_eq!(
        umem.ledger(),
        Ledger {
            free: 1,
            fill: 1,
            ..Ledger::default()
        }
    );

    let mut frame = umem.take_received(a, received(256, 60)).unwrap();
    assert_eq!((frame.headroom(), frame.len()), (256, 60));
    assert_eq!(
        umem.ledger(),
        Ledger {
            free: 1,
            worker: 1,
            ..Ledger::default()
        }
    );

    frame.reshape(-20, 80).unwrap();
    assert_eq!(umem.lend_to_transmit(b, frame), received(236, 80));
    assert_eq!(
        umem.ledger(),
        Ledger {
            free: 1,
            transmit: 1,
            ..Ledger::default()
        }
    );
    assert!(umem.take_completed(b, 236));
    assert_eq!(
        umem.ledger(),
        Ledger {
            free: 2,
            ..Ledger::default()
        }
    );
}

#[test]
fn frames_of_a_dropped_socket_come_back_with_the_next_one_at_its_queue() {
    let open = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    let mut umem = Umem::new(ChunkSize::Octets2048, 5).unwrap();
    let (stays, goes) = (open(), open());
    let stays_id = umem.enrol(&stays, (1, 0)).unwrap();
    let goes_id = umem.enrol(&goes, (2, 0)).unwrap();
    umem.lend_to_fill(stays_id).unwrap();
    umem.lend_to_fill(goes_id).unwrap();
    let sent = umem.allocate().unwrap();
    umem.lend_to_transmit(goes_id, sent);
    assert_eq!((umem.usable(), umem.available()), (5, 2));
    drop(goes);
    assert_eq!((umem.usable(), umem.available()), (3, 2));
    let elsewhere = open();
    umem.enrol(&elsewhere, (2, 1)).unwrap();
    assert_eq!((umem.usable(), umem.available()), (3, 2));
    let again = open();
    umem.enrol(&again, (2, 0)).unwrap();
    assert_eq!((umem.usable(), umem.available()), (5, 4));
}

#[test]
fn wrong_descriptors_change_nothing() {
    let mut umem = Umem::new(ChunkSize::Octets2048, 4).unwrap();
    let (a, b) = (umem.enrol_fake(), umem.enrol_fake());
    umem.lend_to_fill(a).unwrap();
    let mut sent = umem.allocate().unwrap();
    sent.set_len(60).unwrap();
    umem.lend_to_transmit(a, sent);
    let held = umem.allocate().unwrap();
    let before = umem.ledger();

    for address in [4 * 2048, u64::from(u32::MAX) * 2048, u64::MAX] {
        assert!(
            umem.take_received(a, received(address, 60)).is_none(),
            "outside"
        );
        assert!(!umem.take_completed(a, address), "outside");
    }
    for address in [2048 + 256, 2 * 2048 + 256, 3 * 2048 + 256] {
        assert!(
            umem.take_received(a, received(address, 60)).is_none(),
            "not lent to fill"
        );
    }
    for address in [256, 2 * 2048 + 256, 3 * 2048 + 256] {
        assert!(!umem.take_completed(a, address), "not lent to transmit");
    }
    assert!(
        umem.take_received(b, received(256, 60)).is_none(),
        "another socket's"
    );
    assert!(!umem.take_completed(b, 2048 + 256), "another socket's");
    assert_eq!(umem.ledger(), before);
    umem.free(held);
}

#[test]
fn data_that_leaves_its_chunk_gives_the_chunk_back() {
    for (start, length) in [(256, 1793), (2047, 2), (0, 2049), (1, u32::MAX)] {
        let mut umem = Umem::new(ChunkSize::Octets2048, 2).unwrap();
        let socket = umem.enrol_fake();
        umem.lend_to_fill(socket).unwrap();
        assert!(
            umem.take_received(socket, received(start, length))
                .is_none()
        );
        assert_eq!(
            umem.ledger(),
            Ledger {
                free: 2,
                ..Ledger::default()
            }
        );
    }
}

#[test]
#[should_panic(expected = "another UMEM")]
fn a_foreign_frame_is_refused() {
    let mut one = Umem::new(ChunkSize::Octets2048, 1).unwrap();
    let mut other = Umem::new(ChunkSize::Octets2048, 1).unwrap();
    let frame = one.allocate().unwrap();
    other.free(frame);
}

#[test]
fn memory_outlives_the_umem_while_a_frame_is_held() {
    let mut umem = Umem::new(ChunkSize::Octets2048, 1).unwrap();
    let mut frame = umem.allocate().unwrap();
    drop(umem);
    frame.set_len(1).unwrap();
    frame.octets_mut()[0] = 0xA5;
    assert_eq!(frame.octets(), [0xA5]);
    frame.into_parts();
}
