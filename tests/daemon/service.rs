//! What a service manager is told by a running relay, spoken by the protocol of sd_notify.

use crate::control::ask;
use crate::daemon::Daemon;
use crate::lab::{Lab, SERVICE};
use crate::ping::ping;
use relay::lab::Command;
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A user, and its group, without any rights.
pub(crate) const USER: u32 = 4711;

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Waits for a message that begins so, and returns it.
    fn expect(&self, beginning: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            let mut buffer = [0; 4096];
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if message.starts_with(beginning) {
                return message;
            }
            seen.push(message);
        }
        panic!("no {beginning} among {seen:?}");
    }
}

#[test]
fn the_manager_hears_of_every_turn() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.path("notify.sock");
    let manager = Manager {
        socket: UnixDatagram::bind(&path).unwrap(),
    };
    manager
        .socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let config = lab.configure("");
    let mut command = lab.relay.command(tests::siit_relay().to_str().unwrap());
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    let mut daemon = Daemon::launch(command, &config);
    manager.expect("READY=1\n");
    daemon.await_line("translating");
    // Twice as often as it has to be, and no more often. Some may have waited to be read.
    (0..3).for_each(|_| drop(manager.expect("WATCHDOG=1\n")));
    let begin = Instant::now();
    (0..5).for_each(|_| drop(manager.expect("WATCHDOG=1\n")));
    let took = begin.elapsed();
    assert!((500..5_000).contains(&took.as_millis()), "{took:?}");

    daemon.signal(Signal::HUP);
    let message = manager.expect("RELOADING=1\n");
    let clock: u64 = message
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .unwrap_or_else(|| panic!("{message}"))
        .parse()
        .unwrap();
    assert!(clock > 0);
    let message = manager.expect("READY=1\n");
    assert!(
        message.contains("STATUS=generation 2 in force"),
        "{message}"
    );
    // Files with problems end a reload, too.
    std::fs::write(lab.path("eam.yaml"), "eam: [1]\n").unwrap();
    daemon.signal(Signal::HUP);
    manager.expect("RELOADING=1\n");
    let message = manager.expect("READY=1\n");
    assert!(message.contains("refused"), "{message}");
    daemon.signal(Signal::TERM);
    manager.expect("STOPPING=1\n");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_log_of_json_is_json() {
    let Some(lab) = Lab::new() else { return };
    let config = lab.configure("");
    let mut command = lab.relay.command(tests::siit_relay().to_str().unwrap());
    command.args(["run", "--log-format", "json"]);
    let mut daemon = Daemon::launch_as(command, &config);
    daemon.await_line("translating");
    daemon.signal(Signal::TERM);
    daemon.wait();
    for line in daemon.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["message"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
}

/// Returns a command that runs the relay with the rights that the service file gives, without being root.
pub(crate) fn with_the_rights_of_the_service(lab: &Lab) -> Command<'_> {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/systemd/siit-relay.service"
    );
    let unit = std::fs::read_to_string(unit).unwrap();
    let capabilities = unit
        .lines()
        .find_map(|line| line.strip_prefix("AmbientCapabilities="))
        .unwrap();
    let kept: Vec<String> = capabilities
        .split(' ')
        .map(|capability| capability.replace("CAP_", "+").to_lowercase())
        .collect();
    let kept = kept.join(",");
    let program = lab.path("siit-relay");
    if !program.exists() {
        std::fs::copy(tests::siit_relay(), &program).unwrap();
    }
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(program.parent().unwrap(), open).unwrap();
    let (user, group) = (USER.to_string(), USER.to_string());
    let mut command = lab.relay.command("setpriv");
    command
        .args(["--reuid", &user, "--regid", &group])
        .args(["--clear-groups", "--no-new-privs"])
        .args(["--bounding-set", &format!("-all,{kept}")])
        .args(["--inh-caps", &format!("-all,{kept}")])
        .args(["--ambient-caps", &format!("-all,{kept}")])
        .arg(program);
    command
}

#[test]
fn the_rights_of_the_service_are_enough() {
    let Some(lab) = Lab::new() else { return };
    let config = lab.configure("");
    let mut daemon = Daemon::launch(with_the_rights_of_the_service(&lab), &config);
    daemon.await_line("translating");
    assert_eq!(
        ping(&lab.client, SERVICE.into(), 20, Duration::from_millis(2)).count,
        20
    );
    assert_eq!(ask(&lab, "reload")["generation"], 2);
    assert_eq!(
        ping(&lab.client, SERVICE.into(), 20, Duration::from_millis(2)).count,
        20
    );
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
}
