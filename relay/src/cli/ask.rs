//! `siit-relay status`, `stats`, `reload`, `drain` and `undrain`: questions to the running daemon, and its answers in words.

use super::SocketArguments;
use crate::control::client::Client;
use crate::control::protocol::{Answer, Request};
use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;

/// Asks for something, and shows the answer as `show` words it, or as JSON. A refusal is exit code 1.
pub(super) fn ask(
    socket: &SocketArguments,
    request: &Request,
    output: &mut impl Write,
    show: impl FnOnce(&Value, &mut Vec<String>),
) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(&socket.socket)?.ask(request, |_| Ok(()))?;
    present(socket.json, &answer, output, show)?;
    Ok(code(&answer))
}

/// Returns the exit code that an answer amounts to.
pub(super) fn code(answer: &Answer) -> ExitCode {
    match answer.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Shows an answer; what was refused is told on standard error.
pub(super) fn present(
    json: bool,
    answer: &Answer,
    output: &mut impl Write,
    show: impl FnOnce(&Value, &mut Vec<String>),
) -> io::Result<()> {
    if json {
        return writeln!(output, "{:#}", serde_json::to_value(answer)?);
    }
    if !answer.ok {
        for problem in &answer.problems {
            eprintln!("{problem}");
        }
        return Ok(());
    }
    let mut lines = Vec::new();
    show(&answer.result, &mut lines);
    lines.iter().try_for_each(|line| writeln!(output, "{line}"))
}

/// Returns a number of an answer.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Returns a time in words, as `3 h 12 min`.
pub(super) fn span(value: &Value) -> String {
    let seconds = value.as_f64().unwrap_or(0.0);
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.2} s"),
        10..120 => format!("{whole} s"),
        120..7200 => format!("{} min", whole / 60),
        7200..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

pub(super) fn status(result: &Value, lines: &mut Vec<String>) {
    let state = match (result["translating"] == true, result["draining"] == true) {
        (true, false) => "translating",
        (true, true) => "translating, draining (not ready)",
        (false, _) => "not translating",
    };
    lines.push(format!(
        "siit-relay {}, process {}, {state}, up {}",
        text(&result["version"]),
        result["process"],
        span(&result["uptime_seconds"])
    ));
    let generation = &result["generation"];
    let runtime = match number(&generation["runtime_mappings"]) {
        0 => String::new(),
        count => format!(" ({count} of them only at runtime)"),
    };
    let incomplete = match generation["complete"] == true {
        true => "",
        false => ", the XDP program is still following",
    };
    lines.push(format!(
        "generation {}: {} mappings{runtime}, in force for {}{incomplete}",
        generation["number"],
        generation["mappings"],
        span(&generation["age_seconds"])
    ));
    let reloads = &result["reloads"];
    let last = &reloads["last"];
    lines.push(match last.is_null() {
        true => "no reload yet".to_owned(),
        false => format!(
            "last reload: {}, in {}; {} succeeded, {} refused",
            if last["ok"] == true {
                "succeeded"
            } else {
                "refused"
            },
            span(&last["duration_seconds"]),
            reloads["succeeded"],
            reloads["failed"]
        ),
    });
    let problems = last["problems"].as_array().into_iter().flatten();
    lines.extend(problems.map(|problem| format!("  {}", text(problem))));
    for interface in result["interfaces"].as_array().into_iter().flatten() {
        let queues = interface["queues"].as_array().map_or(0, Vec::len);
        let mtu = match interface["mtu"].as_u64() {
            Some(mtu) => format!("MTU {mtu}"),
            None => "gone".to_owned(),
        };
        lines.push(format!(
            "{}: {} XDP, {}, {queues} {}, {mtu}, {}",
            text(&interface["name"]),
            text(&interface["xdp"]),
            if interface["zero_copy"] == true {
                "zero copy"
            } else {
                "copy mode"
            },
            if queues == 1 { "queue" } else { "queues" },
            if interface["up"] == true {
                "up"
            } else {
                "down"
            },
        ));
    }
    lines.push(format!("workers: {}", result["workers"]));
}

/// Shows the counters; those at zero only if `all` are wanted.
pub(super) fn stats(result: &Value, all: bool, lines: &mut Vec<String>) {
    let shown = |counters: &Value, indentation: &str, lines: &mut Vec<String>| {
        for (name, count) in counters.as_object().into_iter().flatten() {
            if all || number(count) != 0 {
                lines.push(format!("{indentation}{name} {count}"));
            }
        }
    };
    shown(&result["counters"], "", lines);
    for queue in result["queues"].as_array().into_iter().flatten() {
        lines.push(format!(
            "{} queue {}, worker {}, {}:",
            text(&queue["interface"]),
            queue["queue"],
            queue["worker"],
            if queue["zero_copy"] == true {
                "zero copy"
            } else {
                "copy mode"
            }
        ));
        shown(&queue["counters"], "  ", lines);
    }
}

/// Shows what a new generation differs in.
pub(super) fn change(result: &Value, lines: &mut Vec<String>) {
    for warning in result["warnings"].as_array().into_iter().flatten() {
        lines.push(text(warning).to_owned());
    }
    lines.push(format!(
        "generation {} in force after {}: {} added, {} removed, {} changed, {} kept",
        result["generation"],
        span(&result["duration_seconds"]),
        result["added"],
        result["removed"],
        result["changed"],
        result["kept"],
    ));
    for (key, what) in [
        ("interfaces_added", "added"),
        ("interfaces_removed", "removed"),
        ("interfaces_changed", "changed"),
    ] {
        let names = result[key].as_array().into_iter().flatten();
        lines.extend(names.map(|name| format!("interface {} {what}", text(name))));
    }
    let keys = result["needs_restart"].as_array().into_iter().flatten();
    lines.extend(keys.map(|key| format!("`{}` needs a restart; its old value stays", text(key))));
}

pub(super) fn drain(result: &Value, lines: &mut Vec<String>) {
    lines.push(match result["draining"] == true {
        true => "draining: /readyz says so; packets are translated as before".to_owned(),
        false => "ready".to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_are_worded_by_their_length() {
        for (seconds, words) in [
            (0.004, "0.00 s"),
            (9.9, "9.90 s"),
            (61.0, "61 s"),
            (300.0, "5 min"),
            (11_520.0, "3 h 12 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(span(&json!(seconds)), words);
        }
    }
}
