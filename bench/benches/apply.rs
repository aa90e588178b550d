//! Writing plans into the kernel's maps: a first plan of many Services, and one change. Private maps; needs root, and says so.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use proxy_bench::services::{ENDPOINTS, NODE, Numbered};
use proxy_kernel::explain::{Sandbox, SandboxOptions};
use proxy_model::{Change, MapOp, Object, Planner, PlannerConfig};

const SIZES: [u32; 3] = [1, 1_000, 10_000];

fn slice(number: u32, endpoints: u32) -> Change {
    let text = Numbered::v4(number).slice(endpoints).to_string();
    upserts(&text)
        .into_iter()
        .find(|change| matches!(change, Change::Upsert(Object::EndpointSlice(_))))
        .expect("a slice is a slice")
}

fn upserts(text: &str) -> Vec<Change> {
    let read = kube_shunt::manifests::parse(text).expect("our own objects are good");
    let objects = read.into_iter();
    objects
        .map(|parsed| Change::Upsert(parsed.object))
        .collect()
}

fn all(criterion: &mut Criterion) {
    let mut sandbox = match Sandbox::new(&SandboxOptions::default()) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            println!("SKIPPED apply: {error}");
            return;
        }
    };
    let mut group = criterion.benchmark_group("map apply");
    group.sample_size(20);
    for services in SIZES {
        let mut planner = Planner::new(PlannerConfig::new(NODE));
        for number in 0..services {
            for change in upserts(&Numbered::v4(number).service().to_string()) {
                planner.apply(change);
            }
            planner.apply(slice(number, ENDPOINTS));
        }
        let first = planner.plan(0);
        group.bench_function(BenchmarkId::new("first plan", services), |bencher| {
            bencher.iter(|| assert!(sandbox.apply(&first).error.is_none()));
        });
        let (last, mut now_ms) = (services - 1, 0);
        let mut plan = |endpoints| {
            now_ms += 2_000;
            planner.apply(slice(last, endpoints));
            planner.plan(now_ms)
        };
        let there_and_back: [Vec<MapOp>; 2] = [plan(ENDPOINTS - 1), plan(ENDPOINTS)];
        let mut turn = 0usize;
        group.bench_function(
            BenchmarkId::new("one endpoint changes", services),
            |bencher| {
                bencher.iter_batched(
                    || {
                        turn += 1;
                        there_and_back.get(turn % 2).cloned().unwrap_or_default()
                    },
                    |ops| assert!(sandbox.apply(&ops).error.is_none()),
                    BatchSize::SmallInput,
                );
            },
        );
        if let Err(error) = sandbox.clear() {
            println!("the maps stay full: {error}");
        }
    }
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
