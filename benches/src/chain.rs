//! Errors with their causes, on one line.

use std::error::Error;
use std::fmt;

/// An error with its causes. Some errors tell their causes themselves, others leave it to whoever shows them: nothing is said
/// twice.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        formatter.write_str(&told)?;
        let mut error = self.0;
        while let Some(cause) = error.source() {
            let text = cause.to_string();
            if !told.contains(&text) {
                write!(formatter, ": {text}")?;
                told.push_str(&text);
            }
            error = cause;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open: {0}")]
    struct Telling(#[source] std::io::Error);

    #[test]
    fn causes_are_told_once() {
        let refused = Telling(std::io::Error::other("no"));
        assert_eq!(Chain(&refused).to_string(), "cannot open: no");
        let error = Err::<(), _>(refused).context("starting").unwrap_err();
        assert_eq!(
            Chain(error.as_ref()).to_string(),
            "starting: cannot open: no"
        );
    }
}
