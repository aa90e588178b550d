//! The planner: a first plan of many Services, and the plan of one change among them. No kernel, no API server.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use proxy_bench::services::{ENDPOINTS, NODE, Numbered};
use proxy_model::{Change, Object, Planner, PlannerConfig};

const SIZES: [u32; 3] = [1, 1_000, 10_000];

/// The objects of Service `number`, as an agent gets them.
fn objects(number: u32, endpoints: u32) -> Vec<Change> {
    let read = |object: serde_json::Value| {
        let text = object.to_string();
        kube_shunt::manifests::parse(&text).expect("our own objects are good")
    };
    [
        Numbered::v4(number).service(),
        Numbered::v4(number).slice(endpoints),
    ]
    .into_iter()
    .flat_map(read)
    .map(|parsed| Change::Upsert(parsed.object))
    .collect()
}

fn planner(changes: &[Change]) -> Planner {
    let mut planner = Planner::new(PlannerConfig::new(NODE));
    for change in changes {
        planner.apply(change.clone());
    }
    planner
}

fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner");
    group.sample_size(20);
    for services in SIZES {
        let changes: Vec<Change> = (0..services)
            .flat_map(|number| objects(number, ENDPOINTS))
            .collect();
        let id = |name| BenchmarkId::new(name, services);
        group.bench_function(id("take all objects"), |bencher| {
            bencher.iter_batched(
                || changes.clone(),
                |changes| {
                    let mut planner = Planner::new(PlannerConfig::new(NODE));
                    for change in changes {
                        planner.apply(change);
                    }
                    planner
                },
                BatchSize::PerIteration,
            );
        });
        let fresh = planner(&changes);
        group.bench_function(id("first plan"), |bencher| {
            bencher.iter_batched(
                || fresh.clone(),
                |mut planner| (planner.plan(0), planner),
                BatchSize::PerIteration,
            );
        });
        let mut planned = fresh;
        drop(planned.plan(0));
        let [less, whole] = [ENDPOINTS - 1, ENDPOINTS].map(|count| {
            let last = services.saturating_sub(1);
            let slice = objects(last, count)
                .into_iter()
                .find(|change| matches!(change, Change::Upsert(Object::EndpointSlice(_))));
            slice.expect("a slice is among the objects")
        });
        let (mut now_ms, mut small) = (0, false);
        group.bench_function(id("one endpoint changes"), |bencher| {
            bencher.iter_batched(
                || {
                    small = !small;
                    // Slots are free again after their grace period.
                    now_ms += 2_000;
                    (if small { less.clone() } else { whole.clone() }, now_ms)
                },
                |(change, now_ms)| {
                    planned.apply(change);
                    planned.plan(now_ms)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
