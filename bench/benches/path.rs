//! The packet path over maps in memory: relative costs of its branches. What a packet costs in the kernel is `proxy-bench program`.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use proxy_common::addr::{V4, V6};
use proxy_common::sim::build::Build;
use proxy_common::sim::scene::{self, FAMILIES, POD};
use proxy_common::sim::services::Services;
use proxy_common::sim::{Program, Skb, World};

/// Entries of FLOWS: new flows push old ones out, as in a full kernel.
const FLOWS: usize = 65_536;

fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path in memory");
    for names in FAMILIES {
        let mut world = scene::world(scene::settings(), FLOWS);
        let mut services = Services::new(names, 1);
        let frontends = if names.v6 {
            services.all_kinds::<V6>(&mut world)
        } else {
            services.all_kinds::<V4>(&mut world)
        };
        let family = if names.v6 { "IPv6" } else { "IPv4" };
        let vip = *frontends.first().expect("there are frontends");
        let pod = |port| SocketAddr::new(names.pod.parse().expect("an address"), port);
        let stranger = SocketAddr::new(names.outside.parse().expect("an address"), 80);

        let mut port = 1_024u16;
        group.bench_function(format!("{family}: new TCP flow"), |bencher| {
            bencher.iter_batched(
                || {
                    port = port.checked_add(1).unwrap_or(1_024);
                    Skb::new(Build::tcp(pod(port), vip).syn().frame(), POD)
                },
                |skb| ingress(&world, skb),
                BatchSize::SmallInput,
            );
        });
        let syn = Build::tcp(pod(999), vip).syn().frame();
        black_box(ingress(&world, Skb::new(syn, POD)));
        let data = Build::tcp(pod(999), vip).frame();
        group.bench_function(format!("{family}: established TCP"), |bencher| {
            bencher.iter_batched(
                || Skb::new(data.clone(), POD),
                |skb| ingress(&world, skb),
                BatchSize::SmallInput,
            );
        });
        let foreign = Build::tcp(pod(998), stranger).frame();
        group.bench_function(format!("{family}: not a Service's"), |bencher| {
            bencher.iter_batched(
                || Skb::new(foreign.clone(), POD),
                |skb| ingress(&world, skb),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn ingress(world: &World, mut skb: Skb) -> Skb {
    black_box(Program::TcIngress.run(world, &mut skb));
    skb
}

criterion_group!(benches, all);
criterion_main!(benches);
