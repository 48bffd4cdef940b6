//! Decides which copy of which request is due when.
//!
//! *More users, not faster ones*: a scale of 10 is ten copies of every recorded session, each shifted in
//! time by its own seeded amount (copy 0 by none), each with its own connections. A request of the capture
//! that arrived at `a` is due, in its copy, at every moment that equals `a + shift` modulo the span: the
//! capture repeats for as long as the run lasts, and any stretch of one span holds every request of every
//! copy exactly once.
//!
//! A session of copy `k` takes part while the scale is above `k + u`, with `u` in `0..1` its own: so a scale
//! of 2.5 is two whole copies and half of the sessions of a third (by their share of the requests), and the
//! copies of a lower scale are among those of a higher.
//!
//! A session with bindings takes part as the scale is when it begins, and then as a whole: entered in the middle it
//! would lack what its answers give. So a load of such sessions follows a ramp, or the end of a peak, by as much later as
//! they last.
//!
//! Where sessions are too few or too long for that, single requests are taken instead of whole sessions.
//!
//! A route that is to be sent f times as often takes part as if the scale were f times as high: the copies
//! beyond the scale hold its requests alone, on connections of their own.
//!
//! A scale multiplies production. Of a sample of its sessions it takes more copies: as many as the scale,
//! divided by the sampling ratio.
//!
//! Windows are made one after another, in memory that depends on the window alone. Nothing here knows of
//! answers: a slow target never slows the plan.

use captures::{Offset, Stage};

use crate::correlate::links::NONE;
use crate::plan::{Plan, PlannedRequest};
use crate::stages::scale_at;

/// The largest shift of a copy, and the share of the span that bounds it too.
const MAX_SHIFT_NANOS: u64 = 30_000_000_000;
const MAX_SHIFT_SHARE: u64 = 20;
/// The number of the lap of sessions that begin with the run.
pub(crate) const FIRST_LAP: u32 = 2;

/// One request of one copy, with its due moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) at: Offset,
    pub(crate) copy: u32,
    /// The index into the plan's requests.
    pub(crate) request: u32,
    /// Which repetition of the capture it belongs to: with the copy, it tells connections apart.
    pub(crate) lap: u32,
}

/// What fractions of the load are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole sessions: a fraction of the users.
    Session,
    /// Single requests: evenly thinned, whoever sends them. For captures of few or endless sessions.
    Request,
}

/// All that will be due, window by window.
#[derive(Debug)]
pub(crate) struct Schedule<'plan> {
    plan: &'plan Plan,
    /// The levels in copies.
    stages: Vec<Stage>,
    seed: u64,
    span: u64,
    largest_shift: u64,
    /// For each session, the least and the largest shift of its copies. A session with bindings stays within one
    /// repetition of the capture: torn in two, it would lack its login.
    shifts: Vec<(i64, i64)>,
    /// Fractions are made of single requests, not of whole sessions.
    by_request: bool,
    /// The most times that any route is sent as often as it was recorded, and at least 1.
    most_factor: f64,
    /// For each session with bindings, its first arrival; `None` of one without.
    begins: Vec<Option<u64>>,
    /// The longest of them.
    longest: u64,
    /// For each session, where its share of the requests lies in `0..1`: the middle of its stretch.
    places: Vec<f64>,
}

impl<'plan> Schedule<'plan> {
    /// Whole sessions.
    #[cfg(test)]
    pub(crate) fn new(plan: &'plan Plan, stages: Vec<Stage>, seed: u64) -> Self {
        Self::by(Unit::Session, plan, stages, seed)
    }

    pub(crate) fn by(unit: Unit, plan: &'plan Plan, mut stages: Vec<Stage>, seed: u64) -> Self {
        for stage in &mut stages {
            stage.from *= plan.copies_at_1x();
            stage.to *= plan.copies_at_1x();
        }
        let span = u64::try_from(plan.span().as_nanos()).unwrap_or(u64::MAX).max(1);
        let largest_shift = (span / MAX_SHIFT_SHARE).min(MAX_SHIFT_NANOS);
        let shifts = shifts(plan, span, largest_shift);
        let (begins, longest) = begins(plan);
        let by_request = unit == Unit::Request;
        let most_factor = plan.factors.iter().copied().fold(1.0, f64::max);
        Self {
            plan,
            stages,
            seed,
            span,
            largest_shift,
            shifts,
            by_request,
            most_factor,
            begins,
            longest,
            places: places(plan, seed),
        }
    }

    /// The end of the last stage.
    pub(crate) fn end(&self) -> Offset {
        self.stages.last().map_or(Offset::ZERO, |stage| stage.end)
    }

    /// All that is due in `from..to`, in order.
    pub(crate) fn window(&self, from: Offset, to: Offset) -> Vec<Due> {
        let to = to.min(self.end());
        let mut dues = Vec::new();
        let copies = self.copies(from, to);
        if copies == 0 || to <= from {
            return dues;
        }
        let (low, high) = (i128::from(from.as_nanos()), i128::from(to.as_nanos()));
        for (lap, (first, last)) in self.laps(from, to) {
            for (index, request) in self.plan.requests.iter().enumerate().take(last).skip(first) {
                let factor = self.plan.factor(request);
                for copy in 0..copies {
                    let at = i128::from(request.arrived) + self.shift(copy, request.session) + lap;
                    if at < low || at >= high {
                        continue;
                    }
                    let at = Offset::from_nanos(u64::try_from(at).unwrap_or(0));
                    let threshold = self.threshold(copy, request.session, index);
                    if threshold < scale_at(&self.stages, self.entered(request, at)) * factor {
                        dues.push(Due {
                            at,
                            copy,
                            request: u32::try_from(index).unwrap_or(u32::MAX),
                            // Laps begin before 0: the tail of sessions that began before the run.
                            lap: u32::try_from(lap / i128::from(self.span) + i128::from(FIRST_LAP))
                                .unwrap_or(0),
                        });
                    }
                }
            }
        }
        dues.sort_unstable();
        dues
    }

    /// The first moment from `from` on at which anything may be due. Before it nothing is, though not all that may be
    /// due then need be.
    pub(crate) fn quiet_until(&self, from: Offset) -> Offset {
        // The first copy is not shifted.
        let shift =
            if self.copies(Offset::ZERO, self.end()) > 1 { i128::from(self.largest_shift) } else { 0 };
        let (span, low) = (i128::from(self.span), i128::from(from.as_nanos()) - shift);
        let (lap, place) = (low.div_euclid(span), low.rem_euclid(span));
        let requests = &self.plan.requests;
        let next = requests.partition_point(|request| i128::from(request.arrived) < place);
        let arrived = |request: &PlannedRequest| i128::from(request.arrived);
        let at = match (requests.get(next), requests.first()) {
            (Some(request), _) => lap * span + arrived(request),
            (None, Some(first)) => (lap + 1) * span + arrived(first),
            (None, None) => return self.end(),
        };
        from.max(Offset::from_nanos(u64::try_from(at - shift).unwrap_or(0)))
    }

    /// The most that may be due in `from..to`: as many as [`Schedule::window`] looks at.
    pub(crate) fn at_most(&self, from: Offset, to: Offset) -> u64 {
        let requests: usize = self.laps(from, to).map(|(_, (first, last))| last - first).sum();
        u64::from(self.copies(from, to)).saturating_mul(requests as u64)
    }

    /// The repetitions of the capture of which a part may be due in `from..to`: the moment at which each begins,
    /// before the run or in it, and between which requests that part lies.
    fn laps(&self, from: Offset, to: Offset) -> impl Iterator<Item = (i128, (usize, usize))> {
        let (span, shift) = (i128::from(self.span), i128::from(self.largest_shift));
        let (low, high) = (i128::from(from.as_nanos()), i128::from(to.as_nanos()));
        let laps = (low - shift).div_euclid(span) - 1..=(high + shift).div_euclid(span);
        laps.map(move |lap| {
            let place = |moment: i128| {
                let moment = (moment - lap * span).clamp(0, span);
                self.plan.requests.partition_point(|request| i128::from(request.arrived) < moment)
            };
            (lap * span, (place(low - shift), place(high + shift)))
        })
    }

    /// The moment whose scale decides whether `request`, due at `at`, takes part.
    fn entered(&self, request: &PlannedRequest, at: Offset) -> Offset {
        match self.begins[request.session as usize] {
            Some(first) if !self.by_request => {
                Offset::from_nanos(at.as_nanos().saturating_sub(request.arrived - first))
            }
            _ => at,
        }
    }

    /// How many requests the whole run will plan, nearly: the area under the load curve times the recorded
    /// rate.
    pub(crate) fn expected(&self) -> u64 {
        let spans: f64 = self
            .stages
            .iter()
            .map(|stage| (stage.from + stage.to) / 2.0 * stage.end.since(stage.begin).as_secs_f64())
            .sum();
        (spans / self.plan.copies_at_1x() * self.plan.rate().as_per_second()).round() as u64
    }

    /// A number that all requests of one connection share, and those that are bound to one another's answers.
    pub(crate) fn connection_of(&self, due: &Due) -> u64 {
        let connection = self.plan.group(self.plan.requests[due.request as usize].connection);
        mix(u64::from(due.copy) << 32 | u64::from(due.lap)) ^ u64::from(connection)
    }

    /// Has the bytes of a request read from disk, so that they are at hand when it is due.
    pub(crate) fn read_ahead(&self, due: &Due) {
        if self.plan.is_on_disk() {
            std::hint::black_box(self.plan.text(&self.plan.requests[due.request as usize]));
        }
    }

    /// How many copies take part at some moment of `from..to`.
    fn copies(&self, from: Offset, to: Offset) -> u32 {
        // Sessions that began earlier may go on.
        let from = Offset::from_nanos(from.as_nanos().saturating_sub(self.longest));
        let highest = self
            .stages
            .iter()
            .filter(|stage| stage.begin < to && stage.end > from)
            .map(|stage| stage.from.max(stage.to))
            .fold(0.0, f64::max);
        // Far below the limit of the type: the command refuses what no machine could send.
        (highest * self.most_factor).ceil() as u32
    }

    /// By how much the session's copy is moved, in nanoseconds.
    fn shift(&self, copy: u32, session: u32) -> i128 {
        if copy == 0 || self.largest_shift == 0 {
            return 0;
        }
        let draw = mix(self.seed ^ mix(u64::from(copy) << 32 | u64::from(session)));
        let (least, largest) = self.shifts[session as usize];
        let width = u128::from(largest.abs_diff(least)) + 1;
        // The high half of the product is uniform in 0..width.
        let place = (u128::from(draw) * width) >> 64;
        i128::try_from(place).unwrap_or(0) + i128::from(least)
    }

    /// The scale above which the copy of the session, or of the request, takes part.
    fn threshold(&self, copy: u32, session: u32, request: usize) -> f64 {
        if self.by_request {
            // Kronecker's sequence: however few are taken, they lie evenly, on every route and at every time.
            let offset = (mix(self.seed) >> 11) as f64 / (1_u64 << 53) as f64;
            let place =
                offset + request as f64 * 0.618_033_988_749_894_9 + f64::from(copy) * 0.414_213_562_373_095_1;
            return f64::from(copy) + place.fract();
        }
        // Another rotation for each copy, by the golden ratio, so that not always the same sessions stay out.
        let place = self.places[session as usize] + f64::from(copy) * 0.618_033_988_749_894_9;
        f64::from(copy) + place.fract()
    }
}

/// When each session with bindings begins, and how long the longest of them lasts.
fn begins(plan: &Plan) -> (Vec<Option<u64>>, u64) {
    let mut begins = vec![None; plan.sessions() as usize];
    let mut longest = 0;
    for request in plan.requests.iter().filter(|request| request.links != NONE) {
        let begin = *begins[request.session as usize].get_or_insert(request.arrived);
        longest = longest.max(request.arrived - begin);
    }
    (begins, longest)
}

/// By how much each session may be moved.
fn shifts(plan: &Plan, span: u64, largest: u64) -> Vec<(i64, i64)> {
    let signed = |nanos: u64| i64::try_from(nanos).unwrap_or(i64::MAX);
    let mut shifts = vec![(-signed(largest), signed(largest)); plan.sessions() as usize];
    for request in plan.requests.iter().filter(|request| request.links != NONE) {
        let (least, most) = &mut shifts[request.session as usize];
        *least = (*least).max(-signed(request.arrived));
        *most = (*most).min(signed(span - 1 - request.arrived.min(span - 1)));
    }
    shifts
}

/// Sessions in a seeded order, each at the middle of the stretch that its requests take up of `0..1`: a
/// fraction of the sessions is then the same fraction of the requests, as nearly as whole sessions allow.
fn places(plan: &Plan, seed: u64) -> Vec<f64> {
    let mut weights = vec![0_u64; plan.sessions() as usize];
    for request in &plan.requests {
        weights[request.session as usize] += 1;
    }
    let mut order: Vec<u32> = (0..plan.sessions()).collect();
    order.sort_by_key(|&session| mix(seed ^ 0x7461_6B65_2070_6172 ^ u64::from(session)));
    let total = plan.requests.len().max(1) as f64;
    let mut places = vec![0.0; weights.len()];
    let mut before = 0.0;
    for session in order {
        let weight = weights[session as usize] as f64;
        places[session as usize] = (before + weight / 2.0) / total;
        before += weight;
    }
    places
}

/// SplitMix64's finaliser (Steele, Lea, Flood, 2014): 64 well-mixed bits of any 64.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::Share;
    use crate::plan::tests::{exchange, plan_of, sample_of};
    use crate::stages::{hold, parse_stages};

    /// 200 requests in 40 sessions over 10 s, with a burst in the fifth second.
    fn bursty() -> Plan {
        plan_of((0..200).map(|id| exchange(id, if id % 2 == 0 { id * 50 } else { 4_000 + id * 5 }, id % 40)))
    }

    fn all(schedule: &Schedule<'_>, window: Duration) -> Vec<Due> {
        let (mut from, mut dues) = (Offset::ZERO, Vec::new());
        while from < schedule.end() {
            dues.extend(schedule.window(from, from.plus(window)));
            from = from.plus(window);
        }
        dues
    }

    #[test]
    fn of_a_sample_a_scale_takes_as_many_copies_as_make_up_production() {
        let recorded = || (0..200).map(|id| exchange(id, id * 50, id % 40));
        let whole = plan_of(recorded());
        let share = Share { sampling_ratio: 0.05, filtered: 0 };
        let sample = sample_of(recorded(), share);
        let dues = |plan, scale| {
            let schedule = Schedule::new(plan, hold(scale, whole.span()), 7);
            assert_eq!(schedule.expected(), all(&schedule, Duration::from_secs(1)).len() as u64);
            all(&schedule, Duration::from_secs(1))
        };

        // 1x of a twentieth is twenty copies of it: 4,000 requests of 200.
        assert_eq!(dues(&sample, 1.0).len(), 4_000);
        assert_eq!(dues(&sample, 1.0), dues(&whole, 20.0));
        assert_eq!(dues(&sample, 0.05), dues(&whole, 1.0));
    }

    #[test]
    fn at_1x_every_request_is_due_once_at_its_recorded_moment() {
        let plan = bursty();
        let schedule = Schedule::new(&plan, hold(1.0, plan.span()), 7);
        let dues = all(&schedule, Duration::from_millis(250));
        assert_eq!(dues.len(), 200);
        for due in &dues {
            assert_eq!(due.at.as_nanos(), plan.requests[due.request as usize].arrived);
        }
    }

    #[test]
    fn at_10x_a_span_holds_every_request_ten_times() {
        let plan = bursty();
        let schedule = Schedule::new(&plan, hold(10.0, plan.span()), 7);
        let mut counts: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let dues = all(&schedule, Duration::from_millis(250));
        for due in &dues {
            assert!(counts.entry(due.request).or_default().insert(due.copy), "twice in one copy");
        }
        assert_eq!(dues.len(), 2_000);
        assert_eq!(schedule.expected(), 2_000);
        assert!(counts.values().all(|copies| copies.len() == 10));
    }

    #[test]
    fn a_route_can_be_sent_more_often_and_less_often_than_it_was_recorded() {
        use crate::plan::tests::selected;
        use crate::select::{Selection, parse_mix};
        let mix =
            vec![parse_mix("/b=3x").unwrap(), parse_mix("/c=0x").unwrap(), parse_mix("/d=0.5x").unwrap()];
        let exchanges = (0..400).map(|id| {
            let mut exchange = exchange(id, id * 25, id % 100);
            exchange.request.target = [&b"/a"[..], b"/b", b"/c", b"/d"][(id / 100) as usize].to_vec();
            exchange
        });
        let plan = selected(exchanges, Selection { mix, ..Selection::ALL });
        for scale in [1.0, 2.0] {
            let schedule = Schedule::new(&plan, hold(scale, plan.span()), 7);
            let mut counts = vec![0.0; plan.routes().len()];
            let dues = all(&schedule, Duration::from_secs(1));
            dues.iter()
                .for_each(|due| counts[plan.requests[due.request as usize].route as usize] += 1.0 / scale);
            assert_eq!(&counts[..3], [100.0, 300.0, 0.0], "at {scale}x");
            assert!((counts[3] - 50.0).abs() <= 1.0, "{counts:?}");
            assert!((schedule.expected() as f64 - dues.len() as f64).abs() <= 2.0 * scale);
        }
    }

    #[test]
    fn few_sessions_are_thinned_by_requests_evenly() {
        // One endless session: whole sessions would give all or nothing.
        let plan = plan_of((0..1_000).map(|id| exchange(id, id * 10, 1)));
        assert!(plan.coarse().is_some() && bursty().coarse().is_none());
        let schedule = Schedule::by(Unit::Request, &plan, hold(0.25, plan.span()), 7);
        let dues = all(&schedule, Duration::from_secs(1));
        assert!((249..=251).contains(&dues.len()), "{}", dues.len());
        // Evenly: each second holds a quarter of its hundred.
        for second in 0..10 {
            let count = dues.iter().filter(|due| due.at.second() == second).count();
            assert!((24..=26).contains(&count), "{count} in second {second}");
        }
        // Nested: what a lower scale takes, a higher takes too.
        let more: BTreeSet<Due> =
            all(&Schedule::by(Unit::Request, &plan, hold(0.4, plan.span()), 7), Duration::from_secs(1))
                .into_iter()
                .collect();
        assert!(dues.iter().all(|due| more.contains(due)));
    }

    #[test]
    fn copies_of_a_lower_scale_are_among_those_of_a_higher() {
        let plan = bursty();
        let lower: BTreeSet<Due> =
            all(&Schedule::new(&plan, hold(2.5, plan.span()), 7), Duration::from_secs(1))
                .into_iter()
                .collect();
        let higher: BTreeSet<Due> =
            all(&Schedule::new(&plan, hold(3.0, plan.span()), 7), Duration::from_secs(1))
                .into_iter()
                .collect();
        assert!(lower.is_subset(&higher));
        // Whole sessions of five requests each, half of the third copy.
        assert!((495..=505).contains(&lower.len()), "{}", lower.len());
        let mut per_session: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for due in &lower {
            *per_session.entry((due.copy, plan.requests[due.request as usize].session)).or_default() += 1;
        }
        assert!(per_session.values().all(|&count| count == 5), "a session was torn");
    }

    #[test]
    fn sessions_with_bindings_are_entered_at_their_first_request_and_go_on_to_their_last() {
        // 40 sessions of five requests 200 ms apart, one every 240 ms; every second one with bindings.
        let mut plan = plan_of((0..200).map(|id| exchange(id, (id / 5) * 240 + id % 5 * 200, id / 5)));
        plan.requests.iter_mut().filter(|request| request.session % 2 == 0).for_each(|it| it.links = 0);
        let stages = parse_stages("=4s:1x,1s:6x,=7s:6x,1s:1x,=9s:1x").unwrap();
        let schedule = Schedule::new(&plan, stages, 7);
        let dues = all(&schedule, Duration::from_millis(250));
        assert_eq!(dues, schedule.window(Offset::ZERO, schedule.end()), "a cut into windows changes it");
        let mut requests: BTreeMap<(u32, u32, u32), Vec<Due>> = BTreeMap::new();
        for due in dues {
            let session = plan.requests[due.request as usize].session;
            requests.entry((due.copy, due.lap, session)).or_default().push(due);
        }
        let is_torn = |dues: &[Due]| dues.len() < 5 && dues[0].at.since_start() < Duration::from_secs(21);
        let (bound, free): (Vec<_>, Vec<_>) =
            requests.iter().partition(|((_, _, session), _)| session % 2 == 0);
        assert!(bound.len() > 100 && !bound.iter().any(|(_, dues)| is_torn(dues)));
        // The others follow the ramps at once.
        assert!(free.iter().any(|(_, dues)| is_torn(dues)));
    }

    #[test]
    fn nothing_is_due_before_a_quiet_stretch_ends() {
        let plan = plan_of(
            [0, 100, 90_000_000, 90_000_300].into_iter().zip(0..).map(|(at, id)| exchange(id, at, id)),
        );
        for scale in [1.0, 4.0] {
            let schedule = Schedule::new(&plan, hold(scale, plan.span() * 2), 7);
            let dues = schedule.window(Offset::ZERO, schedule.end());
            for from in (0..180_000).step_by(977).map(Offset::from_secs) {
                let until = schedule.quiet_until(from);
                assert!(until >= from && !dues.iter().any(|due| due.at >= from && due.at < until));
            }
            // The shifts reach 30 s to either side.
            assert!(schedule.quiet_until(Offset::from_secs(100)) >= Offset::from_secs(89_970));
        }
    }

    #[test]
    fn a_run_longer_than_the_capture_repeats_it() {
        let plan = bursty();
        let three = Duration::from_nanos(u64::try_from(plan.span().as_nanos()).unwrap() * 3);
        assert_eq!(all(&Schedule::new(&plan, hold(2.0, three), 7), Duration::from_secs(1)).len(), 1_200);
    }

    #[test]
    fn a_ramp_grows_the_load_in_a_straight_line() {
        let plan = plan_of((0..1_000).map(|id| exchange(id, id * 10, id)));
        let schedule = Schedule::new(&plan, parse_stages("10s:20x").unwrap(), 3);
        let halves: Vec<usize> = [(0, 5), (5, 10)]
            .map(|(from, to)| schedule.window(Offset::from_secs(from), Offset::from_secs(to)).len())
            .to_vec();
        // The areas under the two halves of a triangle are as 1 to 3: 2,500 and 7,500.
        assert!((2_300..2_700).contains(&halves[0]) && (7_300..7_700).contains(&halves[1]), "{halves:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_cut_into_windows_changes_nothing(window_ms in 17_u64..5_000, scale in 0.1_f64..8.0, seed: u64) {
            let plan = bursty();
            let schedule = Schedule::new(&plan, hold(scale, Duration::from_secs(23)), seed);
            let whole = schedule.window(Offset::ZERO, schedule.end());
            prop_assert_eq!(all(&schedule, Duration::from_millis(window_ms)), whole);
        }

        #[test]
        fn a_session_copy_keeps_its_order_and_its_gaps(scale in 1.0_f64..6.0, seed: u64) {
            let plan = bursty();
            let schedule = Schedule::new(&plan, hold(scale, Duration::from_secs(30)), seed);
            let mut last: BTreeMap<(u32, u32, u32), (u64, u64)> = BTreeMap::new();
            for due in schedule.window(Offset::ZERO, schedule.end()) {
                let request = &plan.requests[due.request as usize];
                let now = (due.at.as_nanos(), request.arrived);
                if let Some(before) = last.insert((due.copy, due.lap, request.session), now) {
                    prop_assert_eq!(now.0 - before.0, now.1 - before.1);
                }
            }
        }
    }
}
