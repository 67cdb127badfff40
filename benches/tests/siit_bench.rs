//! The program itself, on laboratories that take less than a second each: compares routers, tests the kernel's forwarding,
//! and leaves nothing behind. Needs root. Rates are not judged.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use ipnet::{Ipv4Net, Ipv6Net};
use relay::lab::{Namespace, Route, VethEnd, veth_pair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_siit-bench");

static OBJECT: &[u8] = aya::include_bytes_aligned!("../ebpf/object/siit_bench.bpf.o");

/// Returns whether namespaces can be made here; says so when not.
fn privileged() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("SIIT_RELAY_REQUIRE_ALL").is_none(),
            "this test needs root"
        );
        println!("SKIPPED: this test needs root");
    }
    root
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// Asserts that no namespace of a process is left.
fn assert_clean(process: u32) {
    let prefix = format!("siit-bench-{process}-");
    let left = std::fs::read_dir("/run/netns").map_or_else(
        |_| Vec::new(),
        |names| {
            names
                .filter_map(|name| name.ok()?.file_name().into_string().ok())
                .filter(|name| name.starts_with(&prefix))
                .collect()
        },
    );
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_tiny_comparison() {
    if !privileged() {
        return;
    }
    let charts = tempfile::tempdir().unwrap();
    let child = Command::new(PROGRAM)
        .args(["compare", "--json", "--duration", "0.2", "--rounds", "1"])
        .args(["--sizes", "64", "--clients", "16", "--eams", "7"])
        .args(["--cases", "relay-xdp,xdp-router,kernel-router,reflector"])
        .args(["--relay", "/nonexistent/siit-relay", "--svg"])
        .arg(charts.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let document = json(&child.wait_with_output().unwrap());
    assert_clean(process);
    assert_eq!(document["version"], 1);
    let results = document["results"].as_array().unwrap();
    assert_eq!(results.len(), 4 * 2);
    for result in results {
        if result["case"] == "relay-xdp" {
            let problem = result["problem"].as_str().unwrap();
            assert!(
                problem.starts_with("not installed: /nonexistent/siit-relay"),
                "{problem}"
            );
        } else {
            assert!(result["mpps"]["median"].as_f64().unwrap() > 0.0, "{result}");
            assert!(result["frames_checked"].as_u64().unwrap() > 0, "{result}");
        }
    }
    assert!(charts.path().join("frame-size-v4-to-v6.svg").exists());
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    if !privileged() {
        return;
    }
    let child = Command::new(PROGRAM)
        .args([
            "compare",
            "--json",
            "--duration",
            "30",
            "--cases",
            "kernel-router",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let tester = format!("/run/netns/siit-bench-{process}-0-tester");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Path::new(&tester).exists() {
        assert!(Instant::now() < deadline, "no laboratory after 20 s");
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(Instant::now() < deadline, "it went on after SIGINT");
    assert_eq!(output.status.code(), Some(1));
    assert_clean(process);
}

/// A tester with the interfaces `tx` and `rx`, and a router between them.
struct Router {
    tester: Namespace,
    _router: Namespace,
    _programs: Ebpf,
}

impl Router {
    fn new() -> Self {
        let id = std::process::id();
        let namespace = |part| Namespace::create(&format!("siit-bench-test-{id}-{part}")).unwrap();
        let (tester, router) = (namespace("tester"), namespace("router"));
        for (left, right) in [("tx", "in"), ("rx", "out")] {
            veth_pair(VethEnd::new(&tester, left), VethEnd::new(&router, right)).unwrap();
        }
        router.enable_forwarding().unwrap();
        let v4 = |text: &str| text.parse::<Ipv4Net>().unwrap().into();
        let v6 = |text: &str| text.parse::<Ipv6Net>().unwrap().into();
        tester.add_address("tx", v4("192.0.2.129/25")).unwrap();
        router.add_address("in", v4("192.0.2.130/25")).unwrap();
        tester.add_address("tx", v6("2001:db8:4::1/64")).unwrap();
        router.add_address("in", v6("2001:db8:4::2/64")).unwrap();
        tester.add_address("rx", v4("203.0.113.1/24")).unwrap();
        router.add_address("out", v4("203.0.113.2/24")).unwrap();
        tester.add_address("rx", v6("2001:db8:5::1/64")).unwrap();
        router.add_address("out", v6("2001:db8:5::2/64")).unwrap();
        for (destination, gateway) in [
            (v4("192.0.2.0/25"), "203.0.113.1"),
            (v4("198.18.0.0/15"), "192.0.2.129"),
            (v6("2001:db8:12:34::/64"), "2001:db8:5::1"),
            (v6("2001:db8:46::/96"), "2001:db8:4::1"),
        ] {
            let route = Route::to(destination).via(gateway.parse().unwrap());
            router.add_route(&route).unwrap();
        }
        // A veth takes redirected frames only while there is an XDP program at its other end.
        let mut programs = Ebpf::load(OBJECT).unwrap();
        let pass: &mut Xdp = programs.program_mut("pass").unwrap().try_into().unwrap();
        pass.load().unwrap();
        for port in ["in", "out"] {
            let index = router.interface_index(port).unwrap();
            router
                .run_in(|| pass.attach_to_if_index(index, XdpMode::Driver))
                .unwrap()
                .unwrap();
        }
        Self {
            tester,
            _router: router,
            _programs: programs,
        }
    }

    fn test(&self, arguments: &[&str]) -> Output {
        self.tester
            .command(PROGRAM)
            .args(["rfc8219", "--json", "--tx", "tx", "--rx", "rx"])
            .args(["--duration", "0.2", "--wait", "0.1", "--repetitions", "1"])
            .args(["--resolution", "25", "--max-rate", "2000"])
            .args(arguments)
            .output()
            .unwrap()
    }
}

#[test]
fn a_tiny_test_of_the_kernels_forwarding() {
    if !privileged() {
        return;
    }
    let router = Router::new();
    for (direction, gateway, more) in [
        ("v4", "192.0.2.130", &["--sizes", "64"][..]),
        ("v6", "2001:db8:4::2", &["--sizes", "512"]),
        (
            "v4",
            "192.0.2.130",
            &[
                "--sizes",
                "64",
                "--generator",
                "af-xdp",
                "--receiver",
                "af-xdp",
            ],
        ),
    ] {
        let start = ["--direction", direction, "--tx-gateway", gateway];
        let document = json(&router.test(&[&start[..], more].concat()));
        assert_eq!(document["kind"], "rfc8219");
        let result = &document["results"][0];
        assert_eq!(result["flow"], direction);
        assert!(
            result["throughput"]["median"].as_f64().unwrap() > 0.0,
            "{result}"
        );
        let latency = result["typical_latency_ns"]["median"].as_f64().unwrap();
        let worst = result["worst_latency_ns"]["median"].as_f64().unwrap();
        let variation = result["pdv_ns"]["median"].as_f64().unwrap();
        assert!(
            latency > 100.0 && latency <= worst && variation < worst,
            "{result}"
        );
        assert!(!result["losses"].as_array().unwrap().is_empty());
    }

    // What is routed and not translated is no translation.
    let start = ["--direction", "v4-to-v6", "--tx-gateway", "192.0.2.130"];
    let output = router.test(&[&start[..], &["--sizes", "64"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("wrong output on rx (IPv4 -> IPv6)"), "{said}");
}
