//! `siit-bench rfc8219`: its arguments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use relay::lab::Namespace;

use super::{OutputArguments, seconds};
use crate::rfc8219::wires::{Direction, Ends, Wire};
use crate::rfc8219::{self, Options, report};
use crate::traffic::Mac;
use crate::{generator, pin, receiver};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The interface that frames leave by
    #[arg(long, value_name = "IF")]
    tx: String,
    /// The interface that they come back by
    #[arg(long, value_name = "IF")]
    rx: String,
    /// Which way frames go, and what the device makes of them
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// Frame sizes with IPv4, with frame check sequence; with IPv6 they are 20 octets longer
    #[arg(long, value_delimiter = ',', default_value = "64,128,256,512,768,1024,1280,1518",
          value_parser = clap::value_parser!(u16).range(64..=1518))]
    sizes: Vec<u16>,
    /// Seconds that each trial sends; those for latency send twice as long
    #[arg(long, default_value = "60", value_parser = seconds)]
    duration: Duration,
    /// Seconds to wait for late frames after each trial
    #[arg(long, default_value = "2", value_parser = seconds)]
    wait: Duration,
    /// How often throughput and latency are measured
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// The loss that counts as none, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// How close to come to the throughput, in percent of the highest rate
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5, value_parser = positive_percent)]
    resolution: f64,
    /// The highest rate, in frames a second (default: what the generator makes)
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(1..))]
    max_rate: Option<u32>,
    /// How frames are made
    #[arg(long, value_enum, default_value = "live-frames")]
    generator: generator::Kind,
    /// How frames are received
    #[arg(long, value_enum, default_value = "xdp")]
    receiver: receiver::Kind,
    /// The processors of the generators, one for each stream (default: all in turn)
    #[arg(long, value_name = "CPU", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// The device's address at --tx, for the kernel to find its MAC address
    #[arg(long, value_name = "ADDR")]
    tx_gateway: Option<IpAddr>,
    /// The device's address at --rx, likewise; needed where frames are sent both ways
    #[arg(long, value_name = "ADDR")]
    rx_gateway: Option<IpAddr>,
    /// The device's MAC address at --tx
    #[arg(long, value_name = "MAC", value_parser = mac, conflicts_with = "tx_gateway")]
    tx_mac: Option<Mac>,
    /// The device's MAC address at --rx
    #[arg(long, value_name = "MAC", value_parser = mac, conflicts_with = "rx_gateway")]
    rx_mac: Option<Mac>,
    /// The first client, in IPv4
    #[arg(long, value_name = "ADDR", default_value = "198.18.0.0")]
    client_v4: Ipv4Addr,
    /// The first client, in IPv6
    #[arg(long, value_name = "ADDR", default_value = "2001:db8:46::198.18.0.0")]
    client_v6: Ipv6Addr,
    /// How many clients there are, one behind the other
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// The first service, in IPv4
    #[arg(long, value_name = "ADDR", default_value = "192.0.2.1")]
    service_v4: Ipv4Addr,
    /// The first service, in IPv6
    #[arg(long, value_name = "ADDR", default_value = "2001:db8:12:34::1")]
    service_v6: Ipv6Addr,
    /// How many services there are, one behind the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    services: u32,
    #[command(flatten)]
    output: OutputArguments,
}

impl Arguments {
    /// Tests.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let here = Namespace::current()?;
        let processors = if self.cpus.is_empty() {
            pin::allowed().context("cannot find out which processors there are")?
        } else {
            self.cpus
        };
        let options = Options {
            tx: Wire::new(&here, &self.tx, self.tx_mac, self.tx_gateway)?,
            rx: Wire::new(&here, &self.rx, self.rx_mac, self.rx_gateway)?,
            direction: self.direction,
            ends: Ends {
                client_v4: self.client_v4,
                client_v6: self.client_v6,
                clients: self.clients,
                service_v4: self.service_v4,
                service_v6: self.service_v6,
                services: self.services,
            },
            sizes: self.sizes.iter().map(|size| usize::from(*size)).collect(),
            duration: self.duration,
            wait: self.wait,
            repetitions: self.repetitions,
            tolerance: self.loss,
            resolution: self.resolution,
            max_rate: self.max_rate.map(f64::from),
            generator: self.generator,
            receiver: self.receiver,
            processors,
        };
        let result = rfc8219::run(&options)?;
        self.output.give(
            || report::text(&result),
            || report::markdown(&result),
            || report::json(&result),
            || report::charts(&result),
        )
    }
}

fn mac(text: &str) -> Result<Mac, String> {
    let octets: Option<Vec<u8>> = text
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).ok())
        .collect();
    octets
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| "six octets in hexadecimal, like 02:00:00:00:00:01".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "a number from 0 to 100".to_owned())
}

fn positive_percent(text: &str) -> Result<f64, String> {
    match percent(text)? {
        0.0 => Err("more than 0".to_owned()),
        percent => Ok(percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_refused() {
        assert_eq!(mac("02:00:00:00:0a:ff"), Ok([2, 0, 0, 0, 10, 255]));
        for wrong in ["02:00", "02:00:00:00:00:zz", "", "02:00:00:00:00:01:02"] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
        assert_eq!(percent("0.01"), Ok(0.01));
        assert!(percent("101").is_err() && percent("-1").is_err() && percent("NaN").is_err());
        assert!(positive_percent("0").is_err());
    }
}
