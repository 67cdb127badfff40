//! `siit-relay top`: rates of the running daemon, renewed every second.

use super::SocketArguments;
use super::ask::{number, span};
use crate::control::client::Client;
use crate::control::protocol::Request;
use anyhow::bail;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Clears the screen and goes to its first character.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// The most reasons that are shown.
const MOST_REASONS: usize = 12;

/// The counters at one moment.
struct Moment {
    at: Instant,
    stats: Value,
}

pub(super) fn run(
    socket: &SocketArguments,
    interval: Duration,
    count: Option<u64>,
    output: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&socket.socket)?;
    let clear = if std::io::stdout().is_terminal() {
        CLEAR
    } else {
        ""
    };
    let mut before = moment(&mut client)?;
    let mut shown = 0;
    while count.is_none_or(|count| shown < count) {
        thread::sleep(interval);
        let after = moment(&mut client)?;
        let rates = rates(&before, &after);
        match socket.json {
            true => writeln!(output, "{}", json!({ "rates": rates }))?,
            false => {
                let status = ask(&mut client, &Request::Status {})?;
                write!(output, "{clear}{}", page(&status, &rates))?;
            }
        }
        output.flush()?;
        before = after;
        shown += 1;
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(client: &mut Client, request: &Request) -> anyhow::Result<Value> {
    let answer = client.ask(request, |_| Ok(()))?;
    if !answer.ok {
        bail!(answer.problems.join("\n"));
    }
    Ok(answer.result)
}

fn moment(client: &mut Client) -> anyhow::Result<Moment> {
    let stats = ask(client, &Request::Stats {})?;
    Ok(Moment {
        at: Instant::now(),
        stats,
    })
}

/// Returns how much each counter has grown in a second.
fn rates(before: &Moment, after: &Moment) -> serde_json::Map<String, Value> {
    let seconds = after.at.duration_since(before.at).as_secs_f64().max(1e-3);
    let counters = after.stats["counters"].as_object().into_iter().flatten();
    counters
        .map(|(name, count)| {
            let grown = number(count).saturating_sub(number(&before.stats["counters"][name]));
            let rate = (grown as f64 / seconds).round() as u64;
            (name.clone(), json!(rate))
        })
        .collect()
}

fn page(status: &Value, rates: &serde_json::Map<String, Value>) -> String {
    let rate = |name: &str| rates.get(name).map_or(0, number);
    let generation = &status["generation"];
    let mut page = format!(
        "siit-relay {}  up {}  generation {}: {} mappings{}\n\n",
        status["version"].as_str().unwrap_or("?"),
        span(&status["uptime_seconds"]),
        generation["number"],
        generation["mappings"],
        if status["draining"] == true {
            "  DRAINING"
        } else {
            ""
        },
    );
    page += &format!("{:<14}{:>14}{:>14}\n", "", "packets/s", "Mbit/s");
    for (title, direction) in [("IPv4 to IPv6", "v4_to_v6"), ("IPv6 to IPv4", "v6_to_v4")] {
        let octets = rate(&format!("out_{direction}_octets"));
        let packets = rate(&format!("out_{direction}_packets"));
        page += &format!("{title:<14}{packets:>14}{:>14.1}\n", octets as f64 * 8e-6);
    }
    let mut others: Vec<(&String, u64)> = rates
        .iter()
        .filter(|(name, _)| !name.starts_with("out_"))
        .map(|(name, rate)| (name, number(rate)))
        .filter(|(_, rate)| *rate != 0)
        .collect();
    others.sort_by_key(|(name, rate)| (std::cmp::Reverse(*rate), *name));
    page.push('\n');
    for (name, rate) in others.iter().take(MOST_REASONS) {
        page += &format!("{rate:>12}/s  {name}\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time_and_the_largest_come_first() {
        let begin = Instant::now();
        let at = |seconds: u64, packets: u64, drops: u64| Moment {
            at: begin + Duration::from_secs(seconds),
            stats: json!({ "counters": {
                "out_v4_to_v6_packets": packets, "out_v4_to_v6_octets": packets * 1000,
                "drop_v4_to_v6_hop_limit": drops, "received_frames": packets,
            } }),
        };
        let rates = rates(&at(0, 1000, 5), &at(2, 3000, 9));
        assert_eq!(rates["out_v4_to_v6_packets"], 1000);
        assert_eq!(rates["drop_v4_to_v6_hop_limit"], 2);
        let page = page(&json!({ "draining": true }), &rates);
        assert!(page.contains("DRAINING") && page.contains("8.0"), "{page}");
        let position = |name: &str| page.find(name).expect(name);
        assert!(position("1000/s  received_frames") < position("2/s  drop_v4_to_v6_hop_limit"));
    }
}
