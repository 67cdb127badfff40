//! The list `interfaces` of `relay.yaml`. Whether an interface exists is not looked at here.

use super::keys::INTERFACE;
use super::section::{Problems, Section, scalar};
use super::tree::{Content, Node};
use super::{Interface, XdpMode};
use af_xdp::ZeroCopy;

pub(super) fn interfaces(top: &mut Section, problems: &mut Problems) -> Vec<Interface> {
    let Some((key_place, node)) = top.require("interfaces", problems) else {
        return Vec::new();
    };
    let items = match node.content {
        Content::List(items) if !items.is_empty() => items,
        content @ (Content::Nothing
        | Content::Scalar(_)
        | Content::List(_)
        | Content::Mapping(_)) => {
            let (place, found) = match content {
                Content::Nothing => (&key_place, "nothing".to_owned()),
                Content::List(_) => (&node.place, "an empty list".to_owned()),
                Content::Scalar(_) | Content::Mapping(_) => (&node.place, content.to_string()),
            };
            let message =
                format!("`interfaces` must be a list of mappings with `name`, found {found}");
            problems.error(place, message);
            return Vec::new();
        }
    };
    let mut interfaces: Vec<Interface> = Vec::new();
    for item in items {
        let Some(interface) = interface(item, problems) else {
            continue;
        };
        if let Some(first) = interfaces.iter().find(|other| other.name == interface.name) {
            let message = format!(
                "interface `{}` is listed twice; the first is at {}",
                first.name, first.place
            );
            problems.error(&interface.place, message);
            continue;
        }
        let contrary = match interface.zero_copy {
            ZeroCopy::On => Some(ZeroCopy::Off),
            ZeroCopy::Off => Some(ZeroCopy::On),
            ZeroCopy::Auto => None,
        };
        let contradicts = |other: &&Interface| Some(other.zero_copy) == contrary;
        if let Some(first) = interfaces.iter().find(contradicts) {
            let message = format!(
                "`interfaces.zero_copy` is the contrary for `{}` at {}; interfaces share their frames, so use one for all",
                first.name, first.place
            );
            problems.error(&interface.place, message);
        }
        interfaces.push(interface);
    }
    interfaces
}

fn interface(item: Node, problems: &mut Problems) -> Option<Interface> {
    let mut section = Section::open(item, "interfaces.", &INTERFACE, problems);
    let xdp = [
        ("auto", XdpMode::Auto),
        ("native", XdpMode::Native),
        ("generic", XdpMode::Generic),
    ];
    let xdp = section.choice("xdp", XdpMode::Auto, &xdp, problems, &[]);
    let zero_copy = [
        ("auto", ZeroCopy::Auto),
        ("on", ZeroCopy::On),
        ("off", ZeroCopy::Off),
    ];
    let zero_copy = section.choice("zero_copy", ZeroCopy::Auto, &zero_copy, problems, &[]);
    let queues = section.numbers("queues", "all", 4095, problems);
    let (key_place, node) = section.require("name", problems)?;
    let name = scalar(
        "interfaces.name",
        &key_place,
        &node,
        problems,
        interface_name,
    )?;
    Some(Interface {
        name,
        place: node.place,
        xdp,
        queues,
        zero_copy,
    })
}

/// Checks a name by the kernel's rule, so that a typing error is not taken for a missing interface.
fn interface_name(text: &str) -> Result<String, &'static str> {
    let is_valid = !text.is_empty()
        && text.len() <= 15
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    is_valid
        .then(|| text.to_owned())
        .ok_or("an interface name has 1 to 15 octets, without spaces, `/` and `:`")
}
