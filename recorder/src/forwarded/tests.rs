//! Who the client is, in tables.

use super::*;

fn networks(typed: &[&str]) -> Vec<Network> {
    typed.iter().map(|typed| Network::parse(typed).unwrap()).collect()
}

#[test]
fn a_network_holds_the_addresses_of_its_prefix() {
    let check = |network: &str, address: &str, expected| {
        let network = Network::parse(network).unwrap();
        assert_eq!(network.holds(address.parse().unwrap()), expected, "{network:?} {address}");
    };
    check("10.0.0.0/8", "10.255.0.1", true);
    check("10.0.0.0/8", "11.0.0.1", false);
    check("10.1.2.3", "10.1.2.3", true);
    check("10.1.2.3", "10.1.2.4", false);
    check("0.0.0.0/0", "192.0.2.1", true);
    check("0.0.0.0/0", "::1", false);
    check("10.0.0.0/8", "::ffff:10.1.1.1", true);
    check("2001:db8::/32", "2001:db8:ffff::1", true);
    check("2001:db8::/32", "2001:db9::1", false);
    check("::/0", "2001:db9::1", true);
    for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "shop", "10.0.0/8", "10.0.0.0/-1"] {
        assert_eq!(Network::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn the_client_is_the_right_most_address_that_no_trusted_proxy_has() {
    let check = |peer: &str, fields: &[(&'static str, &'static str)], expected: &str| {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        let trusted = networks(&["10.0.0.0/8", "2001:db8:aaaa::/48"]);
        let found = client(&trusted, peer.parse().unwrap(), &headers);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {fields:?}");
    };
    let xff = "x-forwarded-for";
    // Whoever is not trusted is the client, whatever it says.
    check("192.0.2.9", &[(xff, "198.51.100.1")], "192.0.2.9");
    check("192.0.2.9", &[("forwarded", "for=198.51.100.1")], "192.0.2.9");
    check("10.0.0.1", &[], "10.0.0.1");
    check("10.0.0.1", &[(xff, "198.51.100.1")], "198.51.100.1");
    check("::ffff:10.0.0.1", &[(xff, "198.51.100.1")], "198.51.100.1");
    // nginx's real_ip_recursive: from the right, past trusted ones; what the client itself claims is left.
    check("10.0.0.1", &[(xff, "203.0.113.66, 198.51.100.1, 10.0.0.2")], "198.51.100.1");
    check("10.0.0.1", &[(xff, "203.0.113.66"), (xff, "198.51.100.1,10.0.0.2")], "198.51.100.1");
    check("10.0.0.1", &[(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3");
    check("10.0.0.1", &[(xff, "198.51.100.1:4711")], "198.51.100.1");
    check("10.0.0.1", &[(xff, "[2001:db8:1::7]:4711")], "2001:db8:1::7");
    check("10.0.0.1", &[(xff, "2001:db8:1::7")], "2001:db8:1::7");
    check("10.0.0.1", &[(xff, "203.0.113.66, unknown, 10.0.0.2")], "10.0.0.2");
    check("10.0.0.1", &[(xff, "")], "10.0.0.1");
    // RFC 7239, sections 4 and 5.2.
    check("10.0.0.1", &[("forwarded", "for=192.0.2.43, for=198.51.100.17")], "198.51.100.17");
    check("10.0.0.1", &[("forwarded", "For=\"[2001:db8:cafe::17]:4711\"")], "2001:db8:cafe::17");
    check("10.0.0.1", &[("forwarded", "for=192.0.2.60;proto=http;by=203.0.113.43")], "192.0.2.60");
    check("10.0.0.1", &[("forwarded", "for=192.0.2.43"), ("forwarded", "for=10.0.0.2")], "192.0.2.43");
    check("10.0.0.1", &[("forwarded", "for=192.0.2.43, for=\"_gazonk\"")], "10.0.0.1");
    check("10.0.0.1", &[("forwarded", "for=unknown, for=10.0.0.2")], "10.0.0.2");
    check("10.0.0.1", &[("forwarded", "by=\"a,b;for=1.1.1.1\";for=\"192.0.2.47:47011\"")], "192.0.2.47");
    check("10.0.0.1", &[("forwarded", "by=\"a\\\",\";for=192.0.2.47")], "192.0.2.47");
    check("2001:db8:aaaa::1", &[("forwarded", "for=\"[2001:db8:aaaa::2]\"")], "2001:db8:aaaa::2");
    // Both: the one that more proxies write.
    check("10.0.0.1", &[(xff, "198.51.100.1"), ("forwarded", "for=192.0.2.43")], "198.51.100.1");
}
