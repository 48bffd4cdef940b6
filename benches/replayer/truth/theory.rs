//! What queueing theory says of the response times of M/M/c and M/D/1, first come first served.

/// The quantile of the response time of M/M/c, in seconds.
///
/// With `a = λ/μ` and Erlang's C the probability of waiting, `P(T > t) = e^(−μt)·(1 + C·(1 − e^(−μt(c−1−a)))/(c−1−a))`.
/// Source: Shortle, Thompson, Gross and Harris, *Fundamentals of Queueing Theory* (2018), section 3.3.
pub(super) fn erlang(rate: f64, mean: f64, servers: usize, quantile: f64) -> f64 {
    let (a, c, mu) = (rate * mean, servers as f64, 1.0 / mean);
    // Erlang's B by its recursion, and C from it.
    let blocked = (1..=servers).fold(1.0, |blocked, n| a * blocked / (n as f64 + a * blocked));
    let waits = blocked / (1.0 - a / c * (1.0 - blocked));
    let left = c - 1.0 - a;
    inverse(quantile, |t| {
        let more = if left.abs() < 1e-9 { mu * t } else { (1.0 - (-mu * t * left).exp()) / left };
        1.0 - (-mu * t).exp() * (1.0 + waits * more)
    })
}

/// The quantile of the response time of M/D/1, in seconds.
///
/// For `(k−1)D ≤ x < kD`: `P(W ≤ x) = e^(−λ(kD−x))·Σ_{j<k} Q_{k−1−j}·(λ(kD−x))^j/j!`, with `Q_m` the probability of at
/// most `m + 1` in the system: a sum of positive terms, where Crommelin's own alternates and loses all digits. Source:
/// Franx, *A simple solution for the M/D/c waiting time distribution*, Operations Research Letters 29 (2001).
pub(super) fn crommelin(rate: f64, service: f64, quantile: f64) -> f64 {
    let at_most = at_most(rate * service, 600);
    service
        + inverse(quantile, |x| {
            let k = (x / service).floor() as usize + 1;
            let left = rate * (k as f64 * service - x);
            let (mut term, mut sum) = ((-left).exp(), 0.0);
            for j in 0..k {
                sum += term * at_most[(k - j).min(at_most.len() - 1)];
                term *= left / (j + 1) as f64;
            }
            sum
        })
}

/// The probabilities of at most 0, 1, 2 … in M/D/1 of this load.
///
/// From the balance of the flows up and down through each level, `a_0·p_n = p_0·A_{n−1} + Σ_{0<i<n} p_i·A_{n−i}` with
/// `A_k` the probability of more than `k` arrivals in a service: positive terms, again.
fn at_most(load: f64, most: usize) -> Vec<f64> {
    let mut arrivals = vec![(-load).exp()];
    for k in 1..60 {
        arrivals.push(arrivals[k - 1] * load / k as f64);
    }
    let more: Vec<f64> = (0..60).map(|k| arrivals[k + 1..].iter().sum()).collect();
    let mut exactly = vec![1.0 - load];
    for n in 1..=most {
        let mut flow = if n <= more.len() { exactly[0] * more[n - 1] } else { 0.0 };
        flow += (1..n).filter_map(|i| Some(exactly[i] * more.get(n - i)?)).sum::<f64>();
        exactly.push(flow / arrivals[0]);
    }
    exactly
        .iter()
        .scan(0.0, |sum, one| {
            *sum += one;
            Some(*sum)
        })
        .collect()
}

/// Where an increasing function of a time reaches `wanted`.
fn inverse(wanted: f64, of: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e-3);
    while of(high) < wanted && high < 1e6 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if of(middle) < wanted { low = middle } else { high = middle }
    }
    high
}
