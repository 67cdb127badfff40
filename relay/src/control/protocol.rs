//! What is spoken on the control socket: one JSON object a line, in both directions.
//!
//! A request names the version of the protocol and a command. The answer is any number of lines with an `item`, and one
//! last line with `ok`.

use super::access::Refusal;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// The version of the protocol.
pub const VERSION: u64 = 1;
/// The longest request in octets.
pub const MAX_REQUEST: u64 = 64 * 1024;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the daemon is.
    Status {},
    /// All counters.
    Stats {},
    /// Read the files again.
    Reload {},
    /// Have traffic go elsewhere.
    Drain {},
    /// Have traffic come again.
    Undrain {},
    /// End.
    Stop {
        /// Whether the XDP program is detached, too.
        #[serde(default)]
        detach: bool,
    },
    /// All mappings, an item each.
    EamList {},
    /// The mapping for an address.
    EamGet {
        /// The address.
        address: IpAddr,
    },
    /// A new mapping.
    EamAdd {
        /// Its IPv4 address or prefix.
        ipv4: String,
        /// Its IPv6 address or prefix.
        ipv6: String,
        /// What to call it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Whether it is written to the first EAM file, too.
        #[serde(default)]
        save: bool,
    },
    /// Packets on their way, an item each, until the client goes.
    Trace {
        /// Only those from or to an address in this prefix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpNet>,
        /// Only those that are counted by a counter whose name begins so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counter: Option<String>,
        /// The most in a second.
        limit: u32,
        /// How many; without it, until the client goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// Whether their octets are wanted, too.
        #[serde(default)]
        octets: bool,
    },
    /// A mapping to remove.
    EamDel {
        /// Its IPv4 address or prefix.
        ipv4: String,
        /// Whether it is removed from its EAM file, too.
        #[serde(default)]
        save: bool,
    },
}

#[derive(Serialize)]
struct Envelope<'r> {
    version: u64,
    #[serde(flatten)]
    request: &'r Request,
}

/// The last line of an answer.
#[derive(Debug, Deserialize, Serialize)]
pub struct Answer {
    version: u64,
    /// Whether the request was carried out.
    pub ok: bool,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// Why nothing came of it, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Everything that is wrong, in a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A line of an answer before the last.
#[derive(Debug, Deserialize, Serialize)]
pub struct Item {
    version: u64,
    /// One of many.
    pub item: Value,
}

/// A line of an answer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// There are more.
    Item(Item),
    /// It is the last.
    Answer(Answer),
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// The text says what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(line).map_err(|error| format!("not a line of JSON: {error}"))?;
        let Value::Object(mut object) = value else {
            return Err("a request is a JSON object".to_owned());
        };
        match object.remove("version") {
            Some(version) if version == VERSION => {}
            Some(version) => {
                return Err(format!(
                    "version {version} is not spoken here, only version {VERSION}"
                ));
            }
            None => return Err(format!("`version` is missing; it is {VERSION}")),
        }
        serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
    }

    /// Returns the request as a line.
    pub fn emit(&self) -> String {
        line(&Envelope {
            version: VERSION,
            request: self,
        })
    }
}

impl Answer {
    /// Returns an answer with a result.
    pub fn with(result: Value) -> Self {
        Self {
            version: VERSION,
            ok: true,
            result,
            error: None,
            problems: Vec::new(),
        }
    }

    /// Returns an answer that says why there is no result.
    pub fn refused(refusal: Refusal) -> Self {
        let problems = refusal.problems;
        let error = match problems.as_slice() {
            [only] => only.clone(),
            several => format!("{} problems", several.len()),
        };
        Self {
            version: VERSION,
            ok: false,
            result: Value::Null,
            error: Some(error),
            problems,
        }
    }

    /// Returns the answer as a line.
    pub fn emit(&self) -> String {
        line(self)
    }
}

impl Item {
    /// Returns a line before the last.
    pub fn new(item: Value) -> Self {
        Self {
            version: VERSION,
            item,
        }
    }

    /// Returns the item as a line.
    pub fn emit(&self) -> String {
        line(self)
    }
}

fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("keys are strings and numbers are finite");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire_with_the_version_first() {
        let add = Request::EamAdd {
            ipv4: "192.0.2.9".to_owned(),
            ipv6: "2001:db8::9".to_owned(),
            name: None,
            save: true,
        };
        assert_eq!(
            Request::Status {}.emit(),
            "{\"version\":1,\"command\":\"status\"}\n"
        );
        assert!(
            add.emit()
                .starts_with("{\"version\":1,\"command\":\"eam-add\"")
        );
        assert_eq!(Request::parse(add.emit().as_bytes()), Ok(add));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("{", "not a line of JSON"),
            ("[]", "a request is a JSON object"),
            ("{}", "`version` is missing; it is 1"),
            (
                "{\"version\":2,\"command\":\"status\"}",
                "version 2 is not spoken here, only version 1",
            ),
            (
                "{\"version\":1,\"command\":\"stat\"}",
                "unknown variant `stat`, expected one of `status`",
            ),
            (
                "{\"version\":1,\"command\":\"status\",\"x\":1}",
                "unknown field `x`",
            ),
            (
                "{\"version\":1,\"command\":\"eam-get\",\"address\":\"192.0.2\"}",
                "invalid IP address",
            ),
        ] {
            let error = Request::parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
