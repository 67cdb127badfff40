//! `siit-relay check`: every problem of the configuration and its EAM files, at once.

use crate::config::{self, Config, Interface, Wait};
use crate::driver::napi;
use eam_tables::{Problem, Severity};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(path: &Path, json: bool, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let loaded = config::load(path);
    let mut problems = loaded.problems;
    if let Some((config, _)) = &loaded.usable {
        problems.extend(missing_interfaces(config));
        problems.extend(kept_interrupts(config));
    }
    if json {
        let problems: Vec<_> = problems.iter().map(as_json).collect();
        let mappings = loaded.usable.as_ref().map(|(_, eams)| eams.len());
        let report =
            json!({ "ok": mappings.is_some(), "mappings": mappings, "problems": problems });
        writeln!(output, "{report:#}")?;
    } else {
        for problem in &problems {
            writeln!(output, "{problem}")?;
        }
        if let Some((config, eams)) = &loaded.usable {
            let mappings = counted(eams.len(), "mapping");
            let interfaces = counted(config.interfaces.len(), "interface");
            writeln!(output, "{}: ok, {mappings}, {interfaces}", path.display())?;
        }
    }
    Ok(match loaded.usable {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}

fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Warns about interfaces that this machine does not have; the file may be meant for another one.
fn missing_interfaces(config: &Config) -> impl Iterator<Item = Problem> + '_ {
    let is_missing = |name: &str| !Path::new("/sys/class/net").join(name).exists();
    config
        .interfaces
        .iter()
        .filter(move |interface| is_missing(&interface.name))
        .map(|interface| {
            let message = format!("interface `{}` is not on this machine", interface.name);
            Problem::warning(interface.place.clone(), message)
        })
}

/// Warns about interfaces of this machine whose interrupts go on while workers poll them.
fn kept_interrupts(config: &Config) -> Vec<Problem> {
    match config.wait {
        Wait::Poll | Wait::Busy => Vec::new(),
        Wait::PreferBusyPoll => {
            let kept = |interface: &Interface| {
                let message = napi::missing_here(&interface.name)?;
                Some(Problem::warning(interface.place.clone(), message))
            };
            config.interfaces.iter().filter_map(kept).collect()
        }
    }
}

fn as_json(problem: &Problem) -> serde_json::Value {
    json!({
        "severity": match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "file": problem.place.path.display().to_string(),
        "line": problem.place.line,
        "column": problem.place.column,
        "message": problem.message,
    })
}
