//! A scripted endpoint is asked: how often, with what, and what becomes of bad answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Introspector, Recalled, Unavailable, WAITING_MAX, same};
use crate::auth::{IssuerFilter, IssuerSettings, Issuers, TokenCheck, Verified};
use crate::policy::provider::{ClientAuthentication, Introspection, Reach};
use crate::provider::scripted::{Act, Server, hasty, ok, reach};
use crate::secret::Secret;
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);
const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";

fn settings(server: &Server, reach: Reach) -> Introspection {
    Introspection {
        entry: "opaque".into(),
        url: server.url("/introspect?tenant=a"),
        client_id: "gateway".into(),
        client_secret: Secret::new("s3cret+".to_owned()),
        authentication: ClientAuthentication::Basic,
        cache: Duration::ZERO,
        reach,
    }
}

fn asking(server: &Server, reach: Reach) -> Arc<Introspector> {
    Arc::new(Introspector::new(Arc::new(settings(server, reach)), None, None))
}

fn issuers() -> Issuers {
    let mut entry = IssuerSettings::new("opaque", Vec::new());
    entry.check = TokenCheck::Introspection;
    Issuers::new(vec![entry], Vec::new()).unwrap()
}

fn verified(answer: &Value, reused: Duration) -> Arc<Verified> {
    let issuers = issuers();
    let asked = issuers.introspected_by(TOKEN, &IssuerFilter::All).unwrap();
    Arc::new(asked.accept(answer.to_string().as_bytes(), reused, NOW).unwrap())
}

/// Waits until so many requests wait for an answer.
async fn waiting(introspector: &Introspector, requests: usize) {
    while WAITING_MAX - introspector.waiting.available_permits() < requests {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn asked(server: &Server, questions: usize) {
    while server.requests().len() < questions {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_question_is_that_of_the_rfc() {
    let server = Server::start(|_, _| Act::Say(ok("{\"active\":false}"))).await;
    let answer = asking(&server, reach()).ask("a/b+c==").await.unwrap();
    assert_eq!(&*answer.body, b"{\"active\":false}");
    let by_form =
        Introspection { authentication: ClientAuthentication::Post, ..settings(&server, reach()) };
    Arc::new(Introspector::new(Arc::new(by_form), None, None)).ask(TOKEN).await.unwrap();
    let [basic, post] = server.requests().try_into().unwrap();
    assert!(basic.starts_with("POST /introspect?tenant=a HTTP/1.1\r\n"), "{basic}");
    let fields = basic.to_ascii_lowercase();
    assert!(fields.contains("content-type: application/x-www-form-urlencoded\r\n"), "{basic}");
    assert!(fields.contains("accept: application/json"), "{basic}");
    // gateway:s3cret%2B
    assert!(basic.contains(": Basic Z2F0ZXdheTpzM2NyZXQlMkI=\r\n"), "{basic}");
    assert!(basic.ends_with("\r\ntoken=a%2Fb%2Bc%3D%3D&token_type_hint=access_token"), "{basic}");
    assert!(!post.to_ascii_lowercase().contains("authorization:"), "{post}");
    let form = format!(
        "client_id=gateway&client_secret=s3cret%2B&token={TOKEN}&token_type_hint=access_token"
    );
    assert!(post.ends_with(&form), "{post}");
}

/// Invariant 9's reasoning: what is revoked at the provider while a question is under way may not
/// be let through by its answer for whoever came afterwards.
#[tokio::test]
async fn an_answer_that_was_under_way_is_never_shared() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let server = Server::start(move |_, number| {
        // The first is held back; the script has no other way to wait.
        if number == 1 {
            while !gate.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        }
        Act::Say(ok(&format!("{{\"active\":{}}}", number == 1)))
    });
    let server = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        (runtime.block_on(server), runtime)
    });
    let (server, _runtime) = server.join().unwrap();
    let introspector = asking(&server, reach());
    let ask = || {
        let introspector = introspector.clone();
        tokio::spawn(async move { introspector.ask(TOKEN).await.unwrap().body })
    };
    let first = ask();
    asked(&server, 1).await;
    // From here on the provider says no.
    let later: Vec<_> = (0..50).map(|_| ask()).collect();
    waiting(&introspector, 51).await;
    open.store(true, Ordering::SeqCst);
    assert_eq!(&*first.await.unwrap(), b"{\"active\":true}");
    for one in later {
        assert_eq!(&*one.await.unwrap(), b"{\"active\":false}");
    }
    assert_eq!(server.requests().len(), 2, "all who came later share one question");
    // And one who comes when nothing is under way asks anew.
    ask().await.unwrap();
    assert_eq!(server.requests().len(), 3);
    assert_eq!(introspector.waiting.available_permits(), WAITING_MAX);
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_no_answer_from_others() {
    let server = Server::start(|_, _| Act::Late(Duration::from_millis(100), ok("{}"))).await;
    let introspector = asking(&server, reach());
    let first = tokio::spawn({
        let introspector = introspector.clone();
        async move { introspector.ask(TOKEN).await.map(drop) }
    });
    asked(&server, 1).await;
    let second = introspector.ask(TOKEN);
    first.abort();
    second.await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn different_tokens_do_not_wait_for_each_other() {
    let server = Server::start(|_, _| Act::Late(Duration::from_millis(300), ok("{}"))).await;
    let introspector = asking(&server, reach());
    let began = Instant::now();
    let asks: Vec<_> = (0..20)
        .map(|number| {
            let introspector = introspector.clone();
            tokio::spawn(async move { introspector.ask(&format!("t{number}")).await.unwrap() })
        })
        .collect();
    for ask in asks {
        ask.await.unwrap();
    }
    assert_eq!(server.requests().len(), 20);
    assert!(began.elapsed() < Duration::from_secs(4), "one after the other would be 6 s");
}

/// Everything but an answer is no answer; nothing of it counts as yes or no.
#[tokio::test]
async fn an_endpoint_that_misbehaves_gives_no_answer() {
    const YES: &str = "{\"active\":true}";
    let status = |status: &str| {
        let length = YES.len();
        Act::Say(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{YES}"))
    };
    type Script = Box<dyn Fn() -> Act + Send + Sync>;
    let scripts: Vec<(&str, Script)> = vec![
        ("500 with a yes in it", Box::new(move || status("500 Internal Server Error"))),
        ("401: the client's credentials", Box::new(move || status("401 Unauthorized"))),
        ("403", Box::new(move || status("403 Forbidden"))),
        ("201", Box::new(move || status("201 Created"))),
        (
            "a redirect would carry the token elsewhere (R4)",
            Box::new(|| {
                let head = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /introspect\r\n";
                Act::Say(format!("{head}content-length: 0\r\n\r\n"))
            }),
        ),
        (
            "huge",
            Box::new(|| {
                Act::Say(ok(&format!("{{\"active\":true,\"x\":\"{}\"}}", "x".repeat(70_000))))
            }),
        ),
        ("cut off", Box::new(move || Act::Break(ok(YES).replace(": 15", ": 16")))),
        ("no HTTP", Box::new(|| Act::Finish("active: true\r\n\r\n".into()))),
        ("closed at once", Box::new(|| Act::Break(String::new()))),
    ];
    for (name, script) in scripts {
        let server = Server::start(move |_, _| script()).await;
        let answer = asking(&server, reach()).ask(TOKEN).await;
        assert_eq!(answer.map(|a| a.body), Err(Unavailable::Failed), "{name}");
    }
    let server = Server::start(|_, _| Act::Say(ok("{}"))).await;
    let introspector = asking(&server, reach());
    drop(server);
    tokio::task::yield_now().await;
    assert_eq!(introspector.ask(TOKEN).await.map(|a| a.body), Err(Unavailable::Failed), "nobody");
}

/// R42, R43: a hundred who wait during a hang are all answered within the timeout.
#[tokio::test]
async fn a_hang_is_over_for_all_at_the_timeout() {
    for act in [|| Act::Hang(String::new()), || Act::Trickle("HTTP/1.1 200 OK\r\nx: ")] {
        let server = Server::start(move |_, _| act()).await;
        let introspector = asking(&server, hasty());
        let began = Instant::now();
        let asks: Vec<_> = (0..100)
            .map(|number| {
                let introspector = introspector.clone();
                let token = format!("t{}", number % 3);
                tokio::spawn(async move { introspector.ask(&token).await.map(drop) })
            })
            .collect();
        for ask in asks {
            assert!(ask.await.unwrap().is_err());
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(introspector.waiting.available_permits(), WAITING_MAX);
    }
}

#[tokio::test]
async fn more_requests_than_may_wait_are_refused_at_once() {
    let server = Server::start(|_, _| Act::Hang(String::new())).await;
    let introspector = asking(&server, hasty());
    let all = introspector.waiting.try_acquire_many(WAITING_MAX.try_into().unwrap()).unwrap();
    let began = Instant::now();
    assert_eq!(introspector.ask(TOKEN).await.map(drop), Err(Unavailable::Busy));
    assert!(began.elapsed() < Duration::from_millis(200));
    drop(all);
    assert_eq!(introspector.ask(TOKEN).await.map(drop), Err(Unavailable::Late));
}

#[tokio::test]
async fn an_answer_is_used_again_no_longer_than_allowed() {
    let server = Server::start(|_, _| Act::Say(ok("{}"))).await;
    let with_cache = |cache| Introspection { cache, ..settings(&server, reach()) };
    let minute = Duration::from_secs(60);
    let good = json!({"active": true, "sub": "ada", "exp": NOW.0 + 30});
    let recall = |introspector: &Introspector, now| introspector.recall(TOKEN, &issuers(), now);

    let introspector = Arc::new(Introspector::new(Arc::new(with_cache(minute)), None, None));
    assert!(matches!(recall(&introspector, NOW), Recalled::Unknown));
    let answer = introspector.ask(TOKEN).await.unwrap();
    introspector.keep(TOKEN, &answer, &verified(&good, minute));
    assert!(matches!(recall(&introspector, NOW), Recalled::Fresh(_)));
    assert!(matches!(introspector.recall("another", &issuers(), NOW), Recalled::Unknown));
    let exp = UnixTime(NOW.0 + 30);
    assert!(
        matches!(recall(&introspector, exp), Recalled::Known),
        "never beyond exp, leeway or not"
    );
    let mut entry = IssuerSettings::new("opaque", Vec::new());
    entry.check = TokenCheck::Introspection;
    entry.leeway = Duration::ZERO;
    let changed = Issuers::new(vec![entry], Vec::new()).unwrap();
    assert!(matches!(introspector.recall(TOKEN, &changed, NOW), Recalled::Known), "invariant 1");
    introspector.forget(TOKEN);
    assert!(matches!(recall(&introspector, NOW), Recalled::Unknown), "a refusal is not kept");

    // The time counts from the question.
    let short = Duration::from_millis(80);
    let introspector = Arc::new(Introspector::new(Arc::new(with_cache(short)), None, None));
    let answer = introspector.ask(TOKEN).await.unwrap();
    tokio::time::sleep(short).await;
    introspector.keep(TOKEN, &answer, &verified(&good, short));
    assert!(matches!(recall(&introspector, NOW), Recalled::Known));

    let introspector = asking(&server, reach());
    let answer = introspector.ask(TOKEN).await.unwrap();
    introspector.keep(TOKEN, &answer, &verified(&good, Duration::ZERO));
    assert!(matches!(recall(&introspector, NOW), Recalled::Known), "cache = \"0s\"");
}

#[tokio::test]
async fn another_provider_is_another_cache() {
    let server = Server::start(|_, _| Act::Say(ok("{}"))).await;
    let one = settings(&server, reach());
    assert!(same(&one, &settings(&server, hasty())), "a timeout changes no answer");
    type Change = fn(&mut Introspection);
    let changes: [(&str, Change); 6] = [
        ("entry", |other| other.entry = "other".into()),
        ("url", |other| other.url.set_path("/other")),
        ("client_id", |other| other.client_id = "other".into()),
        ("secret", |other| other.client_secret = Secret::new("other".to_owned())),
        ("cache", |other| other.cache = Duration::from_secs(1)),
        ("trust", |other| other.reach.trust = "other".into()),
    ];
    for (name, change) in changes {
        let mut other = one.clone();
        change(&mut other);
        assert!(!same(&one, &other), "{name}");
    }
}

#[test]
fn nothing_secret_is_in_debug_output() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(|_, _| Act::Say(ok("{}"))));
    let introspector = asking(&server, reach());
    let answer = runtime.block_on(introspector.ask(TOKEN)).unwrap();
    let shown = format!("{introspector:?} {answer:?}");
    assert!(
        !shown.contains(TOKEN) && !shown.contains("s3cret") && !shown.contains("{}"),
        "{shown}"
    );
}
