//! The ratio of two figures, only of samples that nothing else disturbed.

use std::fmt;

use crate::record::Record;
use crate::statistics::median;

/// Why there is no ratio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::report) enum Why {
    /// At that number of Services there is nobody to compare with.
    NoPeer,
    /// One of the two was not measured.
    NotMeasured,
    /// More than half of the samples of one of the two overlapped with other load.
    Disturbed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPeer => "no kube-proxy",
            Self::NotMeasured => "not measured",
            Self::Disturbed => "other load during the samples",
        })
    }
}

/// The median of the quiet samples, if at least half of all are.
pub(super) fn figure(record: &Record) -> Result<f64, Why> {
    let quiet = record.quiet();
    if record.samples.is_empty() {
        return Err(Why::NotMeasured);
    }
    if quiet.len() * 2 < record.samples.len() {
        return Err(Why::Disturbed);
    }
    median(&quiet).ok_or(Why::NotMeasured)
}

/// `a` over `b`.
pub(super) fn ratio(a: &Record, b: &Record) -> Result<f64, Why> {
    let (a, b) = (figure(a)?, figure(b)?);
    // A figure of zero, of a clock that is too coarse for it, is none.
    if b > 0.0 {
        Ok(a / b)
    } else {
        Err(Why::NotMeasured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::Contestant;
    use crate::record::{Better, Sample};

    fn record(samples: &[(f64, bool)]) -> Record {
        let samples = samples
            .iter()
            .map(|&(value, disturbed)| Sample { value, disturbed });
        Record::new("w", "v", Contestant::Direct, 1, "us", Better::Lower).with(samples)
    }

    #[test]
    fn disturbed_samples_do_not_count() {
        let a = record(&[(10.0, false), (99.0, true), (10.0, false)]);
        let b = record(&[(5.0, false), (5.0, false)]);
        assert_eq!(ratio(&a, &b), Ok(2.0));
    }

    #[test]
    fn mostly_disturbed_figures_have_no_ratio() {
        let a = record(&[(10.0, false), (99.0, true), (98.0, true)]);
        let b = record(&[(5.0, false)]);
        assert_eq!(ratio(&a, &b), Err(Why::Disturbed));
        assert_eq!(ratio(&b, &a), Err(Why::Disturbed));
    }

    #[test]
    fn what_was_not_measured_has_no_ratio() {
        let (a, none, zero) = (
            record(&[(1.0, false)]),
            record(&[]),
            record(&[(0.0, false)]),
        );
        assert_eq!(ratio(&a, &none), Err(Why::NotMeasured));
        assert_eq!(ratio(&a, &zero), Err(Why::NotMeasured));
    }
}
