//! Placeholder.

pub mod driver;
pub mod lab;
