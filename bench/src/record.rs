//! What a run found out: figures with all their samples, and what was left out and why.

use serde::{Deserialize, Serialize};

use crate::contestant::Contestant;

/// One measurement.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    /// In the unit of its record.
    pub value: f64,
    /// Whether something else used the machine meanwhile.
    pub disturbed: bool,
}

impl Sample {
    /// A measurement of an otherwise idle machine.
    pub const fn quiet(value: f64) -> Self {
        Self {
            value,
            disturbed: false,
        }
    }
}

/// Which way is good.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// Where among its Services the measured one stands: in the order of a proxy's rules, else in the order of names.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Before all others.
    #[default]
    First,
    /// Behind all others.
    Last,
}

impl Position {
    /// The positions that differ among `services` Services.
    pub const fn of(services: u32) -> &'static [Self] {
        if services > 1 {
            &[Self::First, Self::Last]
        } else {
            &[Self::First]
        }
    }
}

/// One figure of one contestant.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Record {
    /// The workload's name, as on the command line.
    pub workload: String,
    /// What of the workload, as in `ClusterIP from a pod, 64 at a time: p50`. The same text for all contestants.
    pub variant: String,
    /// Who.
    pub contestant: Contestant,
    /// Services in the cluster; 0 if that does not matter.
    pub services: u32,
    /// Where the measured Service stands, if that matters.
    pub position: Option<Position>,
    /// Of the samples, as in `us`, `1/s`.
    pub unit: String,
    /// Which way is good.
    pub better: Better,
    /// Every sample, in the order taken; without warm-up.
    pub samples: Vec<Sample>,
    /// Samples that came to nothing, since something failed.
    #[serde(default)]
    pub failed: u32,
    /// What a reader must know; may be empty.
    pub note: String,
}

impl Record {
    /// A record without samples yet.
    pub fn new(
        workload: &str,
        variant: impl Into<String>,
        contestant: Contestant,
        services: u32,
        unit: &str,
        better: Better,
    ) -> Self {
        Self {
            workload: workload.to_owned(),
            variant: variant.into(),
            contestant,
            services,
            position: None,
            unit: unit.to_owned(),
            better,
            samples: Vec::new(),
            failed: 0,
            note: String::new(),
        }
    }

    /// For the Service at `position`.
    #[must_use]
    pub fn at(self, position: Option<Position>) -> Self {
        Self { position, ..self }
    }

    /// With samples.
    #[must_use]
    pub fn with(self, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self {
            samples: samples.into_iter().collect(),
            ..self
        }
    }

    /// With a note.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    /// The samples that nothing else disturbed.
    pub fn quiet(&self) -> Vec<f64> {
        self.samples
            .iter()
            .filter(|sample| !sample.disturbed)
            .map(|sample| sample.value)
            .collect()
    }

    /// All samples.
    pub fn all(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.value).collect()
    }
}

/// What was not measured.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct LeftOut {
    /// The workload's name.
    pub workload: String,
    /// What of it; empty: all.
    pub variant: String,
    /// Who.
    pub contestant: Contestant,
    /// Services in the cluster; 0 if that does not matter.
    pub services: u32,
    /// Why.
    pub reason: String,
    /// What it would have been at least, where it was given up for taking too long.
    #[serde(default)]
    pub at_least: Option<f64>,
}

impl LeftOut {
    /// All of `workload`, for `contestant` at `services` Services.
    pub fn new(
        workload: &str,
        contestant: Contestant,
        services: u32,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            workload: workload.to_owned(),
            variant: String::new(),
            contestant,
            services,
            reason: reason.into(),
            at_least: None,
        }
    }
}

/// Measured, or not.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With samples.
    Measured(Record),
    /// With the reason.
    LeftOut(LeftOut),
}

impl Outcome {
    /// The workload, and at how many Services.
    pub fn subject(&self) -> (String, u32) {
        match self {
            Self::Measured(Record {
                workload, services, ..
            })
            | Self::LeftOut(LeftOut {
                workload, services, ..
            }) => (workload.clone(), *services),
        }
    }

    /// What was measured, and of whom; the same text in every run.
    pub fn figure(&self) -> String {
        match self {
            Self::Measured(record) => format!(
                "{}, {}, {:?}",
                record.variant,
                record.contestant.title(),
                record.position
            ),
            Self::LeftOut(out) => format!("{}, {} left out", out.variant, out.contestant.title()),
        }
    }

    /// Adds the samples of the same figure from a later run.
    pub fn add(&mut self, again: Self) {
        if let (Self::Measured(record), Self::Measured(again)) = (self, again) {
            record.samples.extend(again.samples);
            record.failed += again.failed;
        }
    }
}

impl From<Record> for Outcome {
    fn from(record: Record) -> Self {
        Self::Measured(record)
    }
}

impl From<LeftOut> for Outcome {
    fn from(left_out: LeftOut) -> Self {
        Self::LeftOut(left_out)
    }
}
