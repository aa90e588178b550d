//! What a run measures: which workloads, at how many Services, with how much effort. `quick` shrinks counts, never kinds.

use std::time::Duration;

use clap::ValueEnum as _;

pub use crate::options::Subset;

impl Subset {
    /// Its name on the command line and in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Established => "established",
            Self::Packets => "packets",
            Self::Program => "program",
            Self::Programming => "programming",
            Self::Scale => "scale",
        }
    }

    /// Whether it sends packets through all contestants side by side.
    pub const fn is_traffic(self) -> bool {
        matches!(self, Self::Connections | Self::Established | Self::Packets)
    }

    /// Whether it needs an API server.
    pub const fn needs_api(self) -> bool {
        self.is_traffic() || matches!(self, Self::Programming)
    }
}

/// What to measure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// In the order of [`Subset`], each once.
    pub subsets: Vec<Subset>,
    /// Numbers of Services behind the API server, rising.
    pub sizes: Vec<u32>,
    /// Services for kube-shunt alone, from a feed; 0: none.
    pub huge: u32,
    /// Fewer and shorter samples.
    pub quick: bool,
    /// For everything that is left to chance.
    pub seed: u64,
    /// Samples of each figure.
    pub rounds: u32,
    /// How much longer to go on while samples are disturbed, in rounds.
    pub extra_rounds: u32,
    /// How long one sample of traffic lasts.
    pub sample: Duration,
    /// New flows that a NIC-like source sends in a sample: an eighth of conntrack's table, which holds 262,144 by default and is emptied
    /// before each.
    pub frames: u32,
    /// How long the proxies may take for their first sync, side by side; who takes longer is left out.
    pub patience: Duration,
    /// How long one may take for anything, alone.
    pub limit: Duration,
    /// How long something is repeated that takes long.
    pub budget: Duration,
    /// How long many changes last.
    pub storm: Duration,
}

impl Plan {
    /// The plan for `subsets`; all if there are none.
    pub fn new(subsets: &[Subset], quick: bool, seed: u64) -> Self {
        let mut subsets = subsets.to_vec();
        if subsets.is_empty() {
            subsets = Subset::value_variants().to_vec();
        }
        subsets.sort_unstable();
        subsets.dedup();
        Self {
            subsets,
            sizes: if quick {
                vec![1, 1_000]
            } else {
                vec![1, 1_000, 10_000]
            },
            huge: if quick { 10_000 } else { 100_000 },
            quick,
            seed,
            rounds: if quick { 1 } else { 5 },
            extra_rounds: if quick { 0 } else { 3 },
            sample: Duration::from_millis(if quick { 30 } else { 150 }),
            frames: if quick { 8_192 } else { 32_768 },
            patience: Duration::from_secs(if quick { 30 } else { 120 }),
            limit: Duration::from_secs(if quick { 30 } else { 90 }),
            budget: Duration::from_secs(if quick { 2 } else { 20 }),
            storm: Duration::from_secs(if quick { 2 } else { 60 }),
        }
    }

    /// At these numbers of Services, if there are any.
    #[must_use]
    pub fn sizes(self, sizes: &[u32]) -> Self {
        if sizes.is_empty() {
            return self;
        }
        let mut sizes = sizes.to_vec();
        sizes.sort_unstable();
        sizes.dedup();
        Self { sizes, ..self }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let names: Vec<&str> = self.subsets.iter().map(|subset| subset.name()).collect();
        format!(
            "subsets: {}\nServices behind the API server: {:?}, of {} endpoints; for kube-shunt alone from a feed: {}\n\
            {} rounds after one for warming up, up to {} more while samples are disturbed; {} ms a sample of traffic; seed {}\n\
            a proxy may take {} s for its first sync, {} s beside the others",
            names.join(", "),
            self.sizes,
            crate::services::ENDPOINTS,
            self.huge,
            self.rounds,
            self.extra_rounds,
            self.sample.as_millis(),
            self.seed,
            self.limit.as_secs(),
            self.patience.as_secs()
        )
    }

    /// Whether `subset` is to be measured.
    pub fn wants(&self, subset: Subset) -> bool {
        self.subsets.contains(&subset)
    }

    /// Whether `subset` is to be measured at `services` Services. A quick run shows that traffic works at the fewest, that connections do not
    /// depend on their number, and programming at the most: it takes a minute.
    pub fn wants_at(&self, subset: Subset, services: u32) -> bool {
        let is = |end: Option<&u32>| end == Some(&services);
        let quick = match subset {
            Subset::Established | Subset::Packets => is(self.sizes.first()),
            Subset::Programming => is(self.sizes.last()),
            Subset::Connections | Subset::Program | Subset::Scale => true,
        };
        self.wants(subset) && (quick || !self.quick)
    }

    /// Whether any of the subsets is such.
    pub fn wants_any(&self, such: impl Fn(Subset) -> bool) -> bool {
        self.subsets.iter().any(|&subset| such(subset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_names_mean_everything() {
        let plan = Plan::new(&[], false, 1);
        assert_eq!(plan.subsets, Subset::value_variants());
        assert!(Subset::value_variants().iter().all(|&one| plan.wants(one)));
    }

    #[test]
    fn names_are_sorted_and_taken_once() {
        let plan = Plan::new(
            &[Subset::Scale, Subset::Connections, Subset::Scale],
            false,
            1,
        );
        assert_eq!(plan.subsets, [Subset::Connections, Subset::Scale]);
        assert!(!plan.wants(Subset::Packets));
    }

    #[test]
    fn sizes_rise_because_services_are_only_added() {
        let plan = Plan::new(&[], false, 1);
        assert_eq!(plan.clone().sizes(&[9, 3, 9]).sizes, [3, 9]);
        assert_eq!(plan.clone().sizes(&[]), plan);
    }

    #[test]
    fn quick_shrinks_counts_and_no_kinds() {
        let (quick, full) = (Plan::new(&[], true, 1), Plan::new(&[], false, 1));
        assert_eq!(quick.subsets, full.subsets);
        assert!(quick.rounds < full.rounds && quick.sample < full.sample);
        assert!(quick.sizes.len() > 1, "a figure must be seen to grow");
        assert!(quick.sizes.iter().all(|size| full.sizes.contains(size)));
    }

    #[test]
    fn a_quick_run_has_every_subset_at_one_size_and_a_full_run_at_all() {
        let (quick, full) = (Plan::new(&[], true, 1), Plan::new(&[], false, 1));
        for &subset in Subset::value_variants() {
            let sizes = |plan: &Plan| {
                let wanted = |size: &&u32| plan.wants_at(subset, **size);
                plan.sizes.iter().filter(wanted).count()
            };
            assert!(sizes(&quick) > 0, "{}", subset.name());
            assert_eq!(sizes(&full), full.sizes.len(), "{}", subset.name());
        }
        let none = Plan::new(&[Subset::Scale], false, 1);
        assert!(!none.wants_at(Subset::Packets, 1));
    }

    #[test]
    fn program_and_scale_need_no_api_server() {
        let alone = |subset| !Plan::new(&[subset], false, 1).wants_any(Subset::needs_api);
        assert!(alone(Subset::Program) && alone(Subset::Scale));
        assert!(!alone(Subset::Programming) && !alone(Subset::Packets));
    }

    #[test]
    fn names_on_the_command_line_are_those_in_records() {
        for subset in Subset::value_variants() {
            let typed = subset.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), subset.name());
        }
    }
}
