//! The XDP object, as `build.rs` provides it from `ebpf/`. Loading it is not done here.

/// The ELF object with the program and the maps that `eam_tables::layout` names, aligned as a loader needs it.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/siit_relay.bpf.o"));
