//! `siit-relay trace` and `capture`: packets on their way through the running relay, in words or in a capture file.

use super::SocketArguments;
use super::ask::{code, number, present};
use crate::control::client::Client;
use crate::control::protocol::Request;
use anyhow::Context;
use ipnet::IpNet;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use serde_json::Value;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Which packets are wanted.
#[derive(Debug, clap::Args)]
pub(super) struct PacketArguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// Only packets from or to this address or prefix, as they come in
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    address: Option<IpNet>,
    /// Only packets that are counted by this counter, or by one whose name begins so
    #[arg(long, value_name = "NAME")]
    counter: Option<String>,
    /// The most packets in a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How many packets; without it, until interrupted
    #[arg(long)]
    count: Option<u64>,
}

fn prefix(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "must be an address or a prefix")
}

impl PacketArguments {
    fn request(&self, counter: Option<&str>, octets: bool) -> Request {
        Request::Trace {
            address: self.address,
            counter: self.counter.as_deref().or(counter).map(str::to_owned),
            limit: self.limit,
            count: self.count,
            octets,
        }
    }
}

pub(super) fn trace(
    arguments: &PacketArguments,
    output: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let json = arguments.socket.json;
    let mut client = Client::connect(&arguments.socket.socket)?;
    let answer = client.ask(&arguments.request(None, false), |item| {
        match (json, item["not_shown"].as_u64()) {
            (true, _) => writeln!(output, "{item}")?,
            (false, Some(0)) => {}
            (false, Some(count)) => writeln!(output, "({count} more not shown)")?,
            (false, None) => words(&item, output)?,
        }
        output.flush()
    })?;
    if !answer.ok {
        present(json, &answer, output, |_, _| {})?;
    }
    Ok(code(&answer))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn words(item: &Value, output: &mut impl Write) -> io::Result<()> {
    let before = &item["before"];
    writeln!(
        output,
        "{} {}: {} ({}; source by {}, destination by {})",
        text(&before["where"]),
        text(&before["packet"]),
        text(&item["verdict"]),
        text(&item["counter"]),
        text(&item["rules"]["source"]),
        text(&item["rules"]["destination"]),
    )?;
    for after in item["after"].as_array().into_iter().flatten() {
        let (to, packet) = (text(&after["where"]), text(&after["packet"]));
        writeln!(output, "    {to} {packet}, {} octets", after["length"])?;
    }
    Ok(())
}

/// Writes packets into a file of pcapng, each with a comment that says what became of it.
pub(super) fn capture(
    arguments: &PacketArguments,
    only_dropped: bool,
    path: &Path,
    output: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&arguments.socket.socket)?;
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut writer = Writer {
        file: PcapNgWriter::new(BufWriter::new(file)).map_err(io::Error::other)?,
        interfaces: Vec::new(),
        packets: 0,
    };
    let mut not_shown = 0;
    let request = arguments.request(only_dropped.then_some("drop_"), true);
    let answer = client.ask(&request, |item| match item["not_shown"].as_u64() {
        Some(count) => {
            not_shown += count;
            Ok(())
        }
        // Whoever ends the capture by a signal has a whole file.
        None => writer.write(&item),
    })?;
    present(arguments.socket.json, &answer, output, |result, lines| {
        let not_shown = not_shown + number(&result["not_shown"]);
        let packets = writer.packets;
        let path = path.display();
        lines.push(format!(
            "{packets} packets in {path}, {not_shown} not shown"
        ));
    })?;
    Ok(code(&answer))
}

struct Writer {
    file: PcapNgWriter<BufWriter<File>>,
    /// Name and link type, in the order in which they were announced.
    interfaces: Vec<(String, DataLink)>,
    packets: u64,
}

impl Writer {
    fn write(&mut self, item: &Value) -> io::Result<()> {
        self.packets += 1;
        let number = self.packets;
        let time = Duration::from_secs_f64(item["time"].as_f64().unwrap_or(0.0).max(0.0));
        let comment = format!(
            "{number}: {}: {}",
            text(&item["counter"]),
            text(&item["reason"])
        );
        self.packet(&item["before"], time, comment)?;
        for after in item["after"].as_array().into_iter().flatten() {
            let comment = format!("{number}: after, to {}", text(&after["where"]));
            self.packet(after, time, comment)?;
        }
        self.file.get_mut().flush()
    }

    fn packet(&mut self, packet: &Value, time: Duration, comment: String) -> io::Result<()> {
        let link = match packet["link"] == "ethernet" {
            true => DataLink::ETHERNET,
            false => DataLink::RAW,
        };
        let interface = self.interface(text(&packet["where"]), link)?;
        let digits = text(&packet["octets"]).as_bytes();
        let octet = |pair: &[u8]| {
            let digits = std::str::from_utf8(pair).unwrap_or_default();
            u8::from_str_radix(digits, 16).map_err(io::Error::other)
        };
        let octets: Vec<u8> = digits.chunks(2).map(octet).collect::<io::Result<_>>()?;
        let length = number(&packet["length"]);
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: time,
            original_len: u32::try_from(length).unwrap_or(u32::MAX),
            data: Cow::Owned(octets),
            options: vec![EnhancedPacketOption::Comment(Cow::Owned(comment))],
        };
        self.write_block(block)
    }

    /// Returns the number of an interface, which is announced when it is seen for the first time.
    fn interface(&mut self, name: &str, link: DataLink) -> io::Result<u32> {
        let known = |(other, other_link): &(String, DataLink)| other == name && *other_link == link;
        if let Some(number) = self.interfaces.iter().position(known) {
            return Ok(number as u32);
        }
        let block = InterfaceDescriptionBlock {
            linktype: link,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                // The crate writes nanoseconds, whatever is said here.
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        };
        self.write_block(block)?;
        self.interfaces.push((name.to_owned(), link));
        Ok(self.interfaces.len() as u32 - 1)
    }

    fn write_block<'b>(
        &mut self,
        block: impl pcap_file::pcapng::PcapNgBlock<'b>,
    ) -> io::Result<()> {
        self.file
            .write_pcapng_block(block)
            .map(|_| ())
            .map_err(io::Error::other)
    }
}
