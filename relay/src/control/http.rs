//! Metrics and health over HTTP: as much of it as Prometheus and load balancers need, one request a connection.

use super::accept;
use super::access::Access;
use super::exposition::Format;
use super::metrics::{exposition, of_mappings};
use super::process::{Process, ProcessFigures};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tracing::{debug, info, warn};

/// The longest head of a request in octets.
const MAX_HEAD: usize = 8 * 1024;
/// How long a client may take to send its request, and to read the answer. Clients are served one after the other.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before the address is tried again, and before the next client when one could not be accepted.
const PAUSE: Duration = Duration::from_secs(5);

/// What a request is answered.
struct Response {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Response {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

/// Serves metrics for as long as the process lives. An address that the machine does not have yet is waited for.
///
/// # Errors
///
/// There cannot be another thread.
pub fn serve(address: SocketAddr, access: Access) -> io::Result<()> {
    let process = Process {
        started: SystemTime::now() - access.health.uptime(),
    };
    let thread = thread::Builder::new().name("metrics".to_owned());
    thread.spawn(move || {
        let listener = listen(address);
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = answer(&stream, &access, &process) {
                        debug!("metrics: {error}");
                    }
                }
                Err(error) => {
                    warn!("metrics: {error}");
                    thread::sleep(PAUSE);
                }
            }
        }
    })?;
    Ok(())
}

fn listen(address: SocketAddr) -> TcpListener {
    let mut is_first = true;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => {
                info!("metrics at http://{address}/metrics");
                return listener;
            }
            Err(error) if is_first => {
                warn!("metrics: cannot listen on {address}: {error}; trying again");
                is_first = false;
            }
            Err(_) => {}
        }
        thread::sleep(PAUSE);
    }
}

fn answer(stream: &TcpStream, access: &Access, process: &Process) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(stream)?;
    let request = head.lines().next().unwrap_or_default();
    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let format = accept::choose(values(&head, "accept"));
    let Response { status, kind, body } = respond(method, target, format, access, process);
    let length = body.len();
    // What is answered depends on what is accepted.
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nVary: Accept\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    match method {
        "HEAD" => Ok(()),
        _ => stream.write_all(body.as_bytes()),
    }
}

/// Returns the values of the headers with a name, which is in small letters.
fn values<'h>(head: &'h str, name: &str) -> impl Iterator<Item = &'h str> {
    head.lines().skip(1).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads the head of a request, all of it, since what is not read when the connection is closed cuts the answer short. A client that is slow, or says too much, gets an answer to what it has said.
fn read_head(mut stream: &TcpStream) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() >= MAX_HEAD || head.windows(4).any(|end| end == b"\r\n\r\n")
        {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            length => head.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn respond(
    method: &str,
    target: &str,
    format: Format,
    access: &Access,
    process: &Process,
) -> Response {
    if !matches!(method, "GET" | "HEAD") {
        return Response::text("405 Method Not Allowed", "only GET and HEAD\n");
    }
    let path = target.split('?').next().unwrap_or("");
    match path {
        "/metrics" => match access.snapshot() {
            Ok(snapshot) => {
                let figures = ProcessFigures::read();
                Response {
                    status: "200 OK",
                    kind: format.content_type(),
                    body: exposition(
                        format,
                        &snapshot,
                        &access.shared.tables.load(),
                        &access.health,
                        process,
                        &figures,
                    ),
                }
            }
            Err(refusal) => Response::text("503 Service Unavailable", format!("{refusal}\n")),
        },
        "/metrics/eam" => Response {
            status: "200 OK",
            kind: format.content_type(),
            body: of_mappings(format, &access.shared.tables.load()),
        },
        "/healthz" if access.health.is_translating() => Response::text("200 OK", "translating\n"),
        "/healthz" | "/readyz" if !access.health.is_translating() => {
            Response::text("503 Service Unavailable", "not translating\n")
        }
        "/readyz" if access.health.is_draining() => {
            Response::text("503 Service Unavailable", "draining\n")
        }
        "/readyz" => Response::text("200 OK", "ready\n"),
        _ => Response::text(
            "404 Not Found",
            "there are /metrics, /metrics/eam, /healthz and /readyz\n",
        ),
    }
}
