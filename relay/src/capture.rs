//! Capture files: pcap and pcapng to read, pcap to write.
//!
//! Packets are taken as they stand in the file, whatever its snap length says. Of pcapng, whatever is
//! no packet and no interface is passed over.

use crate::offline::Link;
use pcap_file::pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek};
use std::path::{Path, PathBuf};

/// The longest packet that an output file announces, in octets; a tun or loopback packet fits.
const SNAP_LENGTH: u32 = 262_144;

/// The first octets of a pcapng file: the type of its Section Header Block.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why a capture file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened, read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is no capture file.
    #[error("{}: no pcap or pcapng file: {}", path.display(), words(error))]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PcapError,
    },
    /// The file is damaged.
    #[error("{}: packet {packet}: {}", path.display(), words(error))]
    Format {
        /// The file.
        path: PathBuf,
        /// The number of the packet at which reading ended, from 1.
        packet: u64,
        /// What is wrong.
        error: PcapError,
    },
    /// The packets are of a link type that the relay cannot handle.
    #[error("{}: link type {link_type} is not supported; Ethernet (1) and raw IP (101) are", path.display())]
    LinkType {
        /// The file.
        path: PathBuf,
        /// The link type's number.
        link_type: u32,
    },
    /// The interfaces of a pcapng file have different link types, which no pcap file can hold.
    #[error("{}: packet {packet} is from an interface of another link type; split the file", path.display())]
    MixedLinkTypes {
        /// The file.
        path: PathBuf,
        /// The number of the packet, from 1.
        packet: u64,
    },
}

/// Says what is wrong; the library's own words leave out what the system says.
fn words(error: &PcapError) -> String {
    match error {
        PcapError::IncompleteBuffer => "the file ends too early".to_owned(),
        PcapError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the file ends too early".to_owned()
        }
        PcapError::IoError(error) => error.to_string(),
        PcapError::InvalidField(what) => (*what).to_owned(),
        PcapError::Utf8Error(_) | PcapError::FromUtf8Error(_) => "a text is not UTF-8".to_owned(),
        PcapError::InvalidInterfaceId(number) => format!("there is no interface {number}"),
    }
}

/// One packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
    /// The octets that were captured.
    pub octets: Vec<u8>,
}

/// Reads packet by packet.
pub struct Reader {
    path: PathBuf,
    format: Format,
    /// Known from the start in pcap, and from the first packet on in pcapng.
    link: Option<DataLink>,
    packets: u64,
}

enum Format {
    Pcap(PcapReader<BufReader<File>>),
    PcapNg(PcapNgReader<BufReader<File>>),
}

impl Reader {
    /// Opens a capture file.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] if it cannot be read or is neither pcap nor pcapng.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let io_error = |error| CaptureError::Io {
            path: path.to_owned(),
            error,
        };
        let format_error = |error| CaptureError::NotACapture {
            path: path.to_owned(),
            error,
        };
        let mut file = BufReader::new(File::open(path).map_err(io_error)?);
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                format_error(PcapError::IncompleteBuffer)
            } else {
                io_error(error)
            }
        })?;
        file.rewind().map_err(io_error)?;
        let (format, link) = if magic == PCAPNG_MAGIC {
            (
                Format::PcapNg(PcapNgReader::new(file).map_err(format_error)?),
                None,
            )
        } else {
            let reader = PcapReader::new(file).map_err(format_error)?;
            let link = reader.header().datalink;
            (Format::Pcap(reader), Some(link))
        };
        Ok(Self {
            path: path.to_owned(),
            format,
            link,
            packets: 0,
        })
    }

    /// Returns the next packet, and how it begins.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] if the file is damaged or its link type is not supported.
    pub fn read(&mut self) -> Result<Option<(Link, Packet)>, CaptureError> {
        self.packets += 1;
        let next = match &mut self.format {
            Format::Pcap(reader) => {
                let unit = match reader.header().ts_resolution {
                    TsResolution::MicroSecond => 1000,
                    TsResolution::NanoSecond => 1,
                };
                match reader.next_raw_packet() {
                    None => Ok(None),
                    Some(Err(error)) => Err(error),
                    Some(Ok(raw)) => Ok(Some(Packet {
                        seconds: raw.ts_sec,
                        nanoseconds: raw.ts_frac.saturating_mul(unit),
                        octets: raw.data.into_owned(),
                    })),
                }
            }
            Format::PcapNg(reader) => match next_of_pcapng(reader) {
                None => Ok(None),
                Some(Err(error)) => Err(error),
                Some(Ok((link, packet))) => {
                    if *self.link.get_or_insert(link) != link {
                        let path = self.path.clone();
                        return Err(CaptureError::MixedLinkTypes {
                            path,
                            packet: self.packets,
                        });
                    }
                    Ok(Some(packet))
                }
            },
        };
        let packet = next.map_err(|error| CaptureError::Format {
            path: self.path.clone(),
            packet: self.packets,
            error,
        })?;
        packet.map(|packet| Ok((self.link()?, packet))).transpose()
    }

    /// Returns how packets begin.
    ///
    /// # Errors
    ///
    /// [`CaptureError::LinkType`] if the relay cannot handle it.
    pub fn link(&self) -> Result<Link, CaptureError> {
        match self.link {
            // A pcapng file without packets has no link type; any will do.
            None | Some(DataLink::ETHERNET) => Ok(Link::Ethernet),
            Some(DataLink::RAW | DataLink::IPV4 | DataLink::IPV6) => Ok(Link::Raw),
            Some(other) => {
                let link_type = u32::from(other);
                Err(CaptureError::LinkType {
                    path: self.path.clone(),
                    link_type,
                })
            }
        }
    }
}

/// Returns the next packet of a pcapng file with its link type.
fn next_of_pcapng<R: Read>(
    reader: &mut PcapNgReader<R>,
) -> Option<Result<(DataLink, Packet), PcapError>> {
    loop {
        let (interface, units, octets) = match reader.next_block()? {
            Err(error) => return Some(Err(error)),
            // The library hands the number of the file's units over as if they were nanoseconds.
            Ok(Block::EnhancedPacket(block)) => (
                block.interface_id,
                block.timestamp.as_nanos(),
                block.data.into_owned(),
            ),
            Ok(Block::SimplePacket(block)) => (0, 0, block.data.into_owned()),
            Ok(Block::Packet(block)) => (
                u32::from(block.interface_id),
                u128::from(block.timestamp),
                block.data.into_owned(),
            ),
            Ok(
                Block::SectionHeader(_)
                | Block::InterfaceDescription(_)
                | Block::NameResolution(_)
                | Block::InterfaceStatistics(_)
                | Block::SystemdJournalExport(_)
                | Block::Unknown(_),
            ) => continue,
        };
        let Some(interface) = reader.interfaces().get(interface as usize) else {
            return Some(Err(PcapError::InvalidInterfaceId(interface)));
        };
        let (seconds, nanoseconds) = time(units, interface);
        return Some(Ok((
            interface.linktype,
            Packet {
                seconds,
                nanoseconds,
                octets,
            },
        )));
    }
}

/// Turns an interface's units of time into seconds and nanoseconds.
fn time(units: u128, interface: &InterfaceDescriptionBlock<'_>) -> (u32, u32) {
    let resolution = interface.options.iter().find_map(|option| {
        let InterfaceDescriptionOption::IfTsResol(resolution) = option else {
            return None;
        };
        Some(*resolution)
    });
    // The highest bit chooses between powers of two and of ten; without the option, units are microseconds.
    let per_second = match resolution.unwrap_or(6) {
        exponent @ 0..=0x7f => 10u128.checked_pow(u32::from(exponent)),
        exponent => 2u128.checked_pow(u32::from(exponent & 0x7f)),
    };
    let per_second = per_second.unwrap_or(u128::MAX);
    let nanoseconds = (units % per_second).saturating_mul(1_000_000_000) / per_second;
    (
        u32::try_from(units / per_second).unwrap_or(u32::MAX),
        nanoseconds as u32,
    )
}

/// Writes a pcap file with nanosecond timestamps.
pub struct Writer {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
    packets: u64,
}

impl Writer {
    /// Creates a file for packets that begin as `link` says.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] if it cannot be written.
    pub fn create(path: &Path, link: Link) -> Result<Self, CaptureError> {
        let io_error = |error| CaptureError::Io {
            path: path.to_owned(),
            error,
        };
        let file = BufWriter::new(File::create(path).map_err(io_error)?);
        let header = PcapHeader {
            datalink: match link {
                Link::Ethernet => DataLink::ETHERNET,
                Link::Raw => DataLink::RAW,
            },
            snaplen: SNAP_LENGTH,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::native(),
            ..PcapHeader::default()
        };
        let writer =
            PcapWriter::with_header(file, header).map_err(|error| CaptureError::Format {
                path: path.to_owned(),
                packet: 0,
                error,
            })?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            packets: 0,
        })
    }

    /// Adds a packet.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] if it cannot be written.
    pub fn write(&mut self, packet: &Packet) -> Result<(), CaptureError> {
        self.packets += 1;
        let length = packet.octets.len() as u32;
        let raw = RawPcapPacket {
            ts_sec: packet.seconds,
            ts_frac: packet.nanoseconds,
            incl_len: length,
            orig_len: length,
            data: Cow::Borrowed(&packet.octets),
        };
        let outcome = self.writer.write_raw_packet(&raw);
        outcome.map(|_| ()).map_err(|error| CaptureError::Format {
            path: self.path.clone(),
            packet: self.packets,
            error,
        })
    }

    /// Writes what is left to the disk.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] if it cannot be written.
    pub fn finish(self) -> Result<(), CaptureError> {
        let io_error = |error| CaptureError::Io {
            path: self.path.clone(),
            error,
        };
        self.writer
            .into_writer()
            .into_inner()
            .map_err(|error| io_error(error.into_error()))?
            .sync_all()
            .map_err(io_error)
    }
}
