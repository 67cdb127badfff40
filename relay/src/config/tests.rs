//! Defaults, and the documentation: `docs/configuration.md` shows every key at its default.

use super::keys::{CONTROL, ICMP, INTERFACE, MTU, OWN, TOP, TRANSLATION, WORKERS};
use super::tree::{self, Content, Node};
use super::{Config, Wait, read};
use eam_tables::Severity;
use relay_core::Policy;
use relay_core::address::Prefix;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MINIMAL: &str = "prefix: 2001:db8:46::/96\ninterfaces: [{ name: eth0 }]\n";

/// Reads a configuration without errors, as if it lay in the folder `docs`; returns it with its warnings.
fn read(text: &str) -> (Config, Vec<String>) {
    let contents = read::read(&docs().join("relay.yaml"), text);
    let problems: Vec<String> = contents.problems.iter().map(ToString::to_string).collect();
    assert!(
        contents
            .problems
            .iter()
            .all(|problem| problem.severity == Severity::Warning),
        "{problems:#?}"
    );
    (contents.config.expect("there are no errors"), problems)
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Returns the example of the documentation, the first block of YAML.
fn example() -> String {
    let text = std::fs::read_to_string(docs().join("configuration.md")).expect("it is there");
    let block = text
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    block.expect("there is a block of YAML").to_owned()
}

#[test]
fn the_defaults_are_those_of_the_rfcs() {
    let (config, warnings) = read(MINIMAL);
    let prefix = Prefix::new("2001:db8:46::".parse().unwrap(), 96).unwrap();
    assert_eq!(config.policy, Policy::new(prefix));
    assert!(config.ipv4_translatable.is_empty());
    assert!(config.service_pools.is_empty());
    assert!(config.denylist4.is_empty());
    assert_eq!((config.mtu, config.icmp.own), Default::default());
    assert_eq!((config.eam, config.cpus), (Vec::new(), None));
    assert_eq!(config.wait, Wait::Poll);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let (documented, _) = read(&example());
    let (mut minimal, _) = read(MINIMAL);
    // Where the file names the interface is no matter.
    minimal.interfaces[0].place = documented.interfaces[0].place.clone();
    assert_eq!(documented, minimal);
}

#[test]
fn the_documentation_names_every_key_in_order() {
    let path: Arc<Path> = Arc::from(Path::new("configuration.md"));
    let root = tree::parse(&path, &example()).expect("it is YAML");
    assert_eq!(keys(&root), TOP);
    let translation = value(&root, "translation");
    let icmp = value(&root, "icmp");
    assert_eq!(keys(translation), TRANSLATION);
    assert_eq!(keys(value(translation, "mtu")), MTU);
    assert_eq!(keys(icmp), ICMP);
    assert_eq!(keys(value(icmp, "own")), OWN);
    assert_eq!(keys(value(&root, "control")), CONTROL);
    assert_eq!(keys(value(&root, "workers")), WORKERS);
    let Content::List(interfaces) = &value(&root, "interfaces").content else {
        panic!("`interfaces` is a list");
    };
    assert_eq!(keys(&interfaces[0]), INTERFACE);
}

fn pairs(node: &Node) -> &[(Node, Node)] {
    match &node.content {
        Content::Mapping(pairs) => pairs,
        other @ (Content::Nothing | Content::Scalar(_) | Content::List(_)) => {
            panic!("{other} is no mapping")
        }
    }
}

fn keys(node: &Node) -> Vec<String> {
    pairs(node)
        .iter()
        .map(|(key, _)| key.content.to_string().replace('`', ""))
        .collect()
}

fn value<'n>(node: &'n Node, name: &str) -> &'n Node {
    let pair = pairs(node)
        .iter()
        .find(|(key, _)| matches!(&key.content, Content::Scalar(text) if text == name));
    &pair.unwrap_or_else(|| panic!("{name} is not there")).1
}
