//! The report as a whole: from outcomes to JSON and back, to tables, verdicts and plots.

use integration::live::Flows;
use integration::topology::Family;

use super::*;
use crate::contestant::Contestant;
use crate::plan::{Plan, Subset};
use crate::record::{Better, LeftOut, Outcome, Position, Record, Sample};
use crate::services::Edge;
use crate::workload::{connections, packets};

fn record(contestant: Contestant, services: u32, samples: &[(f64, bool)]) -> Record {
    let variant = connections::variant(connections::POD, 1, "p50");
    let name = Subset::Connections.name();
    let samples = samples
        .iter()
        .map(|&(value, disturbed)| Sample { value, disturbed });
    Record::new(name, variant, contestant, services, "us", Better::Lower).with(samples)
}

fn results(outcomes: Vec<Outcome>) -> Results {
    let plan = Plan::new(&[], false, 1);
    Results::new(
        &plan,
        "cargo xtask bench".to_owned(),
        1.0,
        "may halt".to_owned(),
        outcomes,
    )
    .unwrap()
}

/// The verdict on `connect()` of pods against their own addresses.
fn verdict(outcomes: Vec<Outcome>) -> (String, &'static str) {
    verdict_on("connect() alone", outcomes)
}

fn verdict_on(what: &str, outcomes: Vec<Outcome>) -> (String, &'static str) {
    let lines = targets::judge(&results(outcomes));
    let line = lines.into_iter().find(|line| {
        line.what.starts_with(what) && line.what.contains("pod's address, packet path")
    });
    let line = line.expect("a target");
    (line.measured, line.verdict)
}

#[test]
fn json_keeps_everything() {
    let left_out = LeftOut::new("packets", Contestant::Ipvs, 10, "this kernel has no ip_vs");
    let record =
        record(Contestant::KubeShunt, 10, &[(1.5, false), (2.5, true)]).at(Some(Position::Last));
    let results = results(vec![record.into(), left_out.into()]);
    let text = serde_json::to_string(&results).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
}

#[test]
fn runs_of_one_machine_are_joined_and_of_two_refused() {
    let run = |services, samples: &[(f64, bool)]| {
        results(vec![record(Contestant::Direct, services, samples).into()])
    };
    let (one, mut other) = (run(1, &[(1.0, false)]), run(10, &[(2.0, false)]));
    let joined = Results::join(vec![one.clone(), other.clone()]).unwrap();
    let outcomes = [one.outcomes.clone(), other.outcomes.clone()].concat();
    assert_eq!(joined.outcomes, outcomes);
    assert!((joined.seconds - 2.0).abs() < f64::EPSILON);
    other.machine.processors += 1;
    let error = Results::join(vec![one, other]).unwrap_err();
    assert!(error.to_string().contains("differ in machine"), "{error}");
}

/// A run of the same workload that found these values.
fn run(records: &[(Contestant, u32, f64)]) -> Results {
    let outcomes = records.iter().map(|&(contestant, services, value)| {
        record(contestant, services, &[(value, false)]).into()
    });
    results(outcomes.collect())
}

#[test]
fn a_size_that_was_measured_again_in_part_is_replaced_for_all() {
    let first = [
        (Contestant::Direct, 1, 1.0),
        (Contestant::Direct, 10, 2.0),
        (Contestant::KubeShunt, 10, 3.0),
    ];
    let again = [(Contestant::KubeShunt, 10, 4.0)];
    let joined = Results::join(vec![run(&first), run(&again)]).unwrap();
    assert_eq!(joined.outcomes, run(&[first[0], again[0]]).outcomes);
}

#[test]
fn a_size_that_was_measured_again_as_a_whole_has_the_samples_of_both() {
    let first = [
        (Contestant::Direct, 10, 1.0),
        (Contestant::KubeShunt, 10, 2.0),
        (Contestant::Direct, 1, 3.0),
    ];
    let again = [
        (Contestant::KubeShunt, 10, 4.0),
        (Contestant::Direct, 10, 5.0),
    ];
    let joined = Results::join(vec![run(&first), run(&again)]).unwrap();
    let both = [
        record(Contestant::Direct, 10, &[(1.0, false), (5.0, false)]),
        record(Contestant::KubeShunt, 10, &[(2.0, false), (4.0, false)]),
        record(Contestant::Direct, 1, &[(3.0, false)]),
    ];
    assert_eq!(joined.outcomes, both.map(Outcome::from));
}

#[test]
fn a_ratio_decides_at_the_worst_number_of_services() {
    let quiet = |contestant, services, value| {
        Outcome::from(record(contestant, services, &[(value, false)]))
    };
    let good = [
        quiet(Contestant::Direct, 1, 100.0),
        quiet(Contestant::KubeShunt, 1, 105.0),
        quiet(Contestant::Direct, 1_000, 100.0),
    ];
    let with = |value| [&good[..], &[quiet(Contestant::KubeShunt, 1_000, value)]].concat();
    assert_eq!(verdict(with(110.0)).1, "met");
    let (measured, verdict) = verdict(with(150.0));
    assert_eq!((&*measured, verdict), ("1.50x at 1,000 Services", "missed"));
}

/// Connections in a second, one at a time.
fn rate(way: &str, contestant: Contestant, services: u32, value: f64) -> Outcome {
    let variant = connections::variant(way, 1, "connections");
    let name = Subset::Connections.name();
    let record = Record::new(name, variant, contestant, services, "1/s", Better::Higher);
    record.with([Sample::quiet(value)]).into()
}

#[test]
fn each_family_is_flat_by_itself() {
    let ours = |way, services, value| rate(way, Contestant::KubeShunt, services, value);
    let outcomes = vec![
        ours(connections::POD, 1, 30_000.0),
        ours(connections::POD, 10, 30_000.0),
        ours(connections::POD6, 1, 24_000.0),
        ours(connections::POD6, 10, 20_000.0),
    ];
    let expected = ("1.20x at 10 Services (IPv6)".to_owned(), "missed");
    assert_eq!(
        target("flat: against 1 Service, packet path", outcomes),
        expected
    );
}

#[test]
fn a_connection_takes_longer_where_there_are_fewer_in_a_second() {
    let outcomes = vec![
        rate(connections::POD, Contestant::Direct, 1, 30_000.0),
        rate(connections::POD, Contestant::KubeShunt, 1, 20_000.0),
    ];
    let (measured, verdict) = verdict_on("new connection (", outcomes);
    assert_eq!((&*measured, verdict), ("1.50x at 1 Service", "missed"));
}

#[test]
fn no_ratio_is_made_of_disturbed_samples() {
    let (measured, verdict) = verdict(vec![
        record(Contestant::Direct, 1, &[(100.0, true), (100.0, true)]).into(),
        record(Contestant::KubeShunt, 1, &[(900.0, false)]).into(),
    ]);
    assert_eq!(
        (&*measured, verdict),
        ("- (other load during the samples)", "not measured")
    );
}

#[test]
fn every_target_is_there_even_if_nothing_was_measured() {
    let lines = targets::judge(&results(Vec::new()));
    assert!(lines.len() > 20, "{}", lines.len());
    assert!(
        lines.iter().all(|line| line.verdict == "not measured"),
        "{lines:?}"
    );
}

#[test]
fn the_table_shows_medians_spreads_and_what_was_disturbed() {
    let quiet = [(10.0, false), (20.0, false), (30.0, false)];
    let disturbed = [(10.0, true), (20.0, true), (30.0, false)];
    let text = markdown::render(
        &results(vec![
            record(Contestant::Direct, 1, &quiet).into(),
            Record {
                failed: 1,
                ..record(Contestant::KubeShunt, 1, &disturbed).at(Some(Position::First))
            }
            .into(),
            LeftOut::new(
                "connections",
                Contestant::Ipvs,
                1_000,
                "no ip_vs\nand a log",
            )
            .into(),
        ]),
        None,
    );
    assert!(
        text.contains("| us ↓ | 1 | 20.0 (15.0–25.0) | 20.0 (15.0–25.0) * !1 |"),
        "{text}"
    );
    assert!(
        text.contains("- kube-proxy ipvs: connections, 1,000 Services: no ip_vs\n"),
        "{text}"
    );
}

#[test]
fn the_summary_names_the_best_of_kube_proxys_modes() {
    let quiet = |contestant, value| Outcome::from(record(contestant, 1, &[(value, false)]));
    let text = summary::render(&results(vec![
        quiet(Contestant::Direct, 50.0),
        quiet(Contestant::KubeShunt, 60.0),
        quiet(Contestant::IptablesLegacy, 90.0),
        quiet(Contestant::Nftables, 80.0),
    ]));
    assert!(text.contains("1.20 x direct"), "{text}");
    assert!(text.contains("0.75 x kube-proxy nftables"), "{text}");
    assert!(!text.contains("iptables (legacy)"), "{text}");
}

#[test]
fn plots_are_drawn_without_fonts_of_the_machine() {
    let quiet = |contestant, services, value| {
        Outcome::from(record(
            contestant,
            services,
            &[(value, false), (value * 1.2, false)],
        ))
    };
    let results = results(vec![
        quiet(Contestant::Direct, 1, 50.0),
        quiet(Contestant::KubeShunt, 1, 55.0),
        quiet(Contestant::Direct, 1_000, 50.0),
        quiet(Contestant::KubeShunt, 1_000, 5_500.0),
    ]);
    let plots = plot::all(&results);
    let [plot] = &plots[..] else {
        panic!("{plots:?}")
    };
    let path = std::env::temp_dir().join(format!("kube-shunt-plot-{}", std::process::id()));
    let (svg, png) = (path.with_extension("svg"), path.with_extension("png"));
    plot.svg(&svg).unwrap();
    plot.png(&png).unwrap();
    let (text, image) = (
        std::fs::read_to_string(&svg).unwrap(),
        std::fs::read(&png).unwrap(),
    );
    std::fs::remove_file(svg).unwrap();
    std::fs::remove_file(png).unwrap();
    assert!(
        text.contains("kube-shunt") && text.contains("1,000"),
        "{text}"
    );
    assert!(image.starts_with(b"\x89PNG") && image.len() > 2_000);
}

#[test]
fn quick_figures_are_not_published() {
    let mut quick = results(Vec::new());
    quick.quick = true;
    let nowhere = Path::new("/nonexistent");
    let error = publish(&quick, nowhere).unwrap_err();
    assert!(error.to_string().contains("quick"), "{error}");
}

/// The target called `name`.
fn target(name: &str, outcomes: Vec<Outcome>) -> (String, &'static str) {
    let lines = targets::judge(&results(outcomes));
    let line = lines.into_iter().find(|line| line.what.contains(name));
    let line = line.expect("a target");
    (line.measured, line.verdict)
}

#[test]
fn the_faster_of_iptables_tools_counts_and_a_missing_one_is_named() {
    let rate = |contestant, services, value| rate(connections::POD, contestant, services, value);
    let name = "the faster of legacy and nft: ClusterIP from a pod";
    let mut outcomes = vec![
        rate(Contestant::KubeShunt, 1, 120.0),
        rate(Contestant::IptablesLegacy, 1, 100.0),
        rate(Contestant::IptablesNft, 1, 80.0),
        rate(Contestant::KubeShunt, 10, 120.0),
        rate(Contestant::IptablesLegacy, 10, 60.0),
        rate(Contestant::KubeShunt, 100_000, 120.0),
    ];
    assert_eq!(
        target(name, outcomes.clone()),
        (
            "1.20x at 1 Service, 1 at a time (no kube-proxy at 100,000 Services; without kube-proxy iptables (nft) at 10 Services)".to_owned(),
            "met"
        )
    );
    outcomes.extend([
        rate(Contestant::KubeShunt, 20, 120.0),
        LeftOut::new("connections", Contestant::IptablesLegacy, 20, "not up").into(),
    ]);
    assert_eq!(target(name, outcomes).1, "met where measured");
}

#[test]
fn who_did_not_come_up_in_time_is_known_to_be_slower_than_that() {
    let cold = "cold start to the last Service";
    let record = Record::new(
        "programming",
        cold,
        Contestant::KubeShunt,
        10_000,
        "s",
        Better::Lower,
    );
    let late = |contestant, seconds| LeftOut {
        variant: cold.to_owned(),
        at_least: Some(seconds),
        ..LeftOut::new("programming", contestant, 10_000, "not up")
    };
    let all = vec![
        record.with([Sample::quiet(2.0)]).into(),
        late(Contestant::IptablesNft, 120.0).into(),
        late(Contestant::Nftables, 90.0).into(),
    ];
    let lines = targets::judge(&results(all));
    let at = lines
        .iter()
        .position(|line| line.what.starts_with("cold start at 10,000"));
    let against = &lines[at.unwrap() + 1];
    assert_eq!(
        (&*against.measured, against.verdict),
        ("≥ 45.0x at 10,000 Services", "met")
    );
}

#[test]
fn where_no_kube_proxy_could_be_packets_have_nobody_to_be_ahead_of() {
    let variant = packets::variant(Family::V4, Edge::Remote, Flows::New);
    let rate = |contestant, services, value| {
        let name = Subset::Packets.name();
        let record = Record::new(name, &*variant, contestant, services, "1/s", Better::Higher);
        Outcome::from(record.with([Sample::quiet(value)]))
    };
    let name = "NodePort, backend elsewhere: new flows/s against kube-proxy nftables, kube-shunt";
    let mut outcomes = vec![
        rate(Contestant::KubeShunt, 1, 3.0),
        rate(Contestant::Nftables, 1, 1.0),
        rate(Contestant::KubeShunt, 100_000, 3.0),
    ];
    let exactly = |outcomes: &[Outcome]| {
        let lines = targets::judge(&results(outcomes.to_vec()));
        let line = lines.into_iter().find(|line| line.what == name);
        line.map(|line| (line.measured, line.verdict)).unwrap()
    };
    let measured = "3.00x at 1 Service (no kube-proxy at 100,000 Services)".to_owned();
    assert_eq!(exactly(&outcomes), (measured, "met"));
    outcomes.extend([
        rate(Contestant::KubeShunt, 10, 3.0),
        LeftOut::new("packets", Contestant::Nftables, 10, "not up").into(),
    ]);
    assert_eq!(exactly(&outcomes).1, "met where measured");
}

#[test]
fn xdp_is_judged_where_it_sends_packets() {
    let lines = targets::judge(&results(Vec::new()));
    let ways = lines
        .iter()
        .filter_map(|line| line.what.strip_suffix(", kube-shunt + XDP"));
    let name = packets::variant(Family::V4, Edge::Remote, Flows::New);
    assert_eq!(
        ways.collect::<Vec<_>>(),
        [format!("{name}/s against kube-proxy nftables")]
    );
}
