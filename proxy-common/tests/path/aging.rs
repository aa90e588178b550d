//! Connections that are over leave FLOWS: which, and what is counted.

use proxy_common::addr::{Addr, V4, V6};
use proxy_common::be::Be16;
use proxy_common::flags::{FrontendFlags, flow_state};
use proxy_common::key::FlowKey;
use proxy_common::path::hook::age::{HEADER, KEYS, bytes};
use proxy_common::reason::Reason;
use proxy_common::sim::World;
use proxy_common::sim::build::Build;
use proxy_common::sim::frame::age;
use proxy_common::sim::world::Holds;
use proxy_common::value::{BackendState, Flow, Frontend};

use crate::node::{FAMILIES, Names, Node, POD, TCP, at};

/// A node whose only Service counts connections to its only backend.
fn node(names: &Names) -> Node {
    let mut node = Node::new();
    let slice = node.set(&[(at(names.remote, 8080), false)]);
    let value = Frontend {
        flags: FrontendFlags::LEAST_CONNECTIONS,
        slices: [slice; 3],
        ..Frontend::default()
    };
    node.write(at(names.vip, 80), TCP, value);
    node
}

/// A connection from `port`, answered.
fn connect(node: &Node, names: &Names, port: u16) {
    let (client, backend) = (at(names.pod, port), at(names.remote, 8080));
    let syn = Build::tcp(client, at(names.vip, 80)).syn();
    assert_eq!(node.enter(POD, &syn.packet()).reasons, [Reason::NewFlow]);
    let answer = Build::tcp(backend, client).syn_ack();
    assert_eq!(
        node.leave(POD, &answer.packet()).reasons,
        [Reason::Established]
    );
}

/// The client of `port` resets its connection.
fn reset(node: &Node, names: &Names, port: u16) {
    let rst = Build::tcp(at(names.pod, port), at(names.vip, 80)).flags(0x14);
    assert_eq!(
        node.enter(POD, &rst.packet()).reasons,
        [Reason::Established]
    );
}

/// Connections that the backend's count has.
fn active(node: &Node) -> u32 {
    node.world.states.get(1).unwrap().active
}

/// A batch of all keys in FLOWS.
fn everything(node: &Node, names: &Names) -> Vec<u8> {
    fn of<A: Addr>(flows: &[(FlowKey<A>, Flow<A>)]) -> Vec<u8> {
        let keys = flows.iter().flat_map(|(key, _)| bytes(key));
        HEADER.into_iter().chain(keys).collect()
    }
    if names.v6 {
        of(&node.world.v6.flows.all())
    } else {
        of(&node.world.v4.flows.all())
    }
}

/// Runs the batch; how many entries went.
fn run(node: &Node, names: &Names, batch: &[u8]) -> u32 {
    if names.v6 {
        age::<V6>(&node.world, batch)
    } else {
        age::<V4>(&node.world, batch)
    }
}

#[test]
fn both_entries_of_a_closed_connection_go_and_are_counted_as_one() {
    for names in &FAMILIES {
        let node = node(names);
        (4000..4003).for_each(|port| connect(&node, names, port));
        (4000..4002).for_each(|port| reset(&node, names, port));
        let batch = everything(&node, names);
        assert_eq!((node.entries().0, active(&node)), (6, 3));
        node.wait(3);
        assert_eq!(run(&node, names, &batch), 0);
        node.wait(1);
        assert_eq!(run(&node, names, &batch), 4);
        assert_eq!((node.entries().0, active(&node)), (2, 1));
        assert_eq!(run(&node, names, &batch), 0);
        assert_eq!((node.entries().0, active(&node)), (2, 1));
    }
}

#[test]
fn connection_that_begins_anew_behind_the_walk_is_left_alone_before_its_answer_and_after() {
    for names in &FAMILIES {
        let node = node(names);
        connect(&node, names, 4000);
        reset(&node, names, 4000);
        node.wait(4);
        let batch = everything(&node, names);
        let client = at(names.pod, 4000);
        let syn = Build::tcp(client, at(names.vip, 80)).syn();
        node.enter(POD, &syn.packet());
        assert_eq!(run(&node, names, &batch), 0);
        let answer = Build::tcp(at(names.remote, 8080), client).syn_ack();
        node.leave(POD, &answer.packet());
        assert_eq!(run(&node, names, &batch), 0);
        assert_eq!((node.entries().0, active(&node)), (2, 1));
    }
}

/// One entry of a closed connection, and a batch that names it.
fn lonely<A: Addr>(names: &Names, reply: bool) -> (FlowKey<A>, Flow<A>, Vec<u8>)
where
    World: Holds<A>,
{
    let node = node(names);
    connect(&node, names, 4000);
    reset(&node, names, 4000);
    let flows = Holds::<A>::family(&node.world).flows.all();
    let (key, flow) = flows
        .into_iter()
        .find(|(key, _)| (key.sport == Be16::new(8080)) == reply)
        .unwrap();
    (key, flow, HEADER.into_iter().chain(bytes(&key)).collect())
}

fn goes_alone<A: Addr>(names: &Names)
where
    World: Holds<A>,
{
    // Only the client's entry stands for the connection in the count.
    for (reply, left) in [(true, 7), (false, 6)] {
        let (key, flow, batch) = lonely::<A>(names, reply);
        let node = node(names);
        Holds::<A>::family(&node.world).put_flow(key, flow);
        let state = node.world.states.get(1).unwrap();
        node.world
            .states
            .set(1, BackendState { active: 7, ..state });
        let patience = if flow_state::closed(flow.state) {
            4
        } else {
            86_401
        };
        node.wait(patience - 1);
        assert_eq!(age::<A>(&node.world, &batch), 0);
        node.wait(1);
        assert_eq!(age::<A>(&node.world, &batch), 1);
        assert_eq!((node.entries().0, active(&node)), (0, left));
    }
}

#[test]
fn entry_without_a_peer_goes_alone() {
    goes_alone::<V4>(&FAMILIES[0]);
    goes_alone::<V6>(&FAMILIES[1]);
}

#[test]
fn batch_is_read_up_to_its_end_and_no_further_than_its_size() {
    for names in &FAMILIES {
        let node = node(names);
        for port in [4000, 4001] {
            connect(&node, names, port);
            reset(&node, names, port);
        }
        node.wait(4);
        let keys = everything(&node, names).split_off(HEADER.len());
        let (first, others) = keys.split_at(keys.len() / 4);
        let [short, cut] = [0, first.len() - 1].map(|end| [&HEADER, &first[..end]].concat());
        for batch in [&HEADER[..HEADER.len() - 2], &short, &cut] {
            assert_eq!(run(&node, names, batch), 0);
        }
        // The same key again and again: nothing is left of its connection, and all that follows is too much.
        let batch = [&HEADER, first.repeat(KEYS).as_slice(), others].concat();
        assert_eq!(run(&node, names, &batch), 2);
        let batch = [&HEADER, first.repeat(KEYS - 3).as_slice(), others].concat();
        assert_eq!(run(&node, names, &batch), 2);
        assert_eq!(node.entries().0, 0);
    }
}
