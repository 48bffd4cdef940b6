//! Which address a request goes to, as servers come and go.

use std::time::Duration;

use super::*;
use crate::config::Upstream;
use crate::peer::{Http2, Protocol};

/// Servers of these weights and numbers of addresses.
fn servers(balance: Balance, shape: &[(u32, u16)]) -> Arc<Servers> {
    let server = |(number, &(weight, addresses)): (usize, &(u32, u16))| Upstream {
        typed: format!("server-{number}:80"),
        addresses: (0..addresses).map(|at| SocketAddr::from(([127, 0, 0, 1], 1_000 + at))).collect(),
        protocol: Protocol { tls: None, http2: Http2::Never },
        weight,
    };
    let upstreams = Upstreams {
        servers: shape.iter().enumerate().map(server).collect(),
        balance,
        health: None,
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_secs(1),
        pool: 1,
        pool_idle: Duration::from_secs(1),
        host_header: None,
        forwarding: crate::forwarded::Forwarding::Off,
        trusted_proxies: Vec::new(),
    };
    Arc::new(Servers::new(&upstreams))
}

fn at(seconds: u64) -> Offset {
    Offset::ZERO.plus(Duration::from_secs(seconds))
}

fn asked(tried: &[usize], repeatable: bool, seconds: u64) -> Asked<'_> {
    Asked { tried, repeatable, now: at(seconds) }
}

#[test]
fn requests_are_dealt_by_weight() {
    let servers = servers(Balance::RoundRobin, &[(3, 1), (1, 1)]);
    let chosen: Vec<usize> = (0..8).map(|_| servers.choose(asked(&[], true, 0), || 0)).collect();
    assert_eq!(chosen, [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn the_server_with_the_fewest_requests_is_next() {
    let servers = servers(Balance::LeastConnections, &[(1, 1), (1, 1)]);
    let one = servers.hold(0);
    let two = servers.hold(0);
    assert_eq!(servers.choose(asked(&[], true, 0), || 0), 1);
    let three = [servers.hold(1), servers.hold(1), servers.hold(1)];
    assert_eq!(servers.choose(asked(&[], true, 0), || 0), 0);
    assert_eq!(servers.states().iter().map(|state| state.active).collect::<Vec<_>>(), [2, 3]);
    drop((one, two, three));
    assert_eq!(servers.states().iter().map(|state| state.active).sum::<u64>(), 0);
}

#[test]
fn what_refused_is_passed_over_and_one_repeatable_request_tries_it_again() {
    let servers = servers(Balance::RoundRobin, &[(1, 1), (1, 1)]);
    servers.on_refused(0, at(0));

    for _ in 0..4 {
        assert_eq!(servers.choose(asked(&[], true, 9), || 0), 1);
        assert_eq!(servers.choose(asked(&[], false, 11), || 0), 1, "a POST is no probe");
    }
    let chosen: Vec<usize> = (0..4).map(|_| servers.choose(asked(&[], true, 11), || 0)).collect();
    assert_eq!(chosen.iter().filter(|&&chosen| chosen == 0).count(), 1, "{chosen:?}");

    servers.on_connected(0);
    let chosen: Vec<usize> = (0..4).map(|_| servers.choose(asked(&[], false, 11), || 0)).collect();
    assert_eq!(chosen.iter().filter(|&&chosen| chosen == 0).count(), 2, "{chosen:?}");
    assert_eq!(servers.states()[0].failures, 1);
}

#[test]
fn when_all_are_down_they_are_tried_all_the_same() {
    let servers = servers(Balance::Hash, &[(1, 1), (1, 2)]);
    (0..3).for_each(|address| servers.on_refused(address, at(0)));

    let first = servers.choose(asked(&[], true, 1), || 7);
    let second = servers.choose(asked(&[first], true, 1), || 7);
    let third = servers.choose(asked(&[first, second], true, 1), || 7);

    let mut all = [first, second, third];
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
    assert!(!servers.has_more(asked(&all, true, 1)));
    assert!(servers.states().iter().all(|state| !state.up));
}

#[test]
fn a_request_that_may_not_be_repeated_stays_with_the_addresses_of_its_server() {
    let servers = servers(Balance::RoundRobin, &[(1, 2), (1, 1)]);
    assert_eq!(servers.choose(asked(&[], false, 0), || 0), 0);
    assert!(servers.has_more(asked(&[0], false, 0)));
    assert_eq!(servers.choose(asked(&[0], false, 0), || 0), 1);
    assert!(!servers.has_more(asked(&[0, 1], false, 0)));
    assert!(servers.has_more(asked(&[0, 1], true, 0)));
}

#[test]
fn of_a_names_addresses_the_one_that_took_a_connection_last_goes_first() {
    let servers = servers(Balance::RoundRobin, &[(1, 3)]);
    assert_eq!(servers.choose(asked(&[], true, 0), || 0), 0);
    servers.on_connected(2);
    assert_eq!(servers.choose(asked(&[], true, 0), || 0), 2);
    assert_eq!(servers.choose(asked(&[2], true, 0), || 0), 0);
}

#[test]
fn a_session_stays_with_its_server_and_moves_when_that_is_away() {
    let servers = servers(Balance::Hash, &[(1, 1), (1, 1), (1, 1)]);
    let of = |key: u64| servers.choose(asked(&[], false, 1), || hash(&[&key.to_le_bytes()]));
    let before: Vec<usize> = (0..300).map(of).collect();
    servers.on_refused(1, at(0));
    let after: Vec<usize> = (0..300).map(of).collect();

    assert!((0..3).all(|server| before.contains(&server)));
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(*after, 1);
        assert!(before == after || *before == 1);
    }
}

#[test]
fn a_host_is_a_name_with_or_without_a_port() {
    for right in ["shop", "shop:8080", "[::1]:80", "a_b.c-d"] {
        assert!(HostHeader::parse(right).is_some(), "{right}");
    }
    for wrong in ["", "a b", "a\r\nb", "user@shop", "http://shop", "ä"] {
        assert!(HostHeader::parse(wrong).is_none(), "{wrong}");
    }
}
