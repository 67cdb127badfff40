//! `siit-relay eam`: the mappings of the running daemon, shown and changed.

use super::SocketArguments;
use super::ask::{ask, change, code, present};
use crate::control::client::Client;
use crate::control::protocol::Request;
use clap::Subcommand;
use relay_core::Direction;
use serde_json::Value;
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

/// What to do with mappings.
#[derive(Debug, Subcommand)]
pub(super) enum EamCommand {
    /// List all mappings
    List(SocketArguments),
    /// Show the mapping for an address
    Get {
        #[command(flatten)]
        socket: SocketArguments,
        /// An IPv4 or IPv6 address
        #[arg(value_name = "ADDR")]
        address: IpAddr,
    },
    /// Add a mapping, until the next reload unless it is saved
    Add {
        #[command(flatten)]
        socket: SocketArguments,
        /// An IPv4 address or prefix
        ipv4: String,
        /// An IPv6 address or prefix
        ipv6: String,
        /// What to call it
        #[arg(long)]
        name: Option<String>,
        /// Append it to the first EAM file
        #[arg(long)]
        save: bool,
    },
    /// Remove a mapping, until the next reload unless it is saved
    Del {
        #[command(flatten)]
        socket: SocketArguments,
        /// Its IPv4 address or prefix
        ipv4: String,
        /// Remove it from its EAM file, too
        #[arg(long)]
        save: bool,
    },
}

pub(super) fn run(command: EamCommand, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        EamCommand::List(socket) => list(&socket, output),
        EamCommand::Get { socket, address } => ask(
            &socket,
            &Request::EamGet { address },
            output,
            |result, lines| {
                let becomes = result["becomes"].as_str().unwrap_or("nothing");
                let mapping = row(&result["mapping"]);
                lines.push(format!("{address} becomes {becomes} by {mapping}"));
            },
        ),
        EamCommand::Add {
            socket,
            ipv4,
            ipv6,
            name,
            save,
        } => {
            let request = Request::EamAdd {
                ipv4,
                ipv6,
                name,
                save,
            };
            ask(&socket, &request, output, change)
        }
        EamCommand::Del { socket, ipv4, save } => {
            ask(&socket, &Request::EamDel { ipv4, save }, output, change)
        }
    }
}

/// Writes one mapping after the other, as they come.
fn list(socket: &SocketArguments, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&socket.socket)?;
    let mut buffered = std::io::BufWriter::new(output);
    let answer = client.ask(&Request::EamList {}, |item| match socket.json {
        true => writeln!(buffered, "{item}"),
        false => writeln!(buffered, "{}", row(&item)),
    })?;
    if !answer.ok {
        present(socket.json, &answer, &mut buffered, |_, _| {})?;
    }
    buffered.flush()?;
    Ok(code(&answer))
}

fn row(mapping: &Value) -> String {
    let text = |key: &str| mapping[key].as_str().unwrap_or("?");
    let name = match mapping["name"].as_str() {
        Some(name) => format!(" \"{name}\""),
        None => String::new(),
    };
    let counted = |direction: &str| {
        let counters = &mapping["counters"][direction];
        match counters["packets"].as_u64() {
            None | Some(0) => String::new(),
            Some(packets) => format!(
                ", {direction} {packets} packets, {} octets",
                counters["octets"].as_u64().unwrap_or(0)
            ),
        }
    };
    let [v4_to_v6, v6_to_v4] = Direction::ALL.map(|direction| counted(direction.name()));
    format!(
        "{} <-> {}{name} ({}){v4_to_v6}{v6_to_v4}",
        text("ipv4"),
        text("ipv6"),
        text("source")
    )
}
