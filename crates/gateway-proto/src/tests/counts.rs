//! What the machine counts.

use std::time::Duration;

use super::Bench;
use crate::{ClientMethod, Config, RequestCounts, RequestKind, RequestOutcome};

#[test]
fn requests_count_by_method_kind_outcome_and_time() {
    let mut bench = Bench::new(Config::default());
    for line in [
        "open 1 c1",
        "1> 1 version {}",
        "1> 2 subscribe.a.b",
        "wait 7",
        "access.a.b = {\"result\":{\"get\":true,\"call\":\"*\"}}",
        "get.a.b = {\"result\":{\"model\":{\"x\":1}}}",
        "1> 3 call.a.b.set",
        "call.a.b.set = {\"error\":{\"code\":\"no\",\"message\":\"No\"}}",
        "1> 4 call.a.b.set",
        "wait 3000",
        "1> 5 auth.a.b.in",
        "auth.a.b.in = none",
        "1> 6 call.a.b.new",
        "call.a.b.new = refused",
        "1> 7 get.c",
        "close 1",
        "open 2 c2",
        "2> 1 get.d",
        "2> 2 unsubscribe.d",
    ] {
        bench.run(line);
    }
    let stats = bench.gateway.stats();
    let methods = |method: ClientMethod| stats.client_requests[method as usize];
    assert_eq!(ClientMethod::ALL.map(methods), [2, 1, 1, 3, 1]);
    let counts = |kind: RequestKind| stats.requests[kind as usize];
    let outcomes = |kind| {
        let RequestCounts { pending, outcomes, .. } = counts(kind);
        let name = |outcome: RequestOutcome| (outcome.name(), outcomes[outcome as usize]);
        let named: Vec<_> = RequestOutcome::ALL.map(name).into_iter().filter(|(_, count)| *count > 0).collect();
        (pending, named)
    };
    // c was requested, and stays cached for a while after its last use; d is still requested.
    assert_eq!(outcomes(RequestKind::Get), (2, vec![("result", 1)]));
    assert_eq!(outcomes(RequestKind::Access), (1, vec![("result", 1), ("given_up", 1)]));
    assert_eq!(outcomes(RequestKind::Call), (0, vec![("error", 1), ("timeout", 1), ("refused", 1)]));
    assert_eq!(outcomes(RequestKind::Auth), (0, vec![("no_responders", 1)]));
    assert_eq!(outcomes(RequestKind::Query), (0, vec![]));
    let times = counts(RequestKind::Access).times;
    assert_eq!((times.buckets[3], times.sum), (1, Duration::from_millis(7)));
    assert_eq!((stats.names, stats.resources, stats.subscriptions), (3, 3, 1));
    assert_eq!(stats.content_bytes, "{\"result\":{\"model\":{\"x\":1}}}".len());

    // After the loss of the bus only the totals are left.
    bench.run("down");
    let stats = bench.gateway.stats();
    assert_eq!((stats.names, stats.resources, stats.subscriptions, stats.request_bytes), (0, 0, 0, 0));
    let given_up = |kind: RequestKind| stats.requests[kind as usize].outcomes[RequestOutcome::GivenUp as usize];
    assert_eq!((given_up(RequestKind::Get), given_up(RequestKind::Access)), (2, 2));
}
