//! Queueing theory that needs no fit: Erlang's C, the response of M/M/c, and closed networks solved exactly.
//!
//! Lengths are in seconds or in units of the mean service, as each function says. Networks are solved by
//! convolution and not by mean value analysis: both are exact, but the recursion of MVA subtracts numbers of
//! equal size for many servers, while a convolution only adds.

/// The most requests in flight, or servers, for which anything is computed.
const MOST: usize = 4_000;

/// A place of a closed network, with its demand: seconds of it that one request needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Station {
    /// Visits × mean service, in seconds.
    pub demand_seconds: f64,
    /// How many requests it serves at once; `usize::MAX` when nobody waits there.
    pub servers: usize,
}

/// What a closed network does with so many requests in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosedLoad {
    /// Requests in flight.
    pub customers: usize,
    /// Requests per second.
    pub throughput_per_second: f64,
    /// The mean response in seconds, think time not counted.
    pub response_seconds: f64,
}

/// The share of arrivals that wait in M/M/c with `servers` and `erlangs` of offered work, in `0..=1`.
///
/// Source: Erlang (1917), by the recursion of the B formula, which neither overflows nor cancels.
pub fn erlang_c(servers: usize, erlangs: f64) -> f64 {
    if erlangs.is_nan() || erlangs <= 0.0 {
        return 0.0;
    }
    let servers = servers.clamp(1, MOST);
    let ratio = erlangs / servers as f64;
    if ratio >= 1.0 {
        return 1.0;
    }
    let lost = (1..=servers).fold(1.0, |lost, k| erlangs * lost / (k as f64 + erlangs * lost));
    lost / (1.0 - ratio * (1.0 - lost))
}

/// The mean response of M/M/c at `load_ratio` of its capacity, in units of the mean service; infinite from 1 on.
///
/// Source: Kleinrock, *Queueing Systems* (1975), volume 1, section 3.5.
pub fn mmc_mean_response(servers: usize, load_ratio: f64) -> f64 {
    if load_ratio >= 1.0 {
        return f64::INFINITY;
    }
    let count = servers.clamp(1, MOST) as f64;
    1.0 + erlang_c(servers, load_ratio * count) / (count * (1.0 - load_ratio))
}

/// The response of M/M/c, first come first served, that the share `quantile` does not exceed, in units of the
/// mean service; infinite from a load ratio of 1 on.
///
/// Source: Gross and Harris, *Fundamentals of Queueing Theory* (1998), section 2.3; solved for the quantile by
/// halving.
pub fn mmc_response_quantile(servers: usize, load_ratio: f64, quantile: f64) -> f64 {
    if load_ratio >= 1.0 {
        return f64::INFINITY;
    }
    let count = servers.clamp(1, MOST) as f64;
    let waiting = erlang_c(servers, load_ratio * count);
    let rest = count * (1.0 - load_ratio);
    let longer = |t: f64| {
        let served = (-t).exp();
        let gap = rest - 1.0;
        // P(T > t) = (1 − W)e^{−t} + W·P(wait + service > t); the second is a sum of two exponentials.
        let both =
            if gap.abs() < 1e-7 { (1.0 + t) * served } else { (rest * served - (-rest * t).exp()) / gap };
        (1.0 - waiting) * served + waiting * both
    };
    let wanted = (1.0 - quantile).clamp(1e-12, 1.0);
    let (mut low, mut high) = (0.0, 1.0);
    while longer(high) > wanted && high < 1e12 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if longer(middle) > wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// A closed network of `stations` with 1 up to `customers` in flight, each of which thinks for `think_seconds`
/// between two requests.
///
/// Exact for exponential service (and for any service where requests share a station). Empty when no station
/// has a demand.
///
/// Source: Buzen, "Computational algorithms for closed queueing networks" (1973).
pub fn closed_network(stations: &[Station], think_seconds: f64, customers: usize) -> Vec<ClosedLoad> {
    let customers = customers.min(MOST);
    let bottleneck = stations
        .iter()
        .filter(|station| station.servers != usize::MAX)
        .map(|station| station.demand_seconds / station.servers.max(1) as f64)
        .chain(std::iter::once(think_seconds / MOST as f64))
        .fold(0.0, f64::max);
    if !(bottleneck > 0.0 && bottleneck.is_finite()) {
        return Vec::new();
    }
    let think = Station { demand_seconds: think_seconds.max(0.0), servers: usize::MAX };
    // Logarithms: the sums span more powers of ten than a number holds.
    let mut sums = vec![f64::NEG_INFINITY; customers + 1];
    sums[0] = 0.0;
    for station in stations.iter().chain(std::iter::once(&think)) {
        let demand = station.demand_seconds / bottleneck;
        if demand.is_nan() || demand <= 0.0 {
            continue;
        }
        if station.servers == 1 {
            for n in 1..=customers {
                sums[n] = log_sum(&[sums[n], demand.ln() + sums[n - 1]]);
            }
        } else {
            sums = convolved(&sums, &several(demand, station.servers, customers));
        }
    }
    (1..=customers)
        .map(|n| {
            let throughput = (sums[n - 1] - sums[n]).exp() / bottleneck;
            ClosedLoad {
                customers: n,
                throughput_per_second: throughput,
                response_seconds: n as f64 / throughput - think.demand_seconds,
            }
        })
        .collect()
}

/// The logarithms of `demandʲ / Π min(i, servers)` for all j.
fn several(demand: f64, servers: usize, customers: usize) -> Vec<f64> {
    let mut logs = vec![0.0; customers + 1];
    for n in 1..=customers {
        logs[n] = logs[n - 1] + (demand / n.min(servers.max(1)) as f64).ln();
    }
    logs
}

fn convolved(one: &[f64], other: &[f64]) -> Vec<f64> {
    (0..one.len()).map(|n| log_sum(&(0..=n).map(|k| one[k] + other[n - k]).collect::<Vec<f64>>())).collect()
}

/// The logarithm of the sum of numbers that are given by their logarithms.
fn log_sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erlangs_table_is_met() {
        // Erlang's own example: 2 servers, 1 erlang: C = 1/3. With one server C is the load.
        assert!((erlang_c(2, 1.0) - 1.0 / 3.0).abs() < 1e-15);
        assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-15);
        assert_eq!((erlang_c(3, 0.0), erlang_c(3, 3.0), erlang_c(0, f64::NAN)), (0.0, 1.0, 0.0));
    }

    #[test]
    fn the_response_of_a_single_server_is_exponential() {
        // M/M/1: P(T > t) = exp(−(1 − ρ)t).
        for ratio in [0.0, 0.3, 0.9] {
            let expected = -(0.05_f64.ln()) / (1.0 - ratio);
            assert!((mmc_response_quantile(1, ratio, 0.95) / expected - 1.0).abs() < 1e-9);
            assert!((mmc_mean_response(1, ratio) - 1.0 / (1.0 - ratio)).abs() < 1e-12);
        }
        assert!(mmc_response_quantile(4, 1.0, 0.5).is_infinite());
    }

    #[test]
    fn a_network_of_many_servers_neither_overflows_nor_cancels() {
        // Nobody waits below 1 500 of them, and above they all work: X = min(N, c) / D.
        let loads = closed_network(&[Station { demand_seconds: 0.5, servers: 1_500 }], 0.0, 2_000);
        for load in loads.iter().step_by(100) {
            let expected = load.customers.min(1_500) as f64 / 0.5;
            assert!((load.throughput_per_second / expected - 1.0).abs() < 1e-9, "{load:?}");
        }
        assert!(closed_network(&[], 0.0, 10).is_empty());
        assert!(closed_network(&[Station { demand_seconds: f64::NAN, servers: 1 }], 0.0, 10).is_empty());
    }
}
